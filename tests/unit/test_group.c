/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Group checks: what passes, and everything that must not. */

#include <criterion/criterion.h>
#include <string.h>

#include "recovery/group.h"
#include "recovery/hash.h"
#include "recovery/media.h"
#include "support/rng.h"

enum { GROUPS = 16, CHECK_BYTES_OFF = 4032 };

static const uint64_t pool = 0x1122334455667788ull;

static struct test_rng rng;

static void fill(uint8_t *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)test_rng_next(&rng);
}

/* A page of random bytes, sealed at (generation 5, page 77). */
static uint64_t sealed_page(uint8_t page[PAGE_BYTES], uint16_t present)
{
    rng = test_rng_make(3, 0);
    fill(page, PAGE_BYTES);
    uint64_t secret = group_secret(pool, 5, 77);
    page_seal(page, secret, present);
    return secret;
}

enum verdict { GROUP_BAD, GROUP_GOOD, GROUP_ABSENT };

/* What a page says of one group with this check, while all others have 0. */
static enum verdict verdict_of(uint64_t secret, uint32_t group, const void *bytes, uint32_t stored)
{
    uint8_t page[PAGE_BYTES] = {0};
    uint16_t good, absent;
    memcpy(page + group * GROUP_BYTES, bytes, group_bytes(group));
    memcpy(page + CHECK_BYTES_OFF + group * sizeof stored, &stored, sizeof stored);
    page_verify(page, secret, &good, &absent);
    cr_assert_eq((good | absent) & ~(1u << group), 0, "groups beside it pass");
    cr_assert_eq(good & absent, 0);
    return good ? GROUP_GOOD : absent ? GROUP_ABSENT : GROUP_BAD;
}

static void assert_all_fail(const uint8_t *page, uint64_t secret, const char *what)
{
    uint16_t good = 1, absent = 1;
    page_verify(page, secret, &good, &absent);
    cr_assert(good == 0 && absent == 0, "%s: good %04x, absent %04x", what, good, absent);
}

Test(group, sixteen_groups_cover_the_payload)
{
    uint32_t sum = 0;
    for (uint32_t g = 0; g < GROUPS; g++)
        sum += group_bytes(g);
    cr_assert_eq(sum, CHECK_BYTES_OFF);
}

Test(group, a_sealed_page_verifies)
{
    uint8_t page[PAGE_BYTES];
    uint16_t good, absent;
    for (uint32_t present = 0; present < 65536; present += 257) {
        uint64_t secret = sealed_page(page, (uint16_t)present);
        page_verify(page, secret, &good, &absent);
        cr_assert_eq(good, present, "good %04x of %04x", good, present);
        cr_assert_eq(absent, (uint16_t)~present, "absent %04x of %04x", absent, present);
    }
}

