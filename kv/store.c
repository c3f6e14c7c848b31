/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Opening and closing: wiring the medium, the volume, lanes, index and background threads together.
 */
#include "open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clean.h"
#include "damage.h"
#include "defer.h"
#include "error.h"
#include "handle.h"
#include "join.h"
#include "lane.h"
#include "lost.h"
#include "meta.h"
#include "order.h"
#include "repair.h"
#include "replay.h"
#include "scrub.h"
#include "segment.h"
#include "space.h"
#include "super.h"

/* --- the handle ------------------------------------------------------------------------------- */

unsigned handle_forks;

static void child_after_fork(void)
{
    handle_forks++;
}

static void register_fork_handler(void)
{
    pthread_atfork(NULL, NULL, child_after_fork);
}

static void watch_forks(struct pmkv *kv)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, register_fork_handler);
    kv->forks = handle_forks;
}

enum pmkv_status handle_refuse(const struct pmkv *kv)
{
    if (!kv)
        return fail(PMKV_E_INVALID, "the handle is NULL");
    return fail(PMKV_E_FORKED, "the handle was opened by the parent process");
}

void pmkv_options_init(struct pmkv_options *opts)
{
    *opts = (struct pmkv_options){.size = sizeof *opts};
}

enum pmkv_status options_take(const struct pmkv_options *given, struct pmkv_options *out)
{
    pmkv_options_init(out);
    if (given && given->size != sizeof *given)
        return fail(PMKV_E_INVALID,
                    "options of %zu bytes, this library's have %zu: call "
                    "pmkv_options_init",
                    given->size, sizeof *given);
    if (given)
        *out = *given;
    if ((unsigned)out->geometry > PMKV_NONE || (unsigned)out->backend > PMKV_BACKEND_FILE ||
        out->lanes > MAX_LANES || (unsigned)out->sigbus > PMKV_SIGBUS_FILTER_ONLY)
        return fail(PMKV_E_INVALID, "options: geometry %d, backend %d, lanes %u (at most %d)",
                    (int)out->geometry, (int)out->backend, out->lanes, MAX_LANES);
    return PMKV_OK;
}

/* --- parts ------------------------------------------------------------------------------------ */

static void init_locks(struct pmkv *kv)
{
    pthread_mutex_t *const locks[] = {
        &kv->clean_lock, &kv->header_lock,  &kv->segments_lock, &kv->super_lock, &kv->seal_lock,
        &kv->lost_lock,  &kv->verdict_lock, &kv->repair_lock,   &kv->work_lock,  &kv->event_lock,
        &kv->save_lock,  &kv->twin_lock,    &kv->gone_lock};
    pthread_cond_t *const conds[] = {&kv->space_cond, &kv->cleaner_cond, &kv->work_cond,
                                     &kv->scrub_cond};
    for (size_t i = 0; i < sizeof locks / sizeof *locks; i++)
        pthread_mutex_init(locks[i], NULL);
    for (size_t i = 0; i < sizeof conds / sizeof *conds; i++)
        pthread_cond_init(conds[i], NULL);
}

static uint32_t bits_for(uint32_t count)
{
    uint32_t bits = 0;
    while (1u << bits < count)
        bits++;
    return bits;
}

static void take_layout(struct pmkv *kv)
{
    const struct layout *l = &kv->vol.layout;
    parity_code_init(&kv->vol.code, l->data_columns, l->parity_columns);
    kv->vol.secret = kv->super.secret;
    kv->shape = (struct pos_shape){.page_bits = bits_for(l->row_pages),
                                   .row_bits = bits_for(l->segment_rows),
                                   .chunk_bits = bits_for(l->chunk_pages),
                                   .row_payload = l->row_pages * PAGE_PAYLOAD_BYTES,
                                   .column_bytes = l->column_bytes};
    kv->slots_per_slice = l->segment_rows * l->chunk_pages / l->row_pages;
}

/* One open segment for writers per processor, but not more than a sixteenth of the segments. More
 * where there are many segments: with more threads than processors, who has a lane may not be
 * running, and the others need another one. */
