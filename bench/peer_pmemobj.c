/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A persistent hash map on libpmemobj, as a C programmer would write it with PMDK: chained buckets,
 * one transaction an update, a lock for each stripe of buckets. Entries are never changed in place.
 *
 * It has what PMDK gives: atomic updates, flushed lines. It has no checksums and no redundancy, and
 * a poisoned page kills the process.
 */
#include "engine.h"

#include <libpmemobj.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum { STRIPES = 1024, TYPE_ENTRY = 1, TYPE_BUCKETS = 2 };

struct entry {
    PMEMoid next;
    uint32_t key_bytes, value_bytes;
    char bytes[]; /* key, value */
};

struct root {
    uint64_t bucket_count;
    PMEMoid buckets; /* array of PMEMoid */
};

struct db {
    PMEMobjpool *pool;
    PMEMoid *buckets;
    uint64_t bucket_count;
    pthread_rwlock_t stripes[STRIPES];
};

static enum engine_status failed(const char *what)
{
    return engine_fail("%s: %s", what, pmemobj_errormsg());
}

/* The buckets, made when the pool is new. */
static bool find_buckets(struct db *db, uint64_t wanted)
{
    PMEMoid root_oid = pmemobj_root(db->pool, sizeof(struct root));
    struct root *root = pmemobj_direct(root_oid);
    if (!root)
        return false;
    if (OID_IS_NULL(root->buckets)) {
        if (pmemobj_zalloc(db->pool, &root->buckets, wanted * sizeof(PMEMoid), TYPE_BUCKETS) != 0)
            return false;
        root->bucket_count = wanted;
        pmemobj_persist(db->pool, &root->bucket_count, sizeof root->bucket_count);
    }
    db->buckets = pmemobj_direct(root->buckets);
    db->bucket_count = root->bucket_count;
    return true;
}

static size_t pool_bytes(const struct engine_setup *setup)
{
    size_t entry = (sizeof(struct entry) + setup->key_bytes + setup->value_bytes + 127) & ~63ull;
    return ((size_t)setup->num * (2 * entry + 3 * sizeof(PMEMoid)) + (64u << 20)) & ~4095ull;
}

static void *pmemobj_engine_open(const struct engine_setup *setup)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/data.obj", setup->path);
    if (setup->flush_line) { /* else libpmemobj calls msync on what is no DAX */
        setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
        setenv("PMEM_IS_PMEM_FORCE", "1", 1);
    }
    struct db *db = calloc(1, sizeof *db);
    if (!db)
        return NULL;
    db->pool = setup->create ? pmemobj_create(path, "pmkv-bench", pool_bytes(setup), 0600)
                             : pmemobj_open(path, "pmkv-bench");
    if (!db->pool || !find_buckets(db, setup->num * 3 / 2 + 1)) {
        failed(setup->create ? "create" : "open");
        if (db->pool)
            pmemobj_close(db->pool);
        free(db);
        return NULL;
    }
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_rwlock_init(&db->stripes[i], NULL);
    return db;
}

static bool pmemobj_engine_close(void *arg)
{
    struct db *db = arg;
    pmemobj_close(db->pool);
    for (unsigned i = 0; i < STRIPES; i++)
        pthread_rwlock_destroy(&db->stripes[i]);
    free(db);
    return true;
}

static PMEMoid *bucket_of(struct db *db, const void *key, size_t key_bytes,
                          pthread_rwlock_t **stripe)
{
    uint64_t at = XXH3_64bits(key, key_bytes) % db->bucket_count;
    *stripe = &db->stripes[at % STRIPES];
    return &db->buckets[at];
}

/* Where the link to the key's entry stands, or the null link that ends the chain. */
static PMEMoid *find(PMEMoid *link, const void *key, size_t key_bytes, struct entry **out)
{
    struct entry *e;
    while ((e = pmemobj_direct(*link)) != NULL) {
        if (e->key_bytes == key_bytes && memcmp(e->bytes, key, key_bytes) == 0)
            break;
        link = &e->next;
    }
    *out = e;
    return link;
}

