/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Admission (P10): a writer asks before it takes any lock, because the cleaner, which makes room,
 * takes stripe locks to publish what it moved. A reserve of segments is kept for deletes, for the
 * cleaner and for the store's own records, so that a full pool still takes deletes.
 *
 * The cleaner keeps a few segments more than the reserve free. While it has not got there, puts are
 * slowed down, the more the less room is left, so that they come as fast as it makes room: many
 * short pauses, in the place of all writers waiting for the next segment.
 */
#ifndef PMKV_KV_SPACE_H
#define PMKV_KV_SPACE_H

#include "segment.h"
#include "store.h"

/* What all records that count take, in units of 8 B, and the sum of it: exact when nobody writes.
 */
void space_live_add(struct pmkv *kv, int64_t units);
int64_t space_live_units(const struct pmkv *kv);

/* PMKV_E_IO, and why, when the medium takes no writes. */
enum pmkv_status space_takes_writes(struct pmkv *kv);
/* May a writer of `class` store `bytes` more? Waits for the cleaner. PMKV_OK, E_FULL, E_IO. */
enum pmkv_status space_admit(struct pmkv *kv, uint64_t bytes, enum space_class class);

/* Segments to keep free: below, the cleaner runs. */
int64_t space_target(const struct pmkv *kv);
bool space_is_low(const struct pmkv *kv);

/* Sets reserve and capacity from the layout and the segments in use for twins. */
void space_init(struct pmkv *kv);

#endif
