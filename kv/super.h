/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The superblock of an open store, and the counter whose ceiling it reserves (I3). */
#ifndef PMKV_KV_SUPER_H
#define PMKV_KV_SUPER_H

#include "store.h"

/* Numbers a reservation block holds: 2^32, so that an open costs one block and no put waits. */
#define COUNTER_BLOCK (1ull << 32)

/* Raises the version, brings the lifetime counts up to date and writes every copy. super_lock held
 * by nobody. 0 or -EIO. */
int super_store(struct pmkv *kv);

#endif
