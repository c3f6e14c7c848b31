/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Keys and values of the workloads.
 *
 * A key is a number written in hexadecimal. A pass visits all numbers 0..count-1 once, in an order
 * that a permutation gives: no array, so nothing of the generator is in the caches that are
 * measured.
 *
 * A value describes itself: key number, version, length, then words that follow from the first two;
 * one of less than 16 bytes has the low 40 bits of the number and 24 of the version in one word.
 * A reader therefore knows a stale, foreign or torn value from the right one. No line of a value is
 * all zeros: such lines are written three times faster than others on some CPUs.
 */
#ifndef PMKV_BENCH_DATA_H
#define PMKV_BENCH_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEY_DIGITS = 16, VALUE_MIN_BYTES = 8, VALUE_MAX_BYTES = 4 << 20 };

/* A bijection of 0..count-1 on itself. */
struct permutation {
    uint64_t count, mask;
    unsigned shift;
    uint64_t add, multiply[2];
};
void permutation_init(struct permutation *p, uint64_t count, uint64_t seed);

/* Each step is a bijection of 0..mask; numbers beyond count walk on until they are inside (less
 * than two rounds on average, since mask + 1 < 2 * count). */
static inline uint64_t permutation_at(const struct permutation *p, uint64_t i)
{
    do {
        i = (i + p->add) & p->mask;
        i ^= i >> p->shift;
        i = (i * p->multiply[0]) & p->mask;
        i ^= i >> p->shift;
        i = (i * p->multiply[1]) & p->mask;
        i ^= i >> p->shift;
    } while (i >= p->count);
    return i;
}

uint64_t data_mix(uint64_t x);

/* Writes the key of a number: the low digits when key_bytes is short, 'k' before them when long. */
void key_format(char *key, size_t key_bytes, uint64_t number);
/* The number again. */
uint64_t key_number(const char *key, size_t key_bytes);

void value_fill(void *value, size_t value_bytes, uint64_t number, uint64_t version);
/* full: every word is compared; else number, version, length and the last word. */
bool value_check(const void *value, size_t value_bytes, uint64_t number, uint64_t version,
                 bool full);
/* The version that a value claims to have; value_check tells whether that is so. */
uint64_t value_version(const void *value, size_t value_bytes);

#endif
