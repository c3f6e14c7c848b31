/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Invariant I10 of docs/design.md for batches: after a crash a torn one, or one that was given up,
 * is absent as a whole; one that was acknowledged counts with what damage has left of it. */
#include <criterion/criterion.h>

#include "place.h"
#include "script.h"

TestSuite(batches, .timeout = 120);

/* --- damage ----------------------------------------------------------------------------------- */

/* After the crash: the others of keys [0, count) are as they were put. */
static void others_are_there(struct crash_run *r, uint32_t hit, enum pmkv_status as)
{
    cr_assert_eq(place_get(r->kv, hit), as, "%s: the member that was hit is %s",
                 crash_geometry_name(r->geometry), pmkv_status_name(place_get(r->kv, hit)));
    if (as == PMKV_E_NOT_FOUND)
        r->model.now[hit] = (struct model_value){0, 0};
    model_compare(&r->model, r->kv, MODEL_LOST_IS_FINE, crash_geometry_name(r->geometry));
    cr_assert_eq(crash_lost_count(r->kv), 1, "%llu are named",
                 (unsigned long long)crash_lost_count(r->kv));
    struct media *image = crash_image(r->media, sim_choose_none, NULL);
    struct pmkv *again = crash_open(image, r->geometry, "after another crash");
    model_compare(&r->model, again, MODEL_LOST_IS_FINE, "after another crash");
    cr_assert_eq(crash_lost_count(again), 1);
    crash_close(&again, "after another crash");
    crash_close(&r->kv, "at the end");
}

/* A batch that was acknowledged, and a put. Each member in turn is hit beyond the redundancy. */
static void batch_with_a_member_hit(enum pmkv_geometry geometry, bool in_header)
{
    for (uint32_t hit = 0; hit < 8; hit++) {
        struct crash_run r;
        crash_begin(&r, geometry, 10);
        model_batch(&r.model, r.kv, 0, 8, 0, 100);
        model_put(&r.model, r.kv, 8, 100);
        place_crash_changed(&r, hit, in_header);
        others_are_there(&r, hit, in_header ? PMKV_E_NOT_FOUND : PMKV_E_LOST);
    }
}

Test(batches, a_batch_counts_with_the_members_that_are_left)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++) {
        batch_with_a_member_hit(g, false);
        batch_with_a_member_hit(g, true);
    }
}

/* It ends in the last row, with nothing behind it: its last row is whole, the ones before it were
 * fenced. */
Test(batches, a_batch_over_rows_counts_with_the_members_that_are_left)
{
    for (uint32_t in_header = 0; in_header <= 1; in_header++) {
        struct crash_run r;
        struct row_place place;
        uint32_t hit = 0;
        crash_begin(&r, PMKV_NONE, 10);
        model_batch(&r.model, r.kv, 0, 30, 0, 3000);
        cr_assert_gt(place_open_row(r.kv)->row, 1);
        for (; place_of_key(r.kv, hit, &place) && place.row != 1; hit++) {
        }
        place_crash_changed(&r, hit, in_header);
        others_are_there(&r, hit, in_header ? PMKV_E_NOT_FOUND : PMKV_E_LOST);
    }
}

/* The commit record is hit: what was begun behind it, a put or a batch, proves that the batch was
 * fenced. */
static void batch_with_its_commit_hit(uint32_t ahead, uint32_t members, uint32_t bytes, bool batch)
{
    struct crash_run r;
    struct row_place place, last = {0};
    size_t key_bytes;
    crash_begin(&r, PMKV_NONE, 10);
    for (uint32_t i = 0; i < ahead; i++)
        model_put(&r.model, r.kv, 41 + i, 7000);
    model_batch(&r.model, r.kv, 0, members, 0, bytes);
    if (batch)
        model_batch(&r.model, r.kv, 30, 6, 0, 100);
    else
        model_put(&r.model, r.kv, 40, ahead ? 4000 : 100);
    for (uint32_t i = 0; i < members; i++) {
        cr_assert(place_of_key(r.kv, i, &place));
        model_key(i, &key_bytes);
        place.offset += (uint32_t)record_packed((uint32_t)key_bytes, bytes);
        if (place.row > last.row || place.offset > last.offset)
            last = place;
    }
    last.offset += 12;
    place_crash_flipped(&r, last);
    others_are_there(&r, 47, PMKV_E_NOT_FOUND); /* nobody put that */
}

