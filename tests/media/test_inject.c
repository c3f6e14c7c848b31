/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Poison, silent damage and repair, on shared memory and on a disk. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "media_kit.h"
#include "recovery/errmsg.h"

TestSuite(inject, .timeout = 120);

/* One test for each place: the parameter is 0 for memory and 1 for the disk. */
#define BOTH_PLACES(name)                                                                          \
    ParameterizedTestParameters(inject, name)                                                      \
    {                                                                                              \
        static int places[] = {0, 1};                                                              \
        return cr_make_param_array(int, places, 2);                                                \
    }                                                                                              \
    ParameterizedTest(int *at, inject, name)

static char path[KIT_PATH_BYTES];
enum { BAD = 7 * PAGE_BYTES };

/* A pool whose page i holds kit_page(i). */
static struct media *pool_at(int at, const char *name)
{
    kit_path(path, at ? kit_disk() : kit_memory(), name);
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES];
    for (uint32_t i = 0; i < KIT_POOL_BYTES / PAGE_BYTES; i++) {
        kit_page(page, i);
        cr_assert_eq(media_store(m, (uint64_t)i * PAGE_BYTES, page, PAGE_BYTES), PAGE_BYTES);
    }
    cr_assert_eq(media_drain(m), 0);
    return m;
}

BOTH_PLACES(a_load_stops_exactly_at_the_poison)
{
    struct media *m = pool_at(*at, "load");
    kit_poison(m, BAD);
    uint8_t got[2 * PAGE_BYTES];
    cr_assert_eq(media_load(m, BAD - 1000, got, 2000), 1000);
    cr_assert_eq(media_load(m, BAD, got, 1), 0);
    cr_assert_eq(media_load(m, BAD + 4095, got, 1), 0);
    cr_assert(kit_page_is(m, BAD - PAGE_BYTES, 6));
    cr_assert(kit_page_is(m, BAD + PAGE_BYTES, 8));
    media_close(&m);
}

BOTH_PLACES(a_store_stops_at_the_poison_and_does_not_fill_the_hole)
{
    struct media *m = pool_at(*at, "store");
    kit_poison(m, BAD);
    uint8_t two[2 * PAGE_BYTES] = {1};
    cr_assert_eq(media_store(m, BAD, two, LINE_BYTES), 0);
    cr_assert_lt(media_store(m, BAD - PAGE_BYTES, two, 2 * PAGE_BYTES), PAGE_BYTES + 1);
    cr_assert_eq(media_drain(m), 0);
    uint64_t first;
    cr_assert_eq(kit_bad_bytes(m, &first), PAGE_BYTES);
    cr_assert_eq(first, BAD);
    media_close(&m);
}

BOTH_PLACES(poison_outlives_the_process)
{
    struct media *m = pool_at(*at, "reopen");
    kit_poison(m, BAD);
    kit_poison(m, 20 * PAGE_BYTES);
    media_close(&m);
    m = kit_open(path);
    uint8_t got[PAGE_BYTES];
    cr_assert_eq(media_load(m, BAD, got, 64), 0);
    cr_assert_eq(media_touch(m, 20 * PAGE_BYTES, 64), 0);
    cr_assert_eq(kit_bad_bytes(m, NULL), 2 * PAGE_BYTES);
    cr_assert(kit_page_is(m, BAD + PAGE_BYTES, 8));
    media_close(&m);
}

BOTH_PLACES(the_bytes_are_really_lost)
{
    struct media *m = pool_at(*at, "lost");
    kit_poison(m, BAD);
    uint8_t got[PAGE_BYTES], zeros[PAGE_BYTES] = {0};
    cr_assert_eq(pread(m->fd, got, PAGE_BYTES, BAD), PAGE_BYTES);
    cr_assert_arr_eq(got, zeros, PAGE_BYTES);
    media_close(&m);
}

BOTH_PLACES(a_recovery_write_makes_the_page_normal_again)
{
    struct media *m = pool_at(*at, "repair");
    unsigned mappings = kit_mappings();
    kit_poison(m, BAD);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 99);
    int rc = media_recovery_write(media_recover(m, BAD), page);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    cr_assert(kit_page_is(m, BAD, 99));
    cr_assert_eq(kit_bad_bytes(m, NULL), 0);
    cr_assert_leq(kit_mappings(), mappings, "the mapping stays in pieces");
    kit_page(page, 98);
    kit_store(m, BAD, page, PAGE_BYTES);
    media_close(&m);
    m = kit_open(path);
    cr_assert(kit_page_is(m, BAD, 98));
    cr_assert(kit_page_is(m, BAD - PAGE_BYTES, 6));
    media_close(&m);
}

