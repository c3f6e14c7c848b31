/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Workloads for the crash driver: each drives one part of the store through all of its steps. */
#ifndef PMKV_TESTS_CRASH_SCRIPT_H
#define PMKV_TESTS_CRASH_SCRIPT_H

#include "crash_run.h"

typedef void (*crash_script)(struct crash_run *r);

void script_small(struct crash_run *r);       /* puts, overwrites, deletes within a row or two */
void script_batches(struct crash_run *r);     /* in a row, and over several */
void script_long_values(struct crash_run *r); /* extents and manifests */
void script_conditional(struct crash_run *r); /* puts and deletes on a version, and refused ones */
void script_rows(struct crash_run *r); /* rows and a segment fill up and are closed and sealed */
void script_cleaning(struct crash_run *r); /* overwriting until the cleaner frees segments */
void script_reopen(struct crash_run *r);   /* clean closes and opens, with an open row between */
void script_repair(struct crash_run *r);   /* poison in every kind of page, read and repaired */

/* Runs a script from an empty pool under the driver. For a longer search PMKV_CRASH_SEED is another
 * seed, PMKV_CRASH_MORE more images at each instant; PMKV_CRASH_EVERY=n looks at one of n of its
 * instants. */
struct crash_plan {
    crash_script script;
    uint64_t seed;
    unsigned every, per_instant, again_one_in, thorough_one_in;
    enum crash_fault fault;
};
void crash_script_run(enum pmkv_geometry geometry, const struct crash_plan *plan);

/* Writes until the user lane has sealed one more segment: `keys` of the model, values of a few KiB.
 */
void script_fill_segment(struct crash_run *r, uint32_t first_key, uint32_t keys);

#endif
