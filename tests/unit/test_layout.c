/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The pool's arithmetic, over all geometries and loss units. */

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "recovery/errmsg.h"
#include "recovery/layout.h"
#include "recovery/media.h"
#include "support/rng.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

struct geometry {
    uint64_t loss_unit;
    uint32_t data_columns, parity_columns, row_pages, segment_rows;
};

typedef void layout_test(const struct layout *l, const struct geometry *g);

static int compute(struct layout *out, uint64_t pool_bytes, const struct geometry *g)
{
    return layout_compute(out, pool_bytes, g->loss_unit, g->data_columns, g->parity_columns,
                          g->row_pages, g->segment_rows);
}

static uint64_t least(const struct geometry *g)
{
    return layout_min_bytes(g->loss_unit, g->data_columns, g->parity_columns, g->row_pages,
                            g->segment_rows);
}

static void for_pool_sizes(const struct geometry *g, layout_test *test)
{
    const uint64_t more[] = {0, PAGE_BYTES, 3 * MIB + 12 * KIB, 65 * MIB, 700 * MIB, 7 * GIB};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        struct layout l;
        int rc = compute(&l, least(g) + more[i], g);
        cr_assert_eq(rc, 0, "%s", err_message());
        test(&l, g);
    }
}

/* Every geometry with every loss unit, the extremes and one middle of the others. */
static void for_all_layouts(layout_test *test)
{
    const uint32_t columns[][2] = {{8, 1}, {8, 2}, {8, 0}, {1, 0}, {1, 1}, {1, 2}};
    const uint32_t row_pages[] = {8, 32, 256}, rows[] = {2, 17, 64};
    for (uint64_t unit = 4 * KIB; unit <= GIB; unit *= 2)
        for (int c = 0; c < 6; c++)
            for (int p = 0; p < 3; p++)
                for (int r = 0; r < 3; r++) {
                    struct geometry g = {unit, columns[c][0], columns[c][1], row_pages[p], rows[r]};
                    for_pool_sizes(&g, test);
                }
}

/* --- shapes ----------------------------------------------------------------------------------- */

static void check_sums(const struct layout *l, const struct geometry *g)
{
    cr_assert_eq(l->columns, g->data_columns + g->parity_columns);
    cr_assert_eq(l->chunk_pages * l->data_columns, l->row_pages);
    cr_assert_geq(l->chunk_pages, 1);
    cr_assert_eq(l->slice_pages, 1 + g->segment_rows * l->chunk_pages);
    cr_assert_eq(l->segments, l->arrays * l->segments_per_array);
    cr_assert_eq(l->array_bytes, l->columns * l->column_bytes);
    cr_assert_geq(l->segments, LAYOUT_MIN_SEGMENTS);
    cr_assert_geq(l->arrays, LAYOUT_MIN_ARRAYS);
    cr_assert_geq(l->table_bytes / PAGE_BYTES * PAGE_PAYLOAD_LINES, l->segments);
}

Test(layout, parts_add_up)
{
    for_all_layouts(check_sums);
}

static void check_columns(const struct layout *l, const struct geometry *g)
{
    cr_assert_eq(l->data_start % g->loss_unit, 0, "arrays start inside a loss unit");
    cr_assert_eq(l->column_bytes % g->loss_unit, 0, "a column ends inside a loss unit");
    cr_assert_geq(l->column_bytes, g->loss_unit);
    uint64_t slices = (uint64_t)l->segments_per_array * l->slice_pages * PAGE_BYTES;
    cr_assert_leq(slices, l->column_bytes, "slices leave their column");
    cr_assert_lt(l->column_bytes - slices, (uint64_t)l->slice_pages * PAGE_BYTES, "one more fits");
    if (g->loss_unit == 4 * KIB)
        cr_assert(l->segments_per_array == 1 && slices == l->column_bytes);
}

Test(layout, columns_are_whole_loss_units_and_hold_all_slices_that_fit)
{
    for_all_layouts(check_columns);
}

