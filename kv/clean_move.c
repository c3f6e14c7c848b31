/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Steps 2 to 4 of the cleaner: copying and publishing. */
#include "clean_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lane.h"
#include "read.h"
#include "segment.h"

/* --- memory ----------------------------------------------------------------------------------- */

void *list_grow(void *list, uint32_t count, uint32_t *room, size_t each)
{
    if (count < *room)
        return list;
    uint32_t wanted = *room ? *room * 2 : 256;
    void *bigger = realloc(list, wanted * each);
    if (bigger)
        *room = wanted;
    return bigger;
}

bool arena_keep(struct victim *v, const void *key, uint32_t bytes, size_t *at)
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

static void publish_move(struct pmkv *kv, const struct victim *v, struct move *m)
{
    struct slot_ref ref;
    index_lock(kv->index, index_stripe(m->hash));
    bool current = index_find_position(kv->index, m->hash, m->from.v, &ref);
    if (current) /* I6: only if nobody wrote the key meanwhile */
        index_replace(kv->index, &ref, slot_with(ref.slot, m->to.v, slot_older(ref.slot)));
    index_unlock(kv->index, index_stripe(m->hash));
    m->current = current;
    if (!current && record_is_version(m->type))
        older_adjust(kv, v->arena + m->key_at, m->key_bytes, m->hash, 1);
}

/* Those from `first` on went to one segment: it is accounted for once. Until then the segment is
 * nobody's victim (I5), and nobody else asks what counts in it. */
static void account(struct pmkv *kv, const struct victim *v, uint32_t first)
{
    int64_t units = 0;
    for (uint32_t i = first; i < v->published; i++)
        units += v->moves[i].current ? v->moves[i].units : 0;
    if (first == v->published)
        return;
    uint32_t to = pos_place(&kv->shape, v->moves[first].to).segment;
    segment_live_add(kv, to, units);
    segment_live_add(kv, v->segment, -units);
    records_published(&kv->segments[to], v->published - first);
}

static void publish_of(struct pmkv *kv, struct victim *v)
{
    uint32_t first = v->published, to = UINT32_MAX;
    for (; v->published < v->move_count; v->published++) {
        struct move *m = &v->moves[v->published];
        uint32_t segment = pos_place(&kv->shape, m->to).segment;
        if (segment != to) {
            account(kv, v, first);
            first = v->published;
            to = segment;
        }
        if (v->published + CLEAN_AHEAD < v->move_count)
            index_prefetch_insert(kv->index, m[CLEAN_AHEAD].hash);
        publish_move(kv, v, m);
    }
    account(kv, v, first);
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
    void *moves = list_grow(v->moves, v->move_count, &v->move_room, sizeof m);
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
