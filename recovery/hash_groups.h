/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * hash64, and bound hashes of groups of 256 B, for the vectors of the file that includes it (behind
 * xxhash.h): the long form of XXH3 is written for megabytes, and spends more time around its loop
 * than in it when there are four stripes. The names are those of xxhash.h, which keeps them since
 * 0.8.0; tests/unit/test_hash.c compares the results.
 */
#ifndef PMKV_RECOVERY_HASH_GROUPS_H
#define PMKV_RECOVERY_HASH_GROUPS_H

#include "hash.h"

enum {
    HASH_STRIPE_BYTES = 64,
    HASH_GROUP_BYTES = 256,
    HASH_MERGE_SECRET = 11,
    HASH_LAST_SECRET = XXH_SECRET_DEFAULT_SIZE - 64 - 7
};

/* Of the long form: a block has as many stripes as the secret has places for, and then the sums are
 * scrambled. */
enum { HASH_BLOCK_STRIPES = HASH_BLOCK_BYTES / HASH_STRIPE_BYTES };
_Static_assert(HASH_BLOCK_STRIPES == (XXH_SECRET_DEFAULT_SIZE - HASH_STRIPE_BYTES) / 8,
               "a block is what the secret is long enough for");

static inline void hash_some_blocks(uint64_t *sums, const unsigned char *bytes, size_t blocks)
{
    for (; blocks > 0; blocks--, bytes += HASH_BLOCK_BYTES) {
        for (size_t i = 0; i < HASH_BLOCK_STRIPES; i++)
            XXH3_accumulate_512(sums, bytes + i * HASH_STRIPE_BYTES, XXH3_kSecret + 8 * i);
        XXH3_scrambleAcc(sums, XXH3_kSecret + XXH_SECRET_DEFAULT_SIZE - HASH_STRIPE_BYTES);
    }
}

static inline uint64_t hash_group(const unsigned char *bytes)
{
    _Alignas(64) xxh_u64 acc[8] = XXH3_INIT_ACC;
    for (size_t i = 0; i < 3; i++)
        XXH3_accumulate_512(acc, bytes + 64 * i, XXH3_kSecret + 8 * i);
    XXH3_accumulate_512(acc, bytes + 192, XXH3_kSecret + HASH_LAST_SECRET);
    return XXH3_mergeAccs(acc, XXH3_kSecret + HASH_MERGE_SECRET, HASH_GROUP_BYTES * XXH_PRIME64_1);
}

/* hash64 of HASH_LONG_FROM to 256 bytes: three stripes or four, the last one up to the end. */
static inline uint64_t hash_stripes(const unsigned char *bytes, size_t count)
{
    _Alignas(64) xxh_u64 acc[8] = XXH3_INIT_ACC;
    XXH3_accumulate_512(acc, bytes, XXH3_kSecret);
    XXH3_accumulate_512(acc, bytes + HASH_STRIPE_BYTES, XXH3_kSecret + 8);
    if (count > (size_t)3 * HASH_STRIPE_BYTES)
        XXH3_accumulate_512(acc, bytes + (size_t)2 * HASH_STRIPE_BYTES, XXH3_kSecret + 16);
    XXH3_accumulate_512(acc, bytes + count - HASH_STRIPE_BYTES, XXH3_kSecret + HASH_LAST_SECRET);
    return XXH3_mergeAccs(acc, XXH3_kSecret + HASH_MERGE_SECRET, count * XXH_PRIME64_1);
}

static inline uint64_t hash_any(const void *bytes, size_t count)
{
    if (count >= HASH_LONG_FROM && count <= HASH_GROUP_BYTES)
        return hash_stripes(bytes, count);
    return XXH3_64bits(bytes, count);
}

static inline void bind_groups(const void *bytes, size_t count, uint64_t first, uint64_t step,
                               uint64_t *out)
{
    for (size_t i = 0; i < count; i++)
        out[i] = hash_bind(hash_group((const unsigned char *)bytes + i * HASH_GROUP_BYTES),
                           first + i * step);
}

#endif
