/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * XXH3-64 for AVX2: xxhash.h chooses its vectors by what the target of this file is. gcc learns it
 * from the pragma, clang from the compiler flag that CMake sets for files of this name; without
 * either the result is the same, and slower.
 */
#include "hash_impl.h"

#if defined(__x86_64__)

#if !defined(__clang__)
#pragma GCC target("avx2")
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hash_groups.h"

uint64_t hash64_avx2(const void *bytes, size_t count)
{
    return hash_any(bytes, count);
}

void hash_bind_groups_avx2(const void *bytes, size_t count, uint64_t first, uint64_t step,
                           uint64_t *out)
{
    bind_groups(bytes, count, first, step, out);
}

void hash_blocks_avx2(uint64_t sums[8], const void *bytes, size_t blocks)
{
    hash_some_blocks(sums, bytes, blocks);
}

#endif
