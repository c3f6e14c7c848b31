/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* hash64 is XXH3-64, whichever vectors it uses, and so is a stream; but 129 to 240 bytes are hashed
 * as XXH3 hashes more. */

#include <criterion/criterion.h>
#include <inttypes.h>
#include <string.h>

#include "recovery/hash.h"
#include "recovery/hash_impl.h"
#include "recovery/hash_short.h"
#include "support/rng.h"

/* XXH3 has a path of its own for up to 16, 128 and 240 bytes, then blocks of 1024. */
enum { LONGEST = 5000 };

typedef uint64_t hash_fn(const void *bytes, size_t count);

struct known {
    size_t count;
    uint64_t hash;
};

/* From libxxhash.so 0.8.1, over the first `count` bytes of known_bytes(); of 129 to 240 bytes from
 * XXH3_hashLong_64b_internal of its xxhash.h. */
static const struct known known[] = {
    {0, 0x2d06800538d394c2ull},    {1, 0xf319fe2bdfcdfebdull},    {3, 0xa107bb65b715c89bull},
    {4, 0x509f0567aa8a3123ull},    {8, 0xb1433dc39b7f946eull},    {9, 0xfe2542440b36ddc7ull},
    {16, 0x715189ff3dcdcff6ull},   {17, 0x7d33163b8af0179cull},   {64, 0x0991d97cd58dd82dull},
    {128, 0xee847f7fcef4ddbcull},  {129, 0x247ae2388e9db9bfull},  {192, 0x2c3b11cb66c169dbull},
    {240, 0x20bc2661e59b77d1ull},  {241, 0xed93572e52acac83ull},  {256, 0x5356e48742805b6aull},
    {512, 0xd24bcbd9dfefec5bull},  {1024, 0xf9bf1ee035a040acull}, {1025, 0x70a447382d332cf9ull},
    {4032, 0x1f477d4748634f9cull}, {4096, 0x8de76fdd779a5067ull}, {5000, 0xd37060becfa14582ull}};

static void known_bytes(uint8_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (uint8_t)(i * 131 + (i >> 8) * 7 + 17);
}

static void random_bytes(uint8_t *out, size_t count)
{
    struct test_rng rng = test_rng_make(1, 0);
    for (size_t i = 0; i < count; i++)
        out[i] = (uint8_t)test_rng_next(&rng);
}

static void assert_same_as_base(hash_fn *variant, const char *name)
{
    static uint8_t bytes[LONGEST + 64];
    random_bytes(bytes, sizeof bytes);
    for (size_t count = 0; count <= LONGEST; count++) {
        const uint8_t *at = bytes + count % 64; /* every alignment */
        uint64_t expected = hash64_base(at, count), got = variant(at, count);
        cr_assert_eq(got, expected, "%s, %zu bytes: %016" PRIx64 ", expected %016" PRIx64, name,
                     count, got, expected);
    }
}

Test(hash, the_chosen_variant_gives_the_published_values)
{
    static uint8_t bytes[LONGEST];
    known_bytes(bytes, sizeof bytes);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        uint64_t got = hash64(bytes, known[i].count);
        cr_assert_eq(got, known[i].hash, "%zu bytes: %016" PRIx64 ", expected %016" PRIx64,
                     known[i].count, got, known[i].hash);
    }
}

/* The base itself, of which all variants are copies: against xxhash.h. */
Test(hash, the_base_is_xxh3_and_its_long_form_from_129_bytes)
{
    static uint8_t bytes[LONGEST];
    random_bytes(bytes, sizeof bytes);
    for (size_t count = 0; count <= LONGEST; count++) {
        bool is_long = count >= HASH_LONG_FROM;
        uint64_t expected =
            is_long ? XXH3_hashLong_64b_internal(bytes, count, XXH3_kSecret, sizeof XXH3_kSecret,
                                                 XXH3_accumulate_512, XXH3_scrambleAcc)
                    : XXH3_64bits(bytes, count);
        uint64_t got = hash64_base(bytes, count);
        cr_assert_eq(got, expected, "%zu bytes: %016" PRIx64 ", expected %016" PRIx64, count, got,
                     expected);
    }
}

Test(hash, the_ones_in_line_equal_the_base)
{
    assert_same_as_base(hash64_short, "hash64_short");
    uint8_t bytes[24];
    random_bytes(bytes, sizeof bytes);
    cr_assert_eq(hash64_of_24(bytes), hash64_base(bytes, 24));
}

