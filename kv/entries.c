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

/* Bits of the type byte: as it was for the entry before, so that there is no varint. */
enum { TYPE_BITS = 0x0f, SAME_START_STEP = 0x10, SAME_SEQ_STEP = 0x20, SAME_LENGTHS = 0x40 };

static bool kept_whole(uint64_t key_bytes)
{
    return key_bytes <= ENTRY_KEY_MAX;
}

int entries_add(struct entries *e, const struct entry *entry)
{
    if (entries_reserve(e, ENTRY_MAX))
        return -ENOMEM;
    uint8_t *type = e->bytes + e->used, *p = type;
    struct entry_base *last = &e->last;
    uint64_t start_step = (entry->start - last->start) / 8, seq_step = entry->seq - last->seq;
    *p++ = entry->type;
    if (start_step == last->start_step)
        *type |= SAME_START_STEP;
    else
        p = put_varint(p, start_step);
    if (seq_step == last->seq_step)
        *type |= SAME_SEQ_STEP;
    else
        p = put_varint(p, seq_step << 1 ^ (uint64_t)((int64_t)seq_step >> 63));
    if (entry->key_bytes == last->key_bytes && entry->value_bytes == last->value_bytes) {
        *type |= SAME_LENGTHS;
    } else {
        p = put_varint(p, entry->key_bytes);
        p = put_varint(p, entry->value_bytes);
    }
    uint32_t kept = kept_whole(entry->key_bytes) ? entry->key_bytes : ENTRY_KEY_PREFIX;
    memcpy(p, entry->key, kept);
    p += kept;
    if (!kept_whole(entry->key_bytes)) {
        memcpy(p, &entry->hash, 8);
        p += 8;
    }
    e->used = (size_t)(p - e->bytes);
    e->last = (struct entry_base){.start = entry->start,
                                  .seq = entry->seq,
                                  .seq_step = seq_step,
                                  .start_step = (uint32_t)start_step,
                                  .key_bytes = entry->key_bytes,
                                  .value_bytes = entry->value_bytes};
    e->count++;
    return 0;
}

/* The type and what follows it up to the key; `last` becomes the entry's own. */
static bool get_numbers(struct entries_reader *r, uint8_t *type)
{
    struct entry_base *last = &r->last;
    uint8_t flags = r->bytes[r->at++];
    uint64_t start = last->start_step, step = 0, key_bytes = last->key_bytes;
    uint64_t value_bytes = last->value_bytes;
    if (!(flags & SAME_START_STEP) && !get_varint(r, &start))
        return false;
    if (!(flags & SAME_SEQ_STEP)) {
        if (!get_varint(r, &step))
            return false;
        last->seq_step = (step >> 1) ^ -(step & 1);
    }
    if (!(flags & SAME_LENGTHS) && (!get_varint(r, &key_bytes) || !get_varint(r, &value_bytes)))
        return false;
    *type = flags & TYPE_BITS;
    if (*type == 0 || *type >= RECORD_TYPES || flags >> 7 || key_bytes == 0 || key_bytes > 65535 ||
        value_bytes > UINT32_MAX || start > UINT32_MAX)
        return false;
    last->start_step = (uint32_t)start;
    last->start += start * 8;
    last->seq += last->seq_step;
    last->key_bytes = (uint32_t)key_bytes;
    last->value_bytes = (uint32_t)value_bytes;
    return true;
}

int entries_next(struct entries_reader *r, struct entry *out)
{
    if (r->at == r->used)
        return 0;
    if (!get_numbers(r, &out->type))
        return -1;
    bool whole = kept_whole(r->last.key_bytes);
    uint32_t kept = whole ? r->last.key_bytes : ENTRY_KEY_PREFIX;
    size_t need = kept + (whole ? 0u : 8u);
    if (r->used - r->at < need)
        return -1;
    out->start = r->last.start;
    out->seq = r->last.seq;
    out->key_bytes = r->last.key_bytes;
    out->value_bytes = r->last.value_bytes;
    out->key = r->bytes + r->at;
    out->kept_bytes = kept;
    if (whole)
        out->hash = record_key_hash(out->type, out->key, kept);
    else
        memcpy(&out->hash, out->key + kept, 8);
    r->at += need;
    return 1;
}

void entries_clear(struct entries *e)
{
    e->used = 0;
    e->last = (struct entry_base){0};
    e->count = 0;
}

void entries_free(struct entries *e)
{
    free(e->bytes);
    *e = (struct entries){0};
}

struct entries_mark entries_mark(const struct entries *e)
{
    return (struct entries_mark){e->used, e->last, e->count};
}

void entries_rewind(struct entries *e, struct entries_mark mark)
{
    e->used = mark.used;
    e->last = mark.last;
    e->count = mark.count;
}
