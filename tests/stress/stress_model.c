/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Random operations of the whole public interface against a plain model, with reopenings, crashes
 * and faults within the redundancy (P1..P8). One thread, so a seed replays a run.
 *
 * A session is a forked process: it opens the pool, works, and ends by closing it or by _exit
 * without closing. The model is memory that the processes share. No operation is in flight at the
 * _exit, so everything acknowledged must be there in the next session. At most one injected fault
 * is outstanding: after each the whole store is verified and healed, now or in the next session.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/check.h"
#include "../support/options.h"
#include "../support/pool.h"
#include "../support/rng.h"
#include "../support/value.h"

enum { KEYS = 400, LONG_KEY_HIGH = 2000, SMALL_HIGH = 5000, LARGE_HIGH = 2 << 20 };
enum { OPERATIONS = 3000, MOST_BATCH = 30 };

static struct test_options options = {.rounds = 8, .seconds = 5, .pool_mib = 48};

struct entry {
    bool present;
    uint32_t bytes;
    uint64_t content; /* the version in value.h's sense; never repeats */
    uint64_t version; /* as the store tells it; 0: nobody has asked */
};
struct model {
    struct entry entry[KEYS];
    uint64_t last_content, operations, faults, crashes, sessions, full;
};

static struct model *model;
static struct pmkv *store;
static struct test_rng rng;
static unsigned char *keys[KEYS], *buffer;
static size_t key_bytes[KEYS];

/* Keys of many lengths with any bytes; key 0 has one byte, key 1 is as long as the pool allows. */
static void keys_make(uint64_t longest)
{
    struct test_rng r = test_rng_make(options.seed, 77);
    for (uint32_t i = 0; i < KEYS; i++) {
        size_t n = i == 0 ? 1 : i == 1 ? longest : test_rng_size(&r, 4, LONG_KEY_HIGH);
        keys[i] = malloc(n);
        for (size_t b = 0; b < n; b++)
            keys[i][b] = (unsigned char)test_rng_next(&r);
        if (n >= 4)
            memcpy(keys[i], &i, 4); /* no two are equal */
        key_bytes[i] = n;
    }
}

static uint32_t key_draw(void)
{
    return (uint32_t)test_rng_below(&rng, KEYS);
}

static size_t size_draw(void)
{
    if (test_rng_one_in(&rng, 60))
        return test_rng_size(&rng, 32 << 10, LARGE_HIGH);
    return test_rng_one_in(&rng, 10) ? test_rng_below(&rng, 20)
                                     : test_rng_size(&rng, 1, SMALL_HIGH);
}

static struct entry content_new(uint32_t key)
{
    struct entry entry = {true, (uint32_t)size_draw(), ++model->last_content, 0};
    test_value_fill(buffer, entry.bytes, keys[key], key_bytes[key], entry.content);
    return entry;
}

/* --- single operations ------------------------------------------------------------------------ */

static void do_put(void)
{
    uint32_t key = key_draw();
    struct entry entry = content_new(key);
    enum pmkv_status status = pmkv_put(store, keys[key], key_bytes[key], buffer, entry.bytes);
    if (status == PMKV_E_FULL)
        model->full++;
    else if (test_status(status, PMKV_OK, "pmkv_put"))
        model->entry[key] = entry;
}

static void do_delete(void)
{
    uint32_t key = key_draw();
    enum pmkv_status want = model->entry[key].present ? PMKV_OK : PMKV_E_NOT_FOUND;
    if (test_status(pmkv_delete(store, keys[key], key_bytes[key]), want, "pmkv_delete"))
        model->entry[key].present = false;
}

static void value_compare(uint32_t key, const void *value, size_t n, const char *what)
{
    const struct entry *entry = &model->entry[key];
    test_that(n == entry->bytes &&
                  test_value_is(value, n, keys[key], key_bytes[key], entry->content),
              "%s key %u: %zu bytes, expected %u of content %llu: %s", what, key, n, entry->bytes,
              (unsigned long long)entry->content,
              test_value_explain(value, n, keys[key], key_bytes[key]));
}

