/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "sim_image.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../hash.h"
#include "../media.h"

enum { LEAF_PAGES = 256 };

struct sim_page {
    atomic_uint refs;
    atomic_ullong hash; /* of the bytes; 0: not known */
    uint8_t bytes[PAGE_BYTES];
};

struct sim_leaf {
    atomic_uint refs;
    struct sim_page *pages[LEAF_PAGES];
};

/* unreached: no test lets the simulation itself run out of memory. */
static void *must(void *memory)
{
    if (!memory) {
        fprintf(stderr, "sim: out of memory\n");
        abort();
    }
    return memory;
}

void *sim_alloc(size_t bytes)
{
    return must(calloc(1, bytes));
}

void *sim_realloc(void *old, size_t bytes)
{
    return must(realloc(old, bytes));
}

static void take(atomic_uint *refs)
{
    atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
}

/* True for the last one: everything that others did before they let go is seen. */
static bool let_go(atomic_uint *refs)
{
    return atomic_fetch_sub_explicit(refs, 1, memory_order_acq_rel) == 1;
}

static bool is_mine(atomic_uint *refs)
{
    return atomic_load_explicit(refs, memory_order_acquire) == 1;
}

static void page_free(struct sim_page *page)
{
    if (page && let_go(&page->refs))
        free(page);
}

static void leaf_free(struct sim_leaf *leaf)
{
    if (!leaf || !let_go(&leaf->refs))
        return;
    for (size_t i = 0; i < LEAF_PAGES; i++)
        page_free(leaf->pages[i]);
    free(leaf);
}

void image_init(struct sim_image *image, uint64_t bytes)
{
    uint64_t leaf_bytes = (uint64_t)LEAF_PAGES * PAGE_BYTES;
    image->leaf_count = (size_t)((bytes + leaf_bytes - 1) / leaf_bytes);
    image->leaves = sim_alloc(image->leaf_count * sizeof *image->leaves);
}

void image_copy(struct sim_image *to, const struct sim_image *from)
{
    to->leaf_count = from->leaf_count;
    to->leaves = sim_alloc(to->leaf_count * sizeof *to->leaves);
    for (size_t i = 0; i < to->leaf_count; i++) {
        to->leaves[i] = from->leaves[i];
        if (to->leaves[i])
            take(&to->leaves[i]->refs);
    }
}

void image_free(struct sim_image *image)
{
    for (size_t i = 0; i < image->leaf_count; i++)
        leaf_free(image->leaves[i]);
    free(image->leaves);
    image->leaves = NULL;
    image->leaf_count = 0;
}

/* A leaf that may be changed in place of `*at`. */
static struct sim_leaf *own_leaf(struct sim_leaf **at)
{
    struct sim_leaf *old = *at;
    if (old && is_mine(&old->refs))
        return old;
    struct sim_leaf *own = sim_alloc(sizeof *own);
    atomic_init(&own->refs, 1);
    for (size_t i = 0; old && i < LEAF_PAGES; i++) {
        own->pages[i] = old->pages[i];
        if (own->pages[i])
            take(&own->pages[i]->refs);
    }
    leaf_free(old);
    *at = own;
    return own;
}

static struct sim_page *own_page(struct sim_page **at)
{
    struct sim_page *old = *at;
    if (old && is_mine(&old->refs))
        return old;
    struct sim_page *own = sim_alloc(sizeof *own);
    atomic_init(&own->refs, 1);
    if (old)
        memcpy(own->bytes, old->bytes, PAGE_BYTES);
    page_free(old);
    *at = own;
    return own;
}

static const struct sim_page *find_page(const struct sim_image *image, uint64_t page)
{
    const struct sim_leaf *leaf = image->leaves[page / LEAF_PAGES];
    return leaf ? leaf->pages[page % LEAF_PAGES] : NULL;
}

void image_read(const struct sim_image *image, uint64_t off, void *dst, size_t bytes)
{
    uint8_t *to = dst;
    while (bytes > 0) {
        size_t at = off % PAGE_BYTES;
        size_t n = PAGE_BYTES - at < bytes ? PAGE_BYTES - at : bytes;
        const struct sim_page *page = find_page(image, off / PAGE_BYTES);
        if (page)
            memcpy(to, page->bytes + at, n);
        else
            memset(to, 0, n);
        to += n;
        off += n;
        bytes -= n;
    }
}

void image_write(struct sim_image *image, uint64_t off, const void *src, size_t bytes)
{
    const uint8_t *from = src;
    while (bytes > 0) {
        size_t at = off % PAGE_BYTES;
        size_t n = PAGE_BYTES - at < bytes ? PAGE_BYTES - at : bytes;
        uint64_t number = off / PAGE_BYTES;
        struct sim_leaf *leaf = own_leaf(&image->leaves[number / LEAF_PAGES]);
        struct sim_page *page = own_page(&leaf->pages[number % LEAF_PAGES]);
        memcpy(page->bytes + at, from, n);
        atomic_store_explicit(&page->hash, 0, memory_order_relaxed);
        from += n;
        off += n;
        bytes -= n;
    }
}

static uint64_t page_hash(struct sim_page *page)
{
    uint64_t hash = atomic_load_explicit(&page->hash, memory_order_relaxed);
    if (hash == 0) {
        hash = hash64(page->bytes, PAGE_BYTES) | 1;
        atomic_store_explicit(&page->hash, hash, memory_order_relaxed);
    }
    return hash;
}

/* A page that was never written is one of zeros. */
uint64_t image_hash(const struct sim_image *image, uint64_t off, uint64_t bytes)
{
    static const uint8_t zeros[PAGE_BYTES];
    uint64_t sum = 0, none = hash64(zeros, PAGE_BYTES) | 1;
    for (uint64_t page = off / PAGE_BYTES; page < (off + bytes) / PAGE_BYTES; page++) {
        struct sim_page *there = (struct sim_page *)find_page(image, page);
        uint64_t hash = there ? page_hash(there) : none;
        if (hash != none)
            sum += hash_mix(hash + page * 0x9e3779b97f4a7c15ull);
    }
    return sum;
}
