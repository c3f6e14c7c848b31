/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Many threads at one page that keeps going bad (P3..P6).
 *
 * Poisoners take the same page away again and again, while it is rebuilt, written and verified;
 * readers read the keys in it without a pause; others ask for repair. It is one page a row, which
 * the redundancy covers, so every read is right and nothing is lost. Rounds take the page of a row
 * that is closed, of one that is open, and of one whose records are being replaced, so that its
 * segment is cleaned and taken again under the storm. A page may be retired when each of two tries
 * to clear it met the next poison (that verdict is the medium's); then its row goes out of use and
 * no record with it.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../support/check.h"
#include "../support/options.h"
#include "../support/oracle.h"
#include "../support/pool.h"
#include "../support/rng.h"

enum { READERS = 8, POISONERS = 3, REPAIRERS = 1, WRITERS = 1 };
enum { WORKERS = READERS + POISONERS + REPAIRERS + WRITERS };
enum { KEYS = 400, VALUE_BYTES = 700, NEAR = 4, HANG_SECONDS = 60 };

static struct test_options options = {.seconds = 1, .rounds = 6, .pool_mib = 32};

static struct pmkv *store;
static struct test_set set;
static struct test_pulse pulses[WORKERS];
static atomic_bool stop;
static uint64_t page;  /* under attack */
static uint32_t first; /* a key in it */
static bool replacing; /* the writer writes all keys, so that segments are cleaned */
static _Atomic uint64_t reads, poisoned, repairs, writes;

struct worker {
    unsigned id;
    struct test_rng rng;
    unsigned char buffer[VALUE_BYTES];
};

static void beat(const struct worker *w)
{
    atomic_fetch_add_explicit(&pulses[w->id].beats, 1, memory_order_relaxed);
}

static void *reader_run(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&stop)) {
        uint32_t key = (first + (uint32_t)test_rng_below(&w->rng, NEAR)) % KEYS;
        test_that(test_set_read(store, &set, key, w->buffer, VALUE_BYTES) == TEST_RIGHT,
                  "key %u in the page under attack is not right: %s", key, pmkv_errormsg());
        atomic_fetch_add(&reads, 1);
        beat(w);
    }
    return NULL;
}

static void *poisoner_run(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&stop)) {
        uint32_t n = 0;
        const struct pmkv_inject spec = {.size = sizeof(spec),
                                         .kind = PMKV_INJECT_POISON,
                                         .target = PMKV_INJECT_AT_OFFSET,
                                         .unit_bytes = TEST_PAGE_BYTES,
                                         .offset = page,
                                         .count = 1};
        test_status(pmkv_inject(store, &spec, &n), PMKV_OK, "pmkv_inject");
        atomic_fetch_add(&poisoned, n);
        beat(w);
        if (test_rng_one_in(&w->rng, 4))
            test_sleep_ms((unsigned)test_rng_below(&w->rng, 4));
    }
    return NULL;
}

static void *repairer_run(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&stop)) {
        uint64_t left = 0;
        test_status(pmkv_repair(store, &left), PMKV_OK, "pmkv_repair");
        atomic_fetch_add(&repairs, 1);
        beat(w);
    }
    return NULL;
}

/* Keys far from the page; or all, so that its segment is cleaned. */
static void *writer_run(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&stop)) {
        uint32_t key = (first + NEAR + (uint32_t)test_rng_below(&w->rng, KEYS / 2)) % KEYS;
        if (replacing)
            key = (uint32_t)test_rng_below(&w->rng, KEYS);
        test_status(test_set_put(store, &set, key, w->buffer, VALUE_BYTES), PMKV_OK, "pmkv_put");
        atomic_fetch_add(&writes, 1);
        beat(w);
        if (!replacing)
            test_sleep_ms(1);
    }
    return NULL;
}

