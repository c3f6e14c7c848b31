/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "place.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine.h"

/* Marks a directory as ours: --force removes no other. */
static const char marker[] = "made-by-pmkv-bench";

static bool place_failed(const char *what, const struct bench_place *store)
{
    fprintf(stderr, "pmkv-bench: %s: %s %s: %s\n", store->engine->name, what, store->path,
            engine_failure());
    return false;
}

/* Calls `each` for the files of a flat directory; the sum of what it returns. */
static uint64_t for_files(const char *directory, uint64_t (*each)(const char *path))
{
    uint64_t sum = 0;
    DIR *dir = opendir(directory);
    if (!dir)
        return 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char path[4096 + 300];
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        if (entry->d_name[0] != '.')
            sum += each(path);
    }
    closedir(dir);
    return sum;
}

static uint64_t remove_file(const char *path)
{
    return unlink(path) == 0;
}

static uint64_t file_bytes(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

static void remove_directory(const char *path)
{
    for_files(path, remove_file);
    rmdir(path);
}

/* --- interruption ----------------------------------------------------------------------------- */

/* A store is gigabytes of memory: do not leave it there when the run is interrupted. A thread waits
 * for the signals, so that it may do what a handler may not. */
static pthread_mutex_t removal_lock = PTHREAD_MUTEX_INITIALIZER;
static char file_to_remove[4096];
static bool is_directory;

static void *wait_for_signals(void *arg)
{
    int number;
    if (sigwait(arg, &number) != 0)
        return NULL;
    pthread_mutex_lock(&removal_lock);
    if (file_to_remove[0] && is_directory)
        remove_directory(file_to_remove);
    else if (file_to_remove[0])
        unlink(file_to_remove);
    _exit(128 + number);
}

/* Before there is any other thread: they inherit the mask. */
static void catch_signals(void)
{
    static bool caught;
    static sigset_t signals;
    pthread_t thread;
    if (caught)
        return;
    caught = true;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    if (pthread_create(&thread, NULL, wait_for_signals, &signals) == 0)
        pthread_detach(thread);
}

static void remove_when_interrupted(const char *path, bool directory)
{
    pthread_mutex_lock(&removal_lock);
    snprintf(file_to_remove, sizeof file_to_remove, "%s", path);
    is_directory = directory;
    pthread_mutex_unlock(&removal_lock);
}

/* --- the place -------------------------------------------------------------------------------- */

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

static bool is_ours(const struct bench_place *store)
{
    char path[sizeof store->path + sizeof marker + 1];
    snprintf(path, sizeof path, "%s/%s", store->path, marker);
    return store->engine->directory ? access(path, F_OK) == 0 : is_a_pool(store->path);
}

/* Makes room for the store. A device keeps its node. */
static bool clear_path(const struct bench_place *store)
{
    struct stat st;
    bool directory = store->engine->directory;
    if (stat(store->path, &st) != 0 || (!directory && (!S_ISREG(st.st_mode) || st.st_size == 0)))
        return true;
    if (!store->opts->force) {
        fprintf(stderr, "pmkv-bench: %s exists: remove it, choose another --pool, or --force\n",
                store->path);
        return false;
    }
    if (!is_ours(store)) {
        fprintf(stderr, "pmkv-bench: %s is no pool, or is in use: it is left as it is\n",
                store->path);
        return false;
    }
    if (directory)
        remove_directory(store->path);
    else if (unlink(store->path) != 0)
        perror("pmkv-bench: remove the old pool");
    return stat(store->path, &st) != 0;
}

bool place_init(struct bench_place *store, const struct bench_options *opts,
                const struct engine *engine)
{
    memset(store, 0, sizeof *store);
    store->opts = opts;
    store->engine = engine;
    store->threads = opts->threads;
    snprintf(store->path, sizeof store->path, engine->directory ? "%s.%s" : "%s", opts->pool_path,
             engine->name);
    if (opts->use_existing)
        return true;
    catch_signals();
    return clear_path(store);
}

static bool make_directory(const struct bench_place *store)
{
    char path[sizeof store->path + sizeof marker + 1];
    snprintf(path, sizeof path, "%s/%s", store->path, marker);
    FILE *f = mkdir(store->path, 0700) == 0 ? fopen(path, "we") : NULL;
    if (!f) {
        fprintf(stderr, "pmkv-bench: make %s: %s\n", store->path, strerror(errno));
        return false;
    }
    fclose(f);
    return true;
}

static bool open_or_create(struct bench_place *store, bool create)
{
    const struct bench_options *opts = store->opts;
    struct engine_setup setup = {.path = store->path,
                                 .create = create,
                                 .flush_line = opts->flush_line,
                                 .inject = opts->fault_count > 0,
                                 .num = opts->num,
                                 .key_bytes = opts->key_bytes,
                                 .value_bytes = opts->value_bytes,
                                 .threads = store->threads,
                                 .pool_bytes = options_pool_bytes(opts),
                                 .geometry = opts->geometry,
                                 .backend = opts->backend};
    store->db = store->engine->open(&setup);
    return store->db || place_failed(create ? "create" : "open", store);
}

bool place_open(struct bench_place *store)
{
    return open_or_create(store, false);
}

bool place_close(struct bench_place *store)
{
    void *db = store->db;
    store->db = NULL;
    return !db || store->engine->close(db) || place_failed("close", store);
}

static void place_remove(struct bench_place *store)
{
    struct stat st;
    bool there = store->made && stat(store->path, &st) == 0;
    if (there && store->engine->directory)
        remove_directory(store->path);
    else if (there && S_ISREG(st.st_mode))
        unlink(store->path);
    store->made = false;
    remove_when_interrupted("", false);
}

bool place_renew(struct bench_place *store)
{
    if (!place_close(store))
        return false;
    place_remove(store);
    if (store->engine->directory && !make_directory(store))
        return false;
    store->made = true;
    if (!store->opts->keep_pool)
        remove_when_interrupted(store->path, store->engine->directory);
    if (open_or_create(store, true))
        return true;
    place_remove(store);
    return false;
}

bool place_finish(struct bench_place *store)
{
    bool good = place_close(store);
    if (!store->opts->keep_pool)
        place_remove(store);
    return good;
}

struct engine_figures place_figures_now(const struct bench_place *store)
{
    struct engine_figures f;
    memset(&f, 0xff, sizeof f); /* every field ENGINE_UNKNOWN */
    if (store->engine->figures)
        store->engine->figures(store->db, &f);
    if (store->engine->directory)
        f.pool_bytes = f.used_bytes = for_files(store->path, file_bytes);
    if (f.media_bytes == ENGINE_UNKNOWN && store->engine->writes_by_calls)
        f.media_bytes = machine_written_bytes();
    return f;
}
