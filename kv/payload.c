/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Copying payload of rows from the medium, page by page, through safe copies. */
#include <errno.h>

#include "../recovery/media.h"
#include "damage.h"
#include "read.h"

static uint64_t payload_off(const struct pmkv *kv, struct row_place place)
{
    return layout_data_page_off(&kv->vol.layout, place.segment, place.row,
                                place.offset / PAGE_PAYLOAD_BYTES) +
           place.offset % PAGE_PAYLOAD_BYTES;
}

static uint32_t page_part(struct row_place place, uint32_t bytes)
{
    uint32_t left = PAGE_PAYLOAD_BYTES - place.offset % PAGE_PAYLOAD_BYTES;
    return left < bytes ? left : bytes;
}

int payload_load(struct pmkv *kv, struct row_place place, void *dst, uint32_t bytes)
{
    char *to = dst;
    while (bytes > 0) {
        uint32_t part = page_part(place, bytes);
        uint64_t off = payload_off(kv, place);
        size_t moved = media_load(kv->vol.media, off, to, part);
        if (__builtin_expect(moved != part, 0)) {
            damage_found(kv, DAMAGE_POISON, off + moved, "read of a record");
            return -EFAULT;
        }
        to += part;
        place.offset += part;
        bytes -= part;
    }
    return 0;
}

/* Copies and hashes a piece that is in one page, a little at a time, so that the hash finds it in
 * the first-level cache; `ahead` is asked for meanwhile. Short when it met poison. */
static size_t piece_stream(struct media *m, uint64_t off, char *to, uint32_t bytes, uint64_t ahead,
                           uint32_t ahead_bytes, struct hash_run *hash)
{
    size_t before = (size_t)((unsigned char *)to - hash->bytes);
    for (uint32_t at = 0; at < bytes; at += HASH_BLOCK_BYTES) {
        uint32_t n = bytes - at < HASH_BLOCK_BYTES ? bytes - at : HASH_BLOCK_BYTES;
        if (at < ahead_bytes)
            media_prefetch(m, ahead + at, ahead_bytes - at < n ? ahead_bytes - at : n);
        size_t moved = media_load(m, off + at, to + at, n);
        if (__builtin_expect(moved != n, 0))
            return at + moved;
        hash_run_to(hash, before + at + n);
    }
    return bytes;
}

/* payload_load and hash64 in one pass. The processor fetches ahead within a page only, so the page
 * after the one that is copied is asked for. */
static int payload_stream(struct pmkv *kv, struct row_place place, void *dst, uint32_t bytes,
                          uint64_t *hash)
{
    struct hash_run run;
    hash_run_begin(&run, dst, bytes);
    char *to = dst;
    uint64_t off = payload_off(kv, place);
    for (uint32_t part = page_part(place, bytes), next; bytes > 0; part = next) {
        place.offset += part;
        bytes -= part;
        next = page_part(place, bytes);
        uint64_t ahead = next ? payload_off(kv, place) : 0;
        size_t moved = piece_stream(kv->vol.media, off, to, part, ahead, next, &run);
        if (__builtin_expect(moved != part, 0)) {
            damage_found(kv, DAMAGE_POISON, off + moved, "read of a record");
            return -EFAULT;
        }
        to += part;
        off = ahead;
    }
    *hash = hash_run_end(&run);
    return 0;
}

int value_load(struct pmkv *kv, struct row_place place, void *dst, uint32_t bytes, uint64_t *hash)
{
    if (bytes > PAGE_PAYLOAD_BYTES)
        return payload_stream(kv, place, dst, bytes, hash);
    int rc = payload_load(kv, place, dst, bytes);
    *hash = rc ? 0 : hash64(dst, bytes);
    return rc;
}