/* Start and end of everything that must not share a loss unit, in the order of the pool. */
static void check_order(const struct layout *l, const struct geometry *g)
{
    uint64_t stride = g->loss_unit > 64 * KIB ? g->loss_unit : 64 * KIB;
    uint64_t arrays_end = l->data_start + l->arrays * l->array_bytes;
    cr_assert_eq(l->superblock_off[0], 0);
    cr_assert_eq(l->superblock_off[1], stride);
    cr_assert_eq(l->superblock_off[2], l->pool_bytes - stride);
    cr_assert_eq(l->table_off[0], 2 * stride);
    cr_assert_eq(l->table_off[1] % stride, 0);
    cr_assert_geq(l->table_off[1], l->table_off[0] + l->table_bytes);
    cr_assert_geq(l->data_start, l->table_off[1] + l->table_bytes);
    cr_assert_leq(arrays_end, l->superblock_off[2], "arrays run into the last superblock");
    uint64_t table_end = l->table_off[0] + l->table_bytes - 1;
    cr_assert_lt(table_end / g->loss_unit, l->table_off[1] / g->loss_unit, "tables share a unit");
    cr_assert_lt((arrays_end - 1) / g->loss_unit, l->superblock_off[2] / g->loss_unit,
                 "the last superblock shares a unit");
}

Test(layout, no_two_copies_share_a_loss_unit)
{
    for_all_layouts(check_order);
}

static void check_no_room_left(const struct layout *l, const struct geometry *g)
{
    (void)g;
    uint64_t arrays_end = l->data_start + l->arrays * l->array_bytes;
    uint64_t left = l->superblock_off[2] - arrays_end;
    /* One more array may also need a table page more in each copy, and the alignment after it. */
    uint64_t table = 2 * (l->table_off[1] - l->table_off[0]) + l->loss_unit;
    cr_assert_lt(left, l->array_bytes + table, "%u arrays, %llu bytes left", l->arrays,
                 (unsigned long long)left);
}

Test(layout, as_many_arrays_as_fit)
{
    for_all_layouts(check_no_room_left);
}

Test(layout, more_bytes_never_mean_fewer_segments)
{
    struct geometry g = {4 * KIB, 8, 1, 8, 2};
    uint32_t before = 0;
    for (uint64_t bytes = least(&g); bytes < 64 * MIB; bytes += PAGE_BYTES) {
        struct layout l;
        cr_assert_eq(compute(&l, bytes, &g), 0, "%s", err_message());
        cr_assert_geq(l.segments, before);
        before = l.segments;
    }
}

/* --- refusals --------------------------------------------------------------------------------- */

static void check_min(const struct layout *l, const struct geometry *g)
{
    struct layout small;
    cr_assert_leq(least(g), l->pool_bytes);
    cr_assert_eq(compute(&small, least(g), g), 0);
    cr_assert_eq(compute(&small, least(g) - PAGE_BYTES, g), -EINVAL);
    char size[32];
    snprintf(size, sizeof size, "%llu", (unsigned long long)least(g));
    cr_assert_not_null(strstr(err_message(), size), "'%s' does not name %s", err_message(), size);
}

Test(layout, the_smallest_size_is_exact_and_named_in_the_refusal)
{
    for_all_layouts(check_min);
}

