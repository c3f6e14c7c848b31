/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * From the facts of a path to its backend, durability, and sentences about both.
 *
 *   character device of device-dax     devdax
 *   tmpfs, hugetlbfs                   shm
 *   MAP_SYNC works                     fsdax
 *   any other regular file             file
 *
 * PMEM2_FORCE_GRANULARITY changes how stores are flushed and nothing else: no durability follows
 * from it. It also lets a caller ask for fsdax on any file, which tests its code without a device.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <libpmem2.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../errmsg.h"
#include "map.h"

static enum media_backend natural_backend(const struct path_facts *f)
{
    if (f->kind == PATH_DEVDAX)
        return MEDIA_DEVDAX;
    if (f->tmpfs || f->hugetlbfs)
        return MEDIA_SHM;
    return f->dax ? MEDIA_FSDAX : MEDIA_FILE;
}

/* Can a file (or device) like this be served by `backend`? NULL: yes; else why not. */
static const char *why_not(const struct path_facts *f, enum media_backend backend)
{
    bool device = f->kind == PATH_DEVDAX;
    switch (backend) {
    case MEDIA_DEVDAX:
        return device ? NULL : "it is not a device-dax device";
    case MEDIA_FSDAX:
        if (device || f->hugetlbfs)
            return "it is not a file on a DAX file system";
        return f->dax || f->forced ? NULL : "MAP_SYNC does not work: the file system has no DAX";
    case MEDIA_SHM:
        return device ? "it is a device, not shared memory" : NULL;
    case MEDIA_FILE:
        if (device)
            return "it is a device, not a file";
        return f->hugetlbfs ? "hugetlbfs has no pwrite" : NULL;
    default:
        return "no path leads to that backend";
    }
}

int path_choose(const struct path_facts *f, enum media_backend wanted, enum media_backend *out)
{
    if (f->kind == PATH_DIRECTORY)
        return err_fact(-EISDIR, "it is a directory");
    if (f->kind == PATH_OTHER)
        return err_fact(-EINVAL, "it is neither a regular file nor a device-dax device");
    if (wanted == MEDIA_AUTO) {
        *out = natural_backend(f);
        return 0;
    }
    const char *why = why_not(f, wanted);
    if (why)
        return err_fact(-ENOTSUP, "backend %s: %s", media_backend_name(wanted), why);
    *out = wanted;
    return 0;
}

enum media_durability path_durability(const struct path_facts *f, enum media_backend backend)
{
    if (backend == MEDIA_DEVDAX)
        return f->persistent ? MEDIA_SURVIVES_POWER_LOSS : MEDIA_SURVIVES_PROCESS_DEATH;
    bool memory = f->tmpfs || f->hugetlbfs;
    if (backend == MEDIA_SHM || memory || (backend == MEDIA_FSDAX && !f->dax))
        return MEDIA_SURVIVES_PROCESS_DEATH;
    return MEDIA_SURVIVES_POWER_LOSS;
}

static void shm_reason(const struct path_facts *f, char *to, size_t bytes)
{
    const char *where =
        f->tmpfs || f->hugetlbfs ? "memory of this machine" : "used as shared memory, never synced";
    if (f->forced)
        snprintf(to, bytes,
                 "%s: %s, survives the death of the process, not a power loss; "
                 "PMEM2_FORCE_GRANULARITY=%s only makes stores flush as if it were pmem",
                 f->fs, where, f->forced);
    else
        snprintf(to, bytes, "%s: %s, survives the death of the process, not a power loss", f->fs,
                 where);
}

static void file_reason(const struct path_facts *f, char *to, size_t bytes)
{
    bool memory = f->tmpfs || f->hugetlbfs;
    const char *dax = f->dax         ? "told not to use DAX"
                      : f->dax_tried ? "no DAX here"
                                     : "whether it has DAX could not be tried";
    snprintf(to, bytes, "%s: %s, stores are made durable by fdatasync and survive %s%s", f->fs, dax,
             memory ? "the death of the process, not a power loss" : "a power loss",
             f->forced ? "; PMEM2_FORCE_GRANULARITY is not heeded" : "");
}

void path_reason(const struct path_facts *f, enum media_backend backend, char *to, size_t bytes)
{
    switch (backend) {
    case MEDIA_SHM:
        shm_reason(f, to, bytes);
        break;
    case MEDIA_FSDAX:
        if (f->dax)
            snprintf(to, bytes, "%s with DAX: MAP_SYNC works, flushed stores survive a power loss",
                     f->fs);
        else
            snprintf(to, bytes,
                     "%s without DAX, told to act as fsdax by PMEM2_FORCE_GRANULARITY=%s: "
                     "survives the death of the process, not a power loss",
                     f->fs, f->forced);
        break;
    case MEDIA_DEVDAX:
        snprintf(to, bytes, "device-dax with units of %llu bytes, %s", (unsigned long long)f->unit,
                 f->persistent ? "on an NVDIMM bus: flushed stores survive a power loss"
                               : "not on an NVDIMM bus: survives the death of the process only");
        break;
    default:
        file_reason(f, to, bytes);
        break;
    }
}

