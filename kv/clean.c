/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "clean.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/errmsg.h"
#include "clean_impl.h"
#include "damage.h"
#include "defer.h"
#include "lane.h"
#include "lost.h"
#include "meta.h"
#include "read.h"
#include "scan.h"
#include "scrub.h"
#include "segment.h"
#include "space.h"
#include "wait.h"

/* --- an entry --------------------------------------------------------------------------------- */

/* A tombstone that cannot be read: its summary entry says all that it said. */
static int copy_tombstone(struct cleaning *c, struct victim *v, const struct entry *e,
                          struct log_pos from)
{
    uint8_t record[RECORD_HEADER_BYTES + ENTRY_KEY_MAX];
    struct record_header h = {.type = RECORD_TOMBSTONE,
                              .key_bytes = (uint16_t)e->key_bytes,
                              .seq = e->seq,
                              .value_hash = hash64(e->key, 0)};
    memcpy(record, &h, sizeof h);
    memcpy(record + sizeof h, e->key, e->key_bytes);
    return copy_record(c, v, e, record, hash64(e->key, e->key_bytes), from);
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

/* Does a slot name the place? UNCOUNTED: none does, and of those with its tag no count changes any
 * more (older_adjust). */
enum named { NAMED, NOT_NAMED, UNCOUNTED, LOOK_AGAIN };

static enum named look_for_name(struct pmkv *kv, uint64_t hash, struct log_pos pos)
{
    struct index_find f;
    struct slot_ref ref;
    bool met_tag = false, counted = false;
    index_find_begin(kv->index, hash, &f);
    while (index_find_next(&f, &ref)) {
        if (slot_position(ref.slot) == pos.v)
            return NAMED;
        met_tag = true;
        counted |= slot_older(ref.slot) < SLOT_OLDER_MAX;
    }
    if (met_tag && defer_is_open(kv, hash)) /* D3; what can't be settled may be named again */
        return defer_settle(kv, hash) ? LOOK_AGAIN : NAMED;
    if (!index_find_settled(&f))
        return LOOK_AGAIN;
    return met_tag && !counted ? UNCOUNTED : NOT_NAMED;
}

/* Without a lock, as a reader looks: where a writer may change that, the one who acts on it looks
 * again. A place that no slot names stays so. */
static enum named entry_named(struct pmkv *kv, const struct entry *e, struct log_pos pos)
{
    enum named named;
    do
        named = look_for_name(kv, e->hash, pos);
    while (named == LOOK_AGAIN);
    return named;
}

/* The record is where and what its entry says, and good: the one copy out of the pool that most
 * records take. */
static bool load_by_entry(struct cleaning *c, const struct victim *v, const struct entry *e,
                          struct row_place place, uint64_t *khash)
{
    struct record_header h;
    uint64_t bytes = record_bytes(e->key_bytes, e->value_bytes);
    if (bytes > row_payload(c->kv) - place.offset ||
        payload_load(c->kv, place, c->record, (uint32_t)bytes))
        return false;
    memcpy(&h, c->record, sizeof h);
    if (h.type != e->type || h.key_bytes != e->key_bytes || h.value_bytes != e->value_bytes)
        return false;
    struct log_pos pos = pos_make(&c->kv->shape, place);
    const uint8_t *key = c->record + sizeof h;
    *khash = hash64(key, h.key_bytes);
    return record_check_holds(&h, *khash, record_secret(c->kv->vol.secret, v->generation, pos)) &&
           hash64(key + h.key_bytes, h.value_bytes) == h.value_hash;
}

/* What could not be read at once: read again, rebuilt, or lost. */
static int clean_hard_entry(struct cleaning *c, struct victim *v, const struct entry *e,
                            struct row_place place)
{
    struct pmkv *kv = c->kv;
    struct log_pos pos = pos_make(&kv->shape, place);
    uint8_t *record;
    switch (read_record(kv, pos, v->generation, &record)) {
    case FIND_HIT: {
        uint64_t khash = hash64(record + RECORD_HEADER_BYTES, e->key_bytes);
        int rc = copy_record(c, v, e, record, khash, pos);
        free(record);
        return rc;
    }
    case FIND_LOST:
        if (e->type == RECORD_TOMBSTONE && e->kept_bytes == e->key_bytes)
            return copy_tombstone(c, v, e, pos);
        /* damage is never copied forward (I6): it is entered as lost */
        lost_discover(kv, (struct row_ref){v->segment, place.row, v->generation});
        return entry_named(kv, e, pos) == NAMED ? -EAGAIN : 0;
    case FIND_NOMEM:
        return -ENOMEM;
    default:
        return -EIO;
    }
}

static struct row_place entry_place(const struct pmkv *kv, const struct victim *v,
                                    const struct entry *e)
{
    return (struct row_place){v->segment, (uint32_t)(e->start / row_payload(kv)),
                              (uint32_t)(e->start % row_payload(kv))};
}

static int clean_entry(struct cleaning *c, struct victim *v, const struct entry *e,
                       enum named named)
{
    struct row_place place = entry_place(c->kv, v, e);
    struct log_pos pos = pos_make(&c->kv->shape, place);
    if (e->type == RECORD_META)
        return move_meta(c, e, pos);
    if (named != NAMED)
        return named != UNCOUNTED && record_is_version(e->type) ? note_gone(c, v, e, pos) : 0;
    if (e->type == RECORD_TOMBSTONE && drop_tombstone(c->kv, e, pos))
        return 0;
    uint64_t khash;
    if (load_by_entry(c, v, e, place, &khash))
        return copy_record(c, v, e, c->record, khash, pos);
    return clean_hard_entry(c, v, e, place);
}

/* --- a victim --------------------------------------------------------------------------------- */

/* Of a segment without a summary that can be had: read from its rows. */
static int scanned_entries(struct pmkv *kv, uint32_t segment, struct summary_part **parts,
                           uint32_t *count)
{
    struct entries list = {0};
    *count = 0;
    *parts = calloc(1, sizeof **parts);
    int rc = *parts ? segment_scan(kv, segment, &list) : -ENOMEM;
    if (rc) {
        entries_free(&list);
        free(*parts);
        return rc;
    }
    *count = 1;
    **parts = (struct summary_part){list.bytes, {.bytes = list.bytes, .used = list.used}};
    return 0;
}

static int victim_entries(struct pmkv *kv, struct victim *v, struct summary_part **parts,
                          uint32_t *count)
{
    v->scanned = false;
    if (kv->segments[v->segment].kind == KIND_META)
        return scanned_entries(kv, v->segment, parts, count);
    int rc = summary_parts_read(kv, v->segment, parts, count);
    v->scanned = rc == -EIO;
    return v->scanned ? scanned_entries(kv, v->segment, parts, count) : rc;
}

/* The buckets of a few entries are asked for, then the records under them, then they are dealt
 * with: each would else wait for memory twice. */
static int clean_some(struct cleaning *c, struct victim *v, const struct entry *some,
                      uint32_t count)
{
    enum named named[CLEAN_AHEAD] = {0};
    int rc = 0;
    for (uint32_t i = 0; i < count; i++)
        index_prefetch(c->kv->index, some[i].hash);
    for (uint32_t i = 0; i < count; i++) {
        struct row_place place = entry_place(c->kv, v, &some[i]);
        if (some[i].type == RECORD_META)
            continue;
        named[i] = entry_named(c->kv, &some[i], pos_make(&c->kv->shape, place));
        if (named[i] == NAMED)
            prefetch_record(c->kv, place, GROUP_BYTES);
    }
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = clean_entry(c, v, &some[i], named[i]);
    return rc;
}

static int clean_part(struct cleaning *c, struct victim *v, struct entries_reader *r)
{
    int rc = 0;
    for (int more = 1; rc == 0 && more == 1;) {
        struct entry some[CLEAN_AHEAD];
        uint32_t count = 0;
        while (count < CLEAN_AHEAD && (more = entries_next(r, &some[count])) == 1)
            count++;
        rc = clean_some(c, v, some, count);
        /* unreached: a part that holds is as part_take made it. */
        if (more < 0)
            rc = -EAGAIN;
    }
    return rc;
}

static int clean_victim(struct cleaning *c, struct victim *v)
{
    struct summary_part *parts;
    uint32_t count;
    int rc = victim_entries(c->kv, v, &parts, &count);
    if (rc)
        return rc;
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = clean_part(c, v, &parts[i].entries);
    summary_parts_free(parts, count);
    return rc;
}

/* --- ending victims --------------------------------------------------------------------------- */

/* Takes victim `i` out of the queue; its memory serves the next one. */
static void victim_leave(struct cleaning *c, uint32_t i)
{
    struct victim left = c->victims[i];
    count_versions(c->kv, &left);
    c->victim_count--;
    memmove(&c->victims[i], &c->victims[i + 1], (c->victim_count - i) * sizeof left);
    c->victims[c->victim_count] = left;
}

/* The last of the rows that survivors went to: with the victims gone what is damaged there is lost,
 * and nothing behind it says that it was fenced (I10). Segments that the lane left say so already.
 */
static int note_survivors(struct pmkv *kv)
{
    lane_lock(kv->cleaner);
    int64_t own = kv->cleaner->segment;
    int rc = own >= 0 ? segment_note_closed(kv, (uint32_t)own) : 0;
    lane_unlock(kv->cleaner);
    return rc;
}

/* Does a slot still name a place there? Then what was there is lost, and its key must go on to say
 * so (I6). */
static bool slots_left(struct pmkv *kv, uint32_t segment)
{
    struct index_scan scan;
    int more = index_scan_begin(kv->index, &scan);
    if (more)
        return true;
    bool left = false;
    while (!left && (more = index_scan_step(&scan)) == 1)
        for (uint32_t i = 0; i < scan.count; i++) {
            struct log_pos pos = {slot_position(scan.slots[i])};
            left = left || (!pos_is_lost(pos) && pos_place(&kv->shape, pos).segment == segment);
        }
    index_scan_end(&scan);
    return left || more < 0;
}

/* Steps 5 and 6 for every victim whose survivors are all published, when nothing failed before; the
 * others stay, or, with `all`, are given up. */
static int end_victims(struct cleaning *c, int rc, bool all)
{
    struct pmkv *kv = c->kv;
    if (rc == 0 && c->victim_count)
        rc = note_survivors(kv);
    if (rc == 0)
        rc = lost_save(kv); /* before anything is concluded from a lost record's absence (I8) */
    for (uint32_t i = 0; i < c->victim_count;) {
        struct victim *v = &c->victims[i];
        bool published = v->published == v->move_count;
        if (!published && !all) {
            i++;
            continue;
        }
        bool ended = rc == 0 && published && v->emptied && !defer_names(kv, v->segment);
        if (ended && v->scanned && slots_left(kv, v->segment)) {
            ended = false;
            atomic_store(&kv->segments[v->segment].evacuate, false);
            kv->segments[v->segment].stuck = true;
        }
        if (ended) {
            summary_drop(kv, v->segment);
            rc = segment_end(kv, v->segment);
        }
        if (ended && rc == 0) {
            c->freed++;
            atomic_fetch_add_explicit(&kv->n.segments_cleaned, 1, memory_order_relaxed);
        } else {
            atomic_store(&kv->segments[v->segment].state, SEGMENT_SEALED);
        }
        victim_leave(c, i);
    }
    return rc;
}

/* --- rounds ----------------------------------------------------------------------------------- */

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
           (space_is_low(kv) || anything_to_evacuate(kv));
}