Test(batches, a_batch_counts_whose_commit_is_lost)
{
    batch_with_its_commit_hit(0, 8, 100, false);
    batch_with_its_commit_hit(0, 8, 100, true);
    batch_with_its_commit_hit(3, 8, 1000, false); /* at the end of its row */
    batch_with_its_commit_hit(0, 20, 3000, false);
}

/* A page in the middle of the very last batch cannot be read, and nothing says that it was fenced:
 * it may have been torn there, and a torn batch is absent as a whole. */
Test(batches, a_batch_that_may_be_torn_is_absent_as_a_whole)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_NONE, 10);
    for (uint32_t i = 0; i < 8; i++)
        model_put(&r.model, r.kv, i, 10);
    struct model before = r.model;
    model_batch(&r.model, r.kv, 0, 8, 0, 2500);
    cr_assert(place_of_key(r.kv, 0, &place));
    place.offset = 2 * PAGE_PAYLOAD_BYTES;
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    sim_poison(image, place_offset(r.kv, place, 0), PAGE_BYTES);
    struct pmkv *kv = crash_open(image, r.geometry, "after the crash");
    model_compare(&before, kv, 0, "after the crash");
    cr_assert_geq(crash_lost_count(kv), 1);
    image = crash_image(image, sim_choose_none, NULL);
    crash_close(&kv, "after the crash");
    kv = crash_open(image, r.geometry, "after another crash");
    model_compare(&before, kv, 0, "after another crash");
    cr_assert_geq(crash_lost_count(kv), 1);
    crash_close(&kv, "after another crash");
    crash_close(&r.kv, "at the end");
}

/* A batch over rows was cut before its commit, and a member that was fenced is hit: it never
 * counted, and none of it is missed. */
static uint8_t all_but_row_2(void *arg, size_t index, const struct sim_line *line)
{
    const struct crash_run *r = arg;
    (void)index;
    return layout_locate(&r->kv->vol.layout, line->off).row == 2 ? 0 : 0xff;
}

/* The batch begins in row 1. */
static void in_its_second_row(void *arg, struct media *m, enum sim_op op, uint64_t off,
                              uint64_t bytes)
{
    struct crash_run *r = arg;
    struct row_buf *row = place_open_row(r->kv);
    (void)op, (void)off, (void)bytes;
    if (r->last || row->row != 2 || row->fill == 0)
        return;
    r->last = crash_image(m, all_but_row_2, r);
    uint64_t at = layout_data_page_off(&r->kv->vol.layout, row->segment, 1, 3);
    place_flip(r->last, at + 1000); /* in the value of some member */
}

Test(batches, nothing_of_a_batch_without_commit_is_missed)
{
    struct crash_run r;
    crash_begin(&r, PMKV_NONE, 10);
    for (uint32_t i = 0; i < 30; i++)
        model_put(&r.model, r.kv, i, 10);
    struct model before = r.model;
    sim_set_drain_hook(r.media, in_its_second_row, &r);
    model_batch(&r.model, r.kv, 0, 30, 0, 3000);
    sim_set_drain_hook(r.media, NULL, NULL);
    cr_assert_not_null(r.last);
    struct pmkv *kv = crash_open(r.last, PMKV_NONE, "a batch that was cut");
    model_compare(&before, kv, 0, "a batch that was cut");
    crash_nothing_lost(kv, "a batch that was cut");
    crash_close(&kv, "a batch that was cut");
    crash_close(&r.kv, "at the end");
}

/* --- torn --------------------------------------------------------------------------------------
 */

/* Every word of a batch in turn is the one that did not get there. Members pack to 8 bytes, so the
 * gap one leaves may be small, and behind it there is whole what belongs to the same commit. */
static uint8_t all_but_one_word(void *arg, size_t index, const struct sim_line *line)
{
    const size_t *word = arg;
    (void)line;
    return index == *word / 8 ? (uint8_t) ~(1u << *word % 8) : 0xff;
}

