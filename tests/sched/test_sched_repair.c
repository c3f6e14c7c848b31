/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Pages are repaired by two at once and read beside them; lanes whose twins are out of use look for
 * others at once, beside a repair of what they may take. */
#include <criterion/criterion.h>

#include "explore.h"
#include "kv/clean.h"
#include "kv/damage.h"
#include "kv/lane.h"
#include "kv/meta.h"
#include "kv/segment.h"
#include "sched.h"

TestSuite(sched_repair, .timeout = 600);

enum { KEYS = 2 };

static uint64_t pages[KEYS];
static struct sim_counters before;

/* Each key in a page of its own, of one row, under one group of parity. */
static void closed_row(struct world *w)
{
    const struct layout *l = &w->kv->vol.layout;
    do_put(w, 0, 400);
    do_fill(w, 0, l->chunk_pages * PAGE_BYTES - 500);
    do_put(w, 1, 400);
    do_leave_segment(w);
    for (uint32_t key = 0; key < KEYS; key++)
        pages[key] = world_page_of(w, key);
    struct place a = layout_locate(l, pages[0]), b = layout_locate(l, pages[1]);
    cr_assert(a.segment == b.segment && a.row == b.row && a.column != b.column && a.page == b.page);
}

static void first_is_bad(struct world *w)
{
    sim_set_clear_leaves(w->media, SIM_CLEAR_GARBAGE);
    sim_poison(w->media, pages[0], PAGE_BYTES);
    do_get(w, 0);
    before = sim_counters(w->media);
}

static void repair_twice(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_repair(w);
        sim_poison(w->media, pages[1], PAGE_BYTES);
        do_get(w, 1);
        do_get(w, 0);
        return;
    case 1:
        do_repair(w);
        return;
    default:
        do_get(w, 0);
        do_get(w, 1);
    }
}

/* A page of which nothing is good is cleared and blanked, then written: twice, and never again. */
static void none_written_again(struct world *w)
{
    struct sim_counters now = sim_counters(w->media);
    uint64_t clears = now.clears - before.clears;
    uint64_t writes = now.recovery_writes - before.recovery_writes;
    if (writes != 2 * clears)
        world_fail("%llu pages were cleared with %llu recovery writes", (unsigned long long)clears,
                   (unsigned long long)writes);
}

Test(sched_repair, a_page_that_is_repaired_stays_so)
{
    explore(&(struct sched_script){
        .name = "two repairs of a page, and readers",
        .threads = 3,
        .keys = KEYS,
        .lanes = 1,
        .schedules = 600,
        .most_faults = UINT32_MAX, /* who looked before a repair may tell after it */
        .prepare = closed_row,
        .arrange = first_is_bad,
        .body = repair_twice,
        .after = none_written_again});
}

/* --- twins ------------------------------------------------------------------------------------ */

static void rows_open(struct world *w)
{
    for (uint32_t key = 0; key < KEYS; key++)
        do_put(w, key, 400);
}

/* Every slot that a lane has for its rows is retired, and the first free one is said to be bad: by
 * mistake, so that what repair writes there is noticed. */
static void slots_retired(struct world *w)
{
    struct pmkv *kv = w->kv;
    uint32_t segment = 0, free = 0;
    while (kv->segments[segment].kind != KIND_TWIN)
        segment++;
    for (uint32_t slot = 0; slot < twin_slots(kv); slot++)
        if (twin_in_use(kv, twin_slot_off(kv, segment, slot)))
            cr_assert_eq(segment_retire_row(kv, segment, slot), 0);
        else if (!free++)
            damage_found(kv, DAMAGE_CHECK, twin_slot_off(kv, segment, slot), "test");
    cr_assert_geq(free, 2);
}

/* A commit that needs the lane's next row, and gives up. */
static void open_next(struct world *w, uint32_t lane)
{
    struct pmkv *kv = w->kv;
    sched_note("next row");
    lane_lock(&kv->lanes[lane]);
    int rc = lane_begin(kv, &kv->lanes[lane], row_payload(kv), 1, SPACE_PUT);
    lane_unlock(&kv->lanes[lane]);
    if (rc)
        world_fail("lane %u cannot take a row: %d", lane, rc);
}

static void take_and_repair(struct world *w, unsigned thread)
{
    if (thread == 2) {
        do_repair(w);
        return;
    }
    open_next(w, thread);
    do_put(w, thread, 400);
}

static void no_slot_of_two(struct world *w)
{
    struct pmkv *kv = w->kv;
    for (uint32_t i = 0; i < 2; i++)
        for (uint32_t k = 0; k < 2; k++)
            if (kv->lanes[0].rows[i].twin_off[0] == kv->lanes[1].rows[k].twin_off[0])
                world_fail("two lanes have the slot at 0x%llx",
                           (unsigned long long)kv->lanes[0].rows[i].twin_off[0]);
    world_is_whole(w);
}

Test(sched_repair, lanes_that_look_for_twins)
{
    explore(&(struct sched_script){.name = "two lanes look for twins, beside a repair",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 2,
                                   .schedules = 400,
                                   .most_faults = 1,
                                   .prepare = rows_open,
                                   .arrange = slots_retired,
                                   .body = take_and_repair,
                                   .after = no_slot_of_two});
}

/* --- the end of a repair ---------------------------------------------------------------------- */

static uint64_t generation;

/* A segment of which a row is out of use: the cleaner is to move out of it. */
static void row_retired(struct world *w)
{
    w->segment = world_segment_of(w, 0);
    generation = atomic_load(&w->kv->segments[w->segment].generation);
    cr_assert_eq(segment_retire_row(w->kv, w->segment, w->kv->vol.layout.segment_rows - 1), 0);
}

static void repair_beside_the_cleaner(struct world *w, unsigned thread)
{
    if (thread == 0) {
        sched_note("clean");
        clean_round(w->kv);
        return;
    }
    sched_note("repair");
    if (pmkv_repair(w->kv, NULL))
        world_fail("repair: %s", pmkv_errormsg());
    if (atomic_load(&w->kv->segments[w->segment].generation) == generation)
        world_fail("the repair has ended, and the segment has not");
}

static void sealed_row(struct world *w)
{
    closed_row(w);
    seal_waiting(w->kv);
}

Test(sched_repair, ends_when_all_is_moved_out)
{
    explore(&(struct sched_script){.name = "a repair beside the cleaner",
                                   .threads = 2,
                                   .keys = KEYS,
                                   .lanes = 1,
                                   .schedules = 300,
                                   .prepare = sealed_row,
                                   .arrange = row_retired,
                                   .body = repair_beside_the_cleaner});
}
