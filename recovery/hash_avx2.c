/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * XXH3-64 for AVX2. The target is set by pragma, not by a compiler flag for this file, and only
 * around xxhash.h: the system headers come first, so that nothing else is compiled for a CPU that
 * may not be there.
 */
#if defined(__x86_64__)

#include "hash_impl.h"

#include <immintrin.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif

#define XXH_INLINE_ALL
#define XXH_VECTOR XXH_AVX2
#include <xxhash.h>

uint64_t hash64_avx2(const void *bytes, size_t count)
{
    return XXH3_64bits(bytes, count);
}

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

#else
typedef int hash_avx2_is_empty; /* a translation unit must not be empty */
#endif
