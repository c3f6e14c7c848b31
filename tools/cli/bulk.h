/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Many puts, fast: small records are gathered and written as batches, large ones go alone. When a
 * batch is refused its records are put one by one, so that the message names the one that is to
 * blame. The order of puts to one key is kept.
 */
#ifndef PMKV_CLI_BULK_H
#define PMKV_CLI_BULK_H

#include "transfer.h"

struct bulk_item;

struct bulk {
    struct pmkv *kv;
    struct tally *tally;
    struct pmkv_batch *batch;
    struct bulk_item *items;
    size_t item_count, item_capacity;
    size_t held_bytes, limit_bytes; /* with headers */
};

/* Where a record comes from, for messages: a line of the input, or 0. */
typedef uint64_t bulk_line;

/* False when the work cannot go on; said and tallied then. */
bool bulk_start(struct bulk *bulk, struct pmkv *kv, struct tally *tally);
bool bulk_put(struct bulk *bulk, const void *key, size_t key_bytes, const void *value,
              size_t value_bytes, bulk_line line);
/* Writes what is still held, if `go_on`, and frees everything. */
void bulk_end(struct bulk *bulk, bool go_on);

#endif
