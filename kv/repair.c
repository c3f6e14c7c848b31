/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "repair.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/media.h"
#include "damage.h"
#include "lane.h"
#include "lost.h"
#include "segment.h"

/* --- the write, and what follows from it ------------------------------------------------------ */

static void note_repaired(struct pmkv *kv, uint64_t off)
{
    pthread_mutex_lock(&kv->work_lock);
    queue_remove(&kv->behind, off);
    bool was_bad = queue_remove(&kv->pending, off);
    if (was_bad) {
        queue_add(&kv->repaired, off);
        kv->life.pages_repaired++;
        kv->scan.repaired_pages += kv->scan_running_now;
    }
    pthread_mutex_unlock(&kv->work_lock);
    if (!was_bad)
        return; /* a copy that a crash left behind; or it was repaired meanwhile, and that was told
                 */
    event_send(kv, PMKV_EVENT_REPAIRED, off, PAGE_BYTES, "the page at 0x%llx is good again",
               (unsigned long long)off);
}

static void note_retired(struct pmkv *kv, uint64_t off)
{
    pthread_mutex_lock(&kv->work_lock);
    queue_remove(&kv->pending, off);
    bool fresh = queue_add(&kv->unfixable, off);
    if (fresh) {
        kv->life.pages_retired++;
        kv->scan.retired_pages += kv->scan_running_now;
    }
    pthread_mutex_unlock(&kv->work_lock);
    if (!fresh)
        return; /* told already */
    event_send(kv, PMKV_EVENT_RETIRED, off, PAGE_BYTES,
               "the page at 0x%llx cannot be cleared and is out of use", (unsigned long long)off);
}

/* Is it the page that cannot be cleared, or can nothing be written through this door? The pages
 * behind the first superblock copy hold nothing, and need no clearing. Where a loss unit is more
 * than a page they are one unit with that copy, and are left alone. */
static bool door_works(struct pmkv *kv)
{
    static const _Alignas(64) uint8_t zeros[PAGE_BYTES];
    if (kv->vol.layout.loss_unit > PAGE_BYTES || kv->vol.media->loss_unit > PAGE_BYTES)
        return true;
    for (uint64_t off = PAGE_BYTES; off <= 3 * PAGE_BYTES; off += PAGE_BYTES)
        if (media_recovery_write(media_recover(kv->vol.media, off), zeros) == 0)
            return true;
    return false;
}

/* The recovery write alone: DONE, LATER, or RETIRED when the page cannot be cleared (the caller
 * says what goes out of use with it). */
static enum repair_outcome write_page(struct pmkv *kv, uint64_t off, const uint8_t *page)
{
    /* unreached: nothing is repaired through a handle that only reads (repair_pending). */
    if (kv->opts.read_only || medium_in_doubt(kv, off))
        return REPAIR_LATER; /* I14 */
    pthread_mutex_lock(&kv->repair_lock);
    int rc = media_recovery_write(media_recover(kv->vol.media, off), page);
    if (rc == -EIO) /* once more: it may have been hit again just now, and a verdict is for good */
        rc = media_recovery_write(media_recover(kv->vol.media, off), page);
    bool verdict = rc == -EIO && door_works(kv);
    pthread_mutex_unlock(&kv->repair_lock);
    if (rc == 0) {
        note_repaired(kv, off);
        return REPAIR_DONE;
    }
    /* unreached: the medium goes between the answer of its door and here. */
    if (!verdict || medium_in_doubt(kv, off))
        return REPAIR_LATER; /* no other error is a verdict on the page (I14) */
    note_retired(kv, off);
    return REPAIR_RETIRED;
}

enum repair_outcome repair_page_now(struct pmkv *kv, uint64_t off, const uint8_t *page,
                                    uint32_t segment, uint32_t row)
{
    enum repair_outcome r = write_page(kv, off, page);
    if (r == REPAIR_RETIRED && segment_retire_row(kv, segment, row))
        return REPAIR_LATER;
    return r;
}

/* --- pages of rows ---------------------------------------------------------------------------- */

/* A page of a row some lane has in DRAM; its lane is locked. An open row's line 63 is written as
 * zeros: checks are stored at the close, and recovery takes a check for a sign of the close. */
