/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Step 6 of the cleaner: counting versions. Nobody waits for it, so that writers who wait for the
 * cleaner do it in the meantime. */
#include "clean_impl.h"

#include <stdlib.h>
#include <string.h>

#include "clean.h"
#include "read.h"
#include "segment.h"

/* --- one count -------------------------------------------------------------------------------- */

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
void older_adjust(struct pmkv *kv, const uint8_t *key, uint32_t key_bytes, uint64_t hash, int by)
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

/* --- the dead puts of a victim ---------------------------------------------------------------- */

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
    void *list = list_grow(v->gone, v->gone_count, &v->gone_room, sizeof g);
    bool kept = list && arena_keep(v, key, e->key_bytes, &g.key_at);
    free(record);
    if (list)
        v->gone = list;
    if (kept)
        v->gone[v->gone_count++] = g;
    return 0;
}

static void count_gone(struct pmkv *kv, const struct gone *gone, uint32_t count,
                       const uint8_t *arena)
{
    for (uint32_t i = 0; i < count; i++)
        index_prefetch_insert(kv->index, gone[i].hash);
    for (uint32_t i = 0; i < count; i++)
        if (!counts_stay(kv, gone[i].hash))
            find_prefetch(kv, gone[i].hash, RECORD_HEADER_BYTES + gone[i].key_bytes);
    for (uint32_t i = 0; i < count; i++)
        older_adjust(kv, arena + gone[i].key_at, gone[i].key_bytes, gone[i].hash, -1);
}

/* --- lists that wait -------------------------------------------------------------------------- */

/* What a freed victim left to count. Taken from in pieces, by whoever has the time; who counts the
 * last of it frees it. */
struct gone_list {
    struct gone_list *next;
    struct gone *gone;
    uint8_t *arena;
    uint32_t count, taken; /* gone_lock */
    _Atomic uint32_t counted;
};

/* The cleaner keeps that many for others, and then counts itself: they are memory. */
enum { GONE_KEPT = 1 << 16 };

/* Takes over what the victim noted. */
static bool gone_leave(struct pmkv *kv, struct victim *v)
{
    struct gone_list *list = malloc(sizeof *list);
    if (!list)
        return false;
    *list = (struct gone_list){.gone = v->gone, .arena = v->arena, .count = v->gone_count};
    pthread_mutex_lock(&kv->gone_lock);
    list->next = kv->gone;
    kv->gone = list;
    atomic_fetch_add_explicit(&kv->gone_waiting, list->count, memory_order_relaxed);
    pthread_mutex_unlock(&kv->gone_lock);
    v->gone = NULL;
    v->arena = NULL;
    v->gone_room = 0;
    v->arena_room = v->arena_used = 0;
    return true;
}

/* A piece of the list that is first; NULL: there is none. */
static struct gone_list *gone_take(struct pmkv *kv, uint32_t *from, uint32_t *count)
{
    pthread_mutex_lock(&kv->gone_lock);
    struct gone_list *list = kv->gone;
    if (list) {
        *from = list->taken;
        *count = list->count - *from < CLEAN_AHEAD ? list->count - *from : CLEAN_AHEAD;
        list->taken += *count;
        if (list->taken == list->count)
            kv->gone = list->next;
        atomic_fetch_sub_explicit(&kv->gone_waiting, *count, memory_order_relaxed);
    }
    pthread_mutex_unlock(&kv->gone_lock);
    return list;
}

bool clean_help(struct pmkv *kv)
{
    uint32_t from, count;
    if (atomic_load_explicit(&kv->gone_waiting, memory_order_relaxed) == 0)
        return false;
    struct gone_list *list = gone_take(kv, &from, &count);
    if (!list)
        return false;
    uint32_t all = list->count;
    count_gone(kv, list->gone + from, count, list->arena);
    if (atomic_fetch_add_explicit(&list->counted, count, memory_order_acq_rel) + count == all) {
        free(list->gone);
        free(list->arena);
        free(list);
    }
    return true;
}

static void count_or_leave(struct pmkv *kv, struct victim *v)
{
    if (v->gone_count && !gone_leave(kv, v))
        for (uint32_t i = 0; i < v->gone_count; i += CLEAN_AHEAD) {
            uint32_t left = v->gone_count - i;
            count_gone(kv, v->gone + i, left < CLEAN_AHEAD ? left : CLEAN_AHEAD, v->arena);
        }
    while (atomic_load_explicit(&kv->gone_waiting, memory_order_relaxed) > GONE_KEPT &&
           clean_help(kv))
        ;
}

/* I8, exactly: a count goes down only for a version whose segment was freed. A victim that was not,
 * since its cleaning or its end failed, keeps its dead versions, and those that were moved out of
 * it stay there as well. */
void count_versions(struct pmkv *kv, struct victim *v)
{
    if (atomic_load(&kv->segments[v->segment].generation) != v->generation)
        count_or_leave(kv, v);
    else
        for (uint32_t i = 0; i < v->published; i++) {
            const struct move *m = &v->moves[i];
            if (m->current && record_is_version(m->type))
                older_adjust(kv, v->arena + m->key_at, m->key_bytes, m->hash, 1);
        }
    v->move_count = v->published = v->gone_count = 0;
    v->arena_used = 0;
}
