/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "entries.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/errmsg.h"
#include "record.h"

enum { VARINT_MAX = 10, ENTRY_MAX = 1 + 4 * VARINT_MAX + ENTRY_KEY_MAX + 8 };

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
    while (v >= 0x80) {
        *p++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *p++ = (uint8_t)v;
    return p;
}

static bool get_varint(struct entries_reader *r, uint64_t *out)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64 && r->at < r->used; shift += 7) {
        uint8_t b = r->bytes[r->at++];
        v |= (uint64_t)(b & 0x7f) << shift;
        if (b < 0x80) {
            *out = v;
            return true;
        }
    }
    return false;
}

static int entries_reserve(struct entries *e, size_t more)
{
    if (e->capacity - e->used >= more)
        return 0;
    size_t capacity = e->capacity ? e->capacity * 2 : 4096;
    uint8_t *bytes = realloc(e->bytes, capacity);
    if (!bytes)
        return err_fact(-ENOMEM, "no memory for %zu bytes of a summary", capacity);
    e->bytes = bytes;
    e->capacity = capacity;
    return 0;
}

int entries_add(struct entries *e, const struct entry *entry)
{
    if (entries_reserve(e, ENTRY_MAX))
        return -ENOMEM;
    uint8_t *p = e->bytes + e->used;
    int64_t step = (int64_t)(entry->seq - e->last_seq);
    *p++ = entry->type;
    p = put_varint(p, (entry->start - e->last_start) / 8);
    p = put_varint(p, (uint64_t)step << 1 ^ (uint64_t)(step >> 63));
    p = put_varint(p, entry->key_bytes);
    p = put_varint(p, entry->value_bytes);
    uint32_t kept = entry->key_bytes > ENTRY_KEY_MAX ? ENTRY_KEY_PREFIX : entry->key_bytes;
    memcpy(p, entry->key, kept);
    p += kept;
    if (entry->key_bytes > ENTRY_KEY_MAX) {
        memcpy(p, &entry->hash, 8);
        p += 8;
    }
    e->used = (size_t)(p - e->bytes);
    e->last_start = entry->start;
    e->last_seq = entry->seq;
    e->count++;
    return 0;
}

int entries_next(struct entries_reader *r, struct entry *out)
{
    if (r->at == r->used)
        return 0;
    uint64_t start, step, key_bytes, value_bytes;
    out->type = r->bytes[r->at++];
    if (!get_varint(r, &start) || !get_varint(r, &step) || !get_varint(r, &key_bytes) ||
        !get_varint(r, &value_bytes))
        return -1;
    if (out->type == 0 || out->type >= RECORD_TYPES || key_bytes == 0 || key_bytes > 65535 ||
        value_bytes > UINT32_MAX || start > UINT32_MAX)
        return -1;
    uint32_t kept = key_bytes > ENTRY_KEY_MAX ? ENTRY_KEY_PREFIX : (uint32_t)key_bytes;
    size_t need = kept + (key_bytes > ENTRY_KEY_MAX ? 8u : 0u);
    if (r->used - r->at < need)
        return -1;
    out->start = r->last_start + start * 8;
    out->seq = r->last_seq + ((step >> 1) ^ -(step & 1));
    out->key_bytes = (uint32_t)key_bytes;
    out->value_bytes = (uint32_t)value_bytes;
    out->key = r->bytes + r->at;
    out->kept_bytes = kept;
    if (key_bytes > ENTRY_KEY_MAX)
        memcpy(&out->hash, out->key + kept, 8);
    else
        out->hash = record_key_hash(out->type, out->key, kept);
    r->at += need;
    r->last_start = out->start;
    r->last_seq = out->seq;
    return 1;
}

void entries_clear(struct entries *e)
{
    e->used = 0;
    e->last_start = e->last_seq = 0;
    e->count = 0;
}

void entries_free(struct entries *e)
{
    free(e->bytes);
    *e = (struct entries){0};
}

struct entries_mark entries_mark(const struct entries *e)
{
    return (struct entries_mark){e->used, e->last_start, e->last_seq, e->count};
}

void entries_rewind(struct entries *e, struct entries_mark mark)
{
    e->used = mark.used;
    e->last_start = mark.last_start;
    e->last_seq = mark.last_seq;
    e->count = mark.count;
}
