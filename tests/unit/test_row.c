/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Rows: loading, decoding what redundancy covers, and counting what it does not. */

#include <criterion/criterion.h>
#include <stdio.h>

#include "row_fixture.h"

static const uint32_t geometries[][3] = {{8, 1, 8}, {8, 1, 32}, {8, 2, 16}, {8, 0, 16},
                                         {1, 1, 8}, {1, 0, 8},  {1, 2, 8}};
enum { GEOMETRIES = sizeof geometries / sizeof *geometries };

typedef void row_test(struct row_fixture *f);

static void for_all_geometries(row_test *test)
{
    for (int i = 0; i < GEOMETRIES; i++)
        for (int full = 0; full < 2; full++) {
            struct row_fixture f;
            row_fixture_init(&f, geometries[i][0], geometries[i][1], geometries[i][2], full);
            test(&f);
            row_fixture_free(&f);
        }
}

/* --- encode and load -------------------------------------------------------------------------- */

static void check_undamaged(struct row_fixture *f)
{
    assert_row_as_expected(f, "undamaged");
    cr_assert_eq(memcmp(f->image.pages, f->truth.pages, f->truth.page_count * PAGE_BYTES), 0);
}

Test(row, an_encoded_row_loads_as_it_was)
{
    for_all_geometries(check_undamaged);
}

static void check_absent_parity(struct row_fixture *f)
{
    const struct layout *l = &f->v.layout;
    for (uint32_t i = l->row_pages; i < f->truth.page_count; i++) {
        uint16_t present = 0;
        for (uint32_t c = 0; c < l->data_columns; c++)
            present |= f->truth.info[c * l->chunk_pages + i % l->chunk_pages].good;
        cr_assert_eq(f->truth.info[i].good, present);
        cr_assert_eq(f->truth.info[i].absent, (uint16_t)~present);
    }
}

Test(row, parity_is_absent_exactly_where_all_data_is)
{
    for_all_geometries(check_absent_parity);
}

static void check_absent_reads_zero(struct row_fixture *f)
{
    for (uint32_t i = 0; i < f->truth.page_count; i++)
        for (uint32_t g = 0; g < GROUPS; g++)
            if (f->truth.info[i].absent >> g & 1)
                page_on_medium(f, i)[g * GROUP_BYTES + 5] = 0xee; /* left from another generation */
    assert_row_as_expected(f, "garbage in absent groups");
}

Test(row, absent_groups_read_as_zeros_whatever_is_there)
{
    for_all_geometries(check_absent_reads_zero);
}

static void check_short_load(struct row_fixture *f)
{
    memset(f->image.pages, 0x99, f->image.page_count * PAGE_BYTES); /* of the row before */
    f->fake.stop_at = page_off(f, 1) + 1000;
    f->damaged[1] = ALL;
    assert_row_as_expected(f, "short load");
    cr_assert(f->image.info[1].poisoned && !f->image.info[0].poisoned);
    if (f->v.layout.parity_columns == 0)
        for (uint32_t i = 0; i < PAGE_BYTES; i++)
            cr_assert_eq(f->image.pages[PAGE_BYTES + i], i < 1000 ? page_on_medium(f, 1)[i] : 0);
    f->fake.stop_at = page_off(f, 1) + PAGE_PAYLOAD_BYTES;
    assert_row_as_expected(f, "short by the check line");
}

Test(row, a_short_load_fails_the_whole_page)
{
    for_all_geometries(check_short_load);
}

Test(row, bytes_of_a_lost_group_stay_as_they_were_read)
{
    struct row_fixture f;
    row_fixture_init(&f, 8, 0, 8, true);
    damage_group(&f, 2, 7);
    assert_row_as_expected(&f, "no parity");
    cr_assert_eq(memcmp(f.image.pages + 2 * PAGE_BYTES, page_on_medium(&f, 2), PAGE_BYTES), 0);
    row_fixture_free(&f);
}

/* --- patterns --------------------------------------------------------------------------------- */

static void check_column_patterns(struct row_fixture *f)
{
    const struct layout *l = &f->v.layout;
    for (uint32_t pattern = 0; pattern < 1u << l->columns; pattern++) {
        char what[64];
        snprintf(what, sizeof what, "%u+%u, columns %#x poisoned", l->data_columns,
                 l->parity_columns, pattern);
        row_fixture_restore(f);
        for (uint32_t i = 0; i < f->truth.page_count; i++)
            if (pattern >> i / l->chunk_pages & 1)
                poison_page(f, i);
        assert_row_as_expected(f, what);
    }
}

