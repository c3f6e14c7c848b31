/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What probing says of DAX file systems and devices: the system calls below stand before those of
 * the C library and libpmem2, and describe a machine that has them. tests/vm has real drivers. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <libpmem2.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "media_kit.h"
#include "recovery/errmsg.h"
#include "recovery/media/backend.h"

/* --- the machine ------------------------------------------------------------------------------ */

#define DEVICE "/dev/pretended"
enum { MAJOR = 252, MINOR = 7 };
static const char sys_device[] = "/sys/dev/char/252:7";

static struct {
    const char *at, *subsystem, *size, *align; /* of the device; NULL: not there */
    bool dax;                                  /* of the file system */
    const char *listed; /* the list of bad blocks is below this name; NULL: nowhere */
    bool no_permission;
    unsigned interruptions; /* of the next opens and reads */
    const char *mountinfo;
    int numa_code, list_code;
} machine;

static void no_machine(void)
{
    memset(&machine, 0, sizeof machine);
    machine.list_code = PMEM2_E_NOSUPP;
}

TestSuite(pretended_devices, .init = no_machine, .timeout = 60);

static int text_file(const char *text)
{
    int fd = (int)syscall(SYS_memfd_create, "text", 0);
    if (write(fd, text, strlen(text)) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        abort();
    return fd;
}

int stat(const char *path, struct stat *to)
{
    if (strcmp(path, DEVICE) != 0)
        return (int)syscall(SYS_newfstatat, AT_FDCWD, path, to, 0);
    memset(to, 0, sizeof *to);
    to->st_mode = S_IFCHR | 0600;
    to->st_rdev = makedev(MAJOR, MINOR);
    return 0;
}

char *realpath(const char *path, char *to)
{
    if (strncmp(path, sys_device, sizeof sys_device - 1) != 0)
        abort();
    const char *real = strstr(path, "/subsystem") ? machine.subsystem : machine.at;
    errno = ENOENT;
    return real ? strcpy(to, real) : NULL;
}

int open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    errno = EINTR;
    if (machine.interruptions > 0 && machine.interruptions--)
        return -1;
    const char *text = !strcmp(path, "/sys/dev/char/252:7/size")    ? machine.size
                       : !strcmp(path, "/sys/dev/char/252:7/align") ? machine.align
                                                                    : NULL;
    if (text)
        return text_file(text);
    errno = EACCES;
    if (machine.no_permission && strcmp(path, DEVICE) == 0)
        return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, strcmp(path, DEVICE) ? path : "/dev/zero", flags,
                        mode);
}

ssize_t read(int fd, void *to, size_t bytes)
{
    errno = EINTR;
    if (machine.interruptions > 0 && machine.interruptions--)
        return -1;
    return syscall(SYS_read, fd, to, bytes);
}

void *mmap(void *at, size_t bytes, int protection, int flags, int fd, off_t off)
{
    if (machine.dax && (flags & MAP_SYNC)) {
        flags &= ~(MAP_SYNC | MAP_SHARED_VALIDATE);
        flags |= MAP_SHARED;
    }
    return (void *)syscall(SYS_mmap, at, bytes, protection, flags, fd, off);
}

int access(const char *path, int mode)
{
    if (strncmp(path, "/sys/dev/block/", 15) != 0)
        return (int)syscall(SYS_access, path, mode);
    bool there = machine.listed && strstr(path, machine.listed) &&
                 !strstr(path, "..") == !strstr(machine.listed, "..");
    return there && !(mode == R_OK && machine.no_permission) ? 0 : -1;
}

FILE *fopen(const char *path, const char *mode)
{
    if (machine.mountinfo && strcmp(path, "/proc/self/mountinfo") == 0)
        return fdopen(text_file(machine.mountinfo), "r");
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, mode[0] == 'r' ? O_RDONLY : O_RDWR);
    return fd < 0 ? NULL : fdopen(fd, "r");
}

int pmem2_source_from_fd(struct pmem2_source **source, int fd)
{
    (void)fd;
    *source = (struct pmem2_source *)&machine;
    return machine.numa_code == -ENOMEM ? -ENOMEM : 0;
}