static uint32_t choose_lanes(const struct pmkv *kv)
{
    enum { ROOMY = 16, ROOMY_SHARE = 64 };
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    uint32_t most = kv->vol.layout.segments / 16, roomy = kv->vol.layout.segments / ROOMY_SHARE;
    uint32_t lanes = cpus > 0 ? (uint32_t)cpus : 1;
    if (lanes < roomy)
        lanes = roomy < ROOMY ? roomy : ROOMY;
    if (kv->opts.lanes)
        lanes = kv->opts.lanes;
    if (lanes > most)
        lanes = most;
    if (lanes > MAX_LANES)
        lanes = MAX_LANES;
    return lanes ? lanes : 1;
}

static int make_lanes(struct pmkv *kv)
{
    kv->lane_count = choose_lanes(kv);
    static const enum lane_kind others[] = {LANE_CLEANER, LANE_LONG, LANE_META};
    enum { OTHERS = sizeof others / sizeof *others };
    kv->lane_total = kv->lane_count + OTHERS;
    kv->lanes = calloc(kv->lane_total, sizeof *kv->lanes);
    if (!kv->lanes)
        return err_fact(-ENOMEM, "no memory for %u lanes", kv->lane_count);
    kv->cleaner = &kv->lanes[kv->lane_count];
    kv->long_lane = kv->cleaner + 1;
    kv->meta = kv->long_lane + 1;
    int rc = 0;
    for (uint32_t i = 0; i < kv->lane_total && rc == 0; i++)
        rc = lane_init(kv, &kv->lanes[i],
                       i < kv->lane_count ? LANE_USER : others[i - kv->lane_count]);
    return rc ? err_fact(rc, "no memory for the rows of %u lanes", kv->lane_count) : 0;
}

static int make_memory(struct pmkv *kv)
{
    const struct layout *l = &kv->vol.layout;
    kv->segments = calloc(l->segments, sizeof *kv->segments);
    if (!kv->segments)
        return err_fact(-ENOMEM, "no memory for %u segments", l->segments);
    for (uint32_t i = 0; i < l->segments; i++) {
        kv->segments[i].rows_off = layout_slice_off(l, i, 0) + PAGE_BYTES;
        atomic_store(&kv->segments[i].state, SEGMENT_FREE);
    }
    /* The least a record takes is a line. */
    uint64_t most = (uint64_t)l->segments * segment_payload(kv) / LINE_BYTES * 2;
    int rc = index_new(&kv->index, 0, most);
    if (rc == 0)
        rc = defer_new(kv);
    if (rc == 0)
        rc = make_lanes(kv);
    if (rc == 0)
        rc = row_image_init(&kv->spare, l);
    return rc ? rc : join_new(kv);
}

static void free_store(struct pmkv *kv)
{
    for (uint32_t i = 0; kv->lanes && i < kv->lane_total; i++)
        lane_fini(&kv->lanes[i]);
    for (uint32_t i = 0; i < kv->ghost_count; i++)
        lane_fini(&kv->ghosts[i]);
    for (uint32_t i = 0; kv->segments && i < kv->vol.layout.segments; i++) {
        entries_free(&kv->segments[i].pending);
        free(kv->segments[i].parts);
    }
    for (uint32_t i = 0; i < kv->lost_count; i++)
        free(kv->lost[i]);
    free(kv->lost);
    free(kv->lost_parts);
    for (uint32_t i = 0; i < kv->spare_count; i++)
        entries_free(&kv->spare_entries[i]);
    free(kv->pending.pages);
    free(kv->behind.pages);
    free(kv->given_up.pages);
    free(kv->unfixable.pages);
    free(kv->repaired.pages);
    free(kv->lanes);
    join_free(&kv->join);
    free(kv->ghosts);
    row_image_free(&kv->spare);
    free(kv->segments);
    index_free(&kv->index);
    order_free(&kv->order);
    defer_free(kv);
    media_close(&kv->vol.media);
    free(kv);
}

