/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Batches. All members and the commit record are one commit of a lane, in one segment, under one
 * fence; the commit record counts and chains the members, so after a crash all are there or none
 * (P2).
 *
 *   1. the last entry of each key counts; long values are stored ahead
 *   2. all stripes are locked in ascending order (I4); old records are found
 *   3. members, then the commit record, are stored and fenced
 *   4. all members are published; readers that meet one meanwhile wait for all
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "damage.h"
#include "error.h"
#include "handle.h"
#include "write.h"

struct batch_entry {
    size_t key_at, value_at; /* in the arena */
    uint32_t key_bytes;
    uint64_t value_bytes;
    bool is_delete;
};

struct pmkv_batch {
    struct batch_entry *entries;
    size_t count, capacity;
    uint8_t *arena;
    size_t used, room;
};

enum pmkv_status pmkv_batch_new(struct pmkv_batch **out)
{
    struct pmkv_batch *b = calloc(1, sizeof *b);
    if (!b)
        return fail(PMKV_E_NO_MEMORY, "no memory for a batch");
    *out = b;
    return PMKV_OK;
}

static enum pmkv_status arena_reserve(struct pmkv_batch *b, size_t bytes)
{
    if (b->room - b->used < bytes) {
        size_t room = (b->room + bytes) * 2;
        uint8_t *arena = realloc(b->arena, room);
        if (!arena)
            return fail(PMKV_E_NO_MEMORY, "no memory for %zu bytes of a batch", bytes);
        b->arena = arena;
        b->room = room;
    }
    if (b->count == b->capacity) {
        size_t capacity = b->capacity ? b->capacity * 2 : 16;
        struct batch_entry *entries = realloc(b->entries, capacity * sizeof *entries);
        if (!entries)
            return fail(PMKV_E_NO_MEMORY, "no memory for %zu entries of a batch", capacity);
        b->entries = entries;
        b->capacity = capacity;
    }
    return PMKV_OK;
}

static enum pmkv_status batch_add(struct pmkv_batch *b, const void *key, size_t key_bytes,
                                  const void *value, size_t value_bytes, bool is_delete)
{
    if (!b || !key || key_bytes == 0 || (!value && value_bytes))
        return fail(PMKV_E_INVALID, "the batch, the key or the value is missing");
    if (key_bytes > PMKV_MAX_KEY_BYTES || value_bytes > PMKV_MAX_VALUE_BYTES)
        return fail(PMKV_E_TOO_LARGE, "a key of %zu bytes, a value of %zu", key_bytes, value_bytes);
    enum pmkv_status s = arena_reserve(b, key_bytes + value_bytes);
    if (s)
        return s;
    struct batch_entry *e = &b->entries[b->count++];
    *e = (struct batch_entry){b->used, b->used + key_bytes, (uint32_t)key_bytes, value_bytes,
                              is_delete};
    memcpy(b->arena + e->key_at, key, key_bytes);
    if (value_bytes)
        memcpy(b->arena + e->value_at, value, value_bytes);
    b->used += key_bytes + value_bytes;
    return PMKV_OK;
}

enum pmkv_status pmkv_batch_put(struct pmkv_batch *b, const void *key, size_t key_bytes,
                                const void *value, size_t value_bytes)
{
    return batch_add(b, key, key_bytes, value, value_bytes, false);
}

enum pmkv_status pmkv_batch_delete(struct pmkv_batch *b, const void *key, size_t key_bytes)
{
    return batch_add(b, key, key_bytes, NULL, 0, true);
}

void pmkv_batch_clear(struct pmkv_batch *b)
{
    if (b)
        b->count = b->used = 0;
}

size_t pmkv_batch_count(const struct pmkv_batch *b)
{
    return b ? b->count : 0;
}

void pmkv_batch_free(struct pmkv_batch **b)
{
    if (!b || !*b)
        return;
    free((*b)->entries);
    free((*b)->arena);
    free(*b);
    *b = NULL;
}

/* --- pmkv_write ------------------------------------------------------------------------------- */

