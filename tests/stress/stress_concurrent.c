/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Many threads on one handle, each read judged (P2, P3; the header on batches and pmkv_foreach).
 *
 *   own keys      one writer each: a read sees no version older than the last one acknowledged
 *                 before it began and none newer than the last one handed over before it ended
 *   shared keys   all writers: of each writer no version older than the last one that it had
 *                 acknowledged before the read began
 *   pairs         written by batches only: a read that begins after pmkv_write returned sees it
 *                 whole
 *   counters      raised by pmkv_put_if only: each counts the calls that succeeded
 *   fixed keys    never deleted, some overwritten: pmkv_foreach shows each exactly once, and so
 * does an iterator, up or down, with all keys in order (--ordered)
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

enum { MAX_WRITERS = 32, MAX_READERS = 32, MAX_WORKERS = MAX_WRITERS + MAX_READERS };
enum { OWN_KEYS = 300, SHARED_KEYS = 20, PAIRS = 20, FIXED_KEYS = 200, COUNTERS = 3 };
enum { SET_SHARED = 1000, SET_PAIRS = 2000, SET_FIXED = 3000, SET_COUNTERS = 4000 };
enum { VALUE_HIGH = 3000 };
enum { HANG_SECONDS = 60 };

static struct test_options options = {.seconds = 2, .pool_mib = 48};
static uint64_t writers = 3, readers = 2;
static bool ordered;

static struct pmkv *store;
static struct test_set own[MAX_WRITERS], pairs[MAX_WRITERS], fixed;
static _Atomic uint64_t shared_acked[SHARED_KEYS][MAX_WRITERS]; /* numbers, by writer */
static _Atomic uint64_t shared_intent[SHARED_KEYS][MAX_WRITERS];
static _Atomic uint64_t counted[COUNTERS]; /* successes */
static struct test_pulse pulses[MAX_WORKERS];
static atomic_bool stop;
static _Atomic uint64_t reads, writes, batches, walks, halves, conflicts;

struct worker {
    unsigned id;
    struct test_rng rng;
    unsigned char buffer[VALUE_HIGH];
};

/* --- shared keys: a version is (number << 8 | writer + 1) << 1 ---------------------------------
 */

static void shared_put(struct worker *w)
{
    char key[TEST_KEY_BYTES];
    uint32_t k = (uint32_t)test_rng_below(&w->rng, SHARED_KEYS);
    size_t key_bytes = test_key_make(key, SET_SHARED, k);
    size_t n = test_rng_size(&w->rng, TEST_VALUE_PARSABLE_BYTES, VALUE_HIGH);
    uint64_t number = atomic_fetch_add(&shared_intent[k][w->id], 1) + 1;
    test_value_fill(w->buffer, n, key, key_bytes, (number << 8 | (w->id + 1)) << 1);
    if (test_status(pmkv_put(store, key, key_bytes, w->buffer, n), PMKV_OK, "pmkv_put"))
        atomic_store(&shared_acked[k][w->id], number);
}

static void shared_get(struct worker *w)
{
    char key[TEST_KEY_BYTES];
    uint64_t acked[MAX_WRITERS], any = 0, version = 0;
    uint32_t k = (uint32_t)test_rng_below(&w->rng, SHARED_KEYS);
    size_t key_bytes = test_key_make(key, SET_SHARED, k), n = 0;
    for (unsigned i = 0; i < writers; i++)
        any |= acked[i] = atomic_load(&shared_acked[k][i]);
    enum pmkv_status status = pmkv_get(store, key, key_bytes, w->buffer, VALUE_HIGH, &n);
    if (status == PMKV_E_NOT_FOUND && any == 0)
        return;
    if (!test_status(status, PMKV_OK, "pmkv_get of a shared key") ||
        !test_that(test_value_parse(w->buffer, n, key, key_bytes, &version), "%.*s is broken: %s",
                   (int)key_bytes, key, test_value_explain(w->buffer, n, key, key_bytes)))
        return;
    uint64_t number = version >> 9, writer = (version >> 1 & 0xff) - 1;
    if (test_that(writer < writers, "shared key of writer %llu", (unsigned long long)writer))
        test_that(number >= acked[writer] && number <= atomic_load(&shared_intent[k][writer]),
                  "shared key %u: number %llu of writer %llu, acknowledged before: %llu", k,
                  (unsigned long long)number, (unsigned long long)writer,
                  (unsigned long long)acked[writer]);
}

/* --- pairs: keys 2i and 2i + 1 change together --------------------------------------------------
 */

