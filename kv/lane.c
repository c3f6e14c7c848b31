/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "lane.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/errmsg.h"
#include "../recovery/media.h"
#include "../recovery/thread_number.h"
#include "damage.h"
#include "scrub.h"

/* --- life ------------------------------------------------------------------------------------- */

int lane_init(struct pmkv *kv, struct lane *lane, enum lane_kind kind)
{
    const struct layout *l = &kv->vol.layout;
    pthread_mutex_init(&lane->lock, NULL);
    lane->kind = kind;
    lane->whole_rows = kind == LANE_CLEANER || kind == LANE_LONG;
    lane->segment = -1;
    for (uint32_t i = 0; i < LANE_SETS; i++) {
        struct row_buf *buf = &lane->rows[i];
        buf->data = aligned_alloc(PAGE_BYTES, (size_t)l->row_pages * PAGE_BYTES);
        if (!buf->data)
            return -ENOMEM;
        /* A repair stores whole pages, also what no record was put to yet. What a process left in
         * its heap has no place there: with the same row of an earlier open of the pool in it, a
         * record that was given up then would hold again. */
        memset(buf->data, 0, (size_t)l->row_pages * PAGE_BYTES);
        for (uint32_t m = 0; m < l->parity_columns; m++) {
            buf->parity[m] = aligned_alloc(PAGE_BYTES, (size_t)l->chunk_pages * PAGE_BYTES);
            if (!buf->parity[m])
                return -ENOMEM;
        }
    }
    return 0;
}

void lane_fini(struct lane *lane)
{
    for (uint32_t i = 0; i < LANE_SETS; i++) {
        free(lane->rows[i].data);
        for (uint32_t m = 0; m < MAX_PARITY; m++)
            free(lane->rows[i].parity[m]);
    }
    pthread_mutex_destroy(&lane->lock);
}

struct lane *lane_pick(struct pmkv *kv)
{
    uint32_t home = thread_number();
    for (uint32_t i = 0; i < kv->lane_count; i++) {
        struct lane *lane = &kv->lanes[(home + i) % kv->lane_count];
        if (lane_try_lock(lane))
            return lane;
    }
    struct lane *lane = &kv->lanes[home % kv->lane_count];
    pthread_mutex_lock(&lane->lock);
    return lane;
}

void lane_lock(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
}

bool lane_try_lock(struct lane *lane)
{
    return pthread_mutex_trylock(&lane->lock) == 0;
}

void lane_lock_beside(struct lane *lane)
{
    enum { TRIES = 64 }; /* a writer has it for a microsecond, most of the time it is at work */
    for (int i = 0; i < TRIES; i++) {
        if (lane_try_lock(lane))
            return;
        sched_yield();
    }
    pthread_mutex_lock(&lane->lock);
}

void lane_unlock(struct lane *lane)
{
    pthread_mutex_unlock(&lane->lock);
}

struct lane *lane_holding(struct pmkv *kv, struct row_ref ref, struct row_buf **buf)
{
    for (uint32_t i = 0; i < kv->lane_total + kv->ghost_count; i++) {
        uint32_t lanes = kv->lane_total;
        struct lane *lane = i < lanes ? &kv->lanes[i] : &kv->ghosts[i - lanes];
        lane_lock_beside(lane);
        for (uint32_t k = 0; k < LANE_SETS; k++) {
            struct row_buf *b = &lane->rows[k];
            if ((b->state == ROW_OPEN || b->state == ROW_CLOSING) && b->segment == ref.segment &&
                b->row == ref.row && b->generation == ref.generation) {
                *buf = b;
                return lane;
            }
        }
        lane_unlock(lane);
    }
    return NULL;
}

struct lane *lane_writing(struct pmkv *kv, uint32_t segment)
{
    for (uint32_t i = 0; i < kv->lane_total; i++) {
        lane_lock_beside(&kv->lanes[i]);
        if (kv->lanes[i].segment == segment)
            return &kv->lanes[i];
        lane_unlock(&kv->lanes[i]);
    }
    return NULL;
}

/* --- a commit --------------------------------------------------------------------------------- */

static struct row_buf *current_row(struct lane *lane)
{
    return &lane->rows[lane->current];
}

