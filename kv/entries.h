/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Summary entries: per record of a segment its type, place, lengths, sequence number and key,
 * packed. They are gathered while a segment is open, written as parts of its summary when it is
 * sealed or the pool is closed, read at open instead of the records, and they still name a record
 * that is lost.
 *
 * One entry: type and flags 1 B | varint start in units of 8 B, as step from the previous entry's |
 * zigzag varint of the step of seq | varint key bytes | varint value bytes | key (up to
 * ENTRY_KEY_MAX bytes; longer keys: ENTRY_KEY_PREFIX bytes, then their 64-bit hash). What is as it
 * was for the entry before has a flag and no varint: records of one size that follow each other are
 * 1 B and the key. Starts count through the segment's payload: row * row_payload + offset in the
 * row.
 */
#ifndef PMKV_KV_ENTRIES_H
#define PMKV_KV_ENTRIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { ENTRY_KEY_MAX = 255, ENTRY_KEY_PREFIX = 48 };

struct entry {
    uint8_t type;
    uint64_t start; /* bytes in the segment's payload */
    uint64_t seq;
    uint32_t key_bytes, value_bytes;
    const uint8_t
        *key; /* key_bytes, or ENTRY_KEY_PREFIX when the key is longer than ENTRY_KEY_MAX */
    uint32_t kept_bytes;
    uint64_t hash; /* of the whole key, as the index knows it */
};

/* What an entry is coded against: the one before it. Parts of summaries begin with it
 * (docs/format.md). */
struct entry_base {
    uint64_t start, seq;
    uint64_t seq_step;   /* modulo 2^64 */
    uint32_t start_step; /* in units of 8 B */
    uint32_t key_bytes, value_bytes;
    uint32_t reserved;
};

/* A growing buffer of encoded entries. Zero is a valid empty one. */
struct entries {
    uint8_t *bytes;
    size_t used, capacity;
    struct entry_base last; /* what the next one is coded against */
    uint32_t count;
};

int entries_add(struct entries *e, const struct entry *entry); /* 0 or -ENOMEM */
void entries_clear(struct entries *e);
void entries_free(struct entries *e);

/* Mark and rewind, for a commit that failed. */
struct entries_mark {
    size_t used;
    struct entry_base last;
    uint32_t count;
};
struct entries_mark entries_mark(const struct entries *e);
void entries_rewind(struct entries *e, struct entries_mark mark);

/* Reads encoded entries, from a buffer that starts coded against zeros. */
struct entries_reader {
    const uint8_t *bytes;
    size_t used, at;
    struct entry_base last;
};
/* 1: *out filled (key points into the buffer); 0: end; -1: the bytes are not valid entries. */
int entries_next(struct entries_reader *r, struct entry *out);

#endif
