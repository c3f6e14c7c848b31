/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Which slots of a bucket have the tag of a hash: the inner loop of every search; and the search.
 *
 * No branch until all seven slots are compared: which one it is can't be predicted. What counts
 * beyond that is how few instructions wait for the bucket's line to arrive, for they decide how
 * many searches the processor overlaps: the vector form takes a third off a plain loop of searches
 * that miss the cache (90 -> 60 ns) and off those that hit (12 -> 8 ns).
 *
 * The vector form reads with plain 16-byte loads, which C's memory model does not know as atomic.
 * It is used on x86-64 only, where an aligned load is never torn within 8 bytes; volatile keeps the
 * compiler from loading twice, and the fence from loading later. What matched is read again with
 * slot_observe before it is used.
 */
#ifndef PMKV_KV_INDEX_MATCH_H
#define PMKV_KV_INDEX_MATCH_H

#include "index_impl.h"

/* Bit i: slot i has the tag. An empty slot has the tag 0. */
static inline uint32_t bucket_match_scalar(const struct index_bucket *bucket, uint64_t hash)
{
    uint64_t tag = hash >> LEVEL_MIN << (64 - SLOT_TAG_BITS);
    uint32_t matches = 0;
#pragma GCC unroll 7
    for (int i = BUCKET_SLOTS - 1; i >= 0; i--) {
        uint64_t difference = slot_observe(&bucket->slots[i]) ^ tag;
        matches = matches * 2 + (difference < 1ull << (64 - SLOT_TAG_BITS));
    }
    return matches;
}

#if defined(__SANITIZE_THREAD__)
#define INDEX_MATCH_VECTOR 0
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define INDEX_MATCH_VECTOR 0
#endif
#endif
#ifndef INDEX_MATCH_VECTOR
#ifdef __x86_64__
#define INDEX_MATCH_VECTOR 1
#else
#define INDEX_MATCH_VECTOR 0
#endif
#endif

#if INDEX_MATCH_VECTOR
typedef uint32_t u32x4 __attribute__((vector_size(16), may_alias));
typedef uint64_t u64x2 __attribute__((vector_size(16)));

static inline uint32_t bucket_match_vector(const struct index_bucket *bucket, uint64_t hash)
{
    const volatile u32x4 *pairs = (const volatile u32x4 *)bucket;
    u32x4 a = pairs[0], b = pairs[1], c = pairs[2], d = pairs[3];
    atomic_thread_fence(memory_order_acquire);
    uint32_t tag = hash >> LEVEL_MIN & 0xfffff;
    u32x4 tags = {tag, tag, tag, tag};
    /* The tag is on top of the high half of a slot; the last lane is the control word. */
    u32x4 front = (u32x4)(__builtin_shufflevector(a, b, 1, 3, 5, 7) >> 12 == tags);
    u32x4 back = (u32x4)(__builtin_shufflevector(c, d, 1, 3, 5, 7) >> 12 == tags);
    u64x2 bits = (u64x2)((front & (u32x4){1, 2, 4, 8}) | (back & (u32x4){16, 32, 64, 0}));
    uint64_t both = bits[0] | bits[1];
    return (uint32_t)(both | both >> 32);
}
#endif

static inline uint32_t bucket_match(const struct index_bucket *bucket, uint64_t hash)
{
#if INDEX_MATCH_VECTOR
    return bucket_match_vector(bucket, hash);
#else
    return bucket_match_scalar(bucket, hash);
#endif
}

/* The search, as index.h promises it. In line for the get, which does little else. */

static inline __attribute__((always_inline)) void bucket_prefetch(const struct index *ix,
                                                                  uint64_t hash)
{
    __builtin_prefetch(bucket_first(ix, hash), 0, 3);
}

static inline void find_begin(const struct index *ix, uint64_t hash, struct index_find *f)
{
    struct index_bucket *first = bucket_first(ix, hash);
    f->ix = ix;
    f->hash = hash;
    f->first = first;
    f->bucket = first;
    f->version = control_high(control_observe(first)); /* before any slot */
    f->matches = bucket_match(first, hash);
}

/* False: the end, or the chain is no longer the one the search began in. */
static inline bool find_hop(struct index_find *f)
{
    struct index_bucket *next = bucket_next(f->ix, f->bucket);
    if (!next || control_high(control_observe(f->first)) != f->version)
        return false;
    f->bucket = next;
    f->matches = bucket_match(next, f->hash);
    return true;
}

static inline bool find_next(struct index_find *f, struct slot_ref *out)
{
    do {
        while (f->matches) {
            _Atomic uint64_t *at = &f->bucket->slots[__builtin_ctz(f->matches)];
            f->matches &= f->matches - 1;
            struct slot slot = {slot_observe(at)}; /* it may have changed since it matched */
            if (slot.v && slot_tag(slot) == (f->hash >> LEVEL_MIN & 0xfffff)) {
                *out = (struct slot_ref){at, slot};
                return true;
            }
        }
    } while (find_hop(f));
    return false;
}

static inline bool find_settled(const struct index_find *f)
{
    return control_high(control_observe(f->first)) == f->version &&
           bucket_first(f->ix, f->hash) == f->first;
}

#endif
