/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Recovering rows that no summary covers: those of segments a lane was writing.
 *
 *   a row decodes whole   it is closed; its records are parsed
 *   else, per place       groups that check or decode (I11), then a twin's bytes, then the row's
 * own; a record counts where some candidate gives it whole: header and value checked, bound to its
 * place
 *
 * What stands between records that count (a gap) is
 *   damage     if the row was fenced: a later row of the segment has content, or a check of the row
 *              holds (checks are stored at the close, after all commits of the row were fenced;
 * rows stored whole, the cleaner's, are exempt), or a later epoch of the row is there (I10) damage
 * if no copy of the place can be read the tail   else: a torn write nobody was told about. The row
 * ends there.
 *
 * I1: then the row is completed: written in place with parity and checks, and fenced, before
 * anything in it becomes visible; the twins are used again only after that. Doing it twice writes
 * the same bytes.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/media.h"
#include "damage.h"
#include "lane.h"
#include "lost.h"
#include "replay.h"

int row_buf_alloc(const struct pmkv *kv, struct row_buf *buf)
{
    const struct layout *l = &kv->vol.layout;
    *buf = (struct row_buf){0};
    buf->data = aligned_alloc(PAGE_BYTES, (size_t)l->row_pages * PAGE_BYTES);
    int rc = buf->data ? 0 : -ENOMEM;
    for (uint32_t m = 0; m < l->parity_columns && rc == 0; m++) {
        buf->parity[m] = aligned_alloc(PAGE_BYTES, (size_t)l->chunk_pages * PAGE_BYTES);
        rc = buf->parity[m] ? 0 : -ENOMEM;
    }
    if (rc) {
        row_buf_free(buf);
        return rc;
    }
    memset(buf->data, 0, (size_t)l->row_pages * PAGE_BYTES);
    for (uint32_t m = 0; m < l->parity_columns; m++)
        memset(buf->parity[m], 0, (size_t)l->chunk_pages * PAGE_BYTES);
    return 0;
}

void row_buf_free(struct row_buf *buf)
{
    free(buf->data);
    for (uint32_t m = 0; m < MAX_PARITY; m++)
        free(buf->parity[m]);
    *buf = (struct row_buf){0};
}

/* --- twins on the medium ---------------------------------------------------------------------- */

static int note_twin(struct replay *r, const struct twin_mark *mark, uint64_t off)
{
    if (r->twin_count == r->twin_capacity) {
        uint32_t capacity = r->twin_capacity ? r->twin_capacity * 2 : 256;
        struct twin_page *twins = realloc(r->twins, capacity * sizeof *twins);
        if (!twins)
            return -ENOMEM;
        r->twins = twins;
        r->twin_capacity = capacity;
    }
    r->twins[r->twin_count++] = (struct twin_page){mark->generation, off,        mark->segment,
                                                   mark->row,        mark->page, mark->number};
    return 0;
}

static int find_twins_of(struct replay *r, uint32_t segment)
{
    struct pmkv *kv = r->kv;
    for (uint32_t slot = 0; slot < twin_slots(kv); slot++)
        for (uint32_t p = 0; p < kv->vol.layout.row_pages; p++) {
            struct twin_mark mark;
            uint64_t off = twin_slot_off(kv, segment, slot) + (uint64_t)p * PAGE_BYTES;
            if (media_load(kv->vol.media, off + PAGE_PAYLOAD_BYTES, &mark, sizeof mark) !=
                sizeof mark) {
                damage_found(kv, DAMAGE_POISON, off, "twin page");
                r->twin_unreadable[p] = true;
            } else if (twin_mark_valid(kv, &mark, off) && mark.page == p &&
                       note_twin(r, &mark, off)) {
                return -ENOMEM;
            }
        }
    return 0;
}

int replay_find_twins(struct replay *r)
{
    int rc = 0;
    for (uint32_t i = 0; i < r->kv->vol.layout.segments && rc == 0; i++)
        if (r->kv->segments[i].kind == KIND_TWIN)
            rc = find_twins_of(r, i);
    return rc;
}

/* Twin slots that name the row, at most `most` of them: its twins, and those it had before a clean
 * close, where no other row was stored since. Which one is which nobody knows: all are asked. */
static uint32_t twin_slots_of(struct replay *r, struct row_ref ref, uint64_t *slots, uint32_t most)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < r->twin_count && count < most; i++) {
        const struct twin_page *t = &r->twins[i];
        uint64_t slot = t->off - (uint64_t)t->page * PAGE_BYTES;
        bool known =
            t->segment != ref.segment || t->row != ref.row || t->generation != ref.generation;
        for (uint32_t k = 0; k < count && !known; k++)
            known = slots[k] == slot;
        if (!known)
            slots[count++] = slot;
    }
    return count;
}

