/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The erasure code, against a byte-wise implementation written from its definition. */

#include <criterion/criterion.h>
#include <errno.h>
#include <isa-l/erasure_code.h>
#include <string.h>

#include "recovery/parity.h"
#include "support/rng.h"

enum { LONGEST = 600, GUARD = 64, ROOM = LONGEST + 2 * GUARD, GUARD_BYTE = 0xa5 };

static const uint32_t geometries[][2] = {{8, 1}, {8, 2}, {1, 1}, {1, 2}, {8, 0}, {1, 0}};
enum { GEOMETRIES = sizeof geometries / sizeof *geometries };

/* One column each, with guards before and after what is used. */
static uint8_t room[MAX_COLUMNS][ROOM], kept[MAX_COLUMNS][ROOM];
static uint8_t *columns[MAX_COLUMNS];
static struct test_rng rng;

/* Product in GF(2^8) with x^8 + x^4 + x^3 + x^2 + 1. */
static uint8_t gf_times(uint8_t a, uint8_t b)
{
    uint8_t product = 0;
    for (; b; b >>= 1) {
        if (b & 1)
            product ^= a;
        a = (uint8_t)(a << 1 ^ (a & 0x80 ? 0x1d : 0));
    }
    return product;
}

/* Random data at every alignment; parity from the definition. */
static void make_row(const struct parity_code *code, size_t bytes, size_t misalign)
{
    memset(room, GUARD_BYTE, sizeof room);
    for (uint32_t c = 0; c < code->n + code->m; c++) {
        columns[c] = room[c] + GUARD + (misalign * (c + 1)) % (GUARD / 2);
        for (size_t i = 0; i < bytes; i++)
            columns[c][i] = c < code->n ? (uint8_t)test_rng_next(&rng) : 0;
    }
    for (uint32_t m = 0; m < code->m; m++)
        for (uint32_t c = 0; c < code->n; c++)
            for (size_t i = 0; i < bytes; i++)
                columns[code->n + m][i] ^= gf_times(columns[c][i], m == 0 ? 1 : (uint8_t)(1u << c));
    memcpy(kept, room, sizeof kept);
}

static void assert_row_unchanged(const char *what, const struct parity_code *code, uint32_t erased,
                                 size_t bytes)
{
    for (uint32_t c = 0; c < code->n + code->m; c++)
        cr_assert_eq(memcmp(room[c], kept[c], ROOM), 0,
                     "%s, %u+%u, %zu bytes, erased %#x: column %u", what, code->n, code->m, bytes,
                     erased, c);
}

static void erase(uint32_t erased, size_t bytes)
{
    for (uint32_t c = 0; c < MAX_COLUMNS; c++)
        if (erased >> c & 1)
            for (size_t i = 0; i < bytes; i++)
                columns[c][i] = (uint8_t)test_rng_next(&rng);
}

/* Every erasure pattern that redundancy covers, at one length. */
static void check_patterns(const struct parity_code *code, size_t bytes)
{
    make_row(code, bytes, bytes);
    for (uint32_t erased = 0; erased < 1u << (code->n + code->m); erased++) {
        if ((uint32_t)__builtin_popcount(erased) > code->m)
            continue;
        erase(erased, bytes);
        cr_assert_eq(parity_decode(code, erased, bytes, columns), 0);
        assert_row_unchanged("decode", code, erased, bytes);
    }
}

static void for_every_length(uint32_t n, uint32_t m)
{
    struct parity_code code;
    parity_code_init(&code, n, m);
    rng = test_rng_make(8, n * 10 + m);
    for (size_t bytes = 0; bytes <= LONGEST; bytes++)
        check_patterns(&code, bytes);
}

Test(parity, decode_rebuilds_every_pattern_at_every_length_8_1)
{
    for_every_length(8, 1);
}

Test(parity, decode_rebuilds_every_pattern_at_every_length_8_2)
{
    for_every_length(8, 2);
}

Test(parity, decode_rebuilds_every_pattern_at_every_length_mirror)
{
    for_every_length(1, 1);
    for_every_length(1, 2);
}

Test(parity, decode_with_nothing_erased_changes_nothing)
{
    for_every_length(8, 0);
    for_every_length(1, 0);
}

Test(parity, more_erasures_than_parities_are_refused_and_write_nothing)
{
    for (int g = 0; g < GEOMETRIES; g++) {
        struct parity_code code;
        parity_code_init(&code, geometries[g][0], geometries[g][1]);
        make_row(&code, 256, 1);
        for (uint32_t erased = 0; erased < 1u << (code.n + code.m); erased++) {
            if ((uint32_t)__builtin_popcount(erased) <= code.m)
                continue;
            cr_assert_eq(parity_decode(&code, erased, 256, columns), -EIO);
            assert_row_unchanged("refused", &code, erased, 256);
        }
    }
}

/* --- adding up -------------------------------------------------------------------------------- */

