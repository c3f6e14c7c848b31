/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "engine.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* A peer is built in when its library was there: bench.cmake. */
static const struct {
    const char *name;
    const struct engine *engine;
} engines[] = {
    {"pmkv", &engine_pmkv},     {"pmkv-ordered", &engine_pmkv_ordered},
#ifdef PMKV_BENCH_LMDB
    {"lmdb", &peer_lmdb},
#else
    {"lmdb", NULL},
#endif
#ifdef PMKV_BENCH_ROCKSDB
    {"rocksdb", &peer_rocksdb},
#else
    {"rocksdb", NULL},
#endif
#ifdef PMKV_BENCH_LEVELDB
    {"leveldb", &peer_leveldb},
#else
    {"leveldb", NULL},
#endif
#ifdef PMKV_BENCH_TKRZW
    {"tkrzw", &peer_tkrzw},
#else
    {"tkrzw", NULL},
#endif
#ifdef PMKV_BENCH_SQLITE
    {"sqlite", &peer_sqlite},
#else
    {"sqlite", NULL},
#endif
#ifdef PMKV_BENCH_PMEMOBJ
    {"pmemobj", &peer_pmemobj},
#else
    {"pmemobj", NULL},
#endif
    {"limit", &engine_limit},
};
enum { ENGINES = sizeof engines / sizeof *engines };

static _Thread_local char failure[256];

const struct engine *engine_find(const char *name, bool *missing)
{
    for (unsigned i = 0; i < ENGINES; i++) {
        if (strcmp(engines[i].name, name) != 0)
            continue;
        *missing = engines[i].engine == NULL;
        return engines[i].engine;
    }
    *missing = false;
    return NULL;
}

const char *engine_name(unsigned i)
{
    for (unsigned k = 0; k < ENGINES; k++)
        if (engines[k].engine && i-- == 0)
            return engines[k].name;
    return NULL;
}

enum engine_status engine_fail(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(failure, sizeof failure, format, args);
    va_end(args);
    return ENGINE_FAILED;
}

const char *engine_failure(void)
{
    return failure;
}

enum engine_status engine_copy_out(void *to, size_t *bytes, const void *from, size_t from_bytes)
{
    if (from_bytes > *bytes)
        return engine_fail("a value of %zu bytes, room for %zu", from_bytes, *bytes);
    memcpy(to, from, from_bytes);
    *bytes = from_bytes;
    return ENGINE_OK;
}
