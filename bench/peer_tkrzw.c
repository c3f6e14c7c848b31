/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Tkrzw's HashDBM through its C interface. It has no synchronised update: each write is followed by
 * a synchronisation, which waits for all other users of the database.
 */
#include "engine.h"

#include <stdio.h>
#include <stdlib.h>
#include <tkrzw_langc.h>

static enum engine_status failed(const char *what)
{
    return engine_fail("%s: %s: %s", what, tkrzw_status_code_name(tkrzw_get_last_status_code()),
                       tkrzw_get_last_status_message());
}

static enum engine_status missing_or_failed(const char *what)
{
    return tkrzw_get_last_status_code() == TKRZW_STATUS_NOT_FOUND_ERROR ? ENGINE_MISSING
                                                                        : failed(what);
}

static void *tkrzw_engine_open(const struct engine_setup *setup)
{
    char path[4096], parameters[256];
    snprintf(path, sizeof path, "%s/data.tkh", setup->path);
    snprintf(parameters, sizeof parameters,
             "dbm=HashDBM,file=PositionalParallelFile,update_mode=UPDATE_APPENDING,"
             "record_crc_mode=RECORD_CRC_32,num_buckets=%llu",
             (unsigned long long)(setup->num * 2 + 1));
    TkrzwDBM *db = tkrzw_dbm_open(path, true, parameters);
    if (!db)
        failed("open");
    return db;
}

static bool tkrzw_engine_close(void *db)
{
    bool good = tkrzw_dbm_close(db);
    if (!good)
        failed("close");
    return good;
}

static enum engine_status synchronise(TkrzwDBM *db)
{
    return tkrzw_dbm_synchronize(db, true, NULL, NULL, "") ? ENGINE_OK : failed("synchronize");
}

static enum engine_status put(void *session, const void *key, size_t key_bytes, const void *value,
                              size_t value_bytes)
{
    if (!tkrzw_dbm_set(session, key, (int32_t)key_bytes, value, (int32_t)value_bytes, true))
        return failed("set");
    return synchronise(session);
}

static enum engine_status get(void *session, const void *key, size_t key_bytes, void *value,
                              size_t *value_bytes)
{
    int32_t bytes = 0;
    char *found = tkrzw_dbm_get(session, key, (int32_t)key_bytes, &bytes);
    if (!found)
        return missing_or_failed("get");
    enum engine_status status = engine_copy_out(value, value_bytes, found, (size_t)bytes);
    free(found);
    return status;
}

static enum engine_status del(void *session, const void *key, size_t key_bytes)
{
    if (!tkrzw_dbm_remove(session, key, (int32_t)key_bytes))
        return missing_or_failed("remove");
    return synchronise(session);
}

static void figures(void *db, struct engine_figures *out)
{
    int64_t count = tkrzw_dbm_count(db);
    if (count >= 0)
        out->keys = (uint64_t)count;
}

static const char *version(void)
{
    return TKRZW_PACKAGE_VERSION;
}

const struct engine peer_tkrzw = {
    .name = "tkrzw",
    .durable = "HashDBM, Synchronize(hard) after every update; records have a CRC-32",
    .directory = true,
    .writes_by_calls = true,
    .survives_kill = true,
    .version = version,
    .open = tkrzw_engine_open,
    .close = tkrzw_engine_close,
    .put = put,
    .get = get,
    .del = del,
    .figures = figures,
};
