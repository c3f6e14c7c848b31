/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * hash64 of few bytes, in line: for keys of 9 to 16 bytes and for headers the call, and finding out
 * what length it is, take longer than the hash. The names are those of xxhash.h, which keeps them
 * since 0.8.0; tests/unit/test_hash.c compares the results.
 */
#ifndef PMKV_RECOVERY_HASH_SHORT_H
#define PMKV_RECOVERY_HASH_SHORT_H

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hash.h"

static inline uint64_t hash64_short(const void *bytes, size_t count)
{
    if (__builtin_expect(count - 9 < 8, 1))
        return XXH3_len_9to16_64b(bytes, count, XXH3_kSecret, 0);
    return hash64(bytes, count);
}

/* Of the fields of a record's header that its check covers. */
static inline uint64_t hash64_of_24(const void *bytes)
{
    return XXH3_len_17to128_64b(bytes, 24, XXH3_kSecret, XXH3_SECRET_SIZE_MIN, 0);
}

#endif
