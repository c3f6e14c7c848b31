/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * When a decoded group is believed (row.h, row_decode): damaged checks must not cost data, and a
 * parity that is wrong under a valid check must not give wrong data.
 */

#include <criterion/criterion.h>

#include "row_fixture.h"

static void init(struct row_fixture *f, uint32_t m)
{
    row_fixture_init(f, 8, m, 8, true);
}

static void load_and_decode(struct row_fixture *f)
{
    row_load(&f->v, f->ref, &f->image);
    row_decode(&f->v, f->ref, &f->image);
}

static void assert_lost(const struct row_fixture *f, uint32_t count, const char *what)
{
    assert_nothing_wrong(f, f->v.layout.row_pages, what);
    cr_assert_eq(f->image.lost_groups, count, "%s: %u lost, expected %u", what,
                 f->image.lost_groups, count);
}

/* What a flipped bit in the buffer that parity is added up in leaves: wrong bytes, valid checks. */
static void make_parity_wrong(struct row_fixture *f, uint32_t which, uint32_t group)
{
    uint32_t index = f->v.layout.row_pages + which;
    page_on_medium(f, index)[group * GROUP_BYTES + 9] ^= 4;
    page_seal(page_on_medium(f, index), page_secret(f, index), ALL);
}

static void set_check(struct row_fixture *f, uint32_t page, uint32_t group, uint32_t value)
{
    memcpy(check_on_medium(f, page, group), &value, sizeof value);
}

static void flip_check(struct row_fixture *f, uint32_t page, uint32_t group, uint32_t bits)
{
    uint32_t check;
    memcpy(&check, check_on_medium(f, page, group), sizeof check);
    set_check(f, page, group, check ^ bits);
}

/* --- damaged checks ----------------------------------------------------------------------------
 */

Test(row_evidence, every_flipped_check_bit_is_mended)
{
    struct row_fixture f;
    for (uint32_t m = 1; m <= 2; m++) {
        init(&f, m);
        for (uint32_t i = 0; i < f.truth.page_count; i++)
            for (uint32_t bit = 0; bit < LINE_BYTES * 8; bit++) {
                row_fixture_restore(&f);
                check_on_medium(&f, i, 0)[bit / 8] ^= (uint8_t)(1u << bit % 8);
                f.damaged[i] = (uint16_t)(1u << bit / 32);
                assert_row_as_expected(&f, "one bit of a check");
            }
        row_fixture_free(&f);
    }
}

Test(row_evidence, a_lost_check_with_its_group_intact_is_mended)
{
    struct row_fixture f;
    init(&f, 1);
    set_check(&f, 2, 5, 0x12345678);
    f.damaged[2] = 1 << 5;
    assert_row_as_expected(&f, "the bytes read are the bytes decoded");
    row_fixture_free(&f);
}

Test(row_evidence, a_group_damaged_together_with_two_bits_of_its_check_is_rebuilt)
{
    struct row_fixture f;
    init(&f, 1);
    damage_group(&f, 2, 5);
    flip_check(&f, 2, 5, 0x80000001);
    assert_row_as_expected(&f, "two bits of the check");
    row_fixture_free(&f);
}

Test(row_evidence, a_group_damaged_together_with_a_zeroed_check_is_rebuilt)
{
    struct row_fixture f;
    init(&f, 1);
    damage_group(&f, 2, 5);
    set_check(&f, 2, 5, 0);
    assert_row_as_expected(&f, "zeroed check");
    row_fixture_free(&f);
}

/* Also with two parities that agree: both may have been added up from the wrong bytes. */
Test(row_evidence, a_group_that_contradicts_its_check_stays_lost)
{
    struct row_fixture f;
    for (uint32_t m = 1; m <= 2; m++) {
        init(&f, m);
        damage_group(&f, 2, 5);
        flip_check(&f, 2, 5, 0x80010001);
        load_and_decode(&f);
        assert_lost(&f, 1, "three bits of the check");
        row_fixture_free(&f);
    }
}

Test(row_evidence, a_damaged_check_line_alone_is_rebuilt)
{
    struct row_fixture f;
    for (uint32_t m = 1; m <= 2; m++) {
        init(&f, m);
        for (uint32_t i = 0; i < f.truth.page_count; i++) {
            row_fixture_restore(&f);
            for (uint32_t g = 0; g < GROUPS; g++)
                flip_check(&f, i, g, (uint32_t)test_rng_next(&f.rng) | 1);
            f.damaged[i] = ALL;
            assert_row_as_expected(&f, "check line");
        }
        row_fixture_free(&f);
    }
}

/* --- wrong parity ------------------------------------------------------------------------------
 */

Test(row_evidence, wrong_parity_never_gives_wrong_data)
{
    struct row_fixture f;
    init(&f, 1);
    make_parity_wrong(&f, 0, 5);
    damage_group(&f, 2, 5);
    damage_group(&f, 3, 6);
    load_and_decode(&f);
    assert_lost(&f, 1, "only the position with the wrong parity");
    cr_assert(row_group_ok(&f.image, 3, 6));
    row_fixture_free(&f);
}

