/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A pool under readers, writers and a cleaner while an injector takes its pages away (P3..P6).
 *
 * Mode `budget` stays within what the redundancy covers: at most one unrepaired page a row at any
 * time. The injector poisons pages of rows it has not touched since the last scrub, waits after
 * each until no repair is pending or 5 ms have passed, and scrubs when a cycle is full: a page
 * nobody reads is found by the scrub. A twin protects an open row elsewhere, so twins have cycles
 * of their own, with no other page outstanding. Then nothing may be lost, ever.
 *
 * Mode `storm` poisons random live pages and respects nothing. Then records may be lost, but must
 * say so: PMKV_E_LOST, never a wrong byte, an older version, a crash or a hang.
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

enum { WRITERS = 2, READERS = 2, WORKERS = WRITERS + READERS };
enum { VALUE_LOW = 16, VALUE_HIGH = 8 << 10, LARGE_HIGH = 300 << 10, BATCH_KEYS = 6 };
enum { CYCLE_PAGES = 48, SETTLE_MS = 5, HANG_SECONDS = 30 };

static struct test_options options = {.seconds = 2, .rounds = 2, .pool_mib = 32};
static const char *mode = "budget";
static uint64_t rate = 400;
static bool scrubbing, open_only;
static bool storm;

static struct test_set sets[WRITERS];
static struct test_pulse pulses[WORKERS];
static struct pmkv *store;
static atomic_bool stop;
static _Atomic uint64_t reads, writes, lost, full, unknown, injected, scrubs;

/* --- workers ---------------------------------------------------------------------------------- */

struct worker {
    unsigned id;
    struct test_rng rng;
    unsigned char *buffer;
};

static size_t value_size(struct test_rng *rng)
{
    return test_rng_one_in(rng, 500) ? test_rng_size(rng, 64 << 10, LARGE_HIGH)
                                     : test_rng_size(rng, VALUE_LOW, VALUE_HIGH);
}

static void write_judge(enum pmkv_status status, const char *what)
{
    atomic_fetch_add(&writes, 1);
    if (status == PMKV_OK)
        return;
    if (status == PMKV_E_FULL)
        atomic_fetch_add(&full, 1);
    else if (status == PMKV_E_MEDIA && storm)
        atomic_fetch_add(&unknown, 1);
    else
        test_status(status, PMKV_OK, what);
}

static void batch_write(struct worker *w, struct test_set *set)
{
    struct pmkv_batch *batch = NULL;
    uint64_t version[BATCH_KEYS];
    size_t bytes[BATCH_KEYS];
    uint32_t first = (uint32_t)test_rng_below(&w->rng, set->count - BATCH_KEYS);
    pmkv_batch_new(&batch);
    for (uint32_t i = 0; i < BATCH_KEYS; i++) {
        char key[TEST_KEY_BYTES];
        size_t key_bytes = test_key_make(key, set->id, first + i);
        bytes[i] = test_rng_size(&w->rng, VALUE_LOW, VALUE_HIGH);
        version[i] = test_slot_intend(&set->slots[first + i], false);
        test_value_fill(w->buffer, bytes[i], key, key_bytes, version[i]);
        test_status(pmkv_batch_put(batch, key, key_bytes, w->buffer, bytes[i]), PMKV_OK,
                    "pmkv_batch_put");
    }
    enum pmkv_status status = pmkv_write(store, batch);
    for (uint32_t i = 0; i < BATCH_KEYS; i++) {
        if (status == PMKV_OK)
            test_slot_ack(&set->slots[first + i], version[i], bytes[i]);
        else if (status != PMKV_E_FULL)
            test_slot_unsure(&set->slots[first + i]);
    }
    write_judge(status, "pmkv_write");
    pmkv_batch_free(&batch);
}

static void *writer_run(void *arg)
{
    struct worker *w = arg;
    struct test_set *set = &sets[w->id];
    while (!atomic_load(&stop)) {
        uint32_t key = (uint32_t)test_rng_below(&w->rng, set->count);
        uint64_t draw = test_rng_below(&w->rng, 20);
        if (draw == 0)
            batch_write(w, set);
        else if (draw == 1)
            write_judge(test_set_delete(store, set, key), "pmkv_delete");
        else
            write_judge(test_set_put(store, set, key, w->buffer, value_size(&w->rng)), "pmkv_put");
        atomic_fetch_add_explicit(&pulses[w->id].beats, 1, memory_order_relaxed);
    }
    return NULL;
}

