/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "key_block.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t key_common(struct key_view a, struct key_view b)
{
    uint32_t i = 0, most = least(a.length, b.length);
    while (i < most && a.bytes[i] == b.bytes[i])
        i++;
    return i;
}

int key_compare(struct key_view a, struct key_view b)
{
    int order = memcmp(a.bytes, b.bytes, least(a.length, b.length));
    return order ? order : (a.length > b.length) - (a.length < b.length);
}

uint64_t key_head(struct key_view key, uint32_t prefix)
{
    uint64_t head = 0;
    if (key.length > prefix)
        memcpy(&head, key.bytes + prefix, least(key.length - prefix, sizeof head));
    return be64toh(head);
}

static struct key_view begin_of(struct key_view key, uint32_t bytes)
{
    return (struct key_view){key.bytes, least(key.length, bytes)};
}

/* --- searching -------------------------------------------------------------------------------- */

/* The key against what all keys begin with: below 0, 0, above 0. */
static int compare_prefix(const struct key_block *block, struct key_view key)
{
    uint64_t lead = key_head(begin_of(key, block->prefix), 0);
    if (lead != block->lead)
        return lead < block->lead ? -1 : 1;
    if (block->prefix <= sizeof lead && key.length >= block->prefix)
        return 0;
    return key_compare(begin_of(key, block->prefix), begin_of(block_key(block, 0), block->prefix));
}

uint32_t block_find(const struct key_block *block, struct key_view key, bool *equal)
{
    *equal = false;
    if (block->count == 0)
        return 0;
    int order = compare_prefix(block, key);
    if (order)
        return order < 0 ? 0 : block->count;
    uint64_t head = key_head(key, block->prefix);
    uint32_t low = 0, high = block->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint64_t other = block->heads[middle];
        order = other < head ? -1 : other > head ? 1 : key_compare(block_key(block, middle), key);
        if (order == 0) {
            *equal = true;
            return middle;
        }
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- changing --------------------------------------------------------------------------------- */

static void set_prefix(struct key_block *block, uint32_t prefix)
{
    block->prefix = prefix;
    block->lead = block->count ? key_head(begin_of(block_key(block, 0), prefix), 0) : 0;
    for (uint32_t i = 0; i < block->count; i++)
        block->heads[i] = key_head(block_key(block, i), prefix);
}

/* What the first and the last share all share. */
static void choose_prefix(struct key_block *block)
{
    uint32_t shared = 0;
    if (block->count > 1)
        shared = key_common(block_key(block, 0), block_key(block, block->count - 1));
    set_prefix(block, shared);
}

/* Room for `more` bytes: when there is none the live ones move to a new place, half as long again.
 */
static int reserve(struct key_block *block, uint32_t more)
{
    enum { LEAST = 128 };
    if (block->used + (uint64_t)more <= block->capacity)
        return 0;
    uint64_t need = (uint64_t)block->live + more, capacity = need + need / 2;
    if (capacity < LEAST)
        capacity = LEAST;
    uint8_t *bytes = malloc(capacity);
    if (!bytes)
        return -ENOMEM;
    uint32_t used = 0;
    for (uint32_t i = 0; i < block->count; i++) {
        struct key_place *place = &block->places[i];
        memcpy(bytes + used, block->bytes + place->at, place->length);
        place->at = used;
        used += place->length;
    }
    free(block->bytes);
    block->bytes = bytes;
    block->used = used;
    block->capacity = (uint32_t)capacity;
    return 0;
}

int block_insert(struct key_block *block, uint32_t at, struct key_view key)
{
    int rc = reserve(block, key.length);
    if (rc)
        return rc;
    if (block->count > 0) {
        uint32_t shared = key_common(key, block_key(block, 0));
        if (shared < block->prefix)
            set_prefix(block, shared);
    }
    uint32_t behind = block->count - at;
    memmove(&block->heads[at + 1], &block->heads[at], behind * sizeof *block->heads);
    memmove(&block->places[at + 1], &block->places[at], behind * sizeof *block->places);
    block->heads[at] = key_head(key, block->prefix);
    block->places[at] = (struct key_place){block->used, key.length};
    memcpy(block->bytes + block->used, key.bytes, key.length);
    block->used += key.length;
    block->live += key.length;
    block->count++;
    return 0;
}

void block_remove(struct key_block *block, uint32_t at)
{
    uint32_t behind = --block->count - at;
    block->live -= block->places[at].length;
    memmove(&block->heads[at], &block->heads[at + 1], behind * sizeof *block->heads);
    memmove(&block->places[at], &block->places[at + 1], behind * sizeof *block->places);
    if (block->count == 0) {
        block->used = 0;
        set_prefix(block, 0);
    }
}

int block_split(struct key_block *from, uint32_t at, struct key_block *to)
{
    uint32_t bytes = 0;
    for (uint32_t i = at; i < from->count; i++)
        bytes += from->places[i].length;
    int rc = reserve(to, bytes);
    if (rc)
        return rc;
    for (uint32_t i = at; i < from->count; i++) {
        struct key_view key = block_key(from, i);
        memcpy(to->bytes + to->used, key.bytes, key.length);
        to->places[to->count++] = (struct key_place){to->used, key.length};
        to->used += key.length;
    }
    to->live = bytes;
    from->live -= bytes;
    from->count = at;
    choose_prefix(from);
    choose_prefix(to);
    return 0;
}

void block_free(struct key_block *block)
{
    free(block->bytes);
    block->bytes = NULL;
}
