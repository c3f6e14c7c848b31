/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Order of things when a page is lost and comes back; other threads load and store all the while:
 *
 *   inject   1 set the bit     a store by pwrite stops short of the page
 *            2 plant           a touch of the mapping faults
 *            3 punch           the bytes are gone; nobody can make zeros of the hole any more
 *   repair   1 pwrite          the hole is filled (the backend does it)
 *            2 map the file    a touch sees the new bytes
 *            3 clear the bit
 *
 * MAP_FIXED replaces a page under the kernel's lock of the address space: a thread that touches it
 * meanwhile sees the old page or the new one, never none.
 */
#define _GNU_SOURCE
#include "map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../errmsg.h"
#include "holes.h"

static void mark(struct planted *planted, uint64_t off, uint64_t bytes, bool bad)
{
    for (uint64_t page = off / PAGE_BYTES; page < (off + bytes) / PAGE_BYTES; page++) {
        unsigned long long bit = 1ull << (page % 64);
        atomic_ullong *word = &planted->words[page / 64];
        unsigned long long before =
            bad ? atomic_fetch_or_explicit(word, bit, memory_order_release)
                : atomic_fetch_and_explicit(word, ~bit, memory_order_release);
        if (bad && !(before & bit))
            atomic_fetch_add_explicit(&planted->pages, 1, memory_order_release);
        else if (!bad && (before & bit)) /* unreached: planted again, or gone before */
            atomic_fetch_sub_explicit(&planted->pages, 1, memory_order_release);
    }
}

bool planted_has(struct mapping *map, uint64_t off)
{
    uint64_t page = off / PAGE_BYTES;
    return atomic_load_explicit(&map->planted.words[page / 64], memory_order_acquire) >>
               (page % 64) &
           1;
}

size_t planted_short(struct mapping *map, uint64_t off, size_t bytes)
{
    if (atomic_load_explicit(&map->planted.pages, memory_order_acquire) == 0)
        return bytes;
    for (uint64_t page = off / PAGE_BYTES * PAGE_BYTES; page < off + bytes; page += PAGE_BYTES)
        if (planted_has(map, page))
            return page > off ? (size_t)(page - off) : 0;
    return bytes;
}

static int map_over(struct media *m, struct mapping *map, uint64_t off, uint64_t bytes, int fd,
                    off_t fd_off)
{
    int protection = PROT_READ | (map->writable ? PROT_WRITE : 0);
    void *at = mmap(m->base + off, bytes, protection, MAP_SHARED | MAP_FIXED, fd, fd_off);
    if (at == MAP_FAILED)
        return -errno;
    return mapping_advise(map, at, bytes);
}

static int map_empty(struct media *m, struct mapping *map, uint64_t off, uint64_t bytes)
{
    struct planted *planted = &map->planted;
    if (planted->empty_fd < 0)
        planted->empty_fd = memfd_create("pmkv-poison", MFD_CLOEXEC);
    if (planted->empty_fd < 0)
        return err_fact(-errno, "memfd_create: %s", strerror(errno));
    int rc = map_over(m, map, off, bytes, planted->empty_fd, 0);
    return rc < 0 ? err_fact(rc, "cannot plant poison at %llu: %s", (unsigned long long)off,
                             strerror(-rc))
                  : 0;
}

int planted_add(struct media *m, struct mapping *map, uint64_t off, uint64_t bytes)
{
    pthread_mutex_lock(&map->planted.lock);
    mark(&map->planted, off, bytes, true);
    int rc = map_empty(m, map, off, bytes);
    if (rc < 0)
        mark(&map->planted, off, bytes, false);
    pthread_mutex_unlock(&map->planted.lock);
    return rc;
}

int planted_remove(struct media *m, struct mapping *map, uint64_t off, uint64_t bytes)
{
    pthread_mutex_lock(&map->planted.lock);
    int rc = map_over(m, map, off, bytes, m->fd, (off_t)off);
    if (rc == 0)
        mark(&map->planted, off, bytes, false);
    else
        err_fact(rc, "cannot map the page at %llu again: %s", (unsigned long long)off,
                 strerror(-rc));
    pthread_mutex_unlock(&map->planted.lock);
    return rc;
}

