/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* LMDB: a B+tree of copied pages, one writer, readers without locks. */
#include "engine.h"

#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>

struct db {
    MDB_env *env;
    MDB_dbi dbi;
};

/* A reader's transaction is kept and renewed, as LMDB's manual advises for threads. */
struct session {
    struct db *db;
    MDB_txn *reader;
};

static enum engine_status failed(const char *what, int rc)
{
    return engine_fail("%s: %s", what, mdb_strerror(rc));
}

static void *lmdb_open(const struct engine_setup *setup)
{
    struct db *db = calloc(1, sizeof *db);
    MDB_txn *txn = NULL;
    if (!db)
        return NULL;
    int rc = mdb_env_create(&db->env);
    size_t map = (size_t)setup->num * (setup->key_bytes + setup->value_bytes + 128) * 6;
    if (rc == 0)
        rc = mdb_env_set_mapsize(db->env, (map | ((1u << 20) - 1)) + 1 + (1ull << 30));
    if (rc == 0)
        rc = mdb_env_set_maxreaders(db->env, setup->threads + 64);
    if (rc == 0) /* default flags: a commit is synchronised */
        rc = mdb_env_open(db->env, setup->path, MDB_NOTLS, 0600);
    if (rc == 0)
        rc = mdb_txn_begin(db->env, NULL, 0, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, NULL, 0, &db->dbi);
    if (rc == 0) {
        rc = mdb_txn_commit(txn);
        txn = NULL;
    }
    if (rc == 0)
        return db;
    failed("open", rc);
    if (txn)
        mdb_txn_abort(txn);
    mdb_env_close(db->env);
    free(db);
    return NULL;
}

static bool lmdb_close(void *arg)
{
    struct db *db = arg;
    mdb_env_close(db->env);
    free(db);
    return true;
}

static void *begin(void *arg)
{
    struct db *db = arg;
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->db = db;
    if (mdb_txn_begin(db->env, NULL, MDB_RDONLY, &s->reader) != 0) {
        free(s);
        return NULL;
    }
    mdb_txn_reset(s->reader);
    return s;
}

static void end(void *session)
{
    struct session *s = session;
    mdb_txn_abort(s->reader);
    free(s);
}

static enum engine_status write_batch(void *session, const struct engine_write *puts,
                                      unsigned count, size_t key_bytes, size_t value_bytes)
{
    struct session *s = session;
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->db->env, NULL, 0, &txn);
    if (rc != 0)
        return failed("begin", rc);
    for (unsigned i = 0; rc == 0 && i < count; i++) {
        MDB_val k = {key_bytes, (void *)(uintptr_t)puts[i].key};
        MDB_val v = {value_bytes, (void *)(uintptr_t)puts[i].value};
        rc = mdb_put(txn, s->db->dbi, &k, &v, 0);
    }
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    return rc == 0 ? ENGINE_OK : failed("put", rc);
}

static enum engine_status put(void *session, const void *key, size_t key_bytes, const void *value,
                              size_t value_bytes)
{
    struct engine_write one = {key, value};
    return write_batch(session, &one, 1, key_bytes, value_bytes);
}

static enum engine_status get(void *session, const void *key, size_t key_bytes, void *value,
                              size_t *value_bytes)
{
    struct session *s = session;
    MDB_val k = {key_bytes, (void *)(uintptr_t)key}, v;
    int rc = mdb_txn_renew(s->reader);
    if (rc != 0)
        return failed("renew", rc);
    rc = mdb_get(s->reader, s->db->dbi, &k, &v);
    enum engine_status status = rc == 0 ? engine_copy_out(value, value_bytes, v.mv_data, v.mv_size)
                                : rc == MDB_NOTFOUND ? ENGINE_MISSING
                                                     : failed("get", rc);
    mdb_txn_reset(s->reader);
    return status;
}

static enum engine_status del(void *session, const void *key, size_t key_bytes)
{
    struct session *s = session;
    MDB_val k = {key_bytes, (void *)(uintptr_t)key};
    MDB_txn *txn;
    int rc = mdb_txn_begin(s->db->env, NULL, 0, &txn);
    if (rc != 0)
        return failed("begin", rc);
    rc = mdb_del(txn, s->db->dbi, &k, NULL);
    if (rc == 0)
        rc = mdb_txn_commit(txn);
    else
        mdb_txn_abort(txn);
    return rc == 0 ? ENGINE_OK : rc == MDB_NOTFOUND ? ENGINE_MISSING : failed("delete", rc);
}

static enum engine_status seek(void *session, const void *key, size_t key_bytes, unsigned count,
                               engine_visit_fn visit, void *arg, unsigned *seen)
{
    struct session *s = session;
    MDB_val k = {key_bytes, (void *)(uintptr_t)key}, v;
    MDB_cursor *cursor;
    int rc = mdb_txn_renew(s->reader);
    if (rc != 0)
        return failed("renew", rc);
    rc = mdb_cursor_open(s->reader, s->db->dbi, &cursor);
    if (rc != 0) {
        mdb_txn_reset(s->reader);
        return failed("cursor", rc);
    }
    *seen = 0;
    rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
    while (rc == 0) {
        visit(arg, k.mv_data, k.mv_size, v.mv_data, v.mv_size);
        if (++*seen == count)
            break;
        rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
    }
    mdb_cursor_close(cursor);
    mdb_txn_reset(s->reader);
    return rc == 0 || rc == MDB_NOTFOUND ? ENGINE_OK : failed("cursor", rc);
}

static void figures(void *arg, struct engine_figures *out)
{
    struct db *db = arg;
    MDB_stat stat;
    if (mdb_env_stat(db->env, &stat) == 0)
        out->keys = stat.ms_entries;
}

static const char *version(void)
{
    return PMKV_BENCH_LMDB;
}

const struct engine peer_lmdb = {
    .name = "lmdb",
    .durable = "default flags: every commit is synchronised (fdatasync)",
    .directory = true,
    .writes_by_calls = true,
    .survives_kill = true,
    .version = version,
    .open = lmdb_open,
    .close = lmdb_close,
    .begin = begin,
    .end = end,
    .put = put,
    .get = get,
    .del = del,
    .write = write_batch,
    .seek = seek,
    .figures = figures,
};
