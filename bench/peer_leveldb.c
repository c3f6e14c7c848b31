/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* LevelDB through its C interface. */
#include "engine.h"

#include <leveldb/c.h>
#include <stdio.h>
#include <stdlib.h>

struct db {
    leveldb_t *db;
    leveldb_options_t *options;
    leveldb_filterpolicy_t *bloom;
    leveldb_readoptions_t *read;
    leveldb_writeoptions_t *write;
};

#define LSM(name) leveldb_##name
#include "peer_lsm.h"

static void release(struct db *db)
{
    if (db->db)
        leveldb_close(db->db);
    leveldb_options_destroy(db->options);
    leveldb_filterpolicy_destroy(db->bloom);
    leveldb_readoptions_destroy(db->read);
    leveldb_writeoptions_destroy(db->write);
    free(db);
}

static void *level_open(const struct engine_setup *setup)
{
    struct db *db = calloc(1, sizeof *db);
    char *error = NULL;
    if (!db)
        return NULL;
    db->options = leveldb_options_create();
    db->bloom = leveldb_filterpolicy_create_bloom(10);
    db->read = leveldb_readoptions_create();
    db->write = leveldb_writeoptions_create();
    leveldb_options_set_create_if_missing(db->options, 1);
    leveldb_options_set_filter_policy(db->options, db->bloom);
    leveldb_options_set_compression(db->options, leveldb_no_compression);
    leveldb_readoptions_set_verify_checksums(db->read, 1);
    leveldb_writeoptions_set_sync(db->write, 1);
    db->db = leveldb_open(db->options, setup->path, &error);
    if (!error)
        return db;
    failed(error);
    release(db);
    return NULL;
}

static bool level_close(void *db)
{
    release(db);
    return true;
}

static enum engine_status get(void *session, const void *key, size_t key_bytes, void *value,
                              size_t *value_bytes)
{
    struct db *db = session;
    char *error = NULL;
    size_t bytes = 0;
    char *found = leveldb_get(db->db, db->read, key, key_bytes, &bytes, &error);
    if (error)
        return failed(error);
    if (!found)
        return ENGINE_MISSING;
    enum engine_status status = engine_copy_out(value, value_bytes, found, bytes);
    leveldb_free(found);
    return status;
}

static const char *version(void)
{
    static char text[24];
    snprintf(text, sizeof text, "%d.%d", leveldb_major_version(), leveldb_minor_version());
    return text;
}

const struct engine peer_leveldb = {
    .name = "leveldb",
    .durable = "sync=true: every write is synchronised; reads verify checksums",
    .directory = true,
    .writes_by_calls = true,
    .survives_kill = true,
    .version = version,
    .open = level_open,
    .close = level_close,
    .put = put,
    .get = get,
    .del = del,
    .write = write_batch,
    .seek = seek,
};
