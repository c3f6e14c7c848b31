/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* libpmkv, through its public header. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

enum { READS_MAX = 256 };

struct session {
    struct pmkv *kv;
    struct pmkv_batch *batch;
    struct pmkv_iter *iter; /* NULL: not ordered */
    struct pmkv_read reads[READS_MAX];
};

static enum engine_status failed(enum pmkv_status status)
{
    return engine_fail("%s: %s", pmkv_status_name(status), pmkv_errormsg());
}

static bool create(const struct engine_setup *setup)
{
    struct pmkv_options options;
    pmkv_options_init(&options);
    options.geometry = setup->geometry;
    options.pool_bytes = setup->pool_bytes;
    options.backend = setup->backend;
    enum pmkv_status status = pmkv_create(setup->path, &options);
    if (status != PMKV_OK)
        failed(status);
    return status == PMKV_OK;
}

static void *open_as(const struct engine_setup *setup, bool ordered)
{
    if (setup->flush_line)
        setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
    if (setup->create && !create(setup))
        return NULL;
    struct pmkv_options options;
    struct pmkv *kv = NULL;
    pmkv_options_init(&options);
    options.backend = setup->backend;
    options.allow_inject = setup->inject;
    options.ordered = ordered;
    enum pmkv_status status = pmkv_open(setup->path, &options, &kv);
    if (status != PMKV_OK)
        failed(status);
    return kv;
}

static void *open_hashed(const struct engine_setup *setup)
{
    return open_as(setup, false);
}

static void *open_ordered(const struct engine_setup *setup)
{
    return open_as(setup, true);
}

static bool pmkv_engine_close(void *db)
{
    struct pmkv *kv = db;
    enum pmkv_status status = pmkv_close(&kv);
    if (status != PMKV_OK)
        failed(status);
    return status == PMKV_OK;
}

static void end(void *session)
{
    struct session *s = session;
    pmkv_iter_free(&s->iter);
    pmkv_batch_free(&s->batch);
    free(s);
}

static void *begin(void *db, bool ordered)
{
    struct session *s = calloc(1, sizeof *s);
    if (s && pmkv_batch_new(&s->batch) != PMKV_OK) {
        free(s);
        return NULL;
    }
    if (s)
        s->kv = db;
    if (s && ordered && pmkv_iter_new(db, 0, &s->iter) != PMKV_OK) {
        end(s);
        return NULL;
    }
    return s;
}

static void *begin_hashed(void *db)
{
    return begin(db, false);
}

static void *begin_ordered(void *db)
{
    return begin(db, true);
}

static enum engine_status put(void *session, const void *key, size_t key_bytes, const void *value,
                              size_t value_bytes)
{
    struct session *s = session;
    enum pmkv_status status = pmkv_put(s->kv, key, key_bytes, value, value_bytes);
    return status == PMKV_OK ? ENGINE_OK : failed(status);
}

static enum engine_status get(void *session, const void *key, size_t key_bytes, void *value,
                              size_t *value_bytes)
{
    struct session *s = session;
    enum pmkv_status status = pmkv_get(s->kv, key, key_bytes, value, *value_bytes, value_bytes);
    if (status == PMKV_OK)
        return ENGINE_OK;
    return status == PMKV_E_NOT_FOUND ? ENGINE_MISSING : failed(status);
}

static enum engine_status del(void *session, const void *key, size_t key_bytes)
{
    struct session *s = session;
    enum pmkv_status status = pmkv_delete(s->kv, key, key_bytes);
    if (status == PMKV_OK)
        return ENGINE_OK;
    return status == PMKV_E_NOT_FOUND ? ENGINE_MISSING : failed(status);
}

static enum engine_status get_many(void *session, struct engine_read *reads, unsigned count,
                                   size_t key_bytes)
{
    struct session *s = session;
    if (count > READS_MAX)
        return engine_fail("%u reads in a call, %d at most", count, READS_MAX);
    for (unsigned i = 0; i < count; i++)
        s->reads[i] = (struct pmkv_read){.key = reads[i].key,
                                         .key_bytes = key_bytes,
                                         .buffer = reads[i].value,
                                         .buffer_bytes = reads[i].value_bytes};
    enum pmkv_status status = pmkv_get_many(s->kv, s->reads, count);
    if (status != PMKV_OK)
        return failed(status);
    for (unsigned i = 0; i < count; i++) {
        status = s->reads[i].status;
        if (status != PMKV_OK && status != PMKV_E_NOT_FOUND)
            return failed(status);
        reads[i].status = status == PMKV_OK ? ENGINE_OK : ENGINE_MISSING;
        reads[i].value_bytes = s->reads[i].value_bytes;
    }
    return ENGINE_OK;
}

