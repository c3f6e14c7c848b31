/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Writers that share a commit, where a drain costs more than a switch of threads (ordinary files).
 *
 * A writer that has locked its key's stripe enters the open round and waits. One of those who wait
 * closes the round and runs it for all of them: one commit of one lane, whose records stand beside
 * each other, under one drain. Who comes meanwhile enters the next round, so the number of records
 * a drain pays for grows with the number of writers.
 *
 * The writer's part (conditions, finding the old record, publishing) stays its own.
 *
 *   J1  At most one round runs; the next one takes members meanwhile.
 *   J2  A member's stripe stays locked until it has published its record itself, so no two members
 *       have the same key, and a round never waits for a stripe.
 *   J3  A round of several is stored as a batch: recovery must take what it finds of it for one
 *       commit, for nothing orders its records among each other. A round of one is a plain record.
 *   J4  Of a round that fails no record counts: each member writes again by itself, and is told
 *       what came of that.
 *   J5  A round is not closed while writers that were in the last one may still come back, but at
 *       most for a quarter of the time that a round takes.
 */
#ifndef PMKV_KV_JOIN_H
#define PMKV_KV_JOIN_H

#include "write.h"

struct join;

/* Set-up, where the medium wants it: else kv->join stays NULL. 0 or -ENOMEM. */
int join_new(struct pmkv *kv);
void join_free(struct join **j);

/* With the stripe of `op` locked: commits it together with others. True: its record is durable at
 * op->pos. False: it was not stored, or does not count; the caller writes it by itself. */
bool join_commit(struct pmkv *kv, struct write_op *op);

#endif
