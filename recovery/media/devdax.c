/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A device-dax device: mapped whole, no file system, no pwrite. The kernel does not look at its bad
 * list when a page is touched: only a machine check raises the signal, and it takes the device's
 * whole alignment out of the mapping. So what is listed at open is planted (map.h), in units of
 * that alignment: a load of it is then a plain fault rather than a machine check, and does not take
 * what happens to come back for good.
 *
 * Repair clears the error by the bus's clear-error command (libpmem2 over libndctl; root) and then
 * stores the page. Where the bus has no such command (CXL), a page that is listed or faults cannot
 * be repaired, and its row is retired.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../errmsg.h"
#include "map.h"
#include "nd.h"

static size_t devdax_store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    assert(!m->read_only && off % LINE_BYTES == 0 && bytes % LINE_BYTES == 0);
    assert(range_inside(m, off, bytes));
    count_store(m, bytes);
    return m->store_lines(m->base + off, src, bytes);
}

static int devdax_drain(struct media *m)
{
    count_fence(m);
    mc_fence();
    return 0;
}

static int devdax_bad_ranges(struct media *m, int (*fn)(void *arg, uint64_t off, uint64_t bytes),
                             void *arg)
{
    struct mapping *map = m->impl;
    return pmem2_bad_ranges(map->source, m->size, fn, arg);
}

static void devdax_await_listed(struct media *m, uint64_t off)
{
    struct mapping *map = m->impl;
    uint64_t bad;
    for (int i = 0; i < AWAIT_TRIES; i++) {
        if (pmem2_first_bad(map->source, off, PAGE_BYTES, &bad))
            return;
        usleep(AWAIT_PAUSE_US);
    }
}

static int clear_page(struct media *m, uint64_t off)
{
    struct mapping *map = m->impl;
    struct pmem2_badblock_context *list = NULL;
    struct pmem2_badblock bad = {.offset = off, .length = PAGE_BYTES};
    int rc = pmem2_badblock_context_new(&list, map->source);
    if (rc)
        return pmem2_fact(rc, "the list of bad blocks");
    rc = pmem2_badblock_clear(list, &bad);
    if (rc)
        rc = pmem2_fact(rc, "clear-error");
    pmem2_badblock_context_delete(&list);
    return rc;
}

static int clear_listed(struct media *m, uint64_t off, uint64_t bytes)
{
    struct mapping *map = m->impl;
    uint64_t page, before = UINT64_MAX;
    for (; pmem2_first_bad(map->source, off, bytes, &page); before = page) {
        int rc = page == before ? err_fact(-EIO, "the page at %llu is still listed as bad",
                                           (unsigned long long)page)
                                : clear_page(m, page);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* All that is listed in a planted unit is cleared before any of it is mapped again; its pages then
 * hold what the medium made of them. */
static int bring_back(struct media *m, struct mapping *map, uint64_t off)
{
    uint64_t unit = off / map->unit * map->unit;
    int rc = clear_listed(m, unit, map->unit);
    return rc < 0 ? rc : planted_remove(m, map, unit, map->unit);
}

/* An error that is in no list may still go by a store of whole lines, which the verification tells.
 */
static int devdax_recovery_write(struct media *m, uint64_t off, const void *page)
{
    struct mapping *map = m->impl;
    int rc = planted_has(map, off) ? bring_back(m, map, off) : clear_listed(m, off, PAGE_BYTES);
    if (rc < 0)
        return rc;
    if (mc_touch(m->base + off, PAGE_BYTES) < PAGE_BYTES)
        clear_page(m, off);
    if (mc_store_nt(m->base + off, page, PAGE_BYTES) < PAGE_BYTES)
        return err_fact(-EIO, "the page at %llu faults when written", (unsigned long long)off);
    mc_fence();
    return verify_by_load(m, off, page);
}

static int devdax_inject_poison(struct media *m, uint64_t off)
{
    struct stat st;
    if (fstat(m->fd, &st) < 0)
        return err_fact(-errno, "fstat failed");
    return nd_inject_error(st.st_rdev, off, PAGE_BYTES);
}

static int devdax_inject_bytes(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    return patch_by_store(m, off, src, bytes);
}

static int devdax_unsafe_shutdowns(struct media *m, uint64_t *count)
{
    struct mapping *map = m->impl;
    return pmem2_unsafe_shutdowns(map->source, count);
}

static void devdax_close(struct media *m)
{
    mapping_close(m, m->impl);
    free(m->impl);
}

static const struct media_ops devdax_ops = {
    .store = devdax_store,
    .drain = devdax_drain,
    .present = mapping_answers,
    .bad_ranges = devdax_bad_ranges,
    .await_listed = devdax_await_listed,
    .recovery_write = devdax_recovery_write,
    .inject_poison = devdax_inject_poison,
    .inject_bytes = devdax_inject_bytes,
    .unsafe_shutdowns = devdax_unsafe_shutdowns,
    .close = devdax_close,
};

struct plant {
    struct media *m;
    struct mapping *map;
};

static int plant_listed(void *arg, uint64_t off, uint64_t bytes)
{
    const struct plant *to = arg;
    uint64_t unit = to->map->unit, from = off / unit * unit;
    return planted_add(to->m, to->map, from, (off + bytes - from + unit - 1) / unit * unit);
}

int devdax_attach(struct media *m, const struct path_facts *f)
{
    struct mapping *map = calloc(1, sizeof *map);
    if (!map)
        return err_fact(-ENOMEM, "no memory for a mapping");
    int rc = mapping_open(m, map, f->unit);
    if (rc < 0) {
        free(map);
        return rc;
    }
    m->impl = map;
    m->store_lines = mapping_store_fn(map);
    m->ops = &devdax_ops;
    /* As far as it goes: what is not planted raises a machine check when it is touched. */
    devdax_bad_ranges(m, plant_listed, &(struct plant){m, map});
    return 0;
}
