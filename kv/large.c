/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Long values: pieces, each an ordinary record under (value id, number), then a manifest under the
 * key. The pieces are durable and in the index before the manifest is stored, so the manifest's one
 * fence makes the value appear. Pieces whose manifest does not count are dead: open and the writers
 * drop them from the index, the cleaner from the medium.
 *
 * A piece that fills a row goes to the lane of long values, which stores rows whole with their
 * parity: each byte once, and no twin. Checks that hold say nothing of such a row (I10), so the
 * segment's header says that it is closed before the manifest is stored. While another writer has
 * that lane, and where room is short, pieces fill what is left of an ordinary lane's row.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "damage.h"
#include "defer.h"
#include "error.h"
#include "lost.h"
#include "write.h"

enum { EXTENT_OVERHEAD = RECORD_HEADER_BYTES + sizeof(struct extent_key), EXTENT_MIN_BYTES = 2048 };

/* Bytes of a piece that fills a row. */
static uint32_t row_piece(const struct pmkv *kv)
{
    return row_payload(kv) - EXTENT_OVERHEAD;
}

/* Stores a piece that fills a row of the lane of long values; returns its length, 0 on failure.
 * -ENOSPC: it goes to another lane; nothing was stored. */
static uint32_t extent_fill_row(struct pmkv *kv, struct draft *d, uint64_t left, int *rc,
                                struct log_pos *pos)
{
    uint32_t bytes = row_piece(kv);
    struct lane *lane = kv->long_lane;
    *rc = -ENOSPC;
    if (left < bytes || segment_room(kv, SPACE_PUT) <= 1 || !lane_try_lock(lane))
        return 0;
    d->value_bytes = bytes;
    *rc = lane_begin(kv, lane, row_payload(kv), 1, SPACE_PUT);
    if (*rc == 0) {
        *rc = lane_add(kv, lane, d, pos);
        if (*rc == 0)
            *rc = lane_close_row(kv, lane);
        if (*rc)
            lane_abandon(kv, lane);
    }
    lane_unlock(lane);
    return *rc ? 0 : bytes;
}

/* Stores one piece, as long as the lane's row has room for; returns its length, 0 on failure. */
static uint32_t extent_commit(struct pmkv *kv, struct draft *d, uint64_t left, int *rc,
                              struct log_pos *pos)
{
    uint32_t bytes = 0;
    struct lane *lane = lane_pick(kv);
    *rc = -EFAULT;
    for (int attempt = 0; attempt < 4 && *rc == -EFAULT; attempt++) {
        uint32_t room = lane_room(kv, lane);
        if (room < EXTENT_OVERHEAD + EXTENT_MIN_BYTES)
            room = row_payload(kv);
        bytes = room - EXTENT_OVERHEAD;
        if (bytes > left)
            bytes = (uint32_t)left;
        d->value_bytes = bytes;
        *rc = lane_begin(kv, lane, record_packed(d->key_bytes, bytes), 1, SPACE_PUT);
        if (*rc)
            break;
        *rc = lane_add(kv, lane, d, pos);
        if (*rc == 0)
            *rc = lane_commit(kv, lane);
        else
            lane_abandon(kv, lane);
    }
    lane_unlock(lane);
    return *rc ? 0 : bytes;
}

static enum pmkv_status extent_publish(struct pmkv *kv, const struct extent_key *key,
                                       struct log_pos pos, uint32_t bytes)
{
    uint64_t hash = extent_hash(key);
    uint32_t segment = pos_place(&kv->shape, pos).segment;
    live_add(kv, segment, (int64_t)units_of(record_packed(sizeof *key, bytes)));
    index_lock(kv->index, index_stripe(hash));
    int rc = index_insert(kv->index, hash, slot_make(pos.v, 0, hash));
    index_unlock(kv->index, index_stripe(hash));
    record_published(&kv->segments[segment]);
    if (rc)
        live_add(kv, segment, -(int64_t)units_of(record_packed(sizeof *key, bytes)));
    return status_of(rc);
}

/* Stores one piece and enters it in the manifest. */
static enum pmkv_status extent_store(struct pmkv *kv, struct manifest *m, const uint8_t *value,
                                     uint64_t left, uint32_t *stored)
{
    enum pmkv_status s =
        space_admit(kv, left < row_payload(kv) ? left : row_payload(kv), SPACE_PUT);
    if (s)
        return s;
    struct extent_key key = {.value_id = m->value_id, .number = m->extents};
    struct draft d = {.type = RECORD_EXTENT,
                      .key_bytes = sizeof key,
                      .key = &key,
                      .value = value,
                      .hash_value = true,
                      .key_hash = hash64(&key, sizeof key),
                      .seq = counter_next(kv, 1)};
    struct log_pos pos;
    int rc;
    if (d.seq == 0)
        return PMKV_E_IO;
    *stored = extent_fill_row(kv, &d, left, &rc, &pos);
    if (*stored == 0 && rc == -ENOSPC)
        *stored = extent_commit(kv, &d, left, &rc, &pos);
    if (*stored == 0)
        return rc == -ENOSPC ? fail(PMKV_E_FULL, "no segment is free") : status_of(rc);
    enum pmkv_status published = extent_publish(kv, &key, pos, *stored);
    if (published == PMKV_OK) {
        m->extents++;
        m->value_hash = pieces_hash(m->value_hash, d.value_hash, *stored);
    }
    return published;
}

/* Before a manifest: the rows of its pieces are closed, and so the header says (I10). Of segments
 * that the lane has left it was said then. Not under the lane's lock, which another writer takes
 * again and again; one that was freed meanwhile has no piece of this value. */
