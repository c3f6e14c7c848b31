/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The bytes of a record: a header of 32 bytes, the key, the value.
 *
 * A record is valid at a place if and only if
 *   1. its check is that of header and key, bound to (pool, generation of the segment, position);
 *   2. its type is known, its lengths fit the row from there, reserved flag bits are zero;
 *   3. its value hash is that of the value's bytes.
 * 1 and 2 make the header good: a damaged value still has its name. The value hash is taken over
 * the caller's bytes first and carried end to end; it does not depend on the place.
 *
 * The epoch line says at which line of the row's payload the fence epoch that stored the record
 * began: a single put starts at its own line, the members of a batch where the batch starts in that
 * row. If a later epoch of a row is there, everything before it was fenced, and what fails there is
 * damage; what fails in the last epoch is the torn tail of a write nobody was told about (I10).
 */
#ifndef PMKV_KV_RECORD_H
#define PMKV_KV_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "../recovery/hash_short.h"
#include "position.h"

/* On the medium: never renumbered. */
enum record_type {
    RECORD_PUT = 1,
    RECORD_TOMBSTONE = 2,
    RECORD_MANIFEST =
        3,             /* a long value: its key, and where the length and hash of its extents are */
    RECORD_EXTENT = 4, /* a piece of a long value, under struct extent_key */
    RECORD_COMMIT = 5, /* the last record of a batch, under struct commit_key */
    RECORD_META = 6,   /* of the internal namespace: summaries, lost list, scan state */
    RECORD_TYPES
};
enum record_flags {
    RECORD_BATCH = 1, /* counts only with its batch's commit */
};
enum { RECORD_HEADER_BYTES = 32 };
/* Epoch line of rows that are stored whole with their parity (the cleaner's): see replay_row.c. */
enum { EPOCH_WHOLE_ROW = 0xffff };
/* In the epoch line of a row's first commit, which is 0 in any case: the close of the row before
 * goes out under the same fence, and the low 15 bits are the lines that row had in use. A plain 0:
 * that close was fenced before, or there is no row before. */
enum { EPOCH_FIRST = 0x8000 };

struct record_header {
    uint64_t check_epoch; /* high 48 bits: check; low 16: epoch line */
    uint8_t type, flags;
    uint16_t key_bytes;
    uint32_t value_bytes;
    uint64_t seq;
    uint64_t value_hash;
};
_Static_assert(sizeof(struct record_header) == RECORD_HEADER_BYTES, "record header");

/* Value of a manifest. Never positions: extents are found by (value id, number). */
struct manifest {
    uint64_t value_id; /* from the pool's counter: never twice */
    uint64_t value_bytes;
    uint64_t value_hash; /* of the hashes of its extents, which each reader has at hand */
    uint32_t extents;
    uint32_t reserved; /* 0 */
};
/* The hash of the extents so far (0: of none), and one more. */
static inline uint64_t pieces_hash(uint64_t before, uint64_t value_hash, uint32_t value_bytes)
{
    return hash_bind(value_hash, before + value_bytes);
}
struct extent_key {
    uint64_t value_id;
    uint32_t number;
    uint32_t reserved;
};
/* Key of a commit: members are the `count` sequence numbers before the commit's own. */
struct commit_key {
    uint64_t hash; /* record_chain over the members' check words, in order */
    uint32_t count;
    uint32_t reserved;
};

static inline uint64_t record_bytes(uint32_t key_bytes, uint64_t value_bytes)
{
    return RECORD_HEADER_BYTES + key_bytes + value_bytes;
}
/* Bytes with the padding to the 8 B that members of a batch pack to. */
static inline uint64_t record_packed(uint32_t key_bytes, uint64_t value_bytes)
{
    return (record_bytes(key_bytes, value_bytes) + 7) & ~7ull;
}

/* Key hash of the user's namespace, and of extents (an internal namespace of its own). */
static inline uint64_t key_hash(const void *key, size_t bytes)
{
    return hash64_short(key, bytes);
}
uint64_t extent_hash(const struct extent_key *key);
/* Key hash as the index knows it, by type. */
uint64_t record_key_hash(uint8_t type, const void *key, size_t bytes);

/* The secret of a place in a generation. */
static inline uint64_t record_secret(uint64_t pool_secret, uint64_t generation, struct log_pos pos)
{
    return hash_mix(pool_secret + generation * 0x9e3779b97f4a7c15ull) ^
           pos.v * 0xd6e8feb86659fd93ull;
}

/* Sets the check of a header whose other fields are filled. `khash` is hash64 of the key bytes. */
void record_stamp(struct record_header *h, uint16_t epoch_line, uint64_t khash, uint64_t secret);

/* Rule 1, for a caller who has the key's hash. */
static inline bool record_check_holds(const struct record_header *h, uint64_t khash,
                                      uint64_t secret)
{
    uint64_t body = hash64_of_24((const char *)h + 8);
    uint64_t epoch = h->check_epoch & 0xffff;
    uint64_t check = hash_bind(body + hash_mix(khash) + epoch, secret);
    return (check ^ h->check_epoch) >> 16 == 0;
}

/* Rule 2, before lengths are used: does it look like a record that fits in `room` bytes? */
bool record_shape_holds(const struct record_header *h, uint64_t room);

/* Is it a version of its key's value, which an older-versions count counts (I8)? A tombstone is
 * none. */
static inline bool record_is_version(uint8_t type)
{
    return type == RECORD_PUT || type == RECORD_MANIFEST;
}

static inline uint16_t record_epoch(const struct record_header *h)
{
    return (uint16_t)h->check_epoch;
}
/* Does it say how far the row before went? */
static inline bool epoch_is_first(uint16_t epoch)
{
    return epoch & EPOCH_FIRST && epoch != EPOCH_WHOLE_ROW;
}
/* Payload line at which the epoch began; of a row stored whole its start. */
static inline uint32_t epoch_line(uint16_t epoch)
{
    return epoch & EPOCH_FIRST ? 0 : epoch;
}

static inline uint64_t record_chain(uint64_t chain, const struct record_header *h)
{
    return hash_mix(chain ^ h->check_epoch);
}

#endif
