/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Reading the records of rows and segments in order: for recovery, and where a summary is missing.
 */
#ifndef PMKV_KV_SCAN_H
#define PMKV_KV_SCAN_H

#include "store.h"

/* A record found in a row's payload; the pointers go into the payload. */
struct parsed {
    struct record_header h;
    struct log_pos pos;
    uint32_t offset;
    const uint8_t *key, *value;
    bool value_good;
};

/* Parses one row's payload (contiguous, what is lost being zeros). After a record the next starts
 * at the next 8 B, or, where that is padding, on the next line; where nothing checks the search
 * goes on in steps of 8 B. `fn` returns 0 to go on. Headers are bound to their place, so nothing
 * else passes for one. */
int row_parse(struct pmkv *kv, struct row_ref ref, const uint8_t *payload, uint32_t bytes,
              int (*fn)(void *arg, const struct parsed *p), void *arg);

/* Takes the payload out of a decoded image; groups that are lost become zeros. */
void row_flatten(struct pmkv *kv, const struct row_image *image, uint8_t *payload);

/* Gathers records of a segment, row by row, and settles which count: members of a batch only with
 * their commit (P2). */
struct gathering {
    struct pmkv *kv;
    struct gathered_record {
        struct record_header h;
        uint64_t start; /* in the segment's payload */
        size_t key_at;
        uint32_t kept_bytes;
        uint64_t hash;
        bool counts;
        bool lost; /* its value is: only its name is here */
    } * records;
    uint32_t count, capacity;
    uint8_t *keys;
    size_t keys_used, keys_room;
};
int gathering_add(struct gathering *g, const struct parsed *p); /* 0 or -ENOMEM */
void gathering_settle(struct gathering *g);
/* Adds those that count and are not lost to `out`, in order. */
int gathering_entries(struct gathering *g, struct entries *out);
void gathering_free(struct gathering *g);

/* Entries of all records that count in a segment, from the medium or the lane's image. */
int segment_scan(struct pmkv *kv, uint32_t segment, struct entries *out);

#endif
