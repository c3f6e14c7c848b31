/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What threads share. Threads take turns, an operation each, on keys of their own, chosen at
 * random; lines.h counts the cache lines that travel. The table says how many an operation takes,
 * by what they are, and how large a part of the operations takes the busiest of them: a line that
 * every operation wants is what keeps many processors from being faster than few, while lines of
 * which there are many, each wanted by chance, cost a miss and no more.
 *
 *   test_sharing [THREADS]     default 8; the suite demands what it says of 8
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/check.h"
#include "../support/options.h"
#include "../support/pool.h"
#include "../support/rng.h"
#include "kv/index_impl.h"
#include "kv/store.h"
#include "lines.h"

enum { KEYS = 60000, OPERATIONS = 24000, VALUE_BYTES = 200, KEY_BYTES = 16 };

static struct test_options options = {.pool_mib = 1024, .geometry = PMKV_PARITY};
static struct pmkv *store;
static int threads = 8;

/* --- operations ------------------------------------------------------------------------------- */

static void key_make(char key[KEY_BYTES + 1], uint64_t number)
{
    snprintf(key, KEY_BYTES + 1, "%016llx", (unsigned long long)number);
}

static void put(uint64_t number)
{
    char key[KEY_BYTES + 1], value[VALUE_BYTES];
    key_make(key, number);
    memset(value, (int)(1 + number % 255), sizeof value);
    test_status(pmkv_put(store, key, KEY_BYTES, value, sizeof value), PMKV_OK, "pmkv_put");
}

static void get(uint64_t number, enum pmkv_status want)
{
    char key[KEY_BYTES + 1], value[VALUE_BYTES];
    size_t bytes;
    key_make(key, number);
    test_status(pmkv_get(store, key, KEY_BYTES, value, sizeof value, &bytes), want, "pmkv_get");
}

/* Any key that is there. */
static void run_get(uint64_t turn, struct test_rng *rng)
{
    (void)turn;
    get(test_rng_below(rng, KEYS), PMKV_OK);
}

static void run_miss(uint64_t turn, struct test_rng *rng)
{
    (void)turn;
    get(10 * KEYS + test_rng_below(rng, KEYS), PMKV_E_NOT_FOUND);
}

static uint64_t own_key(uint64_t turn, struct test_rng *rng)
{
    uint64_t n = (uint64_t)threads;
    return test_rng_below(rng, KEYS / n) * n + turn % n;
}

static void run_overwrite(uint64_t turn, struct test_rng *rng)
{
    put(own_key(turn, rng));
}

static void run_insert(uint64_t turn, struct test_rng *rng)
{
    (void)rng;
    put(2 * KEYS + turn);
}

static void run_delete(uint64_t turn, struct test_rng *rng)
{
    char key[KEY_BYTES + 1];
    (void)rng;
    key_make(key, 2 * KEYS + turn);
    test_status(pmkv_delete(store, key, KEY_BYTES), PMKV_OK, "pmkv_delete");
}

/* --- taking turns ----------------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t next = PTHREAD_COND_INITIALIZER;
static uint64_t turn, turns_end;
static void (*operation)(uint64_t turn, struct test_rng *rng);

static void *worker(void *arg)
{
    int number = (int)(intptr_t)arg;
    struct test_rng rng = test_rng_make(7, (uint64_t)number);
    for (;;) {
        pthread_mutex_lock(&lock);
        while (turn < turns_end && turn % (uint64_t)threads != (uint64_t)number)
            pthread_cond_wait(&next, &lock);
        if (turn >= turns_end)
            break;
        lines_thread(number);
        operation(turn, &rng);
        lines_thread(-1);
        turn++;
        pthread_cond_broadcast(&next);
        pthread_mutex_unlock(&lock);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

/* --- what it was ------------------------------------------------------------------------------ */

enum class { BUCKETS, STRIPES, INDEX, SEGMENTS, LANES, STORE, OTHER, CLASSES };
static const char *const class_names[CLASSES] = {"buckets", "stripes", "index", "segments",
                                                 "lanes",   "store",   "other"};

static bool inside(uintptr_t at, const void *from, size_t bytes)
{
    uintptr_t begin = (uintptr_t)from & ~(uintptr_t)63;
    return at >= begin && at < (uintptr_t)from + bytes;
}

