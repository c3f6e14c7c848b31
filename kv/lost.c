/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "lost.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "damage.h"
#include "error.h"
#include "lane.h"
#include "meta.h"
#include "read.h"
#include "write.h"

/* --- the list --------------------------------------------------------------------------------- */

/* Ids grow and entries are appended, so the list is sorted by id. */
static struct lost_entry **lost_by_id(struct pmkv *kv, uint64_t id)
{
    uint32_t low = 0, high = kv->lost_count;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (kv->lost[mid]->id < id)
            low = mid + 1;
        else
            high = mid;
    }
    return low < kv->lost_count && kv->lost[low]->id == id ? &kv->lost[low] : NULL;
}

static bool lost_push(struct pmkv *kv, struct lost_entry *entry)
{
    if (kv->lost_count == kv->lost_capacity) {
        uint32_t capacity = kv->lost_capacity ? kv->lost_capacity * 2 : 64;
        struct lost_entry **list = realloc(kv->lost, capacity * sizeof *list);
        if (!list)
            return false;
        kv->lost = list;
        kv->lost_capacity = capacity;
    }
    kv->lost[kv->lost_count++] = entry;
    return true;
}

static uint64_t add(struct pmkv *kv, const struct lost_entry *entry, const uint8_t *key,
                    bool in_index)
{
    struct lost_entry *e = malloc(sizeof *e + entry->kept_bytes);
    if (!e)
        return 0;
    *e = *entry;
    if (entry->kept_bytes)
        memcpy(e->key, key, entry->kept_bytes);
    e->in_index = in_index;
    pthread_mutex_lock(&kv->lost_lock);
    e->id = ++kv->lost_next_id;
    bool pushed = lost_push(kv, e);
    kv->lost_dirty |= pushed;
    pthread_mutex_unlock(&kv->lost_lock);
    if (!pushed) {
        free(e);
        return 0;
    }
    pthread_mutex_lock(&kv->work_lock);
    kv->life.records_lost++;
    if (kv->scan_running_now)
        kv->scan.lost_records++;
    pthread_mutex_unlock(&kv->work_lock);
    event_send(kv, PMKV_EVENT_LOST, entry->pool_off, entry->bytes,
               "a record is lost: damage beyond the redundancy of the pool");
    return e->id;
}

uint64_t lost_add(struct pmkv *kv, const struct lost_entry *entry, const uint8_t *key,
                  bool in_index)
{
    uint64_t id = add(kv, entry, key, in_index);
    if (id == 0)
        kv->lost_missed = true;
    return id;
}

void lost_add_range(struct pmkv *kv, uint64_t pool_off, uint32_t bytes)
{
    bool there = false;
    pthread_mutex_lock(&kv->lost_lock);
    for (uint32_t i = 0; i < kv->lost_count; i++)
        there |= kv->lost[i]->pool_off == pool_off && kv->lost[i]->key_bytes == 0;
    pthread_mutex_unlock(&kv->lost_lock);
    struct lost_entry e = {.pool_off = pool_off, .bytes = bytes};
    if (!there)
        lost_add(kv, &e, NULL, false);
}

/* Ranges that carry no name cannot be made good by a put: the operator says that they were seen. */
enum pmkv_status pmkv_lost_acknowledge(struct pmkv *kv, uint64_t *cleared)
{
    enum pmkv_status s = write_allowed(kv);
    if (s)
        return s;
    uint32_t kept = 0;
    pthread_mutex_lock(&kv->lost_lock);
    uint32_t count = kv->lost_count;
    for (uint32_t i = 0; i < count; i++)
        if (kv->lost[i]->in_index || kv->lost[i]->key_bytes)
            kv->lost[kept++] = kv->lost[i];
        else
            free(kv->lost[i]);
    kv->lost_count = kept;
    kv->lost_dirty |= kept != count;
    pthread_mutex_unlock(&kv->lost_lock);
    if (cleared)
        *cleared = count - kept;
    return status_of(lost_save(kv));
}