static void get_verify(uint32_t key)
{
    size_t n = 12345;
    enum pmkv_status want = model->entry[key].present ? PMKV_OK : PMKV_E_NOT_FOUND;
    enum pmkv_status got = pmkv_get(store, keys[key], key_bytes[key], buffer, LARGE_HIGH, &n);
    if (!test_that(got == want, "pmkv_get of key %u: %s, expected %s (%s)", key,
                   pmkv_status_name(got), pmkv_status_name(want), pmkv_errormsg()))
        return;
    if (got == PMKV_OK)
        value_compare(key, buffer, n, "pmkv_get");
    else
        test_that(n == 12345, "pmkv_get failed and changed the length");
}

static void do_get(void)
{
    get_verify(key_draw());
}

static void do_get_alloc(void)
{
    uint32_t key = key_draw();
    void *value = NULL;
    size_t n = 0;
    enum pmkv_status want = model->entry[key].present ? PMKV_OK : PMKV_E_NOT_FOUND;
    if (!test_status(pmkv_get_alloc(store, keys[key], key_bytes[key], &value, &n), want,
                     "pmkv_get_alloc"))
        return;
    if (want == PMKV_OK)
        value_compare(key, value, n, "pmkv_get_alloc");
    else
        test_that(value == NULL && n == 0, "pmkv_get_alloc failed and changed its outputs");
    pmkv_free(value);
}

/* A version once told is what it stays, over crashes and cleaning, until the key is written. */
static uint64_t version_verify(uint32_t key)
{
    struct entry *entry = &model->entry[key];
    size_t n = 0;
    uint64_t version = 4711;
    enum pmkv_status want = entry->present ? PMKV_OK : PMKV_E_NOT_FOUND;
    if (!test_status(
            pmkv_get_version(store, keys[key], key_bytes[key], buffer, LARGE_HIGH, &n, &version),
            want, "pmkv_get_version"))
        return PMKV_ABSENT;
    if (!entry->present) {
        test_that(version == 4711, "pmkv_get_version failed and changed the version");
        return PMKV_ABSENT;
    }
    value_compare(key, buffer, n, "pmkv_get_version");
    test_that(version != PMKV_ABSENT && (entry->version == 0 || entry->version == version),
              "key %u has version %llu, had %llu", key, (unsigned long long)version,
              (unsigned long long)entry->version);
    entry->version = version;
    return version;
}

/* What is answered when `asked` is not the version the key has. */
static enum pmkv_status refusal(uint64_t version, uint64_t asked)
{
    return version == PMKV_ABSENT ? PMKV_E_NOT_FOUND
           : asked == PMKV_ABSENT ? PMKV_E_EXISTS
                                  : PMKV_E_CONFLICT;
}

static uint64_t other_version(uint64_t version)
{
    return version == PMKV_ABSENT     ? 1 + test_rng_below(&rng, 1000)
           : test_rng_one_in(&rng, 3) ? PMKV_ABSENT
           : test_rng_one_in(&rng, 2) ? version + 1
                                      : version - 1;
}

static void do_put_if(void)
{
    uint32_t key = key_draw();
    uint64_t version = version_verify(key), asked = version, now = 4711;
    if (test_rng_one_in(&rng, 3))
        asked = other_version(version);
    struct entry entry = content_new(key);
    enum pmkv_status status =
        pmkv_put_if(store, keys[key], key_bytes[key], buffer, entry.bytes, asked, &now);
    if (status == PMKV_E_FULL) {
        model->full++;
    } else if (asked != version) {
        test_status(status, refusal(version, asked), "pmkv_put_if on another version");
        test_that(now == 4711, "pmkv_put_if was refused and changed the version");
    } else if (test_status(status, PMKV_OK, "pmkv_put_if")) {
        test_that(now > version, "version %llu after %llu", (unsigned long long)now,
                  (unsigned long long)version);
        model->entry[key] = entry;
        model->entry[key].version = now;
    }
}

static void do_delete_if(void)
{
    uint32_t key = key_draw();
    uint64_t version = version_verify(key);
    uint64_t asked = version;
    while (asked == PMKV_ABSENT || (asked == version && test_rng_one_in(&rng, 2)))
        asked = other_version(version);
    enum pmkv_status want = asked == version ? PMKV_OK : refusal(version, asked);
    if (test_status(pmkv_delete_if(store, keys[key], key_bytes[key], asked), want,
                    "pmkv_delete_if") &&
        want == PMKV_OK)
        model->entry[key].present = false;
}

