/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "meta.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/errmsg.h"
#include "damage.h"
#include "lane.h"
#include "read.h"

uint32_t meta_max_bytes(const struct pmkv *kv)
{
    return row_payload(kv) / 4 - 128;
}

static uint64_t meta_units(uint32_t value_bytes)
{
    return units_of(record_packed(sizeof(struct meta_key), value_bytes));
}

/* lane lock of the meta lane held. */
static int meta_append_locked(struct pmkv *kv, const struct meta_key *key, const void *value,
                              uint32_t bytes, struct log_pos *pos)
{
    struct draft d = {.type = RECORD_META,
                      .key_bytes = sizeof *key,
                      .value_bytes = bytes,
                      .key = key,
                      .value = value,
                      .key_hash = hash64(key, sizeof *key),
                      .value_hash = hash64(value, bytes),
                      .seq = counter_next(kv, 1)};
    if (d.seq == 0)
        return -EIO;
    int rc = -EFAULT;
    for (int attempt = 0; attempt < 4 && rc == -EFAULT; attempt++) {
        rc = lane_begin(kv, kv->meta, record_packed(d.key_bytes, bytes), 1, SPACE_META);
        if (rc)
            return rc;
        rc = lane_add(kv, kv->meta, &d, pos);
        if (rc == 0)
            rc = lane_commit(kv, kv->meta);
        else
            lane_abandon(kv, kv->meta);
    }
    if (rc)
        return rc == -EFAULT ? -EIO : rc;
    uint32_t segment = pos_place(&kv->shape, *pos).segment;
    live_add(kv, segment, (int64_t)meta_units(bytes));
    record_published(&kv->segments[segment]);
    return 0;
}

int meta_append(struct pmkv *kv, const struct meta_key *key, const void *value, uint32_t bytes,
                struct log_pos *pos)
{
    if (atomic_load(&kv->write_failed))
        return err_fact(-EIO, "an earlier write could not be made durable");
    lane_lock(kv->meta);
    int rc = meta_append_locked(kv, key, value, bytes, pos);
    lane_unlock(kv->meta);
    return rc;
}

void meta_drop(struct pmkv *kv, struct meta_ref ref)
{
    if (ref.pos.v)
        live_add(kv, pos_place(&kv->shape, ref.pos).segment, -(int64_t)meta_units(ref.bytes));
}

/* --- which record counts ---------------------------------------------------------------------- */

/* The word in memory that names the record of this key; NULL: no such thing any more. */
static struct log_pos *meta_word(struct pmkv *kv, const struct meta_key *key)
{
    switch (key->kind) {
    case META_SUMMARY: {
        if (key->segment >= kv->vol.layout.segments)
            return NULL;
        struct segment *s = &kv->segments[key->segment];
        bool there = atomic_load(&s->generation) == key->generation && key->part < s->part_count;
        return there ? &s->parts[key->part].pos : NULL;
    }
    case META_LOST:
        if (key->generation != kv->lost_version || key->part >= kv->lost_part_count)
            return NULL;
        return &kv->lost_parts[key->part].pos;
    case META_SCAN:
        return &kv->scan_pos;
    default:
        return NULL;
    }
}

bool meta_is_live(struct pmkv *kv, const struct meta_key *key, struct log_pos pos)
{
    lane_lock(kv->meta);
    const struct log_pos *word = meta_word(kv, key);
    bool live = word && word->v == pos.v;
    lane_unlock(kv->meta);
    return live;
}

bool meta_moved(struct pmkv *kv, const struct meta_key *key, struct log_pos from, struct log_pos to)
{
    lane_lock(kv->meta);
    struct log_pos *word = meta_word(kv, key);
    bool current = word && word->v == from.v;
    if (current)
        *word = to;
    lane_unlock(kv->meta);
    return current;
}

/* --- summaries -------------------------------------------------------------------------------- */

int summary_note_part(struct pmkv *kv, const struct meta_key *key, struct meta_ref ref)
{
    struct segment *s = &kv->segments[key->segment];
    if (key->part >= s->part_capacity) {
        uint32_t capacity = s->part_capacity ? s->part_capacity * 2 : 8;
        if (capacity <= key->part)
            capacity = key->part + 1;
        struct meta_ref *parts = realloc(s->parts, capacity * sizeof *parts);
        if (!parts)
            return err_fact(-ENOMEM, "no memory for the parts of a summary");
        memset(parts + s->part_capacity, 0, (capacity - s->part_capacity) * sizeof *parts);
        s->parts = parts;
        s->part_capacity = capacity;
    }
    if (key->part < s->part_count && s->parts[key->part].seq > ref.seq)
        return 0; /* of a summary that was begun anew after a crash */
    s->parts[key->part] = ref;
    if (s->part_count <= key->part)
        s->part_count = key->part + 1;
    return 0;
}