/* --- background ------------------------------------------------------------------------------- */

static int start_threads(struct pmkv *kv)
{
    if (kv->opts.no_background || kv->opts.read_only)
        return 0;
    if (index_slot_count(kv->index) == 0) /* else what comes first is there already */
        index_touch_ahead(kv->index);
    if (pthread_create(&kv->cleaner_thread, NULL, cleaner_main, kv))
        return err_fact(-EAGAIN, "the cleaner's thread could not be started");
    kv->cleaner_started = true;
    if (pthread_create(&kv->keeper_thread, NULL, keeper_main, kv))
        return err_fact(-EAGAIN, "the keeper's thread could not be started");
    kv->keeper_started = true;
    return 0;
}

static void stop_threads(struct pmkv *kv)
{
    atomic_store(&kv->stopping, true);
    pthread_mutex_lock(&kv->segments_lock);
    pthread_cond_broadcast(&kv->cleaner_cond);
    pthread_cond_broadcast(&kv->space_cond);
    pthread_mutex_unlock(&kv->segments_lock);
    pthread_mutex_lock(&kv->work_lock);
    pthread_cond_broadcast(&kv->work_cond);
    pthread_mutex_unlock(&kv->work_lock);
    if (kv->cleaner_started)
        pthread_join(kv->cleaner_thread, NULL);
    if (kv->keeper_started)
        pthread_join(kv->keeper_thread, NULL);
    kv->cleaner_started = kv->keeper_started = false;
}

/* --- open ------------------------------------------------------------------------------------- */

/* A crash between two copies leaves one behind; after a clean close all are alike. */
static void note_superblock_copies(struct pmkv *kv, uint32_t good)
{
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
        if (!(good >> i & 1) && kv->was_clean)
            damage_found(kv, DAMAGE_CHECK, kv->vol.layout.superblock_off[i], "superblock copy");
        else if (!(good >> i & 1))
            copy_behind(kv, kv->vol.layout.superblock_off[i]);
}

/* The pool is in use from here on: a crash finds it so, and numbers start in a fresh block (I3). */
static int enter_use(struct pmkv *kv)
{
    memcpy(kv->tails, kv->super.tails, sizeof kv->tails);
    kv->tail_count = kv->super.tail_count;
    kv->life.media_errors = kv->super.media_errors;
    kv->life.pages_rebuilt = kv->super.pages_rebuilt;
    kv->life.pages_repaired = kv->super.pages_repaired;
    kv->life.pages_retired = kv->super.pages_retired;
    kv->life.records_lost = kv->super.records_lost;
    atomic_store(&kv->counter, kv->super.counter_ceiling);
    atomic_store(&kv->counter_ceiling, kv->super.counter_ceiling);
    if (kv->opts.read_only)
        return 0;
    kv->super.counter_ceiling += COUNTER_BLOCK;
    kv->super.clean = 0;
    kv->super.tail_count = 0;
    memset(kv->super.tails, 0, sizeof kv->super.tails);
    int rc = super_store(kv);
    if (rc == 0)
        atomic_store(&kv->counter_ceiling, kv->super.counter_ceiling);
    return rc;
}

/* A changed count of unsafe shutdowns: verify instead of trusting (never refuse). */
static bool shut_down_safely(struct pmkv *kv)
{
    uint64_t now;
    if (media_unsafe_shutdowns(kv->vol.media, &now))
        return true; /* no such count on this medium */
    return now == kv->super.unsafe_shutdowns;
}

static int open_order(struct pmkv *kv)
{
    int rc = order_new(&kv->order);
    return rc ? err_fact(rc, "no memory for the ordered index") : order_fill(kv);
}

