/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Poisons random live pages, within what the pool's redundancy promises to rebuild.
 *
 * A round is either several pages of data and parity, no two of one row, or one page of another
 * kind (superblock, table, header, twin). After a round a scrub finds and repairs what nobody met,
 * and only then the next round starts: two latent errors never meet in one row, so nothing may be
 * lost.
 */
#include "inject.h"

#include <stdlib.h>

enum { PAGE = 4096, ROUND_PAGES = 64, OTHER_KIND_EVERY = 4 };

struct candidates {
    struct pmkv_range *ranges;
    size_t count, room;
    bool rows; /* data and parity wanted; else the other kinds */
};

static bool is_wanted(const struct candidates *c, const struct pmkv_range *range)
{
    if (range->state != PMKV_RANGE_OK && range->state != PMKV_RANGE_REPAIRED)
        return false;
    switch (range->kind) {
    case PMKV_RANGE_DATA:
    case PMKV_RANGE_PARITY:
        return c->rows;
    case PMKV_RANGE_SUPERBLOCK:
    case PMKV_RANGE_TABLE:
    case PMKV_RANGE_HEADER:
    case PMKV_RANGE_TWIN:
        return !c->rows;
    default:
        return false;
    }
}

static int collect(void *arg, const struct pmkv_range *range)
{
    struct candidates *c = arg;
    if (!is_wanted(c, range))
        return 0;
    if (c->count == c->room) {
        c->room = c->room ? 2 * c->room : 1024;
        c->ranges = realloc(c->ranges, c->room * sizeof *c->ranges);
        if (!c->ranges)
            die("out of memory");
    }
    c->ranges[c->count++] = *range;
    return 0;
}

static bool row_is_taken(const struct pmkv_range *taken, unsigned count, const struct pmkv_range *r)
{
    for (unsigned i = 0; i < count; i++)
        if (taken[i].segment == r->segment && taken[i].row == r->row)
            return true;
    return false;
}

static void poison_page(struct injector *in, const struct pmkv_range *range)
{
    uint64_t page = next_random(&in->random) % (range->bytes / PAGE);
    struct pmkv_inject spec = {
        .size = sizeof spec,
        .kind = PMKV_INJECT_POISON,
        .target = PMKV_INJECT_AT_OFFSET,
        .unit_bytes = PAGE,
        .offset = range->offset + page * PAGE,
        .count = 1,
    };
    uint32_t injected = 0;
    enum pmkv_status status = pmkv_inject(in->kv, &spec, &injected);
    if (status != PMKV_OK)
        die_status(status, "poison the page at %#llx", (unsigned long long)spec.offset);
    if (injected != 1)
        die("poison the page at %#llx: nothing was injected", (unsigned long long)spec.offset);
    atomic_fetch_add_explicit(&in->injected, 1, memory_order_relaxed);
}

/* Poisons up to `most` pages; the pages are taken as the pool is now. */
static void poison_round(struct injector *in, unsigned most, bool rows)
{
    struct candidates c = {.rows = rows};
    enum pmkv_status status = pmkv_map_foreach(in->kv, collect, &c);
    if (status != PMKV_OK)
        die_status(status, "map");
    struct pmkv_range taken[ROUND_PAGES];
    unsigned count = 0;
    for (unsigned tries = 0; c.count > 0 && count < most && tries < 8 * most; tries++) {
        const struct pmkv_range *range = &c.ranges[next_random(&in->random) % c.count];
        if (range->bytes < PAGE || row_is_taken(taken, count, range))
            continue;
        taken[count++] = *range;
        poison_page(in, range);
    }
    free(c.ranges);
}

static void scrub(struct injector *in)
{
    enum pmkv_status status = pmkv_scrub_start(in->kv, 0);
    if (status == PMKV_OK)
        status = pmkv_scrub_wait(in->kv, NULL, NULL);
    if (status != PMKV_OK)
        die_status(status, "scrub");
    atomic_fetch_add_explicit(&in->scrubs, 1, memory_order_relaxed);
}

void *injector_run(void *arg)
{
    struct injector *in = arg;
    double started = now_seconds();
    for (unsigned round = 0; !atomic_load_explicit(&in->stop, memory_order_acquire); round++) {
        bool rows = round % OTHER_KIND_EVERY != OTHER_KIND_EVERY - 1;
        double due = (now_seconds() - started) * in->pages_per_second;
        uint64_t done = atomic_load_explicit(&in->injected, memory_order_relaxed);
        unsigned most = due <= (double)done ? 1 : (unsigned)(due - (double)done) + 1;
        if (most > ROUND_PAGES)
            most = ROUND_PAGES;
        poison_round(in, rows ? most : 1, rows);
        sleep_seconds(0.05); /* let readers and writers meet it first */
        scrub(in);
    }
    return NULL;
}
