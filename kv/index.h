/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The hash index, in DRAM: key hash -> slots of 8 bytes. It knows no keys: a slot whose tag matches
 * is a candidate, and the caller compares the key on the medium.
 *
 * A bucket is one cache line: seven slots and a control word (overflow bucket, version). Buckets
 * are grown by linear hashing, one bucket a step, no stop-the-world; the tag holds hash
 * bits 16..35, which are those that growth consumes, so growth never reads the medium. Low hash
 * bits choose bucket and stripe, so a bucket, its overflow chain and the bucket it splits into
 * belong to one stripe.
 *
 * Readers take no lock: index_find_begin / index_find_next give candidates; when none was the key,
 * index_find_settled says whether the negative answer holds (no slot of the chain moved, no split
 * changed the bucket) or the search must start again. A reader that used a candidate calls
 * index_slot_unchanged before it trusts what it read, and starts again when it did change:
 *
 *     again:  index_find_begin(ix, hash, &f);
 *             while (index_find_next(&f, &ref))
 *                 read the record; is it the key? -> unchanged(ref) ? found : again
 *             index_find_settled(&f) ? not there : again
 *
 * A candidate may be given twice while its slot moves, and may be a slot of another chain while an
 * overflow bucket is used again: its position was given by a writer in any case. Only growth moves
 * slots, so starting again is rare; a reader that must end may search under the stripe lock, where
 * answers always hold.
 *
 * Writers hold the stripe lock of the hash (I4) for index_insert, index_replace and index_remove
 * and for searches whose outcome they act on. Lock order: stripes by number (or tried), then lanes.
 * While the stripe is locked no slot of it moves, whatever is inserted or removed: a slot_ref stays
 * good until its own slot is replaced or removed, or the stripe unlocked.
 *
 * Sized at 4.5 slots a bucket it takes 16 B of DRAM a slot, and 93 to 97 searches in 100 that find
 * end in the first cache line.
 */
#ifndef PMKV_KV_INDEX_H
#define PMKV_KV_INDEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* A slot's value: 0 is empty. position: 40 bits, older: 4 bits (I8, saturates at 15), tag: 20 bits.
 */
struct slot {
    uint64_t v;
};
enum { SLOT_POSITION_BITS = 40, SLOT_OLDER_BITS = 4, SLOT_TAG_BITS = 20, SLOT_OLDER_MAX = 15 };

static inline struct slot slot_make(uint64_t position, uint32_t older, uint64_t hash)
{
    if (older > SLOT_OLDER_MAX)
        older = SLOT_OLDER_MAX;
    return (struct slot){position | (uint64_t)older << 40 | (hash >> 16 & 0xfffff) << 44};
}
static inline uint64_t slot_position(struct slot s)
{
    return s.v & ((1ull << SLOT_POSITION_BITS) - 1);
}
static inline uint32_t slot_older(struct slot s)
{
    return (uint32_t)(s.v >> 40 & 15);
}
static inline uint32_t slot_tag(struct slot s)
{
    return (uint32_t)(s.v >> 44);
}
/* The same slot with another position and older count. */
static inline struct slot slot_with(struct slot s, uint64_t position, uint32_t older)
{
    if (older > SLOT_OLDER_MAX)
        older = SLOT_OLDER_MAX;
    return (struct slot){position | (uint64_t)older << 40 | (uint64_t)slot_tag(s) << 44};
}

struct index;
struct index_bucket;

/* Sized for `expected` slots at once, able to grow to `max_slots` (virtual memory is reserved for
 * that, some 18 B a slot, touched as it is used; with more slots it goes on, with longer chains).
 * Positions are never 0. 0 or -ENOMEM with a fact. */
int index_new(struct index **out, uint64_t expected, uint64_t max_slots);
/* Before the first insert, when nobody else has the index: as many slots are about to come. It only
 * saves growing. */
void index_expect(struct index *ix, uint64_t slots);
void index_free(struct index **ix);
/* How many low bits of a hash choose among that many slots' buckets, as index_expect would make
 * them: hashes that differ in one of these have different buckets. */
uint32_t index_level(const struct index *ix, uint64_t slots);

/* Filling an index that nobody else has yet. Needs no locks, so long as no two threads put hashes
 * of one bucket: the counts of what each put in are its own until index_fill_end. */
struct index_fill {
    struct index *ix;
    int32_t *slots, *keys; /* by stripe */
};
int index_fill_begin(struct index *ix, struct index_fill *fill); /* 0 or -ENOMEM */
/* A slot, which is of a user's key or not. 0 or -ENOMEM. */
int index_fill(struct index_fill *fill, uint64_t hash, struct slot slot, bool is_key);
/* One thread at a time. */
void index_fill_end(struct index_fill *fill);

uint64_t index_dram_bytes(const struct index *ix);
uint64_t index_slot_count(const struct index *ix);