Test(row, every_pattern_of_lost_columns)
{
    for_all_geometries(check_column_patterns);
}

static void check_group_patterns(struct row_fixture *f)
{
    const struct layout *l = &f->v.layout;
    for (uint32_t pattern = 0; pattern < 1u << l->columns; pattern++) {
        char what[64];
        uint32_t group = pattern % GROUPS, page = pattern % l->chunk_pages;
        snprintf(what, sizeof what, "%u+%u, group %u of columns %#x", l->data_columns,
                 l->parity_columns, group, pattern);
        row_fixture_restore(f);
        for (uint32_t c = 0; c < l->columns; c++)
            if (pattern >> c & 1)
                damage_group(f, c * l->chunk_pages + page, group);
        assert_row_as_expected(f, what);
    }
}

Test(row, every_pattern_of_lost_groups_at_one_position)
{
    for_all_geometries(check_group_patterns);
}

static void check_single_pages(struct row_fixture *f)
{
    for (uint32_t i = 0; i < f->truth.page_count; i++) {
        row_fixture_restore(f);
        poison_page(f, i);
        assert_row_as_expected(f, "one page poisoned");
        row_fixture_restore(f);
        scramble_page(f, i);
        assert_row_as_expected(f, "one page scrambled");
        row_fixture_restore(f);
        memset(page_on_medium(f, i), 0, PAGE_BYTES);
        f->damaged[i] = ALL;
        assert_row_as_expected(f, "one page zeroed");
    }
}

Test(row, any_one_lost_page)
{
    for_all_geometries(check_single_pages);
}

/* One group of each position, in a column of its own: far more groups than one column has. */
Test(row, damage_in_every_column_is_rebuilt_while_no_position_has_two)
{
    struct row_fixture f;
    row_fixture_init(&f, 8, 1, 32, true);
    for (uint32_t page = 0; page < 4; page++)
        for (uint32_t g = 0; g < GROUPS; g++)
            damage_group(&f, (page * GROUPS + g) % 9 * 4 + page, g);
    assert_row_as_expected(&f, "scattered");
    cr_assert_eq(f.image.lost_groups, 0);
    row_fixture_free(&f);
}

static void check_random_damage(struct row_fixture *f)
{
    for (int round = 0; round < 300; round++) {
        row_fixture_restore(f);
        uint64_t rarity = 2 + test_rng_below(&f->rng, 60);
        for (uint32_t i = 0; i < f->truth.page_count; i++) {
            if (test_rng_one_in(&f->rng, rarity * 4))
                poison_page(f, i);
            else
                for (uint32_t g = 0; g < GROUPS; g++)
                    if (test_rng_one_in(&f->rng, rarity))
                        damage_group(f, i, g);
        }
        assert_row_as_expected(f, "random damage");
    }
}

Test(row, random_damage_is_rebuilt_or_counted_exactly)
{
    for_all_geometries(check_random_damage);
}

Test(row, a_lost_column_costs_every_row_one_chunk)
{
    struct row_fixture f;
    row_fixture_init(&f, 8, 1, 16, false);
    for (uint32_t column = 0; column < 9; column++)
        for (f.ref.row = 0; f.ref.row < 4; f.ref.row++) {
            uint16_t present[16];
            for (uint32_t p = 0; p < 16; p++)
                present[p] = f.truth.info[p].good;
            row_encode(&f.v, f.ref, &f.truth, present); /* the same data, this row's checks */
            row_fixture_restore(&f);
            poison_page(&f, column * 2);
            poison_page(&f, column * 2 + 1);
            assert_row_as_expected(&f, "column");
            cr_assert_eq(f.image.lost_groups, 0);
        }
    row_fixture_free(&f);
}

/* --- stale and misplaced ---------------------------------------------------------------------- */

static void check_stale_row(struct row_fixture *f)
{
    f->ref.generation++;
    for (uint32_t i = 0; i < f->truth.page_count; i++)
        f->damaged[i] = ALL;
    if (f->v.layout.columns > f->v.layout.parity_columns)
        assert_row_as_expected(f, "row of an older generation");
    cr_assert_eq(f->image.lost_groups, f->v.layout.row_pages * GROUPS);
}

