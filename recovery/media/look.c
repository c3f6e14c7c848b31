/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What the kernel says about a path; no judgement. Writes nothing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../errmsg.h"
#include "backend.h"

/* One line of mountinfo: "id parent major:minor root at options [tags] - type source superoptions".
 */
static bool mount_line(char *line, dev_t dev, struct path_facts *f)
{
    unsigned major_no, minor_no;
    if (sscanf(line, "%*d %*d %u:%u", &major_no, &minor_no) != 2 ||
        makedev(major_no, minor_no) != dev)
        return false;
    char *rest = strstr(line, " - ");
    return rest && sscanf(rest, " - %31s %*s %255s", f->fs, f->options) >= 1;
}

static void look_at_mount(dev_t dev, struct path_facts *f)
{
    snprintf(f->fs, sizeof f->fs, "an unknown file system");
    f->options[0] = 0;
    FILE *file = fopen("/proc/self/mountinfo", "re");
    if (!file)
        return;
    char *line = NULL;
    size_t room = 0;
    while (getline(&line, &room, file) > 0)
        if (mount_line(line, dev, f))
            break;
    free(line);
    fclose(file);
}

static bool map_sync_works(int fd)
{
    void *at = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED_VALIDATE | MAP_SYNC, fd, 0);
    if (at == MAP_FAILED)
        return false;
    munmap(at, PAGE_BYTES);
    return true;
}

/* In a directory a file without a name stands for the one that is yet to be made. */
static void try_dax(const char *path, bool directory, struct path_facts *f)
{
    int flags = directory ? O_TMPFILE | O_RDWR | O_CLOEXEC : O_RDONLY | O_CLOEXEC;
    int fd = (int)TEMP_FAILURE_RETRY(open(path, flags, 0600));
    f->dax_tried = fd >= 0;
    if (fd < 0)
        return;
    f->dax = map_sync_works(fd);
    close(fd);
}

static int look_at_fs(const char *path, bool directory, struct path_facts *f)
{
    struct statfs fs;
    if (TEMP_FAILURE_RETRY(statfs(path, &fs)) < 0)
        return err_fact(-errno, "statfs: %s", strerror(errno));
    f->tmpfs = (unsigned long)fs.f_type == TMPFS_MAGIC;
    f->hugetlbfs = (unsigned long)fs.f_type == HUGETLBFS_MAGIC;
    f->free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
    f->unit = f->hugetlbfs ? (uint64_t)fs.f_bsize : PAGE_BYTES;
    look_at_mount(f->st.st_dev, f);
    if (f->tmpfs || f->hugetlbfs) {
        snprintf(f->fs, sizeof f->fs, "%s", f->tmpfs ? "tmpfs" : "hugetlbfs"); /* a memfd too */
        f->dax_tried = true;
    } else {
        try_dax(path, directory, f);
    }
    return 0;
}

/* A number from a file below /sys/dev/char/MAJOR:MINOR; 0 when there is none. */
static uint64_t device_number(dev_t dev, const char *name)
{
    char path[128], text[32] = "";
    snprintf(path, sizeof path, "/sys/dev/char/%u:%u/%s", major(dev), minor(dev), name);
    int fd = (int)TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_CLOEXEC));
    if (fd < 0)
        return 0;
    /* unreached: a read of sysfs is not interrupted. */
    ssize_t n = TEMP_FAILURE_RETRY(read(fd, text, sizeof text - 1));
    close(fd);
    return n > 0 ? strtoull(text, NULL, 0) : 0;
}

/* Is it a device-dax device, and does it hang below an NVDIMM bus? */
static void look_at_device(struct path_facts *f)
{
    char link[64], at[4096], subsystem[4096];
    snprintf(link, sizeof link, "/sys/dev/char/%u:%u", major(f->st.st_rdev), minor(f->st.st_rdev));
    f->kind = PATH_OTHER;
    if (!realpath(link, at))
        return;
    snprintf(link, sizeof link, "/sys/dev/char/%u:%u/subsystem", major(f->st.st_rdev),
             minor(f->st.st_rdev));
    if (!realpath(link, subsystem) || strcmp(strrchr(subsystem, '/'), "/dax") != 0)
        return;
    f->kind = PATH_DEVDAX;
    f->persistent = strstr(at, "/ndbus") != NULL;
    f->size = device_number(f->st.st_rdev, "size");
    f->unit = device_number(f->st.st_rdev, "align");
    if (f->unit < PAGE_BYTES || (f->unit & (f->unit - 1)) != 0)
        f->unit = 2u << 20; /* what device-dax takes when it is not told otherwise */
    snprintf(f->fs, sizeof f->fs, "device-dax");
    f->dax = f->dax_tried = true;
}

static int look_at_parent(const char *path, struct path_facts *f)
{
    char copy[4096];
    snprintf(copy, sizeof copy, "%s", path);
    const char *parent = dirname(copy);
    if (stat(parent, &f->st) < 0)
        return err_fact(-errno, "neither the file nor its directory is there: %s", strerror(errno));
    f->kind = PATH_ABSENT;
    return look_at_fs(parent, true, f);
}

int path_look(const char *path, struct path_facts *f)
{
    memset(f, 0, sizeof *f);
    f->unit = PAGE_BYTES;
    const char *forced = getenv("PMEM2_FORCE_GRANULARITY");
    f->forced = forced && *forced ? forced : NULL;
    if (strlen(path) >= 4096)
        return err_fact(-ENAMETOOLONG, "the path is too long");
    if (stat(path, &f->st) < 0)
        return errno == ENOENT ? look_at_parent(path, f) : err_fact(-errno, "%s", strerror(errno));
    if (S_ISCHR(f->st.st_mode)) {
        look_at_device(f);
        return 0;
    }
    f->kind = S_ISREG(f->st.st_mode)   ? PATH_REGULAR
              : S_ISDIR(f->st.st_mode) ? PATH_DIRECTORY
                                       : PATH_OTHER;
    if (f->kind == PATH_OTHER)
        return 0;
    f->size = f->kind == PATH_REGULAR ? (uint64_t)f->st.st_size : 0;
    return look_at_fs(path, f->kind == PATH_DIRECTORY, f);
}