/* A batch holds a stripe for each of its keys while it waits for memory: with 1024 stripes and
 * batches of 16 every fifth one met another writer's. */
enum { INDEX_STRIPE_BITS = 12, INDEX_STRIPES = 1 << INDEX_STRIPE_BITS };
static inline uint32_t index_stripe(uint64_t hash)
{
    return (uint32_t)(hash & (INDEX_STRIPES - 1));
}
void index_lock(struct index *ix, uint32_t stripe);
bool index_trylock(struct index *ix, uint32_t stripe);
void index_unlock(struct index *ix, uint32_t stripe);
/* A stripe may have a deferral, a slot that stands for another one until that is settled (defer.h);
 * the index keeps its number, never 0, and index_lock calls `settle` for a stripe that has one. */
typedef void (*index_settle_fn)(void *arg, uint32_t stripe, uint32_t number);
void index_on_deferral(struct index *ix, index_settle_fn settle, void *arg);
/* 0: none. With or without the lock. */
uint32_t index_deferral(const struct index *ix, uint32_t stripe);
/* Under the lock; 0: it has none any more. A release store. */
void index_defer(struct index *ix, uint32_t stripe, uint32_t number);
/* Count of user keys, kept per stripe under its lock; the sum is exact when no writer runs. */
void index_keys_add(struct index *ix, uint32_t stripe, int64_t delta);
uint64_t index_keys(const struct index *ix);
/* The highest sequence number that a record of the stripe was given since the index was made; under
 * its lock. */
uint64_t *index_last_number(struct index *ix, uint32_t stripe);

void index_prefetch(const struct index *ix, uint64_t hash);
/* Also the stripe, both to be stored to. */
void index_prefetch_insert(const struct index *ix, uint64_t hash);

/* One candidate: where the slot is and what it held when it was read (acquire). */
struct slot_ref {
    _Atomic uint64_t *at;
    struct slot slot;
};
/* A search under way; its fields belong to the index. */
struct index_find {
    const struct index *ix;
    uint64_t hash;
    struct index_bucket *first, *bucket;
    uint32_t version; /* of the first bucket's chain when the search began */
    uint32_t matches; /* bit i: slot i of the bucket had the tag and was not given yet */
};
void index_find_begin(const struct index *ix, uint64_t hash, struct index_find *f);
/* The next slot with the tag of the hash; false: no more. */
bool index_find_next(struct index_find *f, struct slot_ref *out);
/* After index_find_next returned false: does the negative answer hold? */
bool index_find_settled(const struct index_find *f);
static inline bool index_slot_unchanged(const struct slot_ref *ref)
{
    return atomic_load_explicit(ref->at, memory_order_acquire) == ref->slot.v;
}

/* The slot of the hash that names this position; under the stripe lock. */
static inline bool index_find_position(const struct index *ix, uint64_t hash, uint64_t position,
                                       struct slot_ref *out)
{
    struct index_find f;
    index_find_begin(ix, hash, &f);
    while (index_find_next(&f, out))
        if (slot_position(out->slot) == position)
            return true;
    return false;
}

/* Under the stripe lock of the hash. The ref comes from a search under this lock. index_insert may
 * fail with -ENOMEM, and then nothing changed. Publishing is a release store. */
int index_insert(struct index *ix, uint64_t hash, struct slot slot);
void index_replace(struct index *ix, const struct slot_ref *ref, struct slot slot);
/* As index_insert, of a slot that was in the index until another one stood for it: a search that is
 * under way since then does not settle. */
int index_put_back(struct index *ix, uint64_t hash, struct slot slot);
void index_remove(struct index *ix, const struct slot_ref *ref);

/* Call without any stripe lock, after inserts: splits a bucket or two when the load asks for it
 * (more when growth is behind, as after batches). Cheap when it does not; never waits for another
 * that grows, and hardly ever for a stripe. Failing for want of memory it only leaves chains
 * longer. */
void index_grow_step(struct index *ix);
/* Touches the memory that growth comes to next. For a thread nobody waits for: the kernel takes up
 * to 6 ms for a huge page, which it clears and may have to make room for. */
void index_touch_ahead(struct index *ix);

/* Iteration: each slot that is there during the whole scan is given exactly once (replaced or not:
 * then with one of its values). One that comes or goes meanwhile is given once or not at all. */
struct index_scan {
    struct index *ix;
    uint64_t next, buckets; /* of the snapshot */
    uint32_t level;
    struct slot *slots; /* of the last step */
    uint32_t count, capacity;
};
int index_scan_begin(struct index *ix, struct index_scan *scan);
/* Fills scan->slots with those of the next snapshot bucket (taking its stripe lock meanwhile: call
 * it without one). 1: filled (count may be 0), 0: done; with a fact: -ENOMEM, -EIO (a deferral of
 * the stripe can't be settled): may be called again. */
int index_scan_step(struct index_scan *scan);
void index_scan_end(struct index_scan *scan);

#endif
