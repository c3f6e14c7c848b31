/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What a path would get, and what is refused. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "media_kit.h"
#include "recovery/errmsg.h"

TestSuite(probe, .timeout = 60);

static char path[KIT_PATH_BYTES];

static struct media_probe probe(const char *at)
{
    struct media_probe p;
    memset(&p, 0x55, sizeof p);
    int rc = media_probe(at, &p);
    cr_assert_eq(rc, 0, "probe %s: %d: %s", at, rc, err_message());
    return p;
}

Test(probe, a_directory_tells_what_a_pool_in_it_would_get)
{
    struct media_probe p = probe(kit_memory()->dir);
    cr_assert_eq(p.backend, MEDIA_SHM);
    cr_assert_eq(p.durability, MEDIA_SURVIVES_PROCESS_DEATH);
    cr_assert_gt(p.available_bytes, 0);
    p = probe(kit_disk()->dir);
    cr_assert_eq(p.backend, MEDIA_FILE, "%s: %s", kit_disk()->dir, p.reason);
    cr_assert_eq(p.durability, MEDIA_SURVIVES_POWER_LOSS);
    cr_assert_gt(strlen(p.advice), 0);
}

Test(probe, a_path_that_is_yet_to_be_made_is_judged_by_its_directory)
{
    kit_path(path, kit_memory(), "absent");
    struct media_probe p = probe(path);
    cr_assert_eq(p.backend, MEDIA_SHM);
    cr_assert_eq(p.bad_block_support, 1);
    cr_assert_neq(access(path, F_OK), 0, "probing made the file");
    kit_path(path, kit_disk(), "absent");
    p = probe(path);
    cr_assert_eq(p.backend, MEDIA_FILE);
    cr_assert_neq(access(path, F_OK), 0, "probing made the file");
    cr_assert_eq(chdir("/dev/shm"), 0);
    cr_assert_eq(probe("no-slash-in-it").backend, MEDIA_SHM);
}

Test(probe, a_file_tells_its_size_and_is_not_touched)
{
    kit_path(path, kit_memory(), "file");
    struct media *m = kit_create(path);
    media_close(&m);
    struct stat before, after;
    stat(path, &before);
    struct media_probe p = probe(path);
    stat(path, &after);
    cr_assert_eq(p.available_bytes, KIT_POOL_BYTES);
    cr_assert_eq(p.loss_unit, PAGE_BYTES);
    cr_assert_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
    cr_assert_eq(before.st_blocks, after.st_blocks);
}

Test(probe, an_unforced_and_a_forced_path_have_different_reasons)
{
    unsetenv("PMEM2_FORCE_GRANULARITY");
    struct media_probe plain = probe("/dev/shm"), disk = probe(kit_disk()->dir);
    setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
    struct media_probe forced = probe("/dev/shm"), forced_disk = probe(kit_disk()->dir);
    cr_assert_null(strstr(plain.reason, "PMEM2_FORCE"), "%s", plain.reason);
    cr_assert_not_null(strstr(forced.reason, "PMEM2_FORCE"), "%s", forced.reason);
    cr_assert_null(strstr(disk.reason, "PMEM2_FORCE"), "%s", disk.reason);
    cr_assert_not_null(strstr(forced_disk.reason, "PMEM2_FORCE"), "%s", forced_disk.reason);
    cr_assert_eq(forced.durability, MEDIA_SURVIVES_PROCESS_DEATH);
    cr_assert_eq(forced.backend, MEDIA_SHM);
    cr_assert_eq(forced_disk.backend, MEDIA_FILE, "forcing makes no DAX");
    setenv("PMEM2_FORCE_GRANULARITY", "", 1);
    cr_assert_str_eq(probe("/dev/shm").reason, plain.reason, "set to nothing");
}

Test(probe, a_memfd_is_shared_memory)
{
    int fd = memfd_create("pool", MFD_CLOEXEC);
    cr_assert_eq(ftruncate(fd, KIT_POOL_BYTES), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    cr_assert_eq(probe(path).backend, MEDIA_SHM);
    close(fd);
}

Test(probe, what_is_no_place_for_a_pool_is_refused)
{
    struct media_probe p;
    kit_path(path, kit_memory(), "fifo");
    cr_assert_eq(mkfifo(path, 0600), 0);
    cr_assert_eq(media_probe(path, &p), -EINVAL);
    cr_assert_eq(media_probe("/dev/null", &p), -EINVAL);
    cr_assert_eq(media_probe("/dev/shm/no/such/dir", &p), -ENOENT);
    cr_assert_eq(media_probe("/proc/self/status/x", &p), -ENOTDIR);
    struct media *m = NULL;
    struct media_args args = {.create_bytes = KIT_POOL_BYTES};
    cr_assert_eq(media_open(path, &args, &m), -EINVAL, "a fifo");
    cr_assert_eq(media_open("/dev/null", &args, &m), -EINVAL);
    cr_assert_eq(media_open("/dev/shm", &args, &m), -EISDIR);
    cr_assert_eq(media_create("/dev/shm", &args, &m), -EISDIR);
    cr_assert_eq(media_open("/dev/shm/pmkv-no-such-pool", &args, &m), -ENOENT);
    cr_assert_eq(media_create("/dev/null", &args, &m), -EINVAL);
    static char long_path[5000];
    memset(long_path, '/', sizeof long_path - 1);
    cr_assert_eq(media_open(long_path, &args, &m), -ENAMETOOLONG);
    cr_assert_eq(media_create(long_path, &args, &m), -ENAMETOOLONG);
    cr_assert_null(m);
}

Test(probe, a_backend_that_the_path_cannot_have_is_refused)
{
    kit_path(path, kit_memory(), "backend");
    struct media *m = kit_create(path);
    media_close(&m);
    enum media_backend wrong[] = {MEDIA_FSDAX, MEDIA_DEVDAX, MEDIA_SIM};
    for (size_t i = 0; i < 3; i++) {
        struct media_args args = {.backend = wrong[i]};
        int rc = media_open(path, &args, &m);
        cr_assert_eq(rc, -ENOTSUP, "%s: %d", media_backend_name(wrong[i]), rc);
        cr_assert(strlen(err_message()) > 20, "%s", err_message());
    }
}

static unsigned entries(const char *dir)
{
    unsigned count = 0;
    DIR *d = opendir(dir);
    while (readdir(d))
        count++;
    closedir(d);
    return count;
}

Test(probe, probing_a_directory_leaves_nothing_in_it)
{
    kit_path(path, kit_disk(), "dir");
    cr_assert_eq(mkdir(path, 0700), 0);
    probe(path);
    cr_assert_eq(entries(path), 2);
    rmdir(path);
}
