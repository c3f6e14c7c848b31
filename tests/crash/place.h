/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Where things are in an open store: for tests that hit exactly one of them. */
#ifndef PMKV_TESTS_CRASH_PLACE_H
#define PMKV_TESTS_CRASH_PLACE_H

#include "crash_run.h"
#include "kv/lane.h"

/* The record of a key of the model; false when there is none. */
bool place_of_key(struct pmkv *kv, uint32_t key, struct row_place *out);
/* Pool offset of a payload byte of a row; copy 0 the row, 1.. the twins of an open one. */
uint64_t place_offset(struct pmkv *kv, struct row_place place, uint32_t copy);
/* Bytes from the record's start to its value. */
uint32_t place_value_at(uint32_t key);
/* The row the user lane has open. */
struct row_buf *place_open_row(struct pmkv *kv);
/* Flips a bit of the byte. */
void place_flip(struct media *m, uint64_t off);
/* What recovery leaves when power goes while it completes a row: zeros where a record was lost,
 * under a check that holds, and the parity of before. */
void place_zero_with_check(struct crash_run *r, struct media *image, struct row_ref ref,
                           uint32_t page, uint32_t group);
/* Crashes, with a bit flipped at the place in every copy; or in the record of a key, in its value
 * or its header. */
void place_crash_flipped(struct crash_run *r, struct row_place place);
void place_crash_changed(struct crash_run *r, uint32_t key, bool in_header);
/* Asks for the cleaning of a segment and cleans. */
void place_clean(struct pmkv *kv, uint32_t segment);
uint32_t place_segment_of(struct pmkv *kv, uint32_t key);
/* What pmkv_get says of a key of the model. */
enum pmkv_status place_get(struct pmkv *kv, uint32_t key);

#endif
