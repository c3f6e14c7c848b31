/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "record.h"

#include <string.h>

uint64_t extent_hash(const struct extent_key *key)
{
    return hash_mix(hash64(key, sizeof *key) ^ 0x657874656e747321ull);
}

uint64_t record_key_hash(uint8_t type, const void *key, size_t bytes)
{
    if (type == RECORD_EXTENT && bytes == sizeof(struct extent_key)) {
        struct extent_key k;
        memcpy(&k, key, sizeof k);
        return extent_hash(&k);
    }
    return key_hash(key, bytes);
}

void record_stamp(struct record_header *h, uint16_t epoch_line, uint64_t khash, uint64_t secret)
{
    uint64_t body = hash64((const char *)h + 8, RECORD_HEADER_BYTES - 8);
    uint64_t check = hash_bind(body + hash_mix(khash) + epoch_line, secret);
    h->check_epoch = (check & ~0xffffull) | epoch_line;
}

bool record_shape_holds(const struct record_header *h, uint64_t room)
{
    if (h->type == 0 || h->type >= RECORD_TYPES || h->flags & ~RECORD_BATCH || h->seq == 0)
        return false;
    if (h->key_bytes == 0 || record_bytes(h->key_bytes, h->value_bytes) > room)
        return false;
    switch (h->type) {
    case RECORD_EXTENT:
        return h->key_bytes == sizeof(struct extent_key);
    case RECORD_COMMIT:
        return h->key_bytes == sizeof(struct commit_key) && h->value_bytes == 0;
    case RECORD_MANIFEST:
        return h->value_bytes == sizeof(struct manifest);
    case RECORD_TOMBSTONE:
        return h->value_bytes == 0;
    default:
        return true;
    }
}
