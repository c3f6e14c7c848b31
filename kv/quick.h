/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The read that meets nothing unusual: the key's slot is the first with its tag, its record a put
 * whose header and key stand in one page and check. Whatever else comes is left to the search of
 * read.c, which begins anew; so nothing here decides that something is damaged, lost or not there
 * without an index that says so.
 *
 * It is a search of its own for its length. Reads of different keys wait for memory side by side
 * only as far as the processor looks ahead, some 450 instructions, so what counts are the
 * instructions between one wait and the next (docs/design.md, "What a get costs"). It is in two
 * parts, so that pmkv_get_many has several records on their way.
 */
#ifndef PMKV_KV_QUICK_H
#define PMKV_KV_QUICK_H

#include <string.h>

#include "index_match.h"
#include "read.h"

enum { QUICK_KEY_MAX = 128 };

enum quick { QUICK_PLACE, QUICK_NONE, QUICK_OTHER };

/* The header is filled by who finds one. */
static inline void quick_begin(struct found *out, bool locked)
{
    out->off = 0;
    out->poisoned = false;
    out->locked = locked;
    out->lost = false;
    out->rebuilt = NULL;
    out->h.seq = 0;
}

/* Where the record is that out->ref names. */
static inline void quick_locate(struct pmkv *kv, struct found *out)
{
    struct log_pos pos = {slot_position(out->ref.slot)};
    const struct segment *segment = &kv->segments[pos_segment(&kv->shape, pos)];
    out->pos = pos;
    out->generation = atomic_load_explicit(&segment->generation, memory_order_acquire);
    out->off = segment->rows_off + pos_page_off(&kv->shape, pos) + pos_in_page(pos);
}

/* First part. QUICK_PLACE: out names the first candidate's slot, place and generation, and its
 * record is asked for. QUICK_NONE: the key is not there. */
static inline __attribute__((always_inline)) enum quick
quick_place(struct pmkv *kv, uint64_t khash, uint32_t record_bytes, struct found *out)
{
    struct index_find f;
    find_begin(kv->index, khash, &f);
    if (!find_next(&f, &out->ref))
        return find_settled(&f) ? QUICK_NONE : QUICK_OTHER;
    struct log_pos pos = {slot_position(out->ref.slot)};
    if (__builtin_expect(pos_is_lost(pos), 0))
        return QUICK_OTHER;
    quick_locate(kv, out);
    /* As in step_candidate (I2). */
    if (__builtin_expect(!index_slot_unchanged(&out->ref), 0))
        return QUICK_OTHER;
    /* Behind the end of the page it is the next one's begin, of one column mostly. */
    media_prefetch(kv->vol.media, out->off, record_bytes);
    return QUICK_PLACE;
}

static inline bool bytes_equal(const uint8_t *a, const uint8_t *b, uint32_t count)
{
    uint64_t x, y, differ = 0;
    if (count < sizeof x)
        return memcmp(a, b, count) == 0;
    for (uint32_t i = 0; i + sizeof x < count; i += sizeof x) {
        memcpy(&x, a + i, sizeof x);
        memcpy(&y, b + i, sizeof y);
        differ |= x ^ y;
    }
    memcpy(&x, a + count - sizeof x, sizeof x);
    memcpy(&y, b + count - sizeof y, sizeof y);
    return (differ | (x ^ y)) == 0;
}

/* Said here, so that who searches on need not meet it again: that costs a signal. False. */
bool quick_poisoned(struct pmkv *kv, struct found *out, size_t moved);

/* Second part: true when the record is the key's, and its header good: it is in out->h. */
static inline bool quick_judge(struct pmkv *kv, const void *key, uint32_t key_bytes, uint64_t khash,
                               struct found *out)
{
    uint8_t head[RECORD_HEADER_BYTES + QUICK_KEY_MAX];
    uint32_t bytes = RECORD_HEADER_BYTES + key_bytes, in_page = pos_in_page(out->pos);
    if (__builtin_expect(in_page + bytes > PAGE_PAYLOAD_BYTES, 0))
        return false;
    /* A whole line is copied faster than a part of it; so near the end of a page, too, it is still
     * in the page. */
    uint32_t copied = bytes < LINE_BYTES ? LINE_BYTES : bytes;
    size_t moved = media_load(kv->vol.media, out->off, head, copied);
    if (__builtin_expect(moved != copied, 0))
        return quick_poisoned(kv, out, moved);
    struct record_header h;
    memcpy(&h, head, sizeof h);
    uint64_t secret = record_secret(kv->vol.secret, out->generation, out->pos);
    if (h.key_bytes != key_bytes || !bytes_equal(head + sizeof h, key, key_bytes) ||
        !record_check_holds(&h, khash, secret))
        return false;
    out->h = h;
    if (__builtin_expect(in_page + bytes + (uint64_t)h.value_bytes > PAGE_PAYLOAD_BYTES, 0) &&
        !record_shape_holds(&h, row_payload(kv) - pos_place(&kv->shape, out->pos).offset))
        return false;
    return h.type == RECORD_PUT && (h.flags & ~RECORD_BATCH) == 0 && h.seq != 0;
}

/* What find_key answers, after the first part. */
static inline enum find_result quick_find(struct pmkv *kv, enum quick q, const void *key,
                                          uint32_t key_bytes, uint64_t khash, struct found *out)
{
    if (q == QUICK_NONE)
        return FIND_NONE;
    if (__builtin_expect(q == QUICK_OTHER || !quick_judge(kv, key, key_bytes, khash, out), 0))
        return find_key_slowly(kv, key, key_bytes, khash, out->locked, out);
    if (out->h.flags & RECORD_BATCH && !out->locked)
        wait_published(kv, out->h.seq);
    return FIND_HIT;
}

/* Third part: the value of what the second found, when it stands in the same page. */
static inline bool quick_value(struct pmkv *kv, const struct found *f, void *dst)
{
    uint32_t skip = RECORD_HEADER_BYTES + f->h.key_bytes, bytes = f->h.value_bytes;
    return pos_in_page(f->pos) + (uint64_t)skip + bytes <= PAGE_PAYLOAD_BYTES &&
           media_load(kv->vol.media, f->off + skip, dst, bytes) == bytes &&
           hash64(dst, bytes) == f->h.value_hash;
}

#endif
