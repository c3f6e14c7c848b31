/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Segments that the background prepared ahead: on the medium they are open, and no row of them was
 * begun. */
#include <criterion/criterion.h>
#include <errno.h>

#include "kv/open.h"
#include "kv/segment.h"
#include "place.h"
#include "script.h"

TestSuite(prepared, .timeout = 120);

enum { PREPARED = 3 }; /* for each lane, and for both of the store's own */

static uint32_t prepared_of(struct pmkv *kv, uint32_t *last)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
        if (atomic_load(&kv->segments[i].state) == SEGMENT_READY) {
            *last = i;
            count++;
        }
    return count;
}

/* Returns one of the segments. */
static uint32_t begin(struct crash_run *r)
{
    uint32_t last = 0;
    crash_begin(r, PMKV_PARITY, 88);
    for (uint32_t key = 0; key < 10; key++)
        model_put(&r->model, r->kv, key, 3000);
    segment_prepare_ahead(r->kv);
    cr_assert_eq(prepared_of(r->kv, &last), PREPARED);
    return last;
}

/* It stores nothing: the simulation would not have it. */
Test(prepared, after_a_crash_a_reader_has_nothing_in_them)
{
    struct crash_run r;
    begin(&r);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    struct pmkv *kv = NULL;
    struct pmkv_options o = crash_options(PMKV_PARITY);
    image->read_only = o.read_only = true;
    cr_assert_eq(store_open(image, &o, &kv), PMKV_OK, "%s", pmkv_errormsg());
    model_compare(&r.model, kv, 0, "for reading");
    crash_nothing_lost(kv, "for reading");
    crash_close(&kv, "for reading");
    crash_close(&r.kv, "at the end");
}

/* The medium takes no writes any more when `left` drains were made; `image` is what it has then. */
struct stop {
    unsigned left;
    struct media *image;
};

static void stop_drains(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct stop *stop = arg;
    (void)off, (void)bytes;
    if (op != SIM_DRAIN || stop->left-- != 0)
        return;
    sim_set_drain_error(m, -EIO);
    stop->image = crash_image(m, sim_choose_none, NULL);
}

/* An open gives them back, and may be stopped at each of its fences. */
Test(prepared, an_open_that_cannot_give_them_back_does_no_harm)
{
    struct crash_run r;
    unsigned failed = 0;
    begin(&r);
    for (;; failed++) {
        struct stop stop = {.left = failed};
        struct pmkv *kv = NULL;
        struct pmkv_options o = crash_options(PMKV_PARITY);
        struct media *image = crash_image(r.media, sim_choose_none, NULL);
        sim_set_drain_hook(image, stop_drains, &stop);
        enum pmkv_status s = store_open(image, &o, &kv);
        if (!stop.image) {
            cr_assert_eq(s, PMKV_OK, "%s", pmkv_errormsg());
            sim_set_drain_hook(image, NULL, NULL);
            crash_close(&kv, "an open without failures");
            break;
        }
        cr_assert_eq(s, PMKV_E_IO, "drain %u: %s", failed, pmkv_status_name(s));
        kv = crash_open(stop.image, PMKV_PARITY, "after the failure");
        model_compare(&r.model, kv, 0, "after the failure");
        crash_nothing_lost(kv, "after the failure");
        crash_close(&kv, "after the failure");
    }
    cr_assert_gt(failed, PREPARED, "%u", failed);
    crash_close(&r.kv, "at the end");
}
