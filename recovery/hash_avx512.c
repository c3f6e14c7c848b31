/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * XXH3-64 for AVX-512: xxhash.h chooses its vectors by what the target of this file is. gcc learns
 * it from the pragma, clang from the compiler flag that CMake sets for files of this name; without
 * either the result is the same, and slower.
 */
#include "hash_impl.h"

#if defined(__x86_64__)

#if !defined(__clang__)
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq")
#endif
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hash_groups.h"

/* Of 64-bit products of 128 bits, both halves XORed: XXH3_mul128_fold64 for eight. */
static inline __m512i mul_fold(__m512i a, __m512i b)
{
    const __m512i low = _mm512_set1_epi64(0xffffffff);
    __m512i a_high = _mm512_srli_epi64(a, 32), b_high = _mm512_srli_epi64(b, 32);
    __m512i ll = _mm512_mul_epu32(a, b), hl = _mm512_mul_epu32(a_high, b);
    __m512i lh = _mm512_mul_epu32(a, b_high), hh = _mm512_mul_epu32(a_high, b_high);
    __m512i cross = _mm512_add_epi64(_mm512_srli_epi64(ll, 32), _mm512_and_si512(hl, low));
    cross = _mm512_add_epi64(cross, lh);
    __m512i upper = _mm512_add_epi64(_mm512_srli_epi64(hl, 32), _mm512_srli_epi64(cross, 32));
    upper = _mm512_add_epi64(upper, hh);
    __m512i lower = _mm512_or_si512(_mm512_slli_epi64(cross, 32), _mm512_and_si512(ll, low));
    return _mm512_xor_si512(upper, lower);
}

static inline __m512i stripe_add(__m512i acc, const unsigned char *bytes, size_t secret_at)
{
    __m512i data = _mm512_loadu_si512(bytes);
    __m512i key = _mm512_xor_si512(data, _mm512_loadu_si512(XXH3_kSecret + secret_at));
    acc = _mm512_add_epi64(acc, _mm512_shuffle_epi32(data, _MM_PERM_BADC));
    return _mm512_add_epi64(acc, _mm512_mul_epu32(key, _mm512_srli_epi64(key, 32)));
}

/* hash_stripes of up to a block, in one register. */
static inline uint64_t hash_in_register(const unsigned char *bytes, size_t count)
{
    static const _Alignas(64) xxh_u64 start[8] = XXH3_INIT_ACC;
    __m512i sum = _mm512_load_si512(start);
    size_t at = 0;
    for (; at + HASH_STRIPE_BYTES < count; at += HASH_STRIPE_BYTES)
        sum = stripe_add(sum, bytes + at, at / 8);
    sum = stripe_add(sum, bytes + count - HASH_STRIPE_BYTES, HASH_LAST_SECRET);
    _Alignas(64) xxh_u64 acc[8];
    _mm512_store_si512(acc, sum);
    return XXH3_mergeAccs(acc, XXH3_kSecret + HASH_MERGE_SECRET, count * XXH_PRIME64_1);
}

uint64_t hash64_avx512(const void *bytes, size_t count)
{
    enum { BLOCK_BYTES = 1024 };
    return count >= HASH_LONG_FROM && count <= BLOCK_BYTES ? hash_in_register(bytes, count)
                                                           : XXH3_64bits(bytes, count);
}

/* The accumulators of a group, with the secret they are merged with. */
static inline __m512i group_accumulate(const unsigned char *bytes)
{
    static const _Alignas(64) xxh_u64 start[8] = XXH3_INIT_ACC;
    __m512i acc = _mm512_load_si512(start);
    for (size_t i = 0; i < 3; i++)
        acc = stripe_add(acc, bytes + 64 * i, 8 * i);
    acc = stripe_add(acc, bytes + 192, HASH_LAST_SECRET);
    return _mm512_xor_si512(acc, _mm512_loadu_si512(XXH3_kSecret + HASH_MERGE_SECRET));
}