Test(hash, the_chosen_variant_equals_the_base)
{
    assert_same_as_base(hash64, "hash64");
}

typedef void blocks_fn(uint64_t sums[8], const void *bytes, size_t blocks);

static void assert_pieces_hash_as_one(blocks_fn *blocks, const char *name)
{
    static uint8_t bytes[LONGEST];
    random_bytes(bytes, sizeof bytes);
    struct test_rng rng = test_rng_make(3, 0);
    blocks_fn *chosen = hash_blocks;
    hash_blocks = blocks;
    for (size_t count = 0; count <= LONGEST; count++) {
        struct hash_run r;
        hash_run_begin(&r, bytes, count);
        for (size_t at = 0, piece; at < count; at += piece) {
            piece = 1 + test_rng_below(&rng, 1500);
            if (piece > count - at)
                piece = count - at;
            hash_run_to(&r, at + piece);
        }
        hash_run_to(&r, count); /* once more: also of nothing */
        uint64_t expected = hash64_base(bytes, count), got = hash_run_end(&r);
        cr_assert_eq(got, expected, "%s, %zu bytes: %016" PRIx64 ", expected %016" PRIx64, name,
                     count, got, expected);
    }
    hash_blocks = chosen;
}

Test(hash, bytes_in_pieces_hash_as_in_one)
{
    assert_pieces_hash_as_one(hash_blocks, "hash_blocks");
    assert_pieces_hash_as_one(hash_blocks_base, "base");
}

typedef void groups_fn(const void *bytes, size_t count, uint64_t first, uint64_t step,
                       uint64_t *out);

static void assert_groups_hash_alike(groups_fn *groups, const char *name)
{
    enum { GROUPS = 40, GROUP = 256 };
    static uint8_t bytes[GROUPS * GROUP + 64];
    uint64_t got[GROUPS], step = 0xa0761d6478bd642full;
    random_bytes(bytes, sizeof bytes);
    memset(bytes + 4 * GROUP, 0xff, 2 * GROUP);
    memset(bytes + 9 * GROUP, 0, 2 * GROUP);
    for (size_t count = 0; count <= GROUPS; count++) {
        const uint8_t *at = bytes + count % 64;
        groups(at, count, 1000 + count, step, got);
        for (size_t i = 0; i < count; i++)
            cr_assert_eq(got[i],
                         hash_bind(hash64_base(at + i * GROUP, GROUP), 1000 + count + i * step),
                         "%s, group %zu of %zu", name, i, count);
    }
}

Test(hash, groups_hash_as_each_alone)
{
    assert_groups_hash_alike(hash_bind_groups, "hash_bind_groups");
    assert_groups_hash_alike(hash_bind_groups_base, "base");
}

#if defined(__x86_64__)
Test(hash, avx2_equals_the_base)
{
    if (__builtin_cpu_supports("avx2")) {
        assert_same_as_base(hash64_avx2, "avx2");
        assert_pieces_hash_as_one(hash_blocks_avx2, "avx2");
        assert_groups_hash_alike(hash_bind_groups_avx2, "avx2");
    }
}

Test(hash, avx512_equals_the_base)
{
    if (__builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
        assert_same_as_base(hash64_avx512, "avx512");
        assert_pieces_hash_as_one(hash_blocks_avx512, "avx512");
        assert_groups_hash_alike(hash_bind_groups_avx512, "avx512");
    }
}
#endif

Test(hash, binding_changes_about_half_of_the_bits)
{
    struct test_rng rng = test_rng_make(2, 0);
    uint64_t flipped = 0;
    enum { ROUNDS = 20000 };
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t hash = test_rng_next(&rng), secret = test_rng_next(&rng);
        uint64_t one_bit = 1ull << test_rng_below(&rng, 64);
        uint64_t bound = hash_bind(hash, secret);
        flipped += (uint64_t)__builtin_popcountll(bound ^ hash_bind(hash, secret ^ one_bit));
        flipped += (uint64_t)__builtin_popcountll(bound ^ hash_bind(hash ^ one_bit, secret));
    }
    double mean = (double)flipped / (2.0 * ROUNDS);
    cr_assert(mean > 31.8 && mean < 32.2, "%f bits flip on average", mean);
}

/* An XOR would cancel: two groups with equal bytes would differ by a constant of their places. */
Test(hash, binding_is_not_an_xor_of_the_two)
{
    uint64_t a = hash_bind(1, 100) ^ hash_bind(2, 100), b = hash_bind(1, 200) ^ hash_bind(2, 200);
    cr_assert_neq(a, b);
}
