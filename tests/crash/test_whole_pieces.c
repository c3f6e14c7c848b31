/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Pieces of long values that fill rows: stored once, with their parity, in rows that are their own.
 * What a crash leaves of one that was being written is for the crash scripts to see. */
#include <criterion/criterion.h>

#include "crash_run.h"
#include "kv/clean.h"
#include "kv/lane.h"
#include "kv/segment.h"
#include "place.h"

TestSuite(whole_pieces, .timeout = 300);

enum { KEY = 7, ROW_BYTES = 8 * PAGE_PAYLOAD_BYTES, LONG_BYTES = 5 * ROW_BYTES };

static const struct row_buf *last_row(const struct pmkv *kv)
{
    return &kv->long_lane->rows[kv->long_lane->current];
}

static uint64_t page_of_last_row(const struct pmkv *kv, uint32_t column)
{
    const struct row_buf *buf = last_row(kv);
    return layout_chunk_page_off(&kv->vol.layout, buf->segment, buf->row, column, 0);
}

Test(whole_pieces, are_stored_once)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++) {
        struct crash_run r;
        crash_begin(&r, g, 71);
        model_put(&r.model, r.kv, 0, 10); /* takes a segment */
        const struct layout *l = &r.kv->vol.layout;
        uint64_t before = media_bytes_stored(r.media);
        model_put(&r.model, r.kv, KEY, LONG_BYTES);
        double stored = (double)(media_bytes_stored(r.media) - before) / LONG_BYTES;
        double least = (double)l->columns / l->data_columns;
        cr_assert_lt(stored, least + 0.15, "%s: %.2f bytes a byte", crash_geometry_name(g), stored);
        cr_assert_eq(r.kv->segments[last_row(r.kv)->segment].kind, KIND_WHOLE);
        int64_t segment = r.kv->long_lane->segment;
        crash_reopen(&r);
        cr_assert_eq(r.kv->long_lane->segment, segment, "it does not go on");
        model_put(&r.model, r.kv, KEY + 1, LONG_BYTES);
        model_compare(&r.model, r.kv, 0, "after a clean close");
        crash_end(&r);
    }
}

/* The put has returned: nothing stands behind the value's last row, and checks that hold say
 * nothing of it. What is hit there beyond the redundancy is listed all the same. */
static void beyond_the_redundancy(enum pmkv_geometry geometry, uint32_t at)
{
    struct crash_run r;
    crash_begin(&r, geometry, 72);
    model_put(&r.model, r.kv, KEY, LONG_BYTES);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    place_flip(image, page_of_last_row(r.kv, 0) + at);
    for (uint32_t c = r.kv->vol.layout.data_columns; c < r.kv->vol.layout.columns; c++)
        place_flip(image, page_of_last_row(r.kv, c) + at);
    crash_close(&r.kv, "the store that lost its power");
    r.media = image;
    r.kv = crash_open(image, geometry, "after the crash");
    cr_assert_geq(crash_lost_count(r.kv), 1, "%s: byte %u went without a word",
                  crash_geometry_name(geometry), at);
    cr_assert_eq(place_get(r.kv, KEY), PMKV_E_LOST);
    crash_close(&r.kv, "at the end");
}

Test(whole_pieces, i10_damage_beyond_the_redundancy_is_listed_as_soon_as_the_put_returns)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++) {
        beyond_the_redundancy(g, 12);   /* the piece's header */
        beyond_the_redundancy(g, 3000); /* its value */
    }
}