static bool clean_one(struct cleaning *c)
{
    struct pmkv *kv = c->kv;
    int64_t segment = pick_victim(kv, segment_room(kv, SPACE_PUT) <= 0);
    if (segment < 0)
        return false;
    atomic_store(&kv->segments[segment].state, SEGMENT_CLEANING);
    struct victim *v = &c->victims[c->victim_count++];
    v->segment = (uint32_t)segment;
    v->emptied = false;
    v->generation = atomic_load(&kv->segments[segment].generation);
    int rc = clean_victim(c, v);
    v->emptied = rc == 0;
    if (rc) {
        atomic_store(&kv->segments[segment].evacuate, false);
        kv->segments[segment].stuck = rc == -EAGAIN; /* others may gain */
    }
    bool short_of_room = segment_room(kv, SPACE_CLEANER) <= 1;
    if (rc == 0 || rc == -EAGAIN)
        rc = c->victim_count == VICTIMS_AT_ONCE || short_of_room
                 ? end_victims(c, publish_moves(c), true)
                 : end_victims(c, 0, false);
    c->rc = rc;
    return rc == 0;
}

/* Beside a writer the cleaner is at work all the time. To seal and prepare a segment takes the
 * keeper a fifth of a millisecond, and where processors are few it takes them from the writer: so
 * the cleaner does it, and leaves it to the keeper again when it ends. */
static bool clean_next(struct cleaning *c)
{
    struct pmkv *kv = c->kv;
    if (atomic_load(&kv->cleaner_at_work)) {
        seal_waiting(kv);
        segment_prepare_ahead(kv);
        index_touch_ahead(kv->index);
    }
    return clean_needed(kv) && !atomic_load(&kv->stopping) && clean_one(c);
}

uint32_t clean_round(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->clean_lock);
    struct cleaning c = {.kv = kv, .record = malloc(row_payload(kv))};
    atomic_store(&kv->cleaner_at_work, !kv->opts.no_background);
    leave_evacuated(kv);
    lanes_leave_evacuated(kv);
    seal_waiting(kv);
    while (c.record && clean_next(&c))
        ;
    int rc = end_victims(&c, publish_moves(&c), true);
    while (clean_help(kv))
        ;
    for (uint32_t i = 0; i < VICTIMS_AT_ONCE; i++)
        victim_free(&c.victims[i]);
    free(c.record);
    bool chores = atomic_exchange(&kv->cleaner_at_work, false);
    pthread_mutex_unlock(&kv->clean_lock);
    if (chores)
        keeper_wake(kv);
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
