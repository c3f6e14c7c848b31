/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Recovery: which records of a row count, and what is missing: damage, or a torn tail (I10). */
#include <string.h>

#include "lost.h"
#include "replay_row.h"

/* --- entering losses -------------------------------------------------------------------------- */

static void note_lost_range(struct replay *r, struct row_ref ref, uint32_t from, uint32_t to)
{
    struct pmkv *kv = r->kv;
    uint64_t off =
        layout_data_page_off(&kv->vol.layout, ref.segment, ref.row, from / PAGE_PAYLOAD_BYTES) +
        from % PAGE_PAYLOAD_BYTES;
    lost_add_range(kv, off, to - from);
}

/* `key`: as much of it as an entry keeps. */
static void note_lost_name(struct pmkv *kv, struct row_ref ref, uint32_t offset,
                           const struct record_header *h, uint64_t hash, const uint8_t *key)
{
    uint32_t kept = h->key_bytes > ENTRY_KEY_MAX ? ENTRY_KEY_PREFIX : h->key_bytes;
    struct lost_entry e = {.hash = hash,
                           .seq = h->seq,
                           .bytes = (uint32_t)record_bytes(h->key_bytes, h->value_bytes),
                           .key_bytes = h->key_bytes,
                           .kept_bytes = (uint16_t)kept};
    e.pool_off =
        layout_data_page_off(&kv->vol.layout, ref.segment, ref.row, offset / PAGE_PAYLOAD_BYTES) +
        offset % PAGE_PAYLOAD_BYTES;
    lost_add(kv, &e, key, record_is_version(h->type));
}

static void note_lost_record(struct replay *r, struct row_ref ref, const struct found_record *f,
                             const uint8_t *key)
{
    uint64_t hash = record_key_hash(f->h.type, key, f->h.key_bytes);
    note_lost_name(r->kv, ref, f->offset, &f->h, hash, key);
}

void settle_lost_members(struct pmkv *kv, uint32_t segment, const struct gathering *g)
{
    for (uint32_t i = 0; i < g->count; i++) {
        const struct gathered_record *m = &g->records[i];
        uint32_t row = (uint32_t)(m->start / row_payload(kv));
        if (m->lost && m->counts)
            note_lost_name(kv, row_ref_of(kv, segment, row), (uint32_t)(m->start % row_payload(kv)),
                           &m->h, m->hash, g->keys + m->key_at);
    }
}

/* Is any lost group in the payload range? (of a row that was closed) */
static bool range_has_lost(struct replay *r, uint32_t from, uint32_t to)
{
    for (uint32_t at = from & ~(uint32_t)(LINE_BYTES - 1); at < to; at += LINE_BYTES) {
        uint32_t page = at / PAGE_PAYLOAD_BYTES;
        if (!row_group_ok(&r->image, page, at % PAGE_PAYLOAD_BYTES / GROUP_BYTES))
            return true;
    }
    return false;
}

/* A place without a record, in a row that was fenced, holds the zeros with which recovery completed
 * it, and the loss was listed before. Else it is damage, though its groups check or decode: parity
 * may be older than the zeros, when power was lost while they were stored. */
static bool hole_is_damage(struct replay *r, uint32_t from, uint32_t to)
{
    if (range_has_lost(r, from, to))
        return true;
    for (uint32_t at = from; at < to; at++) {
        size_t page = at / PAGE_PAYLOAD_BYTES;
        if (r->image.pages[page * PAGE_BYTES + at % PAGE_PAYLOAD_BYTES])
            return true;
    }
    return false;
}

/* Behind the last record the same: what was decoded there and is no zeros comes of parity that is
 * older than the row's data. Of a group that was never stored the bytes mean nothing. */
static bool end_is_damage(struct replay *r, uint32_t from, uint32_t to)
{
    if (range_has_lost(r, from, to))
        return true;
    for (uint32_t at = from; at < to; at++) {
        uint32_t page = at / PAGE_PAYLOAD_BYTES, in = at % PAGE_PAYLOAD_BYTES;
        if (r->image.info[page].rebuilt >> in / GROUP_BYTES & 1 &&
            r->image.pages[(size_t)page * PAGE_BYTES + in])
            return true;
    }
    return false;
}

/* --- settling --------------------------------------------------------------------------------- */

static uint32_t last_epoch_of(const struct row_records *rr)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < rr->count; i++) {
        uint32_t start = epoch_line(record_epoch(&rr->list[i].h)) * LINE_BYTES;
        last = start > last ? start : last;
    }
    return last;
}

/* Behind the last record: what is missing there. Returns whether something is. `due`: where the
 * next one would stand, which where records are packed is before `end`, the line behind it. */
