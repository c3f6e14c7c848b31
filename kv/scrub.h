/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The scrubber walks everything: superblock copies, table, headers, rows closed and open, twins,
 * pages without content. It reads through safe copies and trusts no list to be complete. What it
 * finds goes the way of all damage (damage.h); after each step the queue is worked off. Its cursor
 * is kept in the pool.
 */
#ifndef PMKV_KV_SCRUB_H
#define PMKV_KV_SCRUB_H

#include "store.h"

/* One step: the parts outside of arrays (step 0) or one segment. Returns bytes looked at. */
struct scrub_walk {
    struct pmkv *kv;
    struct row_image image;
    uint32_t next; /* 0: outside of arrays; then segment next - 1 */
};
int scrub_walk_begin(struct pmkv *kv, struct scrub_walk *w);
bool scrub_walk_done(const struct scrub_walk *w);
uint64_t scrub_walk_step(struct scrub_walk *w);
void scrub_walk_end(struct scrub_walk *w);

/* Runs the wanted scrub to its end or until it is stopped; called by the keeper, or inline. */
void scrub_run(struct pmkv *kv);

void *keeper_main(void *kv);
/* A segment was sealed or taken: the keeper has something to do now. */
void keeper_wake(struct pmkv *kv);

#endif
