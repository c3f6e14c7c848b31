/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "pool.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"

const char *test_dir_memory(void)
{
    return "/dev/shm";
}

const char *test_dir_disk(void)
{
    const char *dir = getenv("PMKV_TEST_DIR");
    return dir != NULL ? dir : "/var/tmp";
}

void test_pool_path(char path[TEST_PATH_BYTES], const char *dir, const char *name)
{
    snprintf(path, TEST_PATH_BYTES, "%s/pmkv-%s.%d", dir, name, (int)getpid());
    unlink(path);
}

void test_pool_remove(const char *path, const struct test_options *options)
{
    if (options->keep || (test_failures() > 0 && !options->self_test))
        fprintf(stderr, "the pool is kept: %s\n", path);
    else
        unlink(path);
}

bool test_pool_create(const char *path, const struct test_options *options)
{
    struct pmkv_options opts;
    pmkv_options_init(&opts);
    opts.pool_bytes = options->pool_mib << 20;
    opts.geometry = options->geometry;
    if (options->filter_only)
        opts.sigbus = PMKV_SIGBUS_FILTER_ONLY;
    return test_status(pmkv_create(path, &opts), PMKV_OK, "pmkv_create");
}

struct pmkv *test_pool_open(const char *path, unsigned flags)
{
    struct pmkv_options opts;
    struct pmkv *kv = NULL;
    pmkv_options_init(&opts);
    opts.allow_inject = (flags & TEST_OPEN_INJECT) != 0;
    opts.read_only = (flags & TEST_OPEN_READ_ONLY) != 0;
    opts.no_background = (flags & TEST_OPEN_NO_BACKGROUND) != 0;
    opts.ordered = (flags & TEST_OPEN_ORDERED) != 0;
    if (flags & TEST_OPEN_FILTER_ONLY)
        opts.sigbus = PMKV_SIGBUS_FILTER_ONLY;
    test_status(pmkv_open(path, &opts, &kv), PMKV_OK, "pmkv_open");
    return kv;
}

bool test_pool_close(struct pmkv **kv)
{
    bool good = test_status(pmkv_close(kv), PMKV_OK, "pmkv_close");
    return test_that(*kv == NULL, "pmkv_close left the handle set") && good;
}

bool test_pool_scrub(struct pmkv *kv, struct pmkv_scan *scan)
{
    memset(scan, 0, sizeof(*scan));
    return test_status(pmkv_scrub_start(kv, 0), PMKV_OK, "pmkv_scrub_start") &&
           test_status(pmkv_scrub_wait(kv, NULL, NULL), PMKV_OK, "pmkv_scrub_wait") &&
           test_status(pmkv_scrub_status(kv, scan), PMKV_OK, "pmkv_scrub_status") &&
           test_that(scan->state == PMKV_SCAN_FINISHED, "the scrub ended in state %d", scan->state);
}

uint64_t test_pool_heal(struct pmkv *kv)
{
    struct pmkv_scan first, second;
    uint64_t left = 0;
    test_status(pmkv_repair(kv, &left), PMKV_OK, "pmkv_repair");
    test_that(left == 0, "pmkv_repair left %llu pages", (unsigned long long)left);
    if (!test_pool_scrub(kv, &first))
        return 0;
    test_status(pmkv_repair(kv, &left), PMKV_OK, "pmkv_repair after the scrub");
    test_that(left == 0, "pmkv_repair left %llu pages after the scrub", (unsigned long long)left);
    if (test_pool_scrub(kv, &second))
        test_that(second.bad_pages == 0, "the second scrub found %llu bad pages",
                  (unsigned long long)second.bad_pages);
    return first.bad_pages;
}

/* The first bad thing a check met, for the failure's message. */
static char first_event[300];

static void keep_first_event(void *arg, const struct pmkv_event *event)
{
    (void)arg;
    if (first_event[0] == 0)
        snprintf(first_event, sizeof(first_event), "%s", event->text);
}

bool test_pool_check(struct pmkv *kv)
{
    struct pmkv_scan scan;
    memset(&scan, 0, sizeof(scan));
    first_event[0] = 0;
    pmkv_set_event_fn(kv, keep_first_event, NULL);
    if (!test_status(pmkv_check(kv, &scan, NULL, NULL), PMKV_OK, "pmkv_check"))
        return false;
    return test_that(scan.bad_pages == 0 && scan.lost_records == 0,
                     "pmkv_check found %llu bad pages, %llu lost records (first: %s)",
                     (unsigned long long)scan.bad_pages, (unsigned long long)scan.lost_records,
                     first_event[0] ? first_event : "known before the check");
}

