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
/* Stores the superblock when the lifetime counts changed, at most once a second: for pmkv_peek, and
 * for the next process after a crash. */
void super_store_counts(struct pmkv *kv);
/* What was found where the superblock should be, as a status. */
enum pmkv_status super_judge(enum superblock_found found);

#endif
