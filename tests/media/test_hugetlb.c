/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Shared memory in huge pages: real ones, skipped where none are free (sysctl vm.nr_hugepages=8
 * gives some), and a tmpfs that is said to be hugetlbfs. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "media_kit.h"
#include "recovery/errmsg.h"

TestSuite(hugetlb, .timeout = 60);

enum { HUGE_BYTES = 2 << 20, HUGE_POOL = 3 * HUGE_BYTES };

/* --- pretended huge pages: these stand before the calls of the C library ---------------------- */

static bool pretended, none_is_free, cut_meanwhile, cannot_punch;

int statfs(const char *at, struct statfs *fs)
{
    int rc = (int)syscall(SYS_statfs, at, fs);
    if (rc == 0 && pretended && fs->f_type == TMPFS_MAGIC) {
        fs->f_type = HUGETLBFS_MAGIC;
        fs->f_bsize = HUGE_BYTES;
    }
    return rc;
}

int fallocate(int fd, int mode, off_t off, off_t bytes)
{
    if (mode == 0 && cut_meanwhile)
        return ftruncate(fd, 0);
    errno = mode == 0 ? ENOSPC : EIO;
    if (mode == 0 ? none_is_free : cannot_punch)
        return -1;
    return (int)syscall(SYS_fallocate, fd, mode, off, bytes);
}

static const char *mountinfo;

FILE *fopen(const char *at, const char *mode)
{
    bool told = mountinfo && strcmp(at, "/proc/self/mountinfo") == 0;
    int fd = told ? memfd_create("mountinfo", 0) : open(at, O_RDONLY | O_CLOEXEC);
    cr_assert(mode[0] == 'r');
    if (told)
        cr_assert(write(fd, mountinfo, strlen(mountinfo)) > 0 && lseek(fd, 0, SEEK_SET) == 0);
    return fd < 0 ? NULL : fdopen(fd, "r");
}

/* --- pools ------------------------------------------------------------------------------------ */

static bool pages_are_free(void)
{
    unsigned long long pages = 0, kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "HugePages_Free: %llu", &pages);
        sscanf(line, "Hugepagesize: %llu", &kib);
    }
    if (file)
        fclose(file);
    return pages >= 4 && kib == HUGE_BYTES / 1024;
}

static struct media *huge_pool(bool real)
{
    if (real && !pages_are_free())
        cr_skip_test("no free huge pages of 2 MiB");
    char path[64];
    pretended = !real;
    snprintf(path, sizeof path, "/proc/self/fd/%d", memfd_create("huge", real ? MFD_HUGETLB : 0));
    struct media *m = NULL;
    struct media_args args = {.create_bytes = HUGE_POOL + 12345, .allow_inject = true};
    int rc = media_create(path, &args, &m);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    return m;
}

#define BOTH_KINDS(name)                                                                           \
    ParameterizedTestParameters(hugetlb, name)                                                     \
    {                                                                                              \
        static int kinds[] = {0, 1};                                                               \
        return cr_make_param_array(int, kinds, 2);                                                 \
    }                                                                                              \
    ParameterizedTest(int *real, hugetlb, name)

BOTH_KINDS(the_loss_unit_is_the_huge_page)
{
    struct media *m = huge_pool(*real);
    cr_assert_eq(m->backend, MEDIA_SHM);
    cr_assert_eq(m->loss_unit, HUGE_BYTES);
    cr_assert_eq(m->size, HUGE_POOL);
    media_close(&m);
}

BOTH_KINDS(poison_takes_the_huge_page_and_repair_gives_it_back)
{
    struct media *m = huge_pool(*real);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    for (uint64_t off = 0; off < m->size; off += HUGE_BYTES / 2)
        kit_store(m, off, page, PAGE_BYTES);
    kit_poison(m, HUGE_BYTES + 5 * PAGE_BYTES);
    cr_assert_eq(media_touch(m, 0, m->size), HUGE_BYTES);
    cr_assert_eq(media_touch(m, 2 * HUGE_BYTES, HUGE_BYTES), HUGE_BYTES);
    uint64_t first;
    cr_assert_eq(kit_bad_bytes(m, &first), HUGE_BYTES);
    cr_assert_eq(first, HUGE_BYTES);
    kit_page(page, 2);
    int rc = media_recovery_write(media_recover(m, HUGE_BYTES + PAGE_BYTES), page);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    cr_assert(kit_page_is(m, HUGE_BYTES + PAGE_BYTES, 2));
    cr_assert_not(kit_page_is(m, HUGE_BYTES, 1), "its neighbours are lost");
    cr_assert(kit_page_is(m, 0, 1) && kit_page_is(m, 2 * HUGE_BYTES, 1));
    cr_assert_eq(kit_bad_bytes(m, NULL), 0);
    kit_store(m, HUGE_BYTES, page, PAGE_BYTES);
    rc = media_recovery_write(media_recover(m, HUGE_BYTES + PAGE_BYTES), page);
    cr_assert_eq(rc, 0);
    cr_assert(kit_page_is(m, HUGE_BYTES, 2), "a repair of a healthy page spares its neighbours");
    media_close(&m);
}

