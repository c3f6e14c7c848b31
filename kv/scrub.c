/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "scrub.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../recovery/group.h"
#include "../recovery/media.h"
#include "clean.h"
#include "damage.h"
#include "error.h"
#include "handle.h"
#include "lane.h"
#include "lost.h"
#include "meta.h"
#include "repair.h"
#include "segment.h"
#include "super.h"
#include "wait.h"

/* --- looking ---------------------------------------------------------------------------------- */

static void look_touch(struct pmkv *kv, uint64_t off, const char *what)
{
    if (media_touch(kv->vol.media, off, PAGE_BYTES) != PAGE_BYTES)
        damage_found(kv, DAMAGE_POISON, off, what);
}

static void look_superblocks(struct pmkv *kv)
{
    _Alignas(64) uint8_t page[PAGE_BYTES];
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        uint64_t off = kv->vol.layout.superblock_off[i];
        pthread_mutex_lock(&kv->super_lock);
        bool read = media_load(kv->vol.media, off, page, PAGE_BYTES) == PAGE_BYTES;
        bool good = read && superblock_valid(page, off, &kv->vol.layout);
        pthread_mutex_unlock(&kv->super_lock);
        if (!good)
            damage_found(kv, read ? DAMAGE_CHECK : DAMAGE_POISON, off, "superblock copy");
    }
}

static void look_table(struct pmkv *kv)
{
    _Alignas(64) uint8_t page[PAGE_BYTES];
    bool torn = kv->opts.read_only && !kv->was_clean; /* a crash may have cut its writing */
    for (uint32_t copy = 0; copy < TABLE_COPIES; copy++)
        for (uint64_t at = 0; at < kv->vol.layout.table_bytes; at += PAGE_BYTES) {
            uint64_t off = kv->vol.layout.table_off[copy] + at;
            uint16_t good = 0, absent = 0;
            bool read = media_load(kv->vol.media, off, page, PAGE_BYTES) == PAGE_BYTES;
            uint64_t secret =
                group_secret(kv->vol.secret, kv->super.table_version, off / PAGE_BYTES);
            if (read)
                page_verify(page, secret, &good, &absent);
            if (!read || (good != 0xffff && !torn))
                damage_found(kv, read ? DAMAGE_CHECK : DAMAGE_POISON, off, "segment table");
        }
}

static uint64_t look_outside(struct pmkv *kv)
{
    const struct layout *l = &kv->vol.layout;
    look_superblocks(kv);
    look_table(kv);
    uint64_t end = l->data_start + (uint64_t)l->arrays * l->array_bytes;
    for (uint64_t off = 0; off < l->data_start; off += PAGE_BYTES)
        if (layout_locate(l, off).kind == PLACE_UNUSED)
            look_touch(kv, off, "unused page");
    for (uint64_t off = end; off < l->pool_bytes; off += PAGE_BYTES)
        if (layout_locate(l, off).kind == PLACE_UNUSED)
            look_touch(kv, off, "unused page");
    return l->data_start + (l->pool_bytes - end);
}

static void look_headers(struct pmkv *kv, uint32_t segment)
{
    for (uint32_t c = 0; c < kv->vol.layout.columns; c++) {
        struct segment_header h, now;
        uint64_t off = layout_slice_off(&kv->vol.layout, segment, c);
        pthread_mutex_lock(&kv->header_lock);
        segment_header_encode(kv, segment, (uint16_t)c, &now);
        bool read = media_load(kv->vol.media, off + segment_header_line(now.version), &h,
                               sizeof h) == sizeof h;
        bool good =
            read && segment_header_valid(kv, &h, segment, (uint16_t)c) && h.version == now.version;
        pthread_mutex_unlock(&kv->header_lock);
        if (!good)
            damage_found(kv, read ? DAMAGE_CHECK : DAMAGE_POISON, off, "segment header");
        else
            look_touch(kv, off, "segment header page");
    }
}

