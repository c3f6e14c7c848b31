/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Steps 2 to 4 and 6 of the cleaner: copying, publishing, counting versions. */
#include "clean_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lane.h"
#include "read.h"
#include "segment.h"

/* --- memory ----------------------------------------------------------------------------------- */

static void *grow(void *list, uint32_t count, uint32_t *room, size_t each)
{
    if (count < *room)
        return list;
    uint32_t wanted = *room ? *room * 2 : 256;
    void *bigger = realloc(list, wanted * each);
    if (bigger)
        *room = wanted;
    return bigger;
}

static bool arena_keep(struct victim *v, const void *key, uint32_t bytes, size_t *at)
{
    if (v->arena_room - v->arena_used < bytes) {
        size_t room = (v->arena_room + bytes) * 2 + 4096;
        uint8_t *arena = realloc(v->arena, room);
        if (!arena)
            return false;
        v->arena = arena;
        v->arena_room = room;
    }
    memcpy(v->arena + v->arena_used, key, bytes);
    *at = v->arena_used;
    v->arena_used += bytes;
    return true;
}

void victim_free(struct victim *v)
{
    free(v->moves);
    free(v->gone);
    free(v->arena);
}

/* --- step 4: publishing ----------------------------------------------------------------------- */

/* A count at its most stays there (I8): nobody needs to know whose it is, and of keys that are
 * written over and over the most are. Without the lock, a guess. */
static bool counts_stay(struct pmkv *kv, uint64_t hash)
{
    struct index_find f;
    struct slot_ref ref;
    index_find_begin(kv->index, hash, &f);
    while (index_find_next(&f, &ref))
        if (slot_older(ref.slot) < SLOT_OLDER_MAX)
            return false;
    return true;
}

/* I8: adds to the older count of the key's slot; a tombstone without older versions goes. */
static void older_adjust(struct pmkv *kv, const uint8_t *key, uint32_t key_bytes, uint64_t hash,
                         int by)
{
    struct found f = {0};
    uint32_t stripe = index_stripe(hash);
    index_lock(kv->index, stripe);
    enum find_result r = FIND_NONE;
    if (!counts_stay(kv, hash))
        r = find_key(kv, key, key_bytes, hash, true, &f);
    if (r == FIND_HIT || r == FIND_LOST) {
        uint32_t older = slot_older(f.ref.slot);
        if (older < SLOT_OLDER_MAX && (by > 0 || older > 0))
            older = (uint32_t)((int)older + by);
        if (r == FIND_HIT && f.h.type == RECORD_TOMBSTONE && older == 0) {
            index_remove(kv->index, &f.ref);
            live_add(kv, pos_place(&kv->shape, f.pos).segment,
                     -(int64_t)units_of(record_packed(f.h.key_bytes, f.h.value_bytes)));
        } else {
            uint64_t pos = slot_position(f.ref.slot);
            index_replace(kv->index, &f.ref, slot_with(f.ref.slot, pos, older));
        }
    }
    index_unlock(kv->index, stripe);
    free(f.rebuilt);
}

static void publish_move(struct pmkv *kv, const struct victim *v, struct move *m)
{
    struct slot_ref ref;
    uint32_t to = pos_place(&kv->shape, m->to).segment;
    index_lock(kv->index, index_stripe(m->hash));
    bool current = index_find_position(kv->index, m->hash, m->from.v, &ref);
    if (current) { /* I6: only if nobody wrote the key meanwhile */
        index_replace(kv->index, &ref, slot_with(ref.slot, m->to.v, slot_older(ref.slot)));
        segment_live_add(kv, to, m->units);
        segment_live_add(kv, v->segment, -(int64_t)m->units);
    }
    index_unlock(kv->index, index_stripe(m->hash));
    m->current = current;
    if (!current && record_is_version(m->type))
        older_adjust(kv, v->arena + m->key_at, m->key_bytes, m->hash, 1);
    record_published(&kv->segments[to]);
}

static void publish_of(struct pmkv *kv, struct victim *v)
{
    for (; v->published < v->move_count; v->published++) {
        if (v->published + CLEAN_AHEAD < v->move_count)
            index_prefetch_insert(kv->index, v->moves[v->published + CLEAN_AHEAD].hash);
        publish_move(kv, v, &v->moves[v->published]);
    }
}

static bool moves_pending(const struct cleaning *c)
{
    for (uint32_t i = 0; i < c->victim_count; i++)
        if (c->victims[i].published < c->victims[i].move_count)
            return true;
    return false;
}