static void do_get_into_a_small_buffer(void)
{
    uint32_t key = key_draw();
    const struct entry *entry = &model->entry[key];
    size_t n = 0;
    if (!entry->present || entry->bytes == 0)
        return;
    unsigned char small[64];
    memset(small, 0xa5, sizeof(small));
    size_t room = entry->bytes <= sizeof(small) ? entry->bytes - 1 : sizeof(small) / 2;
    test_status(pmkv_get(store, keys[key], key_bytes[key], small, room, &n), PMKV_E_BUFFER,
                "pmkv_get into a small buffer");
    test_that(n == entry->bytes, "E_BUFFER says %zu bytes, the value has %u", n, entry->bytes);
    for (size_t i = 0; i < sizeof(small); i++)
        if (!test_that(small[i] == 0xa5, "E_BUFFER wrote byte %zu of the buffer", i))
            return;
}

static void read_verify(uint32_t key, const struct pmkv_read *read)
{
    const struct entry *entry = &model->entry[key];
    enum pmkv_status want = !entry->present                     ? PMKV_E_NOT_FOUND
                            : entry->bytes > read->buffer_bytes ? PMKV_E_BUFFER
                                                                : PMKV_OK;
    size_t n = want == PMKV_E_NOT_FOUND ? 0 : entry->bytes;
    if (test_that(read->status == want && read->value_bytes == n,
                  "pmkv_get_many of key %u: %s and %zu bytes, expected %s and %zu", key,
                  pmkv_status_name(read->status), read->value_bytes, pmkv_status_name(want), n) &&
        want == PMKV_OK)
        value_compare(key, read->buffer, n, "pmkv_get_many");
}

/* More than are looked at together, keys more than once, a key that is not valid in between. */
static void do_get_many(void)
{
    struct pmkv_read reads[MOST_BATCH + 1];
    uint32_t drawn[MOST_BATCH + 1];
    unsigned count = (unsigned)test_rng_below(&rng, MOST_BATCH), bad = count / 2;
    for (unsigned i = 0; i <= count; i++) {
        drawn[i] = test_rng_one_in(&rng, 5) ? (uint32_t)test_rng_below(&rng, 3) : key_draw();
        reads[i] = (struct pmkv_read){.key = keys[drawn[i]],
                                      .key_bytes = i == bad ? 0 : key_bytes[drawn[i]],
                                      .buffer = buffer + i * SMALL_HIGH,
                                      .buffer_bytes = SMALL_HIGH,
                                      .value_bytes = 12345,
                                      .status = PMKV_E_IO};
    }
    test_status(pmkv_get_many(store, reads, count + 1), PMKV_OK, "pmkv_get_many");
    for (unsigned i = 0; i <= count; i++)
        if (i != bad)
            read_verify(drawn[i], &reads[i]);
    test_that(reads[bad].status == PMKV_E_INVALID && reads[bad].value_bytes == 0,
              "pmkv_get_many of an empty key: %s", pmkv_status_name(reads[bad].status));
    test_status(pmkv_get_many(store, NULL, 0), PMKV_OK, "pmkv_get_many of nothing");
    test_status(pmkv_get_many(store, NULL, 1), PMKV_E_INVALID, "pmkv_get_many of NULL");
}

static void do_exists(void)
{
    uint32_t key = key_draw();
    test_status(pmkv_exists(store, keys[key], key_bytes[key]),
                model->entry[key].present ? PMKV_OK : PMKV_E_NOT_FOUND, "pmkv_exists");
}

static void do_invalid(void)
{
    size_t n = 7;
    test_status(pmkv_put(store, "", 0, "x", 1), PMKV_E_INVALID, "pmkv_put of an empty key");
    test_status(pmkv_get(store, "", 0, buffer, 10, &n), PMKV_E_INVALID, "pmkv_get of an empty key");
    memset(buffer, 'k', PMKV_MAX_KEY_BYTES + 1);
    test_status(pmkv_put(store, buffer, PMKV_MAX_KEY_BYTES + 1, "x", 1), PMKV_E_TOO_LARGE,
                "pmkv_put of a key that is too long");
    test_that(n == 7, "a call that failed changed its outputs");
}

