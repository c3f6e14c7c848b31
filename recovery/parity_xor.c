/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * to ^= from, for the 64 to 256 B that an append adds to its row's parity: ISA-L's xor_gen wants
 * aligned blocks and reads the target as one source more. The vectors are the compiler's, in
 * functions of their own target: __builtin_cpu_supports tests a constant word, which costs less
 * here than a call through a pointer.
 */
#include <string.h>

#include "parity.h"

static void xor_words(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t a, b;
        memcpy(&a, to + i, 8);
        memcpy(&b, from + i, 8);
        a ^= b;
        memcpy(to + i, &a, 8);
    }
    for (; i < bytes; i++)
        to[i] ^= from[i];
}

#if defined(__x86_64__)
typedef uint64_t vector32 __attribute__((vector_size(32), aligned(1), may_alias));
typedef uint64_t vector64 __attribute__((vector_size(64), aligned(1), may_alias));

/* unreached: not on a CPU that has AVX-512. */
__attribute__((target("avx2"))) static void xor_avx2(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t i = 0;
    for (; i + 32 <= bytes; i += 32)
        *(vector32 *)(to + i) ^= *(const vector32 *)(from + i);
    if (i < bytes)
        xor_words(to + i, from + i, bytes - i);
}

/* unreached: not on a CPU that lacks it. */
__attribute__((target("avx512f"))) static void xor_avx512(uint8_t *to, const uint8_t *from,
                                                          size_t bytes)
{
    size_t i = 0;
    for (; i + 64 <= bytes; i += 64)
        *(vector64 *)(to + i) ^= *(const vector64 *)(from + i);
    if (i < bytes)
        xor_words(to + i, from + i, bytes - i);
}
#endif

/* unreached: a CPU takes one way. */
void parity_xor(uint8_t *to, const uint8_t *from, size_t bytes)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f"))
        xor_avx512(to, from, bytes);
    else if (__builtin_cpu_supports("avx2"))
        xor_avx2(to, from, bytes);
    else
#endif
        xor_words(to, from, bytes);
}
