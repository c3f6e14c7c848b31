/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Reading, and asking how the store is, while any one call fails: right, or an error. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "fail_kit.h"

TestSuite(fail_read, .timeout = 600);

static const struct kit_pool *pool_now; /* what `run` must find */

static void each_pool(const char *name, enum pmkv_status (*run)(struct pmkv *kv))
{
    static const struct {
        enum kit_backend backend;
        enum pmkv_geometry geometry;
        enum kit_state state;
        const char *name;
    } pools[] = {{ON_MEMORY, PMKV_PARITY, CLEAN, "clean"},
                 {ON_MEMORY, PMKV_DOUBLE, DAMAGED, "damaged"},
                 {ON_DISK, PMKV_PARITY, CRASHED_DAMAGED, "crashed and damaged, disk"},
                 {ON_MEMORY, PMKV_NONE, DAMAGED, "with losses"}};
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        struct kit_pool pool;
        char title[64];
        kit_pool_make(&pool, pools[i].backend, pools[i].geometry, pools[i].state);
        pool_now = &pool;
        snprintf(title, sizeof title, "%s, %s", name, pools[i].name);
        struct trial t = {.name = title,
                          .classes = FAULTS_ALL,
                          .pool = &pool,
                          .options = kit_options(&pool),
                          .run = run};
        kit_every_failure(&t);
        kit_pool_free(&pool);
    }
}

/* Until the first error; a value that is returned must be right. */
static enum pmkv_status get_all(struct pmkv *kv)
{
    for (unsigned key = 0; key < KEYS; key++) {
        static uint8_t want[MAX_VALUE];
        char name[16];
        void *value = NULL;
        size_t bytes = 0;
        enum pmkv_status s = pmkv_get_alloc(kv, name, kit_key(name, key), &value, &bytes);
        int version = pool_now->contents.version[key];
        bool right = s == PMKV_OK && version > 0 && bytes == kit_value(want, key, version) &&
                     memcmp(value, want, bytes) == 0;
        bool absent = (s == PMKV_E_NOT_FOUND && version == 0) || -(int)s == version;
        if (s == PMKV_OK)
            kit_that(right, "key%u: wrong bytes", key);
        else if (absent)
            s = PMKV_OK;
        else
            kit_that(s == PMKV_E_IO || s == PMKV_E_NO_MEMORY, "key%u: %s", key,
                     pmkv_status_name(s));
        pmkv_free(value);
        if (s != PMKV_OK)
            return s;
    }
    return PMKV_OK;
}

Test(fail_read, a_get_is_right_or_an_error)
{
    each_pool("get", get_all);
}

/* Keys by number: each once. */
struct seen {
    unsigned count[KEYS];
};

static int see(void *arg, const struct pmkv_item *item)
{
    struct seen *seen = arg;
    unsigned key = KEYS;
    char name[16] = "";
    memcpy(name, item->key, item->key_bytes < 15 ? item->key_bytes : 15);
    bool known = sscanf(name, "key%u", &key) == 1 && key < KEYS;
    if (!kit_that(known, "a key of %zu bytes that was never put", item->key_bytes))
        return 0;
    seen->count[key]++;
    int version = pool_now->contents.version[key];
    if (item->status != PMKV_OK) {
        kit_that(-(int)item->status == version, "key%u: %s", key, pmkv_status_name(item->status));
        return 0;
    }
    static uint8_t want[MAX_VALUE];
    kit_that(version > 0 && item->value_bytes == kit_value(want, key, version) &&
                 memcmp(item->value, want, item->value_bytes) == 0,
             "key%u: wrong bytes", key);
    return 0;
}

static enum pmkv_status scan_all(struct pmkv *kv)
{
    struct seen seen = {{0}};
    enum pmkv_status s = pmkv_foreach(kv, 0, see, &seen);
    for (unsigned key = 0; key < KEYS && s == PMKV_OK; key++)
        kit_that(seen.count[key] <= 1 &&
                     (seen.count[key] == 1 || pool_now->contents.version[key] <= 0),
                 "key%u was shown %u times", key, seen.count[key]);
    return s;
}

Test(fail_read, a_scan_shows_everything_or_is_an_error)
{
    each_pool("foreach", scan_all);
}

static int count_range(void *arg, const struct pmkv_range *range)
{
    *(uint64_t *)arg += range->bytes;
    return 0;
}

static int count_lost(void *arg, const struct pmkv_lost *lost)
{
    (void)lost;
    ++*(uint64_t *)arg;
    return 0;
}

static enum pmkv_status ask(struct pmkv *kv)
{
    struct pmkv_info info;
    struct pmkv_stats stats;
    struct pmkv_health health;
    uint64_t bytes = 0, lost = 0;
    enum pmkv_status s = pmkv_info(kv, &info);
    if (s == PMKV_OK)
        s = pmkv_stats(kv, &stats);
    if (s == PMKV_OK)
        s = pmkv_health(kv, &health);
    if (s == PMKV_OK)
        kit_that(health.state != PMKV_STATE_UNAVAILABLE || faults_report().reached,
                 "the medium is called unavailable");
    if (s == PMKV_OK)
        s = pmkv_map_foreach(kv, count_range, &bytes);
    if (s == PMKV_OK)
        kit_that(bytes == info.pool_bytes, "the map has %llu bytes", (unsigned long long)bytes);
    if (s == PMKV_OK)
        s = pmkv_lost_foreach(kv, count_lost, &lost);
    return s;
}

Test(fail_read, questions_are_answered_or_refused)
{
    each_pool("info, stats, health, map, lost", ask);
}

/* A check that says OK has found what there is. */
static enum pmkv_status check(struct pmkv *kv)
{
    struct pmkv_scan scan = {0};
    enum pmkv_status s = pmkv_check(kv, &scan, NULL, NULL);
    if (s == PMKV_OK && pool_now->geometry == PMKV_DOUBLE) /* the third was met by the open */
        kit_that(scan.bad_pages >= 2, "the check found %llu bad pages, not 2",
                 (unsigned long long)scan.bad_pages);
    return s;
}

Test(fail_read, a_check_finds_everything_or_is_an_error)
{
    each_pool("check", check);
}
