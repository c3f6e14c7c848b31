/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A row is retired while it holds records; the process dies before they were moved out of it. And
 * what is no reason to retire one. */

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/repair.h"
#include "kv/store.h"
#include "pmkv.h"
#include "recovery/media.h"

enum { KEYS = 20, VALUE_BYTES = 50000, PATH_BYTES = 64 };

static char path[PATH_BYTES], left_path[PATH_BYTES];
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
    struct pmkv_options options;
    struct pmkv *kv = NULL;
    char key[16];
    memset(value, 7, sizeof value);
    snprintf(path, sizeof path, "/dev/shm/pmkv-retired-row.%d", (int)getpid());
    snprintf(left_path, sizeof left_path, "%s.left", path);
    pmkv_options_init(&options);
    options.pool_bytes = 32 << 20;
    options.allow_inject = options.no_background = true;
    cr_assert_eq(pmkv_create(path, &options), PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_eq(pmkv_open(path, &options, &kv), PMKV_OK, "%s", pmkv_errormsg());
    for (int i = 0; i < KEYS; i++) {
        name_key(key, i);
        cr_assert_eq(pmkv_put(kv, key, strlen(key), value, sizeof value), PMKV_OK);
    }
    return kv;
}

/* Poison, met by a get. */
static void spoil(struct pmkv *kv, const char *key, bool clear_fails)
{
    const struct pmkv_inject spec = {.size = sizeof spec,
                                     .kind = PMKV_INJECT_POISON,
                                     .target = PMKV_INJECT_AT_KEY,
                                     .unit_bytes = 4096,
                                     .key = key,
                                     .key_bytes = strlen(key),
                                     .count = 1,
                                     .clear_fails = clear_fails};
    void *got;
    size_t bytes;
    cr_assert_eq(pmkv_inject(kv, &spec, NULL), PMKV_OK);
    cr_assert_eq(pmkv_get_alloc(kv, key, strlen(key), &got, &bytes), PMKV_OK);
    pmkv_free(got);
}

/* When the second row is about to be retired, the first one is, and nothing was moved out of it. */
static void copy_at_second(void *arg, const struct pmkv_event *event)
{
    int *retired = arg;
    if (event->kind == PMKV_EVENT_RETIRED && ++*retired == 2)
        copy_what_a_death_leaves();
}

static void retire_two_rows(struct pmkv *kv)
{
    int retired = 0;
    spoil(kv, "key 5", true);
    spoil(kv, "key 9", true);
    cr_assert_eq(pmkv_set_event_fn(kv, copy_at_second, &retired), PMKV_OK);
    cr_assert_eq(pmkv_repair(kv, NULL), PMKV_OK);
    cr_assert_eq(pmkv_set_event_fn(kv, NULL, NULL), PMKV_OK);
    cr_assert_eq(retired, 2);
}

static void expect_all_keys(const char *pool)
{
    struct pmkv *kv = NULL;
    struct pmkv_health health;
    char key[16];
    cr_assert_eq(pmkv_open(pool, NULL, &kv), PMKV_OK, "%s", pmkv_errormsg());
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
    cr_expect_eq(pmkv_health(kv, &health), PMKV_OK);
    cr_expect_eq(health.records_lost, 0);
    cr_expect_eq(pmkv_close(&kv), PMKV_OK);
}

static void remove_pools(void)
{
    unlink(path);
    unlink(left_path);
}

Test(retired_row, keeps_its_records_through_a_crash, .fini = remove_pools)
{
    struct pmkv *kv = fill_pool();
    retire_two_rows(kv);
    cr_assert_eq(pmkv_close(&kv), PMKV_OK);
    expect_all_keys(left_path);
    expect_all_keys(left_path);
}

Test(retired_row, keeps_its_records_through_a_clean_close, .fini = remove_pools)
{
    struct pmkv *kv = fill_pool();
    retire_two_rows(kv);
    cr_assert_eq(pmkv_close(&kv), PMKV_OK);
    expect_all_keys(path);
    expect_all_keys(path);
}

static int refusal;

static int refuse_write(struct media *m, uint64_t off, const void *page)
{
    (void)m;
    (void)off;
    (void)page;
    return refusal;
}

/* The page may be good: the system had no memory or no block for its repair. Only -EIO says that it
 * cannot be cleared; and not when that is said of every page, also of good ones. */
Test(retired_row, a_repair_that_lacks_resources_waits_and_retires_nothing, .fini = remove_pools)
{
    static const int refusals[] = {-ENOMEM, -ENOSPC, -ENODEV, -EIO};
    struct pmkv *kv = fill_pool();
    const struct media_ops *ops = kv->vol.media->ops;
    struct media_ops refusing = *ops;
    struct pmkv_health health;
    uint64_t left;
    refusing.recovery_write = refuse_write;
    spoil(kv, "key 5", false);
    for (size_t i = 0; i < sizeof refusals / sizeof refusals[0]; i++) {
        refusal = refusals[i];
        kv->vol.media->ops = &refusing;
        cr_assert_eq(pmkv_repair(kv, &left), PMKV_OK);
        kv->vol.media->ops = ops;
        cr_expect_eq(left, 1, "%s: %llu pages wait", strerror(-refusal), (unsigned long long)left);
        cr_assert_eq(pmkv_health(kv, &health), PMKV_OK);
        cr_expect_eq(health.pages_retired, 0, "%s retired a page", strerror(-refusal));
    }
    cr_assert_eq(pmkv_repair(kv, &left), PMKV_OK);
    cr_assert_eq(pmkv_health(kv, &health), PMKV_OK);
    cr_expect(left == 0 && health.pages_repaired == 1 && health.pages_retired == 0);
    cr_assert_eq(pmkv_close(&kv), PMKV_OK);
    expect_all_keys(path);
}

static int told[2]; /* events: repaired, retired */

static void count_told(void *arg, const struct pmkv_event *event)
{
    (void)arg;
    told[0] += event->kind == PMKV_EVENT_REPAIRED;
    told[1] += event->kind == PMKV_EVENT_RETIRED;
}

/* Whoever meets it: the repair queue, and a close of its row or a write of its header that came to
 * the same page. */
Test(retired_row, a_page_is_told_of_once, .fini = remove_pools)
{
    struct pmkv *kv = fill_pool();
    struct pmkv_health health;
    cr_assert_eq(pmkv_set_event_fn(kv, count_told, NULL), PMKV_OK);
    for (int clear_fails = 0; clear_fails <= 1; clear_fails++) {
        spoil(kv, clear_fails ? "key 9" : "key 5", clear_fails);
        uint64_t off = kv->pending.pages[0];
        cr_assert_eq(kv->pending.count, 1);
        for (int i = 0; i < 3; i++)
            repair_place(kv, off);
        cr_expect_eq(told[clear_fails], 1, "%d events of one page", told[clear_fails]);
        cr_expect_eq(kv->pending.count, 0);
    }
    cr_assert_eq(pmkv_health(kv, &health), PMKV_OK);
    cr_expect(health.pages_repaired == 1 && health.pages_retired == 1);
    cr_assert_eq(pmkv_close(&kv), PMKV_OK);
}
