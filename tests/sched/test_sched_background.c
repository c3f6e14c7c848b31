/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The store's own threads at work while it is written, read and closed. */
#include <criterion/criterion.h>

#include "explore.h"
#include "kv/lane.h"
#include "kv/meta.h"

TestSuite(sched_background, .timeout = 600);

enum { KEYS = 4 };

static uint64_t bad_page;

static void sealed(struct world *w)
{
    for (uint32_t key = 0; key < KEYS; key++)
        do_put(w, key, 400);
    do_leave_segment(w);
    seal_waiting(w->kv);
    bad_page = world_page_of(w, 0);
}

static void poison(struct world *w)
{
    sim_poison(w->media, bad_page, PAGE_BYTES);
    sim_hide_bad_ranges(w->media, true); /* or open would repair it */
}

static void work_and_close(struct world *w, unsigned thread)
{
    (void)thread;
    world_open(w);
    do_get(w, 0);
    do_put(w, 1, 300);
    do_leave_segment(w);
    do_put(w, 2, 300);
    atomic_store(&w->kv->segments[world_segment_of(w, 3)].evacuate, true);
    do_delete(w, 0);
    do_get(w, 3);
    world_close(w);
}

Test(sched_background, close_against_work)
{
    explore(&(struct sched_script){.name = "close against background work",
                                   .threads = 1,
                                   .helpers = 2,
                                   .keys = KEYS,
                                   .lanes = 2,
                                   .schedules = 300,
                                   .background = true,
                                   .most_faults = UINT32_MAX,
                                   .prepare = sealed,
                                   .arrange = poison,
                                   .body = work_and_close});
}
