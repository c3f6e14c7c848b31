/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Dead puts of a freed segment are counted by whoever has the time, beside writers of their keys
 * (I8). */
#include <criterion/criterion.h>

#include "explore.h"
#include "kv/clean.h"
#include "kv/index.h"
#include "kv/meta.h"
#include "kv/record.h"
#include "sched.h"

TestSuite(sched_counts, .timeout = 600);

enum { KEYS = 4, FILLERS = 20, NO_SLOT = 99 };

static uint32_t dead;

/* Two versions of all in one segment, the last in another; key 3 is deleted there. */
static void dead_twice(struct world *w)
{
    for (int version = 0; version < 3; version++) {
        for (uint32_t key = 0; key < KEYS; key++)
            if (version < 2 || key < 3)
                do_put(w, key, 100);
        for (uint32_t i = 0; i < FILLERS; i++)
            do_fill(w, i, 100);
        if (version == 0)
            dead = world_segment_of(w, 0);
        if (version == 1)
            do_leave_segment(w);
    }
    do_delete(w, 3);
    seal_waiting(w->kv);
}

static void clean_and_count(struct world *w, unsigned thread)
{
    if (thread == 0) {
        do_clean(w, dead);
        return;
    }
    sched_note("help");
    clean_help(w->kv);
    if (thread == 1)
        do_put(w, 1, 100);
    else
        do_delete(w, 2);
    sched_note("help");
    clean_help(w->kv);
}

static uint32_t older_of(struct world *w, uint32_t key)
{
    struct index_find f;
    struct slot_ref ref;
    index_find_begin(w->kv->index, hash64(w->names[key], strlen(w->names[key])), &f);
    return index_find_next(&f, &ref) ? slot_older(ref.slot) : NO_SLOT;
}

/* Key 0 has no older put any more, of 1 and 2 one is left, and the delete of 3 is not needed. */
static void counts_are_exact(struct world *w)
{
    static const uint32_t right[KEYS] = {0, 1, 1, NO_SLOT};
    if (clean_help(w->kv))
        world_fail("the cleaner left something uncounted");
    for (uint32_t key = 0; key < KEYS; key++)
        if (older_of(w, key) != right[key])
            world_fail("key %u: %u older puts, not %u", key, older_of(w, key), right[key]);
}

Test(sched_counts, of_the_cleaner_and_of_writers)
{
    explore(&(struct sched_script){.name = "the cleaner's counts, shared",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 2,
                                   .schedules = 500,
                                   .prepare = dead_twice,
                                   .body = clean_and_count,
                                   .after = counts_are_exact});
}
