/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Shared memory, and what every backend on a file has in common. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "media_kit.h"
#include "recovery/errmsg.h"
#include "recovery/fault_guard.h"
#include "recovery/media/backend.h"

TestSuite(shm, .timeout = 60);

static char path[KIT_PATH_BYTES];

Test(shm, tmpfs_gets_the_shm_backend_and_says_that_power_loss_is_fatal)
{
    kit_path(path, kit_memory(), "kind");
    struct media *m = kit_create(path);
    cr_assert_eq(m->backend, MEDIA_SHM, "backend %s", media_backend_name(m->backend));
    cr_assert_str_eq(media_backend_name(m->backend), "shm");
    cr_assert_str_eq(media_backend_name((enum media_backend)99), "unknown");
    cr_assert_eq(m->durability, MEDIA_SURVIVES_PROCESS_DEATH);
    cr_assert_eq(m->loss_unit, PAGE_BYTES);
    cr_assert(strstr(m->reason, "not a power loss"), "%s", m->reason);
    media_close(&m);
    cr_assert_null(m);
}

Test(shm, what_was_stored_is_there_after_a_reopen)
{
    kit_path(path, kit_memory(), "reopen");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    kit_store(m, 3 * PAGE_BYTES, page, PAGE_BYTES);
    cr_assert(kit_page_is(m, 3 * PAGE_BYTES, 1));
    media_close(&m);
    m = kit_open(path);
    cr_assert_eq(m->size, KIT_POOL_BYTES, "%llu", (unsigned long long)m->size);
    cr_assert(kit_page_is(m, 3 * PAGE_BYTES, 1));
    cr_assert_not(kit_page_is(m, 4 * PAGE_BYTES, 1));
    media_close(&m);
}

Test(shm, create_allocates_every_block)
{
    kit_path(path, kit_memory(), "blocks");
    struct media *m = kit_create(path);
    struct stat st;
    cr_assert_eq(fstat(m->fd, &st), 0);
    cr_assert_geq((uint64_t)st.st_blocks * 512, KIT_POOL_BYTES);
    cr_assert_eq(kit_bad_bytes(m, NULL), 0);
    cr_assert_eq(lseek(m->fd, 0, SEEK_HOLE), KIT_POOL_BYTES);
    media_close(&m);
}

Test(shm, create_rounds_down_to_whole_pages)
{
    kit_path(path, kit_memory(), "round");
    struct media_args args = {.create_bytes = 10 * PAGE_BYTES + 4095};
    struct media *m;
    cr_assert_eq(media_create(path, &args, &m), 0, "%s", err_message());
    cr_assert_eq(m->size, 10 * PAGE_BYTES);
    media_close(&m);
    args.create_bytes = 100;
    unlink(path);
    cr_assert_eq(media_create(path, &args, &m), -EINVAL);
    cr_assert_neq(access(path, F_OK), 0);
    args.create_bytes = UINT64_MAX;
    cr_assert_eq(media_create(path, &args, &m), -EFBIG);
    cr_assert_neq(access(path, F_OK), 0);
}

/* The file system of a memfd says that it has no blocks at all. */
Test(shm, a_memfd_holds_a_pool)
{
    snprintf(path, sizeof path, "/proc/self/fd/%d", memfd_create("pool", MFD_CLOEXEC));
    struct media *m = kit_create(path);
    cr_assert_eq(m->backend, MEDIA_SHM);
    cr_assert_eq(m->size, KIT_POOL_BYTES);
    media_close(&m);
}

Test(shm, create_refuses_a_file_with_bytes_and_leaves_them)
{
    kit_path(path, kit_memory(), "there");
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    cr_assert_eq(write(fd, "precious", 8), 8);
    close(fd);
    struct media_args args = {.create_bytes = KIT_POOL_BYTES};
    struct media *m = NULL;
    int rc = media_create(path, &args, &m);
    cr_assert_eq(rc, -EEXIST, "%d", rc);
    cr_assert_null(m);
    char back[8];
    fd = open(path, O_RDONLY);
    cr_assert_eq(read(fd, back, 8), 8);
    cr_assert_arr_eq(back, "precious", 8);
    cr_assert_eq(kit_file_size(path), 8);
    close(fd);
}

Test(shm, create_takes_an_empty_file)
{
    kit_path(path, kit_memory(), "empty");
    close(open(path, O_CREAT | O_RDWR, 0600));
    struct media *m = kit_create(path);
    cr_assert_eq(m->size, KIT_POOL_BYTES);
    media_close(&m);
}

Test(shm, create_that_does_not_fit_says_so_and_removes_the_file)
{
    kit_path(path, kit_memory(), "big");
    struct media_args args = {.create_bytes = 1ull << 50};
    struct media *m = NULL;
    int rc = media_create(path, &args, &m);
    cr_assert_eq(rc, -ENOSPC, "%d: %s", rc, err_message());
    cr_assert(strstr(err_message(), "1125899906842624"), "%s", err_message());
    cr_assert_neq(access(path, F_OK), 0, "the file is still there");
}

