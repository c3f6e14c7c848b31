/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Chains of the hash index: overflow buckets come, move up and go. Theory and X1..X4: index_impl.h.
 */

#include "index_impl.h"

#include <assert.h>
#include <errno.h>

/* A hole deeper than this in a chain is not looked for: chains this long hold keys whose 36 bits
 * are equal, and an insert must not walk through all of them. */
enum { INSERT_PROBES = 8 };

static uint32_t overflow_get(struct index *ix)
{
    pthread_mutex_lock(&ix->overflow_lock);
    uint32_t number = ix->overflow_free;
    if (number) {
        ix->overflow_free = control_next(control_observe(&ix->overflow[number]));
    } else {
        uint32_t fresh = atomic_load_explicit(&ix->overflow_fresh, memory_order_relaxed);
        if (fresh < ix->overflow_limit) {
            number = fresh;
            atomic_store_explicit(&ix->overflow_fresh, fresh + 1, memory_order_relaxed);
        }
    }
    pthread_mutex_unlock(&ix->overflow_lock);
    return number;
}

/* The link goes into the control word: a reader may still be here and takes what is in a slot for
 * the position of a record. */
static void overflow_put(struct index *ix, struct index_bucket *bucket)
{
    assert(bucket_empty(bucket));
    pthread_mutex_lock(&ix->overflow_lock);
    control_publish(bucket, ix->overflow_free, 0);
    ix->overflow_free = (uint32_t)(bucket - ix->overflow);
    pthread_mutex_unlock(&ix->overflow_lock);
}

static _Atomic uint64_t *bucket_hole(struct index_bucket *bucket)
{
    uint32_t holes = bucket_holes(bucket);
    return holes ? &bucket->slots[__builtin_ctz(holes)] : NULL;
}

/* In front of the other overflow buckets, so that their readers never see a longer way to go. */
static int chain_push(struct index *ix, struct index_bucket *first, uint32_t low, struct slot slot)
{
    uint32_t number = overflow_get(ix);
    if (!number)
        return -ENOMEM;
    struct index_bucket *bucket = &ix->overflow[number];
    assert(bucket_empty(bucket));
    uint64_t control = control_observe(first);
    slot_publish(&bucket->slots[0], slot.v);
    control_publish(bucket, control_next(control), low);
    control_publish(first, number, control_high(control));
    return 0;
}

int chain_insert(struct index *ix, struct index_bucket *first, uint32_t low, struct slot slot)
{
    struct index_bucket *bucket = first;
    for (int probe = 0; bucket && probe < INSERT_PROBES; probe++) {
        _Atomic uint64_t *hole = bucket_hole(bucket);
        if (hole) {
            slot_publish(hole, slot.v);
            return 0;
        }
        bucket = bucket_next(ix, bucket);
    }
    return chain_push(ix, first, low, slot);
}

void chain_bump(struct index_bucket *first)
{
    uint64_t control = control_observe(first);
    control_publish(first, control_next(control), control_high(control) + 1);
}

/* X2 within one chain. */
static void chain_move(struct index_bucket *first, _Atomic uint64_t *from, _Atomic uint64_t *to)
{
    slot_publish(to, slot_observe(from));
    chain_bump(first);
    slot_publish(from, 0);
}

void chain_unlink(struct index *ix, struct index_bucket *first, struct index_bucket *empty)
{
    uint32_t next = control_next(control_observe(empty));
    struct index_bucket *before = first;
    while (bucket_next(ix, before) != empty) {
        before = bucket_next(ix, before);
        assert(before);
    }
    control_publish(before, next, control_high(control_observe(before)));
    chain_bump(first);
    overflow_put(ix, empty);
}

static void bucket_pull_up(struct index_bucket *first, struct index_bucket *bucket)
{
    for (int i = 0; i < BUCKET_SLOTS; i++) {
        if (slot_observe(&bucket->slots[i]) == 0)
            continue;
        _Atomic uint64_t *hole = bucket_hole(first);
        if (!hole)
            return;
        chain_move(first, &bucket->slots[i], hole);
    }
}

void chain_tidy(struct index *ix, struct index_bucket *first)
{
    struct index_bucket *bucket = bucket_next(ix, first);
    while (bucket) {
        struct index_bucket *next = bucket_next(ix, bucket);
        bucket_pull_up(first, bucket);
        if (bucket_empty(bucket))
            chain_unlink(ix, first, bucket);
        bucket = next;
    }
}
