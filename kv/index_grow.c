/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Growth by linear hashing, and scans that are exact while it goes on. Theory and X1..X4:
 * index_impl.h.
 *
 * A split of bucket b at level L, under the grow lock and the stripe lock of b:
 *   1. copy the slots whose hash bit L is set into bucket b + 2^L, which nobody addresses yet
 *   2. publish the count, which addresses it
 *   3. clear the originals
 *   4. pull up what is left, free empty overflow buckets
 * Between 2 and 3 a slot is seen in both buckets. Both are right: no writer can be in this stripe.
 */

#include "index_impl.h"

#include "../recovery/errmsg.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum {
    SPLITS_A_STEP = 2,
    SPLITS_BEHIND = 16, /* a step when growth is behind, as after big batches */
    REFUSALS_MAX = 64,  /* then growth waits for the stripe: a hot one must not stop it */
};

/* Bit i: slot i goes to the bucket that is split off. */
static uint32_t bucket_moves(const struct index_bucket *bucket, uint32_t level)
{
    uint32_t moves = 0;
    for (int i = BUCKET_SLOTS - 1; i >= 0; i--) {
        uint64_t value = slot_observe(&bucket->slots[i]);
        bool bit = slot_tag((struct slot){value}) >> (level - LEVEL_MIN) & 1;
        moves = moves * 2 + (bit & (value != 0));
    }
    return moves;
}

static void chain_clear_moved(struct index *ix, struct index_bucket *bucket, uint32_t level)
{
    for (; bucket; bucket = bucket_next(ix, bucket))
        for (uint32_t m = bucket_moves(bucket, level); m; m &= m - 1)
            slot_publish(&bucket->slots[__builtin_ctz(m)], 0);
}

static int chain_copy_moved(struct index *ix, struct index_bucket *bucket, uint32_t level,
                            struct index_bucket *to, uint32_t low)
{
    for (; bucket; bucket = bucket_next(ix, bucket)) {
        for (uint32_t m = bucket_moves(bucket, level); m; m &= m - 1) {
            uint64_t value = slot_observe(&bucket->slots[__builtin_ctz(m)]);
            int rc = chain_insert(ix, to, low, (struct slot){value});
            if (rc)
                return rc;
        }
    }
    return 0;
}

static int bucket_split(struct index *ix, uint64_t count)
{
    uint32_t level = level_of(count);
    struct index_bucket *from = &ix->buckets[count - (1ull << level)];
    struct index_bucket *to = &ix->buckets[count];
    assert(bucket_empty(to) && !bucket_next(ix, to));
    int rc = chain_copy_moved(ix, from, level, to, count & 0xffff); /* 1 */
    if (rc) {
        chain_clear_moved(ix, to, level);
        chain_tidy(ix, to);
        return rc;
    }
    count_publish(ix, count + 1);       /* 2 */
    chain_clear_moved(ix, from, level); /* 3 */
    chain_tidy(ix, from);               /* 4 */
    return 0;
}

/* A stripe may be held over an fdatasync, and a put that only helps should not wait for that. */
static bool stripe_lock_patiently(struct index *ix, uint32_t stripe)
{
    if (pthread_mutex_trylock(&ix->stripes[stripe].lock) != 0) {
        if (++ix->refusals < REFUSALS_MAX)
            return false;
        pthread_mutex_lock(&ix->stripes[stripe].lock); /* deferrals may stay (X5) */
    }
    ix->refusals = 0;
    return true;
}

static bool grow_one(struct index *ix, uint64_t count)
{
    uint32_t stripe = index_stripe(count); /* of the bucket to split as well */
    if (!stripe_lock_patiently(ix, stripe))
        return false;
    int rc = bucket_split(ix, count);
    index_unlock(ix, stripe);
    return rc == 0;
}

/* The next step's buckets; always inline, as a function without other effect would be dropped. */
static inline __attribute__((always_inline)) void prefetch_split(const struct index *ix,
                                                                 uint64_t count)
{
    __builtin_prefetch(&ix->buckets[count], 1, 3);
    __builtin_prefetch(&ix->buckets[count - (1ull << level_of(count))], 1, 3);
}

