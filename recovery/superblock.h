/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The superblock: three copies of one page, no two in one loss unit. A copy is valid if and only if
 *   1. its magic is SUPERBLOCK_MAGIC,
 *   2. its check is the XXH3-64 of all its 4096 bytes with the check field taken as zero, bound to
 * its pool offset,
 *   3. its format version is FORMAT_VERSION (in every version the first 48 bytes mean the same),
 *   4. reserved bytes and unused tails are zero, `clean` is 0 or 1, tails stay inside the pool,
 *   5. layout_compute takes its sizes and puts copy number `copy` where this one was found.
 * I9: one copy is written per fence, oldest first; the highest valid version wins.
 */
#ifndef PMKV_RECOVERY_SUPERBLOCK_H
#define PMKV_RECOVERY_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

struct media;

#define SUPERBLOCK_MAGIC 0x4c4f4f50564b4d50ull /* "PMKVPOOL" in the file */
enum { FORMAT_VERSION = 6, SUPERBLOCK_MAX_TAILS = 128 };

/* Where a lane's open row ended at a clean close; used while `clean`. */
struct lane_tail {
    uint32_t segment;    /* < segments */
    uint16_t row;        /* < segment_rows */
    uint16_t kind;       /* the store's: user, cleaner, meta */
    uint32_t lines_used; /* payload lines of the row that hold commits; <= row_pages * 63 */
    uint32_t reserved;   /* 0 */
    uint64_t generation; /* of the segment */
};

/* The bytes on the medium; little endian. */
struct superblock {
    uint64_t magic;
    uint64_t check;
    uint32_t format_version;
    uint32_t copy;    /* which copy this is; set by superblock_write */
    uint64_t version; /* of the superblock: counts every change */
    uint8_t uuid[16];
    uint64_t secret; /* random; every check of the pool is bound to it */
    uint64_t pool_bytes;
    uint64_t loss_unit;
    uint32_t data_columns, parity_columns;
    uint32_t row_pages, segment_rows;
    uint64_t created_time;     /* seconds since 1970 */
    uint64_t counter_ceiling;  /* I3: numbers below it may have been given out */
    uint64_t table_version;    /* of the segment table written at the last clean close; 0: none */
    uint64_t unsafe_shutdowns; /* of the device at the last clean close */
    uint32_t clean;            /* 1: closed cleanly; tails and table are valid */
    uint32_t tail_count;
    uint64_t media_errors, pages_rebuilt, pages_repaired, pages_retired,
        records_lost; /* lifetime */
    struct lane_tail tails[SUPERBLOCK_MAX_TAILS];
    uint8_t reserved[4096 - 168 - 24 * SUPERBLOCK_MAX_TAILS]; /* 0 */
};
_Static_assert(sizeof(struct lane_tail) == 24, "no padding");
_Static_assert(sizeof(struct superblock) == 4096, "one page, no padding");

/* Result of looking for a superblock. */
enum superblock_found {
    SUPERBLOCK_FOUND = 0,
    SUPERBLOCK_FOREIGN,   /* no copy has the magic */
    SUPERBLOCK_NEWER,     /* a valid-looking copy of another format version */
    SUPERBLOCK_TRUNCATED, /* a valid copy says the pool is larger than the file */
    SUPERBLOCK_DAMAGED,   /* magic was seen, but no copy is valid */
};

/*
 * Looks for the copies by the fixed rule: offset 0; then, for every power of two from 64 KiB to 1
 * GiB as the stride, offset stride and size - stride (of the medium, down to whole pages); then
 * where the best copy's own layout puts them. Fills *out with the winner, *layout from it, and bit
 * i of *good for every copy that is valid and equal to the winner; only when FOUND. Writes nothing.
 * The fact says what was found where.
 *
 * A device may still carry copies of a pool it held before: the pool of a valid copy at offset 0
 * counts, else the one created last; copies with another UUID are ignored.
 */
enum superblock_found superblock_find(struct media *m, struct superblock *out,
                                      struct layout *layout, uint32_t *good);

/*
 * Writes `sb` (version already raised by the caller) to each copy, one per fence, oldest first. A
 * copy that faults is skipped and counted (once each in sb->media_errors, after the last write); 0
 * when at least one copy took it, else -EIO. -EIO also when a drain fails: the outcome is unknown
 * then, and the copies not yet reached stay as they were. -EINVAL, nothing written, when sb breaks
 * a rule.
 */
int superblock_write(struct media *m, const struct layout *l, struct superblock *sb);

/* One copy, as superblock_write would store it: for repair and for verifying. Reserved bytes and
 * unused tails become zero. */
void superblock_encode(const struct superblock *sb, uint32_t copy, uint64_t off,
                       uint8_t page[4096]);
/* Is the private copy of the page at `off` valid, and of a pool with layout `l` (NULL: any)? The
 * fact says why not. */
bool superblock_valid(const uint8_t page[4096], uint64_t off, const struct layout *l);

#endif
