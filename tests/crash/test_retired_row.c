/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A row is retired while it holds records; the process dies before they were moved out of it. */

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pmkv.h"
#include "support/pool.h"

enum { KEYS = 20, VALUE_BYTES = 50000 };

static char path[TEST_PATH_BYTES];
static char value[VALUE_BYTES];

static void name_key(char key[16], int i)
{
    snprintf(key, 16, "key %d", i);
}

/* Runs in a child: puts, retires the row of key 9, and dies with the pool open or closes it. */
static void retire_and_end(bool closes)
{
    struct pmkv_health health;
    struct pmkv *kv = test_pool_open(path, TEST_OPEN_INJECT);
    char key[16];
    for (int i = 0; i < KEYS; i++) {
        name_key(key, i);
        if (pmkv_put(kv, key, strlen(key), value, sizeof value))
            _exit(2);
    }
    struct pmkv_inject spec = {.size = sizeof spec,
                               .kind = PMKV_INJECT_POISON,
                               .target = PMKV_INJECT_AT_KEY,
                               .unit_bytes = TEST_PAGE_BYTES,
                               .key = "key 9",
                               .key_bytes = 5,
                               .count = 1,
                               .clear_fails = true};
    void *got;
    size_t bytes;
    if (pmkv_inject(kv, &spec, NULL) || pmkv_get_alloc(kv, "key 9", 5, &got, &bytes))
        _exit(3);
    for (int tries = 0; tries < 500; tries++) { /* the keeper repairs, in vain */
        if (pmkv_health(kv, &health) || health.pages_retired > 0)
            break;
        usleep(10000);
    }
    if (health.pages_retired == 0)
        _exit(4);
    if (closes && pmkv_close(&kv))
        _exit(5);
    _exit(0);
}

static void run_child(bool closes)
{
    int how = 0;
    const struct test_options options = {.pool_mib = 32, .geometry = PMKV_PARITY};
    memset(value, 7, sizeof value);
    test_pool_path(path, test_dir_memory(), "retired-row");
    cr_assert(test_pool_create(path, &options));
    pid_t child = fork();
    if (child == 0)
        retire_and_end(closes);
    cr_assert_eq(waitpid(child, &how, 0), child);
    cr_assert(WIFEXITED(how) && WEXITSTATUS(how) == 0, "the child ended with %#x", how);
}

static void expect_all_keys(void)
{
    struct pmkv *kv = test_pool_open(path, 0);
    struct pmkv_health health;
    char key[16];
    cr_assert_not_null(kv);
    for (int i = 0; i < KEYS; i++) {
        void *got = NULL;
        size_t bytes = 0;
        name_key(key, i);
        enum pmkv_status s = pmkv_get_alloc(kv, key, strlen(key), &got, &bytes);
        cr_expect_eq(s, PMKV_OK, "%s: %s", key, pmkv_status_name(s));
        cr_expect(s != PMKV_OK || (bytes == sizeof value && memcmp(got, value, bytes) == 0), "%s",
                  key);
        pmkv_free(got);
    }
    cr_expect_eq(pmkv_health(kv, &health), PMKV_OK);
    cr_expect_eq(health.records_lost, 0);
    cr_expect(test_pool_close(&kv));
}

static void remove_pool(void)
{
    unlink(path);
}

Test(retired_row, keeps_its_records_through_a_crash, .fini = remove_pool)
{
    run_child(false);
    expect_all_keys();
    expect_all_keys();
}

Test(retired_row, keeps_its_records_through_a_clean_close, .fini = remove_pool)
{
    run_child(true);
    expect_all_keys();
    expect_all_keys();
}
