/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The ordered index: the keys themselves in a B+ tree in DRAM, of a store that was opened
 * `ordered`. It says which keys there are and what comes after what, and nothing else: who goes
 * through them reads each as a get does, so where a record is, what it holds and whether it is good
 * has one source, the index. Nothing that moves records (cleaning, repair) knows of it.
 *
 *   O1  A writer enters a new key, and takes out one that it deletes, with the key's stripe locked,
 *       after its record is durable and in the index, before it unlocks. So of two writers of a key
 *       the later one has the last word here too, and what a call that returned wrote is here.
 *   O2  It may have a key that is being deleted just now, or one whose record is lost, and may lack
 *       one that is being put; whoever shows keys asks the index first.
 *   O3  It never needs to be compared with the index: for that, puts of such a store compare the
 *       old key before they return (defer.h).
 *
 * Locks: `shape` is shared by all who enter, take out or read keys, each with the lock of one leaf
 * at a time; who splits a node or takes one away has it alone, for one path down the tree. Leaves
 * that became empty go; others are not merged (free-at-empty: T. Johnson, D. Shasha, "B-trees with
 * inserts and deletes: why free-at-empty is better than merge-at-half", 1993). No memory is read
 * without a lock, so none needs to be kept for late readers.
 */
#ifndef PMKV_KV_ORDER_H
#define PMKV_KV_ORDER_H

#include "key_block.h"

struct order;
struct pmkv;

/* 0 or -ENOMEM. */
int order_new(struct order **out);
void order_free(struct order **order);
uint64_t order_dram_bytes(const struct order *order);

/* Enters the key, if it is not there. False: there was no memory for it, and the set is not whole
 * any more (order_whole). */
bool order_insert(struct order *order, struct key_view key);
/* A key that comes after all that are there, while nobody else has the set. False: no memory. */
bool order_append(struct order *order, struct key_view key);
void order_remove(struct order *order, struct key_view key);
bool order_whole(const struct order *order);

/* Several keys, copied out. */
enum { RUN_KEYS = 64 };
struct key_run {
    uint32_t count, used, capacity;
    uint8_t *bytes;
    struct {
        uint32_t at, length;
    } keys[RUN_KEYS];
};
static inline struct key_view run_key(const struct key_run *run, uint32_t i)
{
    return (struct key_view){run->bytes + run->keys[i].at, run->keys[i].length};
}

/* Up to `most` keys: upwards those from `key` on (`itself`: with it), downwards those before it;
 * a key of NULL bytes is before all upwards, and after all downwards. 0 or -ENOMEM. */
struct order_from {
    struct key_view key;
    bool itself, downwards;
};
int order_read(struct order *order, const struct order_from *from, uint32_t most,
               struct key_run *run);

/* When the store is opened and nobody else has it: all its keys. 0 or a negative error. */
int order_fill(struct pmkv *kv);

#endif