uint32_t lane_room(const struct pmkv *kv, const struct lane *lane)
{
    const struct row_buf *buf = &lane->rows[lane->current];
    return buf->state == ROW_OPEN && !lane->must_close ? row_payload(kv) - buf->fill : 0;
}

/* Steps 3 and 4 for a whole row outside of any commit. */
int lane_close_row(struct pmkv *kv, struct lane *lane)
{
    struct row_buf *buf = current_row(lane);
    if (buf->state == ROW_OPEN && (buf->fill > 0 || lane->must_close)) {
        int rc = row_close_store(kv, lane, buf);
        if (rc)
            return rc;
    }
    if (media_drain(kv->vol.media)) {
        write_failure(kv);
        return -EIO;
    }
    row_closed(kv, lane);
    return 0;
}

int lane_finish_segment(struct pmkv *kv, struct lane *lane)
{
    if (lane->segment < 0)
        return 0;
    int rc = lane_close_row(kv, lane);
    if (rc == 0)
        rc = segment_note_closed(kv, (uint32_t)lane->segment);
    if (rc)
        return rc;
    struct segment *s = &kv->segments[lane->segment];
    if (current_row(lane)->state == ROW_OPEN) { /* opened, never used */
        current_row(lane)->state = ROW_IDLE;
        s->rows_used--;
    }
    s->sealed_seq = atomic_load_explicit(&kv->counter, memory_order_relaxed);
    atomic_store_explicit(&s->state, SEGMENT_SEALED, memory_order_release);
    lane->segment = -1; /* the keeper seals the segment: who takes the next one wakes it */
    return 0;
}

/* Rows the lane's segment still has for a commit of several rows. */
static uint32_t rows_left(const struct pmkv *kv, const struct lane *lane)
{
    uint32_t left = 0;
    if (lane->segment >= 0)
        for (uint32_t r = lane->next_row; r < kv->vol.layout.segment_rows; r++)
            left += !(kv->segments[lane->segment].retired_rows >> r & 1);
    return left;
}

static int begin_in_next_row(struct pmkv *kv, struct lane *lane, uint32_t rows,
                             enum space_class class)
{
    struct row_buf *buf = current_row(lane);
    if (buf->state == ROW_OPEN && buf->fill == 0 && !lane->must_close &&
        rows_left(kv, lane) + 1 >= rows)
        return 0; /* opened by a commit that gave up: use it */
    if (buf->state == ROW_OPEN) {
        int rc = row_close_store(kv, lane, buf);
        if (rc)
            return rc;
    }
    while (rows > 1) {
        if (rows_left(kv, lane) >= rows)
            break;
        int rc = lane_finish_segment(kv, lane);
        if (rc == 0)
            rc = row_open_next(kv, lane, class);
        if (rc || rows_left(kv, lane) + 1 >= rows)
            return rc;
    }
    return row_open_next(kv, lane, class);
}

int lane_begin(struct pmkv *kv, struct lane *lane, uint64_t bytes, uint32_t rows,
               enum space_class class)
{
    if (rows > 1 || bytes > lane_room(kv, lane)) {
        int rc = begin_in_next_row(kv, lane, rows, class);
        if (rc)
            return rc;
    }
    lane->epoch_start = current_row(lane)->fill;
    lane->added = 0;
    lane->mark = entries_mark(&kv->segments[lane->segment].pending);
    return 0;
}

static void pad_to_line(struct row_buf *buf)
{
    uint8_t *page = buf->data + buf->fill / PAGE_PAYLOAD_BYTES * PAGE_BYTES;
    for (; buf->fill % LINE_BYTES != 0; buf->fill += 8) /* records pack to 8 B, pages are lines */
        memset(page + buf->fill % PAGE_PAYLOAD_BYTES, 0, 8);
}

/* A commit of several rows: what is in this row is fenced before the next row is begun, so that a
 * row with anything behind it is known to have been whole (I10). */
static int commit_crosses_row(struct pmkv *kv, struct lane *lane)
{
    struct row_buf *buf = current_row(lane);
    pad_to_line(buf);
    if (!row_store(kv, lane, buf))
        return -EFAULT;
    if (media_drain(kv->vol.media)) {
        write_failure(kv);
        return -EIO;
    }
    row_closed(kv, lane);
    buf->lines_used = buf->fill / LINE_BYTES;
    int rc = row_close_store(kv, lane, buf);
    return rc ? rc : row_open_next(kv, lane, SPACE_META);
}

