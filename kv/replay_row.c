/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Recovering rows that no summary covers: those of segments a lane was writing.
 *
 *   1. copies    a row decodes whole: it is closed, and its records are parsed. Else, by place:
 *                groups that check or decode, then a twin's bytes, then the row's own (I11); a
 *                record is there where some copy gives it, header and value checked, bound to its
 *                place
 *   2. settle    what is missing between records (a gap) is
 *                  damage, if the row was fenced: the segment's header says so, or a later row of
 *                  the segment has content, or checks of the row hold (they are stored at the
 *                  close, after all its commits were fenced; of rows stored whole they say
 *                  nothing), or a later epoch of the row is there (I10)
 *                  damage that ends the row, if no copy of the place can be read
 *                  the tail else: a torn write nobody was told about; the row ends there
 *   3. complete  the row is written in place with parity and checks, and fenced, before anything in
 *                it becomes visible (I1); the twins are used again only after that. Doing it twice
 *                writes the same bytes
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/media.h"
#include "damage.h"
#include "lane.h"
#include "lost.h"
#include "replay_row.h"

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
 *   1. the payload in every copy, zeros behind the tail   a crash leaves torn lines as they were
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
        struct judged j = row_judge(r, ref);
        int rc = row_collect(r, ref, &j, rr, unreadable);
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
    /* unreached: gcc asks this of the last row alone, for which it is so. */
    bool may_be = tail->behind && row + 1 == tail->content;
    return (struct testimony){.fenced = later > 0 || may_be, .close_fenced = later > 0};
}

/* The headers speak of rows whose close was fenced when they were written. */
static struct testimony testimony_of_row(const struct segment *s, const struct segment_tail *tail,
                                         uint32_t row)
{
    struct testimony t = testimony_of_later_rows(tail, row);
    if (row < s->closed_rows)
        t.fenced = t.close_fenced = true;
    return t;
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

/* Its kind says so, or (before format version 3) the first record. */
static bool stored_whole(const struct segment *s, const struct row_records *rr)
{
    return s->kind == KIND_WHOLE ||
           (rr->count > 0 && record_epoch(&rr->list[0].h) == EPOCH_WHOLE_ROW);
}

static int recover_row(struct replay *r, struct row_ref ref, struct testimony t,
                       struct row_records *rr, struct gathering *g)
{
    bool unreadable[MAX_ROW_PAGES], damaged = false;
    struct judged j = row_judge(r, ref);
    int rc = row_collect(r, ref, &j, rr, unreadable);
    if (rc) /* unreached: memory runs out at a row of more records than those behind it */
        return rc;
    struct segment *s = &r->kv->segments[ref.segment];
    if (s->retired_rows >> ref.row & 1) {
        /* unreached: all of a retired row is lost, and the row behind says how much that was. */
        if (!j.checked && rr->count == 0 && t.used == 0)
            return 0; /* it was out of use before anything was written to it */
        atomic_store(&s->evacuate, true);
    }
    bool whole = stored_whole(s, rr);
    t.fenced |= j.checked && !whole;
    t.close_fenced |= j.closed && !whole;
    uint32_t fill = row_settle(r, ref, &t, rr, unreadable, &damaged);
    rc = gather_records(r, ref, rr, g);
    /* What parity gives may be what a torn close lacks: without the twins (I12) the next page that
     * goes would be one too many. Or it is what the completion of a torn row was just replacing. */
    bool complete = j.closed && r->image.bad_pages == 0;
    if (rc == 0 && !complete)
        rc = finish_row(r, ref, rr, fill, damaged);
    if (rc == 0 && j.closed && r->image.bad_pages)
        for (uint32_t i = 0; i < r->image.page_count; i++) {
            const struct row_page *p = &r->image.info[i];
            const struct layout *l = &r->kv->vol.layout;
            /* unreached: no group is good in a page with poison (row_load). */
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
    if (rows < s->closed_rows)
        rows = s->closed_rows;
    for (uint32_t row = 0; row < rows && rc == 0; row++)
        rc = recover_row(r, row_ref_of(kv, segment, row), testimony_of_row(s, &tail, row), &rr, &g);
    gathering_settle(&g);
    settle_lost_members(kv, segment, &g);
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
    struct judged j = row_judge(r, ref);
    uint32_t expected = 0;
    /* unreached: tail_valid has asked. */
    bool whole = fill <= row_payload(kv) && row_collect(r, ref, &j, &rr, unreadable) == 0;
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