/* I15: the row's pages were probed, and one is lost since. */
Test(whole_pieces, i15_a_page_that_faults_under_a_piece_is_mended)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_MIRROR; g++)
        for (uint32_t column = 0; column < 9; column++) {
            struct crash_run r;
            crash_begin(&r, g, 73);
            model_put(&r.model, r.kv, KEY, ROW_BYTES);
            const struct row_buf *buf = last_row(r.kv);
            const struct layout *l = &r.kv->vol.layout;
            cr_assert_eq(buf->row, 0);
            uint64_t off = layout_chunk_page_off(l, buf->segment, 1, column % l->columns, 0);
            sim_poison(r.media, off, PAGE_BYTES);
            model_put(&r.model, r.kv, KEY + 1, ROW_BYTES);
            cr_assert_eq(buf->segment, last_row(r.kv)->segment);
            cr_assert_eq(last_row(r.kv)->row, 1);
            cr_assert_not(sim_is_poisoned(r.media, off));
            crash_heal(r.kv, "a page under a piece");
            crash_now(&r, sim_choose_none, NULL);
            model_compare(&r.model, r.kv, 0, "a page under a piece");
            crash_end(&r);
        }
}

/* A page is lost under a store, and while it is to be repaired the medium does not answer. */
struct outage {
    uint64_t off;
    bool begun;
};

static void loses_page(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct outage *o = arg;
    if (op == SIM_STORE && off <= o->off && o->off < off + bytes && !o->begun) {
        o->begun = true;
        sim_poison(m, o->off, PAGE_BYTES);
    } else if (op == SIM_LOAD && o->begun) {
        sim_set_gone(m, true);
    }
}

static void answers_again(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct outage *o = arg;
    (void)off, (void)bytes;
    if (op == SIM_DRAIN && o->begun) {
        sim_set_access_hook(m, NULL, NULL);
        sim_set_gone(m, false);
    }
}

/* I14: what was stored of the piece counts nowhere, its row is closed once the medium is back, and
 * the lane goes on. */
Test(whole_pieces, i14_a_piece_that_could_not_be_stored_counts_nowhere)
{
    static uint8_t value[ROW_BYTES];
    memset(value, 5, sizeof value);
    for (uint32_t column = 0; column < 9; column++) {
        struct crash_run r;
        crash_begin(&r, PMKV_PARITY, 74);
        model_put(&r.model, r.kv, KEY, ROW_BYTES);
        uint32_t segment = last_row(r.kv)->segment;
        struct outage o = {.off = layout_chunk_page_off(&r.kv->vol.layout, segment, 1, column, 0)};
        sim_set_access_hook(r.media, loses_page, &o);
        sim_set_drain_hook(r.media, answers_again, &o);
        cr_assert_eq(pmkv_put(r.kv, "gone", 4, value, sizeof value), PMKV_E_IO, "page %u", column);
        sim_set_drain_hook(r.media, NULL, NULL);
        cr_assert(o.begun);
        cr_assert_eq(pmkv_get(r.kv, "gone", 4, value, sizeof value, NULL), PMKV_E_NOT_FOUND);
        model_put(&r.model, r.kv, KEY, LONG_BYTES);
        cr_assert(segment_published(&r.kv->segments[segment]), "it can never be cleaned");
        /* Its row is whole, with nothing in it: a page that goes is rebuilt. */
        sim_poison(r.media,
                   layout_chunk_page_off(&r.kv->vol.layout, segment, 1, (column + 1) % 8, 0),
                   PAGE_BYTES);
        crash_heal(r.kv, "the medium was away");
        crash_now(&r, sim_choose_none, NULL);
        crash_nothing_lost(r.kv, "the medium was away");
        model_compare(&r.model, r.kv, 0, "the medium was away");
        crash_end(&r);
    }
}

/* The rows it has left are room for puts that are short of it. */
Test(whole_pieces, their_lane_gives_up_its_segment_when_room_is_short)
{
    struct crash_run r;
    uint32_t puts = 0;
    crash_begin(&r, PMKV_PARITY, 75);
    model_put(&r.model, r.kv, KEY, ROW_BYTES);
    cr_assert_geq(r.kv->long_lane->segment, 0);
    for (; r.kv->long_lane->segment >= 0 && puts < 2000; puts++)
        model_put(&r.model, r.kv, 10 + puts % 30, 7000);
    cr_assert_lt(puts, 2000, "its segment stays its own");
    cr_assert_gt(puts, 100);
    model_compare(&r.model, r.kv, 0, "short of room");
    crash_end(&r);
}