/* Payload that was stored to copy `copy` of an open row against the DRAM image. */
static void look_open_copy(struct pmkv *kv, const struct row_buf *buf, uint32_t copy)
{
    _Alignas(64) uint8_t page[PAGE_BYTES];
    for (uint32_t p = 0; p < kv->vol.layout.row_pages; p++) {
        uint64_t off = row_copy_off(kv, buf, copy, p);
        uint32_t start = p * PAGE_PAYLOAD_BYTES;
        uint32_t bytes = buf->stored <= start ? 0 : buf->stored - start;
        if (bytes > PAGE_PAYLOAD_BYTES)
            bytes = PAGE_PAYLOAD_BYTES;
        bool read = media_load(kv->vol.media, off, page, PAGE_BYTES) == PAGE_BYTES;
        if (!read || memcmp(page, buf->data + p * PAGE_BYTES, bytes) != 0)
            damage_found(kv, read ? DAMAGE_CHECK : DAMAGE_POISON, off, "open row");
    }
}

static void look_touch_row(struct pmkv *kv, uint32_t segment, uint32_t row)
{
    const struct layout *l = &kv->vol.layout;
    if (kv->segments[segment].retired_rows >> row & 1)
        return; /* known, out of use, and without content */
    for (uint32_t c = 0; c < l->columns; c++)
        for (uint32_t p = 0; p < l->chunk_pages; p++)
            look_touch(kv, layout_chunk_page_off(l, segment, row, c, p), "page without content");
}

static void look_closed_row(struct pmkv *kv, struct row_ref ref, struct row_image *image)
{
    const struct layout *l = &kv->vol.layout;
    if (row_holds(&kv->vol, ref))
        return;
    row_load_settled(kv, ref, image);
    if (image->bad_pages == 0 || row_was_skipped(kv, ref, image) ||
        !segment_pin(kv, ref.segment, ref.generation))
        return; /* good; or freed meanwhile */
    for (uint32_t i = 0; i < image->page_count; i++) {
        const struct row_page *p = &image->info[i];
        uint64_t off =
            layout_chunk_page_off(l, ref.segment, ref.row, i / l->chunk_pages, i % l->chunk_pages);
        if ((p->good | p->absent) != 0xffff || p->poisoned)
            damage_found(kv, p->poisoned ? DAMAGE_POISON : DAMAGE_CHECK, off, "row");
    }
    row_decode(&kv->vol, ref, image);
    uint32_t lost = image->lost_groups;
    segment_unpin(kv, ref.segment);
    if (lost)
        lost_discover(kv, ref);
}

static void look_row(struct pmkv *kv, uint32_t segment, uint32_t row, struct row_image *image)
{
    struct row_ref ref = row_ref_of(kv, segment, row);
    struct row_buf *buf;
    if (ref.generation == 0) {
        look_touch_row(kv, segment, row);
        return;
    }
    struct lane *lane = lane_holding(kv, ref, &buf);
    if (lane) {
        uint32_t copies = lane->whole_rows || buf->state == ROW_CLOSING ? 0 : row_copies(kv);
        for (uint32_t copy = 0; copy < copies; copy++)
            if (copy == 0 || twins_are_parity(kv) || buf->twin_off[copy - 1]) /* ghosts have none */
                look_open_copy(kv, buf, copy);
        if (copies == 0 || !twins_are_parity(kv))
            look_touch_row(kv, segment, row);
        lane_unlock(lane);
    } else if (row <
               atomic_load_explicit(&kv->segments[segment].rows_durable, memory_order_acquire)) {
        look_closed_row(kv, ref, image);
    } else {
        look_touch_row(kv, segment, row);
    }
}

static void look_twins(struct pmkv *kv, uint32_t segment)
{
    const struct layout *l = &kv->vol.layout;
    for (uint32_t slot = 0; slot < twin_slots(kv); slot++) {
        if (kv->segments[segment].retired_rows >> slot & 1)
            continue;
        uint64_t off = twin_slot_off(kv, segment, slot);
        for (uint32_t p = 0; p < l->row_pages; p++)
            look_touch(kv, off + (uint64_t)p * PAGE_BYTES, "twin page");
    }
}

static uint64_t look_segment(struct pmkv *kv, uint32_t segment, struct row_image *image)
{
    const struct layout *l = &kv->vol.layout;
    look_headers(kv, segment);
    if (kv->segments[segment].kind == KIND_TWIN)
        look_twins(kv, segment);
    else
        for (uint32_t row = 0; row < l->segment_rows; row++)
            look_row(kv, segment, row, image);
    return (uint64_t)l->columns * l->slice_pages * PAGE_BYTES;
}