BOTH_KINDS(silent_damage_changes_only_its_bytes)
{
    struct media *m = huge_pool(*real);
    uint8_t page[PAGE_BYTES], got[PAGE_BYTES];
    kit_page(page, 3);
    kit_store(m, 0, page, PAGE_BYTES);
    memcpy(page + 60, "across", 6);
    cr_assert_eq(media_inject_bytes(m, 60, "across", 6), 0, "%s", err_message());
    cr_assert_eq(media_load(m, 0, got, PAGE_BYTES), PAGE_BYTES);
    cr_assert_arr_eq(got, page, PAGE_BYTES);
    media_close(&m);
}

/* --- no verdict ------------------------------------------------------------------------------- */

static int repair(struct media *m)
{
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    return media_recovery_write(media_recover(m, HUGE_BYTES), page);
}

Test(hugetlb, a_repair_waits_for_a_free_huge_page)
{
    struct media *m = huge_pool(false);
    kit_poison(m, HUGE_BYTES);
    none_is_free = true;
    int rc = repair(m);
    none_is_free = false;
    cr_assert_eq(rc, -ENOSPC, "%d", rc);
    cr_assert(strstr(err_message(), "no huge page is free"), "%s", err_message());
    cr_assert_eq(kit_bad_bytes(m, NULL), HUGE_BYTES, "it is still bad");
    cr_assert_eq(repair(m), 0, "%s", err_message());
    cr_assert(kit_page_is(m, HUGE_BYTES, 1));
    media_close(&m);
}

Test(hugetlb, a_page_that_cannot_be_punched_out_is_not_repaired)
{
    struct media *m = huge_pool(false);
    kit_poison(m, HUGE_BYTES);
    cannot_punch = true;
    cr_assert_eq(repair(m), -EIO);
    cannot_punch = false;
    cr_assert_eq(repair(m), 0, "%s", err_message());
    media_close(&m);
}

Test(hugetlb, a_file_that_is_cut_in_the_middle_of_a_repair_is_no_verdict)
{
    struct media *m = huge_pool(false);
    kit_poison(m, HUGE_BYTES);
    cut_meanwhile = true;
    int rc = repair(m);
    cr_assert_eq(rc, -ENODEV, "%d: %s", rc, err_message());
    media_close(&m);
}

/* --- a path in hugetlbfs ---------------------------------------------------------------------- */

/* Such a file can be had without a huge page. */
static bool huge_file(char path[64])
{
    int fd = memfd_create("huge", MFD_HUGETLB | MFD_HUGE_2MB);
    snprintf(path, 64, "/proc/self/fd/%d", fd);
    return fd >= 0;
}

Test(hugetlb, probing_tells_that_a_memory_error_takes_the_huge_page)
{
    char path[64];
    struct media_probe p;
    if (!huge_file(path))
        cr_skip_test("no hugetlbfs");
    cr_assert_eq(media_probe(path, &p), 0, "%s", err_message());
    cr_assert_eq(p.backend, MEDIA_SHM);
    cr_assert_eq(p.loss_unit, HUGE_BYTES);
    cr_assert_eq(p.bad_block_support, 0, "bad pages are not remembered");
    cr_assert(strstr(p.reason, "hugetlbfs: memory of this machine"), "%s", p.reason);
    cr_assert(strstr(p.advice, "takes 2097152 bytes at once"), "%s", p.advice);
}

Test(hugetlb, a_pool_that_gets_no_huge_pages_is_not_made)
{
    char path[64];
    struct media *m = NULL;
    struct media_args args = {.create_bytes = 1ull << 45};
    if (!huge_file(path))
        cr_skip_test("no hugetlbfs");
    int rc = media_create(path, &args, &m);
    cr_assert(rc < 0 && !m, "%d", rc);
    cr_assert(strstr(err_message(), "cannot allocate"), "%s", err_message());
}

/* --- tmpfs with huge pages -------------------------------------------------------------------- */

/* Does the kernel note that huge pages are wanted there? (/proc/self/smaps: "VmFlags: .. hg ..") */
static bool huge_pages_wanted(const void *base)
{
    char line[512], start[32];
    bool here = false, wanted = false;
    FILE *file = fopen("/proc/self/smaps", "r");
    snprintf(start, sizeof start, "%lx-", (unsigned long)base);
    while (fgets(line, sizeof line, file)) {
        here = strchr(line, '-') && strncmp(line, start, strlen(start)) == 0 ? true : here;
        if (here && strncmp(line, "VmFlags:", 8) == 0) {
            wanted = strstr(line, " hg") != NULL;
            break;
        }
    }
    fclose(file);
    return wanted;
}

Test(hugetlb, where_the_mount_says_advise_huge_pages_are_asked_for)
{
    char path[KIT_PATH_BYTES], text[128];
    struct stat st;
    kit_path(path, kit_memory(), "advise");
    cr_assert_eq(stat(kit_memory()->dir, &st), 0);
    struct media *m = kit_create(path);
    cr_assert_not(huge_pages_wanted(m->base));
    media_close(&m);
    snprintf(text, sizeof text, "20 1 %u:%u / / rw - tmpfs tmpfs rw,huge=advise\n",
             major(st.st_dev), minor(st.st_dev));
    mountinfo = text;
    m = kit_open(path);
    cr_assert(huge_pages_wanted(m->base));
    media_close(&m);
}
