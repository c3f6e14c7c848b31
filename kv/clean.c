/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "clean.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "damage.h"
#include "lane.h"
#include "lost.h"
#include "meta.h"
#include "read.h"
#include "scan.h"
#include "segment.h"
#include "wait.h"

/* Above this utilisation moving a segment gains nothing worth its cost. */
enum { HOPELESS_PERCENT = 97, VICTIMS_AT_ONCE = 8 };

/* A record on its way; its key is in the arena. Kept until its victim was freed: if it is not, what
 * was moved out of it is one more older version of its key. */
struct move {
    uint64_t hash, generation; /* of the segment it is moved out of */
    struct log_pos from, to;
    uint32_t units, key_bytes;
    size_t key_at;
    uint8_t type;
    bool current; /* its slot points to the copy */
};

/* A dead put whose key's count of older versions goes down once its segment is freed. */
struct gone {
    uint64_t hash, generation;
    uint32_t segment, key_bytes;
    size_t key_at;
};

struct cleaning {
    struct pmkv *kv;
    struct move *moves;
    struct gone *gone;
    uint32_t move_count, move_room, gone_count, gone_room;
    uint32_t published; /* of the moves */
    uint8_t *arena;
    size_t arena_used, arena_room;
    uint32_t victims[VICTIMS_AT_ONCE], victim_count;
    uint32_t freed;
    int rc;
};

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

static bool arena_keep(struct cleaning *c, const void *key, uint32_t bytes, size_t *at)
{
    if (c->arena_room - c->arena_used < bytes) {
        size_t room = (c->arena_room + bytes) * 2 + 4096;
        uint8_t *arena = realloc(c->arena, room);
        if (!arena)
            return false;
        c->arena = arena;
        c->arena_room = room;
    }
    memcpy(c->arena + c->arena_used, key, bytes);
    *at = c->arena_used;
    c->arena_used += bytes;
    return true;
}

/* --- step 4: publishing ----------------------------------------------------------------------- */

/* I8: adds to the older count of the key's slot; a tombstone without older versions goes. */
static void older_adjust(struct pmkv *kv, const uint8_t *key, uint32_t key_bytes, uint64_t hash,
                         int by)
{
    struct found f;
    uint32_t stripe = index_stripe(hash);
    index_lock(kv->index, stripe);
    enum find_result r = find_key(kv, key, key_bytes, hash, true, &f);
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

static void publish_move(struct cleaning *c, struct move *m)
{
    struct pmkv *kv = c->kv;
    struct slot_ref ref;
    uint32_t to = pos_place(&kv->shape, m->to).segment;
    uint32_t from = pos_place(&kv->shape, m->from).segment;
    index_lock(kv->index, index_stripe(m->hash));
    bool current = index_find_position(kv->index, m->hash, m->from.v, &ref);
    if (current) { /* I6: only if nobody wrote the key meanwhile */
        index_replace(kv->index, &ref, slot_with(ref.slot, m->to.v, slot_older(ref.slot)));
        live_add(kv, to, m->units);
        live_add(kv, from, -(int64_t)m->units);
    }
    index_unlock(kv->index, index_stripe(m->hash));
    m->current = current;
    if (!current && record_is_version(m->type))
        older_adjust(kv, c->arena + m->key_at, m->key_bytes, m->hash, 1);
    record_published(&kv->segments[to]);
}

/* Steps 3 and 4. */
static int publish_moves(struct cleaning *c)
{
    if (c->published == c->move_count)
        return 0;
    lane_lock(c->kv->cleaner);
    int rc = lane_close_row(c->kv, c->kv->cleaner);
    lane_unlock(c->kv->cleaner);
    if (rc)
        return rc;
    atomic_fetch_add_explicit(&c->kv->n.records_moved, c->move_count - c->published,
                              memory_order_relaxed);
    for (; c->published < c->move_count; c->published++)
        publish_move(c, &c->moves[c->published]);
    return 0;
}

/* --- step 2: copying -------------------------------------------------------------------------- */

static int copy_record(struct cleaning *c, const struct entry *e, const uint8_t *record,
                       struct log_pos from)
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
                      .key_hash = hash64(key, h.key_bytes),
                      .value_hash = h.value_hash,
                      .seq = h.seq};
    struct move m = {.hash = e->hash,
                     .generation = pos_generation(kv, from),
                     .from = from,
                     .type = h.type,
                     .key_bytes = h.key_bytes};
    m.units = (uint32_t)units_of(record_packed(h.key_bytes, h.value_bytes));
    void *moves = grow(c->moves, c->move_count, &c->move_room, sizeof m);
    if (!moves || !arena_keep(c, key, h.key_bytes, &m.key_at))
        return -ENOMEM;
    c->moves = moves;
    uint64_t need = record_packed(h.key_bytes, h.value_bytes);
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
        c->moves[c->move_count++] = m;
    return rc;
}