/* --- batches ---------------------------------------------------------------------------------- */

/* Later entries win; deleting what is not there is fine. */
static void do_batch(void)
{
    static struct entry after[KEYS];
    struct pmkv_batch *batch = NULL;
    if (!test_status(pmkv_batch_new(&batch), PMKV_OK, "pmkv_batch_new"))
        return;
    unsigned count = (unsigned)test_rng_below(&rng, MOST_BATCH);
    if (test_rng_one_in(&rng, 4)) { /* what is cleared has no effect */
        pmkv_batch_put(batch, keys[0], key_bytes[0], "cleared", 7);
        pmkv_batch_clear(batch);
    }
    memcpy(after, model->entry, sizeof(after));
    for (unsigned i = 0; i < count; i++) {
        uint32_t key = test_rng_one_in(&rng, 5) ? (uint32_t)test_rng_below(&rng, 3) : key_draw();
        if (test_rng_one_in(&rng, 4)) {
            test_status(pmkv_batch_delete(batch, keys[key], key_bytes[key]), PMKV_OK,
                        "pmkv_batch_delete");
            after[key].present = false;
        } else {
            after[key] = content_new(key);
            test_status(pmkv_batch_put(batch, keys[key], key_bytes[key], buffer, after[key].bytes),
                        PMKV_OK, "pmkv_batch_put");
        }
    }
    test_that(pmkv_batch_count(batch) == count, "the batch counts %zu entries of %u",
              pmkv_batch_count(batch), count);
    enum pmkv_status status = pmkv_write(store, batch);
    if (status == PMKV_E_FULL || status == PMKV_E_TOO_LARGE)
        model->full++;
    else if (test_status(status, PMKV_OK, "pmkv_write"))
        memcpy(model->entry, after, sizeof(after));
    pmkv_batch_free(&batch);
    test_that(batch == NULL, "pmkv_batch_free left the handle set");
}

/* --- everything ------------------------------------------------------------------------------- */

struct walk {
    unsigned char shown[KEYS];
    bool keys_only;
    unsigned stop_after;
    uint64_t items;
};

static uint32_t key_find(const void *key, size_t n)
{
    uint32_t i = 0;
    while (i < KEYS && (key_bytes[i] != n || memcmp(keys[i], key, n) != 0))
        i++;
    return i;
}

static int walk_item(void *arg, const struct pmkv_item *item)
{
    struct walk *walk = arg;
    uint32_t key = key_find(item->key, item->key_bytes);
    if (!test_that(key < KEYS, "pmkv_foreach shows a key that nobody put (%zu bytes)",
                   item->key_bytes))
        return 0;
    walk->shown[key]++;
    walk->items++;
    test_status(item->status, PMKV_OK, "an item of pmkv_foreach");
    if (walk->keys_only)
        test_that(item->value == NULL, "pmkv_foreach of keys only shows a value");
    else
        value_compare(key, item->value, item->value_bytes, "pmkv_foreach");
    return walk->stop_after > 0 && walk->items >= walk->stop_after;
}

static uint64_t present_count(void)
{
    uint64_t n = 0;
    for (uint32_t key = 0; key < KEYS; key++)
        n += model->entry[key].present;
    return n;
}

static void walk_verify(bool keys_only)
{
    struct walk walk = {.keys_only = keys_only};
    uint64_t count = 0;
    if (test_status(pmkv_foreach(store, keys_only ? PMKV_FOREACH_KEYS_ONLY : 0, walk_item, &walk),
                    PMKV_OK, "pmkv_foreach"))
        for (uint32_t key = 0; key < KEYS; key++)
            test_that(walk.shown[key] == model->entry[key].present,
                      "pmkv_foreach shows key %u %u times, expected %u", key, walk.shown[key],
                      model->entry[key].present);
    test_status(pmkv_count(store, &count), PMKV_OK, "pmkv_count");
    test_that(count == present_count(), "pmkv_count says %llu, the model %llu",
              (unsigned long long)count, (unsigned long long)present_count());
}

static void all_verify(void)
{
    for (uint32_t key = 0; key < KEYS && test_failures() < 5; key++)
        get_verify(key);
    walk_verify(false);
}