static enum pmkv_status extents_vouch(struct pmkv *kv)
{
    int64_t segment = atomic_load_explicit(&kv->long_lane->segment, memory_order_acquire);
    if (segment < 0)
        return PMKV_OK;
    uint64_t generation = atomic_load(&kv->segments[segment].generation);
    if (generation == 0 || !segment_pin(kv, (uint32_t)segment, generation))
        return PMKV_OK;
    int rc = segment_note_closed(kv, (uint32_t)segment);
    segment_unpin(kv, (uint32_t)segment);
    return status_of(rc);
}

static bool room_for(struct pmkv *kv, uint64_t bytes)
{
    return atomic_load(&kv->live_units) + (int64_t)units_of(bytes) <= (int64_t)kv->capacity_units;
}

enum pmkv_status extents_store(struct pmkv *kv, const void *value, uint64_t bytes,
                               struct manifest *out)
{
    if (!room_for(kv, bytes) && !(defer_settle_all(kv) && room_for(kv, bytes)))
        return fail(PMKV_E_FULL, "no room for a value of %llu bytes", (unsigned long long)bytes);
    struct manifest m = {.value_id = counter_next(kv, 1), .value_bytes = bytes};
    if (m.value_id == 0)
        return PMKV_E_IO;
    enum pmkv_status s = PMKV_OK;
    int retries = 0;
    for (uint64_t at = 0; at < bytes && s == PMKV_OK;) {
        uint32_t stored = 0;
        s = extent_store(kv, &m, (const uint8_t *)value + at, bytes - at, &stored);
        if (s == PMKV_E_FULL && ++retries < 8) {
            s = PMKV_OK; /* another writer took the segment first: ask again */
            continue;
        }
        at += stored;
        index_grow_step(kv->index);
    }
    if (s == PMKV_OK && bytes >= row_piece(kv))
        s = extents_vouch(kv);
    if (s) {
        extents_drop(kv, &m);
        return s;
    }
    *out = m;
    return PMKV_OK;
}

void extents_drop(struct pmkv *kv, const struct manifest *m)
{
    for (uint32_t i = 0; i < m->extents; i++) {
        struct extent_key key = {.value_id = m->value_id, .number = i};
        uint32_t stripe = index_stripe(extent_hash(&key));
        struct found f;
        index_lock(kv->index, stripe);
        if (find_extent(kv, &key, true, &f) == FIND_HIT) {
            index_remove(kv->index, &f.ref);
            live_add(kv, pos_place(&kv->shape, f.pos).segment,
                     -(int64_t)units_of(record_packed(f.h.key_bytes, f.h.value_bytes)));
        } else if (f.lost) {
            index_remove(kv->index, &f.ref);
        }
        index_unlock(kv->index, stripe);
        free(f.rebuilt);
    }
}

/* Its numbers become an allocation and a loop, and checks say who wrote them, not that they are
 * small. Every piece but the last has EXTENT_MIN_BYTES. */
bool manifest_holds(const struct manifest *m)
{
    return m->value_bytes <= PMKV_MAX_VALUE_BYTES && m->reserved == 0 &&
           m->extents <= m->value_bytes / EXTENT_MIN_BYTES + 1;
}

enum find_result manifest_read(struct pmkv *kv, struct found *f, struct manifest *out)
{
    struct manifest m;
    enum find_result r = read_value(kv, f, &m);
    if (r == FIND_HIT && !manifest_holds(&m))
        return FIND_LOST;
    if (r == FIND_HIT)
        *out = m;
    return r;
}

/* What has been read of a long value. */
struct reading {
    uint8_t *dst;
    uint64_t bytes, at; /* of the whole value; so far */
    uint64_t hash;      /* of the pieces so far */
};

/* One piece, while that of the hash `next` is asked for. FIND_NONE: it is not there (any more). */
static enum find_result extent_read(struct pmkv *kv, const struct extent_key *key, uint64_t next,
                                    struct reading *to)
{
    index_prefetch(kv->index, next);
    for (;;) {
        struct found f;
        enum find_result r = find_extent(kv, key, false, &f);
        if (r == FIND_HIT) {
            find_prefetch(kv, next, PAGE_BYTES);
            bool fits = f.h.value_bytes <= to->bytes - to->at;
            r = fits ? read_value(kv, &f, to->dst + to->at) : FIND_LOST;
            free(f.rebuilt);
            if (r == FIND_NONE)
                continue; /* moved by the cleaner */
        }
        if (r == FIND_HIT) {
            to->at += f.h.value_bytes;
            to->hash = pieces_hash(to->hash, f.h.value_hash, f.h.value_bytes);
        }
        return r;
    }
}

enum pmkv_status extents_read(struct pmkv *kv, const struct manifest *m, void *dst)
{
    struct reading to = {.dst = dst, .bytes = m->value_bytes};
    for (uint32_t i = 0; i < m->extents; i++) {
        struct extent_key key = {.value_id = m->value_id, .number = i}, next = key;
        next.number += i + 1 < m->extents;
        switch (extent_read(kv, &key, extent_hash(&next), &to)) {
        case FIND_HIT:
            break;
        case FIND_LOST:
            return PMKV_E_LOST;
        case FIND_IO:
            return fail(PMKV_E_IO, "a piece of the value cannot be read now");
        case FIND_NOMEM:
            return fail(PMKV_E_NO_MEMORY, "no memory to rebuild a piece of the value");
        case FIND_NONE:
            return PMKV_E_NOT_FOUND;
        }
    }
    /* Each piece was checked by its own hash; the manifest says that they are the right ones. */
    return to.at == m->value_bytes && to.hash == m->value_hash ? PMKV_OK : PMKV_E_LOST;
}