/* Adds every column in pieces, columns and pieces in random order, as appends of lanes do. */
static void add_in_pieces(const struct parity_code *code, size_t bytes, size_t piece)
{
    for (uint32_t m = 0; m < code->m; m++)
        memset(columns[code->n + m], 0, bytes);
    for (uint32_t c = code->n; c-- > 0;)
        for (size_t at = 0; at < bytes; at += piece) {
            size_t part = bytes - at < piece ? bytes - at : piece;
            uint8_t *parity[MAX_PARITY] = {0};
            for (uint32_t m = 0; m < code->m; m++)
                parity[m] = columns[code->n + m] + at;
            parity_add(code, c, columns[c] + at, part, parity);
        }
}

Test(parity, add_gives_the_parity_at_every_length)
{
    for (int g = 0; g < GEOMETRIES; g++) {
        struct parity_code code;
        parity_code_init(&code, geometries[g][0], geometries[g][1]);
        for (size_t bytes = 0; bytes <= LONGEST; bytes++) {
            make_row(&code, bytes, bytes * 7 + 1);
            add_in_pieces(&code, bytes, LONGEST);
            assert_row_unchanged("add", &code, 0, bytes);
        }
    }
}

Test(parity, without_redundancy_nothing_is_added)
{
    struct parity_code code;
    uint8_t data[64] = {1}, parity[64] = {2};
    parity_code_init(&code, 8, 0);
    parity_add(&code, 0, data, sizeof data, (uint8_t *[]){parity, NULL});
    cr_assert_eq(parity[0], 2);
    parity_code_init(&code, 8, 1);
    parity_add(&code, 0, data, 0, (uint8_t *[]){parity, NULL});
    cr_assert_eq(parity[0], 2);
}

Test(parity, add_gives_the_parity_from_pieces_of_any_length)
{
    for (int g = 0; g < GEOMETRIES; g++) {
        struct parity_code code;
        parity_code_init(&code, geometries[g][0], geometries[g][1]);
        for (size_t piece = 1; piece <= LONGEST; piece++) {
            make_row(&code, LONGEST, piece);
            add_in_pieces(&code, LONGEST, piece);
            assert_row_unchanged("add in pieces", &code, 0, LONGEST);
        }
    }
}

Test(parity, add_at_every_alignment)
{
    struct parity_code code;
    parity_code_init(&code, 8, 2);
    for (size_t misalign = 0; misalign < 64; misalign++)
        for (size_t bytes = 64; bytes <= 256; bytes += 64) {
            make_row(&code, bytes, misalign);
            add_in_pieces(&code, bytes, bytes);
            assert_row_unchanged("add", &code, 0, bytes);
        }
}

Test(parity, encoding_is_decoding_of_erased_parity)
{
    for (int g = 0; g < GEOMETRIES; g++) {
        struct parity_code code;
        parity_code_init(&code, geometries[g][0], geometries[g][1]);
        make_row(&code, 600, 3);
        uint32_t parity = ((1u << code.m) - 1) << code.n;
        erase(parity, 600);
        cr_assert_eq(parity_decode(&code, parity, 600, columns), 0);
        assert_row_unchanged("encode", &code, parity, 600);
    }
}

Test(parity, xor_at_every_length_and_alignment)
{
    uint8_t to[ROOM], from[ROOM], expected[ROOM];
    rng = test_rng_make(9, 0);
    for (size_t bytes = 0; bytes <= LONGEST; bytes++) {
        size_t at = GUARD + bytes % 64, source = GUARD - bytes % 61;
        for (size_t i = 0; i < ROOM; i++) {
            to[i] = expected[i] = (uint8_t)test_rng_next(&rng);
            from[i] = (uint8_t)test_rng_next(&rng);
        }
        at = at + bytes > ROOM ? ROOM - bytes : at;
        for (size_t i = 0; i < bytes; i++)
            expected[at + i] ^= from[source + i];
        parity_xor(to + at, from + source, bytes);
        cr_assert_eq(memcmp(to, expected, ROOM), 0, "%zu bytes", bytes);
    }
}

/* --- ISA-L -------------------------------------------------------------------------------------
 */

#if defined(__x86_64__)
typedef void isal_encode(int, int, int, unsigned char *, unsigned char **, unsigned char **);
typedef void isal_update(int, int, int, int, unsigned char *, unsigned char *, unsigned char **);

static void check_isal(const char *isa, isal_encode *encode, isal_update *update)
{
    if (!__builtin_cpu_supports("avx2"))
        return;
    struct parity_code code;
    parity_code_init(&code, 8, 2);
    for (size_t bytes = 1; bytes <= LONGEST; bytes++) {
        make_row(&code, bytes, bytes);
        erase(3u << 8, bytes);
        encode((int)bytes, 8, 2, code.tables, columns, columns + 8);
        assert_row_unchanged(isa, &code, 0, bytes);
        memset(columns[9], 0, bytes);
        for (int c = 0; c < 8; c++)
            update((int)bytes, 8, 1, c, code.tables + 32 * 8, columns[c], columns + 9);
        assert_row_unchanged(isa, &code, 0, bytes);
    }
}

/* The variants that the dispatcher takes on other CPUs have other shortest lengths. */
Test(parity, short_lengths_are_right_in_every_variant_of_isal)
{
    check_isal("sse", ec_encode_data_sse, ec_encode_data_update_sse);
    check_isal("avx", ec_encode_data_avx, ec_encode_data_update_avx);
    check_isal("avx2", ec_encode_data_avx2, ec_encode_data_update_avx2);
}
#endif
