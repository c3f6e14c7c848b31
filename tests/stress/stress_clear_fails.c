/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Pages whose poison cannot be cleared (P6): the row is retired for good, its data moves and stays
 * right, and the place is never used again, whatever is written and however often the pool is
 * opened.
 *
 * That a place is not used is seen twice: the map shows it retired, and the file's bytes there do
 * not change any more.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/check.h"
#include "../support/options.h"
#include "../support/oracle.h"
#include "../support/pool.h"
#include "../support/rng.h"

enum { KEYS = 3000, VALUE_LOW = 16, VALUE_HIGH = 12 << 10, MAX_RETIRED_PAGES = 4096 };

static struct test_options options = {.seconds = 2, .rounds = 6, .pool_mib = 48};

static struct pmkv *store;
static struct test_set set;
static unsigned char buffer[VALUE_HIGH];
static struct test_rng rng;
static uint64_t overwritten_bytes;

/* Pages that were retired, and what the file held there then. */
static struct retired {
    uint64_t offset;
    unsigned char bytes[TEST_PAGE_BYTES];
} retired[MAX_RETIRED_PAGES];
static unsigned retired_count;

static bool page_read(const char *path, uint64_t offset, void *bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = fd >= 0 && pread(fd, bytes, TEST_PAGE_BYTES, (off_t)offset) == TEST_PAGE_BYTES;
    if (fd >= 0)
        close(fd);
    return test_that(good, "cannot read %s at %llu", path, (unsigned long long)offset);
}

static bool is_known(uint64_t offset)
{
    for (unsigned i = 0; i < retired_count; i++)
        if (retired[i].offset == offset)
            return true;
    return false;
}

/* Remembers the pages that the map shows as retired. */
static void retired_learn(const char *path)
{
    struct test_map map = {0};
    if (test_map_read(store, &map))
        for (size_t i = 0; i < map.count && retired_count < MAX_RETIRED_PAGES; i++) {
            const struct test_page *page = &map.pages[i];
            if (page->state == PMKV_RANGE_RETIRED && !is_known(page->offset) &&
                page_read(path, page->offset, retired[retired_count].bytes))
                retired[retired_count++].offset = page->offset;
        }
    test_map_free(&map);
}

static const struct test_page *page_find(const struct test_map *map, uint64_t offset)
{
    for (size_t i = 0; i < map->count; i++)
        if (map->pages[i].offset == offset)
            return &map->pages[i];
    return NULL;
}

/* All of them still are retired and nobody wrote there. */
static void retired_verify(const char *path, const char *when)
{
    struct test_map map = {0};
    unsigned char bytes[TEST_PAGE_BYTES];
    if (!test_map_read(store, &map))
        return;
    for (unsigned i = 0; i < retired_count; i++) {
        uint64_t offset = retired[i].offset;
        const struct test_page *page = page_find(&map, offset);
        test_that(page != NULL && page->state == PMKV_RANGE_RETIRED,
                  "%s: the page at %llu was retired; the map shows state %d", when,
                  (unsigned long long)offset, page == NULL ? -1 : (int)page->state);
        if (page_read(path, offset, bytes))
            test_that(memcmp(bytes, retired[i].bytes, sizeof(bytes)) == 0,
                      "%s: the page at %llu was retired and has been written", when,
                      (unsigned long long)offset);
    }
    test_map_free(&map);
}

/* Poisons the page under a key that is there; its recovery writes fail from now on. */
static void key_page_break(uint32_t index)
{
    char key[TEST_KEY_BYTES];
    uint32_t n = 0;
    uint64_t left = 1;
    const struct pmkv_inject spec = {
        .size = sizeof(spec),
        .kind = PMKV_INJECT_POISON,
        .target = PMKV_INJECT_AT_KEY,
        .unit_bytes = TEST_PAGE_BYTES,
        .key = key,
        .key_bytes = test_key_make(key, set.id, index),
        .count = 1,
        .clear_fails = true,
    };
    if (!test_status(pmkv_inject(store, &spec, &n), PMKV_OK, "pmkv_inject"))
        return;
    test_that(n == 1, "pmkv_inject under a live key made %u faults", n);
    test_that(test_set_read_exact(store, &set, index, buffer, VALUE_HIGH) == TEST_RIGHT,
              "the key over the broken page is not right: %s", pmkv_errormsg());
    test_status(pmkv_repair(store, &left), PMKV_OK, "pmkv_repair");
    test_that(left == 0, "pmkv_repair left %llu pages", (unsigned long long)left);
}

