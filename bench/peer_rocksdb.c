/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* RocksDB through its C interface. */
#include "engine.h"

#include <rocksdb/c.h>
#include <stdlib.h>

enum { READS_MAX = 256 };

struct db {
    rocksdb_t *db;
    rocksdb_options_t *options;
    rocksdb_block_based_table_options_t *table;
    rocksdb_readoptions_t *read;
    rocksdb_writeoptions_t *write;
};

#define LSM(name) rocksdb_##name
#include "peer_lsm.h"

static void release(struct db *db)
{
    if (db->db)
        rocksdb_close(db->db);
    rocksdb_options_destroy(db->options);
    rocksdb_block_based_options_destroy(db->table);
    rocksdb_readoptions_destroy(db->read);
    rocksdb_writeoptions_destroy(db->write);
    free(db);
}

static void *rocks_open(const struct engine_setup *setup)
{
    struct db *db = calloc(1, sizeof *db);
    char *error = NULL;
    if (!db)
        return NULL;
    db->options = rocksdb_options_create();
    db->table = rocksdb_block_based_options_create();
    db->read = rocksdb_readoptions_create();
    db->write = rocksdb_writeoptions_create();
    rocksdb_options_set_create_if_missing(db->options, 1);
    rocksdb_options_set_compression(db->options, rocksdb_no_compression);
    rocksdb_options_increase_parallelism(db->options, 2);
    rocksdb_block_based_options_set_filter_policy(db->table, rocksdb_filterpolicy_create_bloom(10));
    rocksdb_options_set_block_based_table_factory(db->options, db->table);
    rocksdb_writeoptions_set_sync(db->write, 1);
    db->db = rocksdb_open(db->options, setup->path, &error);
    if (!error)
        return db;
    failed(error);
    release(db);
    return NULL;
}

static bool rocks_close(void *db)
{
    release(db);
    return true;
}

static enum engine_status get(void *session, const void *key, size_t key_bytes, void *value,
                              size_t *value_bytes)
{
    struct db *db = session;
    char *error = NULL;
    rocksdb_pinnableslice_t *found = rocksdb_get_pinned(db->db, db->read, key, key_bytes, &error);
    if (error)
        return failed(error);
    if (!found)
        return ENGINE_MISSING;
    size_t bytes;
    const char *at = rocksdb_pinnableslice_value(found, &bytes);
    enum engine_status status = engine_copy_out(value, value_bytes, at, bytes);
    rocksdb_pinnableslice_destroy(found);
    return status;
}

static enum engine_status take_read(struct engine_read *read, char *value, size_t bytes,
                                    char *error)
{
    read->status = ENGINE_MISSING;
    if (error)
        return read->status = failed(error);
    if (value)
        read->status = engine_copy_out(read->value, &read->value_bytes, value, bytes);
    rocksdb_free(value);
    return read->status;
}

static enum engine_status get_many(void *session, struct engine_read *reads, unsigned count,
                                   size_t key_bytes)
{
    struct db *db = session;
    const char *keys[READS_MAX] = {0};
    size_t lengths[READS_MAX] = {0}, bytes[READS_MAX];
    char *values[READS_MAX], *errors[READS_MAX];
    if (count == 0 || count > READS_MAX)
        return engine_fail("%u reads in a call, %d at most", count, READS_MAX);
    for (unsigned i = 0; i < count; i++) {
        keys[i] = reads[i].key;
        lengths[i] = key_bytes;
    }
    rocksdb_multi_get(db->db, db->read, count, keys, lengths, values, bytes, errors);
    enum engine_status status = ENGINE_OK;
    for (unsigned i = 0; i < count; i++)
        if (take_read(&reads[i], values[i], bytes[i], errors[i]) == ENGINE_FAILED)
            status = ENGINE_FAILED;
    return status;
}

static const char *version(void)
{
    return PMKV_BENCH_ROCKSDB;
}

const struct engine peer_rocksdb = {
    .name = "rocksdb",
    .durable = "sync=true: every write is synchronised; reads verify checksums (default)",
    .directory = true,
    .writes_by_calls = true,
    .survives_kill = true,
    .version = version,
    .open = rocks_open,
    .close = rocks_close,
    .put = put,
    .get = get,
    .del = del,
    .get_many = get_many,
    .write = write_batch,
    .seek = seek,
};
