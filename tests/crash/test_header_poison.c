/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Damage where the only copies of a segment's header stand: the pool opens all the same, and what
 * was in the segment is there or named (P8). */
#include <criterion/criterion.h>

#include "crash_run.h"
#include "kv/open.h"
#include "kv/segment.h"
#include "place.h"

TestSuite(header_poison, .timeout = 600);

/* A pool of one column, crashed; its segment `segment` then has a poisoned header. */
static struct media *crashed(struct crash_run *r, uint32_t segment)
{
    crash_begin(r, PMKV_NONE, 41);
    for (uint32_t i = 0; i < 5; i++)
        model_put(&r->model, r->kv, i, 300);
    struct media *image = crash_image(r->media, sim_choose_none, NULL);
    sim_poison(image, layout_slice_off(&r->kv->vol.layout, segment, 0), PAGE_BYTES);
    crash_close(&r->kv, "the store that lost its power");
    return image;
}

Test(header_poison, of_a_segment_in_use_is_cleared_by_the_open)
{
    struct crash_run r;
    struct media *image = crashed(&r, 0);
    struct pmkv *kv = crash_open(image, PMKV_NONE, "the only header is poisoned");
    cr_assert_gt(crash_lost_count(kv), 0, "what was in the segment is not listed");
    cr_assert(!sim_is_poisoned(image, layout_slice_off(&kv->vol.layout, 0, 0)));
    crash_close(&kv, "after it");
}

Test(header_poison, that_cannot_be_cleared_puts_the_segment_out_of_use)
{
    struct crash_run r;
    for (uint32_t segment = 0; segment < 3; segment++) {
        struct media *image = crashed(&r, segment);
        sim_set_clears_fail(image, true);
        struct pmkv *kv = crash_open(image, PMKV_NONE, "a header that cannot be cleared");
        for (uint32_t i = 10; i < 40; i++)
            model_put(&r.model, kv, i, 7000);
        for (uint32_t i = 10; i < 40; i++)
            cr_assert_eq(place_get(kv, i), PMKV_OK, "key %u", i);
        sim_set_gone(image, true);
        pmkv_close(&kv);
    }
}

static struct segment_header newest_header(struct media *m, const struct layout *l, uint32_t column,
                                           uint64_t *off)
{
    struct segment_header h[2];
    *off = layout_slice_off(l, 0, column);
    sim_peek(m, *off, h, sizeof h);
    uint32_t newer = h[1].version > h[0].version;
    *off += newer * LINE_BYTES;
    return h[newer];
}

static void flip_newest_headers(enum pmkv_geometry geometry)
{
    struct crash_run r;
    uint64_t off;
    crash_begin(&r, geometry, 42);
    for (uint32_t i = 0; i < 5; i++)
        model_put(&r.model, r.kv, i, 300);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    for (uint32_t c = 0; c < r.kv->vol.layout.columns; c++) {
        struct segment_header h = newest_header(image, &r.kv->vol.layout, c, &off);
        cr_assert_eq(h.state, SEGMENT_OPEN);
        place_flip(image, off + 20);
    }
    crash_close(&r.kv, "the store that lost its power");
    struct pmkv *kv = crash_open(image, geometry, "a bit of each newest header is flipped");
    model_compare(&r.model, kv, 0, "then");
    crash_close(&kv, "after it");
}

Test(header_poison, a_flipped_bit_does_not_bring_the_header_before_it_back)
{
    flip_newest_headers(PMKV_NONE);
    flip_newest_headers(PMKV_MIRROR);
}