static bool settle_end(struct replay *r, struct row_ref ref, const struct testimony *t,
                       uint32_t due, uint32_t end, const bool unreadable[MAX_ROW_PAGES])
{
    uint32_t to = t->used_known ? t->used : row_payload(r->kv);
    bool missing = end < to;
    if (t->close_fenced) {
        end = due;
        missing = due < to && end_is_damage(r, due, to);
    } else if (!t->used_known && missing) {
        missing = unreadable[end / PAGE_PAYLOAD_BYTES];
        to = (end / PAGE_PAYLOAD_BYTES + 1) * PAGE_PAYLOAD_BYTES;
    }
    if (missing)
        note_lost_range(r, ref, end, to);
    return missing;
}

/* Where the record stands if nothing is missing before it: right behind the record before it, or,
 * when its commit is another one, at its commit's first line. */
static uint32_t place_due(const struct found_record *f, uint32_t expected)
{
    uint16_t epoch = record_epoch(&f->h);
    bool begins = epoch != EPOCH_WHOLE_ROW && epoch_line(epoch) * LINE_BYTES == line_up(expected);
    return begins ? line_up(expected) : expected;
}

/* Members of a batch and what the cleaner moved stand right behind each other, all else on lines.
 */
static bool is_packed(const struct found_record *f)
{
    return f->h.flags & RECORD_BATCH || record_epoch(&f->h) == EPOCH_WHOLE_ROW;
}

/* A record whose value is lost. Whether a member of a batch is one nobody knows yet. */
static void settle_bad_value(struct replay *r, struct row_ref ref, struct row_records *rr,
                             const struct found_record *f, uint32_t *kept)
{
    if (f->h.flags & RECORD_BATCH) {
        rr->list[(*kept)++] = *f;
        return;
    }
    note_lost_record(r, ref, f, rr->merged + f->offset + RECORD_HEADER_BYTES);
    memset(rr->merged + f->offset, 0, found_end(f) - f->offset);
}

/* A record whose value is bad ends the row, for nothing says that it was fenced. It was torn,
 * unless its value is where nothing can be read: then that is damage (so says settle_end of a
 * record that is missing). A batch is not: with its commit cut none of it counts. */
static bool settle_doubtful(struct replay *r, struct row_ref ref, struct row_records *rr,
                            const struct found_record *f, const bool unreadable[MAX_ROW_PAGES])
{
    bool any = false;
    for (uint32_t page = f->offset / PAGE_PAYLOAD_BYTES;
         page <= (found_end(f) - 1) / PAGE_PAYLOAD_BYTES; page++)
        any |= unreadable[page];
    if (any && f->h.flags & RECORD_BATCH)
        note_lost_range(r, ref, f->offset, found_end(f));
    else if (any)
        note_lost_record(r, ref, f, rr->merged + f->offset + RECORD_HEADER_BYTES);
    return any;
}

/* Of a row that was stored whole and may be torn each record counts alone: where the row was not
 * fenced, what is missing of a copy still stands where it was copied from (I6), and a piece of a
 * long value has no manifest. */
static bool stands_alone(const struct found_record *f, const struct testimony *t)
{
    return !t->fenced && record_epoch(&f->h) == EPOCH_WHOLE_ROW;
}

uint32_t row_settle(struct replay *r, struct row_ref ref, const struct testimony *t,
                    struct row_records *rr, const bool unreadable[MAX_ROW_PAGES], bool *damaged)
{
    uint32_t expected = 0, kept = 0, hidden = 0, last_epoch = last_epoch_of(rr);
    bool packed = false;
    for (uint32_t i = 0; i < rr->count; i++) {
        const struct found_record *f = &rr->list[i];
        /* unreached: it was made zeros before the next row was begun (lane_abandon). */
        if (t->used_known && f->offset >= t->used)
            break; /* of a commit that was given up */
        uint32_t due = place_due(f, expected);
        bool hole = f->offset > due && !stands_alone(f, t);
        if (hole && !t->fenced && due >= last_epoch)
            break; /* the torn tail */
        if (hole && (!t->fenced || hole_is_damage(r, due, f->offset))) {
            note_lost_range(r, ref, due, f->offset);
            *damaged = true;
        }
        if (!f->good && stands_alone(f, t)) {
            memset(rr->merged + f->offset, 0, found_end(f) - f->offset);
            expected = found_end(f);
            packed = true;
            continue;
        }
        if (!f->good && !t->fenced && f->offset >= last_epoch) {
            if (settle_doubtful(r, ref, rr, f, unreadable))
                hidden = line_up(found_end(f)); /* there may have been commits behind it */
            break;
        }
        expected = found_end(f);
        packed = is_packed(f);
        *damaged |= !f->good;
        if (f->good)
            rr->list[kept++] = *f;
        else
            settle_bad_value(r, ref, rr, f, &kept);
    }
    rr->count = kept;
    uint32_t end = line_up(expected), due = packed ? expected : end;
    *damaged |= hidden > 0;
    *damaged |= settle_end(r, ref, t, hidden ? hidden : due, hidden ? hidden : end, unreadable);
    memset(rr->merged + expected, 0, row_payload(r->kv) - expected);
    return end;
}
