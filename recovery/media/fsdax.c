/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A file on ext4 or xfs with DAX: its blocks are mapped, stores go past the caches and are durable
 * after a fence (eADR: plain stores are).
 *
 * Repair is a pwrite of one whole aligned page: the kernel (5.19 on) answers it with its recovery
 * write, which clears the poison and stores the data. Never a punched hole: it does not clear, and
 * the file system hands the bad block out again, perhaps to us. A pwrite that stores without
 * clearing (the error was in no list) is told from a good one by reading back.
 *
 * What is still good in a bad page cannot be had here: the kernel gives no part of it. (Reading the
 * block device with O_DIRECT would, as root; parity does the same without.)
 */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "../errmsg.h"
#include "map.h"

static size_t fsdax_store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    assert(!m->read_only && off % LINE_BYTES == 0 && bytes % LINE_BYTES == 0);
    assert(range_inside(m, off, bytes));
    count_store(m, bytes);
    return m->store_lines(m->base + off, src, bytes);
}

static int fsdax_drain(struct media *m)
{
    count_fence(m);
    mc_fence();
    return 0;
}

static int fsdax_present(struct media *m)
{
    int rc = file_long_enough(m);
    return rc < 0 ? rc : mapping_answers(m);
}

static int fsdax_bad_ranges(struct media *m, int (*fn)(void *arg, uint64_t off, uint64_t bytes),
                            void *arg)
{
    struct mapping *map = m->impl;
    return pmem2_bad_ranges(map->source, m->size, fn, arg);
}

static int fsdax_unsafe_shutdowns(struct media *m, uint64_t *count)
{
    struct mapping *map = m->impl;
    return pmem2_unsafe_shutdowns(map->source, count);
}

/* --- the list of the block device: what the kernel's recovery write goes by ------------------- */

/* Where the page is on the block device of the file system. */
static int physical_of(struct media *m, uint64_t off, uint64_t *physical)
{
    _Alignas(struct fiemap) char room[sizeof(struct fiemap) + sizeof(struct fiemap_extent)] = {0};
    struct fiemap *map = (struct fiemap *)room;
    map->fm_start = off;
    map->fm_length = PAGE_BYTES;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = 1;
    if (ioctl(m->fd, FS_IOC_FIEMAP, map) < 0)
        return err_fact(-ENOTSUP, "FIEMAP: %s", strerror(errno));
    const struct fiemap_extent *e = &map->fm_extents[0];
    uint32_t vague = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_ENCODED;
    if (map->fm_mapped_extents == 0 || (e->fe_flags & vague))
        return err_fact(-ENOTSUP, "the page at %llu has no block of its own",
                        (unsigned long long)off);
    *physical = e->fe_physical + (off - e->fe_logical);
    return 0;
}

struct block_list {
    char path[96];
    uint64_t sector; /* of the page, in sectors of 512 bytes of the whole device */
};

enum { SECTOR_BYTES = 512, PAGE_SECTORS = PAGE_BYTES / SECTOR_BYTES };

static int block_list_of(struct media *m, uint64_t off, struct block_list *list)
{
    struct stat st;
    uint64_t physical = 0;
    if (fstat(m->fd, &st) < 0)
        return err_fact(-errno, "fstat: %s", strerror(errno));
    int rc = physical_of(m, off, &physical);
    if (rc < 0)
        return rc;
    unsigned long long start = 0;
    unsigned major_no = major(st.st_dev), minor_no = minor(st.st_dev);
    snprintf(list->path, sizeof list->path, "/sys/dev/block/%u:%u/start", major_no, minor_no);
    FILE *file = fopen(list->path, "re");
    if (file) {
        if (fscanf(file, "%llu", &start) != 1)
            start = 0;
        fclose(file);
    }
    snprintf(list->path, sizeof list->path, "/sys/dev/block/%u:%u/%sbadblocks", major_no, minor_no,
             file ? "../" : "");
    list->sector = physical / SECTOR_BYTES + start;
    return 0;
}

/* A line of the list is "sector count". */
static bool is_listed(const struct block_list *list)
{
    unsigned long long sector, count;
    bool found = false;
    FILE *file = fopen(list->path, "re");
    while (file && !found && fscanf(file, "%llu %llu", &sector, &count) == 2)
        found = sector < list->sector + PAGE_SECTORS && list->sector < sector + count;
    if (file)
        fclose(file);
    return found;
}

