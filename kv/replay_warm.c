/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Touching pages before a pass reads them. The first touch of a mapped page is a fault, which costs
 * as much as reading some pages, and in a virtual machine several times that. A pass that reads
 * segments in their order, a page here and there, gets helpers that touch the same pages from the
 * last segment on until they meet it. They judge nothing: what they touch, and whether, changes
 * nothing but the time.
 */
#include <unistd.h>

#include "../recovery/media.h"
#include "replay.h"

/* Below this a helper is not worth its start. */
#define WARM_FROM_BYTES (512ull << 20)

static void touch_headers(struct pmkv *kv, uint32_t segment)
{
    for (uint32_t c = 0; c < kv->vol.layout.columns; c++)
        media_touch(kv->vol.media, layout_slice_off(&kv->vol.layout, segment, c), LINE_BYTES);
}

static void touch_own(struct pmkv *kv, uint32_t segment)
{
    if (kv->segments[segment].kind != KIND_META)
        return;
    for (uint32_t row = 0; row < kv->segments[segment].rows_used; row++)
        for (uint32_t page = 0; page < kv->vol.layout.row_pages; page++)
            media_touch(kv->vol.media, layout_data_page_off(&kv->vol.layout, segment, row, page),
                        LINE_BYTES);
}

static void *warm_main(void *arg)
{
    struct warm_helper *h = arg;
    struct warm *w = h->warm;
    for (int64_t i = h->first; i > (int64_t)atomic_load(&w->reached); i -= w->count)
        (w->what == WARM_HEADERS ? touch_headers : touch_own)(w->kv, (uint32_t)i);
    return NULL;
}

/* unreached: a machine has one number of processors; a thread that cannot be started. */
void warm_begin(struct warm *w, struct pmkv *kv, enum warm_what what)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    *w = (struct warm){.kv = kv, .what = what};
    if (kv->opts.no_background || kv->vol.layout.pool_bytes < WARM_FROM_BYTES || cpus < 2)
        return;
    w->count = cpus - 1 < WARM_HELPERS ? (uint32_t)cpus - 1 : WARM_HELPERS;
    for (uint32_t i = 0; i < w->count; i++) {
        struct warm_helper *h = &w->helpers[i];
        *h = (struct warm_helper){.warm = w, .first = (int64_t)kv->vol.layout.segments - 1 - i};
        h->started = pthread_create(&h->thread, NULL, warm_main, h) == 0;
    }
}

/* unreached: as warm_begin. */
void warm_end(struct warm *w)
{
    atomic_store(&w->reached, UINT32_MAX);
    for (uint32_t i = 0; i < w->count; i++)
        if (w->helpers[i].started)
            pthread_join(w->helpers[i].thread, NULL);
}