struct pmkv_health test_pool_health(struct pmkv *kv)
{
    struct pmkv_health health;
    memset(&health, 0, sizeof(health));
    test_status(pmkv_health(kv, &health), PMKV_OK, "pmkv_health");
    return health;
}

/* --- the map ---------------------------------------------------------------------------------- */

static bool page_add(struct test_map *map, const struct test_page *page)
{
    if (map->count == map->room) {
        size_t room = map->room == 0 ? 4096 : map->room * 2;
        struct test_page *pages = realloc(map->pages, room * sizeof(*pages));
        if (pages == NULL)
            return false;
        map->pages = pages;
        map->room = room;
    }
    map->pages[map->count++] = *page;
    return true;
}

static int range_seen(void *arg, const struct pmkv_range *range)
{
    struct test_map *map = arg;
    if (map->count > 0 && range->offset < map->pages[map->count - 1].offset + TEST_PAGE_BYTES) {
        test_fail("pmkv_map_foreach: the range at %llu overlaps the one before",
                  (unsigned long long)range->offset);
        return 1;
    }
    bool chunked = range->kind == PMKV_RANGE_DATA || range->kind == PMKV_RANGE_PARITY;
    for (uint64_t i = 0; i < range->bytes / TEST_PAGE_BYTES; i++) {
        uint32_t n = (uint32_t)i;
        struct test_page page = {
            .offset = range->offset + i * TEST_PAGE_BYTES,
            .kind = range->kind,
            .state = range->state,
            .segment = range->segment,
            .row = range->row + (chunked ? n / map->chunk_pages : 0),
            .column = range->column,
            .page = chunked ? n % map->chunk_pages : n,
        };
        if (!page_add(map, &page))
            return 1;
    }
    return 0;
}

bool test_map_read(struct pmkv *kv, struct test_map *map)
{
    static struct pmkv_info info;
    if (!test_status(pmkv_info(kv, &info), PMKV_OK, "pmkv_info"))
        return false;
    map->count = 0;
    map->chunk_pages = info.row_pages / (info.data_columns > 0 ? info.data_columns : 1);
    if (map->chunk_pages == 0)
        map->chunk_pages = 1;
    return test_status(pmkv_map_foreach(kv, range_seen, map), PMKV_OK, "pmkv_map_foreach");
}

void test_map_free(struct test_map *map)
{
    free(map->pages);
    *map = (struct test_map){0};
}

size_t test_map_count(const struct test_map *map, enum pmkv_range_kind kind)
{
    size_t n = 0;
    for (size_t i = 0; i < map->count; i++)
        n += map->pages[i].kind == kind;
    return n;
}

/* --- damage ----------------------------------------------------------------------------------- */

static bool write_at(const char *path, uint64_t offset, const void *bytes, size_t n)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    bool good = fd >= 0 && pwrite(fd, bytes, n, (off_t)offset) == (ssize_t)n && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return test_that(good, "cannot damage %s at %llu", path, (unsigned long long)offset);
}

bool test_damage_garbage(const char *path, uint64_t offset, size_t bytes, struct test_rng *rng)
{
    uint64_t *words = malloc(bytes + 8);
    if (words == NULL)
        return false;
    for (size_t i = 0; i <= bytes / 8; i++)
        words[i] = test_rng_next(rng);
    bool good = write_at(path, offset, words, bytes);
    free(words);
    return good;
}

bool test_damage_zero(const char *path, uint64_t offset, size_t bytes)
{
    void *zeros = calloc(1, bytes);
    bool good = zeros != NULL && write_at(path, offset, zeros, bytes);
    free(zeros);
    return good;
}

bool test_damage_copy(const char *path, uint64_t to, uint64_t from, size_t bytes)
{
    void *copy = malloc(bytes);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool good = copy != NULL && fd >= 0 && pread(fd, copy, bytes, (off_t)from) == (ssize_t)bytes;
    if (fd >= 0)
        close(fd);
    good = test_that(good, "cannot read %s at %llu", path, (unsigned long long)from) &&
           write_at(path, to, copy, bytes);
    free(copy);
    return good;
}
