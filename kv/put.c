/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "damage.h"
#include "defer.h"
#include "error.h"
#include "handle.h"
#include "join.h"
#include "lost.h"
#include "order.h"
#include "space.h"
#include "write.h"

/* --- what may be written ---------------------------------------------------------------------- */

uint32_t inline_max(const struct pmkv *kv)
{
    return row_payload(kv) / 4;
}

uint64_t max_key_bytes(const struct pmkv *kv)
{
    uint64_t most = row_payload(kv) / 2;
    return most < PMKV_MAX_KEY_BYTES ? most : PMKV_MAX_KEY_BYTES;
}

enum pmkv_status write_allowed(struct pmkv *kv)
{
    enum pmkv_status s = handle_enter(kv);
    if (s == PMKV_OK && kv->opts.read_only)
        return fail(PMKV_E_READONLY, "the pool %s was opened for reading only",
                    kv->vol.media->path);
    return s;
}

enum pmkv_status check_key(const struct pmkv *kv, const void *key, size_t key_bytes)
{
    if (!key || key_bytes == 0)
        return fail(PMKV_E_INVALID, "the key is empty");
    if (key_bytes > max_key_bytes(kv))
        return fail(PMKV_E_TOO_LARGE, "the key has %zu bytes; this pool takes at most %llu",
                    key_bytes, (unsigned long long)max_key_bytes(kv));
    return PMKV_OK;
}

/* The key was checked and hashed. */
static enum pmkv_status prepare_value(struct pmkv *kv, struct write_op *op)
{
    enum pmkv_status s = PMKV_OK;
    if (op->value_bytes > PMKV_MAX_VALUE_BYTES)
        return fail(PMKV_E_TOO_LARGE, "the value has %llu bytes; at most %llu are possible",
                    (unsigned long long)op->value_bytes, (unsigned long long)PMKV_MAX_VALUE_BYTES);
    if (!op->value && op->value_bytes)
        return fail(PMKV_E_INVALID, "the value is NULL and its length is %llu",
                    (unsigned long long)op->value_bytes);
    if (op->type == RECORD_PUT && op->value_bytes > inline_max(kv)) {
        s = extents_store(kv, op->value, op->value_bytes, &op->manifest);
        if (s)
            return s;
        find_prefetch(kv, op->khash, RECORD_HEADER_BYTES + op->key_bytes + sizeof op->manifest);
        op->staged = true;
        op->type = RECORD_MANIFEST;
        op->value = &op->manifest;
        op->value_bytes = sizeof op->manifest;
    }
    op->value_hash = hash64(op->value, op->value_bytes);
    return PMKV_OK;
}

enum pmkv_status write_prepare(struct pmkv *kv, struct write_op *op)
{
    enum pmkv_status s = check_key(kv, op->key, op->key_bytes);
    if (s)
        return s;
    op->khash = key_hash(op->key, op->key_bytes);
    index_prefetch_insert(kv->index, op->khash); /* it arrives while the value is hashed */
    return prepare_value(kv, op);
}

enum pmkv_status write_prepare_hashed(struct pmkv *kv, struct write_op *op)
{
    enum pmkv_status s = check_key(kv, op->key, op->key_bytes);
    return s ? s : prepare_value(kv, op);
}

uint64_t write_packed(const struct write_op *op)
{
    return record_packed(op->key_bytes, op->value_bytes);
}

/* --- under the stripe lock -------------------------------------------------------------------- */

static enum pmkv_status status_of_find(enum find_result r)
{
    return r == FIND_IO      ? fail(PMKV_E_IO, "the old record cannot be read now")
           : r == FIND_NOMEM ? fail(PMKV_E_NO_MEMORY, "no memory to rebuild the old record")
                             : PMKV_OK;
}

