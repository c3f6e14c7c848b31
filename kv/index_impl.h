/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Inside the hash index: the structures, and why a search without a lock never misses.
 *
 * Terms
 *   count    how many buckets are addressed. It is the whole state of linear hashing: the level is
 *            its logarithm, the split pointer what is above the power of two. It only grows.
 *   chain    a bucket that is addressed, the first, and the overflow buckets that hang from it.
 *   low      the low 16 bits of a hash, the same for all slots of a chain, because the level is
 *            never below 16. With the tag they give back 36 bits of the hash, all that choose.
 *   version  a number in the first bucket's control word, see X2 and X3.
 *
 * Invariants
 *   X1  Words of a chain are stored only under its stripe lock (while the index is nobody else's:
 *       by the one thread that fills its bucket, index_fill). A split of bucket b makes
 *       b + 2^level, which belongs to the same stripe, and also holds the grow lock. So a
 *       hash's bucket does not change while its stripe is locked.
 *   X2  A slot moves within its chain by: store the copy, bump the chain's version, clear the
 *       original. It moves to the bucket that is split off by: store the copy, publish the count,
 *       clear the original. Every store is a release.
 *   X3  An overflow bucket leaves a chain only when it is empty, and the chain's version is bumped
 *       before the bucket can be used again. A free bucket's slots stay zero; only its control
 *       word links the free list.
 *   X4  Slots move only in index_grow_step. Insert and remove leave every other slot where it is,
 *       so that a batch may find all its slots first and change them afterwards.
 *   X5  A slot that is put back bumps its chain's version once it is there: who did not see it does
 *       not settle. Until then the slot that stands for it has the same 36 bits of hash: it is in
 *       the same chain, whatever grows, and matches wherever this one would.
 *
 * Why a negative answer that index_find_settled confirms is true. The reader loads count, version,
 * slots and links, version, count, all with acquire. Suppose a key was there during the whole
 * search and the reader missed it: then its slot moved, and the reader saw the copy's place before
 * the copy and the original's place after the clearing. By X2 the last loads see what was published
 * before the clearing. After a split that is a count that gives the hash another bucket. After a
 * move within the chain it is the bump, and the first load of the version had not seen it, or
 * it would have made the copy visible as well: the versions differ.
 * A reader standing in an overflow bucket that is used again reads a word stored after the bump
 * of X3 and sees the bump likewise; until it checks, it reads slots of other hashes, which the
 * caller takes for tag collisions, and links that stay inside the region.
 *
 * Why it ends. The version is checked before each link is followed, so a link is followed only
 * while the chain is the one the search began in; new overflow buckets are put in front, never
 * behind a reader's place. The version has 32 bits: 2^32 moves in one chain during one search would
 * deceive the reader.
 *
 * Not done: the table never shrinks; an overflow bucket that is not empty is not merged with
 * another outside a split (inserts fill the holes); a huge page is not touched ahead of growth.
 */
#ifndef PMKV_KV_INDEX_IMPL_H
#define PMKV_KV_INDEX_IMPL_H

#include "index.h"

#include <pthread.h>
#include <stdalign.h>
#include <stddef.h>

enum {
    BUCKET_SLOTS = 7,
    LEVEL_MIN = 16, /* the first bit of the hash that is in the tag */
    LEVEL_MAX = 36, /* one above the last */
};

struct index_bucket {
    alignas(64) _Atomic uint64_t slots[BUCKET_SLOTS];
    /* Low half: number of the next overflow bucket, 0: none. High half: version (first bucket) or
     * `low` (overflow bucket). */
    _Atomic uint64_t control;
};
_Static_assert(sizeof(struct index_bucket) == 64, "a bucket is one cache line");

/* All under the lock; counts are atomic for those who sum them up without it. */
struct stripe {
    alignas(64) pthread_mutex_t lock;
    _Atomic int32_t keys, slots;
    int32_t reported; /* part of slots that is in slots_about */
    _Atomic uint32_t deferral;
    uint64_t last_number;
};
_Static_assert(sizeof(struct stripe) == 64, "a stripe is one cache line");

struct index {
    /* Set once. Overflow bucket i is overflow[i]; number 0 is none and stays unused. */
    struct index_bucket *buckets, *overflow;
    uint64_t bucket_limit;
    uint32_t overflow_limit; /* numbers below this may be used */
    void *region;
    size_t region_bytes;

