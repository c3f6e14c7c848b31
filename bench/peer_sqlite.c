/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* SQLite: a B+tree in a file with a write-ahead log; a connection a thread, one writer at a time.
 */
#include "engine.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUSY_MS = 60 * 1000 };

struct db {
    char file[4096];
    sqlite3 *sql; /* holds the files open between the sessions */
};

enum statement { PUT, GET, DEL, SEEK, BEGIN, COMMIT, STATEMENTS };
static const char *const texts[STATEMENTS] = {
    [PUT] = "INSERT OR REPLACE INTO kv VALUES (?1, ?2)",
    [GET] = "SELECT v FROM kv WHERE k = ?1",
    [DEL] = "DELETE FROM kv WHERE k = ?1",
    [SEEK] = "SELECT k, v FROM kv WHERE k >= ?1 ORDER BY k LIMIT ?2",
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
};
struct session {
    sqlite3 *sql;
    sqlite3_stmt *statement[STATEMENTS];
};

static enum engine_status failed(sqlite3 *sql)
{
    return engine_fail("%s", sql ? sqlite3_errmsg(sql) : "no memory");
}

/* NULL after engine_fail. The settings of a connection are its own, but for the WAL mode. */
static sqlite3 *connect(const char *file)
{
    sqlite3 *sql = NULL;
    if (sqlite3_open_v2(file, &sql,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX,
                        NULL) == SQLITE_OK &&
        sqlite3_busy_timeout(sql, BUSY_MS) == SQLITE_OK &&
        sqlite3_exec(sql, "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL", NULL, NULL,
                     NULL) == SQLITE_OK)
        return sql;
    failed(sql);
    sqlite3_close(sql);
    return NULL;
}

static void *open_db(const struct engine_setup *setup)
{
    struct db *db = calloc(1, sizeof *db);
    if (!db)
        return NULL;
    snprintf(db->file, sizeof db->file, "%s/db", setup->path);
    db->sql = connect(db->file);
    if (db->sql &&
        sqlite3_exec(db->sql,
                     "CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB) WITHOUT ROWID",
                     NULL, NULL, NULL) == SQLITE_OK)
        return db;
    if (db->sql)
        failed(db->sql);
    sqlite3_close(db->sql);
    free(db);
    return NULL;
}

static bool close_db(void *arg)
{
    struct db *db = arg;
    bool good = sqlite3_close(db->sql) == SQLITE_OK;
    if (!good)
        failed(db->sql);
    free(db);
    return good;
}

static void end(void *session)
{
    struct session *s = session;
    for (unsigned i = 0; i < STATEMENTS; i++)
        sqlite3_finalize(s->statement[i]);
    sqlite3_close(s->sql);
    free(s);
}

static void *begin(void *arg)
{
    struct db *db = arg;
    struct session *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    s->sql = connect(db->file);
    for (unsigned i = 0; s->sql && i < STATEMENTS; i++)
        if (sqlite3_prepare_v3(s->sql, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statement[i],
                               NULL) != SQLITE_OK) {
            failed(s->sql);
            end(s);
            return NULL;
        }
    if (!s->sql) {
        free(s);
        return NULL;
    }
    return s;
}

/* Runs a statement without rows. */
static enum engine_status run(struct session *s, enum statement which)
{
    sqlite3_stmt *stmt = s->statement[which];
    enum engine_status status = sqlite3_step(stmt) == SQLITE_DONE ? ENGINE_OK : failed(s->sql);
    sqlite3_reset(stmt);
    return status;
}

static void bind(sqlite3_stmt *stmt, int at, const void *bytes, size_t count)
{
    sqlite3_bind_blob64(stmt, at, bytes, count, SQLITE_STATIC);
}

/* In a transaction of its own, unless one is open. */
static enum engine_status put(void *session, const void *key, size_t key_bytes, const void *value,
                              size_t value_bytes)
{
    struct session *s = session;
    bind(s->statement[PUT], 1, key, key_bytes);
    bind(s->statement[PUT], 2, value, value_bytes);
    return run(s, PUT);
}

static enum engine_status write_batch(void *session, const struct engine_write *puts,
                                      unsigned count, size_t key_bytes, size_t value_bytes)
{
    struct session *s = session;
    enum engine_status status = run(s, BEGIN);
    if (status != ENGINE_OK)
        return status;
    for (unsigned i = 0; status == ENGINE_OK && i < count; i++)
        status = put(s, puts[i].key, key_bytes, puts[i].value, value_bytes);
    if (status == ENGINE_OK)
        status = run(s, COMMIT);
    if (status != ENGINE_OK && !sqlite3_get_autocommit(s->sql))
        sqlite3_exec(s->sql, "ROLLBACK", NULL, NULL, NULL);
    return status;
}

static enum engine_status get(void *session, const void *key, size_t key_bytes, void *value,
                              size_t *value_bytes)
{
    struct session *s = session;
    sqlite3_stmt *stmt = s->statement[GET];
    bind(stmt, 1, key, key_bytes);
    int rc = sqlite3_step(stmt);
    enum engine_status status =
        rc == SQLITE_DONE  ? ENGINE_MISSING
        : rc == SQLITE_ROW ? engine_copy_out(value, value_bytes, sqlite3_column_blob(stmt, 0),
                                             (size_t)sqlite3_column_bytes(stmt, 0))
                           : failed(s->sql);
    sqlite3_reset(stmt);
    return status;
}

static enum engine_status del(void *session, const void *key, size_t key_bytes)
{
    struct session *s = session;
    bind(s->statement[DEL], 1, key, key_bytes);
    enum engine_status status = run(s, DEL);
    return status == ENGINE_OK && sqlite3_changes(s->sql) == 0 ? ENGINE_MISSING : status;
}

static enum engine_status seek(void *session, const void *key, size_t key_bytes, unsigned count,
                               engine_visit_fn visit, void *arg, unsigned *seen)
{
    struct session *s = session;
    sqlite3_stmt *stmt = s->statement[SEEK];
    int rc;
    bind(stmt, 1, key, key_bytes);
    sqlite3_bind_int64(stmt, 2, count);
    for (*seen = 0; (rc = sqlite3_step(stmt)) == SQLITE_ROW; ++*seen)
        visit(arg, sqlite3_column_blob(stmt, 0), (size_t)sqlite3_column_bytes(stmt, 0),
              sqlite3_column_blob(stmt, 1), (size_t)sqlite3_column_bytes(stmt, 1));
    enum engine_status status = rc == SQLITE_DONE ? ENGINE_OK : failed(s->sql);
    sqlite3_reset(stmt);
    return status;
}

static const char *version(void)
{
    return sqlite3_libversion();
}

const struct engine peer_sqlite = {
    .name = "sqlite",
    .durable = "WAL, synchronous=FULL: the log is synchronised at every commit",
    .directory = true,
    .writes_by_calls = true,
    .survives_kill = true,
    .version = version,
    .open = open_db,
    .close = close_db,
    .begin = begin,
    .end = end,
    .put = put,
    .get = get,
    .del = del,
    .write = write_batch,
    .seek = seek,
};