/* Does what was found have the version that was asked for? Nobody can say of a lost record. */
static __attribute__((noinline)) enum pmkv_status condition_holds(const struct write_op *op,
                                                                  enum find_result r, bool there)
{
    uint64_t version = op->old.h.seq;
    if (r == FIND_LOST)
        return fail(PMKV_E_LOST, "the record that the condition is about was lost");
    if (there && op->expected == PMKV_ABSENT)
        return fail(PMKV_E_EXISTS, "the key is there, with version %llu",
                    (unsigned long long)version);
    if (there && op->expected != version)
        return fail(PMKV_E_CONFLICT, "the key has version %llu, not %llu",
                    (unsigned long long)version, (unsigned long long)op->expected);
    if (!there && op->expected != PMKV_ABSENT) {
        err_clear();
        return PMKV_E_NOT_FOUND;
    }
    return PMKV_OK;
}

/* I4: the condition is checked, and the sequence number drawn, with the stripe locked. */
enum pmkv_status write_find_old(struct pmkv *kv, struct write_op *op)
{
    enum find_result r = find_key(kv, op->key, op->key_bytes, op->khash, true, &op->old);
    if (r == FIND_IO || r == FIND_NOMEM)
        return status_of_find(r);
    op->had = r != FIND_NONE;
    bool there = r == FIND_LOST || (r == FIND_HIT && op->old.h.type != RECORD_TOMBSTONE);
    if (op->type == RECORD_TOMBSTONE && !there) {
        err_clear();
        return PMKV_E_NOT_FOUND;
    }
    if (op->conditional) {
        enum pmkv_status s = condition_holds(op, r, there);
        if (s)
            return s;
    }
    if (r == FIND_HIT && op->old.h.type == RECORD_MANIFEST)
        op->drop_extents = manifest_read(kv, &op->old, &op->old_manifest) == FIND_HIT;
    return PMKV_OK;
}

struct draft write_draft(const struct write_op *op, uint64_t seq, uint8_t flags)
{
    return (struct draft){.type = op->type,
                          .flags = flags,
                          .key_bytes = op->key_bytes,
                          .value_bytes = (uint32_t)op->value_bytes,
                          .key = op->key,
                          .value = op->value,
                          .key_hash = op->khash,
                          .value_hash = op->value_hash,
                          .seq = seq};
}

/* I8: the slot counts the older puts of its key on the medium. */
static uint32_t older_after(const struct write_op *op)
{
    if (!op->had)
        return 0;
    uint32_t older = slot_older(op->old.ref.slot);
    bool was_put = op->old.lost || op->old.h.type != RECORD_TOMBSTONE;
    return older + was_put;
}

/* O1. `was_there`: and not lost, for a record that was may have lost its name as well, and then its
 * key is not among those in order. */
static void order_follow(struct pmkv *kv, const struct write_op *op, bool was_there)
{
    struct key_view key = {op->key, op->key_bytes};
    if (op->type == RECORD_TOMBSTONE)
        order_remove(kv->order, key);
    else if (!was_there)
        (void)order_insert(kv->order, key); /* who iterates is told */
}

enum pmkv_status write_publish(struct pmkv *kv, struct write_op *op)
{
    uint32_t stripe = index_stripe(op->khash), segment = pos_place(&kv->shape, op->pos).segment;
    struct slot slot = slot_make(op->pos.v, older_after(op), op->khash);
    bool was_live = op->had && !op->old.lost && op->old.h.type != RECORD_TOMBSTONE;
    bool was_there = was_live;
    int64_t units = (int64_t)units_of(write_packed(op));
    segment_live_add(kv, segment, units);
    if (op->had) {
        struct log_pos old = {slot_position(op->old.ref.slot)};
        index_replace(kv->index, &op->old.ref, slot);
        if (pos_is_lost(old))
            lost_forget(kv, old.v & ~POSITION_LOST);
        else if (op->old.h.key_bytes) {
            uint64_t bytes = record_packed(op->old.h.key_bytes, op->old.h.value_bytes);
            segment_live_add(kv, pos_place(&kv->shape, old).segment, -(int64_t)units_of(bytes));
            units -= (int64_t)units_of(bytes);
        }
        if (op->old.lost && !pos_is_lost(old))
            was_live = true; /* lost, but not entered yet: it still counts as a key */
    } else if (index_insert(kv->index, op->khash, slot)) {
        /* The record is durable but cannot be shown: what the caller is told of it is true only
         * after the next open, so no more is written until then. */
        write_failure(kv);
        return fail(PMKV_E_IO, "out of memory for the index after the record was stored");
    }
    if (units)
        space_live_add(kv, units);
    index_keys_add(kv->index, stripe, (op->type != RECORD_TOMBSTONE) - (int)was_live);
    if (kv->order)
        order_follow(kv, op, was_there);
    record_published(&kv->segments[segment]);
    return PMKV_OK;
}

