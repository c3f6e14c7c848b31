/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * to ^= from, for the 64 to 256 B that an append adds to its row's parity: ISA-L's xor_gen wants
 * aligned blocks and copies the target as one source more. __builtin_cpu_supports is a load and a
 * test of a constant word, which costs less here than a call through a pointer.
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
#include <immintrin.h>

__attribute__((target("avx2"))) static void xor_avx2(uint8_t *to, const uint8_t *from, size_t bytes)
{
    size_t i = 0;
    for (; i + 32 <= bytes; i += 32) {
        __m256i a = _mm256_loadu_si256((const __m256i *)(to + i));
        __m256i b = _mm256_loadu_si256((const __m256i *)(from + i));
        _mm256_storeu_si256((__m256i *)(to + i), _mm256_xor_si256(a, b));
    }
    xor_words(to + i, from + i, bytes - i);
}

__attribute__((target("avx512f,avx512bw"))) static void xor_avx512(uint8_t *to, const uint8_t *from,
                                                                   size_t bytes)
{
    size_t i = 0;
    for (; i + 64 <= bytes; i += 64) {
        __m512i a = _mm512_loadu_si512(to + i);
        __m512i b = _mm512_loadu_si512(from + i);
        _mm512_storeu_si512(to + i, _mm512_xor_si512(a, b));
    }
    if (i < bytes) {
        __mmask64 tail = (1ull << (bytes - i)) - 1;
        __m512i a = _mm512_maskz_loadu_epi8(tail, to + i);
        __m512i b = _mm512_maskz_loadu_epi8(tail, from + i);
        _mm512_mask_storeu_epi8(to + i, tail, _mm512_xor_si512(a, b));
    }
}
#endif

void parity_xor(uint8_t *to, const uint8_t *from, size_t bytes)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512bw"))
        xor_avx512(to, from, bytes);
    else if (__builtin_cpu_supports("avx2"))
        xor_avx2(to, from, bytes);
    else
#endif
        xor_words(to, from, bytes);
}
