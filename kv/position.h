/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Log positions. A position names 8 bytes of a row's payload: segment, row, data page, unit in page
 * (0..503; line 63 of a page holds checks and is no payload). It is a struct so that it cannot be
 * mixed with a pool offset or with an offset in a row's payload.
 *
 *   bit 39: lost mark (the rest is then the number of a lost-list entry)
 *   then segment + 1 | row | page | unit (9 bits): 0 is never a position
 */
#ifndef PMKV_KV_POSITION_H
#define PMKV_KV_POSITION_H

#include <stdbool.h>
#include <stdint.h>

#include "../recovery/layout.h"

enum { UNIT_BYTES = 8, PAGE_UNITS = PAGE_PAYLOAD_BYTES / UNIT_BYTES };
#define POSITION_LOST (1ull << 39)

struct log_pos {
    uint64_t v;
};

/* Shifts that turn positions into places, from the layout. */
struct pos_shape {
    uint32_t page_bits, row_bits, chunk_bits; /* chunk_bits: of the pages of a chunk */
    uint32_t row_payload;                     /* bytes a row holds */
    uint64_t column_bytes;
};

struct row_place {
    uint32_t segment, row, offset; /* offset: bytes in the row's payload */
};

static inline struct log_pos pos_make(const struct pos_shape *s, struct row_place p)
{
    uint64_t page = p.offset / PAGE_PAYLOAD_BYTES;
    uint64_t unit = p.offset % PAGE_PAYLOAD_BYTES / UNIT_BYTES;
    uint64_t v = p.segment + 1ull;
    v = v << s->row_bits | p.row;
    v = v << s->page_bits | page;
    return (struct log_pos){v << 9 | unit};
}

static inline struct row_place pos_place(const struct pos_shape *s, struct log_pos pos)
{
    uint32_t unit = pos.v & 511;
    uint32_t page = pos.v >> 9 & ((1u << s->page_bits) - 1);
    uint32_t row = pos.v >> (9 + s->page_bits) & ((1u << s->row_bits) - 1);
    uint32_t segment = (uint32_t)(pos.v >> (9 + s->page_bits + s->row_bits)) - 1;
    return (struct row_place){segment, row, page * PAGE_PAYLOAD_BYTES + unit * UNIT_BYTES};
}

/* The same without a division, for where a place in a row is not needed: segment, offset in the
 * page, and how far the page is from the segment's first row in column 0. */
static inline uint32_t pos_segment(const struct pos_shape *s, struct log_pos pos)
{
    return (uint32_t)(pos.v >> (9 + s->page_bits + s->row_bits)) - 1;
}
static inline uint32_t pos_in_page(struct log_pos pos)
{
    return (pos.v & 511) * UNIT_BYTES;
}
static inline uint64_t pos_page_off(const struct pos_shape *s, struct log_pos pos)
{
    uint64_t page = pos.v >> 9 & ((1u << s->page_bits) - 1);
    uint64_t row = pos.v >> (9 + s->page_bits) & ((1u << s->row_bits) - 1);
    uint64_t in_chunk = page & ((1u << s->chunk_bits) - 1);
    return (page >> s->chunk_bits) * s->column_bytes + ((row << s->chunk_bits | in_chunk) << 12);
}

static inline bool pos_is_lost(struct log_pos pos)
{
    return pos.v & POSITION_LOST;
}

#endif
