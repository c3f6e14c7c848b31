/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A full pool (P10): PMKV_E_FULL is an answer, not a state. Deletes work then, space comes back,
 * and nothing acknowledged is lost.
 *
 *   1. fill until PMKV_E_FULL; the refused key is not there
 *   2. delete some of it: every delete works; the pool takes as much again
 *   3. 80 % of the capacity live, then overwrite many times the pool's size: never PMKV_E_FULL
 *   4. reopen and verify all
 */
#include <stdio.h>
#include <stdlib.h>

#include "../support/check.h"
#include "../support/options.h"
#include "../support/oracle.h"
#include "../support/pool.h"
#include "../support/rng.h"

enum { VALUE_LOW = 16, VALUE_HIGH = 64 << 10, BUFFER_BYTES = VALUE_HIGH + 64 };

static struct test_options options = {.seconds = 2, .pool_mib = 32};
static uint64_t times = 20;

static struct pmkv *store;
static struct test_set set;
static unsigned char buffer[BUFFER_BYTES];
static struct test_rng rng;
static uint64_t capacity, overwritten_bytes;

static uint64_t live_bytes(void)
{
    struct pmkv_stats stats = {0};
    test_status(pmkv_stats(store, &stats), PMKV_OK, "pmkv_stats");
    return stats.live_bytes;
}

static enum pmkv_status put_random(uint32_t key)
{
    return test_set_put(store, &set, key, buffer, test_rng_size(&rng, VALUE_LOW, VALUE_HIGH));
}

static void verify(const char *when)
{
    uint64_t before = test_failures();
    test_set_verify(store, &set, buffer, BUFFER_BYTES, false);
    test_sets_verify_names(store, &set, 1);
    if (test_failures() > before)
        fprintf(stderr, "  (verifying %s)\n", when);
}

/* 1. */
static void fill(void)
{
    for (uint32_t key = 0; key < set.count; key++) {
        enum pmkv_status status = put_random(key);
        if (status == PMKV_E_FULL)
            return;
        if (!test_status(status, PMKV_OK, "pmkv_put while filling"))
            return;
    }
    test_fail("%u keys in, and the pool still is not full", set.count);
}

/* More refusals change nothing; small values may still go in. */
static void stay_full(void)
{
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t key = (uint32_t)test_rng_below(&rng, set.count);
        enum pmkv_status status = put_random(key);
        if (status != PMKV_OK && !test_status(status, PMKV_E_FULL, "pmkv_put into a full pool"))
            return;
    }
}

/* 2. Every third key goes; then half of what they took must go in again. */
static void make_room(void)
{
    uint64_t before = test_set_bytes(&set), freed = 0, refilled = 0;
    for (uint32_t key = 0; key < set.count && test_failures() == 0; key += 3)
        if (test_slot_present(&set.slots[key]))
            test_status(test_set_delete(store, &set, key), PMKV_OK, "pmkv_delete in a full pool");
    freed = before - test_set_bytes(&set);
    for (uint32_t key = 0; key < set.count && refilled < freed / 2; key += 3) {
        if (!test_status(put_random(key), PMKV_OK, "pmkv_put after deletes"))
            break;
        refilled += atomic_load(&set.slots[key].bytes);
    }
    test_that(freed > 0 && refilled >= freed / 2, "%llu bytes deleted, only %llu went in again",
              (unsigned long long)freed, (unsigned long long)refilled);
}

/* To 80 % of the capacity, from whichever side. Every key gets a version. */
static void settle_at_80(void)
{
    uint64_t want = capacity * 80 / 100;
    for (uint32_t key = 0; key < set.count && live_bytes() > want; key++)
        if (test_slot_present(&set.slots[key]))
            test_status(test_set_delete(store, &set, key), PMKV_OK, "pmkv_delete");
    for (uint32_t key = 0; key < set.count && live_bytes() + BUFFER_BYTES < want; key++)
        if (!test_slot_present(&set.slots[key]))
            test_status(put_random(key), PMKV_OK, "pmkv_put up to 80 %");
}

/* 3. Sizes change places, so that the sum stays what it was. */
static void overwrite(void)
{
    uint64_t goal = times * (options.pool_mib << 20), start = test_set_bytes(&set), sum = start;
    double end = test_now() + (double)options.seconds;
    while (overwritten_bytes < goal && test_now() < end && test_failures() == 0) {
        uint32_t key = (uint32_t)test_rng_below(&rng, set.count);
        struct test_slot *slot = &set.slots[key];
        if (!test_slot_present(slot))
            continue;
        size_t n = test_rng_size(&rng, VALUE_LOW, VALUE_HIGH), old = atomic_load(&slot->bytes);
        if (sum - old + n > start)
            n = old;
        if (!test_status(test_set_put(store, &set, key, buffer, n), PMKV_OK,
                         "an overwrite at 80 % live"))
            return;
        sum = sum - old + n;
        overwritten_bytes += n;
        if (test_rng_one_in(&rng, 16))
            test_set_read_exact(store, &set, (uint32_t)test_rng_below(&rng, set.count), buffer,
                                BUFFER_BYTES);
    }
}

static bool reopen(const char *path)
{
    test_pool_close(&store);
    store = test_pool_open(path, 0);
    if (store == NULL)
        return false;
    verify("after reopening");
    return true;
}

static void story(const char *path)
{
    static struct pmkv_info info;
    test_status(pmkv_info(store, &info), PMKV_OK, "pmkv_info");
    capacity = info.capacity_bytes;
    fill();
    uint64_t live = live_bytes();
    test_that(live >= capacity * 3 / 4, "full at %llu live bytes of a capacity of %llu",
              (unsigned long long)live, (unsigned long long)capacity);
    stay_full();
    verify("the full pool");
    if (!reopen(path))
        return;
    make_room();
    verify("after the deletes");
    settle_at_80();
    overwrite();
    verify("after overwriting");
    if (options.self_test)
        test_set_corrupt(&set);
    if (reopen(path))
        test_pool_check(store);
}

int main(int argc, char **argv)
{
    const struct test_option extra[] = {
        {"times", TEST_OPTION_NUMBER, &times, "N: overwrite N times the pool, within --seconds"},
        {NULL, TEST_OPTION_FLAG, NULL, NULL},
    };
    test_options_parse(&options, extra, argc, argv);
    test_begin("stress_full", options.seed, options.self_test);
    test_deadline((unsigned)options.seconds * 4 + 240);
    rng = test_rng_make(options.seed, 0);
    char path[TEST_PATH_BYTES];
    test_pool_path(path, options.dir != NULL ? options.dir : test_dir_memory(), "full");
    set = test_set_make(0, (uint32_t)(options.pool_mib << 20) / 256);
    if (test_pool_create(path, &options))
        store = test_pool_open(path, 0);
    if (store != NULL) {
        story(path);
        test_pool_close(&store);
    }
    test_pool_remove(path, &options);
    return test_end("%llu keys, capacity %llu MiB of %llu, overwritten %.1f times the pool",
                    (unsigned long long)test_set_present(&set), (unsigned long long)capacity >> 20,
                    (unsigned long long)options.pool_mib,
                    (double)overwritten_bytes / (double)(options.pool_mib << 20));
}