/* Loads the row's copy of a page in the twin slot; -1 when no mark says that it has one, 0 when it
 * met poison (or may have: a page whose mark cannot be read), 1 when read. */
static int load_twin(struct replay *r, struct row_ref ref, uint32_t page, uint64_t slot,
                     uint8_t *dst)
{
    struct pmkv *kv = r->kv;
    if (twins_are_parity(kv)) {
        uint64_t off = layout_chunk_page_off(&kv->vol.layout, ref.segment, ref.row, 1, page);
        return media_load(kv->vol.media, off, dst, PAGE_PAYLOAD_BYTES) == PAGE_PAYLOAD_BYTES;
    }
    for (uint32_t i = 0; i < r->twin_count; i++) {
        const struct twin_page *t = &r->twins[i];
        if (t->segment != ref.segment || t->row != ref.row || t->generation != ref.generation ||
            t->page != page || t->off - (uint64_t)page * PAGE_BYTES != slot)
            continue;
        return media_load(kv->vol.media, t->off, dst, PAGE_PAYLOAD_BYTES) == PAGE_PAYLOAD_BYTES;
    }
    return r->twin_unreadable[page] ? 0 : -1;
}

/* --- candidates ------------------------------------------------------------------------------- */

/* Payload as a copy gives it (0: the row itself, else the twin slot there); decoded groups stand in
 * all. Returns pages of which neither this copy nor a decoded group could be read, as a bitmap. */
static void build_candidate(struct replay *r, struct row_ref ref, uint64_t slot, uint8_t *out,
                            bool unreadable[MAX_ROW_PAGES])
{
    struct pmkv *kv = r->kv;
    for (uint32_t p = 0; p < kv->vol.layout.row_pages; p++) {
        uint8_t bytes[PAGE_PAYLOAD_BYTES];
        int got = 1;
        const struct row_page *info = &r->image.info[p];
        if (slot == 0) {
            got = !info->poisoned;
            memcpy(bytes, r->image.pages + (size_t)p * PAGE_BYTES, PAGE_PAYLOAD_BYTES);
        } else {
            got = load_twin(r, ref, p, slot, bytes);
            if (got < 0) /* never marked: nothing of this row was stored there */
                memset(bytes, 0, sizeof bytes);
        }
        uint16_t ok = info->good | info->absent | info->rebuilt;
        unreadable[p] = unreadable[p] && got == 0 && ok != 0xffff;
        for (uint32_t g = 0; g < PAGE_GROUPS; g++) {
            uint32_t at = g * GROUP_BYTES, n = g == 15 ? 192 : GROUP_BYTES;
            if (ok >> g & 1)
                memcpy(bytes + at, r->image.pages + (size_t)p * PAGE_BYTES + at, n);
            else if (got == 0)
                memset(bytes + at, 0, n);
        }
        memcpy(out + p * PAGE_PAYLOAD_BYTES, bytes, PAGE_PAYLOAD_BYTES);
    }
}

/* Records found in any candidate, in order of place. */
struct row_records {
    struct pmkv *kv;
    struct found_record {
        struct record_header h;
        uint32_t offset;
        bool good; /* header and value */
    } * list;
    uint32_t count, capacity;
    uint8_t *merged; /* payload of the records kept */
    bool no_memory;
};

static struct found_record *records_slot(struct row_records *rr, uint32_t offset)
{
    uint32_t i = rr->count;
    while (i > 0 && rr->list[i - 1].offset > offset)
        i--;
    if (i > 0 && rr->list[i - 1].offset == offset)
        return &rr->list[i - 1];
    if (rr->count == rr->capacity) {
        uint32_t capacity = rr->capacity ? rr->capacity * 2 : 1024;
        void *list = realloc(rr->list, capacity * sizeof *rr->list);
        if (!list)
            return NULL;
        rr->list = list;
        rr->capacity = capacity;
    }
    memmove(&rr->list[i + 1], &rr->list[i], (rr->count - i) * sizeof *rr->list);
    rr->count++;
    rr->list[i] = (struct found_record){.offset = UINT32_MAX};
    return &rr->list[i];
}

