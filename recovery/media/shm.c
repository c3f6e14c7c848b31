/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Shared memory: a file on tmpfs or hugetlbfs, or a memfd. What is stored is in the page cache at
 * once and outlives the process; there is nothing to flush. PMEM2_FORCE_GRANULARITY makes stores
 * and drains those of persistent memory, so that they can be tested and timed.
 *
 * A lost page is a hole of the file (holes.h), planted in the mapping (map.h). A real hardware
 * error leaves a page that fails every access, even a pwrite of all of it, until it is punched out.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../errmsg.h"
#include "holes.h"
#include "map.h"

static size_t shm_store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    assert(!m->read_only && off % LINE_BYTES == 0 && bytes % LINE_BYTES == 0);
    assert(range_inside(m, off, bytes));
    count_store(m, bytes);
    return m->store_lines(m->base + off, src, bytes);
}

/* Enough against the death of the process: the compiler must not move stores past it. */
static int shm_drain_plain(struct media *m)
{
    count_fence(m);
    atomic_thread_fence(memory_order_release);
    return 0;
}

static int shm_drain_fence(struct media *m)
{
    count_fence(m);
    mc_fence();
    return 0;
}

static int shm_bad_ranges(struct media *m, int (*fn)(void *arg, uint64_t off, uint64_t bytes),
                          void *arg)
{
    return planted_bad_ranges(m, m->impl, fn, arg);
}

/* Maps the file's page again; also where nothing is planted: a punched page takes the entry of a
 * hardware error out of the file, not out of this mapping. */
static int shm_write_page(struct media *m, struct mapping *map, uint64_t off, const void *page)
{
    int rc = file_write_at(m, off, page, PAGE_BYTES);
    bool again = planted_has(map, off);
    if (rc == -EIO) {
        again = true;
        rc = holes_punch(m->fd, off, PAGE_BYTES);
        if (rc == 0)
            rc = file_write_at(m, off, page, PAGE_BYTES);
    }
    if (rc == 0 && again)
        rc = planted_remove(m, map, off, PAGE_BYTES);
    return rc;
}

/* hugetlbfs has no pwrite. The whole huge page becomes zeros, then the page is stored; its
 * neighbours fail their checks and are repaired in turn. */
static int shm_write_huge(struct media *m, struct mapping *map, uint64_t off, const void *page)
{
    uint64_t huge = off / map->unit * map->unit;
    /* unreached: a fault that nobody planted is a machine check (tests/vm). */
    bool bad = planted_has(map, huge) || mc_touch(m->base + off, PAGE_BYTES) < PAGE_BYTES;
    if (bad) {
        int rc = holes_punch(m->fd, huge, map->unit);
        if (rc == 0 && fallocate(m->fd, 0, (off_t)huge, (off_t)map->unit) < 0)
            rc = err_fact(-errno, "no huge page is free: %s", strerror(errno));
        if (rc == 0)
            rc = planted_remove(m, map, huge, map->unit);
        if (rc < 0)
            return rc;
    }
    if (mc_store_plain(m->base + off, page, PAGE_BYTES) < PAGE_BYTES)
        return err_fact(-EIO, "the page at %llu faults when written", (unsigned long long)off);
    return 0;
}

static int shm_recovery_write(struct media *m, uint64_t off, const void *page)
{
    struct mapping *map = m->impl;
    int rc = map->unit > PAGE_BYTES ? shm_write_huge(m, map, off, page)
                                    : shm_write_page(m, map, off, page);
    return rc < 0 ? rc : verify_by_load(m, off, page);
}

static int shm_inject_poison(struct media *m, uint64_t off)
{
    return planted_inject(m, m->impl, off);
}

static int shm_inject_bytes(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    struct mapping *map = m->impl;
    if (planted_short(map, off, bytes) < bytes)
        return err_fact(-EIO, "the page at %llu is poisoned", (unsigned long long)off);
    return map->unit > PAGE_BYTES ? patch_by_store(m, off, src, bytes)
                                  : file_write_at(m, off, src, bytes);
}

static void shm_close(struct media *m)
{
    mapping_close(m, m->impl);
    free(m->impl);
}

static const struct media_ops plain_ops = {
    .store = shm_store,
    .drain = shm_drain_plain,
    .present = file_long_enough,
    .bad_ranges = shm_bad_ranges,
    .recovery_write = shm_recovery_write,
    .inject_poison = shm_inject_poison,
    .inject_bytes = shm_inject_bytes,
    .close = shm_close,
};

static const struct media_ops fence_ops = {
    .store = shm_store,
    .drain = shm_drain_fence,
    .present = file_long_enough,
    .bad_ranges = shm_bad_ranges,
    .recovery_write = shm_recovery_write,
    .inject_poison = shm_inject_poison,
    .inject_bytes = shm_inject_bytes,
    .close = shm_close,
};

int shm_attach(struct media *m, const struct path_facts *f)
{
    struct mapping *map = calloc(1, sizeof *map);
    if (!map)
        return err_fact(-ENOMEM, "no memory for a mapping");
    map->huge_pages = strstr(f->options, "huge=advise") != NULL;
    int rc = mapping_open(m, map, f->unit);
    if (rc < 0)
        goto undo_alloc;
    rc = f->hugetlbfs ? 0 : planted_add_holes(m, map);
    if (rc < 0)
        goto undo_map;
    m->impl = map;
    m->store_lines = mapping_store_fn(map);
    m->ops = map->granularity == PMEM2_GRANULARITY_PAGE ? &plain_ops : &fence_ops;
    return 0;
undo_map:
    mapping_close(m, map);
undo_alloc:
    free(map);
    return rc;
}