Test(row_evidence, the_right_one_of_two_parities_is_found)
{
    struct row_fixture f;
    init(&f, 2);
    for (uint32_t wrong = 0; wrong < 2; wrong++)
        for (uint32_t c = 0; c < 8; c++) {
            row_fixture_restore(&f);
            make_parity_wrong(&f, wrong, 5);
            damage_group(&f, c, 5);
            load_and_decode(&f);
            assert_lost(&f, 0, wrong ? "Q is wrong" : "P is wrong");
            cr_assert(f.image.info[8 + wrong].rebuilt & 1 << 5, "the wrong parity is not rebuilt");
            cr_assert(!(f.image.info[8 + wrong].good & 1 << 5));
            cr_assert_eq(f.image.bad_pages, 2, "the page of the wrong parity is bad too");
        }
    row_fixture_free(&f);
}

Test(row_evidence, parities_that_disagree_about_a_poisoned_page_give_nothing)
{
    struct row_fixture f;
    init(&f, 2);
    for (uint32_t wrong = 0; wrong < 2; wrong++) {
        row_fixture_restore(&f);
        make_parity_wrong(&f, wrong, 5);
        poison_page(&f, 2);
        load_and_decode(&f);
        assert_lost(&f, 1, "no check is left that could tell");
    }
    row_fixture_free(&f);
}

Test(row_evidence, two_wrong_parities_give_nothing)
{
    struct row_fixture f;
    init(&f, 2);
    make_parity_wrong(&f, 0, 5);
    make_parity_wrong(&f, 1, 5);
    damage_group(&f, 4, 5);
    load_and_decode(&f);
    assert_lost(&f, 1, "both wrong");
    row_fixture_free(&f);
}

Test(row_evidence, two_failures_with_a_wrong_parity_give_nothing)
{
    struct row_fixture f;
    init(&f, 2);
    for (uint32_t wrong = 0; wrong < 2; wrong++) {
        row_fixture_restore(&f);
        make_parity_wrong(&f, wrong, 5);
        damage_group(&f, 4, 5);
        damage_group(&f, 6, 5);
        load_and_decode(&f);
        assert_lost(&f, 2, "two data groups");
    }
    row_fixture_free(&f);
}

/* I16: a parity group is not computed from a data group that was refused. */
Test(row_evidence, parity_is_not_rebuilt_from_refused_data)
{
    struct row_fixture f;
    init(&f, 2);
    make_parity_wrong(&f, 0, 5);
    damage_group(&f, 4, 5);
    poison_page(&f, 9);
    load_and_decode(&f);
    assert_lost(&f, 1, "one data group and Q");
    cr_assert(!row_group_ok(&f.image, 9, 5));
    cr_assert(row_group_ok(&f.image, 9, 6));
    row_fixture_free(&f);
}

/* --- absent groups -----------------------------------------------------------------------------
 */

/* Page 0 has no group 3 in the fixture that is not full; nor has any other page. */
Test(row_evidence, an_absent_group_of_a_lost_page_comes_back_as_zeros)
{
    struct row_fixture f;
    row_fixture_init(&f, 8, 1, 8, false);
    poison_page(&f, 0);
    assert_row_as_expected(&f, "page with absent groups");
    cr_assert(f.image.info[0].rebuilt & 1 << 3);
    for (uint32_t i = 0; i < GROUP_BYTES; i++)
        cr_assert_eq(f.image.pages[3 * GROUP_BYTES + i], 0);
    row_fixture_free(&f);
}

Test(row_evidence, a_flipped_bit_of_an_absent_check_is_mended)
{
    struct row_fixture f;
    row_fixture_init(&f, 8, 1, 8, false);
    flip_check(&f, 0, 3, 0x00400000);
    f.damaged[0] = 1 << 3;
    memset(page_on_medium(&f, 0) + 3 * GROUP_BYTES, 0x77, GROUP_BYTES);
    assert_row_as_expected(&f, "absent check");
    row_fixture_free(&f);
}

/* Of a check that is garbage nothing can be said; the bytes on the medium speak for themselves. */
Test(row_evidence, a_lost_absent_check_is_mended)
{
    struct row_fixture f;
    row_fixture_init(&f, 8, 1, 8, false);
    flip_check(&f, 0, 3, 0x00ff00ff);
    f.damaged[0] = 1 << 3;
    assert_row_as_expected(&f, "absent check");
    row_fixture_free(&f);
}

/* A group that begins with a zero is not yet an absent one. */
Test(row_evidence, a_lost_check_of_a_group_that_begins_with_a_zero_is_mended)
{
    struct row_fixture f;
    unsigned tried = 0;
    row_fixture_init(&f, 8, 1, 32, true);
    for (uint32_t page = 0; page < f.truth.page_count; page++)
        for (uint32_t group = 0; group < PAGE_GROUPS; group++) {
            if (page_on_medium(&f, page)[group * GROUP_BYTES] != 0)
                continue;
            tried++;
            flip_check(&f, page, group, 0x00ff00ff);
            f.damaged[page] |= (uint16_t)(1 << group);
            assert_row_as_expected(&f, "begins with a zero");
            flip_check(&f, page, group, 0x00ff00ff);
            f.damaged[page] = 0;
        }
    cr_assert_gt(tried, 0, "no group of the fixture begins with a zero");
    row_fixture_free(&f);
}
