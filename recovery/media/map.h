/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The mapping of a pool file or device, made by libpmem2, and the poison planted in it.
 *
 * A planted page is replaced in the mapping by a page past the end of an empty memfd: touching it
 * raises a real SIGBUS, in loads and stores, on every kernel. It stands where bytes are known to be
 * lost, so that touching does not quietly make zeros of them (a load of a hole would).
 *
 * Locks: planted.lock is held while the mapping changes; planted_short reads the bits without it.
 */
#ifndef PMKV_RECOVERY_MEDIA_MAP_H
#define PMKV_RECOVERY_MEDIA_MAP_H

#include <libpmem2.h>

#include "backend.h"

struct planted {
    pthread_mutex_t lock;
    atomic_size_t pages;  /* how many bits are set */
    atomic_ullong *words; /* a bit for each page of the mapping */
    int empty_fd;         /* a memfd of size 0; -1 until it is needed */
};

struct mapping {
    struct pmem2_source *source;
    struct pmem2_map *map;
    enum pmem2_granularity granularity;
    bool writable;
    bool huge_pages; /* ask for them: the mount has huge=advise */
    uint64_t unit;   /* what one MAP_FIXED can replace: 4096, or the huge page */
    struct planted planted;
};

/* Maps m->fd whole, not inherited by fork, known to the fault guard; fills m->base. 0, or -errno
 * with a fact. */
int mapping_open(struct media *m, struct mapping *map, uint64_t unit);
void mapping_close(struct media *m, struct mapping *map);
/* What the kernel is told about a part of the mapping, each time it is made. 0 or -errno. */
int mapping_advise(const struct mapping *map, void *at, uint64_t bytes);
/* The store routine and the name of the granularity. */
mc_store_fn mapping_store_fn(const struct mapping *map);

/* Plants poison over the range (multiples of the unit). 0, or -errno with a fact. */
int planted_add(struct media *m, struct mapping *map, uint64_t off, uint64_t bytes);
/* Puts the file's pages back. 0, or -errno with a fact: then the range stays planted. */
int planted_remove(struct media *m, struct mapping *map, uint64_t off, uint64_t bytes);
bool planted_has(struct mapping *map, uint64_t off);
/* Bytes of the range before the first planted page: `bytes` when there is none. */
size_t planted_short(struct mapping *map, uint64_t off, size_t bytes);
/* Plants every hole of the file: at open. 0, or -errno with a fact. */
int planted_add_holes(struct media *m, struct mapping *map);
/* media_ops.bad_ranges of files: their holes, or what is planted where holes cannot be listed. */
int planted_bad_ranges(struct media *m, struct mapping *map,
                       int (*fn)(void *arg, uint64_t off, uint64_t bytes), void *arg);
/* Puts poison there: plants it, then punches the bytes out of the file. */
int planted_inject(struct media *m, struct mapping *map, uint64_t off);

/* libpmem2's error as -errno, with the fact "what: libpmem2's message". */
int pmem2_fact(int code, const char *what);
/* libpmem2's list of bad blocks below `size`, widened to pages. 0; -ENOTSUP: there is none here;
 * other: it could not be read. */
int pmem2_bad_ranges(struct pmem2_source *source, uint64_t size,
                     int (*fn)(void *arg, uint64_t off, uint64_t bytes), void *arg);
/* The first page of [off, off + bytes) that is in that list; false: none is, or there is no list.
 */
bool pmem2_first_bad(struct pmem2_source *source, uint64_t off, uint64_t bytes, uint64_t *page);
/* media_ops.unsafe_shutdowns. */
int pmem2_unsafe_shutdowns(struct pmem2_source *source, uint64_t *count);

#endif