static void pair_put(struct worker *w)
{
    struct test_set *set = &pairs[w->id];
    struct pmkv_batch *batch = NULL;
    uint32_t first = 2 * (uint32_t)test_rng_below(&w->rng, PAIRS);
    uint64_t version[2];
    size_t n[2];
    pmkv_batch_new(&batch);
    for (unsigned i = 0; i < 2; i++) {
        char key[TEST_KEY_BYTES];
        size_t key_bytes = test_key_make(key, set->id, first + i);
        n[i] = test_rng_size(&w->rng, TEST_VALUE_PARSABLE_BYTES, VALUE_HIGH);
        version[i] = test_slot_intend(&set->slots[first + i], false);
        test_value_fill(w->buffer, n[i], key, key_bytes, version[i]);
        test_status(pmkv_batch_put(batch, key, key_bytes, w->buffer, n[i]), PMKV_OK,
                    "pmkv_batch_put");
    }
    if (test_status(pmkv_write(store, batch), PMKV_OK, "pmkv_write"))
        for (unsigned i = 0; i < 2; i++)
            test_slot_ack(&set->slots[first + i], version[i], n[i]);
    atomic_fetch_add(&batches, 1);
    pmkv_batch_free(&batch);
}

static uint64_t pair_version(struct worker *w, const struct test_set *set, uint32_t index)
{
    char key[TEST_KEY_BYTES];
    size_t key_bytes = test_key_make(key, set->id, index), n = 0;
    uint64_t version = 0;
    enum pmkv_status status = pmkv_get(store, key, key_bytes, w->buffer, VALUE_HIGH, &n);
    if (status != PMKV_E_NOT_FOUND && test_status(status, PMKV_OK, "pmkv_get of a pair"))
        test_that(test_value_parse(w->buffer, n, key, key_bytes, &version), "%.*s is broken: %s",
                  (int)key_bytes, key, test_value_explain(w->buffer, n, key, key_bytes));
    return version;
}

/* Both halves have the same number, so they compare directly. */
static void pair_get(struct worker *w)
{
    const struct test_set *set = &pairs[test_rng_below(&w->rng, writers)];
    uint32_t first = 2 * (uint32_t)test_rng_below(&w->rng, PAIRS);
    uint32_t one = first + (uint32_t)test_rng_below(&w->rng, 2), other = first + first + 1 - one;
    uint64_t low = atomic_load(&set->slots[first + 1].acked);
    uint64_t a = pair_version(w, set, one), b = pair_version(w, set, other);
    test_that(a >= low && b >= low, "pair %u of set %u: versions %llu and %llu, acknowledged %llu",
              first, set->id, (unsigned long long)a, (unsigned long long)b,
              (unsigned long long)low);
    if (b < a)
        atomic_fetch_add(&halves, 1);
}

/* --- counters --------------------------------------------------------------------------------- */

/* What a counter stands at, 0 when it is not there yet, and its version. */
static uint64_t counter_read(uint32_t index, unsigned char *buffer, uint64_t *version)
{
    char key[TEST_KEY_BYTES];
    size_t key_bytes = test_key_make(key, SET_COUNTERS, index), n = 0;
    uint64_t count = 0;
    *version = PMKV_ABSENT;
    enum pmkv_status status =
        pmkv_get_version(store, key, key_bytes, buffer, VALUE_HIGH, &n, version);
    if (status != PMKV_E_NOT_FOUND && test_status(status, PMKV_OK, "pmkv_get_version"))
        test_that(test_value_parse(buffer, n, key, key_bytes, &count), "%.*s is broken: %s",
                  (int)key_bytes, key, test_value_explain(buffer, n, key, key_bytes));
    return count;
}

/* One attempt. A writer that comes too late is told so, and has not counted. */
static void counter_raise(struct worker *w)
{
    char key[TEST_KEY_BYTES];
    uint32_t index = (uint32_t)test_rng_below(&w->rng, COUNTERS);
    size_t key_bytes = test_key_make(key, SET_COUNTERS, index);
    size_t n = test_rng_size(&w->rng, TEST_VALUE_PARSABLE_BYTES, VALUE_HIGH);
    uint64_t version, now, count = counter_read(index, w->buffer, &version);
    test_value_fill(w->buffer, n, key, key_bytes, count + 1);
    enum pmkv_status status = pmkv_put_if(store, key, key_bytes, w->buffer, n, version, &now);
    if (status == (version == PMKV_ABSENT ? PMKV_E_EXISTS : PMKV_E_CONFLICT)) {
        atomic_fetch_add(&conflicts, 1);
        return;
    }
    if (test_status(status, PMKV_OK, "pmkv_put_if")) {
        atomic_fetch_add(&counted[index], 1);
        test_that(now > version, "version %llu after %llu", (unsigned long long)now,
                  (unsigned long long)version);
    }
}

