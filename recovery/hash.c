/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "hash.h"
#include "hash_impl.h"

#include <stdbool.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hash_groups.h"

uint64_t hash64_base(const void *bytes, size_t count)
{
    return hash_any(bytes, count);
}

void hash_bind_groups_base(const void *bytes, size_t count, uint64_t first, uint64_t step,
                           uint64_t *out)
{
    bind_groups(bytes, count, first, step, out);
}

void hash_blocks_base(uint64_t sums[8], const void *bytes, size_t blocks)
{
    hash_some_blocks(sums, bytes, blocks);
}

/* Start with a variant that always works, so that even an earlier constructor may call it. */
uint64_t (*hash64)(const void *bytes, size_t count) = hash64_base;
void (*hash_bind_groups)(const void *bytes, size_t count, uint64_t first, uint64_t step,
                         uint64_t *out) = hash_bind_groups_base;
void (*hash_blocks)(uint64_t sums[8], const void *bytes, size_t blocks) = hash_blocks_base;

/* --- runs ------------------------------------------------------------------------------------- */

void hash_run_begin(struct hash_run *r, const void *bytes, size_t count)
{
    static const uint64_t start[8] = XXH3_INIT_ACC;
    memcpy(r->sums, start, sizeof start);
    r->bytes = bytes;
    r->count = count;
    r->hashed = 0;
}

/* The last block, whole or not, is left to the end: it is finished otherwise. */
void hash_run_to(struct hash_run *r, size_t there)
{
    size_t most = r->count > 0 ? (r->count - 1) / HASH_BLOCK_BYTES * HASH_BLOCK_BYTES : 0;
    size_t to = there < most ? there / HASH_BLOCK_BYTES * HASH_BLOCK_BYTES : most;
    if (to > r->hashed) {
        hash_blocks(r->sums, r->bytes + r->hashed, (to - r->hashed) / HASH_BLOCK_BYTES);
        r->hashed = to;
    }
}

uint64_t hash_run_end(struct hash_run *r)
{
    if (r->count <= HASH_BLOCK_BYTES)
        return hash64(r->bytes, r->count);
    hash_run_to(r, r->count);
    const unsigned char *at = r->bytes + r->hashed, *last = r->bytes + r->count - HASH_STRIPE_BYTES;
    for (size_t i = 0; i < (r->count - r->hashed - 1) / HASH_STRIPE_BYTES; i++)
        XXH3_accumulate_512(r->sums, at + i * HASH_STRIPE_BYTES, XXH3_kSecret + 8 * i);
    XXH3_accumulate_512(r->sums, last, XXH3_kSecret + HASH_LAST_SECRET);
    return XXH3_mergeAccs(r->sums, XXH3_kSecret + HASH_MERGE_SECRET, r->count * XXH_PRIME64_1);
}

#if defined(__x86_64__)
/* All that the compiler may use in hash_avx512.c. unreached: a CPU has all of it, or nothing. */
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

/*
 * Runs while the program (or dlopen) still has this library to itself, so the pointer is a plain
 * one: a hash costs one predicted indirect call and no atomic.
 * unreached: a CPU has one best variant (tests/unit/test_hash.c calls all it has).
 */
__attribute__((constructor)) static void hash_select(void)
{
    __builtin_cpu_init();
    if (has_avx512()) {
        hash64 = hash64_avx512;
        hash_bind_groups = hash_bind_groups_avx512;
        hash_blocks = hash_blocks_avx512;
    } else if (__builtin_cpu_supports("avx2")) {
        hash64 = hash64_avx2;
        hash_bind_groups = hash_bind_groups_avx2;
        hash_blocks = hash_blocks_avx2;
    }
}
#endif