Test(group, every_flipped_payload_bit_fails_its_group_alone)
{
    uint8_t page[PAGE_BYTES];
    uint16_t good, absent;
    uint64_t secret = sealed_page(page, 0xffff);
    for (uint32_t bit = 0; bit < CHECK_BYTES_OFF * 8; bit++) {
        page[bit / 8] ^= (uint8_t)(1u << bit % 8);
        page_verify(page, secret, &good, &absent);
        uint16_t expected = (uint16_t) ~(1u << bit / 8 / GROUP_BYTES);
        cr_assert(good == expected && absent == 0, "bit %u: good %04x", bit, good);
        page[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

Test(group, every_flipped_check_bit_fails_its_group_alone)
{
    uint8_t page[PAGE_BYTES];
    uint16_t good, absent;
    uint64_t secret = sealed_page(page, 0x5555);
    for (uint32_t bit = 0; bit < LINE_BYTES * 8; bit++) {
        uint8_t *at = page + CHECK_BYTES_OFF + bit / 8;
        uint16_t rest = (uint16_t) ~(1u << bit / 32);
        *at ^= (uint8_t)(1u << bit % 8);
        page_verify(page, secret, &good, &absent);
        cr_assert(good == (0x5555 & rest) && absent == (0xaaaa & rest), "check bit %u: %04x %04x",
                  bit, good, absent);
        *at ^= (uint8_t)(1u << bit % 8);
    }
}

Test(group, a_zeroed_page_never_passes)
{
    uint8_t page[PAGE_BYTES] = {0};
    for (uint64_t i = 0; i < 2000; i++)
        assert_all_fail(page, group_secret(pool + i % 7, i % 11, i), "zeroed page");
    assert_all_fail(page, 0, "zeroed page, secret 0");
}

Test(group, a_zeroed_check_line_never_passes)
{
    uint8_t page[PAGE_BYTES];
    uint64_t secret = sealed_page(page, 0x0ff0);
    memset(page + CHECK_BYTES_OFF, 0, LINE_BYTES);
    assert_all_fail(page, secret, "zeroed check line");
}

Test(group, a_page_of_another_pool_generation_or_place_fails_whole)
{
    uint8_t page[PAGE_BYTES];
    sealed_page(page, 0x7ffe); /* also its absent checks */
    assert_all_fail(page, group_secret(pool ^ 1, 5, 77), "another pool");
    assert_all_fail(page, group_secret(pool, 4, 77), "the generation before");
    assert_all_fail(page, group_secret(pool, 6, 77), "the generation after");
    assert_all_fail(page, group_secret(pool, 5, 76), "the page before");
    assert_all_fail(page, group_secret(pool, 5, 78), "the page after");
    assert_all_fail(page, group_secret(pool, 77, 5), "generation and place exchanged");
}

Test(group, groups_exchanged_with_their_checks_fail)
{
    uint8_t page[PAGE_BYTES], group[GROUP_BYTES], check[4];
    uint16_t good, absent;
    uint64_t secret = sealed_page(page, 0xffff);
    uint8_t *checks = page + CHECK_BYTES_OFF;
    memcpy(group, page, GROUP_BYTES);
    memcpy(check, checks, 4);
    memmove(page, page + GROUP_BYTES, GROUP_BYTES);
    memmove(checks, checks + 4, 4);
    memcpy(page + GROUP_BYTES, group, GROUP_BYTES);
    memcpy(checks + 4, check, 4);
    page_verify(page, secret, &good, &absent);
    cr_assert_eq(good, 0xfffc, "good %04x", good);
}

Test(group, zero_is_never_valid_and_real_is_never_absent)
{
    uint8_t bytes[GROUP_BYTES];
    rng = test_rng_make(4, 0);
    fill(bytes, sizeof bytes);
    for (uint32_t i = 0; i < 200000; i++) {
        uint64_t secret = test_rng_next(&rng);
        uint32_t real = group_check(secret, i % GROUPS, bytes);
        uint32_t absent = group_absent(secret, i % GROUPS);
        cr_assert(real != 0 && absent != 0 && real != absent, "secret %llx group %u",
                  (unsigned long long)secret, i % GROUPS);
    }
}

/* Once in 2^32 groups the plain check is 0 or the absent one. These secrets were searched for. */
Test(group, a_check_that_would_be_zero_or_absent_steps_aside)
{
    const uint8_t bytes[GROUP_BYTES] = {0};
    const uint64_t gives_zero = 0x11bf9db11, gives_absent = 0x818c2ff3;
    cr_assert_eq(group_check(gives_zero, 0, bytes), 2);
    cr_assert_eq(group_check(gives_absent, 0, bytes), group_absent(gives_absent, 0) ^ 2);
    cr_assert_eq(verdict_of(gives_zero, 0, bytes, 2), GROUP_GOOD);
    cr_assert_eq(verdict_of(gives_zero, 0, bytes, 0), GROUP_BAD);
}

Test(group, checks_of_a_run_are_those_of_each)
{
    uint8_t page[PAGE_BYTES];
    uint32_t checks[GROUPS];
    uint64_t secret = sealed_page(page, 0xffff);
    for (uint32_t first = 0; first < GROUPS; first++)
        for (uint32_t count = 1; first + count <= GROUPS; count++) {
            group_checks(secret, first, count, page, checks);
            for (uint32_t i = 0; i < count; i++)
                cr_assert_eq(checks[i],
                             group_check(secret, first + i, page + (first + i) * GROUP_BYTES),
                             "group %u of %u from %u", i, count, first);
        }
}

Test(group, absent_checks_of_a_page_differ_from_each_other)
{
    rng = test_rng_make(5, 0);
    for (uint32_t i = 0; i < 20000; i++) {
        uint64_t secret = test_rng_next(&rng);
        for (uint32_t g = 1; g < GROUPS; g++)
            cr_assert_neq(group_absent(secret, g), group_absent(secret, g - 1), "secret %llx",
                          (unsigned long long)secret);
    }
}

Test(group, random_pages_do_not_pass)
{
    uint8_t page[PAGE_BYTES];
    uint64_t secret = group_secret(pool, 1, 1);
    rng = test_rng_make(6, 0);
    for (int i = 0; i < 3000; i++) {
        fill(page, PAGE_BYTES);
        assert_all_fail(page, secret, "random page");
    }
}

Test(group, verdicts_of_one_group)
{
    uint8_t bytes[GROUP_BYTES] = {1};
    uint32_t real = group_check(9, 3, bytes), absent = group_absent(9, 3);
    cr_assert_eq(verdict_of(9, 3, bytes, real), GROUP_GOOD);
    cr_assert_eq(verdict_of(9, 3, bytes, absent), GROUP_ABSENT);
    cr_assert_eq(verdict_of(9, 3, bytes, 0), GROUP_BAD);
    cr_assert_eq(verdict_of(9, 3, bytes, real ^ 1), GROUP_BAD);
    cr_assert_eq(verdict_of(9, 4, bytes, absent), GROUP_BAD, "absent check of another group");
}