Test(layout, values_out_of_range_are_refused_and_leave_the_result_alone)
{
    const struct geometry bad[] = {
        {0, 8, 1, 32, 16},        {2048, 8, 1, 32, 16},     {4097, 8, 1, 32, 16},
        {12 * KIB, 8, 1, 32, 16}, {2 * GIB, 8, 1, 32, 16},  {1ull << 63, 8, 1, 32, 16},
        {~0ull, 8, 1, 32, 16},    {4 * KIB, 0, 1, 32, 16},  {4 * KIB, 2, 1, 32, 16},
        {4 * KIB, 9, 1, 32, 16},  {4 * KIB, 8, 3, 32, 16},  {4 * KIB, 8, ~0u, 32, 16},
        {4 * KIB, 8, 1, 0, 16},   {4 * KIB, 8, 1, 4, 16},   {4 * KIB, 8, 1, 24, 16},
        {4 * KIB, 8, 1, 512, 16}, {4 * KIB, 8, 1, ~0u, 16}, {4 * KIB, 8, 1, 1u << 31, 16},
        {4 * KIB, 8, 1, 32, 0},   {4 * KIB, 8, 1, 32, 1},   {4 * KIB, 8, 1, 32, 65},
        {4 * KIB, 8, 1, 32, ~0u},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct layout l, before;
        memset(&l, 0x5a, sizeof l);
        before = l;
        cr_assert_eq(compute(&l, GIB, &bad[i]), -EINVAL, "case %zu was taken", i);
        cr_assert_eq(memcmp(&l, &before, sizeof l), 0, "case %zu changed the result", i);
        cr_assert_eq(least(&bad[i]), 0, "case %zu has a smallest size", i);
    }
}

Test(layout, pool_sizes_out_of_range_are_refused)
{
    struct geometry g = {4 * KIB, 8, 1, 32, 16};
    const uint64_t bad[] = {
        0,          1,     4096,       GIB + 1, GIB + 2048, 1 << 20, (1ull << 50) + 4096,
        1ull << 63, ~0ull, ~0ull << 12};
    struct layout l;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        cr_assert_eq(compute(&l, bad[i], &g), -EINVAL, "%llu", (unsigned long long)bad[i]);
}

/* A log position has 30 bits for segment + 1, row and page. */
Test(layout, too_many_segments_are_refused_at_the_limit)
{
    struct geometry g = {4 * KIB, 1, 0, 8, 2};
    const uint64_t bytes = 1ull << 50;
    struct layout l;
    cr_assert_eq(compute(&l, bytes, &g), -EINVAL);
    uint64_t low = least(&g) / PAGE_BYTES, high = bytes / PAGE_BYTES;
    while (high - low > 1) {
        uint64_t middle = (low + high) / 2;
        if (compute(&l, middle * PAGE_BYTES, &g) == 0)
            low = middle;
        else
            high = middle;
    }
    cr_assert_eq(compute(&l, low * PAGE_BYTES, &g), 0);
    cr_assert_eq(((uint64_t)l.segments + 1) * 2 * 8, 1ull << 30, "%u segments", l.segments);
}

Test(layout, random_values_are_refused_or_consistent)
{
    struct test_rng rng = test_rng_make(7, 0);
    for (int i = 0; i < 200000; i++) {
        struct geometry g = {test_rng_one_in(&rng, 4) ? test_rng_next(&rng)
                                                      : 1ull << test_rng_below(&rng, 64),
                             (uint32_t)test_rng_below(&rng, 10), (uint32_t)test_rng_below(&rng, 4),
                             1u << test_rng_below(&rng, 10), (uint32_t)test_rng_below(&rng, 70)};
        uint64_t bytes = test_rng_next(&rng) >> test_rng_below(&rng, 64);
        struct layout l;
        if (compute(&l, bytes - bytes % PAGE_BYTES, &g) == 0) {
            check_sums(&l, &g);
            check_columns(&l, &g);
            check_order(&l, &g);
        }
    }
}

/* --- the inverse ------------------------------------------------------------------------------ */

/* What was said to stand on each page of the pool; every page is claimed at most once. */
static struct place *claims;

static void claim(const struct layout *l, uint64_t off, struct place place)
{
    cr_assert(off % PAGE_BYTES == 0 && off < l->pool_bytes, "offset %#llx is outside the pool",
              (unsigned long long)off);
    cr_assert_eq(claims[off / PAGE_BYTES].kind, PLACE_UNUSED, "offset %#llx is claimed twice",
                 (unsigned long long)off);
    claims[off / PAGE_BYTES] = place;
}

