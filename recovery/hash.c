/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "hash.h"
#include "hash_impl.h"

#include <stdbool.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash64_base(const void *bytes, size_t count)
{
    return XXH3_64bits(bytes, count);
}

/* Starts with a variant that always works, so that even an earlier constructor may call it. */
uint64_t (*hash64)(const void *bytes, size_t count) = hash64_base;

#if defined(__x86_64__)
/* All that the compiler may use in hash_avx512.c. */
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

/*
 * Runs while the program (or dlopen) still has this library to itself, so the pointer is a plain
 * one: a hash costs one predicted indirect call and no atomic.
 */
__attribute__((constructor)) static void hash_select(void)
{
    __builtin_cpu_init();
    if (has_avx512())
        hash64 = hash64_avx512;
    else if (__builtin_cpu_supports("avx2"))
        hash64 = hash64_avx2;
}
#endif