/* A tombstone that cannot be read: its summary entry says all that it said. */
static int copy_tombstone(struct cleaning *c, const struct entry *e, struct log_pos from)
{
    uint8_t record[RECORD_HEADER_BYTES + ENTRY_KEY_MAX];
    struct record_header h = {.type = RECORD_TOMBSTONE,
                              .key_bytes = (uint16_t)e->key_bytes,
                              .seq = e->seq,
                              .value_hash = hash64(e->key, 0)};
    memcpy(record, &h, sizeof h);
    memcpy(record + sizeof h, e->key, e->key_bytes);
    return copy_record(c, e, record, from);
}

static int move_meta(struct cleaning *c, const struct entry *e, struct log_pos from)
{
    struct pmkv *kv = c->kv;
    struct meta_key key;
    memcpy(&key, e->key, sizeof key);
    if (!meta_is_live(kv, &key, from))
        return 0;
    uint8_t *record;
    uint64_t generation = pos_generation(kv, from);
    enum find_result r = read_record(kv, from, generation, &record);
    if (r == FIND_LOST && key.kind == META_LOST) { /* the list is in memory: it is saved anew */
        pthread_mutex_lock(&kv->lost_lock);
        kv->lost_dirty = true;
        pthread_mutex_unlock(&kv->lost_lock);
    }
    if (r == FIND_LOST && meta_moved(kv, &key, from, (struct log_pos){0}))
        meta_drop(
            kv, (struct meta_ref){from, e->value_bytes, 0}); /* nothing names the place any more */
    if (r != FIND_HIT) /* a lost part of a summary: the segment it sums up is read instead */
        return r == FIND_LOST ? 0 : -EIO;
    struct log_pos to;
    int rc =
        meta_append(kv, &key, record + RECORD_HEADER_BYTES + e->key_bytes, e->value_bytes, &to);
    free(record);
    if (rc == 0) { /* who replaced it meanwhile has dropped `from` */
        bool moved = meta_moved(kv, &key, from, to);
        meta_drop(kv, (struct meta_ref){moved ? from : to, e->value_bytes, 0});
    }
    return rc;
}

/* A tombstone that no older version needs any more goes; true when it went. */
static bool drop_tombstone(struct pmkv *kv, const struct entry *e, struct log_pos pos)
{
    struct slot_ref ref;
    bool gone = false;
    index_lock(kv->index, index_stripe(e->hash));
    if (index_find_position(kv->index, e->hash, pos.v, &ref) && slot_older(ref.slot) == 0) {
        index_remove(kv->index, &ref);
        live_add(kv, pos_place(&kv->shape, pos).segment,
                 -(int64_t)units_of(record_packed(e->key_bytes, e->value_bytes)));
        gone = true;
    }
    index_unlock(kv->index, index_stripe(e->hash));
    return gone;
}

static int note_gone(struct cleaning *c, const struct entry *e, struct log_pos pos)
{
    struct gone g = {.hash = e->hash,
                     .generation = pos_generation(c->kv, pos),
                     .segment = pos_place(&c->kv->shape, pos).segment,
                     .key_bytes = e->key_bytes};
    const uint8_t *key = e->key;
    uint8_t *record = NULL;
    if (e->kept_bytes < e->key_bytes) { /* the whole key is needed: it is compared in full */
        uint64_t gen = pos_generation(c->kv, pos);
        if (read_record(c->kv, pos, gen, &record) != FIND_HIT)
            return 0; /* the count stays too high, which keeps a tombstone until the next open */
        key = record + RECORD_HEADER_BYTES;
    }
    void *list = grow(c->gone, c->gone_count, &c->gone_room, sizeof g);
    bool kept = list && arena_keep(c, key, e->key_bytes, &g.key_at);
    free(record);
    if (list)
        c->gone = list;
    if (kept)
        c->gone[c->gone_count++] = g;
    return 0;
}