static int merge_record(void *arg, const struct parsed *p)
{
    struct row_records *rr = arg;
    struct found_record *f = records_slot(rr, p->offset);
    if (!f) {
        rr->no_memory = true;
        return -ENOMEM;
    }
    if (f->offset != UINT32_MAX && (f->good || !p->value_good))
        return 0; /* an earlier candidate gave it as well or better */
    *f = (struct found_record){.h = p->h, .offset = p->offset, .good = p->value_good};
    memcpy(rr->merged + p->offset, p->key - RECORD_HEADER_BYTES,
           record_bytes(p->h.key_bytes, p->h.value_bytes));
    return 0;
}

static uint32_t found_end(const struct found_record *f)
{
    return f->offset + (uint32_t)record_packed(f->h.key_bytes, f->h.value_bytes);
}

static uint32_t line_up(uint32_t offset)
{
    return (offset + LINE_BYTES - 1) & ~(uint32_t)(LINE_BYTES - 1);
}

/* --- judging a row ---------------------------------------------------------------------------- */

struct judged {
    bool closed;  /* it decodes whole */
    bool checked; /* checks of this generation were stored in it */
};

static struct judged load_row(struct replay *r, struct row_ref ref)
{
    struct judged j = {0};
    uint32_t held = 0;
    row_load(&r->kv->vol, ref, &r->image);
    for (uint32_t i = 0; i < r->image.page_count; i++)
        held += (uint32_t)__builtin_popcount(r->image.info[i].good | r->image.info[i].absent);
    j.checked = held >= 2; /* one holds by chance in a row of a million */
    if (r->image.bad_pages && j.checked)
        row_decode(&r->kv->vol, ref, &r->image);
    j.closed = j.checked && (r->image.bad_pages == 0 || r->image.lost_groups == 0);
    return j;
}

static int collect_records(struct replay *r, struct row_ref ref, const struct judged *j,
                           struct row_records *rr, bool unreadable[MAX_ROW_PAGES])
{
    struct pmkv *kv = r->kv;
    rr->count = 0;
    memset(rr->merged, 0, row_payload(kv));
    memset(unreadable, 1, MAX_ROW_PAGES);
    uint64_t slots[2 * LANE_SETS * MAX_PARITY + 1] = {1}; /* a mirror's twin is its parity column */
    uint32_t count = twins_are_parity(kv)
                         ? kv->vol.layout.parity_columns
                         : twin_slots_of(r, ref, slots, 2 * LANE_SETS * MAX_PARITY);
    if (j->closed)
        count = 0;
    slots[count] = 0; /* twins first, the row's bare bytes last (I11) */
    for (uint32_t i = 0; i <= count; i++) {
        build_candidate(r, ref, slots[i], r->candidate, unreadable);
        row_parse(kv, ref, r->candidate, row_payload(kv), merge_record, rr);
    }
    /* Had anything been stored to the row, a twin would name it: one that can be read and does not
     * is word enough that nothing was. */
    bool has_twins = kv->vol.layout.parity_columns > 0 && !twins_are_parity(kv);
    for (uint32_t p = 0; has_twins && count == 0 && p < kv->vol.layout.row_pages; p++)
        unreadable[p] = unreadable[p] && r->twin_unreadable[p];
    return rr->no_memory ? -ENOMEM : 0;
}

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

/* Members of batches that count, of which only the name is left. */
static void note_lost_members(struct pmkv *kv, uint32_t segment, const struct gathering *g)
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

/* What the rows behind a row, and the row itself, say of it. */
struct testimony {
    bool fenced;       /* all its commits were */
    bool close_fenced; /* so were its checks and parity */
    bool used_known;   /* exactly so much of it holds commits: */
    uint32_t used;     /* payload bytes */
};

static uint32_t last_epoch_of(const struct row_records *rr)
{
    uint32_t last = 0;
    for (uint32_t i = 0; i < rr->count; i++) {
        uint32_t start = epoch_line(record_epoch(&rr->list[i].h)) * LINE_BYTES;
        last = start > last ? start : last;
    }
    return last;
}

