/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Every value may come from a superblock that somebody damaged or forged: each is bounded before it
 * is used, so that no product below can overflow (2^50 bytes of pool, 2^30 of loss unit) and every
 * search takes at most 64 steps.
 */
#include "layout.h"

#include <errno.h>

#include "errmsg.h"

enum { PAGE = 4096, TABLE_ENTRIES_PER_PAGE = PAGE_PAYLOAD_LINES };
#define STRIDE_MIN     (64ull << 10)
#define LOSS_UNIT_MAX  (1ull << 30)
#define POOL_MAX       (1ull << 50)
#define DATA_PAGES_MAX (1ull << 30)

static bool is_power_of_two(uint64_t x)
{
    return x != 0 && (x & (x - 1)) == 0;
}

static uint64_t align_up(uint64_t x, uint64_t power)
{
    return (x + power - 1) & ~(power - 1);
}

static uint64_t stride_of(const struct layout *l)
{
    return l->loss_unit > STRIDE_MIN ? l->loss_unit : STRIDE_MIN;
}

/* The geometry alone, without the pool's size. */
static int check_geometry(uint64_t loss_unit, uint32_t data_columns, uint32_t parity_columns,
                          uint32_t row_pages, uint32_t segment_rows)
{
    if (!is_power_of_two(loss_unit) || loss_unit < PAGE || loss_unit > LOSS_UNIT_MAX)
        return err_fact(-EINVAL, "loss unit %llu is not a power of two from 4 KiB to 1 GiB",
                        (unsigned long long)loss_unit);
    if (data_columns != 1 && data_columns != 8)
        return err_fact(-EINVAL, "%u data columns: must be 1 or 8", data_columns);
    if (parity_columns > MAX_PARITY)
        return err_fact(-EINVAL, "%u parity columns: must be 0, 1 or 2", parity_columns);
    if (!is_power_of_two(row_pages) || row_pages < 8 || row_pages > 256)
        return err_fact(-EINVAL, "%u pages a row: must be a power of two from 8 to 256", row_pages);
    if (segment_rows < 2 || segment_rows > 64)
        return err_fact(-EINVAL, "%u rows a segment: must be 2 to 64", segment_rows);
    return 0;
}

/* Sizes of chunk, slice, column and array from a checked geometry. */
static struct layout shape_of(uint64_t loss_unit, uint32_t data_columns, uint32_t parity_columns,
                              uint32_t row_pages, uint32_t segment_rows)
{
    struct layout l = {
        .loss_unit = loss_unit,
        .data_columns = data_columns,
        .parity_columns = parity_columns,
        .columns = data_columns + parity_columns,
        .row_pages = row_pages,
        .chunk_pages = row_pages / data_columns,
        .segment_rows = segment_rows,
    };
    l.slice_pages = 1 + segment_rows * l.chunk_pages;
    uint64_t slice_bytes = (uint64_t)l.slice_pages * PAGE;
    l.column_bytes = align_up(slice_bytes, loss_unit);
    l.segments_per_array = (uint32_t)(l.column_bytes / slice_bytes);
    l.array_bytes = l.column_bytes * l.columns;
    return l;
}

static uint64_t table_bytes_for(const struct layout *l, uint64_t arrays)
{
    uint64_t segments = arrays * l->segments_per_array;
    return (segments + TABLE_ENTRIES_PER_PAGE - 1) / TABLE_ENTRIES_PER_PAGE * PAGE;
}

/* Places what stands before the arrays when there are so many of them. */
static void place_front(struct layout *l, uint64_t arrays)
{
    uint64_t stride = stride_of(l);
    l->table_bytes = table_bytes_for(l, arrays);
    l->superblock_off[0] = 0;
    l->superblock_off[1] = stride;
    l->table_off[0] = 2 * stride;
    l->table_off[1] = align_up(l->table_off[0] + l->table_bytes, stride);
    l->data_start = align_up(l->table_off[1] + l->table_bytes, l->loss_unit);
}

/* The smallest pool with that many arrays. */
static uint64_t pool_bytes_for(struct layout l, uint64_t arrays)
{
    place_front(&l, arrays);
    return l.data_start + arrays * l.array_bytes + stride_of(&l);
}

static uint64_t min_arrays(const struct layout *l)
{
    uint64_t arrays = (LAYOUT_MIN_SEGMENTS + l->segments_per_array - 1) / l->segments_per_array;
    return arrays > LAYOUT_MIN_ARRAYS ? arrays : LAYOUT_MIN_ARRAYS;
}