/* A recovery that was cut after it saved the list finds the same losses again. */
static bool listed_already(const struct pmkv *kv, const struct lost_entry *e)
{
    for (uint32_t i = 0; i < kv->lost_count; i++)
        if (kv->lost[i]->pool_off == e->pool_off && kv->lost[i]->bytes == e->bytes &&
            kv->lost[i]->seq == e->seq && kv->lost[i]->hash == e->hash)
            return true;
    return false;
}

int lost_append(struct pmkv *kv, struct lost_entry *e)
{
    if (listed_already(kv, e)) {
        free(e);
        return 0;
    }
    e->id = ++kv->lost_next_id;
    kv->lost_dirty = true;
    if (lost_push(kv, e))
        return 0;
    free(e);
    return -ENOMEM;
}

void lost_forget(struct pmkv *kv, uint64_t id)
{
    pthread_mutex_lock(&kv->lost_lock);
    struct lost_entry **at = lost_by_id(kv, id);
    if (at) {
        free(*at);
        uint32_t i = (uint32_t)(at - kv->lost);
        memmove(at, at + 1, (kv->lost_count - i - 1) * sizeof *at);
        kv->lost_count--;
        kv->lost_dirty = true;
    }
    pthread_mutex_unlock(&kv->lost_lock);
}

static enum lost_match match_name(uint32_t known_bytes, uint32_t kept_bytes, const uint8_t *kept,
                                  uint64_t known_hash, const void *key, uint32_t key_bytes,
                                  uint64_t hash)
{
    if (kept_bytes > 0 && kept_bytes == known_bytes)
        return known_bytes == key_bytes && memcmp(kept, key, key_bytes) == 0 ? LOST_SAME
                                                                             : LOST_OTHER;
    return known_hash == hash ? LOST_SAME : LOST_OTHER;
}

enum lost_match lost_match_id(struct pmkv *kv, uint64_t id, const void *key, uint32_t key_bytes,
                              uint64_t hash)
{
    enum lost_match m = LOST_UNKNOWN;
    pthread_mutex_lock(&kv->lost_lock);
    struct lost_entry **at = lost_by_id(kv, id);
    if (at)
        m = match_name((*at)->key_bytes, (*at)->kept_bytes, (*at)->key, (*at)->hash, key, key_bytes,
                       hash);
    pthread_mutex_unlock(&kv->lost_lock);
    return m;
}

/* --- naming a place --------------------------------------------------------------------------- */

struct place_search {
    uint64_t start;
    bool found;
    struct entry *out;
    uint8_t *key;
};

static int search_entry(void *arg, const struct entry *e)
{
    struct place_search *s = arg;
    if (e->start != s->start)
        return 0;
    *s->out = *e;
    memcpy(s->key, e->key, e->kept_bytes);
    s->out->key = s->key;
    s->found = true;
    return 1;
}

bool entry_at(struct pmkv *kv, struct log_pos pos, struct entry *out, uint8_t key[ENTRY_KEY_MAX])
{
    struct row_place place = pos_place(&kv->shape, pos);
    struct place_search s = {
        .start = (uint64_t)place.row * row_payload(kv) + place.offset, .out = out, .key = key};
    summary_foreach(kv, place.segment, search_entry, &s);
    return s.found;
}

enum lost_match lost_match_place(struct pmkv *kv, struct log_pos pos, const void *key,
                                 uint32_t key_bytes, uint64_t hash)
{
    struct entry e;
    uint8_t name[ENTRY_KEY_MAX];
    if (!entry_at(kv, pos, &e, name))
        return LOST_UNKNOWN;
    return match_name(e.key_bytes, e.kept_bytes, e.key, e.hash, key, key_bytes, hash);
}

bool lost_tombstone(struct pmkv *kv, struct log_pos pos, const void *key, uint32_t key_bytes,
                    struct record_header *h)
{
    struct entry e;
    uint8_t name[ENTRY_KEY_MAX];
    if (!entry_at(kv, pos, &e, name) || e.type != RECORD_TOMBSTONE || e.kept_bytes != key_bytes ||
        e.key_bytes != key_bytes || memcmp(name, key, key_bytes) != 0)
        return false;
    *h = (struct record_header){
        .type = RECORD_TOMBSTONE, .key_bytes = (uint16_t)key_bytes, .seq = e.seq};
    return true;
}

