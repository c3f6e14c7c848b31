/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Reading records. The path of a good read is: find the slot - copy header and key - check - copy
 * the value - check. No lock is taken and nothing is returned unchecked.
 *
 * When a copy comes short or a check fails: the slot is read again; if it changed the search starts
 * again (I13), if not the place is read once more, then rebuilt: from the lane's image for an open
 * row, by decoding for a closed one. The bad page is handed to repair.
 */
#ifndef PMKV_KV_READ_H
#define PMKV_KV_READ_H

#include "../recovery/media.h"
#include "store.h"

/* A key's slot and the header of its record. */
struct found {
    struct slot_ref ref;
    struct log_pos pos;
    uint64_t generation;
    uint64_t off; /* of the record in the pool, when it was found by the quick search (quick.h) */
    struct record_header h;
    bool poisoned;    /* the quick search met poison, and has said so */
    bool locked;      /* found under the stripe's lock: what is lost is not entered then */
    bool lost;        /* the record is lost; h holds what is known (seq, lengths) or zeros */
    uint8_t *rebuilt; /* the whole record when it had to be rebuilt; free it */
};

enum find_result { FIND_NONE, FIND_HIT, FIND_LOST, FIND_IO, FIND_NOMEM };

/* Finds the current record of `key`. Call without a lock to read, or with the stripe's lock to
 * write. `locked` says which: with it no lost record is discovered (that needs other stripes), it
 * is queued. */
enum find_result find_key(struct pmkv *kv, const void *key, uint32_t key_bytes, uint64_t khash,
                          bool locked, struct found *out);

/* The same, after the quick search. */
enum find_result find_key_slowly(struct pmkv *kv, const void *key, uint32_t key_bytes,
                                 uint64_t khash, bool locked, struct found *out);

/* With the stripe's lock: is the record that a slot names, which need not be in the index, the
 * key's? FIND_NONE: it is another's. */
enum find_result find_at(struct pmkv *kv, const void *key, uint32_t key_bytes, uint64_t khash,
                         struct slot_ref ref, struct found *out);

/* As find_key for an extent of a long value. */
enum find_result find_extent(struct pmkv *kv, const struct extent_key *key, bool locked,
                             struct found *out);

/* Copies the found record's value to `dst` (f->h.value_bytes). FIND_NONE: the slot changed
 * meanwhile, search again. */
enum find_result read_value(struct pmkv *kv, struct found *f, void *dst);

/* Reads and checks a whole record at a place, from the medium or rebuilt: FIND_HIT with a buffer of
 * header, key and value to free; FIND_NONE: not this generation any more, or no record there. */
enum find_result read_record(struct pmkv *kv, struct log_pos pos, uint64_t generation,
                             uint8_t **record);

/* Copies payload of a row from the medium. 0 or -EFAULT (the bad page was reported). */
int payload_load(struct pmkv *kv, struct row_place place, void *dst, uint32_t bytes);
/* The same, and the hash64 of what was copied: of a longer value in one pass. */
int value_load(struct pmkv *kv, struct row_place place, void *dst, uint32_t bytes, uint64_t *hash);

/* Is this batch being published by its writer right now? (readers of its members wait) */
void wait_while_published(struct pmkv *kv, uint64_t seq);
/* Who has seen a slot of the batch has seen its publishing_begin as well, for that came before: so
 * a count of none says that its end came too, and all its slots with it. */
static inline void wait_published(struct pmkv *kv, uint64_t seq)
{
    if (__builtin_expect(atomic_load_explicit(&kv->publishing_now, memory_order_acquire) != 0, 0))
        wait_while_published(kv, seq);
}

/* Waits out a writer that stored `seq` in a batch; marks around publishing. */
uint32_t publishing_begin(struct pmkv *kv, uint64_t first, uint64_t last);
void publishing_end(struct pmkv *kv, uint32_t slot);

/* Always inline: a function that only prefetches has no effect the compiler knows of, and its call
 * may be dropped (seen with gcc 12: a get took 1.25 times as long). */
static inline __attribute__((always_inline)) void
prefetch_record(struct pmkv *kv, struct row_place place, uint32_t bytes)
{
    uint64_t page = layout_data_page_off(&kv->vol.layout, place.segment, place.row,
                                         place.offset / PAGE_PAYLOAD_BYTES);
    media_prefetch(kv->vol.media, page + place.offset % PAGE_PAYLOAD_BYTES, bytes);
}

/* Asks for the records under the slots a key may have: `bytes` of each, within reason. */
static inline __attribute__((always_inline)) void find_prefetch(struct pmkv *kv, uint64_t hash,
                                                                uint32_t bytes)
{
    enum { MOST = 512 }; /* the rest of a longer one comes by the processor's own prefetching */
    struct index_find f;
    struct slot_ref ref;
    index_find_begin(kv->index, hash, &f);
    while (index_find_next(&f, &ref)) {
        struct log_pos pos = {slot_position(ref.slot)};
        if (!pos_is_lost(pos))
            prefetch_record(kv, pos_place(&kv->shape, pos), bytes < MOST ? bytes : MOST);
    }
}

#endif