static enum class class_of(uintptr_t at) {
    const struct index *ix = store->index;
    if (inside(at, ix->stripes, INDEX_STRIPES * sizeof *ix->stripes)) return STRIPES;
    if (inside(at, ix->region, ix->region_bytes)) return BUCKETS;
    if (inside(at, ix, sizeof *ix)) return INDEX;
    if (inside(at, store->segments,
               store->vol.layout.segments * sizeof *store->segments)) return SEGMENTS;
    if (inside(at, store->lanes, store->lane_total * sizeof *store->lanes)) return LANES;
    return inside(at, store, sizeof *store) ? STORE : OTHER;
}

struct sums {
    uint64_t times[CLASSES], most;
    uintptr_t busiest;
};

static void add_line(void *arg, uintptr_t address, uint64_t times)
{
    struct sums *s = arg;
    s->times[class_of(address)] += times;
    if (times > s->most) {
        s->most = times;
        s->busiest = address;
    }
}

static void busiest_name(const struct sums *s, char *name, size_t room)
{
    const void *from[CLASSES] = {store->index->region,
                                 store->index->stripes,
                                 store->index,
                                 store->segments,
                                 store->lanes,
                                 store,
                                 NULL};
    enum class class = class_of(s->busiest);
    snprintf(name, room, "%s + %lld", class_names[class],
             (long long)(s->busiest - (uintptr_t)from[class]));
}

/* `most_all`: lines an operation may take; `most_one`: part of the operations that may take the
 * busiest line. */
static void run(const char *name, void (*op)(uint64_t, struct test_rng *), double most_all,
                double most_one)
{
    pthread_t workers[LINES_THREADS];
    struct sums s = {0};
    char busiest[64] = "";
    operation = op;
    turn = 0;
    turns_end = OPERATIONS;
    lines_reset();
    for (int i = 0; i < threads; i++)
        pthread_create(&workers[i], NULL, worker, (void *)(intptr_t)i);
    for (int i = 0; i < threads; i++)
        pthread_join(workers[i], NULL);
    lines_foreach(add_line, &s);
    double all = (double)lines_travelled() / OPERATIONS, one = (double)s.most / OPERATIONS;
    if (s.most)
        busiest_name(&s, busiest, sizeof busiest);
    printf("%-10s %7.3f", name, all);
    for (int i = 0; i < CLASSES; i++)
        printf(" %8.3f", (double)s.times[i] / OPERATIONS);
    printf(" %8.4f %s\n", one, busiest);
    if (threads != 8)
        return;
    test_that(all <= most_all, "%s: %.3f lines an operation, more than %.3f", name, all, most_all);
    test_that(one <= most_one, "%s: %.4f of the operations take the line %s, more than %.4f", name,
              one, busiest, most_one);
}

/* A lane for each thread, as where there is a processor for each. */
static bool open_store(const char *path)
{
    struct pmkv_options opts;
    pmkv_options_init(&opts);
    opts.lanes = (uint32_t)threads;
    opts.no_background = true;
    return test_status(pmkv_open(path, &opts, &store), PMKV_OK, "pmkv_open");
}

int main(int argc, char **argv)
{
    char path[TEST_PATH_BYTES];
    if (argc > 1)
        threads = atoi(argv[1]);
    if (threads < 1 || threads > LINES_THREADS || argc > 2) {
        fprintf(stderr, "usage: %s [THREADS]: 1 to %d, default 8\n", argv[0], LINES_THREADS);
        return 2;
    }
    test_begin("test_sharing", 7, false);
    test_pool_path(path, test_dir_memory(), "sharing");
    if (test_pool_create(path, &options) && open_store(path)) {
        for (uint64_t i = 0; i < KEYS; i++)
            put(i);
        printf("%d threads    all", threads);
        for (int i = 0; i < CLASSES; i++)
            printf(" %8s", class_names[i]);
        printf("  busiest\n");
        run("get", run_get, 0.01, 0.01);
        run("miss", run_miss, 0.01, 0.01);
        run("overwrite", run_overwrite, 3, 0.2);
        run("insert", run_insert, 3, 0.5);
        run("delete", run_delete, 2.5, 0.2);
        test_pool_close(&store);
    }
    test_pool_remove(path, &options);
    return test_end("%d threads", threads);
}