/* The four products of two groups, those of one in the even places. */
static inline __m512i pair_products(const unsigned char *bytes)
{
    __m512i a = group_accumulate(bytes), b = group_accumulate(bytes + HASH_GROUP_BYTES);
    return mul_fold(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
}

static inline __m512i xor_shifted(__m512i x, unsigned bits)
{
    return _mm512_xor_si512(x, _mm512_srli_epi64(x, bits));
}

static inline __m512i times(__m512i x, uint64_t factor)
{
    return _mm512_mullo_epi64(x, _mm512_set1_epi64((long long)factor));
}

/* Eight groups at once: what XXH3 does at the end of each, it does in one register for all. */
static inline __m512i hash_eight(const unsigned char *bytes)
{
    __m512i p0 = pair_products(bytes), p1 = pair_products(bytes + 2 * HASH_GROUP_BYTES);
    __m512i p2 = pair_products(bytes + 4 * HASH_GROUP_BYTES);
    __m512i p3 = pair_products(bytes + 6 * HASH_GROUP_BYTES);
    __m512i s0 =
        _mm512_add_epi64(_mm512_shuffle_i64x2(p0, p1, 0x44), _mm512_shuffle_i64x2(p0, p1, 0xee));
    __m512i s1 =
        _mm512_add_epi64(_mm512_shuffle_i64x2(p2, p3, 0x44), _mm512_shuffle_i64x2(p2, p3, 0xee));
    __m512i h =
        _mm512_add_epi64(_mm512_shuffle_i64x2(s0, s1, 0x88), _mm512_shuffle_i64x2(s0, s1, 0xdd));
    h = _mm512_add_epi64(h, _mm512_set1_epi64((long long)(HASH_GROUP_BYTES * XXH_PRIME64_1)));
    h = times(xor_shifted(h, 37), 0x165667919e3779f9ull);
    return xor_shifted(h, 32);
}

/* hash_mix and hash_bind of hash.h. */
static inline __m512i mix_eight(__m512i x)
{
    x = times(xor_shifted(x, 33), 0xff51afd7ed558ccdull);
    x = times(xor_shifted(x, 33), 0xc4ceb9fe1a85ec53ull);
    return xor_shifted(x, 33);
}

static inline __m512i bind_eight(__m512i hash, __m512i secret)
{
    const __m512i flip = _mm512_set1_epi64((long long)0x9e3779b97f4a7c15ull);
    __m512i place = times(mix_eight(_mm512_xor_si512(secret, flip)), 0xd6e8feb86659fd93ull);
    return mix_eight(_mm512_add_epi64(hash, place));
}

void hash_bind_groups_avx512(const void *bytes, size_t count, uint64_t first, uint64_t step,
                             uint64_t *out)
{
    const unsigned char *at = bytes;
    const __m512i numbers = _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0);
    for (; count >= 8; count -= 8, at += 8 * HASH_GROUP_BYTES, out += 8, first += 8 * step) {
        __m512i secret =
            _mm512_add_epi64(times(numbers, step), _mm512_set1_epi64((long long)first));
        _mm512_storeu_si512(out, bind_eight(hash_eight(at), secret));
    }
    bind_groups(at, count, first, step, out);
}

void hash_blocks_avx512(uint64_t sums[8], const void *bytes, size_t blocks)
{
    const unsigned char *at = bytes;
    const __m512i prime = _mm512_set1_epi64(XXH_PRIME32_1);
    const __m512i key =
        _mm512_loadu_si512(XXH3_kSecret + XXH_SECRET_DEFAULT_SIZE - HASH_STRIPE_BYTES);
    __m512i sum = _mm512_load_si512(sums);
    for (; blocks > 0; blocks--, at += HASH_BLOCK_BYTES) {
        for (size_t i = 0; i < HASH_BLOCK_STRIPES; i++)
            sum = stripe_add(sum, at + i * HASH_STRIPE_BYTES, 8 * i);
        sum = _mm512_xor_si512(sum, _mm512_srli_epi64(sum, 47));
        sum = _mm512_mullo_epi64(_mm512_xor_si512(sum, key), prime);
    }
    _mm512_store_si512(sums, sum);
}

#endif
