/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Invariants I5 to I8 of docs/design.md: what the cleaner may take, and what it leaves behind. */
#include <criterion/criterion.h>

#include "kv/clean.h"
#include "kv/meta.h"
#include "kv/segment.h"
#include "place.h"
#include "script.h"

TestSuite(cleaning, .timeout = 120);

/* Key 0 in a segment of its own that is sealed; returns the segment. */
static uint32_t key_in_sealed_segment(struct crash_run *r, uint32_t key)
{
    model_put(&r->model, r->kv, key, 100);
    uint32_t segment = place_segment_of(r->kv, key);
    script_fill_segment(r, 20, 20);
    seal_waiting(r->kv);
    cr_assert_eq(r->kv->segments[segment].state, SEGMENT_SEALED);
    return segment;
}

Test(cleaning, i05_a_segment_with_unpublished_records_is_no_victim)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 5);
    uint32_t segment = key_in_sealed_segment(&r, 0);
    uint64_t generation = r.kv->segments[segment].generation;
    atomic_fetch_add(&r.kv->segments[segment].added, 1);
    place_clean(r.kv, segment);
    cr_assert_eq(r.kv->segments[segment].generation, generation, "it was freed");
    record_published(&r.kv->segments[segment]);
    place_clean(r.kv, segment);
    cr_assert_neq(r.kv->segments[segment].generation, generation, "it was not freed");
    crash_end(&r);
}

/* Writes key 0 once, at the cleaner's fence: after the copy was made and before it is published. */
static void write_meanwhile(void *arg, struct media *m, enum sim_op op, uint64_t off,
                            uint64_t bytes)
{
    struct crash_run *r = arg;
    (void)m, (void)op, (void)off, (void)bytes;
    if (r->instants == 0 && r->kv->cleaner->rows[r->kv->cleaner->current].state == ROW_CLOSING) {
        r->instants = 1;
        model_put(&r->model, r->kv, 0, 333);
    }
}

Test(cleaning, i06_a_copy_that_comes_too_late_is_not_published)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 6);
    uint32_t segment = key_in_sealed_segment(&r, 0);
    sim_set_drain_hook(r.media, write_meanwhile, &r);
    place_clean(r.kv, segment);
    sim_set_drain_hook(r.media, NULL, NULL);
    cr_assert_eq(r.instants, 1, "nothing was written meanwhile");
    model_compare(&r.model, r.kv, 0, "after the cleaning");
    crash_now(&r, sim_choose_none, NULL);
    model_delete(&r.model, r.kv, 0);
    crash_now(&r, sim_choose_none, NULL);
    crash_end(&r);
}

static int version_of_key(void *arg, const struct pmkv_item *item)
{
    uint64_t *version = arg;
    size_t bytes;
    const char *name = model_key(0, &bytes);
    if (item->key_bytes == bytes && memcmp(item->key, name, bytes) == 0)
        *version = item->version;
    return 0;
}

Test(cleaning, i06_a_copy_keeps_its_number_and_stands_alone)
{
    struct crash_run r;
    uint64_t before = 0, after = 0;
    crash_begin(&r, PMKV_DOUBLE, 6);
    model_batch(&r.model, r.kv, 0, 3, 0, 50);
    uint32_t segment = place_segment_of(r.kv, 0);
    script_fill_segment(&r, 20, 20);
    pmkv_foreach(r.kv, 0, version_of_key, &before);
    place_clean(r.kv, segment);
    cr_assert_neq(place_segment_of(r.kv, 0), segment);
    crash_now(&r, sim_choose_none, NULL); /* without its batch's commit it still counts */
    pmkv_foreach(r.kv, 0, version_of_key, &after);
    cr_assert_eq(after, before, "version %llu became %llu", (unsigned long long)before,
                 (unsigned long long)after);
    crash_end(&r);
}