/* One part from the reader's place on; the buffer's head is the base. */
static uint32_t part_take(struct entries_reader *r, uint8_t *out, uint32_t room)
{
    struct summary_base base = {.before = r->last};
    uint32_t used = sizeof base;
    for (;;) {
        struct entries_reader ahead = *r;
        struct entry e;
        if (entries_next(&ahead, &e) != 1 || used + (ahead.at - r->at) > room)
            break;
        memcpy(out + used, r->bytes + r->at, ahead.at - r->at);
        used += (uint32_t)(ahead.at - r->at);
        base.count++;
        *r = ahead;
    }
    memcpy(out, &base, sizeof base);
    return used;
}

int summary_flush(struct pmkv *kv, uint32_t segment)
{
    struct segment *s = &kv->segments[segment];
    uint32_t room = meta_max_bytes(kv);
    uint32_t parts_before = s->part_count;
    uint8_t *part = malloc(room);
    struct entries_reader r = {.bytes = s->pending.bytes, .used = s->pending.used};
    int rc = part ? 0 : err_fact(-ENOMEM, "no memory for a part of a summary");
    while (rc == 0 && r.at < r.used) {
        uint32_t bytes = part_take(&r, part, room);
        struct meta_key key = {.kind = META_SUMMARY, .segment = segment, .part = s->part_count};
        key.generation = atomic_load(&s->generation);
        struct log_pos pos;
        lane_lock(kv->meta);
        rc = meta_append_locked(kv, &key, part, bytes, &pos);
        if (rc == 0)
            rc = summary_note_part(kv, &key, (struct meta_ref){pos, bytes, 0});
        lane_unlock(kv->meta);
    }
    free(part);
    if (rc == 0) {
        s->records += s->pending.count;
        segment_spare_entries(kv, &s->pending);
        return 0;
    }
    lane_lock(kv->meta); /* what was written is void; all entries are still pending */
    while (s->part_count > parts_before)
        meta_drop(kv, s->parts[--s->part_count]);
    lane_unlock(kv->meta);
    return rc;
}

void summary_drop(struct pmkv *kv, uint32_t segment)
{
    struct segment *s = &kv->segments[segment];
    pthread_mutex_lock(&kv->seal_lock); /* who walks it has not all parts before him at once */
    lane_lock(kv->meta);
    while (s->part_count > 0)
        meta_drop(kv, s->parts[--s->part_count]);
    lane_unlock(kv->meta);
    pthread_mutex_unlock(&kv->seal_lock);
}

int segment_seal(struct pmkv *kv, uint32_t segment)
{
    struct segment *s = &kv->segments[segment];
    pthread_mutex_lock(&kv->seal_lock);
    int rc = 0;
    if (atomic_load(&s->state) == SEGMENT_SEALED && !s->summarised) {
        if (kind_is_log(s->kind))
            rc = summary_flush(kv, segment);
        if (rc == 0) {
            s->summarised = true;
            rc = segment_write_headers(kv, segment);
        }
    }
    pthread_mutex_unlock(&kv->seal_lock);
    return rc;
}

void seal_waiting(struct pmkv *kv)
{
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
        if (atomic_load_explicit(&kv->segments[i].state, memory_order_acquire) == SEGMENT_SEALED &&
            !kv->segments[i].summarised && !atomic_load(&kv->write_failed))
            segment_seal(kv, i);
}

bool seal_unfinished(struct pmkv *kv)
{
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
        if (atomic_load(&kv->segments[i].state) == SEGMENT_SEALED && !kv->segments[i].summarised)
            return true;
    return false;
}

/* false: too short to be a part. */
static bool part_reader(const uint8_t *bytes, uint32_t used, struct entries_reader *r)
{
    struct summary_base base;
    if (used < sizeof base)
        return false;
    memcpy(&base, bytes, sizeof base);
    *r = (struct entries_reader){
        .bytes = bytes + sizeof base, .used = used - sizeof base, .last = base.before};
    return true;
}

static int entries_foreach(struct entries_reader *r, int (*fn)(void *arg, const struct entry *e),
                           void *arg)
{
    struct entry e;
    int more, rc = 0;
    while ((more = entries_next(r, &e)) == 1 && rc == 0)
        rc = fn(arg, &e);
    return more < 0 ? -EIO : rc;
}