static void do_walk(void)
{
    walk_verify(test_rng_one_in(&rng, 2));
}

static void do_walk_and_stop(void)
{
    struct walk walk = {.stop_after = 2};
    if (present_count() >= 2) {
        test_status(pmkv_foreach(store, 0, walk_item, &walk), PMKV_E_STOPPED,
                    "pmkv_foreach that was stopped");
        test_that(walk.items == 2, "pmkv_foreach went on for %llu items",
                  (unsigned long long)walk.items);
    }
}

static void do_scrub(void)
{
    struct pmkv_scan scan;
    test_status(pmkv_scrub_start(store, 64 << 20), PMKV_OK, "pmkv_scrub_start");
    if (test_rng_one_in(&rng, 2))
        test_status(pmkv_scrub_stop(store), PMKV_OK, "pmkv_scrub_stop");
    test_pool_scrub(store, &scan);
}

static void do_facts(void)
{
    struct pmkv_stats stats = {0};
    test_status(pmkv_stats(store, &stats), PMKV_OK, "pmkv_stats");
    test_that(stats.keys == present_count(), "pmkv_stats counts %llu keys, the model %llu",
              (unsigned long long)stats.keys, (unsigned long long)present_count());
    struct pmkv_health health = test_pool_health(store);
    test_that(health.records_lost == 0 && health.pages_retired == 0 &&
                  health.state <= PMKV_STATE_REPAIRED,
              "state %d, %llu lost, %llu retired: %s", health.state,
              (unsigned long long)health.records_lost, (unsigned long long)health.pages_retired,
              health.status);
}

/* --- faults ----------------------------------------------------------------------------------- */

/* One fault of any kind; the caller sees to it that none is outstanding. */
static void fault_inject(void)
{
    static const uint64_t units[] = {1, 64, TEST_PAGE_BYTES};
    uint32_t key = key_draw(), n = 0;
    struct pmkv_inject spec = {
        .size = sizeof(spec),
        .kind = (enum pmkv_inject_kind)(1 + test_rng_below(&rng, 5)),
        .target = PMKV_INJECT_AT_RANDOM,
        .unit_bytes = units[test_rng_below(&rng, 3)],
        .seed = test_rng_next(&rng),
        .count = 1,
        .live_only = test_rng_one_in(&rng, 2),
    };
    if (spec.kind == PMKV_INJECT_POISON)
        spec.unit_bytes = TEST_PAGE_BYTES;
    if (model->entry[key].present && test_rng_one_in(&rng, 2)) {
        spec.target = PMKV_INJECT_AT_KEY;
        spec.key = keys[key];
        spec.key_bytes = key_bytes[key];
    }
    enum pmkv_status status = pmkv_inject(store, &spec, &n);
    if (status != PMKV_E_UNSUPPORTED)
        test_status(status, PMKV_OK, "pmkv_inject");
    model->faults += n;
}

static void do_fault(void)
{
    if (options.geometry == PMKV_NONE)
        return;
    fault_inject();
    for (int i = 0; i < 20; i++)
        test_rng_one_in(&rng, 2) ? do_put() : do_get();
    all_verify();
    test_pool_heal(store);
}

/* --- sessions --------------------------------------------------------------------------------- */

static const struct operation {
    void (*run)(void);
    unsigned weight;
} operations[] = {
    {do_put, 4000},
    {do_get, 2000},
    {do_delete, 900},
    {do_put_if, 600},
    {do_delete_if, 200},
    {do_get_alloc, 500},
    {do_exists, 400},
    {do_batch, 500},
    {do_invalid, 50},
    {do_walk, 20},
    {do_get_into_a_small_buffer, 200},
    {do_get_many, 200},
    {do_facts, 100},
    {do_walk_and_stop, 20},
    {do_scrub, 6},
    {do_fault, 12},
};

static void operation_run(void)
{
    unsigned total = 0;
    for (size_t i = 0; i < sizeof(operations) / sizeof(operations[0]); i++)
        total += operations[i].weight;
    uint64_t draw = test_rng_below(&rng, total);
    size_t i = 0;
    while (draw >= operations[i].weight)
        draw -= operations[i++].weight;
    operations[i].run();
    model->operations++;
}

