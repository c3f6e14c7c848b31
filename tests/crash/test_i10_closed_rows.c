/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* I10: what is hit beyond the redundancy at the very end of a segment, where nothing stands behind
 * it, is reported all the same once a lane has left the segment, the cleaner has freed what it
 * moved there, or a recovery has completed its rows: the headers say that those closes were fenced.
 */
#include <criterion/criterion.h>

#include "kv/clean.h"
#include "kv/meta.h"
#include "place.h"
#include "script.h"

TestSuite(closed_rows, .timeout = 600);

/* Of the keys in the segment the one that stands last. */
static uint32_t last_in_segment(struct crash_run *r, uint32_t segment)
{
    uint32_t last = MODEL_KEYS;
    uint64_t highest = 0;
    for (uint32_t key = 0; key < MODEL_KEYS; key++) {
        struct row_place p;
        if (!place_of_key(r->kv, key, &p) || p.segment != segment)
            continue;
        uint64_t at = 1 + (uint64_t)p.row * row_payload(r->kv) + p.offset;
        if (at > highest) {
            highest = at;
            last = key;
        }
    }
    cr_assert_lt(last, MODEL_KEYS, "no key is in segment %u", segment);
    return last;
}

static void power_lost(struct crash_run *r, struct media *image)
{
    crash_close(&r->kv, "the store that lost its power");
    r->media = image;
    r->kv = crash_open(image, r->geometry, "after the crash");
}

/* A flip in each twin that was the row's: the slots may not have been used since. */
static void flip_twins(struct crash_run *r, struct media *image, struct row_place p, uint32_t page,
                       uint32_t at)
{
    for (uint32_t i = 0; i < r->kv->vol.layout.segments; i++)
        for (uint32_t slot = 0; r->kv->segments[i].kind == KIND_TWIN && slot < twin_slots(r->kv);
             slot++) {
            struct twin_mark mark;
            uint64_t off = twin_slot_off(r->kv, i, slot) + (uint64_t)page * PAGE_BYTES;
            sim_peek_durable(image, off + PAGE_PAYLOAD_BYTES, &mark, sizeof mark);
            if (twin_mark_valid(r->kv, &mark, off) && mark.segment == p.segment &&
                mark.row == p.row)
                place_flip(image, off + at);
        }
}

/* Power is lost, and with it what is `in` bytes behind the start of the key's record, in each copy:
 * in its data page, in the parity of that place, and in twins. The row is closed. */
static void crash_beyond_parity(struct crash_run *r, uint32_t key, uint32_t in)
{
    const struct layout *l = &r->kv->vol.layout;
    struct row_place p;
    cr_assert(place_of_key(r->kv, key, &p));
    uint32_t page = (p.offset + in) / PAGE_PAYLOAD_BYTES, at = (p.offset + in) % PAGE_PAYLOAD_BYTES;
    struct media *image = crash_image(r->media, sim_choose_none, NULL);
    place_flip(image, layout_data_page_off(l, p.segment, p.row, page) + at);
    for (uint32_t c = l->data_columns; c < l->columns; c++)
        place_flip(image,
                   layout_chunk_page_off(l, p.segment, p.row, c, page % l->chunk_pages) + at);
    flip_twins(r, image, p, page, at);
    power_lost(r, image);
}

/* Its header is hit: a range is listed. Its value is: it has a name. */
static void is_reported(struct crash_run *r, uint32_t key, bool in_header)
{
    crash_beyond_parity(r, key, in_header ? 12 : place_value_at(key) + 5);
    const char *geometry = crash_geometry_name(r->geometry);
    cr_assert_geq(crash_lost_count(r->kv), 1, "%s: key %u went without a word (%s)", geometry, key,
                  pmkv_status_name(place_get(r->kv, key)));
    if (!in_header)
        cr_assert_eq(place_get(r->kv, key), PMKV_E_LOST, "%s: key %u", geometry, key);
    uint64_t lost = crash_lost_count(r->kv);
    power_lost(r, crash_image(r->media, sim_choose_none, NULL));
    cr_assert_eq(crash_lost_count(r->kv), lost, "%s: reported anew", geometry);
    crash_close(&r->kv, "at the end");
}