_Static_assert(MAX_ROW_PAGES *PAGE_PAYLOAD_BYTES / LINE_BYTES < EPOCH_FIRST, "lines of a row");

static uint16_t epoch_now(const struct lane *lane)
{
    const struct row_buf *before = &lane->rows[lane->current ^ 1];
    if (lane->whole_rows)
        return EPOCH_WHOLE_ROW;
    if (lane->epoch_start == 0 && before->state == ROW_CLOSING)
        return (uint16_t)(EPOCH_FIRST | before->lines_used);
    return (uint16_t)(lane->epoch_start / LINE_BYTES);
}

static int note_entry(struct pmkv *kv, struct row_buf *buf, const struct draft *d)
{
    if (d->type == RECORD_COMMIT || d->type == RECORD_META)
        return 0;
    struct entry e = {.type = d->type,
                      .start = (uint64_t)buf->row * row_payload(kv) + buf->fill,
                      .seq = d->seq,
                      .key_bytes = d->key_bytes,
                      .value_bytes = d->value_bytes,
                      .key = d->key,
                      .hash = d->key_hash};
    return entries_add(&kv->segments[buf->segment].pending, &e);
}

/* The record's bytes, and zeros up to `need`, at the row's fill. */
static void write_record(struct row_buf *buf, const struct record_header *h, const struct draft *d,
                         uint32_t need)
{
    uint32_t key_at = buf->fill + (uint32_t)sizeof *h, value_at = key_at + d->key_bytes;
    uint32_t end = value_at + d->value_bytes, in = buf->fill % PAGE_PAYLOAD_BYTES;
    if (in + need <= PAGE_PAYLOAD_BYTES && !d->hash_value) { /* nearly all of the shorter ones */
        uint8_t *to = buf->data + buf->fill / PAGE_PAYLOAD_BYTES * PAGE_BYTES + in;
        memset(to + need - 8, 0, 8); /* records pack to 8 B: padding is less */
        memcpy(to, h, sizeof *h);
        memcpy(to + sizeof *h, d->key, d->key_bytes);
        if (d->value_bytes)
            memcpy(to + sizeof *h + d->key_bytes, d->value, d->value_bytes);
        return;
    }
    row_buf_write(buf, buf->fill, h, sizeof *h);
    row_buf_write(buf, key_at, d->key, d->key_bytes);
    if (d->value_bytes && !d->hash_value)
        row_buf_write(buf, value_at, d->value, d->value_bytes);
    row_buf_zero(buf, end, buf->fill + need - end);
}

int lane_add(struct pmkv *kv, struct lane *lane, struct draft *d, struct log_pos *pos)
{
    uint32_t need = (uint32_t)record_packed(d->key_bytes, d->value_bytes);
    if (need > lane_room(kv, lane)) {
        int rc = commit_crosses_row(kv, lane);
        if (rc)
            return rc;
    }
    struct row_buf *buf = current_row(lane);
    if (note_entry(kv, buf, d))
        return -ENOMEM;
    *pos = pos_make(&kv->shape, (struct row_place){buf->segment, buf->row, buf->fill});
    uint32_t value_at = buf->fill + RECORD_HEADER_BYTES + d->key_bytes;
    if (d->hash_value && lane->kind == LANE_LONG)
        d->value_hash = row_fill_hashed(kv, buf, value_at, d->value, d->value_bytes);
    else if (d->hash_value)
        d->value_hash = row_buf_write_hashed(buf, value_at, d->value, d->value_bytes);
    struct record_header h = {.type = d->type,
                              .flags = d->flags,
                              .key_bytes = (uint16_t)d->key_bytes,
                              .value_bytes = d->value_bytes,
                              .seq = d->seq,
                              .value_hash = d->value_hash};
    record_stamp(&h, epoch_now(lane), d->key_hash,
                 record_secret(kv->vol.secret, buf->generation, *pos));
    d->check_epoch = h.check_epoch;
    write_record(buf, &h, d, need);
    buf->fill += need;
    lane->added++;
    count32(&kv->segments[buf->segment].added, 1);
    count32(&kv->segments[buf->segment].stored_units, (uint32_t)units_of(need));
    return 0;
}