struct batch_run {
    struct write_op *ops; /* in the order of their stripes */
    uint32_t count;
    uint64_t first_seq;
    uint64_t bytes; /* packed, with the commit record */
    uint32_t rows;
};

/* `place`: the hash turned so that its stripe is on top; in this order stripes are locked, and the
 * entries of one key stand together. */
struct batch_order {
    uint64_t place;
    uint32_t number;
};

static uint64_t place_of(uint64_t hash)
{
    return hash >> INDEX_STRIPE_BITS | hash << (64 - INDEX_STRIPE_BITS);
}
static uint64_t hash_of(uint64_t place)
{
    return place << INDEX_STRIPE_BITS | place >> (64 - INDEX_STRIPE_BITS);
}

static int compare_order(const void *a, const void *b)
{
    const struct batch_order *x = a, *y = b;
    if (x->place != y->place)
        return x->place < y->place ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

/* Most batches are short. */
static void sort_order(struct batch_order *order, size_t count)
{
    enum { SHORT = 32 };
    if (count > SHORT) {
        qsort(order, count, sizeof *order, compare_order);
        return;
    }
    for (size_t i = 1; i < count; i++) {
        struct batch_order o = order[i];
        size_t at = i;
        for (; at > 0 && compare_order(&order[at - 1], &o) > 0; at--)
            order[at] = order[at - 1];
        order[at] = o;
    }
}

static bool same_key(const struct pmkv_batch *b, uint32_t i, uint32_t k)
{
    const struct batch_entry *x = &b->entries[i], *y = &b->entries[k];
    return x->key_bytes == y->key_bytes &&
           memcmp(b->arena + x->key_at, b->arena + y->key_at, x->key_bytes) == 0;
}

/* Does a later entry have the key of order[at]? Those that may stand right behind it. */
static bool is_overridden(const struct pmkv_batch *b, const struct batch_order *order, size_t at)
{
    for (size_t i = at + 1; i < b->count && order[i].place == order[at].place; i++)
        if (same_key(b, order[at].number, order[i].number))
            return true;
    return false;
}

static void run_add(struct batch_run *run, const struct pmkv_batch *b, uint32_t number,
                    uint64_t hash)
{
    const struct batch_entry *e = &b->entries[number];
    run->ops[run->count++] = (struct write_op){.key = b->arena + e->key_at,
                                               .key_bytes = e->key_bytes,
                                               .khash = hash,
                                               .type = e->is_delete ? RECORD_TOMBSTONE : RECORD_PUT,
                                               .value = b->arena + e->value_at,
                                               .value_bytes = e->value_bytes};
}

/* Step 1: one op per key, the last entry of each; in the order of their stripes. */
static enum pmkv_status run_build(struct pmkv *kv, const struct pmkv_batch *b,
                                  struct batch_run *run)
{
    struct batch_order *order = malloc(b->count * sizeof *order);
    run->ops = malloc(b->count * sizeof *run->ops);
    if (!order || !run->ops) {
        free(order);
        return fail(PMKV_E_NO_MEMORY, "no memory for a batch of %zu entries", b->count);
    }
    for (size_t i = 0; i < b->count; i++) {
        uint64_t hash = key_hash(b->arena + b->entries[i].key_at, b->entries[i].key_bytes);
        index_prefetch_insert(kv->index, hash);
        order[i] = (struct batch_order){place_of(hash), (uint32_t)i};
    }
    sort_order(order, b->count);
    for (size_t i = 0; i < b->count; i++)
        if (!is_overridden(b, order, i))
            run_add(run, b, order[i].number, hash_of(order[i].place));
    free(order);
    return PMKV_OK;
}

/* Packs the sizes as the lane will: how many fresh rows they take. */
static void run_measure(const struct pmkv *kv, struct batch_run *run)
{
    uint64_t fill = 0, payload = row_payload(kv);
    run->bytes = 0;
    run->rows = 1;
    for (uint32_t i = 0; i <= run->count; i++) {
        uint64_t bytes = i < run->count ? write_packed(&run->ops[i])
                                        : record_packed(sizeof(struct commit_key), 0);
        if (i < run->count && run->ops[i].skip)
            continue;
        if (fill + bytes > payload) {
            run->rows++;
            fill = 0;
        }
        fill += bytes;
        run->bytes += bytes;
    }
}

enum { NO_STRIPE = UINT32_MAX };

/* The stripe of an operation, once of each. */
static uint32_t stripe_at(const struct batch_run *run, uint32_t i)
{
    uint32_t stripe = index_stripe(run->ops[i].khash);
    return i > 0 && index_stripe(run->ops[i - 1].khash) == stripe ? NO_STRIPE : stripe;
}

/* Those of the operations before `end`, and not `but`. */
static void unlock_stripes(struct pmkv *kv, const struct batch_run *run, uint32_t end, uint32_t but)
{
    for (uint32_t i = 0; i < end; i++) {
        uint32_t stripe = stripe_at(run, i);
        if (stripe != NO_STRIPE && stripe != but)
            index_unlock(kv->index, stripe);
    }
}

/* All but `held`; returns the one that is busy, and then has none. */
static uint32_t try_stripes(struct pmkv *kv, const struct batch_run *run, uint32_t held)
{
    for (uint32_t i = 0; i < run->count; i++) {
        uint32_t stripe = stripe_at(run, i);
        if (stripe == NO_STRIPE || stripe == held || index_trylock(kv->index, stripe))
            continue;
        unlock_stripes(kv, run, i, held);
        return stripe;
    }
    return NO_STRIPE;
}

/* Who sleeps with stripes keeps them from the others, who then sleep with theirs: so a batch waits
 * for one stripe while it has none. When it had no luck it waits for all in their order. */
static void lock_stripes(struct pmkv *kv, const struct batch_run *run)
{
    enum { TRIES = 8 };
    uint32_t held = NO_STRIPE;
    for (int tries = 0; tries < TRIES; tries++) {
        uint32_t busy = try_stripes(kv, run, held);
        if (busy == NO_STRIPE)
            return;
        if (held != NO_STRIPE)
            index_unlock(kv->index, held);
        index_lock(kv->index, busy);
        held = busy;
    }
    index_unlock(kv->index, held);
    for (uint32_t i = 0; i < run->count; i++)
        if (stripe_at(run, i) != NO_STRIPE)
            index_lock(kv->index, stripe_at(run, i));
}

static int run_store(struct pmkv *kv, struct lane *lane, struct batch_run *run)
{
    struct commit_key commit = {0};
    struct log_pos pos;
    int rc = 0;
    for (uint32_t i = 0; i < run->count && rc == 0; i++) {
        struct write_op *op = &run->ops[i];
        if (op->skip)
            continue;
        struct draft d = write_draft(op, run->first_seq + commit.count, RECORD_BATCH);
        rc = lane_add(kv, lane, &d, &op->pos);
        commit.hash = hash_mix(commit.hash ^ d.check_epoch); /* record_chain */
        commit.count++;
    }
    struct draft d = {.type = RECORD_COMMIT,
                      .key_bytes = sizeof commit,
                      .key = &commit,
                      .key_hash = hash64(&commit, sizeof commit),
                      .value_hash = hash64(&commit, 0),
                      .seq = run->first_seq + commit.count};
    if (rc == 0)
        rc = lane_add(kv, lane, &d, &pos);
    if (rc) {
        lane_abandon(kv, lane);
        return rc;
    }
    rc = lane_commit(kv, lane);
    if (rc == 0) /* the commit record is never in the index */
        record_published(&kv->segments[pos_place(&kv->shape, pos).segment]);
    return rc;
}

/* Step 3. */
static enum pmkv_status run_commit(struct pmkv *kv, struct batch_run *run)
{
    run->first_seq = counter_next(kv, run->count + 1);
    if (run->first_seq == 0)
        return PMKV_E_IO;
    for (uint32_t i = 0; i < run->count; i++)
        *index_last_number(kv->index, index_stripe(run->ops[i].khash)) = run->first_seq + i;
    struct lane *lane = lane_pick(kv);
    int rc = -EFAULT;
    for (int attempt = 0; attempt < 4 && rc == -EFAULT; attempt++) {
        rc = lane_begin(kv, lane, run->bytes, run->rows, SPACE_PUT);
        if (rc == 0)
            rc = run_store(kv, lane, run);
    }
    lane_unlock(lane);
    if (rc == -ENOSPC)
        return fail(PMKV_E_FULL, "no segment is free");
    return rc ? status_of(rc) : PMKV_OK;
}

/* Step 4. */
static enum pmkv_status run_publish(struct pmkv *kv, struct batch_run *run)
{
    enum pmkv_status s = PMKV_OK;
    uint32_t mark = publishing_begin(kv, run->first_seq, run->first_seq + run->count);
    for (uint32_t i = 0; i < run->count; i++)
        if (!run->ops[i].skip) {
            enum pmkv_status one = write_publish(kv, &run->ops[i]);
            s = s ? s : one;
        }
    publishing_end(kv, mark);
    return s;
}

static enum pmkv_status run_find_old(struct pmkv *kv, struct batch_run *run)
{
    for (uint32_t i = 0; i < run->count; i++) {
        enum pmkv_status s = write_find_old(kv, &run->ops[i]);
        run->ops[i].skip = s == PMKV_E_NOT_FOUND;
        if (s && !run->ops[i].skip)
            return s;
    }
    run_measure(kv, run);
    return PMKV_OK;
}

static void run_forget_old(struct batch_run *run)
{
    for (uint32_t i = 0; i < run->count; i++) {
        free(run->ops[i].old.rebuilt);
        run->ops[i].old.rebuilt = NULL;
        run->ops[i].had = run->ops[i].drop_extents = run->ops[i].skip = false;
    }
}

static enum pmkv_status run_write(struct pmkv *kv, struct batch_run *run)
{
    for (int attempt = 0;; attempt++) {
        run_measure(kv, run);
        if (run->rows > kv->vol.layout.segment_rows)
            return fail(PMKV_E_TOO_LARGE,
                        "the batch packs to %llu bytes; a batch fits one segment of %llu",
                        (unsigned long long)run->bytes, (unsigned long long)segment_payload(kv));
        enum pmkv_status s = space_admit(kv, run->bytes, SPACE_PUT);
        if (s)
            return s;
        lock_stripes(kv, run);
        s = run_find_old(kv, run);
        if (s == PMKV_OK)
            s = run_commit(kv, run);
        if (s == PMKV_OK)
            s = run_publish(kv, run);
        unlock_stripes(kv, run, run->count, NO_STRIPE);
        if (s != PMKV_E_FULL || attempt == 8)
            return s;
        run_forget_old(run);
    }
}

enum pmkv_status pmkv_write(struct pmkv *kv, const struct pmkv_batch *b)
{
    enum pmkv_status s = write_allowed(kv);
    if (s || !b || b->count == 0)
        return s ? s : b ? PMKV_OK : fail(PMKV_E_INVALID, "no batch");
    struct batch_run run = {0};
    s = run_build(kv, b, &run);
    /* The old records arrive while the values are hashed. */
    for (uint32_t i = 0; i < run.count; i++)
        find_prefetch(kv, run.ops[i].khash, RECORD_HEADER_BYTES + run.ops[i].key_bytes);
    uint32_t prepared = 0;
    while (s == PMKV_OK && prepared < run.count)
        s = write_prepare_hashed(kv, &run.ops[prepared++]);
    if (s == PMKV_OK)
        s = run_write(kv, &run);
    for (uint32_t i = 0; i < prepared; i++)
        write_finish(kv, &run.ops[i], s != PMKV_OK);
    free(run.ops);
    if (s == PMKV_OK) {
        for (size_t i = 0; i < b->count; i += 4)
            index_grow_step(kv->index);
        atomic_fetch_add_explicit(&kv->n.batches, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&kv->n.user_bytes, b->used, memory_order_relaxed);
    }
    return s;
}
