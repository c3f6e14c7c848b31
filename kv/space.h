/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Admission (P10): a writer asks before it takes any lock, because the cleaner, which makes room,
 * takes stripe locks to publish what it moved. A reserve of segments is kept for deletes, for the
 * cleaner and for the store's own records, so that a full pool still takes deletes.
 */
#ifndef PMKV_KV_SPACE_H
#define PMKV_KV_SPACE_H

#include "segment.h"
#include "store.h"

/* May a writer of `class` store `bytes` more? Waits for the cleaner. PMKV_OK, E_FULL, E_IO. */
enum pmkv_status space_admit(struct pmkv *kv, uint64_t bytes, enum space_class class);

/* Sets reserve and capacity from the layout and the segments in use for twins. */
void space_init(struct pmkv *kv);

#endif
