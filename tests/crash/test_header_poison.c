/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Poison where the only copy of a segment's header stands: the pool opens all the same (P8). */
#include <criterion/criterion.h>

#include "crash_run.h"
#include "kv/open.h"
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