Test(cleaning, i06_damage_is_not_copied_forward)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_NONE, 6);
    uint32_t segment = key_in_sealed_segment(&r, 0);
    cr_assert(place_of_key(r.kv, 0, &place));
    place_flip(r.media, place_offset(r.kv, place, 0) + place_value_at(0) + 10);
    place_clean(r.kv, segment);
    cr_assert_not(place_of_key(r.kv, 0, &place), "the changed record was moved to segment %u",
                  place.segment);
    cr_assert_eq(crash_lost_count(r.kv), 1);
    cr_assert_eq(place_get(r.kv, 0), PMKV_E_LOST);
    model_compare(&r.model, r.kv, MODEL_LOST_IS_FINE, "after the cleaning");
    model_put(&r.model, r.kv, 0, 10);
    model_compare(&r.model, r.kv, 0, "written again");
    crash_close(&r.kv, "at the end");
}

/* --- I7 --------------------------------------------------------------------------------------- */

static bool header_is_free(struct pmkv *kv, struct media *m, uint32_t segment)
{
    for (uint32_t c = 0; c < kv->vol.layout.columns; c++) {
        struct segment_header lines[2], *best = NULL;
        sim_peek_durable(m, layout_slice_off(&kv->vol.layout, segment, c), lines, sizeof lines);
        for (int i = 0; i < 2; i++)
            if (segment_header_valid(kv, &lines[i], segment, (uint16_t)c) &&
                (!best || lines[i].version > best->version))
                best = &lines[i];
        if (!best || best->state != SEGMENT_FREE)
            return false;
    }
    return true;
}

/* Whatever is stored while a segment counts as free, its end is durable in every column; but for
 * the store of that end itself. */
static void free_is_durable(void *arg, struct media *m, enum sim_op op, uint64_t off,
                            uint64_t bytes)
{
    struct crash_run *r = arg;
    (void)bytes;
    if (op != SIM_STORE)
        return;
    struct place p = layout_locate(&r->kv->vol.layout, off);
    if (p.kind == PLACE_HEADER || p.kind == PLACE_SUPERBLOCK)
        return;
    for (uint32_t i = 0; i < r->kv->vol.layout.segments; i++)
        if (atomic_load(&r->kv->segments[i].state) == SEGMENT_FREE) {
            r->instants++;
            cr_assert(header_is_free(r->kv, m, i), "segment %u is free in memory alone", i);
        }
}

Test(cleaning, i07_freeing_is_durable_before_anything_relies_on_it)
{
    struct crash_run r;
    crash_begin(&r, PMKV_MIRROR, 7);
    sim_set_access_hook(r.media, free_is_durable, &r);
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t segment = key_in_sealed_segment(&r, i);
        place_clean(r.kv, segment);
        model_put(&r.model, r.kv, i, 10);
    }
    sim_set_access_hook(r.media, NULL, NULL);
    cr_assert_gt(r.instants, 100);
    struct pmkv_stats stats;
    cr_assert_eq(pmkv_stats(r.kv, &stats), PMKV_OK);
    cr_assert_geq(stats.segments_cleaned, 3);
    crash_end(&r);
}

/* Puts keys from `first` on, all of one size, until the lane has left a segment (UINT32_MAX: the
 * one it has, any other: that one, as soon as it gets it). Returns that segment. */
static uint32_t fill_alike(struct crash_run *r, uint32_t first, uint32_t segment)
{
    const _Atomic int64_t *at = &r->kv->lanes[0].segment;
    uint32_t i = 0;
    if (segment == UINT32_MAX)
        segment = (uint32_t)*at;
    for (; *at != segment; i++)
        model_put(&r->model, r->kv, first + i % 10, 4000);
    for (; *at == segment; i++)
        model_put(&r->model, r->kv, first + i % 10, 4000);
    seal_waiting(r->kv);
    return segment;
}

/* The summary of a generation is not found again; the one of the generation before, of as many
 * records at the same places, still stands in the log. The records themselves are read instead. */