void write_finish(struct pmkv *kv, struct write_op *op, bool failed)
{
    free(op->old.rebuilt);
    if (failed && op->staged)
        extents_drop(kv, &op->manifest);
    if (!failed && op->drop_extents)
        extents_drop(kv, &op->old_manifest);
}

/* --- one record ------------------------------------------------------------------------------- */

static int commit_record(struct pmkv *kv, struct lane *lane, struct write_op *op, struct draft *d)
{
    int rc = lane_add(kv, lane, d, &op->pos);
    if (rc) {
        lane_abandon(kv, lane);
        return rc;
    }
    rc = lane_store(kv, lane);
    if (rc)
        return rc;
    /* The old record comes while the stores are on their way: behind the fence stands the lane's
     * unlocking, and no load passes that. */
    if (op->type == RECORD_PUT && !op->defer)
        find_prefetch(kv, op->khash, RECORD_HEADER_BYTES + op->key_bytes);
    return lane_fence(kv, lane);
}

enum { NUMBERS = 16 };

/* I4: higher than any number its stripe has seen. The lane keeps a few, so that writers do not all
 * store to the line of the counter for each put; when another lane has put to the stripe since,
 * with higher ones, they are dropped. 0: none can be reserved. */
static uint64_t lane_number(struct pmkv *kv, struct lane *lane, uint32_t stripe)
{
    uint64_t *last = index_last_number(kv->index, stripe);
    if (lane->number == lane->numbers_end || lane->number <= *last) {
        lane->number = counter_next(kv, NUMBERS);
        lane->numbers_end = lane->number ? lane->number + NUMBERS : 0;
        if (lane->number == 0)
            return 0;
    }
    return *last = lane->number++;
}

static enum pmkv_status commit_one(struct pmkv *kv, struct write_op *op, enum space_class class)
{
    if (kv->join && join_commit(kv, op))
        return PMKV_OK;
    struct lane *lane = lane_pick(kv);
    struct draft d = write_draft(op, lane_number(kv, lane, index_stripe(op->khash)), 0);
    op->seq = d.seq;
    int rc = d.seq ? -EFAULT : -EIO;
    for (int attempt = 0; attempt < 4 && rc == -EFAULT; attempt++) {
        rc = lane_begin(kv, lane, write_packed(op), 1, class);
        if (rc == 0)
            rc = commit_record(kv, lane, op, &d);
    }
    if (rc == 0 && op->defer)
        defer_look(kv, op);
    if (rc == 0 && op->type != RECORD_TOMBSTONE) {
        count64(&lane->puts, 1);
        count64(&lane->user_bytes, op->user_bytes);
    }
    lane_unlock(lane);
    if (rc == -ENOSPC)
        return fail(PMKV_E_FULL, "no segment is free");
    return rc ? status_of(rc) : PMKV_OK;
}

/* With the stripe locked. A delete, and what has a condition, looks first, for it depends on what
 * it finds. A put looks last, or only when it has returned (defer.h): nothing before its fence
 * waits for the index. */
static enum pmkv_status write_locked(struct pmkv *kv, struct write_op *op, enum space_class class)
{
    bool look_first = op->type == RECORD_TOMBSTONE || op->conditional;
    enum pmkv_status s = look_first ? write_find_old(kv, op) : PMKV_OK;
    op->defer = !look_first && defer_ready(kv, op);
    if (s == PMKV_OK)
        s = commit_one(kv, op, class);
    if (s == PMKV_OK && op->defer && op->candidates == 0)
        return write_publish(kv, op);
    if (s == PMKV_OK && op->defer && defer_publish(kv, op))
        return PMKV_OK;
    if (s == PMKV_OK && !look_first && write_find_old(kv, op))
        return fail(PMKV_E_IO, "the record is stored, but the one before it cannot be read: it "
                               "counts from the next open on");
    return s == PMKV_OK ? write_publish(kv, op) : s;
}