/* A clean pool can be read without writing to it. */
static void read_only_session(const char *path)
{
    store = test_pool_open(path, TEST_OPEN_READ_ONLY);
    if (store == NULL)
        return;
    all_verify();
    test_status(pmkv_put(store, "k", 1, "v", 1), PMKV_E_READONLY, "pmkv_put, read only");
    test_status(pmkv_delete(store, keys[2], key_bytes[2]), PMKV_E_READONLY,
                "pmkv_delete, read only");
    test_status(pmkv_put_if(store, "k", 1, "v", 1, PMKV_ABSENT, NULL), PMKV_E_READONLY,
                "pmkv_put_if, read only");
    test_status(pmkv_delete_if(store, keys[2], key_bytes[2], 1), PMKV_E_READONLY,
                "pmkv_delete_if, read only");
    test_pool_check(store);
    test_pool_close(&store);
}

/* Returns by _exit: 0 closed, 3 crashed on purpose, 1 failed. */
static _Noreturn void session(const char *path, uint64_t number)
{
    rng = test_rng_make(options.seed, 1000 + number);
    buffer = malloc(LARGE_HIGH + PMKV_MAX_KEY_BYTES);
    static struct pmkv_info info;
    unsigned flags = TEST_OPEN_INJECT | (test_rng_one_in(&rng, 3) ? TEST_OPEN_NO_BACKGROUND : 0);
    bool crash = test_rng_one_in(&rng, 2);
    store = test_pool_open(path, flags);
    if (store == NULL)
        _exit(TEST_FAILED);
    test_status(pmkv_info(store, &info), PMKV_OK, "pmkv_info");
    keys_make(info.max_key_bytes);
    all_verify();
    if (options.geometry != PMKV_NONE)
        test_pool_heal(store); /* what the last session left */
    uint64_t count = 1 + test_rng_below(&rng, OPERATIONS);
    for (uint64_t i = 0; i < count && test_failures() == 0; i++)
        operation_run();
    if (options.geometry != PMKV_NONE && test_rng_one_in(&rng, 3))
        fault_inject(); /* for the next open to meet */
    else if (!crash && test_rng_one_in(&rng, 4)) {
        test_pool_close(&store);
        read_only_session(path);
        _exit(test_failures() > 0 ? TEST_FAILED : 0);
    }
    if (crash)
        _exit(test_failures() > 0 ? TEST_FAILED : 3);
    test_pool_close(&store);
    _exit(test_failures() > 0 ? TEST_FAILED : 0);
}

static void model_corrupt(void)
{
    for (uint32_t key = 0; key < KEYS; key++)
        if (model->entry[key].present) {
            model->entry[key].content++;
            return;
        }
}

static void sessions_run(const char *path)
{
    double end = test_now() + (double)options.seconds;
    for (uint64_t i = 0; i < options.rounds && test_failures() == 0; i++) {
        if (options.self_test && i == options.rounds - 1)
            model_corrupt();
        else if (i >= 2 && test_now() > end && !options.self_test)
            return;
        pid_t child = test_fork(300);
        if (child == 0)
            session(path, i);
        int code = test_wait(child);
        model->sessions++;
        model->crashes += code == 3;
        test_that(code == 0 || code == 3, "session %llu ended with %d", (unsigned long long)i,
                  code);
    }
}

int main(int argc, char **argv)
{
    test_options_parse(&options, NULL, argc, argv);
    test_begin("stress_model", options.seed, options.self_test);
    model = test_shared(sizeof(*model));
    char path[TEST_PATH_BYTES];
    test_pool_path(path, options.dir != NULL ? options.dir : test_dir_memory(), "model");
    pid_t child = test_fork(60);
    if (child == 0)
        _exit(test_pool_create(path, &options) ? 0 : TEST_FAILED);
    if (test_that(test_wait(child) == 0, "cannot create %s", path))
        sessions_run(path);
    test_pool_remove(path, &options);
    return test_end(
        "%llu sessions (%llu ended by a crash), %llu operations, %llu faults, %llu keys, "
        "%llu refused as full or too large",
        (unsigned long long)model->sessions, (unsigned long long)model->crashes,
        (unsigned long long)model->operations, (unsigned long long)model->faults,
        (unsigned long long)present_count(), (unsigned long long)model->full);
}