static enum engine_status write_batch(void *session, const struct engine_write *puts,
                                      unsigned count, size_t key_bytes, size_t value_bytes)
{
    struct session *s = session;
    enum pmkv_status status = PMKV_OK;
    pmkv_batch_clear(s->batch);
    for (unsigned i = 0; status == PMKV_OK && i < count; i++)
        status = pmkv_batch_put(s->batch, puts[i].key, key_bytes, puts[i].value, value_bytes);
    if (status == PMKV_OK)
        status = pmkv_write(s->kv, s->batch);
    return status == PMKV_OK ? ENGINE_OK : failed(status);
}

static enum engine_status seek(void *session, const void *key, size_t key_bytes, unsigned count,
                               engine_visit_fn visit, void *arg, unsigned *seen)
{
    struct pmkv_iter *iter = ((struct session *)session)->iter;
    enum pmkv_status status = pmkv_iter_seek(iter, key, key_bytes);
    const struct pmkv_item *item;
    *seen = 0;
    while (status == PMKV_OK && (item = pmkv_iter_item(iter)) != NULL) {
        if (item->status != PMKV_OK)
            return failed(item->status);
        visit(arg, item->key, item->key_bytes, item->value, item->value_bytes);
        if (++*seen == count)
            break;
        status = pmkv_iter_next(iter);
    }
    return status == PMKV_OK ? ENGINE_OK : failed(status);
}

static void figures(void *db, struct engine_figures *out)
{
    struct pmkv_stats stats;
    struct pmkv_info info;
    struct pmkv_health health;
    if (pmkv_stats(db, &stats) != PMKV_OK || pmkv_info(db, &info) != PMKV_OK ||
        pmkv_health(db, &health) != PMKV_OK)
        return;
    out->media_bytes = stats.media_bytes_written;
    out->fences = stats.fences;
    out->index_bytes = stats.index_bytes;
    out->pool_bytes = info.pool_bytes;
    /* stats.free_bytes is room for records: less than a free segment takes of the medium. */
    out->used_bytes = info.pool_bytes - info.pool_bytes / info.segment_count * stats.segments_free;
    out->keys = stats.keys;
    out->live_bytes = stats.live_bytes;
    out->room_bytes = stats.live_bytes + stats.dead_bytes + stats.free_bytes;
    out->faults = stats.faults;
    out->check_failures = stats.check_failures;
    out->rebuilt = stats.reads_rebuilt;
    out->repaired = health.pages_repaired;
    out->pending = health.pages_pending;
    out->lost = health.records_lost;
}

static enum engine_status scrub(void *db, uint64_t bytes_per_s, bool wait)
{
    struct pmkv_scan scan;
    enum pmkv_status status = pmkv_scrub_start(db, bytes_per_s);
    if (status == PMKV_OK && wait)
        status = pmkv_scrub_wait(db, NULL, NULL);
    if (status == PMKV_OK && wait)
        status = pmkv_scrub_status(db, &scan);
    if (status != PMKV_OK)
        return failed(status);
    if (wait && (scan.state != PMKV_SCAN_FINISHED || scan.bad_pages > 0))
        return engine_fail("the scrub found %llu bad pages", (unsigned long long)scan.bad_pages);
    return ENGINE_OK;
}

static enum engine_status pack(void *db)
{
    enum pmkv_status status = pmkv_pack(db, NULL, NULL);
    return status == PMKV_OK ? ENGINE_OK : failed(status);
}

/* Flips and garbage hit one line; poison takes the page. */
static enum engine_status inject(void *db, enum pmkv_inject_kind kind, const void *key,
                                 size_t key_bytes, uint64_t seed)
{
    struct pmkv_inject spec = {.size = sizeof spec,
                               .kind = kind,
                               .target = PMKV_INJECT_AT_KEY,
                               .unit_bytes = kind == PMKV_INJECT_POISON ? 4096 : 64,
                               .key = key,
                               .key_bytes = key_bytes,
                               .seed = seed,
                               .count = 1};
    enum pmkv_status status = pmkv_inject(db, &spec, NULL);
    if (status == PMKV_OK)
        return ENGINE_OK;
    return status == PMKV_E_NOT_FOUND ? ENGINE_MISSING : failed(status);
}

#define PMKV_ENGINE                                                                                \
    .durable = "always: one fence (files: a shared fdatasync); redundancy and checksums included", \
    .survives_kill = true, .version = pmkv_version, .close = pmkv_engine_close, .end = end,        \
    .put = put, .get = get, .del = del, .get_many = get_many, .write = write_batch,                \
    .scrub = scrub, .pack = pack, .figures = figures, .inject = inject

const struct engine engine_pmkv = {
    PMKV_ENGINE,
    .name = "pmkv",
    .open = open_hashed,
    .begin = begin_hashed,
};

/* The same, which keeps its keys in order too. */
const struct engine engine_pmkv_ordered = {
    PMKV_ENGINE, .name = "pmkv-ordered", .open = open_ordered, .begin = begin_ordered, .seek = seek,
};
