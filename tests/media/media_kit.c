/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "media_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recovery/errmsg.h"

static const char *directory(const char *variable, const char *otherwise)
{
    const char *dir = getenv(variable);
    return dir && *dir ? dir : otherwise;
}

const struct kit_place *kit_memory(void)
{
    static struct kit_place place = {"shm", NULL, MEDIA_SHM};
    place.dir = directory("PMKV_TEST_MEMORY_DIR", "/dev/shm");
    return &place;
}

const struct kit_place *kit_disk(void)
{
    static struct kit_place place = {"file", NULL, MEDIA_FILE};
    place.dir = directory("PMKV_TEST_DIR", "/var/tmp");
    return &place;
}

static char made[16][KIT_PATH_BYTES];
static size_t made_count;

static void remove_made(void)
{
    for (size_t i = 0; i < made_count; i++)
        unlink(made[i]);
}

void kit_path(char path[KIT_PATH_BYTES], const struct kit_place *place, const char *name)
{
    snprintf(path, KIT_PATH_BYTES, "%s/pmkv-media-%d-%s", place->dir, (int)getpid(), name);
    unlink(path);
    if (made_count == 0)
        atexit(remove_made);
    cr_assert(made_count < sizeof made / sizeof *made);
    memcpy(made[made_count++], path, KIT_PATH_BYTES);
}

struct media *kit_create(const char *path)
{
    struct media *m = NULL;
    struct media_args args = {.create_bytes = KIT_POOL_BYTES, .allow_inject = true};
    int rc = media_create(path, &args, &m);
    cr_assert_eq(rc, 0, "create %s: %d: %s", path, rc, err_message());
    return m;
}

struct media *kit_open(const char *path)
{
    struct media *m = NULL;
    struct media_args args = {.allow_inject = true};
    int rc = media_open(path, &args, &m);
    cr_assert_eq(rc, 0, "open %s: %d: %s", path, rc, err_message());
    return m;
}

void kit_store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    size_t n = media_store(m, off, src, bytes);
    cr_assert_eq(n, bytes, "store of %zu bytes at %llu moved %zu", bytes, (unsigned long long)off,
                 n);
    cr_assert_eq(media_drain(m), 0, "drain: %s", err_message());
}

void kit_poison(struct media *m, uint64_t off)
{
    int rc = media_inject_poison(m, off);
    cr_assert_eq(rc, 0, "poison at %llu: %d: %s", (unsigned long long)off, rc, err_message());
}

void kit_page(uint8_t page[PAGE_BYTES], uint32_t seed)
{
    for (uint32_t i = 0; i < PAGE_BYTES; i++)
        page[i] = (uint8_t)(1 + (seed * 131 + i * 7 + i / 64) % 255);
}

bool kit_page_is(struct media *m, uint64_t off, uint32_t seed)
{
    uint8_t want[PAGE_BYTES], got[PAGE_BYTES];
    kit_page(want, seed);
    return media_load(m, off, got, PAGE_BYTES) == PAGE_BYTES && memcmp(want, got, PAGE_BYTES) == 0;
}

uint64_t kit_file_size(const char *path)
{
    struct stat st;
    cr_assert_eq(stat(path, &st), 0, "%s is gone", path);
    return (uint64_t)st.st_size;
}

struct bad_sum {
    uint64_t bytes, first;
};

static int add_bad(void *arg, uint64_t off, uint64_t bytes)
{
    struct bad_sum *sum = arg;
    if (sum->bytes == 0)
        sum->first = off;
    sum->bytes += bytes;
    return 0;
}

uint64_t kit_bad_bytes(struct media *m, uint64_t *first)
{
    struct bad_sum sum = {0, UINT64_MAX};
    int rc = media_bad_ranges(m, add_bad, &sum);
    cr_assert_eq(rc, 0, "bad ranges: %d: %s", rc, err_message());
    if (first)
        *first = sum.first;
    return sum.bytes;
}

unsigned kit_mappings(void)
{
    FILE *file = fopen("/proc/self/maps", "r");
    cr_assert(file != NULL);
    unsigned lines = 0;
    for (int c; (c = getc(file)) != EOF;)
        lines += c == '\n';
    fclose(file);
    return lines;
}