int summary_part_foreach(const uint8_t *bytes, uint32_t used,
                         int (*fn)(void *arg, const struct entry *e), void *arg)
{
    struct entries_reader r;
    return part_reader(bytes, used, &r) ? entries_foreach(&r, fn, arg) : -EIO;
}

/* The cleaner may move a part between the look and the read: look again then. */
static enum find_result part_read(struct pmkv *kv, struct segment *s, uint32_t i, uint8_t **record)
{
    for (int attempt = 0; attempt < 8; attempt++) {
        lane_lock(kv->meta);
        struct log_pos pos = i < s->part_count ? s->parts[i].pos : (struct log_pos){0};
        lane_unlock(kv->meta);
        if (pos.v == 0)
            return FIND_LOST;
        uint32_t segment = pos_place(&kv->shape, pos).segment;
        uint64_t generation = atomic_load(&kv->segments[segment].generation);
        enum find_result r = read_record(kv, pos, generation, record);
        if (r != FIND_NONE)
            return r;
    }
    return FIND_LOST;
}

/* 0; or why part `i` is not to be had. */
static int part_open(struct pmkv *kv, uint32_t segment, uint32_t i, struct summary_part *out)
{
    switch (part_read(kv, &kv->segments[segment], i, &out->record)) {
    case FIND_HIT:
        break;
    case FIND_NOMEM:
        return err_fact(-ENOMEM, "no memory to read a summary");
    default:
        return err_fact(-EIO, "part %u of the summary of segment %u cannot be read", i, segment);
    }
    struct record_header h;
    memcpy(&h, out->record, sizeof h);
    /* unreached: a part that holds is as part_take made it. */
    if (!part_reader(out->record + sizeof h + h.key_bytes, h.value_bytes, &out->entries)) {
        free(out->record);
        return -EIO;
    }
    return 0;
}

static int parts_foreach(struct pmkv *kv, uint32_t segment,
                         int (*fn)(void *arg, const struct entry *e), void *arg)
{
    int rc = 0;
    for (uint32_t i = 0; i < kv->segments[segment].part_count && rc == 0; i++) {
        struct summary_part part;
        rc = part_open(kv, segment, i, &part);
        if (rc)
            break;
        rc = entries_foreach(&part.entries, fn, arg);
        free(part.record);
    }
    return rc;
}

int summary_parts_read(struct pmkv *kv, uint32_t segment, struct summary_part **parts,
                       uint32_t *count)
{
    struct segment *s = &kv->segments[segment];
    *count = 0;
    pthread_mutex_lock(&kv->seal_lock);
    *parts = calloc(s->part_count + 1, sizeof **parts);
    int rc = *parts ? 0 : err_fact(-ENOMEM, "no memory to read a summary");
    while (rc == 0 && *count < s->part_count) {
        rc = part_open(kv, segment, *count, &(*parts)[*count]);
        *count += rc == 0;
    }
    pthread_mutex_unlock(&kv->seal_lock);
    if (rc)
        summary_parts_free(*parts, *count);
    return rc;
}

void summary_parts_free(struct summary_part *parts, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(parts[i].record);
    free(parts);
}

int summary_foreach(struct pmkv *kv, uint32_t segment, int (*fn)(void *arg, const struct entry *e),
                    void *arg)
{
    struct segment *s = &kv->segments[segment];
    pthread_mutex_lock(&kv->seal_lock);
    int rc = parts_foreach(kv, segment, fn, arg);
    if (rc == 0) {
        struct lane *lane = lane_writing(kv, segment);
        struct entries_reader r = {.bytes = s->pending.bytes, .used = s->pending.used};
        struct entry e;
        while (rc == 0 && entries_next(&r, &e) == 1)
            rc = fn(arg, &e);
        if (lane)
            lane_unlock(lane);
    }
    pthread_mutex_unlock(&kv->seal_lock);
    return rc;
}

int scan_save(struct pmkv *kv)
{
    struct meta_key key = {.kind = META_SCAN};
    pthread_mutex_lock(&kv->work_lock);
    struct scan_record scan = kv->scan;
    pthread_mutex_unlock(&kv->work_lock);
    struct log_pos pos;
    int rc = meta_append(kv, &key, &scan, sizeof scan, &pos);
    if (rc)
        return rc;
    lane_lock(kv->meta);
    struct log_pos before = kv->scan_pos;
    kv->scan_pos = pos;
    lane_unlock(kv->meta);
    meta_drop(kv, (struct meta_ref){before, sizeof scan, 0});
    return 0;
}
