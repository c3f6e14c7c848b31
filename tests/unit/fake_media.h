/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A medium in plain memory for tests of rows and superblocks: pages can be poisoned, drains can be
 * told to fail, and the stores between two drains are counted.
 */
#ifndef PMKV_TESTS_FAKE_MEDIA_H
#define PMKV_TESTS_FAKE_MEDIA_H

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "recovery/media.h"

struct fake_media {
    struct media media; /* first: the ops cast back */
    uint8_t *bytes;
    bool *poison;         /* one a page */
    uint64_t stop_at;     /* loads end before this offset, inside a page; 0: none */
    uint32_t fail_drains; /* the next so many drains fail */
    uint32_t epoch_stores, most_epoch_stores; /* since the last drain; most in one epoch */
    uint64_t store_log[16];                   /* offsets of the first stores */
    uint32_t stores;
};

static inline size_t fake_until_poison(struct fake_media *f, uint64_t off, size_t bytes)
{
    for (size_t done = 0; done < bytes; done += PAGE_BYTES - (off + done) % PAGE_BYTES)
        if (off + done >= f->media.size || f->poison[(off + done) / PAGE_BYTES])
            return done;
    return bytes;
}

static inline size_t fake_load(struct media *m, uint64_t off, void *dst, size_t bytes)
{
    struct fake_media *f = (struct fake_media *)m;
    size_t good = fake_until_poison(f, off, bytes);
    if (f->stop_at > off && f->stop_at - off < good)
        good = f->stop_at - off;
    memcpy(dst, f->bytes + off, good);
    return good;
}

static inline size_t fake_store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    struct fake_media *f = (struct fake_media *)m;
    size_t good = fake_until_poison(f, off, bytes);
    memcpy(f->bytes + off, src, good);
    if (f->stores < 16)
        f->store_log[f->stores] = off;
    f->stores++;
    if (++f->epoch_stores > f->most_epoch_stores)
        f->most_epoch_stores = f->epoch_stores;
    return good;
}

static inline int fake_drain(struct media *m)
{
    struct fake_media *f = (struct fake_media *)m;
    f->epoch_stores = 0;
    if (f->fail_drains == 0)
        return 0;
    f->fail_drains--;
    return -EIO;
}

static inline void fake_media_init(struct fake_media *f, uint64_t size)
{
    static const struct media_ops ops = {
        .load = fake_load, .store = fake_store, .drain = fake_drain};
    memset(f, 0, sizeof *f);
    f->media.ops = &ops;
    f->media.size = size;
    f->media.loss_unit = PAGE_BYTES;
    f->media.fd = -1;
    f->bytes = calloc(size / PAGE_BYTES + 1, PAGE_BYTES);
    f->poison = calloc(size / PAGE_BYTES + 1, sizeof *f->poison);
}

static inline void fake_media_free(struct fake_media *f)
{
    free(f->bytes);
    free(f->poison);
}

#endif
