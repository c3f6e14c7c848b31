/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include <stdlib.h>
#include <string.h>

#include "damage.h"
#include "defer.h"
#include "error.h"
#include "handle.h"
#include "lost.h"
#include "quick.h"
#include "write.h"

/* No locked instruction where it can be done without: the next get's loads would wait for it, and
 * it for this one's. */
static inline void count_add(_Atomic uint64_t *counter, uint64_t n)
{
    if (op_shard_is_own())
        count64(counter, n);
    else
        atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline void count_read(struct pmkv *kv, bool hit)
{
    struct op_shard *shard = op_shard(kv);
    count_add(hit ? &shard->gets : &shard->misses, 1);
}

static __attribute__((noinline)) enum pmkv_status lost_record(struct pmkv *kv)
{
    return fail(PMKV_E_LOST, "the record of this key in %s was lost: damage beyond the redundancy",
                kv->vol.media->path);
}

static __attribute__((noinline)) enum pmkv_status unavailable(struct pmkv *kv)
{
    return fail(PMKV_E_IO, "the medium of %s does not answer", kv->vol.media->path);
}

/* A miss is no failure: it is cheap and says no more than its status does. */
static enum pmkv_status not_found(void)
{
    err_clear();
    return PMKV_E_NOT_FOUND;
}

/* Where a value goes: to a caller's buffer, or to one that is allocated. */
struct value_sink {
    void *buffer;
    size_t capacity, bytes;
    uint64_t version; /* of what was read */
    bool allocate;
};

static enum pmkv_status sink_reserve(struct value_sink *sink, uint64_t bytes)
{
    sink->bytes = bytes;
    if (!sink->allocate)
        return bytes <= sink->capacity
                   ? PMKV_OK
                   : fail(PMKV_E_BUFFER, "the value has %llu bytes, the buffer %zu",
                          (unsigned long long)bytes, sink->capacity);
    if (bytes > sink->capacity || !sink->buffer) {
        void *grown = realloc(sink->buffer, bytes ? bytes : 1);
        if (!grown)
            return fail(PMKV_E_NO_MEMORY, "no memory for a value of %llu bytes",
                        (unsigned long long)bytes);
        sink->buffer = grown;
        sink->capacity = bytes;
    }
    return PMKV_OK;
}

/* The value of a found record; PMKV_E_NOT_FOUND: the slot changed meanwhile, search again. */
static enum pmkv_status fetch_value(struct pmkv *kv, struct found *f, struct value_sink *sink)
{
    struct manifest m;
    bool is_long = f->h.type == RECORD_MANIFEST;
    enum find_result r = FIND_HIT;
    enum pmkv_status s;
    if (is_long)
        r = manifest_read(kv, f, &m);
    if (r == FIND_HIT) {
        s = sink_reserve(sink, is_long ? m.value_bytes : f->h.value_bytes);
        if (s)
            return s;
        if (is_long) {
            s = extents_read(kv, &m, sink->buffer);
            if (s == PMKV_E_LOST)
                return index_slot_unchanged(&f->ref) ? lost_record(kv) : PMKV_E_NOT_FOUND;
            if (s == PMKV_E_NOT_FOUND && index_slot_unchanged(&f->ref))
                return lost_record(kv);
            return s;
        }
        r = read_value(kv, f, sink->buffer);
    }
    switch (r) {
    case FIND_HIT:
        return PMKV_OK;
    case FIND_NONE:
        return PMKV_E_NOT_FOUND;
    case FIND_LOST:
        return lost_record(kv);
    case FIND_IO:
        return unavailable(kv);
    default:
        return fail(PMKV_E_NO_MEMORY, "no memory to rebuild a record");
    }
}

/* The value of what a search found, which is no miss; and searches again while it changes. */
static __attribute__((noinline)) enum pmkv_status get_slowly(struct pmkv *kv, const void *key,
                                                             size_t key_bytes, uint64_t khash,
                                                             enum find_result r, struct found *f,
                                                             struct value_sink *sink)
{
    for (;; r = find_key_slowly(kv, key, (uint32_t)key_bytes, khash, false, f)) {
        bool there = r == FIND_HIT && f->h.type != RECORD_TOMBSTONE;
        if (r == FIND_NONE || (r == FIND_HIT && !there)) {
            free(f->rebuilt);
            count_read(kv, false);
            return not_found();
        }
        if (!there)
            return r == FIND_LOST ? lost_record(kv)
                   : r == FIND_IO ? unavailable(kv)
                                  : fail(PMKV_E_NO_MEMORY, "no memory to rebuild a record");
        if (!sink) {
            free(f->rebuilt);
            return PMKV_OK;
        }
        enum pmkv_status s = fetch_value(kv, f, sink);
        free(f->rebuilt);
        if (s == PMKV_E_NOT_FOUND)
            continue;
        if (s == PMKV_OK)
            count_read(kv, true);
        sink->version = f->h.seq;
        return s;
    }
}

/* What the search answered that began with the first part of the quick one, and so on until it
 * holds. */
static inline __attribute__((always_inline)) enum pmkv_status
get_found(struct pmkv *kv, const void *key, size_t key_bytes, uint64_t khash, enum quick q,
          struct found *f, struct value_sink *sink)
{
    enum find_result r = quick_find(kv, q, key, (uint32_t)key_bytes, khash, f);
    if (r == FIND_NONE) {
        count_read(kv, false);
        return not_found();
    }
    if (!sink && r == FIND_HIT && f->off)
        return PMKV_OK;
    if (__builtin_expect(r == FIND_HIT && f->off && sink && !sink->allocate, 1) &&
        f->h.value_bytes <= sink->capacity && quick_value(kv, f, sink->buffer)) {
        count_read(kv, true);
        sink->bytes = f->h.value_bytes;
        sink->version = f->h.seq;
        return PMKV_OK;
    }
    return get_slowly(kv, key, key_bytes, khash, r, f, sink);
}

static inline __attribute__((always_inline)) enum pmkv_status
get(struct pmkv *kv, const void *key, size_t key_bytes, struct value_sink *sink)
{
    enum pmkv_status s = handle_enter(kv);
    if (s == PMKV_OK && __builtin_expect(!key || key_bytes - 1 >= QUICK_KEY_MAX, 0))
        s = check_key(kv, key, key_bytes);
    if (s)
        return s;
    uint64_t khash = key_hash(key, key_bytes);
    struct found f;
    quick_begin(&f, false);
    enum quick q = QUICK_OTHER;
    if (__builtin_expect(key_bytes <= QUICK_KEY_MAX, 1))
        q = quick_place(kv, khash, GROUP_BYTES, &f);
    return get_found(kv, key, key_bytes, khash, q, &f, sink);
}

enum pmkv_status pmkv_get(struct pmkv *kv, const void *key, size_t key_bytes, void *buffer,
                          size_t buffer_bytes, size_t *value_bytes)
{
    struct value_sink sink = {.buffer = buffer, .capacity = buffer_bytes};
    enum pmkv_status s = get(kv, key, key_bytes, &sink);
    if ((s == PMKV_OK || s == PMKV_E_BUFFER) && value_bytes)
        *value_bytes = sink.bytes;
    return s;
}

enum pmkv_status pmkv_get_version(struct pmkv *kv, const void *key, size_t key_bytes, void *buffer,
                                  size_t buffer_bytes, size_t *value_bytes, uint64_t *version)
{
    struct value_sink sink = {.buffer = buffer, .capacity = buffer_bytes};
    enum pmkv_status s = get(kv, key, key_bytes, &sink);
    if ((s == PMKV_OK || s == PMKV_E_BUFFER) && value_bytes)
        *value_bytes = sink.bytes;
    if (s == PMKV_OK)
        *version = sink.version;
    return s;
}

enum pmkv_status pmkv_get_alloc(struct pmkv *kv, const void *key, size_t key_bytes, void **value,
                                size_t *value_bytes)
{
    struct value_sink sink = {.allocate = true};
    enum pmkv_status s = get(kv, key, key_bytes, &sink);
    if (s) {
        free(sink.buffer);
        return s;
    }
    *value = sink.buffer;
    *value_bytes = sink.bytes;
    return PMKV_OK;
}

/* --- several at once -------------------------------------------------------------------------- */

enum { READS_AT_ONCE = 16 };

/* One of them on its way. */
struct some_read {
    uint64_t khash;
    enum quick quick;
    struct found f;
};

/* Bytes of a record to ask for: what the caller has room for, within reason. The rest of a longer
 * one comes by the processor's own prefetching. */
static inline uint32_t bytes_ahead(const struct pmkv_read *read)
{
    enum { MOST = 512 };
    size_t bytes = RECORD_HEADER_BYTES + read->key_bytes + read->buffer_bytes;
    return bytes < MOST ? (uint32_t)bytes : MOST;
}

/* Three rounds over a few reads: ask for the buckets, ask for the records under them, read. */
static void get_some(struct pmkv *kv, struct pmkv_read *reads, size_t count)
{
    struct some_read some[READS_AT_ONCE];
    for (size_t i = 0; i < count; i++) {
        reads[i].value_bytes = 0;
        reads[i].status = PMKV_OK;
        if (__builtin_expect(!reads[i].key || reads[i].key_bytes - 1 >= QUICK_KEY_MAX, 0))
            reads[i].status = check_key(kv, reads[i].key, reads[i].key_bytes);
        if (reads[i].status)
            continue;
        some[i].khash = key_hash(reads[i].key, reads[i].key_bytes);
        bucket_prefetch(kv->index, some[i].khash);
    }
    for (size_t i = 0; i < count; i++) {
        if (reads[i].status)
            continue;
        quick_begin(&some[i].f, false);
        some[i].quick = QUICK_OTHER;
        if (reads[i].key_bytes <= QUICK_KEY_MAX)
            some[i].quick = quick_place(kv, some[i].khash, bytes_ahead(&reads[i]), &some[i].f);
        else
            find_prefetch(kv, some[i].khash, bytes_ahead(&reads[i]));
    }
    for (size_t i = 0; i < count; i++) {
        if (reads[i].status)
            continue;
        struct value_sink sink = {.buffer = reads[i].buffer, .capacity = reads[i].buffer_bytes};
        reads[i].status = get_found(kv, reads[i].key, reads[i].key_bytes, some[i].khash,
                                    some[i].quick, &some[i].f, &sink);
        if (reads[i].status == PMKV_OK || reads[i].status == PMKV_E_BUFFER)
            reads[i].value_bytes = sink.bytes;
    }
}

enum pmkv_status pmkv_get_many(struct pmkv *kv, struct pmkv_read *reads, size_t count)
{
    enum pmkv_status s = handle_enter(kv);
    if (s)
        return s;
    if (!reads && count)
        return fail(PMKV_E_INVALID, "the reads are NULL and their count is %zu", count);
    for (size_t at = 0; at < count; at += READS_AT_ONCE)
        get_some(kv, reads + at, count - at < READS_AT_ONCE ? count - at : READS_AT_ONCE);
    return PMKV_OK;
}

void pmkv_free(void *p)
{
    free(p);
}

enum pmkv_status pmkv_exists(struct pmkv *kv, const void *key, size_t key_bytes)
{
    return get(kv, key, key_bytes, NULL);
}

enum pmkv_status pmkv_count(struct pmkv *kv, uint64_t *count)
{
    enum pmkv_status s = handle_enter(kv);
    if (s == PMKV_OK) {
        (void)defer_settle_all(kv); /* a put over a delete counts then */
        *count = index_keys(kv->index);
    }
    return s;
}

/* --- foreach ---------------------------------------------------------------------------------- */

struct walk {
    struct pmkv *kv;
    unsigned flags;
    pmkv_item_fn fn;
    void *arg;
    uint8_t **records; /* of one bucket: NULL for a lost one */
    struct slot *slots;
    uint32_t count, capacity;
};

static void walk_clear(struct walk *w)
{
    for (uint32_t i = 0; i < w->count; i++)
        free(w->records[i]);
    w->count = 0;
}

static enum pmkv_status walk_reserve(struct walk *w, uint32_t count)
{
    if (count <= w->capacity)
        return PMKV_OK;
    uint8_t **records = realloc(w->records, count * sizeof *records);
    if (records)
        w->records = records;
    struct slot *slots = realloc(w->slots, count * sizeof *slots);
    if (slots)
        w->slots = slots;
    if (!records || !slots)
        return fail(PMKV_E_NO_MEMORY, "no memory for a bucket of %u records", count);
    w->capacity = count;
    return PMKV_OK;
}

/* Reads the bucket's records; a record that moved meanwhile makes it start over (PMKV_E_NOT_FOUND).
 */
static enum pmkv_status walk_collect(struct walk *w, const struct index_scan *scan)
{
    struct pmkv *kv = w->kv;
    enum pmkv_status s = walk_reserve(w, scan->count);
    for (uint32_t i = 0; i < scan->count && s == PMKV_OK; i++) {
        struct log_pos pos = {slot_position(scan->slots[i])};
        uint8_t *record = NULL;
        if (!pos_is_lost(pos)) {
            uint32_t segment = pos_place(&kv->shape, pos).segment;
            uint64_t generation = atomic_load(&kv->segments[segment].generation);
            enum find_result r = read_record(kv, pos, generation, &record);
            s = r == FIND_NONE    ? PMKV_E_NOT_FOUND
                : r == FIND_IO    ? unavailable(kv)
                : r == FIND_NOMEM ? fail(PMKV_E_NO_MEMORY, "no memory for a record")
                                  : PMKV_OK;
            if (r == FIND_LOST) {
                struct row_ref ref = {segment, pos_place(&kv->shape, pos).row, generation};
                record = NULL;
                if (lost_discover(kv, ref)) /* now its slot says so, and what its name was */
                    s = PMKV_E_NOT_FOUND;
            }
        }
        if (s == PMKV_OK) {
            w->slots[w->count] = scan->slots[i];
            w->records[w->count++] = record;
        }
    }
    return s;
}

static enum pmkv_status show(struct walk *w, const struct pmkv_item *item)
{
    return w->fn(w->arg, item) ? fail(PMKV_E_STOPPED, "stopped by the callback") : PMKV_OK;
}

static enum pmkv_status show_lost(struct walk *w, struct slot slot)
{
    struct pmkv *kv = w->kv;
    struct pmkv_item item = {.status = PMKV_E_LOST};
    uint8_t name[ENTRY_KEY_MAX];
    pthread_mutex_lock(&kv->lost_lock);
    for (uint32_t i = 0; i < kv->lost_count; i++)
        if ((kv->lost[i]->id | POSITION_LOST) == slot_position(slot)) {
            item.key_bytes = kv->lost[i]->kept_bytes;
            memcpy(name, kv->lost[i]->key, kv->lost[i]->kept_bytes);
            item.version = kv->lost[i]->seq;
        }
    pthread_mutex_unlock(&kv->lost_lock);
    if (item.key_bytes == 0)
        return PMKV_OK; /* no name to show it by; pmkv_lost_foreach has its hash or range */
    item.key = name;
    return show(w, &item);
}

static enum pmkv_status show_record(struct walk *w, const uint8_t *record)
{
    struct record_header h;
    memcpy(&h, record, sizeof h);
    if (h.type != RECORD_PUT && h.type != RECORD_MANIFEST)
        return PMKV_OK;
    struct pmkv_item item = {.key = record + sizeof h,
                             .key_bytes = h.key_bytes,
                             .value_bytes = h.value_bytes,
                             .version = h.seq};
    struct manifest m;
    uint8_t *value = NULL;
    if (h.type == RECORD_MANIFEST) {
        memcpy(&m, record + sizeof h + h.key_bytes, sizeof m);
        item.value_bytes = m.value_bytes;
    }
    if (!(w->flags & PMKV_FOREACH_KEYS_ONLY)) {
        item.value = record + sizeof h + h.key_bytes;
        if (h.type == RECORD_MANIFEST) {
            size_t bytes = 0;
            void *whole = NULL;
            enum pmkv_status s = pmkv_get_alloc(w->kv, item.key, item.key_bytes, &whole, &bytes);
            if (s == PMKV_E_NOT_FOUND)
                return PMKV_OK; /* deleted meanwhile */
            if (s != PMKV_OK && s != PMKV_E_LOST)
                return s;
            item.status = s;
            item.value = value = whole;
            item.value_bytes = bytes;
        }
    }
    enum pmkv_status s = show(w, &item);
    free(value);
    return s;
}

static enum pmkv_status walk_show(struct walk *w)
{
    enum pmkv_status s = PMKV_OK;
    for (uint32_t i = 0; i < w->count && s == PMKV_OK; i++)
        s = w->records[i] ? show_record(w, w->records[i]) : show_lost(w, w->slots[i]);
    return s;
}

enum pmkv_status pmkv_foreach(struct pmkv *kv, unsigned flags, pmkv_item_fn fn, void *arg)
{
    enum pmkv_status s = handle_enter(kv);
    if (s)
        return s;
    if (!fn || flags & ~(unsigned)PMKV_FOREACH_KEYS_ONLY)
        return fail(PMKV_E_INVALID, "no callback, or unknown flags 0x%x", flags);
    struct walk w = {.kv = kv, .flags = flags, .fn = fn, .arg = arg};
    struct index_scan scan;
    if (index_scan_begin(kv->index, &scan))
        return fail(PMKV_E_NO_MEMORY, "no memory for a scan");
    int more = 1;
    while (s == PMKV_OK && (more = index_scan_step(&scan)) == 1) {
        s = walk_collect(&w, &scan);
        if (s == PMKV_OK)
            s = walk_show(&w);
        else if (s == PMKV_E_NOT_FOUND) {
            scan.next--; /* a record was moved or replaced while its bucket was read: once more */
            s = PMKV_OK;
        }
        walk_clear(&w);
    }
    index_scan_end(&scan);
    free(w.records);
    free(w.slots);
    return s ? s : status_of(more);
}
