/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Which key comes next in the mixed workloads.
 *
 *   uniform   all keys alike
 *   zipfian   few keys are asked for often (exponent 0.99), spread over all numbers
 *   latest    the same, counted from the newest key
 */
#ifndef PMKV_BENCH_PICK_H
#define PMKV_BENCH_PICK_H

#include <stdint.h>

#include "data.h"

enum distribution { PICK_DEFAULT, PICK_UNIFORM, PICK_ZIPFIAN, PICK_LATEST };
/* PICK_DEFAULT for a name that is none. */
enum distribution distribution_of(const char *name);
const char *distribution_name(enum distribution distribution);

struct pick {
    enum distribution distribution;
    uint64_t count; /* of the keys at the start */
    double zeta, zeta2, alpha, eta;
    struct permutation spread;
};
/* Takes time linear in `count` for the skewed ones: before the clock runs. */
void pick_init(struct pick *p, enum distribution distribution, uint64_t count, uint64_t seed);

/* A random word; the state is one word and any start will do. */
static inline uint64_t pick_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull;
    return data_mix(*state);
}
/* A number below `there`, the count of keys now. */
uint64_t pick_next(const struct pick *p, uint64_t *state, uint64_t there);

#endif
