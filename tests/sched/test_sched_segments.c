/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Segments are sealed, cleaned, freed and taken again while others write, read and repair (I5..I8,
 * I13). */
#include <criterion/criterion.h>

#include "explore.h"
#include "kv/damage.h"
#include "kv/lane.h"
#include "kv/meta.h"
#include "kv/scrub.h"
#include "kv/segment.h"
#include "sched.h"

TestSuite(sched_segments, .timeout = 600);

enum { KEYS = 4 };

/* --- what is there ---------------------------------------------------------------------------- */

/* A segment with the keys in it and one row left. */
static void almost_full(struct world *w)
{
    for (uint32_t key = 0; key < KEYS; key++)
        do_put(w, key, 400);
    world_fill_segment(w, 1);
}

/* The keys are in a segment that is sealed. */
static void sealed(struct world *w)
{
    almost_full(w);
    do_leave_segment(w);
    seal_waiting(w->kv);
}

static void note_segment(struct world *w)
{
    w->segment = world_segment_of(w, 0);
}

/* The segment is given back and its place written to by another generation. */
static void clean_and_reuse(struct world *w)
{
    do_clean(w, w->segment);
    do_leave_segment(w);
    for (uint32_t i = 0; i < 3; i++)
        do_fill(w, i, 8000);
}

/* --- publish delayed past seal, clean and free (I5) ------------------------------------------- */

static void late_publish(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put(w, 0, 100);
        do_delete(w, 1);
        return;
    case 1:
        do_fill(w, 0, 8000);
        do_leave_segment(w);
        clean_and_reuse(w);
        return;
    default:
        do_get(w, 0);
        do_get(w, 1);
        do_put(w, 2, 100);
    }
}

Test(sched_segments, publish_delayed_past_seal_clean_and_free)
{
    explore(&(struct sched_script){.name = "publish delayed past seal, clean, free",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 1,
                                   .schedules = 500,
                                   .prepare = almost_full,
                                   .arrange = note_segment,
                                   .body = late_publish});
}

static void late_batch(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_batch(w, 0, 2, 1, 3000);
        return;
    case 1:
        do_leave_segment(w);
        clean_and_reuse(w);
        return;
    default:
        do_get(w, 2);
        do_get(w, 0);
        do_get(w, 1);
    }
}

Test(sched_segments, a_batch_against_the_cleaner)
{
    explore(&(struct sched_script){.name = "a batch against the cleaner",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 1,
                                   .schedules = 300,
                                   .prepare = almost_full,
                                   .arrange = note_segment,
                                   .body = late_batch});
}

/* --- get against clean, free and reuse (I13) -------------------------------------------------- */

static void get_and_reuse(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_get(w, 0);
        do_get(w, 3);
        do_get(w, 1);
        return;
    case 1:
        clean_and_reuse(w);
        return;
    default:
        do_put(w, 1, 300);
        do_exists(w, 2);
        do_delete(w, 3);
    }
}

Test(sched_segments, get_against_clean_free_and_reuse)
{
    explore(&(struct sched_script){.name = "get against clean, free, reuse",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 2,
                                   .schedules = 500,
                                   .prepare = sealed,
                                   .arrange = note_segment,
                                   .body = get_and_reuse});
}

/* A version outlives the move of its record (I6). */
static void condition_and_cleaner(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put_if(w, 0, 100);
        do_put_if(w, 2, 300);
        return;
    case 1:
        clean_and_reuse(w);
        return;
    default:
        do_put_if(w, 1, 300);
        do_delete_if(w, 3);
        do_create(w, 3, 100);
    }
}

Test(sched_segments, conditions_against_the_cleaner)
{
    explore(&(struct sched_script){.name = "conditions against the cleaner",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 2,
                                   .schedules = 300,
                                   .prepare = sealed,
                                   .arrange = note_segment,
                                   .body = condition_and_cleaner});
}

/* The reader has a slot whose segment is freed, taken again, and written at the same place with the
 * same key: what it finds there need not be fenced yet (I2). */
static void keys_alone(struct world *w)
{
    for (uint32_t key = 0; key < 2; key++)
        do_put(w, key, 400);
}

static void get_and_replace(struct world *w, unsigned thread)
{
    if (thread == 0) {
        do_get(w, 0);
        return;
    }
    sched_quiet(true);
    do_leave_segment(w);
    do_clean(w, w->segment);
    do_take_segment(w);
    sched_quiet(false);
    do_put(w, 0, 400);
    if (world_segment_of(w, 0) != w->segment)
        world_fail("the segment was not taken again");
}

Test(sched_segments, get_against_the_same_key_at_the_same_place)
{
    explore(&(struct sched_script){.name = "get against the same key at the same place",
                                   .threads = 2,
                                   .keys = 2,
                                   .lanes = 1,
                                   .schedules = 3000,
                                   .pairs = true,
                                   .prepare = keys_alone,
                                   .arrange = note_segment,
                                   .body = get_and_replace});
}

/* --- deletes against the cleaner (I8): what is gone must stay gone ---------------------------- */

static uint32_t tombstones;

static void deleted(struct world *w)
{
    sealed(w);
    do_delete(w, 0);
    do_delete(w, 1);
    do_put(w, 2, 50);
    do_leave_segment(w);
    seal_waiting(w->kv);
}

static void note_both(struct world *w)
{
    w->segment = world_segment_of(w, 3);
    tombstones = world_segment_of(w, 0);
}