/* Behind the last record: what is missing there. Returns whether something is. */
static bool settle_end(struct replay *r, struct row_ref ref, const struct testimony *t,
                       uint32_t end, const bool unreadable[MAX_ROW_PAGES])
{
    uint32_t to = t->used_known ? t->used : row_payload(r->kv);
    bool missing = end < to;
    if (t->close_fenced) {
        missing = missing && range_has_lost(r, end, to);
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

/* Walks the records; returns where the row ends, cuts what is behind the tail, enters losses. */
static uint32_t settle_row(struct replay *r, struct row_ref ref, const struct testimony *t,
                           struct row_records *rr, const bool unreadable[MAX_ROW_PAGES],
                           bool *damaged)
{
    uint32_t expected = 0, kept = 0, last_epoch = last_epoch_of(rr);
    for (uint32_t i = 0; i < rr->count; i++) {
        const struct found_record *f = &rr->list[i];
        if (t->used_known && f->offset >= t->used)
            break; /* of a commit that was given up */
        uint32_t due = place_due(f, expected);
        bool hole = f->offset > due;
        if (hole && !t->fenced && due >= last_epoch)
            break; /* the torn tail */
        if (hole && (!t->fenced || range_has_lost(r, due, f->offset))) {
            note_lost_range(r, ref, due, f->offset);
            *damaged = true;
        }
        if (!f->good && !t->fenced && f->offset >= last_epoch) {
            *damaged |= settle_doubtful(r, ref, rr, f, unreadable);
            break;
        }
        expected = found_end(f);
        *damaged |= !f->good;
        if (f->good)
            rr->list[kept++] = *f;
        else
            settle_bad_value(r, ref, rr, f, &kept);
    }
    rr->count = kept;
    uint32_t end = line_up(expected);
    *damaged |= settle_end(r, ref, t, end, unreadable);
    memset(rr->merged + expected, 0, row_payload(r->kv) - expected);
    return end;
}

/* --- completing ------------------------------------------------------------------------------- */

static int fence(struct pmkv *kv)
{
    if (media_drain(kv->vol.media) == 0)
        return 0;
    write_failure(kv);
    return -EIO;
}

/* Stores a page's payload in the row and in every twin that is marked as its. What faults is mended
 * when the row is closed. */
static void store_everywhere(struct replay *r, const struct row_buf *buf, uint32_t page)
{
    struct pmkv *kv = r->kv;
    const uint8_t *bytes = buf->data + page * PAGE_BYTES;
    uint32_t in_row = twins_are_parity(kv) ? row_copies(kv) : 1;
    for (uint32_t copy = 0; copy < in_row; copy++)
        media_store(kv->vol.media, row_copy_off(kv, buf, copy, page), bytes, PAGE_PAYLOAD_BYTES);
    for (uint32_t i = 0; i < r->twin_count; i++) {
        const struct twin_page *t = &r->twins[i];
        if (t->segment == buf->segment && t->row == buf->row && t->generation == buf->generation &&
            t->page == page)
            media_store(kv->vol.media, t->off, bytes, PAGE_PAYLOAD_BYTES);
    }
}

/* I1, in two fences, because a check that holds says that the row's payload was fenced:
 *   1. the payload in every copy, zeros behind the tail   a crash leaves torn lines as torn as they
 * were
 *   2. checks and parity                                  a crash leaves a row as at a torn close
 */
static int complete_row(struct replay *r, struct row_buf *buf)
{
    struct lane whole = {.whole_rows = true};
    for (uint32_t p = 0; p < r->kv->vol.layout.row_pages; p++)
        store_everywhere(r, buf, p);
    int rc = fence(r->kv);
    if (rc == 0)
        rc = row_close_store(r->kv, &whole, buf);
    if (rc == 0)
        rc = fence(r->kv);
    if (rc == 0)
        buf->state = ROW_CLOSED;
    return rc;
}

static void fill_buf(struct pmkv *kv, struct row_buf *buf, struct row_ref ref,
                     const uint8_t *payload, uint32_t fill)
{
    buf->state = ROW_OPEN;
    buf->segment = ref.segment;
    buf->row = ref.row;
    buf->generation = ref.generation;
    buf->fill = buf->stored = fill;
    buf->lines_used = fill / LINE_BYTES;
    for (uint32_t p = 0; p < kv->vol.layout.row_pages; p++)
        memcpy(buf->data + p * PAGE_BYTES, payload + p * PAGE_PAYLOAD_BYTES, PAGE_PAYLOAD_BYTES);
}

int replay_keep_ghost(struct replay *r, struct row_buf *buf)
{
    struct pmkv *kv = r->kv;
    struct lane *ghosts = realloc(kv->ghosts, (kv->ghost_count + 1) * sizeof *ghosts);
    if (!ghosts)
        return -ENOMEM;
    kv->ghosts = ghosts;
    struct lane *g = &ghosts[kv->ghost_count++];
    *g = (struct lane){.segment = -1};
    g->rows[0] = *buf;
    for (uint32_t i = 0; i < kv->ghost_count; i++) /* nobody runs yet */
        pthread_mutex_init(&ghosts[i].lock, NULL);
    *buf = (struct row_buf){0};
    return 0;
}

int replay_complete_damaged(struct replay *r)
{
    struct pmkv *kv = r->kv;
    int rc = 0;
    if (kv->opts.read_only)
        return 0;
    for (uint32_t i = 0; i < kv->ghost_count; i++) {
        if (rc == 0)
            rc = complete_row(r, &kv->ghosts[i].rows[0]);
        lane_fini(&kv->ghosts[i]);
    }
    free(kv->ghosts);
    kv->ghosts = NULL;
    kv->ghost_count = 0;
    return rc;
}

static int finish_row(struct replay *r, struct row_ref ref, const struct row_records *rr,
                      uint32_t fill, bool damaged)
{
    struct row_buf buf;
    int rc = row_buf_alloc(r->kv, &buf);
    if (rc)
        return rc;
    fill_buf(r->kv, &buf, ref, rr->merged, fill);
    if (r->kv->opts.read_only || damaged) /* completed when its losses are durable */
        rc = replay_keep_ghost(r, &buf);
    else
        rc = complete_row(r, &buf);
    row_buf_free(&buf);
    return rc;
}

/* --- segments --------------------------------------------------------------------------------- */

/* Where the rows of a segment end. */
struct segment_tail {
    uint32_t content; /* rows up to the last with anything of this generation in it */
    bool behind;      /* the first page of the row behind it cannot be read in any copy: there
                         may have been commits in it (I10) */
    struct testimony before; /* what that last row says of the row before it */
};

/* The first commit of a row is stored with the close of the row before under one fence, unless it
 * says that the close was fenced before; every later commit comes after that fence (I10). */
static struct testimony testify_of_row_before(const struct row_records *rr)
{
    struct testimony t = {.fenced = true};
    for (uint32_t i = 0; i < rr->count; i++) {
        uint16_t epoch = record_epoch(&rr->list[i].h);
        uint32_t used = (epoch & ~(uint32_t)EPOCH_FIRST) * LINE_BYTES;
        if (epoch_is_first(epoch)) {
            t.used_known = used <= row_payload(rr->kv);
            t.used = t.used_known ? used : 0;
        } else {
            t.close_fenced = true;
        }
    }
    return t;
}

static int find_segment_tail(struct replay *r, uint32_t segment, struct row_records *rr,
                             struct segment_tail *out)
{
    bool unreadable[MAX_ROW_PAGES];
    *out = (struct segment_tail){.content = r->kv->vol.layout.segment_rows};
    for (; out->content > 0; out->content--) {
        struct row_ref ref = row_ref_of(r->kv, segment, out->content - 1);
        struct judged j = load_row(r, ref);
        int rc = collect_records(r, ref, &j, rr, unreadable);
        if (rc)
            return rc;
        if (j.checked || rr->count > 0)
            break;
        out->behind = unreadable[0];
    }
    if (out->content > 0)
        out->before = testify_of_row_before(rr);
    return 0;
}

static struct testimony testimony_of_later_rows(const struct segment_tail *tail, uint32_t row)
{
    uint32_t later = tail->content > row ? tail->content - 1 - row : 0;
    if (later == 1)
        return tail->before;
    bool may_be = tail->behind && row + 1 == tail->content;
    return (struct testimony){.fenced = later > 0 || may_be, .close_fenced = later > 0};
}

/* What is left of a record with a bad value is its name, which is taken here. */
static int gather_records(struct replay *r, struct row_ref ref, const struct row_records *rr,
                          struct gathering *g)
{
    for (uint32_t i = 0; i < rr->count; i++) {
        const struct found_record *f = &rr->list[i];
        struct parsed p = {.h = f->h,
                           .offset = f->offset,
                           .key = rr->merged + f->offset + RECORD_HEADER_BYTES,
                           .value_good = f->good};
        p.pos = pos_make(&r->kv->shape, (struct row_place){ref.segment, ref.row, f->offset});
        if (gathering_add(g, &p))
            return -ENOMEM;
        g->records[g->count - 1].lost = !f->good;
        if (!f->good)
            memset(rr->merged + f->offset, 0, found_end(f) - f->offset);
    }
    return 0;
}

static bool stored_whole(const struct row_records *rr)
{
    return rr->count > 0 && record_epoch(&rr->list[0].h) == EPOCH_WHOLE_ROW;
}

static int recover_row(struct replay *r, struct row_ref ref, struct testimony t,
                       struct row_records *rr, struct gathering *g)
{
    bool unreadable[MAX_ROW_PAGES], damaged = false;
    struct judged j = load_row(r, ref);
    int rc = collect_records(r, ref, &j, rr, unreadable);
    if (rc)
        return rc;
    struct segment *s = &r->kv->segments[ref.segment];
    if (s->retired_rows >> ref.row & 1) {
        if (!j.checked && rr->count == 0 && t.used == 0)
            return 0; /* it was out of use before anything was written to it */
        atomic_store(&s->evacuate, true);
    }
    t.fenced |= j.closed || (j.checked && !stored_whole(rr));
    t.close_fenced |= j.closed;
    uint32_t fill = settle_row(r, ref, &t, rr, unreadable, &damaged);
    rc = gather_records(r, ref, rr, g);
    if (rc == 0 && !j.closed)
        rc = finish_row(r, ref, rr, fill, damaged);
    if (rc == 0 && j.closed && r->image.bad_pages)
        for (uint32_t i = 0; i < r->image.page_count; i++) {
            const struct row_page *p = &r->image.info[i];
            const struct layout *l = &r->kv->vol.layout;
            if ((p->good | p->absent) != 0xffff || p->poisoned)
                damage_found(r->kv, p->poisoned ? DAMAGE_POISON : DAMAGE_CHECK,
                             layout_chunk_page_off(l, ref.segment, ref.row, i / l->chunk_pages,
                                                   i % l->chunk_pages),
                             "row, at open");
        }
    return rc;
}

int replay_segment_rows(struct replay *r, uint32_t segment)
{
    struct pmkv *kv = r->kv;
    struct segment *s = &kv->segments[segment];
    struct row_records rr = {.kv = kv, .merged = r->merged};
    struct gathering g = {.kv = kv};
    struct segment_tail tail;
    int rc = find_segment_tail(r, segment, &rr, &tail);
    uint32_t rows = tail.content + tail.behind;
    for (uint32_t row = 0; row < rows && rc == 0; row++)
        rc = recover_row(r, row_ref_of(kv, segment, row), testimony_of_later_rows(&tail, row), &rr,
                         &g);
    gathering_settle(&g);
    note_lost_members(kv, segment, &g);
    entries_clear(&s->pending);
    if (rc == 0)
        rc = gathering_entries(&g, &s->pending);
    s->rows_used = rows;
    s->part_count = 0;
    atomic_store(&s->rows_durable, kv->opts.read_only ? 0 : rows);
    gathering_free(&g);
    free(rr.list);
    return rc;
}

/* --- after a clean close ---------------------------------------------------------------------- */

bool replay_tail(struct replay *r, uint32_t segment, uint32_t row, uint32_t fill,
                 struct row_buf *buf)
{
    struct pmkv *kv = r->kv;
    struct row_ref ref = row_ref_of(kv, segment, row);
    struct row_records rr = {.kv = kv, .merged = r->merged};
    bool unreadable[MAX_ROW_PAGES];
    struct judged j = load_row(r, ref);
    uint32_t expected = 0;
    bool whole = fill <= row_payload(kv) && collect_records(r, ref, &j, &rr, unreadable) == 0;
    for (uint32_t i = 0; i < rr.count && whole; i++) {
        whole = rr.list[i].good && rr.list[i].offset <= line_up(expected);
        expected = found_end(&rr.list[i]);
    }
    whole = whole && line_up(expected) == fill;
    if (whole)
        fill_buf(kv, buf, ref, rr.merged, fill);
    free(rr.list);
    return whole;
}