/* How many arrays fit: what stands in front grows with their number, so it is searched. */
static uint64_t arrays_that_fit(const struct layout *l, uint64_t pool_bytes)
{
    uint64_t low = 0, high = pool_bytes / l->array_bytes;
    while (low < high) {
        uint64_t middle = high - (high - low) / 2;
        if (pool_bytes_for(*l, middle) <= pool_bytes)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

static uint64_t max_segments(const struct layout *l)
{
    uint64_t rows = 2;
    while (rows < l->segment_rows)
        rows *= 2;
    return DATA_PAGES_MAX / (rows * l->row_pages) - 1;
}

static int fit_arrays(struct layout *l, uint64_t pool_bytes)
{
    unsigned long long least = pool_bytes_for(*l, min_arrays(l));
    if (pool_bytes < least)
        return err_fact(-EINVAL,
                        "a pool of %llu bytes is too small: %u+%u columns with a loss unit of %llu "
                        "need at least %llu bytes",
                        (unsigned long long)pool_bytes, l->data_columns, l->parity_columns,
                        (unsigned long long)l->loss_unit, least);
    uint64_t arrays = arrays_that_fit(l, pool_bytes);
    if (arrays * l->segments_per_array > max_segments(l))
        return err_fact(-EINVAL,
                        "a pool of %llu bytes would have %llu segments, more than %llu: take more "
                        "rows a segment or more pages a row",
                        (unsigned long long)pool_bytes,
                        (unsigned long long)(arrays * l->segments_per_array),
                        (unsigned long long)max_segments(l));
    l->pool_bytes = pool_bytes;
    l->arrays = (uint32_t)arrays;
    l->segments = l->arrays * l->segments_per_array;
    place_front(l, arrays);
    l->superblock_off[2] = pool_bytes - stride_of(l);
    return 0;
}

int layout_compute(struct layout *out, uint64_t pool_bytes, uint64_t loss_unit,
                   uint32_t data_columns, uint32_t parity_columns, uint32_t row_pages,
                   uint32_t segment_rows)
{
    int rc = check_geometry(loss_unit, data_columns, parity_columns, row_pages, segment_rows);
    if (rc)
        return rc;
    if (pool_bytes % PAGE != 0 || pool_bytes > POOL_MAX)
        return err_fact(-EINVAL, "pool size %llu is not a multiple of 4096 up to 1 PiB",
                        (unsigned long long)pool_bytes);
    struct layout l = shape_of(loss_unit, data_columns, parity_columns, row_pages, segment_rows);
    rc = fit_arrays(&l, pool_bytes);
    if (rc)
        return rc;
    *out = l;
    return 0;
}

uint64_t layout_min_bytes(uint64_t loss_unit, uint32_t data_columns, uint32_t parity_columns,
                          uint32_t row_pages, uint32_t segment_rows)
{
    if (check_geometry(loss_unit, data_columns, parity_columns, row_pages, segment_rows))
        return 0;
    struct layout l = shape_of(loss_unit, data_columns, parity_columns, row_pages, segment_rows);
    return pool_bytes_for(l, min_arrays(&l));
}

/* --- the inverse ------------------------------------------------------------------------------ */

static struct place locate_in_arrays(const struct layout *l, uint64_t off)
{
    uint64_t in_data = off - l->data_start;
    uint32_t array = (uint32_t)(in_data / l->array_bytes);
    uint64_t in_array = in_data % l->array_bytes;
    uint32_t column = (uint32_t)(in_array / l->column_bytes);
    uint32_t column_page = (uint32_t)(in_array % l->column_bytes / PAGE);
    uint32_t slice = column_page / l->slice_pages;
    uint32_t slice_page = column_page % l->slice_pages;
    if (slice >= l->segments_per_array)
        return (struct place){.kind = PLACE_UNUSED};
    struct place place = {
        .kind = PLACE_HEADER,
        .segment = array * l->segments_per_array + slice,
        .column = column,
    };
    if (slice_page > 0) {
        place.kind = PLACE_ROW;
        place.row = (slice_page - 1) / l->chunk_pages;
        place.page = (slice_page - 1) % l->chunk_pages;
    }
    return place;
}

struct place layout_locate(const struct layout *l, uint64_t pool_off)
{
    uint64_t off = pool_off - pool_off % PAGE;
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
        if (off == l->superblock_off[i])
            return (struct place){.kind = PLACE_SUPERBLOCK, .copy = i};
    for (uint32_t i = 0; i < TABLE_COPIES; i++)
        if (off >= l->table_off[i] && off - l->table_off[i] < l->table_bytes)
            return (struct place){.kind = PLACE_TABLE,
                                  .copy = i,
                                  .table_page = (uint32_t)((off - l->table_off[i]) / PAGE)};
    if (off >= l->data_start && off - l->data_start < l->arrays * l->array_bytes)
        return locate_in_arrays(l, off);
    return (struct place){.kind = PLACE_UNUSED};
}