static void counters_verify(unsigned char *buffer)
{
    for (uint32_t i = 0; i < COUNTERS; i++) {
        uint64_t version, count = counter_read(i, buffer, &version);
        test_that(count == atomic_load(&counted[i]), "counter %u stands at %llu after %llu raises",
                  i, (unsigned long long)count, (unsigned long long)atomic_load(&counted[i]));
    }
}

/* --- pmkv_foreach ----------------------------------------------------------------------------- */

struct walk {
    unsigned char shown[FIXED_KEYS];
};

static int walk_item(void *arg, const struct pmkv_item *item)
{
    struct walk *walk = arg;
    unsigned id;
    uint32_t index;
    uint64_t version;
    if (!test_that(test_key_parse(item->key, item->key_bytes, &id, &index),
                   "pmkv_foreach shows a key that nobody put"))
        return 0;
    if (id == SET_FIXED && index < FIXED_KEYS)
        walk->shown[index]++;
    if (test_status(item->status, PMKV_OK, "an item of pmkv_foreach"))
        test_that(
            test_value_parse(item->value, item->value_bytes, item->key, item->key_bytes, &version),
            "pmkv_foreach: %.*s is broken: %s", (int)item->key_bytes, (const char *)item->key,
            test_value_explain(item->value, item->value_bytes, item->key, item->key_bytes));
    return 0;
}

static void walk_judge(const struct walk *walk, const char *what)
{
    for (uint32_t i = 0; i < FIXED_KEYS; i++)
        test_that(walk->shown[i] == 1, "%s shows fixed key %u %u times", what, i, walk->shown[i]);
    atomic_fetch_add(&walks, 1);
}

static void walk_run(void)
{
    struct walk walk = {{0}};
    if (test_status(pmkv_foreach(store, 0, walk_item, &walk), PMKV_OK, "pmkv_foreach"))
        walk_judge(&walk, "pmkv_foreach");
}

/* Below 0: a comes first. */
static int compare_items(const void *a, size_t a_bytes, const struct pmkv_item *b)
{
    int order = memcmp(a, b->key, a_bytes < b->key_bytes ? a_bytes : b->key_bytes);
    return order ? order : (a_bytes > b->key_bytes) - (a_bytes < b->key_bytes);
}

static void walk_in_order(bool up)
{
    struct walk walk = {{0}};
    struct pmkv_iter *iter = NULL;
    char before[TEST_KEY_BYTES];
    size_t before_bytes = 0;
    enum pmkv_status status = pmkv_iter_new(store, 0, &iter);
    if (status == PMKV_OK)
        status = up ? pmkv_iter_seek(iter, NULL, 0) : pmkv_iter_seek_last(iter);
    const struct pmkv_item *item;
    while (status == PMKV_OK && (item = pmkv_iter_item(iter)) != NULL) {
        if (before_bytes > 0)
            test_that((compare_items(before, before_bytes, item) < 0) == up, "keys out of order");
        walk_item(&walk, item);
        before_bytes = item->key_bytes < sizeof before ? item->key_bytes : sizeof before;
        memcpy(before, item->key, before_bytes);
        status = up ? pmkv_iter_next(iter) : pmkv_iter_prev(iter);
    }
    pmkv_iter_free(&iter);
    if (test_status(status, PMKV_OK, "an iterator"))
        walk_judge(&walk, "an iterator");
}

/* --- threads ---------------------------------------------------------------------------------- */

static void own_write(struct worker *w)
{
    struct test_set *set = &own[w->id];
    uint32_t key = (uint32_t)test_rng_below(&w->rng, set->count);
    size_t n = test_rng_size(&w->rng, TEST_VALUE_PARSABLE_BYTES, VALUE_HIGH);
    if (test_rng_one_in(&w->rng, 5))
        test_status(test_set_delete(store, set, key), PMKV_OK, "pmkv_delete");
    else
        test_status(test_set_put(store, set, key, w->buffer, n), PMKV_OK, "pmkv_put");
}

static void *writer_run(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&stop)) {
        uint64_t draw = test_rng_below(&w->rng, 11);
        if (draw == 0)
            pair_put(w);
        else if (draw == 10)
            counter_raise(w);
        else if (draw <= 2)
            shared_put(w);
        else if (draw == 3 && w->id == 0)
            test_status(test_set_put(store, &fixed, (uint32_t)test_rng_below(&w->rng, FIXED_KEYS),
                                     w->buffer, 100),
                        PMKV_OK, "pmkv_put of a fixed key");
        else
            own_write(w);
        atomic_fetch_add_explicit(&writes, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&pulses[w->id].beats, 1, memory_order_relaxed);
    }
    return NULL;
}