/* --- discovery -------------------------------------------------------------------------------- */

struct discovery {
    struct pmkv *kv;
    struct row_ref ref;
    const struct row_image *image;
    bool changed;
};

static bool range_lost(const struct discovery *d, uint32_t offset, uint32_t bytes)
{
    for (uint32_t at = offset; at < offset + bytes;) {
        uint32_t page = at / PAGE_PAYLOAD_BYTES, group = at % PAGE_PAYLOAD_BYTES / GROUP_BYTES;
        if (page >= d->kv->vol.layout.row_pages || !row_group_ok(d->image, page, group))
            return true;
        at = page * PAGE_PAYLOAD_BYTES +
             (group == 15 ? PAGE_PAYLOAD_BYTES : (group + 1) * GROUP_BYTES);
    }
    return false;
}

/* Under the stripe lock: is the slot at this position still the record's? Then it gets the mark. */
static bool slot_to_lost(struct pmkv *kv, uint64_t hash, struct log_pos pos,
                         const struct lost_entry *entry, const uint8_t *key)
{
    struct index_find f;
    struct slot_ref ref;
    bool changed = false;
    index_lock(kv->index, index_stripe(hash));
    index_find_begin(kv->index, hash, &f);
    while (!changed && index_find_next(&f, &ref)) {
        if (slot_position(ref.slot) != pos.v)
            continue;
        uint64_t id = add(kv, entry, key, true);
        if (id == 0)
            break; /* the slot stays, and says so again when it is read next */
        index_replace(kv->index, &ref,
                      slot_with(ref.slot, id | POSITION_LOST, slot_older(ref.slot)));
        index_keys_add(kv->index, index_stripe(hash), -1);
        changed = true;
    }
    index_unlock(kv->index, index_stripe(hash));
    return changed;
}

struct owner_search {
    uint64_t value_id;
    struct log_pos pos;
    uint64_t hash;
    uint8_t *record;
};

/* Is the record at `pos` the manifest? What cannot be read may be: FIND_IO, or FIND_NOMEM. */
static enum find_result look_at_manifest(struct pmkv *kv, struct log_pos pos,
                                         struct owner_search *s)
{
    struct record_header h;
    struct manifest m;
    if (pos_is_lost(pos))
        return FIND_NONE; /* its key is lost anyway */
    if (payload_load(kv, pos_place(&kv->shape, pos), &h, sizeof h) == 0 &&
        h.type != RECORD_MANIFEST && record_shape_holds(&h, row_payload(kv)))
        return FIND_NONE;
    enum find_result r = read_record(kv, pos, pos_generation(kv, pos), &s->record);
    if (r != FIND_HIT)
        return r == FIND_LOST ? FIND_NONE : r == FIND_NONE ? FIND_IO : r;
    memcpy(&h, s->record, sizeof h);
    if (h.type == RECORD_MANIFEST) {
        memcpy(&m, s->record + sizeof h + h.key_bytes, sizeof m);
        s->pos = pos;
        s->hash = hash64(s->record + sizeof h, h.key_bytes);
        if (m.value_id == s->value_id)
            return FIND_HIT;
    }
    free(s->record);
    return FIND_NONE;
}

/* The manifest of a long value, by its value id: every slot is looked at; this is rare. FIND_NONE:
 * it has none, for sure; any other failure says nothing of that (I8). */
static enum find_result find_manifest(struct pmkv *kv, struct owner_search *s)
{
    struct index_scan scan;
    enum find_result found = FIND_NONE;
    int more = index_scan_begin(kv->index, &scan);
    if (more)
        return FIND_NOMEM;
    while (found != FIND_HIT && (more = index_scan_step(&scan)) == 1)
        for (uint32_t i = 0; i < scan.count && found != FIND_HIT; i++) {
            enum find_result r =
                look_at_manifest(kv, (struct log_pos){slot_position(scan.slots[i])}, s);
            found = r == FIND_NONE ? found : r;
        }
    index_scan_end(&scan);
    return found == FIND_NONE && more < 0 ? FIND_NOMEM : found;
}

