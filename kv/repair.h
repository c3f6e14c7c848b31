/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Repair of pages, in place, while the store serves. Every kind of page has one source of truth:
 * rows their redundancy or the lane's DRAM image, headers and table the segments in memory,
 * superblock copies the superblock in memory; pages without content are written with zeros.
 *
 * Steps: pin the segment (I13) - rebuild all of the page in DRAM - check every group - recovery
 * write - verify - done. If the write fails and the medium as a whole is not in doubt (I14), the
 * row is retired.
 */
#ifndef PMKV_KV_REPAIR_H
#define PMKV_KV_REPAIR_H

#include "store.h"

enum repair_outcome {
    REPAIR_DONE,    /* the page is good */
    REPAIR_RETIRED, /* it cannot be cleared: its row is out of use */
    REPAIR_LOST,    /* parts of it could not be rebuilt; what could is in place */
    REPAIR_LATER,   /* the medium is in doubt, or the place is changing: try again */
};

/* Writes `page` to pool offset `off`; retires segment/row when that cannot be made to hold. For
 * callers who hold the image (lane lock held). */
enum repair_outcome repair_page_now(struct pmkv *kv, uint64_t off, const uint8_t *page,
                                    uint32_t segment, uint32_t row);

/* Repairs whatever stands at the page of pool offset `off`. No locks held. */
enum repair_outcome repair_place(struct pmkv *kv, uint64_t off);

/* Is this a retired row that its lane passed over? Nothing of this generation is in it then. */
bool row_was_skipped(struct pmkv *kv, struct row_ref ref, const struct row_image *image);

/* Works through the pending queue once; returns how many are left. */
uint32_t repair_pending(struct pmkv *kv);

/* Brings copies that a crash left behind up to date; at open. */
void repair_behind(struct pmkv *kv);

/* Takes asynchronous machine checks into the queue. */
void repair_collect(struct pmkv *kv);
/* Takes the bad ranges that the kernel lists into the queue; it is never trusted to be complete. */
void repair_collect_listed(struct pmkv *kv);

#endif