static void *reader_run(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&stop)) {
        const struct test_set *set = &sets[test_rng_below(&w->rng, WRITERS)];
        uint32_t key = (uint32_t)test_rng_below(&w->rng, set->count);
        if (test_set_read(store, set, key, w->buffer, LARGE_HIGH) == TEST_LOST) {
            atomic_fetch_add(&lost, 1);
            test_that(storm, "s%u-%06u is lost within the budget: %s", set->id, key,
                      pmkv_errormsg());
        }
        atomic_fetch_add(&reads, 1);
        atomic_fetch_add_explicit(&pulses[w->id].beats, 1, memory_order_relaxed);
    }
    return NULL;
}

/* --- the injector ----------------------------------------------------------------------------- */

struct injector {
    struct pmkv *kv;
    struct test_map map;
    struct test_rng rng;
    uint64_t touched[CYCLE_PAGES]; /* rows that may have an unrepaired page */
    uint32_t touched_count;
};

/* What shares the page's redundancy. */
static uint64_t row_name(const struct test_page *page)
{
    switch (page->kind) {
    case PMKV_RANGE_SUPERBLOCK:
    case PMKV_RANGE_TABLE:
        return ~0ull;
    case PMKV_RANGE_HEADER:
        return (uint64_t)page->segment << 32 | 0xffffffff;
    default:
        return (uint64_t)page->segment << 32 | page->row;
    }
}

static bool row_touched(const struct injector *in, uint64_t row)
{
    for (uint32_t i = 0; i < in->touched_count; i++)
        if (in->touched[i] == row)
            return true;
    return false;
}

static bool page_poison(struct injector *in, uint64_t offset)
{
    uint32_t n = 0;
    const struct pmkv_inject spec = {
        .size = sizeof(spec),
        .kind = PMKV_INJECT_POISON,
        .target = PMKV_INJECT_AT_OFFSET,
        .unit_bytes = TEST_PAGE_BYTES,
        .offset = offset,
        .count = 1,
    };
    bool good = test_status(pmkv_inject(in->kv, &spec, &n), PMKV_OK, "pmkv_inject");
    atomic_fetch_add(&injected, n);
    return good;
}

/* A page of a row that is whole; NULL when twenty draws find none. */
static const struct test_page *page_draw(struct injector *in, bool twin)
{
    for (int tries = 0; tries < (twin ? 20000 : 20); tries++) {
        const struct test_page *page = &in->map.pages[test_rng_below(&in->rng, in->map.count)];
        if (page->kind == PMKV_RANGE_FREE || page->kind == PMKV_RANGE_UNUSED)
            continue;
        if ((page->kind == PMKV_RANGE_TWIN) == twin && !row_touched(in, row_name(page)))
            return page;
    }
    return NULL;
}

static void repair_await(struct injector *in)
{
    for (unsigned ms = 0; ms < SETTLE_MS; ms++) {
        if (test_pool_health(in->kv).pages_pending == 0)
            return;
        test_sleep_ms(1);
    }
}

/* Ends the cycle: after a scrub every row is whole again. */
static void cycle_end(struct injector *in)
{
    struct pmkv_scan scan;
    uint64_t left = 0;
    if (test_pool_scrub(in->kv, &scan))
        test_that(scan.lost_records == 0, "a scrub within the budget lost %llu records",
                  (unsigned long long)scan.lost_records);
    test_status(pmkv_repair(in->kv, &left), PMKV_OK, "pmkv_repair");
    test_that(left == 0, "pmkv_repair left %llu pages", (unsigned long long)left);
    atomic_fetch_add(&scrubs, 1);
    in->touched_count = 0;
}

static void budget_step(struct injector *in, bool twin)
{
    if (!test_map_read(in->kv, &in->map))
        return;
    const struct test_page *page = page_draw(in, twin);
    if (page != NULL) {
        in->touched[in->touched_count++] = row_name(page);
        page_poison(in, page->offset);
        repair_await(in);
    }
    test_sleep_ms(rate > 1000 ? 1 : (unsigned)(1000 / rate));
}