enum pmkv_status store_open(struct media *media, const struct pmkv_options *opts, struct pmkv **out)
{
    struct pmkv *kv = NULL;
    if (posix_memalign((void **)&kv, 64, sizeof *kv)) {
        media_close(&media);
        return fail(PMKV_E_NO_MEMORY, "no memory for a handle");
    }
    memset(kv, 0, sizeof *kv);
    kv->opts = *opts;
    kv->vol.media = media;
    init_locks(kv);
    watch_forks(kv);
    uint32_t good = 0;
    enum pmkv_status s = super_judge(superblock_find(media, &kv->super, &kv->vol.layout, &good));
    if (s) {
        kv->vol.layout.segments = 0;
        free_store(kv);
        return s;
    }
    take_layout(kv);
    if (kv->vol.layout.parity_columns && kv->vol.layout.data_columns > 1 &&
        kv->slots_per_slice == 0) {
        uint32_t rows = kv->vol.layout.segment_rows;
        kv->vol.layout.segments = 0;
        free_store(kv);
        return fail(PMKV_E_CORRUPT, "segments of %u rows have no room for twins", rows);
    }
    kv->loss_unit_coarser = media->loss_unit > kv->vol.layout.loss_unit;
    bool clean = kv->super.clean == 1 && shut_down_safely(kv);
    kv->was_clean = kv->super.clean == 1;
    int rc = make_memory(kv);
    if (rc == 0)
        rc = enter_use(kv);
    if (rc == 0) {
        note_superblock_copies(kv, good);
        rc = replay_run(kv, clean);
        if (rc == -ENOMEM)
            err_fact(rc, "no memory for recovery");
    }
    if (rc == 0 && opts->ordered)
        rc = open_order(kv);
    if (rc == 0)
        rc = start_threads(kv);
    if (rc) {
        stop_threads(kv);
        free_store(kv);
        return rc == -ECANCELED ? fail(PMKV_E_STOPPED, "stopped by the callback") : status_of(rc);
    }
    if (opts->scrub_bytes_per_second && !opts->read_only && kv->keeper_started)
        pmkv_scrub_start(kv, opts->scrub_bytes_per_second);
    *out = kv;
    return PMKV_OK;
}

enum pmkv_status pmkv_open(const char *path, const struct pmkv_options *given, struct pmkv **out)
{
    struct pmkv_options opts;
    if (!path || !out)
        return fail(PMKV_E_INVALID, "path or out is NULL");
    enum pmkv_status s = options_take(given, &opts);
    if (s)
        return s;
    if (opts.create_if_missing && !opts.read_only && access(path, F_OK) != 0) {
        s = pmkv_create(path, given);
        if (s && s != PMKV_E_EXISTS)
            return s;
    }
    struct media_args args = {.backend = (enum media_backend)opts.backend,
                              .read_only = opts.read_only,
                              .allow_inject = opts.allow_inject,
                              .filter_only = opts.sigbus == PMKV_SIGBUS_FILTER_ONLY};
    struct media *media;
    int rc = media_open(path, &args, &media);
    if (rc) {
        err_phrase(0, "open pool %s", path);
        return rc == -EINVAL ? PMKV_E_NOT_POOL : status_of(rc);
    }
    s = store_open(media, &opts, out);
    if (s)
        err_phrase(0, "open pool %s", path);
    return s;
}

/* --- close ------------------------------------------------------------------------------------ */

/* Segments prepared ahead go back: their generation was never used. */
static int return_ready(struct pmkv *kv)
{
    int rc = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments && rc == 0; i++) {
        if (atomic_load(&kv->segments[i].state) != SEGMENT_READY)
            continue;
        kv->ready_count--;
        rc = segment_end(kv, i);
    }
    return rc;
}

/* Lanes whose segment has no row left give it up; others write their summary so far. */
static int settle_lanes(struct pmkv *kv)
{
    int rc = 0;
    for (uint32_t i = 0; i < kv->lane_total && rc == 0; i++) {
        struct lane *lane = &kv->lanes[i];
        struct row_buf *buf = &lane->rows[lane->current];
        if (lane->segment < 0)
            continue;
        bool open = buf->state == ROW_OPEN && buf->fill > 0 && !lane->whole_rows;
        if (!open)
            rc = lane_close_row(kv, lane);
        if (rc == 0 && !open && lane->next_row >= kv->vol.layout.segment_rows)
            rc = lane_finish_segment(kv, lane);
    }
    if (rc == 0)
        rc = media_drain(kv->vol.media);
    for (uint32_t i = 0; i < kv->lane_total && rc == 0; i++)
        row_closed(kv, &kv->lanes[i]);
    return rc;
}