    alignas(64) _Atomic uint64_t count;      /* published by splits, observed by every search */
    alignas(64) _Atomic int64_t slots_about; /* right to within STRIPE_REPORT a stripe */

    alignas(64) pthread_mutex_t grow_lock;
    uint32_t refusals; /* under grow_lock: times in a row that the stripe was busy */

    alignas(64) pthread_mutex_t overflow_lock; /* a leaf: nothing is locked under it */
    uint32_t overflow_free;                    /* head of the free list */
    _Atomic uint32_t overflow_fresh;           /* lowest number never used */

    /* Lower numbers have memory: it was touched. */
    _Atomic uint64_t buckets_touched, overflow_touched;

    struct stripe *stripes; /* INDEX_STRIPES */
    index_settle_fn settle;
    void *settle_arg;
};

/* How full: a split is due above 4.5 slots a bucket. */
static inline bool load_is_high(uint64_t slots, uint64_t count)
{
    return slots * 2 > count * 9;
}

/* Release and acquire live in these pairs only. */

static inline void count_publish(struct index *ix, uint64_t count)
{
    atomic_store_explicit(&ix->count, count, memory_order_release);
}
static inline uint64_t count_observe(const struct index *ix)
{
    return atomic_load_explicit(&ix->count, memory_order_acquire);
}
static inline void slot_publish(_Atomic uint64_t *at, uint64_t value)
{
    atomic_store_explicit(at, value, memory_order_release);
}
static inline uint64_t slot_observe(const _Atomic uint64_t *at)
{
    return atomic_load_explicit(at, memory_order_acquire);
}
static inline void control_publish(struct index_bucket *bucket, uint32_t next, uint32_t high)
{
    uint64_t control = next | (uint64_t)high << 32;
    atomic_store_explicit(&bucket->control, control, memory_order_release);
}
static inline uint64_t control_observe(const struct index_bucket *bucket)
{
    return atomic_load_explicit(&bucket->control, memory_order_acquire);
}
static inline uint32_t control_next(uint64_t control)
{
    return (uint32_t)control;
}
static inline uint32_t control_high(uint64_t control)
{
    return (uint32_t)(control >> 32);
}

static inline uint32_t level_of(uint64_t count)
{
    return 63 - (uint32_t)__builtin_clzll(count);
}

/* With a mask instead of a branch: half way through a level the branch is a coin toss. */
static inline uint64_t bucket_number(uint64_t hash, uint64_t count)
{
    uint64_t low_mask = (1ull << level_of(count)) - 1;
    uint64_t low = hash & low_mask;
    uint64_t high_bit = hash & (low_mask + 1);
    uint64_t is_split = -(uint64_t)((low | high_bit) < count);
    return low | (high_bit & is_split);
}
static inline struct index_bucket *bucket_first(const struct index *ix, uint64_t hash)
{
    return &ix->buckets[bucket_number(hash, count_observe(ix))];
}
static inline struct index_bucket *bucket_next(const struct index *ix,
                                               const struct index_bucket *bucket)
{
    uint32_t next = control_next(control_observe(bucket));
    return next ? &ix->overflow[next] : NULL;
}

/* Bit i: slot i is empty. Without a branch, for how many are is anybody's guess. */
static inline uint32_t bucket_holes(const struct index_bucket *bucket)
{
    uint32_t holes = 0;
    for (int i = BUCKET_SLOTS - 1; i >= 0; i--)
        holes = holes * 2 + (slot_observe(&bucket->slots[i]) == 0);
    return holes;
}
static inline bool bucket_empty(const struct index_bucket *bucket)
{
    return bucket_holes(bucket) == (1u << BUCKET_SLOTS) - 1;
}

/* index_chain.c: a chain's verbs, all under its stripe lock. */

/* 0 or -ENOMEM without a fact. */
int chain_insert(struct index *ix, struct index_bucket *first, uint32_t low, struct slot slot);
void chain_bump(struct index_bucket *first);
/* Takes an empty overflow bucket out and frees it (X3). */
void chain_unlink(struct index *ix, struct index_bucket *first, struct index_bucket *empty);
/* Pulls slots into holes of the first bucket and frees overflow buckets that are empty. */
void chain_tidy(struct index *ix, struct index_bucket *first);

#endif