static void budget_run(struct injector *in)
{
    while (!atomic_load(&stop) && test_failures() == 0) {
        bool twin = test_rng_one_in(&in->rng, 3);
        unsigned pages = twin ? 1 : CYCLE_PAGES;
        for (unsigned i = 0; i < pages && !atomic_load(&stop); i++)
            budget_step(in, twin);
        cycle_end(in);
    }
}

static void storm_run(struct injector *in)
{
    while (!atomic_load(&stop) && test_failures() == 0) {
        uint32_t n = 0;
        const struct pmkv_inject spec = {
            .size = sizeof(spec),
            .kind = PMKV_INJECT_POISON,
            .target = PMKV_INJECT_AT_RANDOM,
            .unit_bytes = TEST_PAGE_BYTES,
            .seed = test_rng_next(&in->rng),
            .count = 1 + (uint32_t)test_rng_below(&in->rng, 4),
            .live_only = true,
        };
        test_status(pmkv_inject(in->kv, &spec, &n), PMKV_OK, "pmkv_inject");
        atomic_fetch_add(&injected, n);
        test_sleep_ms(rate > 1000 ? 1 : (unsigned)(1000 / rate));
    }
}

static void *injector_run(void *arg)
{
    if (storm)
        storm_run(arg);
    else
        budget_run(arg);
    return NULL;
}