/* A piece that belongs to nothing any more leaves the index, so that its segment can be cleaned. */
static void drop_piece(struct pmkv *kv, const struct entry *e, struct log_pos pos)
{
    struct index_find f;
    struct slot_ref ref;
    index_lock(kv->index, index_stripe(e->hash));
    index_find_begin(kv->index, e->hash, &f);
    while (index_find_next(&f, &ref))
        if (slot_position(ref.slot) == pos.v) {
            index_remove(kv->index, &ref);
            live_add(kv, pos_place(&kv->shape, pos).segment,
                     -(int64_t)units_of(record_packed(e->key_bytes, e->value_bytes)));
            break;
        }
    index_unlock(kv->index, index_stripe(e->hash));
}

/* A lost piece of a long value: the value's key is what is lost, and its other pieces are dead. */
static void lose_extent(struct discovery *d, const struct entry *e, struct log_pos pos,
                        uint64_t pool_off)
{
    struct extent_key k;
    memcpy(&k, e->key, sizeof k);
    struct owner_search s = {.value_id = k.value_id};
    enum find_result found = find_manifest(d->kv, &s);
    if (found == FIND_NONE)
        drop_piece(d->kv, e, pos);
    if (found != FIND_HIT) /* while it is in the index nobody takes it for gone */
        return;
    struct record_header h;
    memcpy(&h, s.record, sizeof h);
    const uint8_t *key = s.record + sizeof h;
    uint32_t kept = h.key_bytes > ENTRY_KEY_MAX ? ENTRY_KEY_PREFIX : h.key_bytes;
    struct lost_entry lost = {.hash = s.hash,
                              .seq = h.seq,
                              .pool_off = pool_off,
                              .bytes = e->value_bytes,
                              .key_bytes = h.key_bytes,
                              .kept_bytes = (uint16_t)kept};
    if (slot_to_lost(d->kv, s.hash, s.pos, &lost, key)) {
        live_add(d->kv, pos_place(&d->kv->shape, s.pos).segment,
                 -(int64_t)units_of(record_packed(h.key_bytes, h.value_bytes)));
        struct manifest m;
        memcpy(&m, key + h.key_bytes, sizeof m);
        if (manifest_holds(&m))
            extents_drop(d->kv, &m);
        d->changed = true;
        drop_piece(d->kv, e, pos);
    }
    free(s.record);
}

static int discover_entry(void *arg, const struct entry *e)
{
    struct discovery *d = arg;
    struct pmkv *kv = d->kv;
    uint64_t row_start = (uint64_t)d->ref.row * row_payload(kv);
    uint32_t bytes = (uint32_t)record_bytes(e->key_bytes, e->value_bytes);
    if (e->start < row_start || e->start >= row_start + row_payload(kv))
        return 0;
    uint32_t offset = (uint32_t)(e->start - row_start);
    if (!range_lost(d, offset, bytes))
        return 0;
    struct row_place place = {d->ref.segment, d->ref.row, offset};
    struct log_pos pos = pos_make(&kv->shape, place);
    uint64_t pool_off = layout_data_page_off(&kv->vol.layout, place.segment, place.row,
                                             offset / PAGE_PAYLOAD_BYTES) +
                        offset % PAGE_PAYLOAD_BYTES;
    if (e->type == RECORD_EXTENT) {
        lose_extent(d, e, pos, pool_off);
        return 0;
    }
    struct lost_entry lost = {.hash = e->hash,
                              .seq = e->seq,
                              .pool_off = pool_off,
                              .bytes = bytes,
                              .key_bytes = (uint16_t)e->key_bytes,
                              .kept_bytes = (uint16_t)e->kept_bytes};
    if (e->type == RECORD_TOMBSTONE)
        return 0; /* its summary entry says all that it said: see lost_tombstone */
    if (slot_to_lost(kv, e->hash, pos, &lost, e->key)) {
        live_add(kv, place.segment,
                 -(int64_t)units_of(record_packed(e->key_bytes, e->value_bytes)));
        d->changed = true;
    }
    return 0;
}