static enum repair_outcome repair_held(struct pmkv *kv, struct row_buf *buf, struct place p,
                                       uint64_t off)
{
    const struct layout *l = &kv->vol.layout;
    _Alignas(64) uint8_t page[PAGE_BYTES] = {0};
    uint32_t number = p.column * l->chunk_pages + p.page;
    bool is_data = p.column < l->data_columns;
    bool copy_of_data = !is_data && twins_are_parity(kv);
    if (buf->state == ROW_CLOSING)
        memcpy(page,
               is_data ? buf->data + number * PAGE_BYTES
                       : buf->parity[p.column - l->data_columns] + p.page * PAGE_BYTES,
               PAGE_BYTES);
    else if (is_data || copy_of_data)
        memcpy(page, buf->data + (is_data ? number : p.page) * PAGE_BYTES, PAGE_PAYLOAD_BYTES);
    enum repair_outcome r = repair_page_now(kv, off, page, p.segment, p.row);
    if (r == REPAIR_DONE && (is_data || copy_of_data)) {
        uint32_t n = is_data ? number : p.page;
        buf->bad[copy_of_data][n / 64] &= ~(1ull << (n % 64));
    }
    return r;
}

/* A slot of twins that no lane has: zeros, unless one took it just now. */
static enum repair_outcome blank_twin(struct pmkv *kv, uint64_t off)
{
    static const _Alignas(64) uint8_t zeros[PAGE_BYTES];
    pthread_mutex_lock(&kv->twin_lock);
    /* unreached: a lane has lost its slot, to retirement, and takes this one. */
    enum repair_outcome r = twin_in_use(kv, off) ? REPAIR_LATER : write_page(kv, off, zeros);
    pthread_mutex_unlock(&kv->twin_lock);
    return r;
}

static enum repair_outcome repair_twin(struct pmkv *kv, struct place p, uint64_t off)
{
    _Alignas(64) uint8_t page[PAGE_BYTES] = {0};
    struct row_buf *buf;
    uint32_t number, n;
    struct lane *lane = twin_owner(kv, off, &buf, &number, &n);
    if (lane && (buf->state == ROW_OPEN || buf->state == ROW_CLOSING)) {
        struct twin_mark mark;
        memcpy(page, buf->data + n * PAGE_BYTES, PAGE_PAYLOAD_BYTES);
        twin_mark_encode(kv, buf, n, number, off, &mark);
        memcpy(page + PAGE_PAYLOAD_BYTES, &mark, sizeof mark);
    }
    enum repair_outcome r = lane ? write_page(kv, off, page) : blank_twin(kv, off);
    if (r == REPAIR_DONE && lane)
        buf->bad[number + 1][n / 64] &= ~(1ull << (n % 64));
    if (lane)
        lane_unlock(lane);
    const struct layout *l = &kv->vol.layout;
    uint32_t slot = (p.row * l->chunk_pages + p.page) / l->row_pages * l->columns + p.column;
    if (r == REPAIR_RETIRED && slot < 64 && segment_retire_row(kv, p.segment, slot))
        return REPAIR_LATER;
    return r;
}

/* A page of which nothing is good is made zeros first. Power may fail while it is written: its
 * check line then holds zeros or real checks, never garbage beside real ones, which decoding takes
 * for a sign that the parity is wrong (row.h). A failure is judged at the write that follows. */
static void blank_page(struct pmkv *kv, uint64_t off)
{
    static const _Alignas(64) uint8_t zeros[PAGE_BYTES];
    /* unreached: nothing is repaired through a handle that only reads. */
    if (kv->opts.read_only || medium_in_doubt(kv, off))
        return;
    pthread_mutex_lock(&kv->repair_lock);
    media_recovery_write(media_recover(kv->vol.media, off), zeros);
    pthread_mutex_unlock(&kv->repair_lock);
}

bool row_was_skipped(struct pmkv *kv, struct row_ref ref, const struct row_image *image)
{
    if (!(kv->segments[ref.segment].retired_rows >> ref.row & 1))
        return false;
    for (uint32_t i = 0; i < image->page_count; i++)
        if (image->info[i].good | image->info[i].absent)
            return false;
    return true;
}