/* --- the walk --------------------------------------------------------------------------------- */

int scrub_walk_begin(struct pmkv *kv, struct scrub_walk *w)
{
    *w = (struct scrub_walk){.kv = kv};
    return row_image_init(&w->image, &kv->vol.layout);
}

bool scrub_walk_done(const struct scrub_walk *w)
{
    return w->next > w->kv->vol.layout.segments;
}

uint64_t scrub_walk_step(struct scrub_walk *w)
{
    uint32_t step = w->next++;
    return step == 0 ? look_outside(w->kv) : look_segment(w->kv, step - 1, &w->image);
}

void scrub_walk_end(struct scrub_walk *w)
{
    row_image_free(&w->image);
}

static uint64_t now_seconds(void)
{
    return (uint64_t)time(NULL);
}

static void scan_begin(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->work_lock);
    if (kv->scan.state != PMKV_SCAN_STOPPED || kv->scan.cursor > kv->vol.layout.segments)
        kv->scan =
            (struct scan_record){.start_time = now_seconds(), /* met since the open: its too */
                                 .bad_pages = kv->pending.count + kv->given_up.count};
    kv->scan.state = PMKV_SCAN_RUNNING;
    kv->scan.total_bytes = kv->vol.layout.pool_bytes;
    kv->scan.end_time = 0;
    kv->scan_running_now = true;
    pthread_mutex_unlock(&kv->work_lock);
}

static void scan_finish(struct pmkv *kv, bool finished)
{
    pthread_mutex_lock(&kv->work_lock);
    kv->scan.state = finished ? PMKV_SCAN_FINISHED : PMKV_SCAN_STOPPED;
    kv->scan.end_time = now_seconds();
    if (finished)
        kv->scan.done_bytes = kv->scan.total_bytes;
    kv->scan_running_now = false;
    kv->scrub_wanted = kv->scrub_running = false;
    pthread_cond_broadcast(&kv->scrub_cond);
    pthread_mutex_unlock(&kv->work_lock);
}

/* What the keeper does beside a scrub too, so that a long one delays nothing. Where each processor
 * has a writer it takes one from it, for a third of a millisecond a segment: so it offers it back
 * before each piece of work. */
static void keeper_chores(struct pmkv *kv)
{
    sched_yield();
    lanes_leave_evacuated(kv);
    seal_waiting(kv);
    sched_yield();
    segment_prepare_ahead(kv);
    index_touch_ahead(kv->index);
    repair_collect(kv);
    repair_pending(kv);
    super_store_counts(kv);
}

/* What nobody wakes the keeper for waits so long at most. */
enum { ROUND_NS = 20 * 1000 * 1000 };

/* Until no more than the rate was looked at, or the scrub is stopped. Who wakes the keeper
 * meanwhile has something for it to do. */
static void keep_rate(struct pmkv *kv, uint64_t bytes)
{
    int64_t from = clock_ns();
    pthread_mutex_lock(&kv->work_lock);
    while (kv->scrub_rate && kv->scrub_wanted && !atomic_load(&kv->stopping)) {
        int64_t left = from + (int64_t)(bytes * 1000000000ull / kv->scrub_rate) - clock_ns();
        if (left <= 0)
            break;
        wait_at_most(&kv->work_cond, &kv->work_lock, left < ROUND_NS ? (uint64_t)left : ROUND_NS);
        pthread_mutex_unlock(&kv->work_lock);
        keeper_chores(kv);
        pthread_mutex_lock(&kv->work_lock);
    }
    pthread_mutex_unlock(&kv->work_lock);
}

/* A page whose segment is being freed or taken just now waits until that is done: a few writes. */
enum { REPAIR_ATTEMPTS = 100, REPAIR_PAUSE_NS = 5 * 1000 * 1000 };

static void repair_pause(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->work_lock);
    wait_at_most(&kv->scrub_cond, &kv->work_lock, REPAIR_PAUSE_NS);
    pthread_mutex_unlock(&kv->work_lock);
}

static bool evacuation_runs(const struct pmkv *kv)
{
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
        if (atomic_load(&kv->segments[i].evacuate) &&
            atomic_load(&kv->segments[i].state) == SEGMENT_CLEANING)
            return true;
    return false;
}

