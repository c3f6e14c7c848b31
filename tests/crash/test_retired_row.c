/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A row is retired while it holds records; the process dies before they were moved out of it. */

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pmkv.h"
#include "support/pool.h"

enum { KEYS = 20, VALUE_BYTES = 50000 };

static char path[TEST_PATH_BYTES], left_path[TEST_PATH_BYTES];
static char value[VALUE_BYTES];

static void name_key(char key[16], int i)
{
    snprintf(key, 16, "key %d", i);
}

/* The pool as a process that dies now leaves it. */
static void copy_what_a_death_leaves(void)
{
    int from = open(path, O_RDONLY), to = open(left_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct stat st;
    ssize_t moved = 1;
    cr_assert(from >= 0 && to >= 0 && fstat(from, &st) == 0);
    for (off_t at = 0; at < st.st_size && moved > 0;)
        moved = sendfile(to, from, &at, (size_t)(st.st_size - at));
    cr_assert_eq(lseek(to, 0, SEEK_END), st.st_size);
    close(from);
    close(to);
}

static struct pmkv *fill_pool(void)
{
    const struct test_options options = {.pool_mib = 32, .geometry = PMKV_PARITY};
    char key[16];
    memset(value, 7, sizeof value);
    test_pool_path(path, test_dir_memory(), "retired-row");
    test_pool_path(left_path, test_dir_memory(), "retired-row-left");
    cr_assert(test_pool_create(path, &options));
    struct pmkv *kv = test_pool_open(path, TEST_OPEN_INJECT | TEST_OPEN_NO_BACKGROUND);
    cr_assert_not_null(kv);
    for (int i = 0; i < KEYS; i++) {
        name_key(key, i);
        cr_assert_eq(pmkv_put(kv, key, strlen(key), value, sizeof value), PMKV_OK);
    }
    return kv;
}

/* Poison that cannot be cleared, met by a get. */
static void retire_row_of_key_9(struct pmkv *kv)
{
    const struct pmkv_inject spec = {.size = sizeof spec,
                                     .kind = PMKV_INJECT_POISON,
                                     .target = PMKV_INJECT_AT_KEY,
                                     .unit_bytes = TEST_PAGE_BYTES,
                                     .key = "key 9",
                                     .key_bytes = 5,
                                     .count = 1,
                                     .clear_fails = true};
    void *got;
    size_t bytes;
    cr_assert_eq(pmkv_inject(kv, &spec, NULL), PMKV_OK);
    cr_assert_eq(pmkv_get_alloc(kv, "key 9", 5, &got, &bytes), PMKV_OK);
    pmkv_free(got);
    cr_assert_eq(test_pool_health(kv).pages_retired, 1);
}

static void expect_all_keys(const char *pool)
{
    struct pmkv *kv = test_pool_open(pool, 0);
    char key[16];
    cr_assert_not_null(kv);
    for (int i = 0; i < KEYS; i++) {
        void *got = NULL;
        size_t bytes = 0;
        name_key(key, i);
        enum pmkv_status s = pmkv_get_alloc(kv, key, strlen(key), &got, &bytes);
        cr_expect_eq(s, PMKV_OK, "%s: %s", key, pmkv_status_name(s));
        cr_expect(s != PMKV_OK || (bytes == sizeof value && memcmp(got, value, bytes) == 0),
                  "%s is not what was put", key);
        pmkv_free(got);
    }
    cr_expect_eq(test_pool_health(kv).records_lost, 0);
    cr_expect(test_pool_close(&kv));
}

static void remove_pools(void)
{
    unlink(path);
    unlink(left_path);
}

Test(retired_row, keeps_its_records_through_a_crash, .fini = remove_pools)
{
    struct pmkv *kv = fill_pool();
    retire_row_of_key_9(kv);
    copy_what_a_death_leaves();
    cr_assert(test_pool_close(&kv));
    expect_all_keys(left_path);
    expect_all_keys(left_path);
}

Test(retired_row, keeps_its_records_through_a_clean_close, .fini = remove_pools)
{
    struct pmkv *kv = fill_pool();
    retire_row_of_key_9(kv);
    cr_assert(test_pool_close(&kv));
    expect_all_keys(path);
    expect_all_keys(path);
}