static void delete_and_clean(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_clean(w, w->segment);
        do_clean(w, tombstones);
        return;
    case 1:
        do_clean(w, tombstones);
        do_put(w, 1, 200);
        do_delete(w, 1);
        return;
    default:
        do_delete(w, 2);
        do_put(w, 0, 100);
        do_delete(w, 3);
    }
}

Test(sched_segments, deletes_against_the_cleaner)
{
    explore(&(struct sched_script){.name = "deletes against the cleaner",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 2,
                                   .schedules = 300,
                                   .reopens = true,
                                   .prepare = deleted,
                                   .arrange = note_both,
                                   .body = delete_and_clean});
}

/* --- repair against free and reuse (I13) ------------------------------------------------------ */

/* The page of key 0 is bad, and that is known. */
static void poisoned(struct world *w)
{
    note_segment(w);
    sim_set_clear_leaves(w->media, SIM_CLEAR_GARBAGE);
    sim_poison(w->media, world_page_of(w, 0), PAGE_BYTES);
    do_get(w, 0);
}

static void repair_and_reuse(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_repair(w);
        do_repair(w);
        return;
    case 1:
        clean_and_reuse(w);
        return;
    default:
        do_get(w, 0);
        do_put(w, 1, 300);
        do_get(w, 2);
    }
}

Test(sched_segments, repair_against_free_and_reuse)
{
    explore(&(struct sched_script){.name = "repair against free and reuse",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 2,
                                   .schedules = 1500,
                                   .most_faults = UINT32_MAX,
                                   .prepare = sealed,
                                   .arrange = poisoned,
                                   .body = repair_and_reuse,
                                   .after = world_is_whole});
}

/* A page of the segment that is taken next is said to be bad: by mistake, so that what repair
 * writes there is noticed. */
static void free_page_in_doubt(struct world *w)
{
    struct pmkv *kv = w->kv;
    note_segment(w);
    do_leave_segment(w);
    do_clean(w, w->segment);
    damage_found(kv, DAMAGE_CHECK, layout_data_page_off(&kv->vol.layout, w->segment, 0, 0), "test");
}

static void repair_and_take(struct world *w, unsigned thread)
{
    if (thread == 0) {
        do_repair(w);
        return;
    }
    do_put(w, 0, 400);
    do_get(w, 0);
    if (world_segment_of(w, 0) != w->segment)
        world_fail("the segment was not taken again");
}

Test(sched_segments, repair_of_a_free_page_against_its_use)
{
    explore(&(struct sched_script){.name = "repair of a free page against its use",
                                   .threads = 2,
                                   .keys = 2,
                                   .lanes = 1,
                                   .schedules = 300,
                                   .most_faults = 1,
                                   .prepare = keys_alone,
                                   .arrange = free_page_in_doubt,
                                   .body = repair_and_take});
}

/* The page of an open row is bad, and cannot be cleared. */
static void poisoned_for_good(struct world *w)
{
    poisoned(w);
    sim_set_clears_fail(w->media, true);
}

static void retire_and_write(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_repair(w);
        do_clean(w, w->segment);
        return;
    case 1:
        do_put(w, 0, 3000);
        do_fill(w, 0, 8000);
        do_fill(w, 1, 8000);
        return;
    default:
        do_get(w, 0);
        do_get(w, 1);
        do_put(w, 2, 300);
    }
}

static void open_row(struct world *w)
{
    for (uint32_t key = 0; key < KEYS; key++)
        do_put(w, key, 400);
}

Test(sched_segments, retirement_against_writers)
{
    explore(&(struct sched_script){.name = "retirement against writers",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 1,
                                   .schedules = 300,
                                   .most_faults = UINT32_MAX,
                                   .prepare = open_row,
                                   .arrange = poisoned_for_good,
                                   .body = retire_and_write});
}

/* --- scrub against the close of rows ---------------------------------------------------------- */

static void scrub_segment(struct world *w, uint32_t segment)
{
    struct scrub_walk walk;
    cr_assert_eq(scrub_walk_begin(w->kv, &walk), 0);
    walk.next = segment + 1;
    scrub_walk_step(&walk);
    scrub_walk_end(&walk);
}

static void scrub_and_write(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        scrub_segment(w, w->segment);
        scrub_segment(w, w->segment);
        return;
    case 1:
        for (uint32_t i = 0; i < 12; i++)
            do_fill(w, i, 7000);
        return;
    default:
        do_put(w, 0, 300);
        do_get(w, 1);
        do_put(w, 1, 3000);
    }
}

Test(sched_segments, scrub_against_the_close_of_rows)
{
    explore(&(struct sched_script){.name = "scrub against row close",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 1,
                                   .schedules = 300,
                                   .prepare = open_row,
                                   .arrange = note_segment,
                                   .body = scrub_and_write});
}

static void scrub_and_clean(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        scrub_segment(w, w->segment);
        return;
    case 1:
        clean_and_reuse(w);
        return;
    default:
        segment_prepare_ahead(w->kv);
        do_put(w, 0, 300);
        do_get(w, 1);
    }
}

Test(sched_segments, scrub_against_free_and_reuse)
{
    explore(&(struct sched_script){.name = "scrub against free and reuse",
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 2,
                                   .schedules = 300,
                                   .prepare = sealed,
                                   .arrange = note_segment,
                                   .body = scrub_and_clean});
}