/* Moves out of rows that were retired, or lost records; what the cleaner's thread is at already is
 * waited for. */
static void evacuation_finish(struct pmkv *kv)
{
    lanes_leave_evacuated(kv);
    seal_waiting(kv);
    if (clean_needed(kv))
        clean_round(kv);
    while (evacuation_runs(kv) && !atomic_load(&kv->stopping))
        repair_pause(kv);
}

void scrub_run(struct pmkv *kv)
{
    struct scrub_walk w;
    if (scrub_walk_begin(kv, &w)) {
        scan_finish(kv, false);
        return;
    }
    scan_begin(kv);
    w.next = (uint32_t)kv->scan.cursor;
    repair_collect_listed(kv);
    pthread_mutex_lock(&kv->work_lock);
    bool wanted = kv->scrub_wanted; /* it may have been stopped before it began */
    pthread_mutex_unlock(&kv->work_lock);
    for (uint64_t saved = now_seconds(); wanted && !scrub_walk_done(&w);) {
        uint64_t bytes = scrub_walk_step(&w);
        keeper_chores(kv);
        pthread_mutex_lock(&kv->work_lock);
        kv->scan.cursor = w.next;
        kv->scan.done_bytes += bytes;
        wanted = kv->scrub_wanted && !atomic_load(&kv->stopping);
        pthread_mutex_unlock(&kv->work_lock);
        if (now_seconds() > saved + 10) {
            saved = now_seconds();
            scan_save(kv);
        }
        keep_rate(kv, bytes);
    }
    bool done = scrub_walk_done(&w);
    scrub_walk_end(&w);
    evacuation_finish(kv);
    keeper_chores(kv);
    scan_finish(kv, done);
    scan_save(kv);
}

/* --- the keeper's thread ---------------------------------------------------------------------- */

void keeper_wake(struct pmkv *kv)
{
    if (atomic_load(&kv->cleaner_at_work)) /* it does what there is to do, as it goes */
        return;
    pthread_mutex_lock(&kv->work_lock);
    kv->chores_wanted = true;
    pthread_mutex_unlock(&kv->work_lock);
    pthread_cond_signal(&kv->work_cond); /* not under the lock: the keeper would wait for it */
}

void *keeper_main(void *arg)
{
    struct pmkv *kv = arg;
    while (!atomic_load(&kv->stopping)) {
        keeper_chores(kv);
        sigbus_taken(kv);
        pthread_mutex_lock(&kv->work_lock);
        bool scrub = kv->scrub_running;
        if (!scrub && !kv->chores_wanted && !atomic_load(&kv->stopping))
            wait_at_most(&kv->work_cond, &kv->work_lock, ROUND_NS);
        kv->chores_wanted = false;
        pthread_mutex_unlock(&kv->work_lock);
        if (scrub)
            scrub_run(kv);
    }
    return NULL;
}

/* --- public calls ----------------------------------------------------------------------------- */

enum pmkv_status pmkv_scrub_start(struct pmkv *kv, uint64_t bytes_per_second)
{
    enum pmkv_status s = handle_enter(kv);
    if (s == PMKV_OK && kv->opts.read_only)
        s = fail(PMKV_E_READONLY, "a scrub repairs what it finds; use a check");
    if (s)
        return s;
    pthread_mutex_lock(&kv->work_lock);
    kv->scrub_rate = bytes_per_second;
    kv->scrub_wanted = kv->scrub_running = true;
    pthread_cond_signal(&kv->work_cond);
    pthread_mutex_unlock(&kv->work_lock);
    if (!kv->keeper_started)
        scrub_run(kv);
    return PMKV_OK;
}

enum pmkv_status pmkv_scrub_wait(struct pmkv *kv, pmkv_progress_fn progress, void *arg)
{
    enum pmkv_status s = handle_enter(kv);
    if (s)
        return s;
    pthread_mutex_lock(&kv->work_lock);
    while (kv->scrub_running && s == PMKV_OK) {
        wait_at_most(&kv->scrub_cond, &kv->work_lock, 100 * 1000000ull);
        uint64_t done = kv->scan.done_bytes, total = kv->scan.total_bytes;
        pthread_mutex_unlock(&kv->work_lock);
        if (progress && progress(arg, "scrub", done, total))
            s = fail(PMKV_E_STOPPED, "stopped by the callback; the scrub goes on");
        pthread_mutex_lock(&kv->work_lock);
    }
    pthread_mutex_unlock(&kv->work_lock);
    return s;
}