static void *scrubber_run(void *arg)
{
    struct pmkv_scan scan;
    while (!atomic_load(&stop)) {
        test_pool_scrub(arg, &scan);
        atomic_fetch_add(&scrubs, 1);
    }
    return NULL;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Fills to about 45 % of the capacity; overwriting then keeps the cleaner busy. */
static void pool_fill(unsigned char *buffer, struct test_rng *rng)
{
    struct pmkv_stats stats;
    static struct pmkv_info info;
    test_status(pmkv_info(store, &info), PMKV_OK, "pmkv_info");
    uint32_t room = (uint32_t)(info.capacity_bytes / 800);
    for (unsigned s = 0; s < WRITERS; s++)
        sets[s] = test_set_make(s, room);
    for (uint32_t i = 0; i < room; i++) {
        for (unsigned s = 0; s < WRITERS; s++)
            test_status(test_set_put(store, &sets[s], i, buffer, value_size(rng)), PMKV_OK, "fill");
        test_status(pmkv_stats(store, &stats), PMKV_OK, "pmkv_stats");
        if (stats.live_bytes > info.capacity_bytes * 45 / 100 || test_failures() > 0) {
            for (unsigned s = 0; s < WRITERS; s++)
                sets[s].count = i + 1;
            return;
        }
    }
}

static void load_run(struct injector *in)
{
    struct worker workers[WORKERS];
    pthread_t threads[WORKERS], injector, scrubber;
    for (unsigned i = 0; i < WORKERS; i++) {
        workers[i] = (struct worker){i, test_rng_make(options.seed, 100 + i), malloc(LARGE_HIGH)};
        pthread_create(&threads[i], NULL, i < WRITERS ? writer_run : reader_run, &workers[i]);
    }
    pthread_create(&injector, NULL, injector_run, in);
    if (scrubbing)
        pthread_create(&scrubber, NULL, scrubber_run, store);
    double end = test_now() + (double)options.seconds;
    while (test_now() < end && test_failures() == 0) {
        test_sleep_ms(50);
        test_pulse_watch(pulses, WORKERS, HANG_SECONDS);
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        free(workers[i].buffer);
    }
    pthread_join(injector, NULL);
    if (scrubbing)
        pthread_join(scrubber, NULL);
}

static uint64_t all_verify(struct pmkv *kv, unsigned char *buffer)
{
    uint64_t gone = 0;
    for (unsigned s = 0; s < WRITERS; s++)
        gone += test_set_verify(kv, &sets[s], buffer, LARGE_HIGH, storm).of[TEST_LOST];
    if (!storm)
        test_sets_verify_names(kv, sets, WRITERS);
    return gone;
}

/* Poisons one page of many rows of the closed pool, so that open itself meets them. */
static void closed_poison(const char *path, struct injector *in)
{
    in->kv = test_pool_open(path, TEST_OPEN_INJECT | TEST_OPEN_READ_ONLY);
    in->touched_count = 0;
    if (in->kv == NULL || !test_map_read(in->kv, &in->map))
        return;
    bool twin = test_rng_one_in(&in->rng, 3);
    for (unsigned i = 0; i < (twin ? 1 : CYCLE_PAGES); i++) {
        const struct test_page *page = page_draw(in, twin);
        if (page == NULL)
            continue;
        in->touched[in->touched_count++] = row_name(page);
        page_poison(in, page->offset);
    }
    test_pool_close(&in->kv);
}

static void open_rounds(const char *path, struct injector *in, unsigned char *buffer)
{
    for (uint64_t round = 0; round < options.rounds && test_failures() == 0; round++) {
        if (options.geometry != PMKV_NONE)
            closed_poison(path, in);
        store = test_pool_open(path, 0);
        if (store == NULL)
            return;
        all_verify(store, buffer);
        if (!storm)
            test_pool_heal(store);
        for (unsigned i = 0; i < 200; i++) {
            uint32_t key = (uint32_t)test_rng_below(&in->rng, sets[0].count);
            write_judge(test_set_put(store, &sets[0], key, buffer, value_size(&in->rng)),
                        "pmkv_put after an open with damage");
        }
        test_pool_close(&store);
    }
}

/* Nothing is bad any more, and all that was acknowledged is there. */
static uint64_t aftermath(unsigned char *buffer)
{
    test_pool_heal(store);
    uint64_t gone = all_verify(store, buffer);
    struct pmkv_health health = test_pool_health(store);
    test_that(health.pages_retired == 0, "%llu pages were retired although all could be cleared",
              (unsigned long long)health.pages_retired);
    if (!storm) {
        test_that(health.records_lost == 0, "%llu records are lost within the budget: %s",
                  (unsigned long long)health.records_lost, health.status);
        test_pool_check(store);
    }
    return gone;
}

int main(int argc, char **argv)
{
    const struct test_option extra[] = {
        {"mode", TEST_OPTION_TEXT, &mode, "budget (nothing may be lost) or storm"},
        {"rate", TEST_OPTION_NUMBER, &rate, "N: most injections a second"},
        {"scrub", TEST_OPTION_FLAG, &scrubbing, "scrub all the time"},
        {"open-only", TEST_OPTION_FLAG, &open_only, "only the rounds that poison the closed pool"},
        {NULL, TEST_OPTION_FLAG, NULL, NULL},
    };
    test_options_parse(&options, extra, argc, argv);
    test_begin("stress_poison", options.seed, options.self_test);
    storm = strcmp(mode, "storm") == 0;
    if (rate == 0)
        rate = 1;
    if (options.geometry == PMKV_NONE && !storm)
        return test_skip("geometry none rebuilds nothing: only --mode storm");
    test_deadline((unsigned)(options.seconds * 4 + options.rounds * 20 + 180));
    char path[TEST_PATH_BYTES];
    test_pool_path(path, options.dir != NULL ? options.dir : test_dir_memory(), "poison");
    unsigned char *buffer = malloc(LARGE_HIGH);
    struct injector in = {.rng = test_rng_make(options.seed, 7)};
    uint64_t gone = 0;
    if (test_pool_create(path, &options))
        store = in.kv = test_pool_open(path, TEST_OPEN_INJECT);
    if (store != NULL) {
        pool_fill(buffer, &in.rng);
        if (!open_only)
            load_run(&in);
        if (options.self_test)
            test_set_corrupt(&sets[0]);
        gone = aftermath(buffer);
        test_pool_close(&store);
        open_rounds(path, &in, buffer);
    }
    test_that(full == 0, "%llu writes found a pool full that is 45 %% live",
              (unsigned long long)full);
    test_map_free(&in.map);
    free(buffer);
    test_pool_remove(path, &options);
    return test_end("%s: %llu pages poisoned, %llu reads, %llu writes, %llu scrubs, %llu reads of "
                    "lost keys, %llu keys lost at the end, %llu full, %llu outcomes unknown",
                    mode, (unsigned long long)injected, (unsigned long long)reads,
                    (unsigned long long)writes, (unsigned long long)scrubs,
                    (unsigned long long)lost, (unsigned long long)gone, (unsigned long long)full,
                    (unsigned long long)unknown);
}