BOTH_PLACES(a_page_found_bad_at_open_can_be_repaired)
{
    struct media *m = pool_at(*at, "later");
    for (int i = 0; i < 3; i++) /* one hole of three pages, planted as one */
        kit_poison(m, BAD + (uint64_t)i * PAGE_BYTES);
    media_close(&m);
    m = kit_open(path);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 55);
    int rc = media_recovery_write(media_recover(m, BAD + PAGE_BYTES), page);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    cr_assert(kit_page_is(m, BAD + PAGE_BYTES, 55));
    cr_assert_eq(media_touch(m, BAD, 1), 0);
    cr_assert_eq(media_touch(m, BAD + 2 * PAGE_BYTES, 1), 0);
    cr_assert_eq(kit_bad_bytes(m, NULL), 2 * PAGE_BYTES);
    media_close(&m);
}

BOTH_PLACES(a_page_lost_twice_is_repaired_once)
{
    struct media *m = pool_at(*at, "twice");
    kit_poison(m, BAD);
    kit_poison(m, BAD);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 99);
    cr_assert_eq(media_recovery_write(media_recover(m, BAD), page), 0, "%s", err_message());
    cr_assert_eq(kit_bad_bytes(m, NULL), 0);
    kit_store(m, BAD, page, PAGE_BYTES);
    media_close(&m);
}

static int stop_at_once(void *arg, uint64_t off, uint64_t bytes)
{
    (void)bytes;
    *(uint64_t *)arg = off;
    return 17;
}

BOTH_PLACES(the_last_page_is_listed_and_who_is_told_may_stop)
{
    struct media *m = pool_at(*at, "last");
    uint64_t first = 0;
    kit_poison(m, KIT_POOL_BYTES - PAGE_BYTES);
    cr_assert_eq(kit_bad_bytes(m, &first), PAGE_BYTES);
    cr_assert_eq(first, KIT_POOL_BYTES - PAGE_BYTES);
    kit_poison(m, BAD);
    cr_assert_eq(media_bad_ranges(m, stop_at_once, &first), 17);
    cr_assert_eq(first, BAD);
    media_close(&m);
}

BOTH_PLACES(a_page_told_to_stay_bad_stays_bad)
{
    struct media *m = pool_at(*at, "fails");
    kit_poison(m, BAD);
    cr_assert_eq(media_inject_clear_fails(m, BAD), 0);
    cr_assert_eq(media_inject_clear_fails(m, BAD), 0, "told twice");
    uint8_t page[PAGE_BYTES] = {0};
    cr_assert_eq(media_recovery_write(media_recover(m, BAD), page), -EIO);
    cr_assert_eq(media_touch(m, BAD, 1), 0);
    cr_assert_eq(kit_bad_bytes(m, NULL), PAGE_BYTES);
    cr_assert_eq(media_recovery_write(media_recover(m, BAD + PAGE_BYTES), page), 0);
    media_close(&m);
    m = kit_open(path);
    cr_assert_eq(media_recovery_write(media_recover(m, BAD), page), 0, "it lasts past close");
    media_close(&m);
}

BOTH_PLACES(silent_damage_changes_only_its_bytes)
{
    struct media *m = pool_at(*at, "silent");
    uint8_t page[PAGE_BYTES], got[PAGE_BYTES];
    kit_page(page, 7);
    memset(page + 61, 0, 10); /* over the edge of a line */
    cr_assert_eq(media_inject_bytes(m, BAD + 61, "\0\0\0\0\0\0\0\0\0\0", 10), 0);
    cr_assert_eq(media_load(m, BAD, got, PAGE_BYTES), PAGE_BYTES);
    cr_assert_arr_eq(got, page, PAGE_BYTES);
    cr_assert(kit_page_is(m, BAD - PAGE_BYTES, 6));
    cr_assert(kit_page_is(m, BAD + PAGE_BYTES, 8));
    kit_poison(m, BAD);
    cr_assert_eq(media_inject_bytes(m, BAD, "x", 1), -EIO);
    cr_assert_eq(kit_bad_bytes(m, NULL), PAGE_BYTES, "the hole was filled");
    media_close(&m);
}