enum pmkv_status pmkv_scrub_stop(struct pmkv *kv)
{
    enum pmkv_status s = handle_enter(kv);
    if (s)
        return s;
    pthread_mutex_lock(&kv->work_lock);
    kv->scrub_wanted = false;
    pthread_cond_signal(&kv->work_cond);
    while (kv->scrub_running && kv->keeper_started)
        pthread_cond_wait(&kv->scrub_cond, &kv->work_lock);
    pthread_mutex_unlock(&kv->work_lock);
    return PMKV_OK;
}

static void scan_public(struct pmkv *kv, struct pmkv_scan *out)
{
    pthread_mutex_lock(&kv->work_lock);
    const struct scan_record *s = &kv->scan;
    *out = (struct pmkv_scan){.state = (enum pmkv_scan_state)s->state,
                              .start_time = s->start_time,
                              .end_time = s->end_time,
                              .total_bytes = s->total_bytes,
                              .done_bytes = s->done_bytes,
                              .repaired_pages = s->repaired_pages,
                              .retired_pages = s->retired_pages,
                              .lost_records = s->lost_records,
                              .bad_pages = s->bad_pages};
    if (out->done_bytes > out->total_bytes)
        out->done_bytes = out->total_bytes;
    pthread_mutex_unlock(&kv->work_lock);
}

enum pmkv_status pmkv_scrub_status(struct pmkv *kv, struct pmkv_scan *scan)
{
    enum pmkv_status s = handle_enter(kv);
    if (s == PMKV_OK)
        scan_public(kv, scan);
    return s;
}

static uint64_t lost_now(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->lost_lock);
    uint64_t count = kv->lost_count;
    pthread_mutex_unlock(&kv->lost_lock);
    return count;
}

static uint64_t bad_now(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->work_lock);
    uint64_t count = kv->life.media_errors;
    pthread_mutex_unlock(&kv->work_lock);
    return count;
}

enum pmkv_status pmkv_check(struct pmkv *kv, struct pmkv_scan *scan, pmkv_progress_fn progress,
                            void *arg)
{
    enum pmkv_status s = handle_enter(kv);
    struct scrub_walk w;
    if (s)
        return s;
    if (scrub_walk_begin(kv, &w))
        return fail(PMKV_E_NO_MEMORY, "no memory for a row");
    uint64_t bad = bad_now(kv), pending, total = kv->vol.layout.pool_bytes;
    struct pmkv_scan out = {.start_time = now_seconds(), .total_bytes = total};
    pthread_mutex_lock(&kv->work_lock);
    pending = kv->pending.count + kv->given_up.count; /* found before this check */
    pthread_mutex_unlock(&kv->work_lock);
    while (s == PMKV_OK && !scrub_walk_done(&w)) {
        out.done_bytes += scrub_walk_step(&w);
        if (progress && progress(arg, "check", out.done_bytes, total))
            s = fail(PMKV_E_STOPPED, "stopped by the callback");
    }
    scrub_walk_end(&w);
    out.state = s == PMKV_OK ? PMKV_SCAN_FINISHED : PMKV_SCAN_STOPPED;
    out.end_time = now_seconds();
    out.bad_pages = bad_now(kv) - bad + pending;
    out.lost_records = lost_now(kv);
    if (s == PMKV_OK)
        out.done_bytes = total;
    *scan = out;
    return s;
}

enum pmkv_status pmkv_repair(struct pmkv *kv, uint64_t *left)
{
    enum pmkv_status s = handle_enter(kv);
    if (s == PMKV_OK && kv->opts.read_only)
        s = fail(PMKV_E_READONLY, "repair writes to the pool");
    if (s)
        return s;
    uint32_t waiting;
    repair_collect(kv);
    for (int attempt = 1;; attempt++) {
        waiting = repair_pending(kv);
        evacuation_finish(kv);
        if (waiting == 0 || atomic_load(&kv->unavailable) || attempt == REPAIR_ATTEMPTS)
            break;
        repair_pause(kv);
    }
    if (left)
        *left = waiting;
    return PMKV_OK;
}
