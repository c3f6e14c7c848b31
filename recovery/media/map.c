/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#define _GNU_SOURCE
#include "map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../errmsg.h"
#include "../fault_guard.h"
#include "fork.h"

/* Codes above PMEM2_E_UNKNOWN are -errno already. (1.12 declares pmem2_err_to_errno and does not
 * export it.) */
int pmem2_fact(int code, const char *what)
{
    int rc = code > PMEM2_E_UNKNOWN      ? code
             : code == PMEM2_E_NOSUPP    ? -ENOTSUP
             : code == PMEM2_E_NO_ACCESS ? -EACCES
             : code == PMEM2_E_IO_FAIL   ? -EIO
                                         : -EINVAL;
    return err_fact(rc, "%s: %s", what, pmem2_errormsg());
}

/* Asks for the coarsest granularity, which every medium can give; what it gave is read afterwards.
 */
static int map_source(struct mapping *map, uint64_t bytes)
{
    struct pmem2_config *config = NULL;
    int rc = pmem2_config_new(&config);
    if (rc)
        return pmem2_fact(rc, "pmem2_config_new");
    unsigned protection = PMEM2_PROT_READ | (map->writable ? PMEM2_PROT_WRITE : 0);
    rc = pmem2_config_set_required_store_granularity(config, PMEM2_GRANULARITY_PAGE);
    if (!rc) /* unreached: it fails for what is no granularity only */
        rc = pmem2_config_set_length(config, bytes);
    if (!rc) /* unreached: it never fails */
        rc = pmem2_config_set_protection(config, protection);
    if (!rc) /* unreached: it fails for what is no protection only */
        rc = pmem2_map_new(&map->map, config, map->source);
    if (rc)
        rc = pmem2_fact(rc, "cannot map it");
    pmem2_config_delete(&config);
    return rc;
}

static int planted_init(struct planted *planted, uint64_t bytes)
{
    size_t words = (size_t)(bytes / PAGE_BYTES + 63) / 64;
    planted->words = calloc(words, sizeof *planted->words);
    if (!planted->words)
        return err_fact(-ENOMEM, "no memory for the map of bad pages");
    planted->empty_fd = -1;
    pthread_mutex_init(&planted->lock, NULL);
    return 0;
}

static void planted_fini(struct planted *planted)
{
    if (planted->empty_fd >= 0)
        close(planted->empty_fd);
    pthread_mutex_destroy(&planted->lock);
    free(planted->words);
}

int mapping_advise(const struct mapping *map, void *at, uint64_t bytes)
{
    if (madvise(at, bytes, MADV_DONTFORK) < 0)
        return -errno;
    if (map->huge_pages)
        madvise(at, bytes, MADV_HUGEPAGE);
    return 0;
}

int mapping_open(struct media *m, struct mapping *map, uint64_t unit)
{
    map->map = NULL;
    map->source = NULL;
    map->unit = unit;
    map->writable = !m->read_only || m->allow_inject;
    int rc = planted_init(&map->planted, m->size);
    if (rc < 0)
        return rc;
    rc = pmem2_source_from_fd(&map->source, m->fd);
    rc = rc ? pmem2_fact(rc, "libpmem2 does not take it") : map_source(map, m->size);
    if (rc < 0)
        goto undo;
    map->granularity = pmem2_map_get_store_granularity(map->map);
    m->base = pmem2_map_get_address(map->map);
    rc = mapping_advise(map, m->base, m->size);
    if (rc < 0) {
        err_fact(rc, "MADV_DONTFORK: %s", strerror(-rc));
        goto undo;
    }
    rc = fault_guard_register(m->base, m->size);
    if (rc < 0) {
        err_fact(rc, "the fault guard takes no more mappings: %s", strerror(-rc));
        goto undo;
    }
    rc = fork_guard_add(m->base, m->size);
    if (rc < 0) {
        err_fact(rc, "no memory for the list of mappings");
        goto undo;
    }
    return 0;
undo:
    mapping_close(m, map);
    return rc;
}

void mapping_close(struct media *m, struct mapping *map)
{
    if (m->base) {
        fork_guard_remove(m->base);
        fault_guard_unregister(m->base);
    }
    m->base = NULL;
    if (map->map)
        pmem2_map_delete(&map->map);
    if (map->source)
        pmem2_source_delete(&map->source);
    planted_fini(&map->planted);
}

mc_store_fn mapping_store_fn(const struct mapping *map)
{
    /* BYTE (eADR): the caches survive; PAGE: nothing below the page cache can be flushed from here.
     */
    return map->granularity == PMEM2_GRANULARITY_CACHE_LINE ? mc_store_nt : mc_store_plain;
}

int pmem2_unsafe_shutdowns(struct pmem2_source *source, uint64_t *count)
{
    int rc = pmem2_source_device_usc(source, count);
    if (rc == PMEM2_E_NOSUPP)
        return err_fact(-ENOTSUP, "the device does not count unsafe shutdowns");
    return rc ? pmem2_fact(rc, "the count of unsafe shutdowns") : 0;
}

int pmem2_bad_ranges(struct pmem2_source *source, uint64_t size,
                     int (*fn)(void *arg, uint64_t off, uint64_t bytes), void *arg)
{
    struct pmem2_badblock_context *list = NULL;
    int rc = pmem2_badblock_context_new(&list, source);
    if (rc == PMEM2_E_NOSUPP || rc == PMEM2_E_DAX_REGION_NOT_FOUND)
        return err_fact(-ENOTSUP, "no list of bad blocks: %s", pmem2_errormsg());
    if (rc)
        return pmem2_fact(rc, "the list of bad blocks");
    struct pmem2_badblock bad;
    while ((rc = pmem2_badblock_next(list, &bad)) == 0) {
        uint64_t from = bad.offset / PAGE_BYTES * PAGE_BYTES;
        uint64_t end =
            ((uint64_t)bad.offset + bad.length + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        if (from >= size)
            continue;
        rc = fn(arg, from, (end < size ? end : size) - from);
        if (rc != 0)
            goto out;
    }
    rc = rc == PMEM2_E_NO_BAD_BLOCK_FOUND ? 0 : pmem2_fact(rc, "the list of bad blocks");
out:
    pmem2_badblock_context_delete(&list);
    return rc;
}

struct search {
    uint64_t from; /* of the range looked at, which ends where the list does */
    uint64_t page; /* the first listed one in it */
    bool found;
};

static int note_first(void *arg, uint64_t off, uint64_t bytes)
{
    struct search *s = arg;
    if (s->from < off + bytes) {
        s->page = off > s->from ? off : s->from;
        s->found = true;
    }
    return s->found;
}

bool pmem2_first_bad(struct pmem2_source *source, uint64_t off, uint64_t bytes, uint64_t *page)
{
    struct search s = {.from = off};
    pmem2_bad_ranges(source, off + bytes, note_first, &s);
    *page = s.page;
    return s.found;
}