Test(shm, a_create_that_does_not_fit_leaves_an_empty_file_empty)
{
    kit_path(path, kit_memory(), "stays");
    close(open(path, O_CREAT | O_RDWR, 0600));
    struct media_args args = {.create_bytes = 1ull << 50};
    struct media *m = NULL;
    cr_assert_eq(media_create(path, &args, &m), -ENOSPC);
    cr_assert_eq(kit_file_size(path), 0);
}

Test(shm, an_empty_file_opens_with_size_zero_and_gives_nothing)
{
    kit_path(path, kit_memory(), "zero");
    close(open(path, O_CREAT | O_RDWR, 0600));
    struct media *m = kit_open(path);
    char c;
    cr_assert_eq(m->size, 0);
    cr_assert_null(m->base);
    cr_assert_eq(media_load(m, 0, &c, 1), 0);
    cr_assert_eq(media_store(m, 0, &c, 0), 0);
    cr_assert_eq(media_drain(m), 0);
    cr_assert_eq(media_inject_poison(m, 0), -EINVAL);
    cr_assert_eq(media_inject_bytes(m, 0, &c, 1), -EINVAL);
    cr_assert_eq(media_bad_ranges(m, NULL, NULL), -ENOTSUP);
    media_populate(m, 0, PAGE_BYTES);
    cr_assert_eq(media_present(m), 0);
    media_close(&m);
}

Test(shm, open_writes_nothing)
{
    kit_path(path, kit_memory(), "odd");
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    cr_assert_eq(ftruncate(fd, 3 * PAGE_BYTES + 100), 0); /* all holes */
    struct media *m = kit_open(path);
    cr_assert_eq(m->size, 3 * PAGE_BYTES);
    cr_assert_eq(media_touch(m, 0, m->size), 0);
    media_close(&m);
    struct stat st;
    fstat(fd, &st);
    cr_assert_eq(st.st_blocks, 0);
    cr_assert_eq(st.st_size, 3 * PAGE_BYTES + 100);
    close(fd);
}

Test(shm, touch_counts_every_byte)
{
    kit_path(path, kit_memory(), "touch");
    struct media *m = kit_create(path);
    cr_assert_eq(media_touch(m, 0, m->size), m->size);
    kit_poison(m, 5 * PAGE_BYTES);
    cr_assert_eq(media_touch(m, 4 * PAGE_BYTES, 4 * PAGE_BYTES), PAGE_BYTES);
    media_close(&m);
}

Test(shm, a_file_cut_while_open_is_unavailable_not_damaged)
{
    kit_path(path, kit_memory(), "cut");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    cr_assert_eq(media_present(m), 0);
    cr_assert_eq(truncate(path, 8 * PAGE_BYTES), 0);
    cr_assert_eq(media_load(m, 7 * PAGE_BYTES, page, PAGE_BYTES), PAGE_BYTES);
    cr_assert_eq(media_load(m, 8 * PAGE_BYTES, page, PAGE_BYTES), 0);
    cr_assert_eq(media_store(m, 9 * PAGE_BYTES, page, LINE_BYTES), 0);
    cr_assert_eq(media_present(m), -EIO);
    int rc = media_recovery_write(media_recover(m, 8 * PAGE_BYTES), page);
    cr_assert_eq(rc, -ENODEV, "%d: %s", rc, err_message());
    cr_assert_eq(media_inject_bytes(m, 8 * PAGE_BYTES, "x", 1), -ENODEV);
    cr_assert_eq(kit_file_size(path), 8 * PAGE_BYTES, "the file was made longer");
    media_close(&m);
}

Test(shm, a_healthy_page_takes_a_recovery_write)
{
    kit_path(path, kit_memory(), "healthy");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 9);
    int rc = media_recovery_write(media_recover(m, PAGE_BYTES), page);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    cr_assert(kit_page_is(m, PAGE_BYTES, 9));
    media_close(&m);
}

Test(shm, forced_granularity_changes_the_store_routine_and_not_the_durability)
{
    kit_path(path, kit_memory(), "forced");
    struct media *m = kit_create(path);
    cr_assert(m->store_lines == mc_store_plain);
    media_close(&m);
    setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
    m = kit_open(path);
    cr_assert(m->store_lines == mc_store_nt);
    cr_assert_eq(m->durability, MEDIA_SURVIVES_PROCESS_DEATH);
    cr_assert(strstr(m->reason, "PMEM2_FORCE_GRANULARITY=CACHE_LINE"), "%s", m->reason);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 4);
    kit_store(m, 0, page, PAGE_BYTES);
    cr_assert(kit_page_is(m, 0, 4));
    media_close(&m);
}