Test(cleaning, i07_a_summary_of_an_earlier_generation_says_nothing)
{
    struct crash_run r;
    crash_begin(&r, PMKV_NONE, 7);
    model_put(&r.model, r.kv, 0, 4000);
    fill_alike(&r, 0, UINT32_MAX);
    uint32_t segment = fill_alike(&r, 0, UINT32_MAX), records = r.kv->segments[segment].records;
    uint64_t generation = r.kv->segments[segment].generation;
    fill_alike(&r, 0, UINT32_MAX);
    place_clean(r.kv, segment);
    cr_assert_neq(r.kv->segments[segment].generation, generation, "it was not freed");
    fill_alike(&r, 20, segment);
    cr_assert_eq(r.kv->segments[segment].records, records);
    cr_assert_eq(r.kv->segments[segment].part_count, 1);
    struct row_place part = pos_place(&r.kv->shape, r.kv->segments[segment].parts[0].pos);
    uint64_t off = place_offset(r.kv, part, 0);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    crash_close(&r.kv, "the store that lost its power");
    place_flip(image, off + 12);
    r.kv = crash_open(image, r.geometry, "after the crash");
    model_compare(&r.model, r.kv, 0, "without the summary");
    crash_close(&r.kv, "at the end");
}

/* --- I8 --------------------------------------------------------------------------------------- */

/* A key that was put in one segment and deleted in another; cleaned in either order, with a crash
 * after each step, it never comes back. */
static void delete_and_clean(enum pmkv_geometry geometry, bool tombstone_first, unsigned puts)
{
    struct crash_run r;
    crash_begin(&r, geometry, 8);
    uint32_t first = 0;
    for (unsigned i = 0; i < puts; i++)
        first = key_in_sealed_segment(&r, 0);
    model_delete(&r.model, r.kv, 0);
    uint32_t tombstone = place_segment_of(r.kv, 0);
    script_fill_segment(&r, 20, 20);
    seal_waiting(r.kv);
    place_clean(r.kv, tombstone_first ? tombstone : first);
    crash_now(&r, sim_choose_none, NULL);
    place_clean(r.kv, tombstone_first ? first : tombstone);
    crash_now(&r, sim_choose_none, NULL);
    struct row_place place;
    if (place_of_key(r.kv, 0, &place)) {
        script_fill_segment(&r, 20, 20);
        place_clean(r.kv, place.segment);
    }
    crash_now(&r, sim_choose_all, NULL);
    crash_reopen(&r);
    crash_end(&r);
}

Test(cleaning, i08_a_tombstone_stays_while_older_versions_exist)
{
    delete_and_clean(PMKV_PARITY, true, 1);
    delete_and_clean(PMKV_MIRROR, true, 2);
}

Test(cleaning, i08_a_tombstone_outlives_what_it_buries)
{
    delete_and_clean(PMKV_PARITY, false, 1);
    delete_and_clean(PMKV_NONE, false, 3);
}

Test(cleaning, i08_a_tombstone_that_nothing_needs_goes)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_PARITY, 8);
    uint32_t segment = key_in_sealed_segment(&r, 0);
    model_delete(&r.model, r.kv, 0);
    cr_assert(place_of_key(r.kv, 0, &place), "the tombstone has a slot");
    place_clean(r.kv, segment); /* the put goes, and with it the tombstone */
    cr_assert_not(place_of_key(r.kv, 0, &place), "the tombstone is still in the index");
    crash_end(&r);
}

/* Neither the record nor the summary that names it can be read: the segment stays, and the key says
 * what happened to it. */
Test(cleaning, i06_a_segment_that_a_slot_names_is_not_freed)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_NONE, 9);
    uint32_t segment = key_in_sealed_segment(&r, 0);
    uint64_t generation = r.kv->segments[segment].generation;
    cr_assert(place_of_key(r.kv, 0, &place));
    uint64_t record_off = place_offset(r.kv, place, 0);
    sim_poison(r.media, record_off / PAGE_BYTES * PAGE_BYTES, PAGE_BYTES);
    r.kv->segments[segment].parts[0].pos = (struct log_pos){0}; /* what moving a lost part leaves */
    place_clean(r.kv, segment);
    cr_assert_eq(r.kv->segments[segment].generation, generation, "it was freed");
    cr_assert_eq(place_get(r.kv, 0), PMKV_E_LOST);
    crash_close(&r.kv, "with a loss");
}