static bool growth_is_due(const struct index *ix, uint64_t count)
{
    int64_t slots = atomic_load_explicit(&ix->slots_about, memory_order_relaxed);
    return count < ix->bucket_limit && slots > 0 && load_is_high((uint64_t)slots, count);
}

void index_grow_step(struct index *ix)
{
    uint64_t count = count_observe(ix);
    if (!growth_is_due(ix, count) || pthread_mutex_trylock(&ix->grow_lock) != 0)
        return;
    count = count_observe(ix);
    int splits = growth_is_due(ix, count + count / 64) ? SPLITS_BEHIND : SPLITS_A_STEP;
    while (splits-- > 0 && growth_is_due(ix, count) && grow_one(ix, count))
        count++;
    prefetch_split(ix, count);
    pthread_mutex_unlock(&ix->grow_lock);
}

static void touch_ahead(struct index_bucket *buckets, _Atomic uint64_t *touched, uint64_t used,
                        uint64_t limit)
{
    enum { IN_PAGE = 4096 / sizeof(struct index_bucket), AHEAD = 512 * IN_PAGE };
    uint64_t end = used + AHEAD < limit ? used + AHEAD : limit, i;
    for (i = atomic_load_explicit(touched, memory_order_relaxed); i < end; i += IN_PAGE)
        atomic_fetch_or_explicit(&buckets[i].slots[0], 0, memory_order_relaxed);
    atomic_store_explicit(touched, i, memory_order_relaxed);
}

void index_touch_ahead(struct index *ix)
{
    uint32_t overflow = atomic_load_explicit(&ix->overflow_fresh, memory_order_relaxed);
    touch_ahead(ix->buckets, &ix->buckets_touched, count_observe(ix), ix->bucket_limit);
    touch_ahead(ix->overflow, &ix->overflow_touched, overflow, ix->overflow_limit);
}

int index_scan_begin(struct index *ix, struct index_scan *scan)
{
    uint64_t count = count_observe(ix);
    *scan = (struct index_scan){.ix = ix, .buckets = count, .level = level_of(count)};
    return 0;
}

static int scan_reserve(struct index_scan *scan, uint32_t extra)
{
    if (scan->capacity - scan->count >= extra)
        return 0;
    uint32_t capacity = scan->capacity ? scan->capacity * 2 : 64;
    struct slot *slots = realloc(scan->slots, capacity * sizeof *slots);
    if (!slots)
        return err_fact(-ENOMEM, "index scan: no memory for %u slots of one bucket", capacity);
    scan->slots = slots;
    scan->capacity = capacity;
    return 0;
}

static int scan_chain(struct index_scan *scan, const struct index_bucket *bucket)
{
    for (; bucket; bucket = bucket_next(scan->ix, bucket)) {
        int rc = scan_reserve(scan, BUCKET_SLOTS);
        if (rc)
            return rc;
        for (int i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t value = slot_observe(&bucket->slots[i]);
            if (value)
                scan->slots[scan->count++] = (struct slot){value};
        }
    }
    return 0;
}

/* The step a bucket number grows by each time it is split from here on: those are the buckets that
 * hold today what the snapshot's bucket held. */
static uint64_t scan_stride(const struct index_scan *scan)
{
    uint64_t size = 1ull << scan->level;
    bool was_split = scan->next < scan->buckets - size || scan->next >= size;
    return was_split ? size * 2 : size;
}

int index_scan_step(struct index_scan *scan)
{
    scan->count = 0;
    if (scan->next >= scan->buckets)
        return 0;
    struct index *ix = scan->ix;
    uint64_t stride = scan_stride(scan);
    uint32_t stripe = index_stripe(scan->next);
    int rc = 0;
    index_lock(ix, stripe);
    uint64_t count = count_observe(ix); /* as for this stripe it stays so: X1 */
    for (uint64_t number = scan->next; number < count && rc == 0; number += stride)
        rc = scan_chain(scan, &ix->buckets[number]);
    if (rc == 0 && index_deferral(ix, stripe))
        rc = err_fact(-EIO, "a record cannot be read now that another may stand for");
    index_unlock(ix, stripe);
    if (rc)
        return rc;
    scan->next++;
    return 1;
}

void index_scan_end(struct index_scan *scan)
{
    free(scan->slots);
    *scan = (struct index_scan){0};
}