static bool await_listed(struct media *m, uint64_t off)
{
    struct block_list list;
    if (block_list_of(m, off, &list) < 0)
        return false;
    for (int i = 0; i < AWAIT_TRIES; i++) {
        if (is_listed(&list))
            return true;
        usleep(AWAIT_PAUSE_US);
    }
    return false;
}

static void fsdax_await_listed(struct media *m, uint64_t off)
{
    await_listed(m, off);
}

/* EFAULT says that the page could not be cleared, but not before it is listed: until then the
 * kernel can neither write the page, which it has taken out of its own map, nor does it know that
 * it should clear it. */
static int write_page(struct media *m, uint64_t off, const void *page)
{
    int rc = file_write_at(m, off, page, PAGE_BYTES);
    return rc == -EFAULT && await_listed(m, off) ? file_write_at(m, off, page, PAGE_BYTES) : rc;
}

static int fsdax_recovery_write(struct media *m, uint64_t off, const void *page)
{
    int rc = write_page(m, off, page);
    if (rc < 0)
        return rc;
    if (fsync(m->fd) < 0)
        return err_fact(-EIO, "fsync: %s", strerror(errno));
    return verify_by_load(m, off, page);
}

/* --- injection through that list -------------------------------------------------------------- */

static int add_bad_block(struct media *m, uint64_t off)
{
    struct block_list list;
    char text[64];
    int rc = block_list_of(m, off, &list);
    if (rc < 0)
        return rc;
    int n = snprintf(text, sizeof text, "%llu %d\n", (unsigned long long)list.sector, PAGE_SECTORS);
    int fd = open(list.path, O_WRONLY | O_CLOEXEC);
    ssize_t written = fd < 0 ? -1 : write(fd, text, (size_t)n);
    int error = errno;
    if (fd >= 0)
        close(fd);
    if (written != n)
        return err_fact(-ENOTSUP, "cannot add a bad block to %s: %s", list.path, strerror(error));
    return 0;
}

/* Only a new fault looks at the list, so the page leaves the mapping. */
static int fsdax_inject_poison(struct media *m, uint64_t off)
{
    int rc = add_bad_block(m, off);
    if (rc < 0)
        return rc;
    if (madvise(m->base + off, PAGE_BYTES, MADV_DONTNEED) < 0)
        return err_fact(-errno, "MADV_DONTNEED: %s", strerror(errno));
    if (mc_touch(m->base + off, PAGE_BYTES) == PAGE_BYTES)
        return err_fact(-ENOTSUP, "the kernel took the bad block, but the page still answers");
    return 0;
}

static int fsdax_inject_bytes(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    return patch_by_store(m, off, src, bytes);
}

/* --- attach ----------------------------------------------------------------------------------- */

static void fsdax_close(struct media *m)
{
    mapping_close(m, m->impl);
    free(m->impl);
}

static const struct media_ops fsdax_ops = {
    .store = fsdax_store,
    .drain = fsdax_drain,
    .present = fsdax_present,
    .bad_ranges = fsdax_bad_ranges,
    .await_listed = fsdax_await_listed,
    .recovery_write = fsdax_recovery_write,
    .inject_poison = fsdax_inject_poison,
    .inject_bytes = fsdax_inject_bytes,
    .unsafe_shutdowns = fsdax_unsafe_shutdowns,
    .close = fsdax_close,
};

int fsdax_attach(struct media *m, const struct path_facts *f)
{
    struct mapping *map = calloc(1, sizeof *map);
    if (!map)
        return err_fact(-ENOMEM, "no memory for a mapping");
    int rc = mapping_open(m, map, f->unit);
    if (rc == 0 && map->granularity == PMEM2_GRANULARITY_PAGE) {
        rc = err_fact(-ENOTSUP, "libpmem2 would need msync here: not mapped as persistent memory");
        mapping_close(m, map);
    }
    if (rc < 0) {
        free(map);
        return rc;
    }
    m->impl = map;
    m->store_lines = mapping_store_fn(map);
    m->ops = &fsdax_ops;
    return 0;
}
