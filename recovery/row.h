/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A row in private memory: loaded through safe copies, every group judged, erasures decoded group
 * by group. A row decodes while each group position has at most M erasures, so scattered damage in
 * many columns is rebuilt. I16: parity is never computed from unverified data.
 */
#ifndef PMKV_RECOVERY_ROW_H
#define PMKV_RECOVERY_ROW_H

#include <stdbool.h>
#include <stdint.h>

#include "layout.h"
#include "parity.h"

struct media;

/* A pool's medium with what is needed to read rows from it. Constant after open. */
struct volume {
    struct media *media;
    struct layout layout;
    struct parity_code code;
    uint64_t secret; /* of the pool: every check is bound to it */
};

struct row_ref {
    uint32_t segment, row;
    uint64_t generation;
};

struct row_page {
    uint16_t good;    /* groups whose check held (present) */
    uint16_t absent;  /* groups that carry the absent check */
    uint16_t rebuilt; /* groups row_decode filled in; not in good or absent */
    bool poisoned;    /* a load of the page met poison */
};

/* Page p of column c is pages[(c * chunk_pages + p) * 4096]; absent groups read as zeros. Groups
 * that failed keep the bytes that were read (zeros where poison stopped the load) until they are
 * rebuilt. */
struct row_image {
    uint8_t *pages;        /* 64 B aligned */
    struct row_page *info; /* columns * chunk_pages */
    uint32_t page_count;
    uint32_t bad_pages;   /* pages with a group that failed, or poisoned */
    uint32_t lost_groups; /* after row_decode: groups of data columns that could not be rebuilt */
};

int row_image_init(struct row_image *image, const struct layout *layout); /* 0 or -ENOMEM */
void row_image_free(struct row_image *image);

/* Loads and judges every page of the row. Never fails: what cannot be read is marked. */
void row_load(struct volume *v, struct row_ref ref, struct row_image *image);

/* Is every group of every page present or absent? What row_load would find, without keeping it:
 * twice as fast. */
bool row_holds(struct volume *v, struct row_ref ref);

/* One page of each chunk, number `page`, of all columns, for who needs a record and not its row.
 * The columns in `bad` (a bit each) are known to be poisoned and are not touched: a signal costs
 * more than all the rest. bad_pages is not kept. */
void row_load_across(struct volume *v, struct row_ref ref, struct row_image *image, uint32_t page,
                     uint32_t bad);

/*
 * Rebuilds what failed wherever a group position has at most M failures; counts lost_groups.
 * Returns the number of groups rebuilt, in data and parity columns.
 *
 * Survivors are verified, but parity may have been computed wrongly (a bit flipped in the buffer it
 * was added up in) and then carries a valid check of wrong bytes. So a decoded data group is
 * accepted if and only if one of these holds:
 *   1. no group of its page passed: the check line says nothing (a poisoned, stale or foreign
 * page);
 *   2. its stored check is that of the decoded bytes (zeros: or the absent one), but for 2 bits, or
 * 0;
 *   3. the bytes that were read equal the decoded ones: it was the check that was damaged.
 * With one failure and two parities, Q decodes where P's answer is refused, and where rule 1 leaves
 * no evidence both must agree. Parity is rebuilt only from data that is all good.
 */
uint32_t row_decode(struct volume *v, struct row_ref ref, struct row_image *image);

/* The same for the groups of what row_load_across loaded; lost_groups is not counted. */
uint32_t row_decode_across(struct volume *v, struct row_ref ref, struct row_image *image,
                           uint32_t page);

/* May group `g` of data page p be read (good, absent or rebuilt)? */
bool row_group_ok(const struct row_image *image, uint32_t page_index, uint32_t group);

/* Sets line 63 of every page of the image from its groups: rebuilt ones get real checks, absent
 * ones absent, groups that stay lost a check of 0 (never valid). */
void row_seal(struct volume *v, struct row_ref ref, struct row_image *image);

/* Computes parity pages from data pages, all of which the caller vouches for; `present` bit g of
 * present[p] for data page p says which groups hold data (the others are cleared in the image).
 * A parity group is absent where all its data is. Sets info and seals every page. */
void row_encode(struct volume *v, struct row_ref ref, struct row_image *image,
                const uint16_t *present);

#endif