static uint32_t key_draw(void)
{
    for (;;) {
        uint32_t key = (uint32_t)test_rng_below(&rng, set.count);
        if (test_slot_present(&set.slots[key]))
            return key;
    }
}

static void overwrite(uint64_t goal_bytes)
{
    double end = test_now() + (double)options.seconds / (double)options.rounds;
    for (uint64_t done = 0; done < goal_bytes && test_now() < end && test_failures() == 0;) {
        uint32_t key = (uint32_t)test_rng_below(&rng, set.count);
        size_t n = test_rng_size(&rng, VALUE_LOW, VALUE_HIGH);
        if (!test_status(test_set_put(store, &set, key, buffer, n), PMKV_OK, "pmkv_put"))
            return;
        done += n;
        overwritten_bytes += n;
    }
}

static void all_verify(void)
{
    test_set_verify(store, &set, buffer, VALUE_HIGH, false);
    test_sets_verify_names(store, &set, 1);
}

static void round_run(const char *path, uint64_t round)
{
    uint64_t before = test_pool_health(store).pages_retired;
    key_page_break(key_draw());
    struct pmkv_health health = test_pool_health(store);
    test_that(health.pages_retired > before, "round %llu: %llu pages retired, %llu before",
              (unsigned long long)round, (unsigned long long)health.pages_retired,
              (unsigned long long)before);
    test_that(health.records_lost == 0, "%llu records lost: %s",
              (unsigned long long)health.records_lost, health.status);
    all_verify();
    unsigned known = retired_count;
    retired_learn(path);
    test_that(retired_count > known, "round %llu: the map shows no new retired range",
              (unsigned long long)round);
    overwrite(options.pool_mib << 20);
    retired_verify(path, "after overwriting");
    test_pool_close(&store);
    store = test_pool_open(path, TEST_OPEN_INJECT);
    if (store == NULL)
        return;
    all_verify();
    retired_verify(path, "after reopening");
    overwrite(options.pool_mib << 20);
    retired_verify(path, "after reopening and overwriting");
}

int main(int argc, char **argv)
{
    test_options_parse(&options, NULL, argc, argv);
    test_begin("stress_clear_fails", options.seed, options.self_test);
    if (options.geometry == PMKV_NONE)
        return test_skip("geometry none rebuilds nothing");
    test_deadline((unsigned)(options.seconds * 4 + options.rounds * 10 + 180));
    rng = test_rng_make(options.seed, 0);
    char path[TEST_PATH_BYTES];
    test_pool_path(path, options.dir != NULL ? options.dir : test_dir_memory(), "clear-fails");
    set = test_set_make(0, KEYS);
    if (test_pool_create(path, &options))
        store = test_pool_open(path, TEST_OPEN_INJECT);
    for (uint32_t i = 0; store != NULL && i < KEYS; i++)
        test_status(
            test_set_put(store, &set, i, buffer, test_rng_size(&rng, VALUE_LOW, VALUE_HIGH)),
            PMKV_OK, "fill");
    for (uint64_t round = 0; store != NULL && round < options.rounds; round++)
        if (test_failures() == 0)
            round_run(path, round);
    if (options.self_test && test_failures() == 0 && retired_count > 0) {
        retired[0].bytes[0] ^= 1;
        retired_verify(path, "self-test");
    }
    if (store != NULL) {
        test_pool_heal(store);
        all_verify();
        test_pool_close(&store);
    }
    test_pool_remove(path, &options);
    return test_end("%u pages retired, overwritten %.1f times the pool", retired_count,
                    (double)overwritten_bytes / (double)(options.pool_mib << 20));
}