static void end_of_a_segment_that_was_left(enum pmkv_geometry geometry, bool in_header)
{
    struct crash_run r;
    crash_begin(&r, geometry, 61);
    model_put(&r.model, r.kv, 40, 100);
    uint32_t segment = place_segment_of(r.kv, 40);
    script_fill_segment(&r, 0, 40);
    cr_assert_neq(r.kv->lanes[0].segment, segment);
    cr_assert_not(r.kv->segments[segment].summarised);
    is_reported(&r, last_in_segment(&r, segment), in_header);
}

Test(closed_rows, i10_damage_at_the_end_of_a_segment_a_lane_has_left_is_reported)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++) {
        end_of_a_segment_that_was_left(g, true);
        end_of_a_segment_that_was_left(g, false);
    }
}

static void end_of_what_the_cleaner_stored(enum pmkv_geometry geometry, bool in_header)
{
    struct crash_run r;
    crash_begin(&r, geometry, 62);
    for (uint32_t key = 40; key < 46; key++)
        model_put(&r.model, r.kv, key, 300);
    uint32_t victim = place_segment_of(r.kv, 40);
    script_fill_segment(&r, 0, 3);
    place_clean(r.kv, victim);
    cr_assert_eq(atomic_load(&r.kv->segments[victim].state), SEGMENT_FREE);
    is_reported(&r, last_in_segment(&r, (uint32_t)r.kv->cleaner->segment), in_header);
}

Test(closed_rows, i10_damage_at_the_end_of_the_last_row_the_cleaner_stored_is_reported)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++) {
        end_of_what_the_cleaner_stored(g, true);
        end_of_what_the_cleaner_stored(g, false);
    }
}

/* Nothing at all is left of it. */
Test(closed_rows, i10_a_whole_closed_row_that_is_gone_is_reported)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++) {
        struct crash_run r;
        crash_begin(&r, g, 66);
        for (uint32_t key = 40; key < 46; key++)
            model_put(&r.model, r.kv, key, 300);
        uint32_t victim = place_segment_of(r.kv, 40);
        script_fill_segment(&r, 0, 3);
        place_clean(r.kv, victim);
        uint32_t segment = (uint32_t)r.kv->cleaner->segment;
        struct media *image = crash_image(r.media, sim_choose_none, NULL);
        const struct layout *l = &r.kv->vol.layout;
        for (uint32_t page = 0; page < l->columns * l->chunk_pages; page++)
            sim_poison(
                image,
                layout_chunk_page_off(l, segment, 0, page / l->chunk_pages, page % l->chunk_pages),
                PAGE_BYTES);
        crash_close(&r.kv, "the store that lost its power");
        r.kv = crash_open(image, g, "a row is gone");
        cr_assert_gt(crash_lost_count(r.kv), 0, "%s: in silence", crash_geometry_name(g));
        crash_close(&r.kv, "a row is gone");
    }
}

/* Before the victims are freed nothing is lost with it: they have it. */
static void before_the_victim_is_freed(void *arg, struct media *m, enum sim_op op, uint64_t off,
                                       uint64_t bytes)
{
    struct crash_run *r = arg;
    struct pmkv *kv = NULL;
    (void)op, (void)off, (void)bytes;
    if (r->kv->cleaner->segment < 0 || r->kv->segments[r->kv->cleaner->segment].closed_rows)
        return;
    struct row_place p = {(uint32_t)r->kv->cleaner->segment, 0, 12};
    struct media *image = crash_image(m, sim_choose_all, NULL);
    place_flip(image, place_offset(r->kv, p, 0));
    kv = crash_open(image, r->geometry, "while the cleaner is at work");
    crash_nothing_lost(kv, "while the cleaner is at work");
    model_compare(&r->model, kv, 0, "while the cleaner is at work");
    crash_close(&kv, "while the cleaner is at work");
    r->images++;
}

