/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The row that a clean close left open is damaged in every copy, before the next open. Nothing says
 * that it was fenced (docs/design.md, section 6), so what is missing may be taken for a torn tail;
 * but what is good is there, each get returns, and the store goes on. */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "place.h"

TestSuite(closed_tail, .timeout = 120);

enum { KEYS = 8, BYTES = 900 }; /* four in a page */

static void keep_image(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct media **last = arg;
    (void)op, (void)off, (void)bytes;
    media_close(last);
    *last = crash_image(m, sim_choose_all, NULL);
}

/* What a clean close leaves, with garbage in so many first pages of the open row and its twins. */
static struct media *closed_and_damaged(struct crash_run *r, uint32_t pages)
{
    static uint8_t garbage[PAGE_BYTES];
    struct media *left = NULL;
    struct row_place place;
    uint64_t off[2][3];
    cr_assert(place_of_key(r->kv, 0, &place));
    uint32_t copies = row_copies(r->kv);
    for (uint32_t page = 0; page < pages; page++)
        for (uint32_t copy = 0; copy < copies; copy++) {
            place.offset = page * PAGE_PAYLOAD_BYTES;
            off[page][copy] = place_offset(r->kv, place, copy);
        }
    sim_set_drain_hook(r->media, keep_image, &left);
    crash_close(&r->kv, "the close");
    memset(garbage, 0x5a, sizeof garbage);
    for (uint32_t copy = 0; copy < copies; copy++)
        for (uint32_t page = 0; page < pages; page++)
            cr_assert_eq(media_inject_bytes(left, off[page][copy], garbage, sizeof garbage), 0);
    return left;
}

/* Keys before `lost` are lost, named or not. */
static void lost_and_good(struct pmkv *kv, uint32_t lost, const char *what)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        enum pmkv_status s = place_get(kv, key);
        bool may_be_gone = key <= lost; /* the last one may reach over the end of the page */
        bool gone = s == PMKV_E_LOST || s == PMKV_E_NOT_FOUND;
        cr_assert(s == PMKV_OK ? key >= lost : gone && may_be_gone, "%s: key %u: %s", what, key,
                  pmkv_status_name(s));
    }
}

static void damage_closed(enum pmkv_geometry geometry, uint32_t pages, uint32_t fillers,
                          bool ordered)
{
    struct crash_run r;
    uint32_t lost = pages * 4;
    crash_begin(&r, geometry, 11);
    for (uint32_t i = 0; i < fillers; i++) /* rows before it */
        model_put(&r.model, r.kv, KEYS + i % 30, 7000);
    lane_close_row(r.kv, &r.kv->lanes[0]);
    for (uint32_t key = 0; key < KEYS; key++)
        model_put(&r.model, r.kv, key, BYTES);
    struct media *left = closed_and_damaged(&r, pages);
    r.kv = (ordered ? crash_open_ordered : crash_open)(left, geometry, "damaged");
    lost_and_good(r.kv, lost, "opened");
    for (uint32_t i = 0; i < fillers; i++)
        cr_assert_eq(place_get(r.kv, KEYS + i % 30), PMKV_OK, "filler %u", i);
    model_put(&r.model, r.kv, 0, BYTES); /* makes it good */
    cr_assert_eq(place_get(r.kv, 0), PMKV_OK);
    crash_close(&r.kv, "used");
}

static void each_geometry(uint32_t pages, uint32_t fillers)
{
    for (int ordered = 0; ordered < 2; ordered++) {
        damage_closed(PMKV_NONE, pages, fillers, ordered);
        damage_closed(PMKV_PARITY, pages, fillers, ordered);
        damage_closed(PMKV_DOUBLE, pages, fillers, ordered);
        damage_closed(PMKV_MIRROR, pages, fillers, ordered);
    }
}

Test(closed_tail, a_page_of_it_in_all_copies)
{
    each_geometry(1, 0);
}

Test(closed_tail, all_of_it_in_all_copies)
{
    each_geometry(2, 0);
}

Test(closed_tail, with_rows_before_it)
{
    each_geometry(1, 20);
    each_geometry(2, 20);
}

/* Without the summaries that stood there the records themselves are read. */
Test(closed_tail, of_the_own_records)
{
    static const uint8_t zeros[PAGE_BYTES];
    struct crash_run r;
    struct media *left = NULL;
    crash_begin(&r, PMKV_NONE, 12);
    for (uint32_t key = 0; key < KEYS; key++)
        model_put(&r.model, r.kv, key, BYTES);
    sim_set_drain_hook(r.media, keep_image, &left);
    crash_close(&r.kv, "the close");
    struct media *image = crash_image(left, sim_choose_all, NULL);
    r.kv = crash_open(image, PMKV_NONE, "to look");
    bool hit = false;
    for (uint32_t i = 0; i < r.kv->tail_count; i++) {
        const struct lane_tail *t = &r.kv->tails[i];
        struct row_place place = {t->segment, t->row, 0};
        if (t->kind == LANE_META && t->lines_used > 0) {
            media_inject_bytes(left, place_offset(r.kv, place, 0), zeros, sizeof zeros);
            hit = true;
        }
    }
    cr_assert(hit, "the store's own lane has left no row open");
    crash_close(&r.kv, "looked");
    r.kv = crash_open(left, PMKV_NONE, "damaged");
    lost_and_good(r.kv, 0, "opened");
    crash_close(&r.kv, "at the end");
}