static void tear_each_word(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct crash_run *r = arg;
    (void)op, (void)off, (void)bytes;
    for (size_t word = 0; word < sim_pending_count(m) * 8; word++) {
        struct pmkv *kv = crash_open(crash_image(m, all_but_one_word, &word), r->geometry, "torn");
        unsigned states = model_compare(&r->model, kv, 0, "torn");
        crash_nothing_lost(kv, "torn");
        r->images += states == MODEL_BEFORE;
        crash_close(&kv, "torn");
    }
}

Test(batches, a_batch_torn_in_any_word_is_absent_as_a_whole)
{
    struct crash_run r;
    crash_begin(&r, PMKV_NONE, 10);
    for (uint32_t i = 0; i < 8; i++)
        model_put(&r.model, r.kv, i, 3);
    sim_set_drain_hook(r.media, tear_each_word, &r);
    for (uint32_t bytes = 0; bytes < 24; bytes += 8)
        model_batch(&r.model, r.kv, 0, 8, 0, bytes);
    sim_set_drain_hook(r.media, NULL, NULL);
    cr_assert_gt(r.images, 150, "%u images were torn", r.images);
    crash_end(&r);
}

/* --- given up --------------------------------------------------------------------------------- */

/* Everything of the close, and nothing of the zeros that take the place of what was given up. */
static uint8_t all_but_zeros(void *arg, size_t index, const struct sim_line *line)
{
    static const uint8_t zeros[LINE_BYTES];
    (void)arg, (void)index;
    return memcmp(line->bytes, zeros, LINE_BYTES) == 0 ? 0 : 0xff;
}

static uint8_t some_lines(void *arg, size_t index, const struct sim_line *line)
{
    struct crash_run *r = arg;
    (void)index, (void)line;
    return test_rng_one_in(&r->rng, 2) ? 0xff : 0;
}

/* A page that cannot be read in any copy is reported, for there may have been more commits. */
static void open_given_up(struct crash_run *r, struct media *image)
{
    const struct row_buf *row = &r->kv->lanes[0].rows[1];
    bool unreadable = sim_is_poisoned(image, row_copy_off(r->kv, row, 0, 2));
    struct pmkv *kv = crash_open(image, r->geometry, "given up");
    model_compare(&r->model, kv, 0, "given up");
    if (!unreadable)
        crash_nothing_lost(kv, "given up");
    crash_close(&kv, "given up");
    r->images += !unreadable;
}

static void while_giving_up(void *arg, struct media *m, enum sim_op op, uint64_t off,
                            uint64_t bytes)
{
    struct crash_run *r = arg;
    (void)op, (void)off, (void)bytes;
    open_given_up(r, crash_image(m, sim_choose_none, NULL));
    open_given_up(r, crash_image(m, sim_choose_all, NULL));
    open_given_up(r, crash_image(m, all_but_zeros, NULL));
    for (uint32_t i = 0; i < 12; i++)
        open_given_up(r, crash_image(m, some_lines, r));
}

/* A page of a batch faults in every copy: what was stored of it is given up, the row is closed, and
 * the batch is stored in the next one. Power is lost at every instant. */
Test(batches, one_that_is_given_up_is_absent)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++) {
        struct crash_run r;
        crash_begin(&r, g, 10);
        for (uint32_t i = 0; i < 8; i++)
            model_put(&r.model, r.kv, i, 10);
        cr_assert_eq(place_open_row(r.kv), &r.kv->lanes[0].rows[1]);
        for (uint32_t copy = 0; copy < row_copies(r.kv); copy++)
            sim_poison(r.media, row_copy_off(r.kv, place_open_row(r.kv), copy, 2), PAGE_BYTES);
        sim_set_drain_hook(r.media, while_giving_up, &r);
        model_batch(&r.model, r.kv, 0, 8, 0, 2500);
        sim_set_drain_hook(r.media, NULL, NULL);
        cr_assert_neq(place_open_row(r.kv), &r.kv->lanes[0].rows[1], "the row went on");
        cr_assert_gt(r.images, 20, "%u images could be read", r.images);
        crash_end(&r);
    }
}