Test(closed_rows, i10_damage_in_a_row_of_the_cleaner_is_no_loss_while_its_victim_is_there)
{
    struct crash_run r;
    crash_begin(&r, PMKV_NONE, 63);
    for (uint32_t key = 40; key < 46; key++)
        model_put(&r.model, r.kv, key, 300);
    uint32_t victim = place_segment_of(r.kv, 40);
    script_fill_segment(&r, 0, 3);
    seal_waiting(r.kv);
    sim_set_drain_hook(r.media, before_the_victim_is_freed, &r);
    place_clean(r.kv, victim);
    sim_set_drain_hook(r.media, NULL, NULL);
    cr_assert_gt(r.images, 0);
    crash_close(&r.kv, "at the end");
}

/* The recovery of a torn row of the cleaner is cut: of a record that was no more there, the zeros
 * are under their checks in part, and elsewhere parity gives the old bytes back. The victim has it.
 */
static void completion_is_cut(void *arg, struct media *m, enum sim_op op, uint64_t off,
                              uint64_t bytes)
{
    static const uint8_t zeros[GROUP_BYTES];
    struct crash_run *r = arg;
    const struct lane *cleaner = r->kv->cleaner;
    (void)op, (void)off, (void)bytes;
    if (cleaner->segment < 0 || r->kv->segments[cleaner->segment].closed_rows)
        return;
    struct row_ref ref = row_ref_of(r->kv, (uint32_t)cleaner->segment, 0);
    for (uint32_t all = 0; all <= 1; all++) {
        struct media *image = crash_image(m, sim_choose_all, NULL);
        for (uint32_t group = 0; group < PAGE_GROUPS; group++)
            if (group < 2 || (all && group % 3))
                place_zero_with_check(r, image, ref, 0, group);
        uint64_t at = layout_data_page_off(&r->kv->vol.layout, ref.segment, ref.row, 0);
        cr_assert_eq(media_inject_bytes(image, at + 3 * GROUP_BYTES, zeros, sizeof zeros), 0);
        struct pmkv *kv = crash_open(image, r->geometry, "while a completion is cut");
        crash_nothing_lost(kv, "while a completion is cut");
        model_compare(&r->model, kv, 0, "while a completion is cut");
        image = crash_image(image, sim_choose_none, NULL);
        crash_close(&kv, "while a completion is cut");
        kv = crash_open(image, r->geometry, "the next one");
        crash_nothing_lost(kv, "the next one");
        crash_close(&kv, "the next one");
    }
    r->images++;
}

Test(closed_rows, i10_the_rest_of_a_torn_row_of_the_cleaner_is_no_loss)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 65);
    for (uint32_t key = 40; key < 46; key++)
        model_put(&r.model, r.kv, key, 900);
    uint32_t victim = place_segment_of(r.kv, 40);
    script_fill_segment(&r, 0, 3);
    seal_waiting(r.kv);
    sim_set_drain_hook(r.media, completion_is_cut, &r);
    place_clean(r.kv, victim);
    sim_set_drain_hook(r.media, NULL, NULL);
    cr_assert_gt(r.images, 0);
    crash_close(&r.kv, "at the end");
}

/* What a recovery found at the end of the log it has completed: from then on it is known. */
Test(closed_rows, i10_damage_at_the_end_of_a_recovered_row_is_reported)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++)
        for (uint32_t in_header = 0; in_header <= 1; in_header++) {
            struct crash_run r;
            crash_begin(&r, g, 64);
            for (uint32_t key = 0; key < 8; key++)
                model_put(&r.model, r.kv, key, 700);
            crash_now(&r, sim_choose_none, NULL);
            is_reported(&r, 7, in_header);
        }
}