static int flush_summaries(struct pmkv *kv)
{
    int rc = 0;
    seal_waiting(kv);
    pthread_mutex_lock(&kv->seal_lock);
    for (uint32_t i = 0; i < kv->lane_total && rc == 0; i++)
        if (&kv->lanes[i] != kv->meta && kv->lanes[i].segment >= 0)
            rc = summary_flush(kv, (uint32_t)kv->lanes[i].segment);
    pthread_mutex_unlock(&kv->seal_lock);
    seal_waiting(kv); /* the meta lane may have filled a segment with that */
    return rc;
}

static void write_tails(struct pmkv *kv)
{
    kv->super.tail_count = 0;
    memset(kv->super.tails, 0, sizeof kv->super.tails);
    for (uint32_t i = 0; i < kv->lane_total; i++) {
        struct lane *lane = &kv->lanes[i];
        struct row_buf *buf = &lane->rows[lane->current];
        if (lane->segment < 0)
            continue;
        bool open = buf->state == ROW_OPEN && buf->segment == lane->segment;
        uint32_t row = open ? buf->row : lane->next_row;
        if (row >= kv->vol.layout.segment_rows)
            continue; /* read whole at the next open */
        kv->super.tails[kv->super.tail_count++] =
            (struct lane_tail){.segment = (uint32_t)lane->segment,
                               .row = (uint16_t)row,
                               .kind = (uint16_t)lane->kind,
                               .lines_used = open ? buf->fill / LINE_BYTES : 0,
                               .generation = atomic_load(&kv->segments[lane->segment].generation)};
    }
}

/* Everything that a clean open trusts; the superblock goes last. */
static int close_cleanly(struct pmkv *kv)
{
    int rc = return_ready(kv);
    if (rc == 0)
        rc = settle_lanes(kv);
    if (rc == 0)
        rc = flush_summaries(kv);
    if (rc == 0)
        rc = lost_save(kv);
    if (rc == 0) /* again: the store's own records may have opened and filled rows */
        rc = settle_lanes(kv);
    seal_waiting(kv);
    if (rc == 0 && seal_unfinished(kv)) /* a clean open would take its summary for whole */
        rc = err_fact(-EIO, "the summary of a segment could not be written");
    if (rc)
        return rc;
    uint64_t shutdowns = 0;
    kv->super.table_version = counter_next(kv, 1);
    rc = kv->super.table_version ? table_write(kv) : -EIO;
    if (rc)
        return rc;
    write_tails(kv);
    kv->super.clean = 1;
    kv->super.counter_ceiling = atomic_load(&kv->counter) + 1;
    if (media_unsafe_shutdowns(kv->vol.media, &shutdowns) == 0)
        kv->super.unsafe_shutdowns = shutdowns;
    return super_store(kv);
}

enum pmkv_status pmkv_close(struct pmkv **handle)
{
    if (!handle || !*handle)
        return PMKV_OK;
    struct pmkv *kv = *handle;
    if (kv->forks != handle_forks)
        return handle_refuse(kv);
    *handle = NULL;
    stop_threads(kv);
    enum pmkv_status s = PMKV_OK;
    if (!kv->opts.read_only) {
        int rc;
        atomic_store(&kv->stopping, false);
        repair_pending(kv);
        (void)defer_settle_all(kv); /* of long values that were replaced the pieces go */
        if (atomic_load(&kv->write_failed) || medium_in_doubt(kv, 0))
            s = fail(PMKV_E_IO, "the pool was not closed cleanly: its medium does not answer");
        else if ((rc = close_cleanly(kv)) != 0)
            s = rc == -ENOMEM ? PMKV_E_NO_MEMORY : PMKV_E_IO;
    }
    free_store(kv);
    return s;
}
