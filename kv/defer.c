/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "defer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/errmsg.h"
#include "handle.h"
#include "quick.h"
#include "space.h"

enum { DEFERRALS = OP_SHARDS * DEFERRALS_EACH };

/* --- settling, with the stripe locked --------------------------------------------------------- */

/* Whose is the displaced record? FIND_HIT and FIND_LOST: the key's own; FIND_NONE: another's. */
static enum find_result compare(struct pmkv *kv, struct deferral *d, struct found *old)
{
    uint64_t hash = atomic_load_explicit(&d->hash, memory_order_relaxed);
    struct slot was = {atomic_load_explicit(&d->displaced, memory_order_relaxed)};
    quick_begin(old, true);
    old->ref = (struct slot_ref){&d->displaced, was};
    quick_locate(kv, old);
    if (quick_judge(kv, d->key, d->key_bytes, hash, old))
        return FIND_HIT;
    return find_at(kv, d->key, d->key_bytes, hash, old->ref, old);
}

/* The slot was the key's, as it was taken to be. */
static void count_out(struct pmkv *kv, struct deferral *d, uint64_t hash, const struct found *old)
{
    struct slot_ref ref;
    bool was_put = old->lost || old->h.type != RECORD_TOMBSTONE;
    int64_t units = 0;
    if (old->h.key_bytes) {
        units = (int64_t)units_of(record_packed(old->h.key_bytes, old->h.value_bytes));
        segment_live_add(kv, pos_segment(&kv->shape, old->pos), -units);
    }
    if (units != d->units)
        space_live_add(kv, d->units - units);
    if (was_put)
        return;
    index_keys_add(kv->index, index_stripe(hash), 1);
    if (index_find_position(kv->index, hash, d->now.v, &ref)) /* I8: a delete is no older put */
        index_replace(kv->index, &ref, slot_with(ref.slot, d->now.v, slot_older(old->ref.slot)));
}

/* It was another key's with the same tag. */
static int put_back(struct pmkv *kv, struct deferral *d, uint64_t hash, const struct found *old)
{
    struct slot_ref ref;
    int rc = index_put_back(kv->index, hash, old->ref.slot);
    if (rc)
        return rc;
    if (index_find_position(kv->index, hash, d->now.v, &ref))
        index_replace(kv->index, &ref, slot_with(ref.slot, d->now.v, 0));
    index_keys_add(kv->index, index_stripe(hash), 1);
    space_live_add(kv, d->units);
    return 0;
}

/* index_lock calls it for a stripe that has a deferral. */
static void settle(void *store, uint32_t stripe, uint32_t number)
{
    struct pmkv *kv = store;
    struct deferral *d = &kv->deferrals[number - 1];
    uint64_t hash = atomic_load_explicit(&d->hash, memory_order_relaxed);
    struct found old;
    enum deferral_state then = DEFERRAL_FREE;
    enum find_result r = compare(kv, d, &old);
    if (r == FIND_HIT && old.h.type == RECORD_MANIFEST &&
        manifest_read(kv, &old, &d->drop) == FIND_HIT)
        then = DEFERRAL_DROP;
    if (r == FIND_HIT || r == FIND_LOST)
        count_out(kv, d, hash, &old);
    free(old.rebuilt);
    /* What can't be settled now the next who locks the stripe tries again. */
    if (r == FIND_IO || r == FIND_NOMEM || (r == FIND_NONE && put_back(kv, d, hash, &old)))
        return;
    index_defer(kv->index, stripe, 0); /* after the slot is back (D2) */
    atomic_store_explicit(&d->state, then, memory_order_release);
}

/* --- settling, without a lock ----------------------------------------------------------------- */

static bool try_settle(struct pmkv *kv, struct deferral *d)
{
    uint32_t state = atomic_load_explicit(&d->state, memory_order_acquire);
    if (state == DEFERRAL_OPEN) {
        uint64_t hash = atomic_load_explicit(&d->hash, memory_order_relaxed);
        index_lock(kv->index, index_stripe(hash));
        index_unlock(kv->index, index_stripe(hash));
        state = atomic_load_explicit(&d->state, memory_order_acquire);
    }
    if (state == DEFERRAL_DROP &&
        atomic_compare_exchange_strong(&d->state, &state, DEFERRAL_TAKEN)) {
        struct manifest dead = d->drop;
        atomic_store_explicit(&d->state, DEFERRAL_FREE, memory_order_release);
        extents_drop(kv, &dead);
        return true;
    }
    return state != DEFERRAL_OPEN;
}

bool defer_settle_all(struct pmkv *kv)
{
    bool all = true;
    for (uint32_t i = 0; i < DEFERRALS; i++)
        if (atomic_load_explicit(&kv->deferrals[i].state, memory_order_relaxed) != DEFERRAL_FREE)
            all &= try_settle(kv, &kv->deferrals[i]);
    return all;
}

bool defer_hides(const struct pmkv *kv, uint64_t hash)
{
    enum { TOLD_APART = 36 }; /* by bucket and tag */
    uint32_t number = index_deferral(kv->index, index_stripe(hash));
    if (number == 0)
        return false;
    uint64_t other = atomic_load_explicit(&kv->deferrals[number - 1].hash, memory_order_relaxed);
    return (hash ^ other) << (64 - TOLD_APART) == 0;
}