BOTH_PLACES(injection_must_be_asked_for_at_open)
{
    struct media *m = pool_at(*at, "asked");
    media_close(&m);
    struct media_args args = {0};
    cr_assert_eq(media_open(path, &args, &m), 0);
    cr_assert_eq(media_inject_poison(m, BAD), -EPERM);
    cr_assert_eq(media_inject_bytes(m, BAD, "x", 1), -EPERM);
    cr_assert_eq(media_inject_clear_fails(m, BAD), -EPERM);
    cr_assert(kit_page_is(m, BAD, 7));
    media_close(&m);
    args.allow_inject = args.read_only = true;
    cr_assert_eq(media_open(path, &args, &m), 0);
    cr_assert_eq(media_inject_poison(m, BAD + 1), -EINVAL);
    cr_assert_eq(media_inject_poison(m, KIT_POOL_BYTES), -EINVAL);
    cr_assert_eq(media_inject_bytes(m, UINT64_MAX - 3, "abcd", 4), -EINVAL);
    kit_poison(m, BAD);
    cr_assert_eq(media_touch(m, BAD, 1), 0);
    media_close(&m);
}

/* --- other threads meanwhile ------------------------------------------------------------------ */

struct toucher {
    struct media *m;
    atomic_bool *stop;
    unsigned number;
    uint64_t short_ones, wrong;
};

/* Loads and stores one page for ever: it must be all there, or short, never half of something. */
static void *touch_page(void *arg)
{
    struct toucher *t = arg;
    uint8_t page[PAGE_BYTES], got[PAGE_BYTES];
    kit_page(page, 7);
    while (!atomic_load(t->stop)) {
        if (t->number % 2 == 0) {
            size_t n = media_load(t->m, BAD, got, PAGE_BYTES);
            t->short_ones += n < PAGE_BYTES;
            t->wrong += memcmp(got, page, n) != 0;
        } else {
            t->short_ones += media_store(t->m, BAD, page, LINE_BYTES) < LINE_BYTES;
        }
    }
    return NULL;
}

BOTH_PLACES(poison_holds_while_other_threads_load_and_store)
{
    struct media *m = pool_at(*at, "race");
    atomic_bool stop = false;
    struct toucher touchers[2];
    pthread_t threads[2];
    uint8_t page[PAGE_BYTES];
    kit_page(page, 7);
    for (unsigned i = 0; i < 2; i++) {
        touchers[i] = (struct toucher){m, &stop, i, 0, 0};
        pthread_create(&threads[i], NULL, touch_page, &touchers[i]);
    }
    for (int round = 0; round < (*at ? 40 : 400); round++) {
        kit_poison(m, BAD);
        cr_assert_eq(lseek(m->fd, BAD, SEEK_HOLE), BAD, "round %d: a thread filled the hole",
                     round);
        cr_assert_eq(media_touch(m, BAD, 1), 0);
        usleep(100);
        cr_assert_eq(lseek(m->fd, BAD, SEEK_HOLE), BAD, "round %d: filled later", round);
        int rc = media_recovery_write(media_recover(m, BAD), page);
        cr_assert_eq(rc, 0, "round %d: %d: %s", round, rc, err_message());
        cr_assert(kit_page_is(m, BAD, 7));
    }
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(touchers[i].wrong, 0, "%llu wrong loads",
                     (unsigned long long)touchers[i].wrong);
        cr_expect_gt(touchers[i].short_ones, 0, "thread %u never met the poison", i);
    }
    media_close(&m);
}

/* --- huge pages ------------------------------------------------------------------------------- */

enum { HUGE_PAGE = 2 << 20, HUGE_POOL = 2 * HUGE_PAGE };

static struct media *huge_pool(const char *name)
{
    kit_path(path, kit_memory(), name);
    struct media_args args = {.create_bytes = HUGE_POOL, .allow_inject = true};
    struct media *m = NULL;
    int rc = media_create(path, &args, &m);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    uint8_t page[PAGE_BYTES];
    for (uint32_t i = 0; i < HUGE_POOL / PAGE_BYTES; i++) {
        kit_page(page, i);
        kit_store(m, (uint64_t)i * PAGE_BYTES, page, PAGE_BYTES);
    }
    return m;
}

/* A new pool has huge pages where the kernel makes them (holes.c). */
Test(inject, a_huge_page_loses_one_page)
{
    struct media *m = huge_pool("huge");
    cr_assert(kit_page_is(m, BAD, 7));
    kit_poison(m, BAD);
    cr_assert_eq(media_touch(m, 0, HUGE_PAGE), BAD);
    cr_assert_eq(kit_bad_bytes(m, NULL), PAGE_BYTES, "no hole, or a whole huge page of them");
    uint8_t page[PAGE_BYTES];
    kit_page(page, 7);
    cr_assert_eq(media_recovery_write(media_recover(m, BAD), page), 0, "%s", err_message());
    for (uint32_t i = 0; i < HUGE_POOL / PAGE_BYTES; i++)
        cr_assert(kit_page_is(m, (uint64_t)i * PAGE_BYTES, i), "page %u", i);
    media_close(&m);
}