Test(row, nothing_of_an_older_generation_passes)
{
    for_all_geometries(check_stale_row);
}

static void check_stale_page(struct row_fixture *f)
{
    for (uint32_t i = 0; i < f->truth.page_count; i++) {
        uint64_t old =
            group_secret(f->v.secret, f->ref.generation - 1, page_off(f, i) / PAGE_BYTES);
        row_fixture_restore(f);
        page_on_medium(f, i)[100]++;
        page_seal(page_on_medium(f, i), old, ALL);
        f->damaged[i] = ALL;
        assert_row_as_expected(f, "one page of an older generation");
    }
}

Test(row, a_lost_write_leaves_a_stale_page_that_is_rebuilt)
{
    for_all_geometries(check_stale_page);
}

static void swap_pages(struct row_fixture *f, uint32_t a, uint32_t b)
{
    uint8_t page[PAGE_BYTES];
    memcpy(page, page_on_medium(f, a), PAGE_BYTES);
    memcpy(page_on_medium(f, a), page_on_medium(f, b), PAGE_BYTES);
    memcpy(page_on_medium(f, b), page, PAGE_BYTES);
    f->damaged[a] = f->damaged[b] = ALL;
}

static void check_swaps(struct row_fixture *f)
{
    for (uint32_t a = 0; a < f->truth.page_count; a++)
        for (uint32_t b = a + 1; b < f->truth.page_count; b++) {
            row_fixture_restore(f);
            swap_pages(f, a, b);
            assert_row_as_expected(f, "two pages swapped");
        }
}

Test(row, swapped_pages_fail_and_are_rebuilt_or_counted)
{
    for_all_geometries(check_swaps);
}

/* --- after decoding --------------------------------------------------------------------------- */

static void check_repair(struct row_fixture *f)
{
    for (int round = 0; round < 50; round++) {
        row_fixture_restore(f);
        for (uint32_t i = 0; i < f->truth.page_count; i++)
            if (test_rng_one_in(&f->rng, 6))
                scramble_page(f, i);
        row_load(&f->v, f->ref, &f->image);
        row_decode(&f->v, f->ref, &f->image);
        uint32_t lost = f->image.lost_groups;
        row_seal(&f->v, f->ref, &f->image);
        row_fixture_store(f, &f->image);
        row_load(&f->v, f->ref, &f->image);
        assert_nothing_wrong(f, f->image.page_count, "after repair");
        row_decode(&f->v, f->ref, &f->image);
        cr_assert_eq(f->image.lost_groups, lost, "repair changed what is lost");
        if (lost == 0)
            cr_assert_eq(f->image.bad_pages, 0, "repaired and still bad");
    }
}

Test(row, a_sealed_image_written_back_is_the_repair)
{
    for_all_geometries(check_repair);
}

Test(row, lost_groups_are_sealed_with_a_check_of_zero)
{
    struct row_fixture f;
    row_fixture_init(&f, 8, 1, 8, true);
    damage_group(&f, 0, 3);
    damage_group(&f, 1, 3);
    assert_row_as_expected(&f, "two of one position");
    row_seal(&f.v, f.ref, &f.image);
    uint32_t check = 1;
    memcpy(&check, f.image.pages + PAGE_PAYLOAD_BYTES + 3 * 4, 4);
    cr_assert_eq(check, 0);
    memcpy(&check, f.image.pages + PAGE_PAYLOAD_BYTES + 4 * 4, 4);
    cr_assert_eq(check, group_check(page_secret(&f, 0), 4, true_page(&f, 0) + 4 * GROUP_BYTES));
    row_fixture_free(&f);
}

Test(row, decoding_again_finds_nothing_more_to_do)
{
    struct row_fixture f;
    row_fixture_init(&f, 8, 2, 16, false);
    poison_page(&f, 0);
    poison_page(&f, 6);
    assert_row_as_expected(&f, "two pages");
    cr_assert_eq(row_decode(&f.v, f.ref, &f.image), 0);
    cr_assert_eq(f.image.lost_groups, 0);
    row_fixture_free(&f);
}