int pmem2_source_delete(struct pmem2_source **source)
{
    *source = NULL;
    return 0;
}

int pmem2_source_numa_node(const struct pmem2_source *source, int *node)
{
    (void)source;
    *node = 3;
    return machine.numa_code;
}

static bool listed_once;

int pmem2_badblock_context_new(struct pmem2_badblock_context **out,
                               const struct pmem2_source *source)
{
    (void)source;
    *out = (struct pmem2_badblock_context *)&machine;
    listed_once = false;
    return machine.list_code;
}

int pmem2_badblock_next(struct pmem2_badblock_context *list, struct pmem2_badblock *bad)
{
    (void)list;
    *bad = (struct pmem2_badblock){0, 512};
    listed_once = !listed_once;
    return listed_once ? 0 : PMEM2_E_NO_BAD_BLOCK_FOUND;
}

void pmem2_badblock_context_delete(struct pmem2_badblock_context **list)
{
    *list = NULL;
}

static struct media_probe probe(const char *path)
{
    struct media_probe p;
    int rc = media_probe(path, &p);
    cr_assert_eq(rc, 0, "probe %s: %d: %s", path, rc, err_message());
    return p;
}

/* --- device-dax ------------------------------------------------------------------------------- */

static void have_device(const char *at)
{
    machine.at = at;
    machine.subsystem = "/sys/bus/dax";
    machine.size = "1073741824\n";
    machine.align = "4096\n";
}

Test(pretended_devices, a_device_on_an_nvdimm_bus_survives_a_power_loss)
{
    have_device("/sys/devices/LNXSYSTM:00/ndbus0/region0/dax0.0/dax/dax0.0");
    struct media_probe p = probe(DEVICE);
    cr_assert_eq(p.backend, MEDIA_DEVDAX);
    cr_assert_eq(p.durability, MEDIA_SURVIVES_POWER_LOSS);
    cr_assert_eq(p.available_bytes, 1 << 30);
    cr_assert_eq(p.loss_unit, PAGE_BYTES);
    cr_assert_eq(p.numa_node, 3);
    cr_assert_str_empty(p.advice);
}

Test(pretended_devices, another_survives_the_death_of_the_process_only)
{
    have_device("/sys/devices/platform/ACPI0017:00/root0/dax_region0/dax0.0");
    machine.align = "2097152\n";
    struct media_probe p = probe(DEVICE);
    cr_assert_eq(p.durability, MEDIA_SURVIVES_PROCESS_DEATH);
    cr_assert_eq(p.loss_unit, 2 << 20);
    cr_assert(strstr(p.advice, "takes 2097152 bytes at once"), "%s", p.advice);
}

Test(pretended_devices, an_alignment_that_is_not_told_or_wrong_is_2_mib)
{
    have_device("/sys/devices/ndbus0/dax0.0");
    static const char *const wrong[] = {NULL, "", "0\n", "12288\n"};
    for (size_t i = 0; i < 4; i++) {
        machine.align = wrong[i];
        cr_expect_eq(probe(DEVICE).loss_unit, 2 << 20, "%s", wrong[i] ? wrong[i] : "none");
    }
}

/* One more each time: wherever they strike, nothing changes. */
Test(pretended_devices, interruptions_change_nothing)
{
    have_device("/sys/devices/ndbus0/dax0.0");
    for (unsigned i = 0; i < 12; i++) {
        machine.interruptions = i;
        struct media_probe p = probe(DEVICE);
        cr_expect_eq(p.available_bytes, 1 << 30, "%u interruptions", i);
        cr_expect_eq(p.loss_unit, PAGE_BYTES, "%u interruptions", i);
        cr_expect_eq(machine.interruptions, 0);
    }
}

Test(pretended_devices, a_character_device_of_another_kind_is_refused)
{
    struct media_probe p;
    have_device("/sys/devices/virtual/mem/null");
    machine.subsystem = "/sys/class/mem";
    cr_assert_eq(media_probe(DEVICE, &p), -EINVAL);
    machine.subsystem = NULL;
    cr_assert_eq(media_probe(DEVICE, &p), -EINVAL);
    machine.at = NULL;
    cr_assert_eq(media_probe(DEVICE, &p), -EINVAL);
}

