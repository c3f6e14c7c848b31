/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Writers that share commits (kv/join.h, J1..J5). */
#include "kv/join.h"

#include <criterion/criterion.h>

#include "explore.h"

TestSuite(sched_join, .timeout = 600);

static void keys_there(struct world *w)
{
    do_put(w, 0, 100);
    do_put(w, 1, 100);
}

/* --- keys of their own ------------------------------------------------------------------------ */

static void own_keys(struct world *w, unsigned thread)
{
    do_put(w, thread, 200);
    do_put(w, thread + 3, 60);
    do_get(w, (thread + 1) % 3);
}

Test(sched_join, puts_of_three_threads)
{
    explore(&(struct sched_script){.name = "puts that share commits",
                                   .threads = 3,
                                   .keys = 6,
                                   .lanes = 2,
                                   .schedules = 800,
                                   .slow_drain = true,
                                   .prepare = keys_there,
                                   .body = own_keys});
}

/* --- the same keys: J2 ------------------------------------------------------------------------ */

static void shared_keys(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put(w, 0, 200);
        do_put_if(w, 1, 100);
        do_get(w, 0);
        return;
    case 1:
        do_delete(w, 0);
        do_create(w, 1, 80);
        do_delete_if(w, 1);
        return;
    default:
        do_put(w, 1, 300);
        do_put(w, 0, 60);
    }
}

Test(sched_join, puts_deletes_and_conditions)
{
    explore(&(struct sched_script){.name = "puts, deletes and conditions share commits",
                                   .threads = 3,
                                   .keys = 2,
                                   .lanes = 2,
                                   .schedules = 800,
                                   .slow_drain = true,
                                   .prepare = keys_there,
                                   .body = shared_keys});
}

/* --- more than a round takes ------------------------------------------------------------------ */

/* Of the smaller two fit a round; the larger goes by itself. */
static void large_records(struct world *w, unsigned thread)
{
    do_put(w, thread, 1700);
    if (thread == 3)
        do_put(w, 4, 6000);
    do_get(w, (thread + 1) % 4);
}

Test(sched_join, more_than_a_round_takes)
{
    explore(&(struct sched_script){.name = "more than a round takes",
                                   .threads = 4,
                                   .keys = 5,
                                   .lanes = 2,
                                   .schedules = 600,
                                   .slow_drain = true,
                                   .prepare = keys_there,
                                   .body = large_records});
}

/* --- beside batches and the cleaner ----------------------------------------------------------- */

static void puts_and_others(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_batch(w, 0, 2, 1, 80);
        do_get(w, 3);
        return;
    case 3:
        do_leave_segment(w);
        return;
    default:
        do_put(w, thread - 1, 100);
        do_put(w, thread + 2, 100);
    }
}

Test(sched_join, beside_batches_and_a_segment_that_ends)
{
    explore(&(struct sched_script){.name = "rounds beside a batch and a segment that ends",
                                   .threads = 4,
                                   .keys = 5,
                                   .lanes = 2,
                                   .schedules = 600,
                                   .slow_drain = true,
                                   .prepare = keys_there,
                                   .body = puts_and_others});
}
