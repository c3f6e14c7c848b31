/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A regular file on a disk. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "media_kit.h"
#include "recovery/errmsg.h"

TestSuite(file, .timeout = 120);

static char path[KIT_PATH_BYTES];

Test(file, a_disk_gets_the_file_backend)
{
    kit_path(path, kit_disk(), "kind");
    struct media *m = kit_create(path);
    cr_assert_eq(m->backend, MEDIA_FILE, "backend %s", media_backend_name(m->backend));
    cr_assert_eq(m->durability, MEDIA_SURVIVES_POWER_LOSS);
    cr_assert(strstr(m->reason, "fdatasync"), "%s", m->reason);
    media_close(&m);
}

Test(file, create_allocates_every_block_and_leaves_no_unwritten_extent)
{
    kit_path(path, kit_disk(), "blocks");
    struct media *m = kit_create(path);
    struct stat st;
    fstat(m->fd, &st);
    cr_assert_geq((uint64_t)st.st_blocks * 512, KIT_POOL_BYTES);
    cr_assert_eq(lseek(m->fd, 0, SEEK_HOLE), KIT_POOL_BYTES);
    cr_assert_eq(kit_bad_bytes(m, NULL), 0);
    media_close(&m);
}

Test(file, a_store_is_in_the_file_and_seen_through_the_mapping)
{
    kit_path(path, kit_disk(), "store");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES], back[PAGE_BYTES];
    kit_page(page, 5);
    cr_assert_eq(media_load(m, 0, back, PAGE_BYTES), PAGE_BYTES); /* mapped before the store */
    kit_store(m, 0, page, PAGE_BYTES);
    cr_assert(kit_page_is(m, 0, 5));
    cr_assert_eq(pread(m->fd, back, PAGE_BYTES, 0), PAGE_BYTES);
    cr_assert_arr_eq(back, page, PAGE_BYTES);
    media_close(&m);
    m = kit_open(path);
    cr_assert(kit_page_is(m, 0, 5));
    media_close(&m);
}

Test(file, a_store_never_makes_a_cut_file_longer)
{
    kit_path(path, kit_disk(), "cut");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES] = {0};
    cr_assert_eq(truncate(path, 8 * PAGE_BYTES), 0);
    cr_assert_eq(media_store(m, 20 * PAGE_BYTES, page, LINE_BYTES), 0);
    cr_assert_eq(media_recovery_write(media_recover(m, 20 * PAGE_BYTES), page), -ENODEV);
    cr_assert_eq(media_load(m, 20 * PAGE_BYTES, page, 64), 0);
    cr_assert_eq(kit_file_size(path), 8 * PAGE_BYTES);
    media_close(&m);
}

/* A pipe takes the place of the file: fdatasync of it fails. */
Test(file, a_failed_sync_fails_every_later_drain_until_reopened)
{
    kit_path(path, kit_disk(), "eio");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 2);
    cr_assert_eq(media_store(m, 0, page, PAGE_BYTES), PAGE_BYTES);
    int ends[2], kept = dup(m->fd);
    cr_assert_eq(pipe(ends), 0);
    dup2(ends[0], m->fd);
    cr_assert_eq(media_drain(m), -EIO);
    cr_assert(strstr(err_message(), "open it again"), "%s", err_message());
    dup2(kept, m->fd);
    cr_assert_eq(media_drain(m), -EIO, "a drain after a failed one succeeded");
    cr_assert_eq(media_recovery_write(media_recover(m, 0), page), -ENODEV);
    close(kept);
    media_close(&m);
    m = kit_open(path);
    kit_store(m, 0, page, PAGE_BYTES);
    media_close(&m);
}

Test(file, a_store_the_kernel_refuses_is_short)
{
    kit_path(path, kit_disk(), "refused");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES] = {0};
    int kept = dup(m->fd), read_only = open(path, O_RDONLY);
    dup2(read_only, m->fd);
    cr_assert_eq(media_store(m, 0, page, PAGE_BYTES), 0);
    dup2(kept, m->fd);
    cr_assert_eq(media_store(m, 0, page, PAGE_BYTES), PAGE_BYTES);
    media_close(&m);
}

enum { WRITERS = 4, ROUNDS = 25 };

struct writer {
    struct media *m;
    unsigned number;
    bool failed;
};

static void *write_own_page(void *arg)
{
    struct writer *w = arg;
    uint8_t page[PAGE_BYTES];
    for (unsigned round = 0; round < ROUNDS; round++) {
        kit_page(page, w->number * 100 + round);
        uint64_t off = (uint64_t)w->number * PAGE_BYTES;
        if (media_store(w->m, off, page, PAGE_BYTES) != PAGE_BYTES || media_drain(w->m) != 0 ||
            !kit_page_is(w->m, off, w->number * 100 + round))
            w->failed = true;
    }
    return NULL;
}

Test(file, threads_share_the_syncs_and_each_finds_its_own_bytes)
{
    kit_path(path, kit_disk(), "threads");
    struct media *m = kit_create(path);
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    for (unsigned i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){m, i, false};
        cr_assert_eq(pthread_create(&threads[i], NULL, write_own_page, &writers[i]), 0);
    }
    for (unsigned i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_not(writers[i].failed, "writer %u", i);
    }
    media_close(&m);
    m = kit_open(path);
    for (unsigned i = 0; i < WRITERS; i++)
        cr_assert(kit_page_is(m, (uint64_t)i * PAGE_BYTES, i * 100 + ROUNDS - 1));
    media_close(&m);
}

Test(file, any_file_may_be_told_to_be_a_file)
{
    kit_path(path, kit_memory(), "told");
    struct media_args args = {.create_bytes = KIT_POOL_BYTES, .backend = MEDIA_FILE};
    struct media *m;
    cr_assert_eq(media_create(path, &args, &m), 0, "%s", err_message());
    cr_assert_eq(m->backend, MEDIA_FILE);
    cr_assert_eq(m->durability, MEDIA_SURVIVES_PROCESS_DEATH, "tmpfs survives no power loss");
    media_close(&m);
}
