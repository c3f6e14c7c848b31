/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A few keys in order, as one node of the ordered index has them (order.h): their bytes stand
 * together, and each entry carries the 8 bytes of its key that come after what all of them begin
 * with, as a number. So a search compares numbers on a few neighbouring lines, and looks at the
 * bytes of one or two keys. Order is that of memcmp, a key before those it is the beginning of. No
 * lock: the owner has one.
 */
#ifndef PMKV_KV_KEY_BLOCK_H
#define PMKV_KV_KEY_BLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { BLOCK_KEYS = 64 };

struct key_block {
    uint32_t count;
    uint32_t prefix;               /* that many bytes all keys share, */
    uint64_t lead;                 /* of which these are the first 8, as a head is made */
    uint32_t used, live, capacity; /* of bytes; what is not live was removed */
    uint8_t *bytes;
    uint64_t
        heads[BLOCK_KEYS]; /* bytes [prefix, prefix + 8) of the key, big-endian, zeros behind */
    struct key_place {
        uint32_t at, length; /* in bytes */
    } places[BLOCK_KEYS];
};

struct key_view {
    const uint8_t *bytes;
    uint32_t length;
};
static inline struct key_view block_key(const struct key_block *block, uint32_t i)
{
    return (struct key_view){block->bytes + block->places[i].at, block->places[i].length};
}
uint32_t key_common(struct key_view a, struct key_view b);
/* The 8 bytes after the first `skip` as a number that is in order as they are; zeros behind it. */
uint64_t key_head(struct key_view key, uint32_t skip);
/* Below 0, 0, above 0, as memcmp. */
int key_compare(struct key_view a, struct key_view b);

/* Asks for all that a search looks at first: the lines come side by side, and it waits once. */
static inline __attribute__((always_inline)) void block_prefetch(const struct key_block *block)
{
    enum { LINE = 64 };
    const char *from = (const char *)block, *end = (const char *)(block->heads + BLOCK_KEYS);
    for (; from < end; from += LINE)
        __builtin_prefetch(from);
}
/* The first key that is not less; count when there is none. */
uint32_t block_find(const struct key_block *block, struct key_view key, bool *equal);
/* Puts the key, whose place that is, before entry `at`; the block is not full. 0 or -ENOMEM, and
 * then nothing changed. */
int block_insert(struct key_block *block, uint32_t at, struct key_view key);
void block_remove(struct key_block *block, uint32_t at);
/* Moves the entries from `at` on to an empty block. 0 or -ENOMEM, and then nothing changed. */
int block_split(struct key_block *from, uint32_t at, struct key_block *to);
void block_free(struct key_block *block);

#endif