int publish_moves(struct cleaning *c)
{
    struct pmkv *kv = c->kv;
    if (!moves_pending(c))
        return 0;
    lane_lock(kv->cleaner);
    int rc = lane_close_row(kv, kv->cleaner);
    lane_unlock(kv->cleaner);
    if (rc)
        return rc;
    uint64_t moved = 0;
    for (uint32_t i = 0; i < c->victim_count; i++) {
        moved += c->victims[i].move_count - c->victims[i].published;
        publish_of(kv, &c->victims[i]);
    }
    atomic_fetch_add_explicit(&kv->n.records_moved, moved, memory_order_relaxed);
    return 0;
}

/* --- step 2: copying -------------------------------------------------------------------------- */

int copy_record(struct cleaning *c, struct victim *v, const struct entry *e, const uint8_t *record,
                uint64_t khash, struct log_pos from)
{
    struct pmkv *kv = c->kv;
    struct record_header h;
    memcpy(&h, record, sizeof h);
    const uint8_t *key = record + sizeof h;
    struct draft d = {.type = h.type,
                      .key_bytes = h.key_bytes,
                      .value_bytes = h.value_bytes,
                      .key = key,
                      .value = key + h.key_bytes,
                      .key_hash = khash,
                      .value_hash = h.value_hash,
                      .seq = h.seq};
    struct move m = {.hash = e->hash, .from = from, .type = h.type, .key_bytes = h.key_bytes};
    uint64_t need = record_packed(h.key_bytes, h.value_bytes);
    m.units = (uint32_t)units_of(need);
    void *moves = grow(v->moves, v->move_count, &v->move_room, sizeof m);
    if (moves)
        v->moves = moves;
    if (!moves || !arena_keep(v, key, h.key_bytes, &m.key_at))
        return -ENOMEM;
    if (lane_room(kv, kv->cleaner) < need) {
        int rc = publish_moves(c); /* the row is full: it becomes redundant, then visible (I2) */
        if (rc)
            return rc;
    }
    lane_lock(kv->cleaner);
    int rc = lane_begin(kv, kv->cleaner, need, 1, SPACE_CLEANER);
    if (rc == 0)
        rc = lane_add(kv, kv->cleaner, &d, &m.to);
    kv->cleaner->added = 0; /* the row is one commit; it is never abandoned */
    lane_unlock(kv->cleaner);
    if (rc == 0)
        v->moves[v->move_count++] = m;
    return rc;
}

/* --- step 6: counting versions ---------------------------------------------------------------- */

int note_gone(struct cleaning *c, struct victim *v, const struct entry *e, struct log_pos pos)
{
    struct gone g = {.hash = e->hash, .key_bytes = e->key_bytes};
    const uint8_t *key = e->key;
    uint8_t *record = NULL;
    if (e->kept_bytes < e->key_bytes) { /* the whole key is needed: it is compared in full */
        if (read_record(c->kv, pos, v->generation, &record) != FIND_HIT)
            return 0; /* the count stays too high, which keeps a tombstone until the next open */
        key = record + RECORD_HEADER_BYTES;
    }
    void *list = grow(v->gone, v->gone_count, &v->gone_room, sizeof g);
    bool kept = list && arena_keep(v, key, e->key_bytes, &g.key_at);
    free(record);
    if (list)
        v->gone = list;
    if (kept)
        v->gone[v->gone_count++] = g;
    return 0;
}

static void count_gone(struct pmkv *kv, const struct victim *v)
{
    for (uint32_t i = 0; i < v->gone_count;) {
        uint32_t end = v->gone_count - i < CLEAN_AHEAD ? v->gone_count : i + CLEAN_AHEAD;
        for (uint32_t k = i; k < end; k++)
            index_prefetch_insert(kv->index, v->gone[k].hash);
        for (uint32_t k = i; k < end; k++)
            if (!counts_stay(kv, v->gone[k].hash))
                find_prefetch(kv, v->gone[k].hash, RECORD_HEADER_BYTES + v->gone[k].key_bytes);
        for (; i < end; i++)
            older_adjust(kv, v->arena + v->gone[i].key_at, v->gone[i].key_bytes, v->gone[i].hash,
                         -1);
    }
}

/* I8, exactly: a count goes down only for a version whose segment was freed. A victim that was not,
 * since its cleaning or its end failed, keeps its dead versions, and those that were moved out of
 * it stay there as well. */
void count_versions(struct pmkv *kv, struct victim *v)
{
    if (atomic_load(&kv->segments[v->segment].generation) != v->generation)
        count_gone(kv, v);
    else
        for (uint32_t i = 0; i < v->published; i++) {
            const struct move *m = &v->moves[i];
            if (m->current && record_is_version(m->type))
                older_adjust(kv, v->arena + m->key_at, m->key_bytes, m->hash, 1);
        }
    v->move_count = v->published = v->gone_count = 0;
    v->arena_used = 0;
}
