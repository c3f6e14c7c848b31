/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A device-dax device: mapped whole, no file system, no pwrite. The kernel does not look at its bad
 * list when a page is touched: only a machine check raises the signal, and it takes the device's
 * whole alignment out of the mapping.
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

struct overlap {
    uint64_t off;
    bool found;
};

static int note_overlap(void *arg, uint64_t off, uint64_t bytes)
{
    struct overlap *page = arg;
    if (off < page->off + PAGE_BYTES && page->off < off + bytes)
        page->found = true;
    return page->found;
}

static bool is_listed(struct media *m, uint64_t off)
{
    struct overlap page = {.off = off};
    devdax_bad_ranges(m, note_overlap, &page);
    return page.found;
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

/* An error that is in no list may still go by a store of whole lines, which the verification tells.
 */
static int devdax_recovery_write(struct media *m, uint64_t off, const void *page)
{
    bool listed = is_listed(m, off);
    if (listed || mc_touch(m->base + off, PAGE_BYTES) < PAGE_BYTES) {
        int rc = clear_page(m, off);
        if (rc < 0 && listed)
            return rc;
    }
    if (mc_store_nt(m->base + off, page, PAGE_BYTES) < PAGE_BYTES)
        return err_fact(-EIO, "the page at %llu faults when written", (unsigned long long)off);
    mc_fence();
    if (listed && is_listed(m, off))
        return err_fact(-EIO, "the page at %llu is still listed as bad", (unsigned long long)off);
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
    .recovery_write = devdax_recovery_write,
    .inject_poison = devdax_inject_poison,
    .inject_bytes = devdax_inject_bytes,
    .unsafe_shutdowns = devdax_unsafe_shutdowns,
    .close = devdax_close,
};

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
    return 0;
}
