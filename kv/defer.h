/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Puts that compare later. To replace a key's slot a put must know that the slot is the key's, not
 * another's with the same 36 bits of hash; and for that it would wait for the old record to come
 * from memory, which takes longer than all else it does. So where one slot alone has the tag, the
 * put takes it for its key's, names the new record there, and leaves a note of what it displaced: a
 * deferral. Some puts later the notes are settled, all that the thread has: the keys are compared,
 * the old records counted out; or, when one was another's, its slot is put back.
 *
 * Why nobody sees the difference:
 *
 *   D1  A stripe has one deferral at most, and index_lock settles it: whoever holds a stripe's lock
 *       finds the index as if each put had compared at once. So writers, the cleaner, scans and
 *       discoveries know nothing of deferrals.
 *   D2  Who searches without the lock and meets its key meets the right record: the new one is the
 *       key's for sure. Who misses a key that was displaced has met the tag at least, for the slot
 *       that displaced it has it. So a search that met the tag and not the key looks for a deferral
 *       of its stripe before it says that the key is not there: then it settles it and searches
 *       again. One that was settled meanwhile shows as well: putting back bumps the chain's
 *       version, before the note goes.
 *   D3  The displaced record stays readable until it is settled: a segment ends only when each of
 *       its records was looked up, under the lock or, without it, as D2 says; and not while a
 *       deferral names it.
 *   D4  Nothing of this is on the medium. The put is as durable when it returns as any (P1), and
 *       recovery compares all keys in full.
 *
 * When the old record can't be read at all (I14), or no memory is left, the deferral stays, and who
 * asks for a key with that hash is told so (FIND_IO) until it can be.
 */
#ifndef PMKV_KV_DEFER_H
#define PMKV_KV_DEFER_H

#include "write.h"

/* A thread settles its deferrals when it has so many: then their records come side by side. To ask
 * for each when it is displaced gains little, for a prefetch holds up what is behind it until the
 * page is found, and that is the longer part of the wait (measured: 8 to 32 are alike). Longer keys
 * are compared at once, those of long values, for what they replace is freed before they return,
 * and all of a store with an ordered index, which has to know whether the key is new (order.h, O3).
 */
enum { DEFERRALS_EACH = 16, DEFER_KEY_MAX = 96 };

/* FREE -> OPEN: its owner, with the stripe locked. OPEN -> FREE or DROP: whoever holds the stripe.
 * DROP -> FREE: who takes the manifest, of a long value whose pieces are dead now; no lock. */
enum deferral_state { DEFERRAL_FREE, DEFERRAL_OPEN, DEFERRAL_DROP, DEFERRAL_TAKEN };

struct deferral {
    _Atomic uint32_t state;
    uint32_t key_bytes;
    _Atomic uint64_t hash;      /* of the key */
    _Atomic uint64_t displaced; /* the slot as it was */
    struct log_pos now;         /* what its slot names since */
    int64_t units;              /* of the new record */
    struct manifest drop;
    uint8_t key[DEFER_KEY_MAX];
};

int defer_new(struct pmkv *kv);
void defer_free(struct pmkv *kv);

/* No lock held: settles the calling thread's deferrals when it has no other left. */
void defer_make_room(struct pmkv *kv);
/* Can the put of this key be deferred, as far as it is known before it is stored? */
bool defer_ready(struct pmkv *kv, const struct write_op *op);
/* Stripe lock held: which slots may be the key's. */
void defer_look(struct pmkv *kv, struct write_op *op);
/* Stripe lock held, record durable at op->pos: publishes it in the one slot that may be its key's.
 * False: that must be compared first, and nothing was done. */
bool defer_publish(struct pmkv *kv, struct write_op *op);

/* No lock held. All that are open when it is called; false: one can't be. */
bool defer_settle_all(struct pmkv *kv);
/* No lock held: that of the hash's stripe. False: it can't be, and may hide the key. */
bool defer_settle(struct pmkv *kv, uint64_t hash);
/* Stripe lock held, or the answer is of no use: one that could not be settled may hide the key. */
bool defer_hides(const struct pmkv *kv, uint64_t hash);
/* Does the stripe of the hash have one just now? To be asked before index_find_settled. */
static inline bool defer_is_open(const struct pmkv *kv, uint64_t hash)
{
    return index_deferral(kv->index, index_stripe(hash)) != 0;
}
/* Is a record of the segment displaced and not settled? */
bool defer_names(const struct pmkv *kv, uint32_t segment);

#endif
