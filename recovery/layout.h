/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The arithmetic of the pool: where everything is. Nothing here reads the medium.
 *
 *   line 64 B    group 256 B   page 4096 B: 63 lines of payload, and line 63 with 16 checks of 4 B
 *   chunk        chunk_pages pages: one column's share of a row
 *   row          data_columns chunks + parity_columns chunks; row_pages data pages in all
 *   slice        one column's share of a segment: 1 header page, then segment_rows chunks
 *   segment      one slice in each column of an array
 *   array        data_columns + parity_columns columns, each at least one loss unit long and
 * aligned to it, of segments_per_array slices each
 *
 *   pool:  sb copy 0 @ 0 | sb copy 1 @ stride | table 0 @ 2*stride | table 1 | arrays ... | sb copy
 * 2
 *          @ size - stride                     stride = max(64 KiB, loss unit)
 *
 * The header page makes a slice an odd number of pages, which skews the columns of a 4 KiB medium
 * against same-set conflicts.
 */
#ifndef PMKV_RECOVERY_LAYOUT_H
#define PMKV_RECOVERY_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

enum { SUPERBLOCK_COPIES = 3, TABLE_COPIES = 2, MAX_COLUMNS = 10, MAX_PARITY = 2 };
enum { LAYOUT_MIN_SEGMENTS = 8, LAYOUT_MIN_ARRAYS = 2 };
enum { PAGE_GROUPS = 16, PAGE_PAYLOAD_LINES = 63, PAGE_PAYLOAD_BYTES = 63 * 64 };

struct layout {
    uint64_t pool_bytes, loss_unit;
    uint32_t data_columns, parity_columns, columns; /* N, M, N+M */
    uint32_t row_pages, chunk_pages, segment_rows;
    uint32_t slice_pages, segments_per_array, arrays, segments;
    uint64_t column_bytes, array_bytes;
    uint64_t data_start; /* offset of array 0 */
    uint64_t superblock_off[SUPERBLOCK_COPIES];
    uint64_t table_off[TABLE_COPIES];
    uint64_t table_bytes; /* of one copy, whole pages: 63 entries of a line a page */
};

/*
 * Computes everything from the first six values. 0, or -EINVAL with a fact that names the smallest
 * size that would do; *out is untouched then. Takes hostile values.
 *
 * pool_bytes is a multiple of 4096; loss_unit a power of two, 4 KiB to 1 GiB; data_columns 1 or 8;
 * parity_columns 0 to 2; row_pages a power of two, 8 to 256; segment_rows 2 to 64. At least
 * LAYOUT_MIN_SEGMENTS segments must fit, and LAYOUT_MIN_ARRAYS arrays: a twin lives in another
 * array than its row. At most 2^30 data pages (segment_rows counted as a power of two): a log
 * position has that many bits.
 */
int layout_compute(struct layout *out, uint64_t pool_bytes, uint64_t loss_unit,
                   uint32_t data_columns, uint32_t parity_columns, uint32_t row_pages,
                   uint32_t segment_rows);

/* Smallest pool that layout_compute takes with these values; 0 when it takes none. */
uint64_t layout_min_bytes(uint64_t loss_unit, uint32_t data_columns, uint32_t parity_columns,
                          uint32_t row_pages, uint32_t segment_rows);

/* Pool offset of a segment's slice in a column: its header page. */
static inline uint64_t layout_slice_off(const struct layout *l, uint32_t segment, uint32_t column)
{
    uint32_t array = segment / l->segments_per_array;
    uint32_t slice = segment % l->segments_per_array;
    return l->data_start + array * l->array_bytes + column * l->column_bytes +
           (uint64_t)slice * l->slice_pages * 4096;
}

/* Pool offset of page `page` (0..chunk_pages-1) of a column's chunk in a row. */
static inline uint64_t layout_chunk_page_off(const struct layout *l, uint32_t segment, uint32_t row,
                                             uint32_t column, uint32_t page)
{
    return layout_slice_off(l, segment, column) +
           (1 + (uint64_t)row * l->chunk_pages + page) * 4096;
}

/* Pool offset of data page `page` (0..row_pages-1) of a row. */
static inline uint64_t layout_data_page_off(const struct layout *l, uint32_t segment, uint32_t row,
                                            uint32_t page)
{
    return layout_chunk_page_off(l, segment, row, page / l->chunk_pages, page % l->chunk_pages);
}

static inline uint32_t layout_array_of(const struct layout *l, uint32_t segment)
{
    return segment / l->segments_per_array;
}

enum place_kind { PLACE_SUPERBLOCK, PLACE_TABLE, PLACE_HEADER, PLACE_ROW, PLACE_UNUSED };

/* What stands on a page of the pool. Superblock and table copies are `copy` of their kind, a
 * table's `table_page` counts in its copy; a row's `page` counts in its chunk. */
struct place {
    enum place_kind kind;
    uint32_t copy;                       /* superblock, table */
    uint32_t segment, column, row, page; /* header: segment, column; row: all */
    uint32_t table_page;                 /* table */
};

/* The page that holds `pool_off`; any value is taken. The exact inverse of the functions above. */
struct place layout_locate(const struct layout *l, uint64_t pool_off);

#endif
