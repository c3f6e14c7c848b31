/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The search for the superblock. All input is hostile: at most 33 pages are loaded, each is judged
 * whole by superblock_judge, and nothing read steers an offset before its layout held.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "errmsg.h"
#include "media.h"
#include "superblock.h"
#include "superblock_impl.h"

enum { STRIDE_SHIFT_MIN = 16, STRIDE_SHIFT_MAX = 30 };

struct best {
    bool any;
    bool anchored; /* a copy with its UUID stands at offset 0 */
    uint64_t off;
    struct superblock sb;
    struct layout layout;
};

struct search {
    struct media *m;
    struct best best;  /* the winner so far */
    struct best newer; /* a copy of a newer format: only its first 48 bytes mean anything */
    uint32_t poisoned; /* places that could not be read */
    uint32_t broken;   /* places with the magic, but not valid */
    char first_broken[256];
    struct superblock page; /* the copy being looked at */
};

/* Takes the copy if it counts more than the best so far. Offset 0, which is looked at first,
 * settles whose pool it is; else the time of creation does. */
static void consider(struct best *best, const struct superblock *sb, const struct layout *layout,
                     uint64_t off)
{
    bool same_pool = best->any && memcmp(sb->uuid, best->sb.uuid, sizeof sb->uuid) == 0;
    if (same_pool && (sb->version <= best->sb.version ||
                      memcmp(layout->superblock_off, best->layout.superblock_off,
                             sizeof layout->superblock_off) != 0))
        return;
    if (best->any && !same_pool && (best->anchored || sb->created_time <= best->sb.created_time))
        return;
    best->any = true;
    best->anchored = off == 0 || (same_pool && best->anchored);
    best->off = off;
    best->sb = *sb;
    best->layout = *layout;
}

static void note_broken(struct search *s, uint64_t off)
{
    if (s->broken++ == 0)
        snprintf(s->first_broken, sizeof s->first_broken, "copy at %#llx: %s",
                 (unsigned long long)off, err_message());
}

/* Loads the page at `off` into s->page; false when it is outside or does not read whole. */
static bool load_copy(struct search *s, uint64_t off)
{
    if (s->m->size < PAGE_BYTES || off > s->m->size - PAGE_BYTES)
        return false;
    memset(&s->page, 0, sizeof s->page);
    if (media_load(s->m, off, &s->page, sizeof s->page) == sizeof s->page)
        return true;
    s->poisoned++;
    if (s->page.magic == SUPERBLOCK_MAGIC) {
        err_fact(-EIO, "poison");
        note_broken(s, off);
    }
    return false;
}

static void look_at(struct search *s, uint64_t off)
{
    struct layout layout = {0};
    if (!load_copy(s, off))
        return;
    switch (superblock_judge(&s->page, off, &layout)) {
    case COPY_NO_MAGIC:
        break;
    case COPY_TORN:
    case COPY_BROKEN:
        note_broken(s, off);
        break;
    case COPY_NEWER:
        consider(&s->newer, &s->page, &layout, off);
        break;
    case COPY_VALID:
        consider(&s->best, &s->page, &layout, off);
        break;
    }
}

static void look_everywhere(struct search *s)
{
    uint64_t size = s->m->size - s->m->size % PAGE_BYTES;
    look_at(s, 0);
    for (uint32_t shift = STRIDE_SHIFT_MIN; shift <= STRIDE_SHIFT_MAX; shift++) {
        uint64_t stride = 1ull << shift;
        look_at(s, stride);
        if (size > 2 * stride)
            look_at(s, size - stride);
    }
    /* In a file longer than its pool the last copy is not at the end. */
    if (s->best.any)
        look_at(s, s->best.layout.superblock_off[SUPERBLOCK_COPIES - 1]);
}

/* A newer program may have begun to convert this very pool: then its word counts. */
static bool newer_wins(const struct search *s)
{
    if (!s->newer.any)
        return false;
    return !s->best.any || s->newer.anchored || /* copy 0 is one of the two */
           memcmp(s->newer.sb.uuid, s->best.sb.uuid, sizeof s->newer.sb.uuid) == 0;
}

/* Equal but for copy number and check. */
static bool same_content(const struct superblock *a, const struct superblock *b)
{
    struct superblock x = *a;
    x.copy = b->copy;
    x.check = b->check;
    return memcmp(&x, b, sizeof x) == 0;
}

static uint32_t good_copies(struct search *s)
{
    uint32_t good = 0;
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        uint64_t off = s->best.layout.superblock_off[i];
        struct layout layout;
        if (load_copy(s, off) && superblock_judge(&s->page, off, &layout) == COPY_VALID &&
            same_content(&s->page, &s->best.sb))
            good |= 1u << i;
    }
    return good;
}

static enum superblock_found nothing_valid(const struct search *s)
{
    if (s->broken > 0) {
        err_fact(-EIO, "superblock: no valid copy: %s (%u with the magic, %u places unreadable)",
                 s->first_broken, s->broken, s->poisoned);
        return SUPERBLOCK_DAMAGED;
    }
    err_fact(-EINVAL,
             "superblock: no copy has the magic (medium of %llu bytes, %u places unreadable)",
             (unsigned long long)s->m->size, s->poisoned);
    return SUPERBLOCK_FOREIGN;
}

enum superblock_found superblock_find(struct media *m, struct superblock *out,
                                      struct layout *layout, uint32_t *good)
{
    struct search s = {.m = m};
    look_everywhere(&s);
    if (newer_wins(&s)) {
        err_fact(-EINVAL, "superblock: copy at %#llx: format version %u, this library knows %d",
                 (unsigned long long)s.newer.off, s.newer.sb.format_version, FORMAT_VERSION);
        return SUPERBLOCK_NEWER;
    }
    if (!s.best.any)
        return nothing_valid(&s);
    if (s.best.sb.pool_bytes > m->size) {
        err_fact(-EINVAL,
                 "superblock: copy at %#llx: the pool has %llu bytes, the medium only %llu",
                 (unsigned long long)s.best.off, (unsigned long long)s.best.sb.pool_bytes,
                 (unsigned long long)m->size);
        return SUPERBLOCK_TRUNCATED;
    }
    *good = good_copies(&s);
    *out = s.best.sb;
    *layout = s.best.layout;
    err_fact(0, "superblock: version %llu from %#llx, copies good: %#x",
             (unsigned long long)out->version, (unsigned long long)s.best.off, *good);
    return SUPERBLOCK_FOUND;
}