static enum pmkv_status write_one(struct pmkv *kv, struct write_op *op, enum space_class class)
{
    enum pmkv_status s;
    for (int attempt = 0;; attempt++) {
        s = space_admit(kv, write_packed(op), class);
        bool admitted = s == PMKV_OK;
        if (s != PMKV_OK && (s != PMKV_E_FULL || class != SPACE_DELETE))
            return s; /* a delete may still fit in a row that is open */
        uint32_t stripe = index_stripe(op->khash);
        index_lock(kv->index, stripe);
        s = write_locked(kv, op, class);
        index_unlock(kv->index, stripe);
        if (s != PMKV_E_FULL || attempt == 8 || !admitted)
            return s;
        free(op->old.rebuilt); /* another writer took the segment first: ask again */
        op->old.rebuilt = NULL;
        op->had = op->drop_extents = false;
    }
}

/* --- the calls -------------------------------------------------------------------------------- */

/* `op` has its condition, if any; the rest of it is filled here. */
static enum pmkv_status run_put(struct pmkv *kv, const void *key, size_t key_bytes,
                                const void *value, size_t value_bytes, struct write_op *op)
{
    enum pmkv_status s = write_allowed(kv);
    if (s)
        return s;
    if (key_bytes > PMKV_MAX_KEY_BYTES)
        return check_key(kv, key, key_bytes);
    op->key = key;
    op->key_bytes = (uint32_t)key_bytes;
    op->type = RECORD_PUT;
    op->value = value;
    op->value_bytes = value_bytes;
    op->user_bytes = key_bytes + value_bytes;
    s = write_prepare(kv, op);
    defer_make_room(kv); /* while this key's bucket comes */
    if (s == PMKV_OK)
        s = write_one(kv, op, SPACE_PUT);
    write_finish(kv, op, s != PMKV_OK);
    /* One insert in four: a step makes room for more, and looks at words that all inserts share. */
    if (s == PMKV_OK && !op->had && op->seq % 4 == 0)
        index_grow_step(kv->index);
    return s;
}

enum pmkv_status pmkv_put(struct pmkv *kv, const void *key, size_t key_bytes, const void *value,
                          size_t value_bytes)
{
    struct write_op op = {0};
    return run_put(kv, key, key_bytes, value, value_bytes, &op);
}

enum pmkv_status pmkv_put_if(struct pmkv *kv, const void *key, size_t key_bytes, const void *value,
                             size_t value_bytes, uint64_t version, uint64_t *version_now)
{
    struct write_op op = {.conditional = true, .expected = version};
    enum pmkv_status s = run_put(kv, key, key_bytes, value, value_bytes, &op);
    if (s == PMKV_OK && version_now)
        *version_now = op.seq;
    return s;
}

static enum pmkv_status run_delete(struct pmkv *kv, const void *key, size_t key_bytes,
                                   struct write_op *op)
{
    enum pmkv_status s = write_allowed(kv);
    if (s)
        return s;
    if (key_bytes > PMKV_MAX_KEY_BYTES)
        return check_key(kv, key, key_bytes);
    op->key = key;
    op->key_bytes = (uint32_t)key_bytes;
    op->type = RECORD_TOMBSTONE;
    s = write_prepare(kv, op);
    if (s == PMKV_OK)
        s = write_one(kv, op, SPACE_DELETE);
    write_finish(kv, op, s != PMKV_OK);
    if (s == PMKV_OK)
        atomic_fetch_add_explicit(&op_shard(kv)->deletes, 1, memory_order_relaxed);
    return s;
}

enum pmkv_status pmkv_delete(struct pmkv *kv, const void *key, size_t key_bytes)
{
    struct write_op op = {0};
    return run_delete(kv, key, key_bytes, &op);
}

enum pmkv_status pmkv_delete_if(struct pmkv *kv, const void *key, size_t key_bytes,
                                uint64_t version)
{
    struct write_op op = {.conditional = true, .expected = version};
    if (version == PMKV_ABSENT)
        return fail(PMKV_E_INVALID, "a delete needs the version that is to be deleted");
    return run_delete(kv, key, key_bytes, &op);
}
