/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The superblock: three copies of one page, no two in one loss unit. A copy is valid if and only if
 *   1. its magic is SUPERBLOCK_MAGIC,
 *   2. its check is the XXH3-64 of its first 4032 bytes (the check field zero), bound to its offset,
 *   3. reserved bytes are zero,
 *   4. its format version is known,
 *   5. layout_compute takes its sizes and puts a copy where this one was found.
 * I9: one copy is written per fence, oldest first; the highest valid version wins.
 */
#ifndef PMKV_RECOVERY_SUPERBLOCK_H
#define PMKV_RECOVERY_SUPERBLOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"

struct media;

#define SUPERBLOCK_MAGIC 0x31564b4d50424c50ull /* "PLBPMKV1" in memory order, near enough to see */
enum { FORMAT_VERSION = 1, SUPERBLOCK_MAX_TAILS = 128 };

/* Where a lane's open row ended at a clean close; valid while `clean`. */
struct lane_tail {
    uint32_t segment;
    uint16_t row;
    uint16_t kind;          /* the store's: user, cleaner, meta */
    uint32_t lines_used;    /* payload lines of the row that hold commits */
    uint32_t reserved;
    uint64_t generation;    /* of the segment */
};

/* The bytes on the medium; little endian. */
struct superblock {
    uint64_t magic;
    uint64_t check;
    uint32_t format_version;
    uint32_t copy;            /* which copy this is; set by superblock_write */
    uint64_t version;         /* of the superblock: counts every change */
    uint8_t uuid[16];
    uint64_t secret;          /* random; every check of the pool is bound to it */
    uint64_t pool_bytes;
    uint64_t loss_unit;
    uint32_t data_columns, parity_columns;
    uint32_t row_pages, segment_rows;
    uint64_t created_time;    /* seconds since 1970 */
    uint64_t counter_ceiling; /* I3: numbers below it may have been given out */
    uint64_t table_version;   /* of the segment table written at the last clean close; 0: none */
    uint64_t unsafe_shutdowns; /* of the device at the last clean close */
    uint32_t clean;           /* 1: closed cleanly; tails and table are valid */
    uint32_t tail_count;
    uint64_t media_errors, pages_rebuilt, pages_repaired, pages_retired, records_lost; /* lifetime */
    struct lane_tail tails[SUPERBLOCK_MAX_TAILS];
    uint8_t reserved[4096 - 208 - 24 * SUPERBLOCK_MAX_TAILS];
};

/* Result of looking for a superblock. */
enum superblock_found {
    SUPERBLOCK_FOUND = 0,
    SUPERBLOCK_FOREIGN,   /* no copy has the magic */
    SUPERBLOCK_NEWER,     /* a valid-looking copy of a newer format version */
    SUPERBLOCK_TRUNCATED, /* a valid copy says the pool is larger than the file */
    SUPERBLOCK_DAMAGED,   /* magic was seen, but no copy is valid */
};

/* Looks for the copies by the fixed rule: offset 0; then, for each stride of 64 KiB, 2 MiB and 1 GiB,
 * offset stride and size - stride. Fills *out with the winner, *layout from it, and bit i of *good
 * for every copy that is valid and of the winning version. Writes nothing. The fact says what was
 * found where. */
enum superblock_found superblock_find(struct media *m, struct superblock *out,
                                      struct layout *layout, uint32_t *good);

/* Writes `sb` (version already raised by the caller) to each copy, one per fence, oldest first. A copy
 * that faults is skipped and counted; 0 when at least one copy took it, else -EIO. */
int superblock_write(struct media *m, const struct layout *l, struct superblock *sb);

/* One copy, as superblock_write would store it: for repair and for verifying. */
void superblock_encode(const struct superblock *sb, uint32_t copy, uint64_t off, uint8_t page[4096]);
bool superblock_valid(const uint8_t page[4096], uint64_t off, const struct layout *l);

#endif