/* The lines that were stored are stored again as zeros where that works, so that the row's checks
 * hold; the row is closed, for a position never gets other content (I1). Two fences, for a check
 * that holds says that the row's payload was fenced: under one, a crash could leave the close and
 * what was given up, and recovery would take that for a commit with damage in it. */
void lane_abandon(struct pmkv *kv, struct lane *lane)
{
    struct row_buf *buf = current_row(lane);
    entries_rewind(&kv->segments[buf->segment].pending, lane->mark);
    count32(&kv->segments[buf->segment].added, -lane->added);
    lane->added = 0;
    if (buf->state != ROW_OPEN)
        return;
    if (atomic_load(
            &kv->write_failed)) { /* the outcome is unknown; its checks and parity may be in */
        lane->must_close = true;
        return;
    }
    row_regress(kv, buf, lane->epoch_start);
    uint32_t end = buf->fill;
    for (uint32_t at = lane->epoch_start; at < end;) {
        uint32_t in = at % PAGE_PAYLOAD_BYTES;
        uint32_t part = PAGE_PAYLOAD_BYTES - in < end - at ? PAGE_PAYLOAD_BYTES - in : end - at;
        memset(buf->data + at / PAGE_PAYLOAD_BYTES * PAGE_BYTES + in, 0, part);
        at += part;
    }
    buf->stored = lane->epoch_start;
    buf->fill = (end + LINE_BYTES - 1) & ~(uint32_t)(LINE_BYTES - 1);
    row_store(kv, lane, buf);
    buf->fill = buf->stored = lane->epoch_start;
    lane->must_close = true;
    if (media_drain(kv->vol.media)) {
        write_failure(kv);
        return;
    }
    row_closed(kv, lane);
    if (row_close_store(kv, lane, buf))
        return; /* I14: closed when the medium answers again */
    if (media_drain(kv->vol.media))
        write_failure(kv);
    row_closed(kv, lane);
}

int lane_store(struct pmkv *kv, struct lane *lane)
{
    struct row_buf *buf = current_row(lane);
    pad_to_line(buf);
    if (!row_commit(kv, buf)) {
        lane_abandon(kv, lane);
        return lane->must_close ? -EIO : -EFAULT;
    }
    return 0;
}

int lane_fence(struct pmkv *kv, struct lane *lane)
{
    if (media_drain(kv->vol.media)) {
        write_failure(kv);
        lane_abandon(kv, lane);
        return -EIO;
    }
    row_closed(kv, lane);
    current_row(lane)->lines_used = current_row(lane)->fill / LINE_BYTES;
    lane->added = 0;
    return 0;
}

int lane_commit(struct pmkv *kv, struct lane *lane)
{
    int rc = lane_store(kv, lane);
    return rc ? rc : lane_fence(kv, lane);
}

int lane_resume_row(struct pmkv *kv, struct lane *lane)
{
    struct row_buf *buf = current_row(lane);
    if (lane->segment >= 0 && !lane->whole_rows && twins_too_near(kv, lane, lane->segment))
        return lane_finish_segment(kv, lane);
    if (buf->state != ROW_OPEN || lane->whole_rows)
        return 0;
    buf->groups_done = buf->secret_of = 0;
    row_progress(kv, buf);
    if (!row_store_twins(kv, buf))
        return err_fact(-EIO, "the twins of an open row could not be stored");
    return media_drain(kv->vol.media);
}

static bool must_leave(const struct pmkv *kv, const struct lane *lane)
{
    int64_t segment = atomic_load_explicit(&lane->segment, memory_order_relaxed);
    bool spare = lane == kv->long_lane && segment_room(kv, SPACE_PUT) <= 0;
    return segment >= 0 &&
           (spare || atomic_load_explicit(&kv->segments[segment].evacuate, memory_order_relaxed));
}

/* Looks before it locks: it is asked all the time, and next to never has anything to do. */
void lanes_leave_evacuated(struct pmkv *kv)
{
    for (uint32_t i = 0; i < kv->lane_total; i++) {
        struct lane *lane = &kv->lanes[i];
        if (lane == kv->cleaner || !must_leave(kv, lane))
            continue; /* the cleaner's row may hold moves not published yet; it goes on soon */
        lane_lock_beside(lane);
        if (must_leave(kv, lane))
            lane_finish_segment(kv, lane);
        lane_unlock(lane);
    }
}
