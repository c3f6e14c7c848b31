/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Pools of a test: where they are, opening them, their map page by page, damage to a closed file.
 */
#ifndef PMKV_TESTS_SUPPORT_POOL_H
#define PMKV_TESTS_SUPPORT_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"
#include "pmkv.h"
#include "rng.h"

enum { TEST_PATH_BYTES = 512, TEST_PAGE_BYTES = 4096 };

const char *test_dir_memory(void); /* /dev/shm */
const char *test_dir_disk(void);   /* PMKV_TEST_DIR, or /var/tmp */

/* A path in `dir` that no other process uses; a file that is there is removed. */
void test_pool_path(char path[TEST_PATH_BYTES], const char *dir, const char *name);
/* Removes the file, unless the test failed or was told to keep it: then says where it is. */
void test_pool_remove(const char *path, const struct test_options *options);

/* Create, open, close; a failure is a failure of the test. */
bool test_pool_create(const char *path, const struct test_options *options);
enum test_open_flags {
    TEST_OPEN_INJECT = 1,
    TEST_OPEN_READ_ONLY = 2,
    TEST_OPEN_NO_BACKGROUND = 4,
    TEST_OPEN_FILTER_ONLY = 8, /* the program owns SIGBUS */
    TEST_OPEN_ORDERED = 16,    /* for iterators */
};
struct pmkv *test_pool_open(const char *path, unsigned flags);
bool test_pool_close(struct pmkv **kv);

/* A whole scrub at full speed; `scan` gets its result. */
bool test_pool_scrub(struct pmkv *kv, struct pmkv_scan *scan);
/* Repairs what waits, scrubs, and demands that a second scrub finds nothing. Returns the pages that
 * the first one found. */
uint64_t test_pool_heal(struct pmkv *kv);
/* pmkv_check must find nothing bad. */
bool test_pool_check(struct pmkv *kv);
struct pmkv_health test_pool_health(struct pmkv *kv);

/* One page of the pool, as pmkv_map_foreach tells. */
struct test_page {
    uint64_t offset;
    enum pmkv_range_kind kind;
    enum pmkv_range_state state;
    uint32_t segment, row, column;
    uint32_t page; /* of its chunk */
};
struct test_map {
    struct test_page *pages;
    size_t count, room;
    uint32_t chunk_pages;
};
bool test_map_read(struct pmkv *kv, struct test_map *map); /* in offset order */
void test_map_free(struct test_map *map);
size_t test_map_count(const struct test_map *map, enum pmkv_range_kind kind);

/* Damage to a file under a pool that is closed (or whose handle must notice). */
bool test_damage_garbage(const char *path, uint64_t offset, size_t bytes, struct test_rng *rng);
bool test_damage_zero(const char *path, uint64_t offset, size_t bytes);
bool test_damage_copy(const char *path, uint64_t to, uint64_t from, size_t bytes);

#endif