/* Decode, check, write back: under the verdict's lock, so that of two who repair a page the second
 * finds it good, and does not put zeros where the first has said that all is well. */
static enum repair_outcome rewrite_closed(struct pmkv *kv, struct row_ref ref, struct place p,
                                          uint64_t off)
{
    struct row_image image;
    if (row_image_init(&image, &kv->vol.layout))
        return REPAIR_LATER;
    row_load(&kv->vol, ref, &image);
    uint32_t index = p.column * kv->vol.layout.chunk_pages + p.page;
    const struct row_page *info = &image.info[index];
    enum repair_outcome r = REPAIR_DONE;
    if (row_was_skipped(kv, ref, &image)) {
        row_image_free(&image);
        return REPAIR_DONE;
    }
    /* unreached: no group is good in a page with poison (row_load). */
    if ((info->good | info->absent) != 0xffff || info->poisoned) {
        row_decode(&kv->vol, ref, &image);
        row_seal(&kv->vol, ref, &image);
        bool whole = (info->good | info->absent | info->rebuilt) == 0xffff;
        if ((whole || info->poisoned) && (info->good | info->absent) == 0)
            blank_page(kv, off);
        if (whole || info->poisoned)
            r = repair_page_now(kv, off, image.pages + (size_t)index * PAGE_BYTES, ref.segment,
                                ref.row);
        if (!whole && r != REPAIR_LATER) /* I14: no verdict while the medium is away */
            r = medium_in_doubt(kv, off) ? REPAIR_LATER : REPAIR_LOST;
    }
    row_image_free(&image);
    return r;
}

/* A closed row. */
static enum repair_outcome repair_closed(struct pmkv *kv, struct row_ref ref, struct place p,
                                         uint64_t off)
{
    pthread_mutex_lock(&kv->verdict_lock);
    enum repair_outcome r = rewrite_closed(kv, ref, p, off);
    pthread_mutex_unlock(&kv->verdict_lock);
    return r;
}

/* A place without content: zeros, while nobody can begin to use it. */
static enum repair_outcome repair_empty(struct pmkv *kv, struct place p, uint64_t off)
{
    static const _Alignas(64) uint8_t zeros[PAGE_BYTES];
    enum repair_outcome r = write_page(kv, off, zeros);
    if (r == REPAIR_RETIRED && segment_retire_row(kv, p.segment, p.row))
        return REPAIR_LATER;
    return r;
}

/* A row nobody wrote yet, of a segment that is ready or open. */
static enum repair_outcome repair_unwritten(struct pmkv *kv, struct place p, uint64_t off)
{
    struct segment *s = &kv->segments[p.segment];
    enum repair_outcome r = REPAIR_LATER;
    struct lane *lane = lane_writing(kv, p.segment);
    if (lane) {
        if (p.row >= lane->next_row) /* unreached: the lane began it just now */
            r = repair_empty(kv, p, off);
        lane_unlock(lane);
        return r;
    }
    pthread_mutex_lock(&kv->segments_lock);
    uint8_t state = atomic_load(&s->state);
    /* unreached: a lane took the segment, or let go of it, since it was asked for just now. */
    if (state == SEGMENT_READY || (state >= SEGMENT_SEALED && p.row >= s->rows_used))
        r = write_page(kv, off, (const uint8_t[PAGE_BYTES]){0});
    pthread_mutex_unlock(&kv->segments_lock);
    if (r == REPAIR_RETIRED && segment_retire_row(kv, p.segment, p.row))
        return REPAIR_LATER;
    return r;
}

static enum repair_outcome repair_row_page(struct pmkv *kv, struct place p, uint64_t off)
{
    struct segment *s = &kv->segments[p.segment];
    struct row_ref ref = row_ref_of(kv, p.segment, p.row);
    struct row_buf *buf;
    if (!segment_pin(kv, p.segment, ref.generation))
        return REPAIR_LATER; /* I13: it was freed or taken just now */
    enum repair_outcome r;
    struct lane *lane = NULL;
    if (ref.generation == 0)
        r = repair_empty(kv, p, off);
    else if (s->kind == KIND_TWIN)
        r = repair_twin(kv, p, off);
    else if ((lane = lane_holding(kv, ref, &buf)) != NULL)
        r = repair_held(kv, buf, p, off);
    else if (p.row < atomic_load_explicit(&s->rows_durable, memory_order_acquire))
        r = repair_closed(kv, ref, p, off);
    else
        r = repair_unwritten(kv, p, off);
    if (lane)
        lane_unlock(lane);
    if (r == REPAIR_LOST)
        damage_given_up(kv, off);
    segment_unpin(kv, p.segment);
    if (r == REPAIR_LOST)
        lost_discover(kv, ref);
    return r;
}