bool defer_settle(struct pmkv *kv, uint64_t hash)
{
    index_lock(kv->index, index_stripe(hash));
    bool hidden = defer_hides(kv, hash);
    index_unlock(kv->index, index_stripe(hash));
    return !hidden;
}

bool defer_names(const struct pmkv *kv, uint32_t segment)
{
    for (uint32_t i = 0; i < DEFERRALS; i++) {
        const struct deferral *d = &kv->deferrals[i];
        if (atomic_load_explicit(&d->state, memory_order_acquire) != DEFERRAL_OPEN)
            continue;
        struct slot was = {atomic_load_explicit(&d->displaced, memory_order_relaxed)};
        if (pos_segment(&kv->shape, (struct log_pos){slot_position(was)}) == segment)
            return true;
    }
    return false;
}

/* --- deferring -------------------------------------------------------------------------------- */

static struct deferral *own_deferrals(struct pmkv *kv)
{
    return &kv->deferrals[(op_shard(kv) - kv->ops) * DEFERRALS_EACH];
}

/* The one that the calling thread fills next. */
static struct deferral *next_deferral(struct pmkv *kv)
{
    uint32_t next = atomic_load_explicit(&op_shard(kv)->next_deferral, memory_order_relaxed);
    return &own_deferrals(kv)[next % DEFERRALS_EACH];
}

static inline __attribute__((always_inline)) void ask_for_displaced(struct pmkv *kv,
                                                                    struct deferral *d)
{
    struct found old;
    old.ref.slot.v = atomic_load_explicit(&d->displaced, memory_order_relaxed);
    quick_locate(kv, &old);
    media_prefetch(kv->vol.media, old.off, LINE_BYTES);
}

void defer_make_room(struct pmkv *kv)
{
    if (atomic_load_explicit(&next_deferral(kv)->state, memory_order_relaxed) == DEFERRAL_FREE)
        return;
    struct deferral *all = own_deferrals(kv);
    for (uint32_t i = 0; i < DEFERRALS_EACH; i++)
        ask_for_displaced(kv, &all[i]);
    for (uint32_t i = 0; i < DEFERRALS_EACH; i++)
        try_settle(kv, &all[i]);
}

bool defer_ready(struct pmkv *kv, const struct write_op *op)
{
    return !kv->join && !kv->order && op->type == RECORD_PUT && op->key_bytes <= DEFER_KEY_MAX;
}

/* It is the caller's from then on. Threads beyond the first share theirs. */
static struct deferral *take(struct pmkv *kv)
{
    struct deferral *d = next_deferral(kv);
    uint32_t free = DEFERRAL_FREE;
    if (op_shard_is_own() ? atomic_load_explicit(&d->state, memory_order_acquire) != DEFERRAL_FREE
                          : !atomic_compare_exchange_strong(&d->state, &free, DEFERRAL_TAKEN))
        return NULL;
    atomic_fetch_add_explicit(&op_shard(kv)->next_deferral, 1, memory_order_relaxed);
    return d;
}

void defer_look(struct pmkv *kv, struct write_op *op)
{
    struct index_find f;
    struct slot_ref second;
    find_begin(kv->index, op->khash, &f);
    op->candidates = find_next(&f, &op->old.ref);
    if (op->candidates)
        op->candidates += find_next(&f, &second);
}

bool defer_publish(struct pmkv *kv, struct write_op *op)
{
    uint32_t stripe = index_stripe(op->khash), segment = pos_segment(&kv->shape, op->pos);
    struct slot_ref ref = op->old.ref;
    struct deferral *d;
    if (op->candidates != 1 || pos_is_lost((struct log_pos){slot_position(ref.slot)}) ||
        index_deferral(kv->index, stripe) || (d = take(kv)) == NULL)
        return false;
    d->key_bytes = op->key_bytes;
    memcpy(d->key, op->key, op->key_bytes);
    d->now = op->pos;
    d->units = (int64_t)units_of(write_packed(op));
    atomic_store_explicit(&d->hash, op->khash, memory_order_relaxed);
    atomic_store_explicit(&d->displaced, ref.slot.v, memory_order_relaxed);
    atomic_store_explicit(&d->state, DEFERRAL_OPEN, memory_order_release);
    index_defer(kv->index, stripe, (uint32_t)(d - kv->deferrals) + 1); /* before the slot (D2) */
    segment_live_add(kv, segment, d->units);
    index_replace(kv->index, &ref, slot_make(op->pos.v, slot_older(ref.slot) + 1, op->khash));
    record_published(&kv->segments[segment]);
    op->had = true;
    return true;
}

/* --- memory ----------------------------------------------------------------------------------- */

int defer_new(struct pmkv *kv)
{
    kv->deferrals = calloc(DEFERRALS, sizeof *kv->deferrals);
    if (!kv->deferrals)
        return err_fact(-ENOMEM, "no memory for deferrals");
    index_on_deferral(kv->index, settle, kv);
    return 0;
}

void defer_free(struct pmkv *kv)
{
    free(kv->deferrals);
    kv->deferrals = NULL;
}