Test(shm, stores_and_drains_are_counted)
{
    kit_path(path, kit_memory(), "count");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES] = {0};
    kit_store(m, 0, page, 128);
    kit_store(m, 0, page, PAGE_BYTES);
    cr_assert_eq(media_bytes_stored(m), 128 + PAGE_BYTES);
    cr_assert_eq(media_fences(m), 2);
    media_close(&m);
}

Test(shm, a_forked_child_does_not_have_the_mapping)
{
    kit_path(path, kit_memory(), "fork");
    struct media *m = kit_create(path);
    kit_poison(m, 0);
    const volatile char *base = m->base;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        _exit(base[2 * PAGE_BYTES]);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV, "status %x", (unsigned)status);
    media_close(&m);
}

Test(shm, a_read_only_medium_refuses_repair_and_injection)
{
    kit_path(path, kit_memory(), "ro");
    struct media *m = kit_create(path);
    media_close(&m);
    chmod(path, 0400);
    struct media_args args = {.read_only = true};
    cr_assert_eq(media_open(path, &args, &m), 0, "%s", err_message());
    uint8_t page[PAGE_BYTES] = {0};
    cr_assert_eq(media_recovery_write(media_recover(m, 0), page), -EROFS);
    cr_assert_eq(media_inject_poison(m, 0), -EPERM);
    cr_assert_eq(media_load(m, 0, page, PAGE_BYTES), PAGE_BYTES);
    media_close(&m);
}

/* --- mappings --------------------------------------------------------------------------------- */

Test(shm, pools_may_be_closed_in_any_order)
{
    char other[KIT_PATH_BYTES];
    kit_path(path, kit_memory(), "first");
    kit_path(other, kit_memory(), "second");
    struct media *first = kit_create(path), *second = kit_create(other);
    kit_poison(second, 0);
    media_close(&first);
    char c;
    cr_assert_eq(media_load(second, 0, &c, 1), 0, "the fault guard forgot it");
    cr_assert_eq(media_load(second, PAGE_BYTES, &c, 1), 1);
    media_close(&second);
}

Test(shm, more_pools_than_the_fault_guard_takes_are_refused)
{
    kit_path(path, kit_memory(), "guard");
    for (uintptr_t i = 1; i <= 64; i++)
        cr_assert_eq(fault_guard_register((void *)(i << 20), PAGE_BYTES), 0);
    struct media_args args = {.create_bytes = KIT_POOL_BYTES};
    struct media *m = NULL;
    unsigned mappings = kit_mappings();
    cr_assert_eq(media_create(path, &args, &m), -ENOSPC);
    cr_assert(strstr(err_message(), "takes no more mappings"), "%s", err_message());
    cr_assert_neq(access(path, F_OK), 0, "a file is left behind");
    cr_assert_leq(kit_mappings(), mappings, "a mapping is left behind");
    fault_guard_unregister((void *)(33ul << 20));
    m = kit_create(path);
    media_close(&m);
}

Test(shm, populating_changes_nothing_and_stays_inside)
{
    kit_path(path, kit_memory(), "populate");
    struct media *m = kit_create(path);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 3);
    kit_store(m, 0, page, PAGE_BYTES);
    media_populate(m, 0, m->size);
    media_populate(m, m->size, PAGE_BYTES);
    media_populate(m, m->size - PAGE_BYTES, 2 * PAGE_BYTES);
    cr_assert(kit_page_is(m, 0, 3));
    media_close(&m);
    struct media_args args = {.read_only = true};
    cr_assert_eq(media_open(path, &args, &m), 0);
    media_populate(m, 0, m->size);
    cr_assert(kit_page_is(m, 0, 3));
    media_close(&m);
}

Test(shm, an_asynchronous_error_is_taken_as_the_offset_of_its_page)
{
    kit_path(path, kit_memory(), "async");
    struct media *m = kit_create(path);
    uint64_t off = 0;
    cr_assert_not(media_take_async(m, &off));
    siginfo_t info = {.si_signo = SIGBUS, .si_code = BUS_MCEERR_AO};
    info.si_addr = m->base + 5 * PAGE_BYTES + 70;
    info.si_addr_lsb = 6;
    cr_assert(fault_guard_filter(&info, NULL));
    cr_assert(media_take_async(m, &off));
    cr_assert_eq(off, 5 * PAGE_BYTES);
    cr_assert_not(media_take_async(m, &off));
    media_close(&m);
}

Test(shm, a_mapping_answers_as_long_as_a_part_of_it_does)
{
    kit_path(path, kit_memory(), "answers");
    struct media *m = kit_create(path);
    kit_poison(m, 0);
    cr_assert_eq(mapping_answers(m), 0);
    cr_assert_eq(truncate(path, 0), 0);
    cr_assert_eq(mapping_answers(m), -EIO);
    cr_assert(strstr(err_message(), "gone as a whole"), "%s", err_message());
    media_close(&m);
}
