/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* One key or a few, written and read by several threads (I2, I4, P2). */
#include <criterion/criterion.h>

#include "explore.h"

TestSuite(sched_keys, .timeout = 600);

/* --- two writers of one key, in two lanes ----------------------------------------------------- */

static void one_key_there(struct world *w)
{
    do_put(w, 0, 100);
}

static void two_writers(struct world *w, unsigned thread)
{
    if (thread < 2) {
        do_put(w, 0, 200);
        do_get(w, 0);
        do_put(w, 0, 300);
        return;
    }
    do_get(w, 0);
    do_get(w, 0);
}

Test(sched_keys, two_writers_of_one_key)
{
    explore(&(struct sched_script){.name = "two writers of one key",
                                   .threads = 3,
                                   .keys = 1,
                                   .lanes = 2,
                                   .schedules = 500,
                                   .prepare = one_key_there,
                                   .body = two_writers});
}

/* --- put against delete ----------------------------------------------------------------------- */

static void put_and_delete(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put(w, 0, 100);
        do_put(w, 1, 2000);
        return;
    case 1:
        do_delete(w, 0);
        do_delete(w, 1);
        do_exists(w, 0);
        return;
    default:
        do_get(w, 1);
        do_get(w, 0);
        do_delete(w, 0);
    }
}

Test(sched_keys, put_against_delete)
{
    explore(&(struct sched_script){.name = "put against delete",
                                   .threads = 3,
                                   .keys = 2,
                                   .lanes = 2,
                                   .schedules = 500,
                                   .prepare = one_key_there,
                                   .body = put_and_delete});
}

/* --- conditions ------------------------------------------------------------------------------- */

static void two_conditions(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put_if(w, 0, 200);
        do_create(w, 1, 100);
        return;
    case 1:
        do_create(w, 1, 300);
        do_put_if(w, 0, 100);
        return;
    default:
        do_get(w, 0);
        do_delete_if(w, 1);
    }
}

Test(sched_keys, of_two_conditional_puts_one_succeeds)
{
    explore(&(struct sched_script){.name = "two conditional puts of one key",
                                   .threads = 3,
                                   .keys = 2,
                                   .lanes = 2,
                                   .schedules = 500,
                                   .prepare = one_key_there,
                                   .body = two_conditions});
}

static void two_keys_there(struct world *w)
{
    do_batch(w, 0, 2, 0, 60);
}

static void conditions_and_others(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put_if(w, 0, 200);
        do_put_if(w, 1, 100);
        return;
    case 1:
        do_batch(w, 0, 2, 0, 80);
        do_delete(w, 0);
        return;
    default:
        do_put(w, 1, 100);
        do_create(w, 0, 50);
        do_delete_if(w, 1);
    }
}

Test(sched_keys, conditions_against_all_other_writers)
{
    explore(&(struct sched_script){.name = "conditions against batch, put and delete",
                                   .threads = 3,
                                   .keys = 2,
                                   .lanes = 2,
                                   .schedules = 500,
                                   .prepare = two_keys_there,
                                   .body = conditions_and_others});
}

/* --- batches ---------------------------------------------------------------------------------- */

static void four_keys_there(struct world *w)
{
    do_batch(w, 0, 4, 0, 60);
}

static void batch_and_gets(struct world *w, unsigned thread)
{
    if (thread == 0) {
        do_batch(w, 0, 3, 1, 80);
        do_batch(w, 1, 4, 0, 80);
        return;
    }
    do_get(w, thread == 1 ? 3 : 0);
    do_get(w, thread == 1 ? 0 : 2);
    do_get(w, thread == 1 ? 2 : 3);
    do_exists(w, 1);
}

Test(sched_keys, a_batch_is_seen_whole)
{
    explore(&(struct sched_script){.name = "a batch against gets",
                                   .threads = 3,
                                   .keys = 5,
                                   .lanes = 2,
                                   .schedules = 500,
                                   .prepare = four_keys_there,
                                   .body = batch_and_gets});
}

static void batch_and_puts(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_batch(w, 0, 3, 1, 80);
        do_get(w, 2);
        return;
    case 1:
        do_put(w, 2, 100);
        do_put(w, 0, 100);
        do_delete(w, 3);
        return;
    default:
        do_batch(w, 2, 3, 0, 60);
        do_get(w, 0);
    }
}

Test(sched_keys, a_batch_against_puts)
{
    explore(&(struct sched_script){.name = "batches against puts",
                                   .threads = 3,
                                   .keys = 5,
                                   .lanes = 2,
                                   .schedules = 500,
                                   .prepare = four_keys_there,
                                   .body = batch_and_puts});
}

/* --- equal sizes: what is lost in a crash leaves a place that the next record fits -------------
 */

static void equal_appends(struct world *w, unsigned thread)
{
    for (uint32_t i = 0; i < 2; i++)
        do_put(w, thread * 2 + i, 500);
}

Test(sched_keys, appends_of_equal_size)
{
    explore(&(struct sched_script){.name = "appends of equal size",
                                   .threads = 3,
                                   .keys = 6,
                                   .lanes = 2,
                                   .schedules = 400,
                                   .prepare = one_key_there,
                                   .body = equal_appends});
}

/* --- long values ------------------------------------------------------------------------------ */

static void long_value_there(struct world *w)
{
    do_put(w, 0, 20000);
    do_put(w, 1, 100);
}

static void long_values(struct world *w, unsigned thread)
{
    if (thread == 0) {
        do_put(w, 0, 18000);
        do_put(w, 0, 50);
        return;
    }
    if (thread == 1) {
        do_get(w, 0);
        do_get(w, 0);
        return;
    }
    do_batch(w, 0, 2, 0, 17000);
    do_delete(w, 1);
}

Test(sched_keys, long_values_replaced_while_read)
{
    explore(&(struct sched_script){.name = "long values replaced while read",
                                   .threads = 3,
                                   .keys = 2,
                                   .lanes = 2,
                                   .schedules = 300,
                                   .prepare = long_value_there,
                                   .body = long_values});
}

/* Values of more than a row, whose pieces go to the lane of long values, or past it while another
 * writer has it. Both speak for the lane's closed rows. */
static void longer_values(struct world *w, unsigned thread)
{
    if (thread == 0)
        do_put(w, 0, 70000);
    else if (thread == 1)
        do_put(w, 1, 40000);
    else
        do_get(w, 0);
}

Test(sched_keys, two_writers_have_one_lane_for_long_values)
{
    explore(&(struct sched_script){.name = "two writers and one lane for long values",
                                   .threads = 3,
                                   .keys = 2,
                                   .lanes = 2,
                                   .schedules = 300,
                                   .prepare = long_value_there,
                                   .body = longer_values});
}