/* Entries are gathered first: marking takes stripe locks, which come before the summary's. */
struct gathered {
    struct entries list;
    uint64_t from, to;
};

static int gather(void *arg, const struct entry *e)
{
    struct gathered *g = arg;
    return e->start >= g->from && e->start < g->to ? entries_add(&g->list, e) : 0;
}

static void discover_in_image(struct discovery *d)
{
    struct pmkv *kv = d->kv;
    struct gathered g = {.from = (uint64_t)d->ref.row * row_payload(kv)};
    g.to = g.from + row_payload(kv);
    /* What this does not give, for want of memory or of a part of the summary, stays in the index:
     * its reads say that it is lost, and the cleaner does not take it for gone (I8). */
    summary_foreach(kv, d->ref.segment, gather, &g);
    struct entries_reader r = {.bytes = g.list.bytes, .used = g.list.used};
    struct entry e;
    while (entries_next(&r, &e) == 1)
        discover_entry(d, &e);
    entries_free(&g.list);
}

bool lost_discover(struct pmkv *kv, struct row_ref ref)
{
    struct discovery d = {.kv = kv, .ref = ref};
    struct row_image image;
    if (!segment_pin(kv, ref.segment, ref.generation))
        return true;
    if (row_image_init(&image, &kv->vol.layout) == 0) {
        row_load_settled(kv, ref, &image);
        row_decode(&kv->vol, ref, &image);
        d.image = &image;
        bool durable = ref.row < atomic_load(&kv->segments[ref.segment].rows_durable);
        if (durable && image.lost_groups > 0 &&
            !medium_in_doubt(kv, layout_data_page_off(&kv->vol.layout, ref.segment, ref.row, 0))) {
            discover_in_image(&d);
            atomic_store(&kv->segments[ref.segment].evacuate, true);
        }
        row_image_free(&image);
    }
    segment_unpin(kv, ref.segment);
    if (d.changed && !kv->vol.media->read_only)
        lost_save(
            kv); /* if it fails the list is still to be saved before a segment is freed (I8) */
    return d.changed;
}

/* --- the snapshot in the pool ----------------------------------------------------------------- */

struct lost_bytes { /* followed by the kept key bytes, padded to 8 */
    uint64_t id, hash, seq, pool_off;
    uint32_t bytes;
    uint16_t key_bytes, kept_bytes;
    uint64_t in_index;
};

static uint32_t lost_encoded(const struct lost_entry *e)
{
    return (uint32_t)sizeof(struct lost_bytes) + ((e->kept_bytes + 7u) & ~7u);
}

static uint32_t encode_part(const struct pmkv *kv, uint32_t *next, uint8_t *out, uint32_t room)
{
    uint32_t used = 0;
    for (; *next < kv->lost_count; ++*next) {
        const struct lost_entry *e = kv->lost[*next];
        if (used + lost_encoded(e) > room)
            break;
        struct lost_bytes b = {e->id,    e->hash,      e->seq,        e->pool_off,
                               e->bytes, e->key_bytes, e->kept_bytes, e->in_index};
        memset(out + used, 0, lost_encoded(e));
        memcpy(out + used, &b, sizeof b);
        memcpy(out + used + sizeof b, e->key, e->kept_bytes);
        used += lost_encoded(e);
    }
    return used;
}