/* --- the other pages -------------------------------------------------------------------------- */

static enum repair_outcome repair_header(struct pmkv *kv, struct place p, uint64_t off)
{
    _Alignas(64) uint8_t page[PAGE_BYTES] = {0};
    struct segment_header h;
    pthread_mutex_lock(&kv->header_lock);
    segment_header_encode(kv, p.segment, (uint16_t)p.column, &h);
    memcpy(page + segment_header_line(h.version), &h, sizeof h);
    enum repair_outcome r = write_page(kv, off, page);
    pthread_mutex_unlock(&kv->header_lock);
    return r;
}

static enum repair_outcome repair_superblock(struct pmkv *kv, struct place p, uint64_t off)
{
    _Alignas(64) uint8_t page[PAGE_BYTES];
    pthread_mutex_lock(&kv->super_lock);
    superblock_encode(&kv->super, p.copy, off, page);
    enum repair_outcome r = write_page(kv, off, page);
    pthread_mutex_unlock(&kv->super_lock);
    return r;
}

enum repair_outcome repair_place(struct pmkv *kv, uint64_t off)
{
    _Alignas(64) uint8_t page[PAGE_BYTES] = {0};
    struct place p = layout_locate(&kv->vol.layout, off);
    switch (p.kind) {
    case PLACE_SUPERBLOCK:
        return repair_superblock(kv, p, off);
    case PLACE_TABLE:
        table_page_encode(kv, p.copy, p.table_page, page);
        return write_page(kv, off, page);
    case PLACE_HEADER:
        return repair_header(kv, p, off);
    case PLACE_ROW:
        return repair_row_page(kv, p, off);
    default:
        return write_page(kv, off, page);
    }
}

/* --- the queue -------------------------------------------------------------------------------- */

uint32_t repair_pending(struct pmkv *kv)
{
    uint64_t from = 0;
    for (;;) {
        pthread_mutex_lock(&kv->work_lock);
        uint32_t i = 0;
        while (i < kv->pending.count && kv->pending.pages[i] < from)
            i++;
        /* unreached: nobody asks for repairs through a handle that only reads. */
        bool more = i < kv->pending.count && !kv->opts.read_only;
        uint64_t off = more ? kv->pending.pages[i] : 0;
        uint32_t left = kv->pending.count;
        pthread_mutex_unlock(&kv->work_lock);
        if (!more)
            return left;
        if (repair_place(kv, off) != REPAIR_LATER) {
            pthread_mutex_lock(&kv->work_lock);
            queue_remove(&kv->pending, off);
            pthread_mutex_unlock(&kv->work_lock);
        } else if (atomic_load(&kv->unavailable)) {
            return left;
        }
        from = off + 1;
    }
}

void repair_behind(struct pmkv *kv)
{
    while (kv->behind.count > 0) { /* at open: nobody else runs */
        uint64_t off = kv->behind.pages[0];
        if (repair_place(kv, off) == REPAIR_LATER)
            damage_found(kv, DAMAGE_CHECK, off, "a copy behind the others");
        queue_remove(&kv->behind, off);
    }
}

static int collect_range(void *arg, uint64_t off, uint64_t bytes)
{
    struct pmkv *kv = arg;
    for (uint64_t at = off; at < off + bytes && at < kv->vol.layout.pool_bytes; at += PAGE_BYTES)
        damage_found(kv, DAMAGE_POISON, at, "listed as bad by the kernel");
    return 0;
}

void repair_collect(struct pmkv *kv)
{
    uint64_t off;
    while (media_take_async(kv->vol.media, &off))
        damage_found(kv, DAMAGE_POISON, off, "asynchronous machine check");
}

void repair_collect_listed(struct pmkv *kv)
{
    media_bad_ranges(kv->vol.media, collect_range, kv);
}