static void storm(uint64_t seed)
{
    static struct worker workers[WORKERS];
    pthread_t threads[WORKERS];
    atomic_store(&stop, false);
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i].id = i;
        workers[i].rng = test_rng_make(seed, i);
        pthread_create(&threads[i], NULL,
                       i < READERS                           ? reader_run
                       : i < READERS + POISONERS             ? poisoner_run
                       : i < READERS + POISONERS + REPAIRERS ? repairer_run
                                                             : writer_run,
                       &workers[i]);
    }
    double end = test_now() + (double)options.seconds;
    while (test_now() < end && test_failures() == 0) {
        test_sleep_ms(50);
        test_pulse_watch(pulses, WORKERS, HANG_SECONDS);
        if (options.self_test)
            test_set_corrupt(&set);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(threads[i], NULL);
}

/* --- rounds ----------------------------------------------------------------------------------- */

static void note_page(void *arg, const struct pmkv_event *event)
{
    uint64_t *at = arg;
    if (event->kind == PMKV_EVENT_MEDIA_ERROR)
        *at = event->pool_offset / TEST_PAGE_BYTES * TEST_PAGE_BYTES;
}

/* Which page is a key in? It is poisoned once, and the get that meets it says. */
static bool page_find(uint32_t key, unsigned char *buffer)
{
    char name[TEST_KEY_BYTES];
    uint64_t left = 0;
    const struct pmkv_inject spec = {.size = sizeof(spec),
                                     .kind = PMKV_INJECT_POISON,
                                     .target = PMKV_INJECT_AT_KEY,
                                     .unit_bytes = TEST_PAGE_BYTES,
                                     .key = name,
                                     .key_bytes = test_key_make(name, set.id, key),
                                     .count = 1};
    page = 0;
    pmkv_set_event_fn(store, note_page, &page);
    test_status(pmkv_inject(store, &spec, NULL), PMKV_OK, "pmkv_inject");
    test_that(test_set_read(store, &set, key, buffer, VALUE_BYTES) == TEST_RIGHT,
              "key %u over poison is not right: %s", key, pmkv_errormsg());
    pmkv_set_event_fn(store, NULL, NULL);
    first = key;
    return test_status(pmkv_repair(store, &left), PMKV_OK, "pmkv_repair") &&
           test_that(page != 0, "nobody said which page is bad");
}

/* A closed row, an open one, and one whose segment is cleaned. */
static void round_run(uint64_t number, unsigned char *buffer)
{
    replacing = number % 3 == 2;
    for (uint32_t i = 0; i < KEYS; i++)
        test_status(test_set_put(store, &set, i, buffer, VALUE_BYTES), PMKV_OK, "pmkv_put");
    if (!page_find(number % 3 == 1 ? KEYS - 1 : 0, buffer))
        return;
    storm(options.seed + number);
    test_pool_heal(store);
    test_set_verify(store, &set, buffer, VALUE_BYTES, false);
    struct pmkv_health health = test_pool_health(store);
    test_that(health.records_lost == 0, "round %llu: %llu records are lost: %s",
              (unsigned long long)number, (unsigned long long)health.records_lost, health.status);
}

int main(int argc, char **argv)
{
    static unsigned char buffer[VALUE_BYTES];
    char path[TEST_PATH_BYTES];
    test_options_parse(&options, NULL, argc, argv);
    test_begin("stress_page", options.seed, options.self_test);
    if (options.geometry == PMKV_NONE)
        return test_skip("geometry none rebuilds nothing");
    test_deadline((unsigned)(options.rounds * (options.seconds * 4 + 20) + 120));
    test_pool_path(path, options.dir != NULL ? options.dir : test_dir_memory(), "page");
    set = test_set_make(1, KEYS);
    if (test_pool_create(path, &options))
        store = test_pool_open(path, TEST_OPEN_INJECT);
    for (uint64_t i = 0; store != NULL && i < options.rounds && test_failures() == 0; i++)
        round_run(i, buffer);
    uint64_t retired = store != NULL ? test_pool_health(store).pages_retired : 0;
    test_pool_close(&store);
    store = test_pool_open(path, 0);
    if (store != NULL)
        test_set_verify(store, &set, buffer, VALUE_BYTES, false);
    test_pool_close(&store);
    test_pool_remove(path, &options);
    return test_end("%llu times poisoned, %llu reads, %llu writes, %llu calls for repair, %llu "
                    "pages retired",
                    (unsigned long long)poisoned, (unsigned long long)reads,
                    (unsigned long long)writes, (unsigned long long)repairs,
                    (unsigned long long)retired);
}