struct plant_holes {
    struct media *m;
    struct mapping *map;
};

static int plant_hole(void *arg, uint64_t off, uint64_t bytes)
{
    const struct plant_holes *to = arg;
    return planted_add(to->m, to->map, off, bytes);
}

int planted_add_holes(struct media *m, struct mapping *map)
{
    struct plant_holes to = {m, map};
    int rc = holes_foreach(m->fd, m->size, plant_hole, &to);
    /* Not listed here; or more holes than mappings: those left out read as zeros and fail their
     * checks, which comes to the same, only later. */
    return rc == -ENOTSUP || rc == -ENOMEM ? 0 : rc;
}

/* --- the list of bad ranges ------------------------------------------------------------------- */

struct bad_pages {
    uint64_t *words; /* a bit for each page */
};

static int note_hole(void *arg, uint64_t off, uint64_t bytes)
{
    const struct bad_pages *bad = arg;
    for (uint64_t page = off / PAGE_BYTES; page < (off + bytes) / PAGE_BYTES; page++)
        bad->words[page / 64] |= 1ull << (page % 64);
    return 0;
}

static bool is_bad(const struct bad_pages *bad, uint64_t off)
{
    uint64_t page = off / PAGE_BYTES;
    return bad->words[page / 64] >> (page % 64) & 1;
}

static int each_range(const struct bad_pages *bad, uint64_t size,
                      int (*fn)(void *arg, uint64_t off, uint64_t bytes), void *arg)
{
    for (uint64_t off = 0; off < size;) {
        uint64_t end = off;
        while (end < size && is_bad(bad, end))
            end += PAGE_BYTES;
        int rc = end > off ? fn(arg, off, end - off) : 0;
        if (rc != 0)
            return rc;
        off = end + PAGE_BYTES;
    }
    return 0;
}

/* Holes, and what is planted: tmpfs with huge pages may fill the hole beside one that is repaired.
 */
int planted_bad_ranges(struct media *m, struct mapping *map,
                       int (*fn)(void *arg, uint64_t off, uint64_t bytes), void *arg)
{
    size_t words = (size_t)(m->size / PAGE_BYTES + 63) / 64;
    struct bad_pages bad = {calloc(words, sizeof(uint64_t))};
    if (!bad.words)
        return err_fact(-ENOMEM, "no memory for the list of bad pages");
    for (size_t i = 0; i < words; i++)
        bad.words[i] = atomic_load_explicit(&map->planted.words[i], memory_order_acquire);
    int rc = map->unit > PAGE_BYTES ? 0 /* hugetlbfs has no SEEK_HOLE */
                                    : holes_foreach(m->fd, m->size, note_hole, &bad);
    if (rc == 0)
        rc = each_range(&bad, m->size, fn, arg);
    free(bad.words);
    return rc;
}

/* --- injection -------------------------------------------------------------------------------- */

/* tmpfs makes a hole of one page in a huge page by splitting it, and quietly writes zeros where it
 * cannot, because somebody holds the page for a moment. So it is tried for a while; zeros fail
 * their checks after a reopen, which comes to the same. */
static int punch_until_hole(int fd, uint64_t off, uint64_t bytes)
{
    for (int tries = 0;; tries++) {
        int rc = holes_punch(fd, off, bytes);
        if (rc < 0 || bytes > PAGE_BYTES || lseek(fd, (off_t)off, SEEK_HOLE) == (off_t)off ||
            tries == 50)
            return rc;
        usleep(1000);
    }
}

int planted_inject(struct media *m, struct mapping *map, uint64_t off)
{
    off = off / map->unit * map->unit;
    bool was = planted_has(map, off);
    int rc = planted_add(m, map, off, map->unit);
    if (rc < 0)
        return rc;
    rc = punch_until_hole(m->fd, off, map->unit);
    if (rc < 0 && !was) {
        char fact[256];
        strncpy(fact, err_message(), sizeof fact - 1);
        fact[sizeof fact - 1] = 0;
        planted_remove(m, map, off, map->unit);
        return err_fact(rc, "%s", fact);
    }
    return rc;
}
