/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A small seeded generator: the same seed gives the same test. */
#ifndef PMKV_TESTS_SUPPORT_RNG_H
#define PMKV_TESTS_SUPPORT_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct test_rng {
    uint64_t state;
};

/* The finalizer of splitmix64: every bit of the input reaches every bit of the output. */
static inline uint64_t test_mix(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    return x ^ x >> 31;
}

static inline struct test_rng test_rng_make(uint64_t seed, uint64_t stream)
{
    return (struct test_rng){test_mix(seed ^ test_mix(stream + 0x9e3779b97f4a7c15ull))};
}

static inline uint64_t test_rng_next(struct test_rng *rng)
{
    return test_mix(rng->state += 0x9e3779b97f4a7c15ull);
}

/* A number in 0 .. bound - 1; 0 for a bound of 0. */
static inline uint64_t test_rng_below(struct test_rng *rng, uint64_t bound)
{
    return bound == 0 ? 0 : (uint64_t)((unsigned __int128)test_rng_next(rng) * bound >> 64);
}

/* True once in `n` times. */
static inline bool test_rng_one_in(struct test_rng *rng, uint64_t n)
{
    return test_rng_below(rng, n) == 0;
}

/* A size in low .. high, every power of two as likely as the next: most are small, some large. */
static inline size_t test_rng_size(struct test_rng *rng, size_t low, size_t high)
{
    size_t top = low;
    while (top < high && !test_rng_one_in(rng, 4))
        top *= 2;
    if (top > high)
        top = high;
    return low + test_rng_below(rng, top - low + 1);
}

#endif
