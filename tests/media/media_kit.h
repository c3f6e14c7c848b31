/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What the tests of the medium share: files of their own, pages with known bytes. */
#ifndef PMKV_TESTS_MEDIA_KIT_H
#define PMKV_TESTS_MEDIA_KIT_H

#include <stdbool.h>
#include <stdint.h>

#include "recovery/media.h"

enum { KIT_PATH_BYTES = 256, KIT_POOL_BYTES = 64 * PAGE_BYTES };

/* The two kinds of file system that every machine has. */
struct kit_place {
    const char *name;
    const char *dir;
    enum media_backend backend;
};
const struct kit_place *kit_memory(void); /* PMKV_TEST_MEMORY_DIR, or /dev/shm */
const struct kit_place *kit_disk(void);   /* PMKV_TEST_DIR, or /var/tmp */

/* A path of this process; what was there is removed now and at exit. */
void kit_path(char path[KIT_PATH_BYTES], const struct kit_place *place, const char *name);

/* All of these fail the test when the call fails. */
struct media *kit_create(const char *path);
struct media *kit_open(const char *path);
void kit_store(struct media *m, uint64_t off, const void *src, size_t bytes);
void kit_poison(struct media *m, uint64_t off);

/* A page whose bytes depend on the seed and their place; none of its words is zero. */
void kit_page(uint8_t page[PAGE_BYTES], uint32_t seed);
bool kit_page_is(struct media *m, uint64_t off, uint32_t seed);
uint64_t kit_file_size(const char *path);
/* How many bytes media_bad_ranges lists; the offset of the first in *first. */
uint64_t kit_bad_bytes(struct media *m, uint64_t *first);
unsigned kit_mappings(void); /* lines of /proc/self/maps */

#endif