static void claim_segment(const struct layout *l, uint32_t segment)
{
    for (uint32_t c = 0; c < l->columns; c++) {
        struct place at = {.kind = PLACE_HEADER, .segment = segment, .column = c};
        claim(l, layout_slice_off(l, segment, c), at);
        at.kind = PLACE_ROW;
        for (at.row = 0; at.row < l->segment_rows; at.row++)
            for (at.page = 0; at.page < l->chunk_pages; at.page++)
                claim(l, layout_chunk_page_off(l, segment, at.row, c, at.page), at);
    }
}

static void claim_all(const struct layout *l)
{
    for (uint64_t i = 0; i < l->pool_bytes / PAGE_BYTES; i++)
        claims[i] = (struct place){.kind = PLACE_UNUSED};
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
        claim(l, l->superblock_off[i], (struct place){.kind = PLACE_SUPERBLOCK, .copy = i});
    for (uint32_t i = 0; i < TABLE_COPIES; i++)
        for (uint32_t p = 0; p < l->table_bytes / PAGE_BYTES; p++)
            claim(l, l->table_off[i] + (uint64_t)p * PAGE_BYTES,
                  (struct place){.kind = PLACE_TABLE, .copy = i, .table_page = p});
    for (uint32_t s = 0; s < l->segments; s++)
        claim_segment(l, s);
}

static bool same_place(struct place a, struct place b)
{
    return a.kind == b.kind && a.copy == b.copy && a.segment == b.segment && a.column == b.column &&
           a.row == b.row && a.page == b.page && a.table_page == b.table_page;
}

static void check_inverse(const struct geometry *g, uint64_t more)
{
    struct layout l;
    cr_assert_eq(compute(&l, least(g) + more, g), 0, "%s", err_message());
    uint64_t pages = l.pool_bytes / PAGE_BYTES;
    claims = calloc(pages, sizeof *claims);
    claim_all(&l);
    for (uint64_t i = 0; i < pages; i++) {
        uint64_t inside = i * PAGE_BYTES + i * 37 % PAGE_BYTES;
        cr_assert(same_place(layout_locate(&l, i * PAGE_BYTES), claims[i]), "page %#llx",
                  (unsigned long long)i);
        cr_assert(same_place(layout_locate(&l, inside), claims[i]), "inside page %#llx",
                  (unsigned long long)i);
    }
    const uint64_t outside[] = {l.pool_bytes, l.pool_bytes + 12345, 1ull << 63, ~0ull};
    for (int i = 0; i < 4; i++)
        cr_assert_eq(layout_locate(&l, outside[i]).kind, PLACE_UNUSED);
    free(claims);
}

Test(layout, locate_is_the_inverse_on_every_page)
{
    const struct geometry some[] = {
        {4 * KIB, 8, 1, 32, 16}, {4 * KIB, 8, 2, 8, 2},   {4 * KIB, 1, 1, 8, 3},
        {4 * KIB, 1, 0, 32, 64}, {64 * KIB, 8, 1, 32, 4}, {128 * KIB, 1, 1, 16, 2},
        {2 * MIB, 8, 1, 32, 16}, {2 * MIB, 1, 0, 8, 2},   {2 * MIB, 8, 2, 256, 64},
    };
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        check_inverse(&some[i], 0);
        check_inverse(&some[i], 20 * MIB + 3 * PAGE_BYTES);
    }
}

Test(layout, data_pages_run_chunk_after_chunk)
{
    struct geometry g = {2 * MIB, 8, 1, 32, 16};
    struct layout l;
    compute(&l, GIB, &g);
    for (uint32_t page = 0; page < 32; page++)
        cr_assert_eq(layout_data_page_off(&l, 11, 5, page),
                     layout_chunk_page_off(&l, 11, 5, page / 4, page % 4));
    cr_assert_eq(layout_array_of(&l, l.segments_per_array), 1);
}
