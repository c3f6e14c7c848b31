/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The bare machine behind the driver: the memory work of a store and no store. A put builds one
 * record (key, value, checksum), stores its lines past the caches and fences; a get loads one word
 * of an index, copies the record it names and checks it. The index is an array, for the key is a
 * number; what an update frees is used again in order. Nothing is there after a crash.
 *
 * No engine that checks what it reads can be faster by much; how much slower one is, is what its
 * promises cost.
 */
#include "engine.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data.h"
#include "limit.h"

enum { LINE_BYTES = 64, HEADER_BYTES = 16, SLACK = 1024, TAKE = 256, BATCH_MAX = 256, TRIES = 100 };

struct db {
    char *records;
    size_t stride_bytes, record_bytes, key_bytes, value_bytes, map_bytes;
    uint64_t keys_max, slots;
    _Atomic uint32_t *index; /* of a key's number: slot + 1 */
    _Atomic uint64_t next_slot, keys, puts;
};

/* Slots that this thread's updates have freed: the oldest is used next. */
struct session {
    struct db *db;
    char *record;
    uint32_t freed[SLACK];
    unsigned head, count;
    uint64_t fresh, fresh_end; /* never used, this thread's */
    uint64_t puts;
};

static bool limit_map(struct db *db, const char *path)
{
    char file[4096];
    snprintf(file, sizeof file, "%s/data", path);
    int fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return false;
    if (posix_fallocate(fd, 0, (off_t)db->map_bytes) == 0)
        db->records = limit_map_file(fd, db->map_bytes);
    close(fd);
    return db->records != NULL;
}

static void *limit_open(const struct engine_setup *setup)
{
    struct db *db = calloc(1, sizeof *db);
    if (!db)
        return NULL;
    db->key_bytes = setup->key_bytes;
    db->value_bytes = setup->value_bytes;
    db->record_bytes = HEADER_BYTES + setup->key_bytes + setup->value_bytes;
    db->stride_bytes = (db->record_bytes + LINE_BYTES - 1) & ~(size_t)(LINE_BYTES - 1);
    db->keys_max = 3 * setup->num; /* missing keys and inserted ones have numbers too */
    db->slots = 3 * setup->num + (setup->threads + 4) * (uint64_t)SLACK * 16;
    db->map_bytes = db->slots * db->stride_bytes;
    db->index = calloc(db->keys_max, sizeof *db->index);
    if (db->index && setup->create && db->slots < UINT32_MAX && limit_map(db, setup->path))
        return db;
    engine_fail(setup->create ? "no memory for the records" : "has no stored index to open");
    free(db->index);
    free(db);
    return NULL;
}

static bool limit_close(void *arg)
{
    struct db *db = arg;
    munmap(db->records, db->map_bytes);
    free(db->index);
    free(db);
    return true;
}

static void *begin(void *arg)
{
    struct session *s = calloc(1, sizeof *s);
    struct db *db = arg;
    if (!s)
        return NULL;
    s->db = db;
    s->record = aligned_alloc(LINE_BYTES, db->stride_bytes);
    if (!s->record) {
        free(s);
        return NULL;
    }
    memset(s->record, 0xa5, db->stride_bytes);
    return s;
}

static void end(void *session)
{
    struct session *s = session;
    atomic_fetch_add(&s->db->puts, s->puts);
    free(s->record);
    free(s);
}

static _Atomic uint32_t *index_of(struct db *db, const void *key)
{
    uint64_t number = key_number(key, db->key_bytes);
    return number < db->keys_max ? &db->index[number] : NULL;
}

/* A record a slot: the freed ones wait until SLACK / 2 are there, for readers that look at them. */
static uint32_t take_slot(struct session *s)
{
    if (s->count < SLACK / 2) {
        if (s->fresh == s->fresh_end) { /* threads share no line of records or of the counter */
            s->fresh = atomic_fetch_add_explicit(&s->db->next_slot, TAKE, memory_order_relaxed);
            s->fresh_end = s->fresh + TAKE;
        }
        return s->fresh < s->db->slots ? (uint32_t)s->fresh++ + 1 : 0;
    }
    uint32_t slot = s->freed[s->head++ % SLACK];
    s->count--;
    return slot;
}

static void free_slot(struct session *s, uint32_t slot)
{
    if (s->count < SLACK)
        s->freed[(s->head + s->count++) % SLACK] = slot;
}

/* The slot with the record, not fenced yet; 0: no room. */
static uint32_t store_record(struct session *s, const void *key, const void *value)
{
    struct db *db = s->db;
    uint32_t slot = take_slot(s);
    if (slot == 0)
        return 0;
    uint64_t lengths = (uint64_t)db->key_bytes << 32 | db->value_bytes;
    memcpy(s->record + 8, &lengths, 8);
    memcpy(s->record + HEADER_BYTES, key, db->key_bytes);
    memcpy(s->record + HEADER_BYTES + db->key_bytes, value, db->value_bytes);
    uint64_t check = XXH3_64bits(s->record + 8, db->record_bytes - 8);
    memcpy(s->record, &check, 8);
    limit_store_lines(db->records + (slot - 1) * db->stride_bytes, s->record, db->stride_bytes);
    s->puts++;
    return slot;
}

