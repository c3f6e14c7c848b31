/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "pool.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "clock.h"

static bool pool_failed(const char *what, const struct bench_pool *pool, enum pmkv_status status)
{
    fprintf(stderr, "pmkv-bench: %s %s: %s: %s\n", what, pool->opts->pool_path,
            pmkv_status_name(status), pmkv_errormsg());
    return false;
}

/* A pool is gigabytes of memory: do not leave it there when the run is interrupted. */
static const char *path_to_remove;

static void on_interrupt(int signal_number)
{
    if (path_to_remove)
        unlink(path_to_remove);
    _exit(128 + signal_number);
}

static void remove_when_interrupted(const char *path)
{
    path_to_remove = path;
    struct sigaction action = {.sa_handler = on_interrupt};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* --force replaces pools, damaged ones included, and nothing that is no pool. */
static bool is_a_pool(const char *path)
{
    struct pmkv_options options;
    struct pmkv *kv = NULL;
    pmkv_options_init(&options);
    options.read_only = true;
    enum pmkv_status status = pmkv_open(path, &options, &kv);
    pmkv_close(&kv);
    return status == PMKV_OK || status == PMKV_E_CORRUPT || status == PMKV_E_TRUNCATED ||
           status == PMKV_E_VERSION;
}

/* Makes room for the pool. Only a regular file is removed; a device keeps its node. */
static bool clear_path(const struct bench_options *opts)
{
    struct stat st;
    if (stat(opts->pool_path, &st) != 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return true;
    if (!opts->force) {
        fprintf(stderr, "pmkv-bench: %s exists: remove it, choose another --pool, or --force\n",
                opts->pool_path);
        return false;
    }
    if (!is_a_pool(opts->pool_path)) {
        fprintf(stderr, "pmkv-bench: %s is no pool, or is in use: it is left as it is\n",
                opts->pool_path);
        return false;
    }
    if (unlink(opts->pool_path) == 0)
        return true;
    perror("pmkv-bench: remove the old pool");
    return false;
}

bool pool_init(struct bench_pool *pool, const struct bench_options *opts)
{
    memset(pool, 0, sizeof *pool);
    pool->opts = opts;
    if (opts->flush_line)
        setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
    return clear_path(opts);
}

static bool pool_open(struct bench_pool *pool)
{
    struct pmkv_options options;
    pmkv_options_init(&options);
    enum pmkv_status status = pmkv_open(pool->opts->pool_path, &options, &pool->kv);
    if (status != PMKV_OK)
        return pool_failed("open", pool, status);
    status = pmkv_info(pool->kv, &pool->info);
    return status == PMKV_OK || pool_failed("info", pool, status);
}

static bool pool_close(struct bench_pool *pool)
{
    enum pmkv_status status = pmkv_close(&pool->kv);
    return status == PMKV_OK || pool_failed("close", pool, status);
}

static void pool_remove(struct bench_pool *pool)
{
    struct stat st;
    if (pool->made && stat(pool->opts->pool_path, &st) == 0 && S_ISREG(st.st_mode))
        unlink(pool->opts->pool_path);
    pool->made = false;
    path_to_remove = NULL;
}

bool pool_renew(struct bench_pool *pool)
{
    if (!pool_close(pool))
        return false;
    pool_remove(pool);
    struct pmkv_options options;
    pmkv_options_init(&options);
    options.geometry = pool->opts->geometry;
    options.pool_bytes = options_pool_bytes(pool->opts);
    enum pmkv_status status = pmkv_create(pool->opts->pool_path, &options);
    if (status != PMKV_OK)
        return pool_failed("create", pool, status);
    pool->made = true;
    if (!pool->opts->keep_pool)
        remove_when_interrupted(pool->opts->pool_path);
    return pool_open(pool);
}

bool pool_reopen(struct bench_pool *pool, uint64_t *close_ns, uint64_t *open_ns)
{
    uint64_t from = clock_wall_ns();
    if (!pool_close(pool))
        return false;
    uint64_t closed = clock_wall_ns();
    if (!pool_open(pool))
        return false;
    *close_ns = closed - from;
    *open_ns = clock_wall_ns() - closed;
    return true;
}

bool pool_finish(struct bench_pool *pool)
{
    bool good = pool_close(pool);
    if (!pool->opts->keep_pool)
        pool_remove(pool);
    return good;
}