/* In a transaction: a new entry takes the place of `old`. An error aborts the transaction. */
static void replace(PMEMoid *link, struct entry *old, const void *key, size_t key_bytes,
                    const void *value, size_t value_bytes)
{
    PMEMoid oid = pmemobj_tx_alloc(sizeof(struct entry) + key_bytes + value_bytes, TYPE_ENTRY);
    struct entry *e = pmemobj_direct(oid);
    if (!e)
        return;
    e->next = old ? old->next : OID_NULL;
    e->key_bytes = (uint32_t)key_bytes;
    e->value_bytes = (uint32_t)value_bytes;
    memcpy(e->bytes, key, key_bytes);
    memcpy(e->bytes + key_bytes, value, value_bytes);
    if (pmemobj_tx_add_range_direct(link, sizeof *link) != 0)
        return;
    if (old && pmemobj_tx_free(*link) != 0)
        return;
    *link = oid;
    pmemobj_tx_commit();
}

static enum engine_status put(void *session, const void *key, size_t key_bytes, const void *value,
                              size_t value_bytes)
{
    struct db *db = session;
    pthread_rwlock_t *stripe;
    struct entry *old;
    PMEMoid *link = bucket_of(db, key, key_bytes, &stripe);
    pthread_rwlock_wrlock(stripe);
    link = find(link, key, key_bytes, &old);
    int rc = pmemobj_tx_begin(db->pool, NULL, TX_PARAM_NONE);
    if (rc == 0)
        replace(link, old, key, key_bytes, value, value_bytes);
    rc = pmemobj_tx_end();
    pthread_rwlock_unlock(stripe);
    return rc == 0 ? ENGINE_OK : failed("put");
}

static enum engine_status del(void *session, const void *key, size_t key_bytes)
{
    struct db *db = session;
    pthread_rwlock_t *stripe;
    struct entry *old;
    PMEMoid *link = bucket_of(db, key, key_bytes, &stripe);
    pthread_rwlock_wrlock(stripe);
    link = find(link, key, key_bytes, &old);
    int rc = 0;
    if (old) {
        PMEMoid oid = *link;
        rc = pmemobj_tx_begin(db->pool, NULL, TX_PARAM_NONE);
        if (rc == 0 && pmemobj_tx_add_range_direct(link, sizeof *link) == 0) {
            *link = old->next;
            if (pmemobj_tx_free(oid) == 0)
                pmemobj_tx_commit();
        }
        rc = pmemobj_tx_end();
    }
    pthread_rwlock_unlock(stripe);
    return !old ? ENGINE_MISSING : rc == 0 ? ENGINE_OK : failed("delete");
}

static enum engine_status get(void *session, const void *key, size_t key_bytes, void *value,
                              size_t *value_bytes)
{
    struct db *db = session;
    pthread_rwlock_t *stripe;
    struct entry *e;
    PMEMoid *link = bucket_of(db, key, key_bytes, &stripe);
    enum engine_status status = ENGINE_MISSING;
    pthread_rwlock_rdlock(stripe);
    find(link, key, key_bytes, &e);
    if (e)
        status = engine_copy_out(value, value_bytes, e->bytes + key_bytes, e->value_bytes);
    pthread_rwlock_unlock(stripe);
    return status;
}

static const char *version(void)
{
    return PMKV_BENCH_PMEMOBJ;
}

const struct engine peer_pmemobj = {
    .name = "pmemobj",
    .durable = "one libpmemobj transaction an update; no checksums, no redundancy",
    .directory = true,
    .survives_kill = true,
    .version = version,
    .open = pmemobj_engine_open,
    .close = pmemobj_engine_close,
    .put = put,
    .get = get,
    .del = del,
};
