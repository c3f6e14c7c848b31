/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What may have become durable of the pending stores when the power goes.
 *
 * A unit is a line, or on media that write pages back a page. Up to EXHAUSTIVE_UNITS units all
 * subsets are made; above that none, all, each alone, all but each, each prefix, pairs. Both with a
 * sample of torn ones: any words of 8 bytes of any lines; of pages, each up to some store of its
 * own.
 */
#ifndef PMKV_TESTS_PROVE_CHOICE_H
#define PMKV_TESTS_PROVE_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "recovery/media/sim.h"
#include "support/rng.h"

enum { EXHAUSTIVE_UNITS = 12 };

/* The pending lines of one instant, by units. */
struct pending {
    struct media *media;
    bool pages;
    size_t lines, units;
    uint32_t *unit_of;  /* of each line */
    uint32_t *nth;      /* each line's number among those of its unit */
    uint32_t *lines_of; /* how many lines each unit has */
};

enum choice_kind {
    CHOOSE_SUBSET,
    CHOOSE_NONE,
    CHOOSE_ALL,
    CHOOSE_ONE,
    CHOOSE_ALL_BUT_ONE,
    CHOOSE_PREFIX,
    CHOOSE_PAIR,
    CHOOSE_TORN,
};

struct choice {
    const struct pending *pending;
    enum choice_kind kind;
    uint64_t a, b;
};

void pending_take(struct pending *p, struct media *m, bool pages);
void pending_free(struct pending *p);
/* How many choices there are, the sampled ones included; and choice number `number` of them, the
 * first two being nothing and everything. */
uint64_t choices_count(const struct pending *p);
struct choice choice_make(const struct pending *p, uint64_t number, uint64_t salt);
struct media *choice_image(const struct choice *c);
const char *choice_name(const struct choice *c);

#endif