static void *reader_run(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&stop)) {
        uint64_t draw = test_rng_below(&w->rng, 1000);
        const struct test_set *set = &own[test_rng_below(&w->rng, writers)];
        enum test_verdict verdict = TEST_RIGHT;
        if (draw == 0)
            walk_run();
        else if (draw <= 4 && ordered)
            walk_in_order(draw % 2);
        else if (draw < 200)
            pair_get(w);
        else if (draw < 400)
            shared_get(w);
        else if (draw < 500)
            verdict = test_set_read(store, &fixed, (uint32_t)test_rng_below(&w->rng, FIXED_KEYS),
                                    w->buffer, VALUE_HIGH);
        else
            verdict = test_set_read(store, set, (uint32_t)test_rng_below(&w->rng, set->count),
                                    w->buffer, VALUE_HIGH);
        test_that(verdict != TEST_LOST, "a key is lost: %s", pmkv_errormsg());
        atomic_fetch_add_explicit(&reads, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&pulses[w->id].beats, 1, memory_order_relaxed);
    }
    return NULL;
}

static void load_run(void)
{
    static struct worker workers[MAX_WORKERS];
    pthread_t threads[MAX_WORKERS];
    unsigned count = (unsigned)(writers + readers);
    for (unsigned i = 0; i < count; i++) {
        workers[i].id = i;
        workers[i].rng = test_rng_make(options.seed, i);
        pthread_create(&threads[i], NULL, i < writers ? writer_run : reader_run, &workers[i]);
    }
    double end = test_now() + (double)options.seconds;
    while (test_now() < end && test_failures() == 0) {
        test_sleep_ms(50);
        test_pulse_watch(pulses, count, HANG_SECONDS);
        if (options.self_test)
            test_set_corrupt(&own[0]);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

static void all_verify(void)
{
    unsigned char buffer[VALUE_HIGH];
    for (unsigned i = 0; i < writers; i++) {
        test_set_verify(store, &own[i], buffer, VALUE_HIGH, false);
        test_set_verify(store, &pairs[i], buffer, VALUE_HIGH, false);
    }
    test_set_verify(store, &fixed, buffer, VALUE_HIGH, false);
    counters_verify(buffer);
    walk_run();
    if (ordered)
        walk_in_order(true);
}

static bool sets_make(void)
{
    unsigned char buffer[VALUE_HIGH];
    for (unsigned i = 0; i < writers; i++) {
        own[i] = test_set_make(i, OWN_KEYS);
        pairs[i] = test_set_make(SET_PAIRS + i, 2 * PAIRS);
    }
    fixed = test_set_make(SET_FIXED, FIXED_KEYS);
    for (uint32_t i = 0; i < FIXED_KEYS; i++)
        if (!test_status(test_set_put(store, &fixed, i, buffer, 100), PMKV_OK, "pmkv_put"))
            return false;
    return true;
}

int main(int argc, char **argv)
{
    const struct test_option extra[] = {
        {"writers", TEST_OPTION_NUMBER, &writers, "N: writer threads, at most 32"},
        {"readers", TEST_OPTION_NUMBER, &readers, "N: reader threads, at most 32"},
        {"ordered", TEST_OPTION_FLAG, &ordered, "iterators too"},
        {NULL, TEST_OPTION_FLAG, NULL, NULL},
    };
    test_options_parse(&options, extra, argc, argv);
    writers = writers < 1 ? 1 : writers > MAX_WRITERS ? MAX_WRITERS : writers;
    readers = readers > MAX_READERS ? MAX_READERS : readers;
    test_begin("stress_concurrent", options.seed, options.self_test);
    test_deadline((unsigned)options.seconds * 4 + 180);
    char path[TEST_PATH_BYTES];
    test_pool_path(path, options.dir != NULL ? options.dir : test_dir_memory(), "concurrent");
    if (test_pool_create(path, &options))
        store = test_pool_open(path, ordered ? TEST_OPEN_ORDERED : 0);
    if (store != NULL && sets_make()) {
        load_run();
        all_verify();
        test_pool_close(&store);
        store = test_pool_open(path, ordered ? TEST_OPEN_ORDERED : 0);
        if (store != NULL) {
            all_verify();
            test_pool_check(store);
            test_pool_close(&store);
        }
    }
    test_pool_remove(path, &options);
    return test_end("%llu writes, %llu batches, %llu conflicts, %llu reads, %llu walks, %llu "
                    "batches seen half while they were written",
                    (unsigned long long)writes, (unsigned long long)batches,
                    (unsigned long long)conflicts, (unsigned long long)reads,
                    (unsigned long long)walks, (unsigned long long)halves);
}