static int clean_entry(struct cleaning *c, uint32_t victim, const struct entry *e)
{
    struct pmkv *kv = c->kv;
    struct row_place place = {victim, (uint32_t)(e->start / row_payload(kv)),
                              (uint32_t)(e->start % row_payload(kv))};
    struct log_pos pos = pos_make(&kv->shape, place);
    if (e->type == RECORD_META)
        return move_meta(c, e, pos);
    struct slot_ref ref;
    index_lock(kv->index, index_stripe(e->hash));
    bool live = index_find_position(kv->index, e->hash, pos.v, &ref);
    index_unlock(kv->index, index_stripe(e->hash));
    if (!live)
        return record_is_version(e->type) ? note_gone(c, e, pos) : 0;
    if (e->type == RECORD_TOMBSTONE && drop_tombstone(kv, e, pos))
        return 0;
    uint8_t *record;
    uint64_t generation = atomic_load(&kv->segments[victim].generation);
    switch (read_record(kv, pos, generation, &record)) {
    case FIND_HIT: {
        int rc = copy_record(c, e, record, pos);
        free(record);
        return rc;
    }
    case FIND_LOST:
        if (e->type == RECORD_TOMBSTONE && e->kept_bytes == e->key_bytes)
            return copy_tombstone(c, e, pos);
        /* damage is never copied forward (I6): it is entered as lost */
        lost_discover(kv, (struct row_ref){victim, place.row, generation});
        index_lock(kv->index, index_stripe(e->hash));
        live = index_find_position(kv->index, e->hash, pos.v, &ref);
        index_unlock(kv->index, index_stripe(e->hash));
        return live ? -EAGAIN : 0;
    case FIND_NOMEM:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

/* --- a victim --------------------------------------------------------------------------------- */

static int keep_entry(void *arg, const struct entry *e)
{
    return entries_add(arg, e);
}

static int victim_entries(struct pmkv *kv, uint32_t victim, struct entries *list)
{
    if (kv->segments[victim].kind == KIND_META)
        return segment_scan(kv, victim, list);
    int rc = summary_foreach(kv, victim, keep_entry, list);
    if (rc != -EIO)
        return rc;
    entries_clear(list);
    return segment_scan(kv, victim, list);
}

static int clean_victim(struct cleaning *c, uint32_t victim)
{
    struct entries list = {0};
    int rc = victim_entries(c->kv, victim, &list);
    struct entries_reader r = {.bytes = list.bytes, .used = list.used};
    struct entry e;
    while (rc == 0 && entries_next(&r, &e) == 1)
        rc = clean_entry(c, victim, &e);
    entries_free(&list);
    return rc;
}

static bool was_freed(struct pmkv *kv, uint32_t segment, uint64_t generation)
{
    return atomic_load(&kv->segments[segment].generation) != generation;
}

/* I8, exactly: a count goes down only for a version whose segment was freed. A victim that was not,
 * since its cleaning or its end failed, keeps its dead versions, and those that were moved out of
 * it stay there as well. */
static void count_versions(struct cleaning *c)
{
    struct pmkv *kv = c->kv;
    for (uint32_t i = 0; i < c->published; i++) {
        const struct move *m = &c->moves[i];
        if (m->current && record_is_version(m->type) &&
            !was_freed(kv, pos_place(&kv->shape, m->from).segment, m->generation))
            older_adjust(kv, c->arena + m->key_at, m->key_bytes, m->hash, 1);
    }
    for (uint32_t i = 0; i < c->gone_count; i++) {
        const struct gone *g = &c->gone[i];
        if (was_freed(kv, g->segment, g->generation))
            older_adjust(kv, c->arena + g->key_at, g->key_bytes, g->hash, -1);
    }
    c->move_count = c->published = c->gone_count = 0;
    c->arena_used = 0;
}

/* Steps 5 and 6 for every victim whose survivors are all published. */
static int end_victims(struct cleaning *c)
{
    struct pmkv *kv = c->kv;
    int rc = publish_moves(c);
    if (rc == 0)
        rc = lost_save(kv); /* before anything is concluded from a lost record's absence (I8) */
    for (uint32_t i = 0; i < c->victim_count; i++) {
        if (rc == 0) {
            summary_drop(kv, c->victims[i]);
            rc = segment_end(kv, c->victims[i]);
        }
        if (rc == 0) {
            c->freed++;
            atomic_fetch_add_explicit(&kv->n.segments_cleaned, 1, memory_order_relaxed);
        } else {
            atomic_store(&kv->segments[c->victims[i]].state, SEGMENT_SEALED);
        }
    }
    count_versions(c);
    c->victim_count = 0;
    return rc;
}

/* --- choosing --------------------------------------------------------------------------------- */

/* Of a segment that the cleaner filled only what died there is to be gained: its rows cannot be
 * packed any better, and moving them for the room their records leave would go on for ever. */
static double segment_use(const struct pmkv *kv, uint32_t i)
{
    const struct segment *s = &kv->segments[i];
    double live = (double)atomic_load_explicit(&s->live_units, memory_order_relaxed);
    if (!s->packed)
        return live * 8 / (double)segment_payload(kv);
    uint32_t stored = atomic_load_explicit(&s->stored_units, memory_order_relaxed);
    return stored ? live / stored : 0;
}

/* Cost and benefit (Rosenblum and Ousterhout, 1992): (1 - u) * age / (1 + u); when space is short,
 * the emptiest. */
static double segment_score(const struct pmkv *kv, uint32_t i, bool hurry)
{
    const struct segment *s = &kv->segments[i];
    if (atomic_load_explicit(&s->evacuate, memory_order_relaxed))
        return 1e30;
    double u = segment_use(kv, i);
    if (u * 100 > HOPELESS_PERCENT)
        return 0;
    uint64_t now = atomic_load_explicit(&kv->counter, memory_order_relaxed);
    double age = (double)(now - s->sealed_seq) + 1;
    return hurry ? 1 - u : (1 - u) * age / (1 + u);
}

static bool segment_eligible(const struct segment *s)
{
    return atomic_load_explicit(&s->state, memory_order_acquire) == SEGMENT_SEALED &&
           s->summarised && !s->stuck && (s->kind == KIND_LOG || s->kind == KIND_META) &&
           segment_published(s); /* I5 */
}

static int64_t pick_victim(struct pmkv *kv, bool hurry)
{
    int64_t best = -1;
    double best_score = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        if (!segment_eligible(&kv->segments[i]))
            continue;
        double score = segment_score(kv, i, hurry);
        if (score > best_score) {
            best_score = score;
            best = i;
        }
    }
    return best;
}

static int64_t free_target(const struct pmkv *kv)
{
    return kv->reserve_segments + kv->lane_count + 2 + kv->vol.layout.segments / 64;
}

/* The cleaner's own segment is to be evacuated: it goes on in another one. */
static void leave_evacuated(struct pmkv *kv)
{
    lane_lock(kv->cleaner);
    int64_t own = kv->cleaner->segment;
    if (own >= 0 && atomic_load(&kv->segments[own].evacuate))
        lane_finish_segment(kv, kv->cleaner);
    lane_unlock(kv->cleaner);
}

static bool anything_to_evacuate(const struct pmkv *kv)
{
    int64_t own = kv->cleaner->segment;
    if (own >= 0 && atomic_load(&kv->segments[own].evacuate))
        return true;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
        if (atomic_load_explicit(&kv->segments[i].evacuate, memory_order_relaxed) &&
            segment_eligible(&kv->segments[i]))
            return true;
    return false;
}

bool clean_needed(struct pmkv *kv)
{
    return !atomic_load(&kv->write_failed) && !atomic_load(&kv->unavailable) &&
           ((int64_t)kv->free_count + kv->ready_count - kv->free_beside_twins < free_target(kv) ||
            anything_to_evacuate(kv));
}

static bool clean_one(struct cleaning *c)
{
    struct pmkv *kv = c->kv;
    int64_t victim = pick_victim(kv, segment_room(kv, SPACE_PUT) <= 0);
    if (victim < 0)
        return false;
    atomic_store(&kv->segments[victim].state, SEGMENT_CLEANING);
    int rc = clean_victim(c, (uint32_t)victim);
    if (rc) {
        atomic_store(&kv->segments[victim].state, SEGMENT_SEALED);
        atomic_store(&kv->segments[victim].evacuate, false);
        kv->segments[victim].stuck = rc == -EAGAIN; /* others may gain */
        c->rc = rc == -EAGAIN ? 0 : rc;
        return rc == -EAGAIN;
    }
    c->victims[c->victim_count++] = (uint32_t)victim;
    bool short_of_room = segment_room(kv, SPACE_CLEANER) <= 1;
    if (c->victim_count == VICTIMS_AT_ONCE || short_of_room)
        c->rc = end_victims(c);
    return c->rc == 0;
}

uint32_t clean_round(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->clean_lock);
    struct cleaning c = {.kv = kv};
    leave_evacuated(kv);
    seal_waiting(kv);
    while (clean_needed(kv) && !atomic_load(&kv->stopping) && clean_one(&c))
        ;
    int rc = end_victims(&c);
    free(c.moves);
    free(c.gone);
    free(c.arena);
    pthread_mutex_unlock(&kv->clean_lock);
    pthread_mutex_lock(&kv->segments_lock);
    if (c.freed == 0 || rc)
        kv->clean_failures++;
    kv->cleaner_wanted = false;
    pthread_cond_broadcast(&kv->space_cond);
    pthread_mutex_unlock(&kv->segments_lock);
    return c.freed;
}

void *cleaner_main(void *arg)
{
    struct pmkv *kv = arg;
    pthread_mutex_lock(&kv->segments_lock);
    while (!atomic_load(&kv->stopping)) {
        bool wanted = kv->cleaner_wanted;
        pthread_mutex_unlock(&kv->segments_lock);
        uint32_t freed = wanted || clean_needed(kv) ? clean_round(kv) : 0;
        pthread_mutex_lock(&kv->segments_lock);
        if (freed || kv->cleaner_wanted || atomic_load(&kv->stopping))
            continue;
        wait_at_most(&kv->cleaner_cond, &kv->segments_lock, 50 * 1000000ull);
    }
    pthread_mutex_unlock(&kv->segments_lock);
    return NULL;
}
