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

static bool place_failed(const char *what, const struct bench_place *place)
{
    fprintf(stderr, "pmkv-bench: %s: %s %s: %s\n", place->engine->name, what, place->path,
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

static bool is_ours(const struct bench_place *place)
{
    char path[sizeof place->path + sizeof marker + 1];
    snprintf(path, sizeof path, "%s/%s", place->path, marker);
    return place->engine->directory ? access(path, F_OK) == 0 : is_a_pool(place->path);
}

/* Makes room for the store. A device keeps its node. */
static bool clear_path(const struct bench_place *place)
{
    struct stat st;
    bool directory = place->engine->directory;
    if (stat(place->path, &st) != 0 || (!directory && (!S_ISREG(st.st_mode) || st.st_size == 0)))
        return true;
    if (!place->opts->force) {
        fprintf(stderr, "pmkv-bench: %s exists: remove it, choose another --pool, or --force\n",
                place->path);
        return false;
    }
    if (!is_ours(place)) {
        fprintf(stderr, "pmkv-bench: %s is no pool, or is in use: it is left as it is\n",
                place->path);
        return false;
    }
    if (directory)
        remove_directory(place->path);
    else if (unlink(place->path) != 0)
        perror("pmkv-bench: remove the old pool");
    return stat(place->path, &st) != 0;
}

bool place_init(struct bench_place *place, const struct bench_options *opts,
                const struct engine *engine)
{
    memset(place, 0, sizeof *place);
    place->opts = opts;
    place->engine = engine;
    place->threads = opts->threads;
    snprintf(place->path, sizeof place->path, engine->directory ? "%s.%s" : "%s", opts->pool_path,
             engine->name);
    if (opts->use_existing)
        return true;
    catch_signals();
    return clear_path(place);
}

static bool make_directory(const struct bench_place *place)
{
    char path[sizeof place->path + sizeof marker + 1];
    snprintf(path, sizeof path, "%s/%s", place->path, marker);
    FILE *f = mkdir(place->path, 0700) == 0 ? fopen(path, "we") : NULL;
    if (!f) {
        fprintf(stderr, "pmkv-bench: make %s: %s\n", place->path, strerror(errno));
        return false;
    }
    fclose(f);
    return true;
}

static bool open_or_create(struct bench_place *place, bool create)
{
    const struct bench_options *opts = place->opts;
    struct engine_setup setup = {.path = place->path,
                                 .create = create,
                                 .flush_line = opts->flush_line,
                                 .inject = opts->fault_count > 0,
                                 .num = opts->num,
                                 .key_bytes = opts->key_bytes,
                                 .value_bytes = opts->value_bytes,
                                 .threads = place->threads,
                                 .pool_bytes = options_pool_bytes(opts),
                                 .geometry = opts->geometry,
                                 .backend = opts->backend};
    place->db = place->engine->open(&setup);
    return place->db || place_failed(create ? "create" : "open", place);
}

bool place_open(struct bench_place *place)
{
    return open_or_create(place, false);
}

bool place_close(struct bench_place *place)
{
    void *db = place->db;
    place->db = NULL;
    return !db || place->engine->close(db) || place_failed("close", place);
}

static void place_remove(struct bench_place *place)
{
    struct stat st;
    bool there = place->made && stat(place->path, &st) == 0;
    if (there && place->engine->directory)
        remove_directory(place->path);
    else if (there && S_ISREG(st.st_mode))
        unlink(place->path);
    place->made = false;
    remove_when_interrupted("", false);
}

bool place_renew(struct bench_place *place)
{
    if (!place_close(place))
        return false;
    place_remove(place);
    if (place->engine->directory && !make_directory(place))
        return false;
    place->made = true;
    if (!place->opts->keep_pool)
        remove_when_interrupted(place->path, place->engine->directory);
    if (open_or_create(place, true))
        return true;
    place_remove(place);
    return false;
}

bool place_finish(struct bench_place *place)
{
    bool good = place_close(place);
    if (!place->opts->keep_pool)
        place_remove(place);
    return good;
}

struct engine_figures place_figures_now(const struct bench_place *place)
{
    struct engine_figures f;
    memset(&f, 0xff, sizeof f); /* every field ENGINE_UNKNOWN */
    if (place->engine->figures)
        place->engine->figures(place->db, &f);
    if (place->engine->directory && place->engine->survives_kill)
        f.pool_bytes = f.used_bytes = for_files(place->path, file_bytes);
    if (f.media_bytes == ENGINE_UNKNOWN && place->engine->writes_by_calls)
        f.media_bytes = machine_written_bytes();
    return f;
}