int lost_load_part(struct pmkv *kv, const uint8_t *bytes, uint32_t count)
{
    for (uint32_t at = 0; at + sizeof(struct lost_bytes) <= count;) {
        struct lost_bytes b;
        memcpy(&b, bytes + at, sizeof b);
        uint32_t whole = (uint32_t)sizeof b + ((b.kept_bytes + 7u) & ~7u);
        if (b.kept_bytes > ENTRY_KEY_MAX || at + whole > count)
            return -EIO;
        struct lost_entry *e = malloc(sizeof *e + b.kept_bytes);
        if (!e)
            return -ENOMEM;
        *e = (struct lost_entry){b.id,    b.hash,      b.seq,        b.pool_off,
                                 b.bytes, b.key_bytes, b.kept_bytes, b.in_index != 0};
        memcpy(e->key, bytes + at + sizeof b, b.kept_bytes);
        if (!lost_push(kv, e)) {
            free(e);
            return -ENOMEM;
        }
        if (b.id > kv->lost_next_id)
            kv->lost_next_id = b.id;
        at += whole;
    }
    return 0;
}

/* The parts of one snapshot, encoded under the lock. */
struct snapshot {
    uint8_t *bytes;
    uint32_t *sizes;
    uint32_t parts;
};

static int snapshot_make(struct pmkv *kv, struct snapshot *s, uint32_t room)
{
    pthread_mutex_lock(&kv->lost_lock);
    uint32_t next = 0, most = kv->lost_count / (room / 400 ? room / 400 : 1) + 1;
    s->bytes = malloc((size_t)most * room);
    s->sizes = calloc(most, sizeof *s->sizes);
    while (s->bytes && s->sizes && (next < kv->lost_count || s->parts == 0) && s->parts < most) {
        s->sizes[s->parts] = encode_part(kv, &next, s->bytes + (size_t)s->parts * room, room);
        s->parts++;
    }
    bool whole = s->bytes && s->sizes && next == kv->lost_count;
    kv->lost_dirty &= !whole;
    pthread_mutex_unlock(&kv->lost_lock);
    return whole ? 0 : err_fact(-ENOMEM, "no memory to save the lost list");
}

static int snapshot_write(struct pmkv *kv, const struct snapshot *s, uint32_t room)
{
    struct meta_ref *refs = calloc(s->parts, sizeof *refs);
    if (!refs)
        return err_fact(-ENOMEM, "no memory to save the lost list");
    struct meta_key key = {.kind = META_LOST, .parts = s->parts};
    key.generation = counter_next(kv, 1);
    int rc = key.generation ? 0 : -EIO;
    for (uint32_t i = 0; i < s->parts && rc == 0; i++) {
        key.part = i;
        refs[i].bytes = s->sizes[i];
        rc = meta_append(kv, &key, s->bytes + (size_t)i * room, s->sizes[i], &refs[i].pos);
    }
    if (rc) {
        free(refs);
        return rc;
    }
    lane_lock(kv->meta);
    struct meta_ref *before = kv->lost_parts;
    uint32_t count = kv->lost_part_count;
    kv->lost_parts = refs;
    kv->lost_part_count = s->parts;
    kv->lost_version = key.generation;
    lane_unlock(kv->meta);
    for (uint32_t i = 0; i < count; i++)
        meta_drop(kv, before[i]);
    free(before);
    return 0;
}

static int save_locked(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->lost_lock);
    bool dirty = kv->lost_dirty;
    pthread_mutex_unlock(&kv->lost_lock);
    if (kv->lost_missed)
        return err_fact(-ENOMEM, "no memory for the list of what is lost");
    if (!dirty)
        return 0;
    struct snapshot s = {0};
    uint32_t room = meta_max_bytes(kv);
    int rc = snapshot_make(kv, &s, room);
    if (rc == 0)
        rc = snapshot_write(kv, &s, room);
    if (rc) {
        pthread_mutex_lock(&kv->lost_lock);
        kv->lost_dirty = true;
        pthread_mutex_unlock(&kv->lost_lock);
    }
    free(s.bytes);
    free(s.sizes);
    return rc;
}

/* One at a time: an older snapshot must not be written after a newer one. */
int lost_save(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->save_lock);
    int rc = save_locked(kv);
    pthread_mutex_unlock(&kv->save_lock);
    return rc;
}