static void publish(struct session *s, _Atomic uint32_t *word, uint32_t slot)
{
    uint32_t old = atomic_exchange_explicit(word, slot, memory_order_acq_rel);
    if (old != 0)
        free_slot(s, old);
}

static enum engine_status write_batch(void *session, const struct engine_write *puts,
                                      unsigned count, size_t key_bytes, size_t value_bytes)
{
    struct session *s = session;
    uint32_t slots[BATCH_MAX];
    if (count > BATCH_MAX || key_bytes != s->db->key_bytes || value_bytes != s->db->value_bytes)
        return engine_fail("a batch of %u, keys of %zu bytes", count, key_bytes);
    for (unsigned i = 0; i < count; i++)
        if (!index_of(s->db, puts[i].key) ||
            (slots[i] = store_record(s, puts[i].key, puts[i].value)) == 0)
            return engine_fail("no room for more records");
    limit_store_fence();
    for (unsigned i = 0; i < count; i++)
        publish(s, index_of(s->db, puts[i].key), slots[i]);
    return ENGINE_OK;
}

static enum engine_status put(void *session, const void *key, size_t key_bytes, const void *value,
                              size_t value_bytes)
{
    struct engine_write one = {key, value};
    return write_batch(session, &one, 1, key_bytes, value_bytes);
}

/* A record that was replaced meanwhile does not check: the index is asked again. */
static enum engine_status get(void *session, const void *key, size_t key_bytes, void *value,
                              size_t *value_bytes)
{
    struct session *s = session;
    struct db *db = s->db;
    _Atomic uint32_t *word = index_of(db, key);
    for (unsigned i = 0; word && i < TRIES; i++) {
        uint32_t slot = atomic_load_explicit(word, memory_order_acquire);
        if (slot == 0)
            return ENGINE_MISSING;
        memcpy(s->record, db->records + (slot - 1) * db->stride_bytes, db->record_bytes);
        uint64_t stored;
        memcpy(&stored, s->record, 8);
        if (stored == XXH3_64bits(s->record + 8, db->record_bytes - 8) &&
            memcmp(s->record + HEADER_BYTES, key, key_bytes) == 0)
            return engine_copy_out(value, value_bytes, s->record + HEADER_BYTES + key_bytes,
                                   db->value_bytes);
    }
    return word ? engine_fail("a record does not check") : ENGINE_MISSING;
}

/* The batched row: all index words on their way, then all records, then one get after the other. */
static enum engine_status get_many(void *session, struct engine_read *reads, unsigned count,
                                   size_t key_bytes)
{
    struct session *s = session;
    struct db *db = s->db;
    _Atomic uint32_t *words[BATCH_MAX];
    if (count > BATCH_MAX)
        return engine_fail("%u reads in a call, %d at most", count, BATCH_MAX);
    for (unsigned i = 0; i < count; i++)
        __builtin_prefetch(words[i] = index_of(db, reads[i].key));
    for (unsigned i = 0; i < count; i++) {
        uint32_t slot = words[i] ? atomic_load_explicit(words[i], memory_order_acquire) : 0;
        for (size_t at = 0; slot != 0 && at < db->record_bytes; at += LINE_BYTES)
            __builtin_prefetch(db->records + (slot - 1) * db->stride_bytes + at);
    }
    for (unsigned i = 0; i < count; i++) {
        reads[i].status = get(s, reads[i].key, key_bytes, reads[i].value, &reads[i].value_bytes);
        if (reads[i].status == ENGINE_FAILED)
            return ENGINE_FAILED;
    }
    return ENGINE_OK;
}

/* A deletion that lasts is a record too. */
static enum engine_status del(void *session, const void *key, size_t key_bytes)
{
    struct session *s = session;
    _Atomic uint32_t *word = index_of(s->db, key);
    (void)key_bytes;
    uint32_t old = word ? atomic_exchange_explicit(word, 0, memory_order_acq_rel) : 0;
    if (old == 0)
        return ENGINE_MISSING;
    limit_store_lines(s->db->records + (old - 1) * s->db->stride_bytes, s->record, LINE_BYTES);
    limit_store_fence();
    free_slot(s, old);
    return ENGINE_OK;
}

static void figures(void *arg, struct engine_figures *out)
{
    struct db *db = arg;
    out->media_bytes = atomic_load(&db->puts) * db->stride_bytes;
    out->index_bytes = db->keys_max * sizeof *db->index;
}

static const char *version(void)
{
    return "-";
}

const struct engine engine_limit = {
    .name = "limit",
    .durable = "no store: lines past the caches and one fence, nothing to find them by",
    .directory = true,
    .version = version,
    .open = limit_open,
    .close = limit_close,
    .begin = begin,
    .end = end,
    .put = put,
    .get = get,
    .del = del,
    .get_many = get_many,
    .write = write_batch,
    .figures = figures,
};
