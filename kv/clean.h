/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The cleaner: moves what still counts out of a segment, then frees it. Survivors gather in
 * segments of their own (the cleaner's lane), stored as whole rows.
 *
 * A segment, step by step:
 *   1. read      each row, verified and decoded; damage is never copied forward (I6, I16)
 *   2. copy      records whose slot points here, into the cleaner's row; sequence and value hash
 *                kept, marked alone (no batch)
 *   3. close     that row, with parity, under one fence: the copies are redundant
 *   4. publish   each slot that still holds the old position, under its stripe lock (I6); a copy
 *                that came too late is one more older version of its key (I8)
 *   5. end       the source's generation, durably (I7)
 *   6. count     one older version less for each dead put that went, by its full key (I8): by the
 *                cleaner at the end of its round, or before by writers that wait for it
 * A crash before 5 leaves both copies with one sequence number: either serves.
 */
#ifndef PMKV_KV_CLEAN_H
#define PMKV_KV_CLEAN_H

#include "store.h"

/* Cleans until enough is free or nothing more is to be gained. Returns segments freed. One at a
 * time. */
uint32_t clean_round(struct pmkv *kv);

/* Does a little of what the cleaner has left for others, some microseconds of it. false: there is
 * nothing. No lock may be held. */
bool clean_help(struct pmkv *kv);

/* Should the cleaner run now? */
bool clean_needed(struct pmkv *kv);

void *cleaner_main(void *kv);

#endif
