/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Segments: their headers on the medium (the truth), the table (a cache of them, written at a clean
 * close), taking a free one and ending a generation.
 *
 * A header line is valid if and only if
 *   1. its check is the XXH3-64 of its other 56 bytes, bound to pool, segment and column;
 *   2. segment and column are its own; state and kind are known; reserved bytes are zero.
 *   3. it stands in line version % 2 of the slice's header page.
 * It stands in every column; the highest valid version wins.
 *
 * I9 for headers: the copies are written in two fences, one half each, and each write takes the
 * line the one before did not, so that a torn line leaves every copy with the old header, also the
 * only one.
 */
#ifndef PMKV_KV_SEGMENT_H
#define PMKV_KV_SEGMENT_H

#include "store.h"

struct segment_header {
    uint64_t check;
    uint64_t generation; /* 0 when free */
    uint64_t version;    /* from the pool's counter: never twice */
    uint64_t retired_rows;
    uint32_t segment;
    uint16_t column; /* 0xffff in the table */
    uint8_t state, kind;
    uint32_t rows_used;
    uint32_t records;     /* entries in the parts of its summary: how open knows that it is whole */
    uint32_t closed_rows; /* the close of rows [0, n) is fenced: what is missing there is damage */
    uint8_t reserved[12];
};
_Static_assert(sizeof(struct segment_header) == 64, "a header is a line");
enum { HEADER_IN_TABLE = 0xffff };
/* Where in its page the header of this version stands. */
static inline uint32_t segment_header_line(uint64_t version)
{
    return (uint32_t)(version % 2) * 64;
}

/* What a class of writers must leave free for the classes after it. */
enum space_class { SPACE_PUT, SPACE_DELETE, SPACE_CLEANER, SPACE_META };

void segment_header_encode(const struct pmkv *kv, uint32_t segment, uint16_t column,
                           struct segment_header *out);
bool segment_header_valid(const struct pmkv *kv, const struct segment_header *h, uint32_t segment,
                          uint16_t column);

/* Writes the header of `segment` from memory to every column, durably, with a new version. Copies
 * that fault are queued for repair. 0, or -EIO when no copy took it or a drain failed. */
int segment_write_headers(struct pmkv *kv, uint32_t segment);

/* I10: says in the headers, durably, which rows are closed by now. Before a lane leaves the
 * segment, before the cleaner frees what it moved into it and before the manifest of a long value
 * whose pieces are there; else nothing would tell damage at the end of its last row from a torn
 * write. 0; -EIO in an outage. A header that cannot be stored anywhere is no error: nothing says it
 * then until the segment is sealed. */
int segment_note_closed(struct pmkv *kv, uint32_t segment);

/* Sets a segment's state from a valid header. */
void segment_adopt(struct pmkv *kv, const struct segment_header *h);
/* Reads the headers of `segment` and sets its state from the winner; copies that are not valid or
 * older than it are queued for repair. A segment without any valid header counts as free. */
void segment_read_headers(struct pmkv *kv, uint32_t segment);

/* Takes a free segment for `kind`: generation and headers are durable on return. `avoid` lists
 * arrays it must not be in (twins). Returns the segment; -ENOSPC when the class may not take one
 * now; -EIO. */
int64_t segment_take(struct pmkv *kv, enum segment_kind kind, enum space_class class,
                     const uint32_t *avoid, uint32_t avoid_count);

/* Keeps a few segments probed and prepared so that no put pays for it. */
void segment_prepare_ahead(struct pmkv *kv);
/* Takes the memory of entries nobody needs any more, for segments that are prepared. */
void segment_spare_entries(struct pmkv *kv, struct entries *e);

/* I7: ends the generation durably in every column; then the segment is free. Waits for pins (I13).
 */
int segment_end(struct pmkv *kv, uint32_t segment);

/* Marks a row retired, durably (I14 was checked by the caller), and asks for the segment's
 * cleaning. */
int segment_retire_row(struct pmkv *kv, uint32_t segment, uint32_t row);

/* After twins were given out: which segments lie beside them. */
void segments_note_twins(struct pmkv *kv);

/* Does the page stand in a row, or a twin slot, that is retired? */
bool place_retired(const struct pmkv *kv, const struct place *p);

/* Free segments a class may still take. */
int64_t segment_room(const struct pmkv *kv, enum space_class class);

/* I13: pins the segment against being freed; false when its generation is not `generation`. */
bool segment_pin(struct pmkv *kv, uint32_t segment, uint64_t generation);
void segment_unpin(struct pmkv *kv, uint32_t segment);

/* Table: written to both copies (one per fence) at a clean close, read at open. */
int table_write(struct pmkv *kv);
/* Fills `out` (a header per segment); entries that are not valid have generation and state 0.
 * Returns the number of valid ones. */
uint32_t table_read(struct pmkv *kv, struct segment_header *out);
/* The bytes of one table page, as table_write would store them now. */
void table_page_encode(const struct pmkv *kv, uint32_t copy, uint32_t page, uint8_t out[4096]);

/* I3: the next number; reserves a new block durably when the ceiling is near. 0 when that failed.
 */
uint64_t counter_next(struct pmkv *kv, uint32_t count);

#endif
