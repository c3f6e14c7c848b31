/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "choice.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_PAIRS = 512, MAX_TORN = 128 };

static void *must(void *memory)
{
    if (!memory)
        abort();
    return memory;
}

/* --- the pending lines ------------------------------------------------------------------------ */

static uint32_t page_unit(struct pending *p, uint64_t *pages, uint64_t off)
{
    for (uint32_t u = (uint32_t)p->units; u > 0; u--)
        if (pages[u - 1] == off / PAGE_BYTES)
            return u - 1;
    pages[p->units] = off / PAGE_BYTES;
    return (uint32_t)p->units++;
}

void pending_take(struct pending *p, struct media *m, bool pages)
{
    size_t lines = sim_pending_count(m), room = lines ? lines : 1;
    *p = (struct pending){.media = m, .pages = pages, .lines = lines};
    p->unit_of = must(calloc(room, sizeof *p->unit_of));
    p->nth = must(calloc(room, sizeof *p->nth));
    p->lines_of = must(calloc(room, sizeof *p->lines_of));
    uint64_t *page_of = must(calloc(room, sizeof *page_of));
    for (size_t i = 0; i < lines; i++) {
        uint64_t off = sim_pending(m, i)->off;
        p->unit_of[i] = pages ? page_unit(p, page_of, off) : (uint32_t)p->units++;
        p->nth[i] = p->lines_of[p->unit_of[i]]++;
    }
    free(page_of);
}

void pending_free(struct pending *p)
{
    free(p->unit_of);
    free(p->nth);
    free(p->lines_of);
    *p = (struct pending){0};
}

/* --- choices ---------------------------------------------------------------------------------- */

static uint64_t pairs_of(const struct pending *p)
{
    uint64_t all = (uint64_t)p->units * (p->units - 1) / 2;
    return all < MAX_PAIRS ? all : MAX_PAIRS;
}

static uint64_t torn_of(const struct pending *p)
{
    uint64_t some = 8 * (uint64_t)p->lines;
    return some < MAX_TORN ? some : MAX_TORN;
}

uint64_t choices_count(const struct pending *p)
{
    if (p->units == 0)
        return 1;
    uint64_t whole =
        p->units <= EXHAUSTIVE_UNITS ? 1ull << p->units : 2 + 3 * p->units + pairs_of(p);
    return whole + torn_of(p);
}

static struct choice large(const struct pending *p, uint64_t number, uint64_t salt)
{
    struct choice c = {.pending = p};
    if (number < 2) {
        c.kind = number ? CHOOSE_ALL : CHOOSE_NONE;
        return c;
    }
    number -= 2;
    if (number < 3 * p->units) {
        c.kind = CHOOSE_ONE + (enum choice_kind)(number / p->units);
        c.a = number % p->units;
        return c;
    }
    struct test_rng rng = test_rng_make(salt, number);
    c.kind = number - 3 * p->units < pairs_of(p) ? CHOOSE_PAIR : CHOOSE_TORN;
    c.a = c.kind == CHOOSE_PAIR ? test_rng_below(&rng, p->units) : test_rng_next(&rng);
    c.b = test_rng_below(&rng, p->units);
    return c;
}

struct choice choice_make(const struct pending *p, uint64_t number, uint64_t salt)
{
    if (p->units > EXHAUSTIVE_UNITS)
        return large(p, number, salt);
    uint64_t all = (1ull << p->units) - 1;
    if (number > all)
        return (struct choice){p, CHOOSE_TORN, test_mix(salt + number), 0};
    /* Nothing and everything first. */
    uint64_t subset = number == 0 ? 0 : number == 1 ? all : number - 1;
    return (struct choice){p, CHOOSE_SUBSET, subset, 0};
}

static uint8_t torn(const struct choice *c, size_t line)
{
    const struct pending *p = c->pending;
    if (p->pages) { /* each page as it was after so many of its stores */
        uint32_t unit = p->unit_of[line];
        struct test_rng rng = test_rng_make(c->a, unit);
        return p->nth[line] < test_rng_below(&rng, p->lines_of[unit] + 1) ? 0xff : 0;
    }
    struct test_rng rng = test_rng_make(c->a, line);
    uint64_t bits = test_rng_next(&rng);
    unsigned whole = (unsigned)(c->a >> 40 & 3); /* from all torn to hardly any */
    return (bits >> 8 & 3) < whole ? (bits >> 10 & 1 ? 0xff : 0) : (uint8_t)bits;
}

static uint8_t choose(void *arg, size_t index, const struct sim_line *line)
{
    const struct choice *c = arg;
    uint32_t unit = c->pending->unit_of[index];
    bool whole = false;
    (void)line;
    switch (c->kind) {
    case CHOOSE_SUBSET:
        whole = c->a >> unit & 1;
        break;
    case CHOOSE_NONE:
        break;
    case CHOOSE_ALL:
        whole = true;
        break;
    case CHOOSE_ONE:
        whole = unit == c->a;
        break;
    case CHOOSE_ALL_BUT_ONE:
        whole = unit != c->a;
        break;
    case CHOOSE_PREFIX:
        whole = unit < c->a;
        break;
    case CHOOSE_PAIR:
        whole = unit == c->a || unit == c->b;
        break;
    case CHOOSE_TORN:
        return torn(c, index);
    }
    return whole ? 0xff : 0;
}

struct media *choice_image(const struct choice *c)
{
    struct media *image;
    if (sim_crash_image(c->pending->media, choose, (void *)c, &image))
        abort();
    return image;
}

const char *choice_name(const struct choice *c)
{
    static _Thread_local char text[80];
    static const char *const names[] = {"subset",  "none",   "all",  "one",
                                        "all but", "prefix", "pair", "torn"};
    snprintf(text, sizeof text, "%s %llx/%llx of %zu", names[c->kind], (unsigned long long)c->a,
             (unsigned long long)c->b, c->pending->units);
    return text;
}