/* --- media_probe ------------------------------------------------------------------------------ */

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

/* Does the kernel make huge pages of a new pool when it is told to (holes.c)? It answers for an
 * empty range as well. */
static bool collapses(void)
{
    return madvise(NULL, 0, MADV_COLLAPSE) == 0;
}

/* unreached: a kernel can, or cannot. */
static const char *tmpfs_advice(const struct path_facts *f)
{
    if (strstr(f->options, "huge=always") || strstr(f->options, "huge=within_size") ||
        strstr(f->options, "huge=advise"))
        return "";
    if (collapses())
        return "a new pool gets huge pages, with which point reads are about 1.5 times as fast; "
               "one "
               "that was made on another kernel, or copied as a file, gets them by dump and load";
    return "huge pages make point reads about 1.5 times as fast: use Linux 6.1 or later, mount a "
           "tmpfs with huge=always, or use hugetlbfs";
}

static void advise(const struct path_facts *f, struct media_probe *p)
{
    char *to = p->advice;
    size_t bytes = sizeof p->advice;
    if (p->backend == MEDIA_SHM && f->tmpfs)
        snprintf(to, bytes, "%s", tmpfs_advice(f));
    else if (p->backend == MEDIA_SHM && f->hugetlbfs) /* unreached: shm elsewhere */
        snprintf(to, bytes,
                 "fast, but a memory error takes %llu bytes at once, and bad pages are not "
                 "remembered across a reopen; tmpfs with huge=always loses 4096",
                 (unsigned long long)f->unit);
    else if (p->backend == MEDIA_FILE)
        snprintf(to, bytes,
                 "each commit waits for the disk: share it among threads or batches, or use a DAX "
                 "file system (mount -o dax=always) or tmpfs");
    else if (p->backend == MEDIA_DEVDAX && f->unit > PAGE_BYTES)
        snprintf(to, bytes,
                 "a memory error takes %llu bytes at once; a file on ext4 or xfs with DAX, or a "
                 "namespace made with -a 4096, loses 4096",
                 (unsigned long long)f->unit);
}

static int bad_blocks_fact(const struct path_facts *f)
{
    char path[128];
    dev_t dev = f->st.st_dev;
    snprintf(path, sizeof path, "/sys/dev/block/%u:%u/badblocks", major(dev), minor(dev));
    if (access(path, F_OK) < 0)
        snprintf(path, sizeof path, "/sys/dev/block/%u:%u/../badblocks", major(dev), minor(dev));
    if (access(path, F_OK) < 0)
        return 0;
    return access(path, R_OK) == 0 ? 1 : -1;
}

static int ignore_range(void *arg, uint64_t off, uint64_t bytes)
{
    (void)arg, (void)off, (void)bytes;
    return 0;
}

/* What only libpmem2 knows: the NUMA node, and whether the list of bad blocks can be read. */
static void ask_libpmem2(const char *path, const struct path_facts *f, struct media_probe *p)
{
    /* unreached: an open of a file is not interrupted. */
    int fd = (int)TEMP_FAILURE_RETRY(open(path, O_RDONLY | O_CLOEXEC));
    if (fd < 0) {
        p->bad_block_support = -1;
        return;
    }
    struct pmem2_source *source = NULL;
    if (pmem2_source_from_fd(&source, fd) == 0) {
        if (pmem2_source_numa_node(source, &p->numa_node) != 0)
            p->numa_node = -1;
        int rc = pmem2_bad_ranges(source, f->size, ignore_range, NULL);
        p->bad_block_support = rc == 0 ? 1 : rc == -ENOTSUP ? 0 : -1;
        pmem2_source_delete(&source);
    }
    close(fd);
}

int media_probe(const char *path, struct media_probe *out)
{
    struct path_facts f;
    int rc = path_look(path, &f);
    if (rc < 0)
        return rc;
    if (f.kind == PATH_OTHER)
        return err_fact(-EINVAL, "it is neither a file, a directory nor a device-dax device");
    struct media_probe p = {.backend = natural_backend(&f), .loss_unit = f.unit, .numa_node = -1};
    p.durability = path_durability(&f, p.backend);
    p.available_bytes = f.size > 0 ? f.size : f.free_bytes;
    path_reason(&f, p.backend, p.reason, sizeof p.reason);
    advise(&f, &p);
    bool there = f.kind == PATH_REGULAR || f.kind == PATH_DEVDAX;
    if (p.backend == MEDIA_SHM || p.backend == MEDIA_FILE)
        p.bad_block_support = !f.hugetlbfs; /* the holes of the file */
    else if (there)
        ask_libpmem2(path, &f, &p);
    if (p.backend == MEDIA_FSDAX && p.bad_block_support >= 0)
        p.bad_block_support = bad_blocks_fact(&f);
    *out = p;
    return 0;
}