Test(pretended_devices, what_libpmem2_does_not_know_is_unknown)
{
    have_device("/sys/devices/ndbus0/dax0.0");
    machine.numa_code = -EIO;
    struct media_probe p = probe(DEVICE);
    cr_assert_eq(p.numa_node, -1);
    cr_assert_eq(p.bad_block_support, 0, "it has no list");
    machine.list_code = 0;
    cr_assert_eq(probe(DEVICE).bad_block_support, 1);
    machine.list_code = -EACCES;
    cr_assert_eq(probe(DEVICE).bad_block_support, -1);
    machine.numa_code = -ENOMEM;
    cr_assert_eq(probe(DEVICE).bad_block_support, 0);
    machine.no_permission = true;
    cr_assert_eq(probe(DEVICE).bad_block_support, -1);
}

Test(pretended_devices, a_device_is_not_filled_with_zeros)
{
    have_device("/sys/devices/ndbus0/dax0.0");
    struct media *m = NULL;
    struct media_args args = {.create_bytes = KIT_POOL_BYTES};
    int rc = media_create(DEVICE, &args, &m);
    cr_assert(rc < 0 && !m, "/dev/zero was taken");
    cr_assert_null(strstr(err_message(), "cannot allocate"), "%s", err_message());
}

/* --- DAX file systems ------------------------------------------------------------------------- */

Test(pretended_devices, a_file_system_where_map_sync_works_is_fsdax)
{
    char path[KIT_PATH_BYTES];
    machine.dax = true;
    struct media_probe p = probe(kit_disk()->dir);
    cr_assert_eq(p.backend, MEDIA_FSDAX);
    cr_assert_eq(p.durability, MEDIA_SURVIVES_POWER_LOSS);
    cr_assert(strstr(p.reason, "MAP_SYNC works"), "%s", p.reason);
    kit_path(path, kit_disk(), "dax");
    int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0600);
    cr_assert_eq(ftruncate(fd, KIT_POOL_BYTES), 0);
    close(fd);
    cr_assert_eq(probe(path).bad_block_support, 0, "no list");
    machine.listed = "/badblocks";
    cr_assert_eq(probe(path).bad_block_support, 1);
    machine.listed = "/../badblocks";
    cr_assert_eq(probe(path).bad_block_support, 1, "of a partition");
    machine.no_permission = true;
    cr_assert_eq(probe(path).bad_block_support, -1, "not readable");
    machine.list_code = -EIO;
    cr_assert_eq(probe(path).bad_block_support, -1);
}

/* --- mounts ----------------------------------------------------------------------------------- */

static const char *advice_for(const char *format)
{
    static struct media_probe p;
    static char text[512];
    struct stat st;
    cr_assert_eq(stat("/dev/shm", &st), 0);
    snprintf(text, sizeof text, format, major(st.st_dev), minor(st.st_dev));
    machine.mountinfo = text;
    p = probe("/dev/shm");
    return p.advice;
}

Test(pretended_devices, huge_pages_are_recommended_where_the_mount_has_none)
{
    cr_assert_str_not_empty(advice_for("20 1 %u:%u / /dev/shm rw - tmpfs tmpfs rw,size=1g\n"));
    cr_assert_str_empty(advice_for("20 1 %u:%u / /dev/shm rw - tmpfs tmpfs rw,huge=always\n"));
    cr_assert_str_empty(advice_for("20 1 %u:%u / / rw master:1 - tmpfs none huge=within_size\n"));
    cr_assert_str_empty(advice_for("20 1 %u:%u / / rw - tmpfs none rw,huge=advise\n"));
}

Test(pretended_devices, a_line_of_mountinfo_that_is_not_understood_is_passed_over)
{
    cr_assert_str_empty(advice_for("nonsense\n\n20 1 %1$u:%2$u / / rw\n"
                                   "20 1 0:0 / / rw - ext4 none rw\n"
                                   "20 1 %1$u:%2$u / / rw - \n"
                                   "20 1 %1$u:%2$u / / rw - tmpfs none rw,huge=always\n"));
}
