/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What the store says of itself: info, stats, health, map, lost list, events. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "damage.h"
#include "defer.h"
#include "error.h"
#include "handle.h"
#include "lane.h"
#include "order.h"
#include "super.h"
#include "space.h"
#include "write.h"

static void format_uuid(const uint8_t u[16], char out[37])
{
    snprintf(out, 37, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0],
             u[1], u[2], u[3], u[4], u[5], u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13],
             u[14], u[15]);
}

static enum pmkv_geometry geometry_of(const struct layout *l)
{
    if (l->parity_columns == 0)
        return PMKV_NONE;
    return l->data_columns == 1 ? PMKV_MIRROR : l->parity_columns == 2 ? PMKV_DOUBLE : PMKV_PARITY;
}

enum pmkv_status pmkv_info(struct pmkv *kv, struct pmkv_info *info)
{
    enum pmkv_status s = handle_enter(kv);
    if (s)
        return s;
    const struct layout *l = &kv->vol.layout;
    const struct media *m = kv->vol.media;
    *info = (struct pmkv_info){.format_version = kv->super.format_version,
                               .geometry = geometry_of(l),
                               .backend = (enum pmkv_backend)m->backend,
                               .durability = (enum pmkv_durability)m->durability,
                               .pool_bytes = l->pool_bytes,
                               .capacity_bytes = kv->capacity_units * 8,
                               .loss_unit_bytes = l->loss_unit,
                               .data_columns = l->data_columns,
                               .parity_columns = l->parity_columns,
                               .row_pages = l->row_pages,
                               .segment_rows = l->segment_rows,
                               .segment_count = l->segments,
                               .lanes = kv->lane_count,
                               .max_key_bytes = max_key_bytes(kv),
                               .max_value_bytes = PMKV_MAX_VALUE_BYTES,
                               .read_only = kv->opts.read_only,
                               .recovered = kv->recovered};
    format_uuid(kv->super.uuid, info->uuid);
    snprintf(info->path, sizeof info->path, "%s", m->path);
    snprintf(info->backend_reason, sizeof info->backend_reason, "%s", m->reason);
    return PMKV_OK;
}

/* Copies are written one after the other, so one of them always holds; but the three reads of them
 * may fall round a write each. */
static enum superblock_found look_at_superblock(struct media *media, struct superblock *super,
                                                struct layout *layout)
{
    uint32_t good;
    enum superblock_found found = SUPERBLOCK_DAMAGED;
    for (int attempt = 0; attempt < 3 && found == SUPERBLOCK_DAMAGED; attempt++)
        found = superblock_find(media, super, layout, &good);
    return found;
}

enum pmkv_status pmkv_peek(const char *path, struct pmkv_peek *out)
{
    if (!path || !out)
        return fail(PMKV_E_INVALID, "path or out is NULL");
    struct media_args args = {.read_only = true, .unlocked = true};
    struct media *media;
    struct superblock super;
    struct layout layout;
    int rc = media_open(path, &args, &media);
    if (rc) {
        err_phrase(0, "look at pool %s", path);
        return rc == -EINVAL ? PMKV_E_NOT_POOL : status_of(rc);
    }
    enum pmkv_status s = super_judge(look_at_superblock(media, &super, &layout));
    if (s) {
        err_phrase(0, "look at pool %s", path);
    } else {
        *out = (struct pmkv_peek){.format_version = super.format_version,
                                  .geometry = geometry_of(&layout),
                                  .backend = (enum pmkv_backend)media->backend,
                                  .durability = (enum pmkv_durability)media->durability,
                                  .pool_bytes = layout.pool_bytes,
                                  .in_use = media_in_use(media),
                                  .clean = super.clean == 1,
                                  .media_errors = super.media_errors,
                                  .pages_rebuilt = super.pages_rebuilt,
                                  .pages_repaired = super.pages_repaired,
                                  .pages_retired = super.pages_retired,
                                  .records_lost = super.records_lost};
        format_uuid(super.uuid, out->uuid);
    }
    media_close(&media);
    return s;
}

static void count_segments(struct pmkv *kv, struct pmkv_stats *st)
{
    uint64_t used = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        uint8_t state = atomic_load_explicit(&kv->segments[i].state, memory_order_relaxed);
        st->segments_free += state == SEGMENT_FREE || state == SEGMENT_READY;
        st->segments_open += state == SEGMENT_OPEN;
        st->segments_sealed += state == SEGMENT_SEALED || state == SEGMENT_CLEANING;
        if (state != SEGMENT_FREE && state != SEGMENT_READY && kv->segments[i].kind != KIND_TWIN)
            used += (uint64_t)kv->segments[i].rows_used * row_payload(kv);
    }
    st->free_bytes = st->segments_free * segment_payload(kv);
    st->dead_bytes = used > st->live_bytes ? used - st->live_bytes : 0;
}

enum pmkv_status pmkv_stats(struct pmkv *kv, struct pmkv_stats *stats)
{
    enum pmkv_status s = handle_enter(kv);
    if (s)
        return s;
    (void)defer_settle_all(kv);
    struct pmkv_stats st = {.batches = kv->n.batches,
                            .keys = index_keys(kv->index),
                            .live_bytes = (uint64_t)space_live_units(kv) * 8,
                            .user_bytes_written = kv->n.user_bytes,
                            .media_bytes_written = media_bytes_stored(kv->vol.media),
                            .fences = media_fences(kv->vol.media),
                            .segments_cleaned = kv->n.segments_cleaned,
                            .records_moved = kv->n.records_moved,
                            .index_bytes = index_dram_bytes(kv->index) +
                                           (kv->order ? order_dram_bytes(kv->order) : 0),
                            .faults = kv->n.faults,
                            .check_failures = kv->n.check_failures,
                            .reads_rebuilt = kv->n.reads_rebuilt};
    for (uint32_t i = 0; i < OP_SHARDS; i++) {
        st.gets += kv->ops[i].gets;
        st.misses += kv->ops[i].misses;
        st.deletes += kv->ops[i].deletes;
    }
    for (uint32_t i = 0; i < kv->lane_count; i++) {
        st.puts += kv->lanes[i].puts;
        st.user_bytes_written += kv->lanes[i].user_bytes;
    }
    count_segments(kv, &st);
    *stats = st;
    return PMKV_OK;
}

/* --- health ----------------------------------------------------------------------------------- */

static void say(struct pmkv_health *h, enum pmkv_state state, const char *action,
                const char *format, ...) __attribute__((format(printf, 4, 5)));

static void say(struct pmkv_health *h, enum pmkv_state state, const char *action,
                const char *format, ...)
{
    va_list ap;
    h->state = state;
    va_start(ap, format);
    vsnprintf(h->status, sizeof h->status, format, ap);
    va_end(ap);
    snprintf(h->action, sizeof h->action, "%s", action);
}

static void judge_health(const struct pmkv *kv, struct pmkv_health *h)
{
    unsigned long long lost = h->records_lost, pending = h->pages_pending,
                       retired = h->pages_retired, repaired = h->pages_repaired;
    if (atomic_load(&kv->unavailable) || atomic_load(&kv->write_failed))
        say(h, PMKV_STATE_UNAVAILABLE,
            "Check the device, the file system, the length of the file and the kernel log. Nothing "
            "is written until it answers; if that does not help, close the pool and open it again.",
            "The medium of %s as a whole does not answer, or a write could not be made durable.",
            kv->vol.media->path);
    else if (lost)
        say(h, PMKV_STATE_LOST,
            "List what is lost with 'pmkv-cli lost', and put those keys again from another "
            "source, or delete them. 'pmkv-cli scrub' verifies that nothing else is.",
            "%llu record%s lost: the damage was beyond the redundancy of the pool.", lost,
            lost == 1 ? " or range of records is" : "s or ranges of records are");
    else if (pending)
        say(h, PMKV_STATE_DEGRADED,
            "None, if a program opens the pool for writing: what redundancy covers is repaired "
            "then. "
            "'pmkv-cli scrub' does that now.",
            "%llu page%s known to be bad and wait%s for repair; no record is known to be lost.",
            pending, pending == 1 ? " is" : "s are", pending == 1 ? "s" : "");
    else if (h->loss_unit_coarser)
        say(h, PMKV_STATE_DEGRADED,
            "Make a new pool on this medium and copy the records to it ('pmkv-cli dump' and "
            "'load').",
            "The medium loses %llu bytes at a time, more than the pool was made for: one fault "
            "may take more than the redundancy covers.",
            (unsigned long long)kv->vol.media->loss_unit);
    else if (retired)
        say(h, PMKV_STATE_DEGRADED,
            "None for the data. If the number grows, have the memory module or disk replaced.",
            "%llu page%s not be cleared and %s out of use for good; no record is lost.", retired,
            retired == 1 ? " could" : "s could", retired == 1 ? "is" : "are");
    else if (!h->sigbus_ours)
        say(h, PMKV_STATE_DEGRADED,
            "Let the program's SIGBUS handler call pmkv_sigbus_filter first.",
            "Another SIGBUS handler was installed after the pool was opened: a memory error "
            "would kill the process.");
    else if (repaired)
        say(h, PMKV_STATE_REPAIRED, "",
            "%llu page%s bad and repaired in place since the pool was made; no record is lost.",
            repaired, repaired == 1 ? " was" : "s were");
    else
        say(h, PMKV_STATE_ONLINE, "", "No damage is known.");
}

enum pmkv_status pmkv_health(struct pmkv *kv, struct pmkv_health *health)
{
    struct pmkv_health h = {0};
    enum pmkv_status s = pmkv_scrub_status(kv, &h.scan);
    if (s)
        return s;
    pthread_mutex_lock(&kv->work_lock);
    h.pages_rebuilt = kv->life.pages_rebuilt;
    h.pages_repaired = kv->life.pages_repaired;
    h.pages_retired = kv->life.pages_retired;
    h.pages_pending = kv->pending.count;
    pthread_mutex_unlock(&kv->work_lock);
    pthread_mutex_lock(&kv->lost_lock);
    h.records_lost = kv->lost_count;
    pthread_mutex_unlock(&kv->lost_lock);
    h.sigbus_ours = !sigbus_taken(kv);
    h.loss_unit_coarser = kv->loss_unit_coarser;
    if (atomic_load(&kv->unavailable) || media_present(kv->vol.media))
        medium_in_doubt(kv, 0); /* it may answer again, or not any more */
    judge_health(kv, &h);
    *health = h;
    return PMKV_OK;
}

enum pmkv_status pmkv_lost_foreach(struct pmkv *kv, pmkv_lost_fn fn, void *arg)
{
    enum pmkv_status s = handle_enter(kv);
    if (s)
        return s;
    if (!fn)
        return fail(PMKV_E_INVALID, "no callback");
    for (uint64_t after = 0; s == PMKV_OK;) { /* entries are copied out: fn may call the library */
        uint8_t key[ENTRY_KEY_MAX];
        struct pmkv_lost l = {0};
        pthread_mutex_lock(&kv->lost_lock);
        uint32_t i = 0;
        while (i < kv->lost_count && kv->lost[i]->id <= after)
            i++;
        bool more = i < kv->lost_count;
        if (more) {
            const struct lost_entry *e = kv->lost[i];
            after = e->id;
            memcpy(key, e->key, e->kept_bytes);
            l = (struct pmkv_lost){.key = e->kept_bytes ? key : NULL,
                                   .key_bytes = e->kept_bytes,
                                   .key_is_prefix = e->kept_bytes < e->key_bytes,
                                   .key_hash = e->hash,
                                   .version = e->seq,
                                   .pool_offset = e->pool_off,
                                   .bytes = e->bytes};
        }
        pthread_mutex_unlock(&kv->lost_lock);
        if (!more)
            break;
        if (fn(arg, &l))
            s = fail(PMKV_E_STOPPED, "stopped by the callback");
    }
    return s;
}

enum pmkv_status pmkv_set_event_fn(struct pmkv *kv, pmkv_event_fn fn, void *arg)
{
    enum pmkv_status s = handle_enter(kv);
    if (s)
        return s;
    pthread_mutex_lock(&kv->event_lock);
    kv->event_fn = fn;
    kv->event_arg = arg;
    pthread_mutex_unlock(&kv->event_lock);
    return PMKV_OK;
}

/* --- map -------------------------------------------------------------------------------------- */

static void classify_row_page(struct pmkv *kv, struct place p, struct pmkv_range *r)
{
    const struct segment *s = &kv->segments[p.segment];
    uint8_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    r->segment = p.segment;
    r->row = p.row;
    r->column = p.column;
    r->kind = p.column < kv->vol.layout.data_columns ? PMKV_RANGE_DATA : PMKV_RANGE_PARITY;
    if (state == SEGMENT_FREE || state == SEGMENT_READY)
        r->kind = PMKV_RANGE_FREE;
    else if (s->kind == KIND_TWIN)
        r->kind = PMKV_RANGE_TWIN;
    else if (p.row >= s->rows_used)
        r->kind = PMKV_RANGE_FREE;
    if (place_retired(kv, &p))
        r->state = PMKV_RANGE_RETIRED;
}

static bool lost_in_page(struct pmkv *kv, uint64_t off)
{
    for (uint32_t i = 0; i < kv->lost_count; i++)
        if (kv->lost[i]->pool_off < off + PAGE_BYTES &&
            kv->lost[i]->pool_off + kv->lost[i]->bytes > off)
            return true;
    return false;
}

static struct pmkv_range classify_page(struct pmkv *kv, uint64_t off)
{
    struct place p = layout_locate(&kv->vol.layout, off);
    struct pmkv_range r = {.offset = off, .bytes = PAGE_BYTES, .state = PMKV_RANGE_OK};
    switch (p.kind) {
    case PLACE_SUPERBLOCK:
        r.kind = PMKV_RANGE_SUPERBLOCK;
        break;
    case PLACE_TABLE:
        r.kind = PMKV_RANGE_TABLE;
        break;
    case PLACE_HEADER:
        r.kind = PMKV_RANGE_HEADER;
        r.segment = p.segment;
        r.column = p.column;
        break;
    case PLACE_ROW:
        classify_row_page(kv, p, &r);
        break;
    default:
        r.kind = PMKV_RANGE_UNUSED;
    }
    pthread_mutex_lock(&kv->work_lock);
    if (queue_has(&kv->pending, off))
        r.state = PMKV_RANGE_PENDING;
    else if (queue_has(&kv->unfixable, off))
        r.state = PMKV_RANGE_RETIRED;
    else if (queue_has(&kv->given_up, off))
        r.state = PMKV_RANGE_IS_LOST;
    else if (r.state == PMKV_RANGE_OK && queue_has(&kv->repaired, off))
        r.state = PMKV_RANGE_REPAIRED;
    pthread_mutex_unlock(&kv->work_lock);
    pthread_mutex_lock(&kv->lost_lock);
    if (kv->lost_count && r.kind == PMKV_RANGE_DATA && lost_in_page(kv, off))
        r.state = PMKV_RANGE_IS_LOST;
    pthread_mutex_unlock(&kv->lost_lock);
    return r;
}

static bool continues(const struct pmkv_range *a, const struct pmkv_range *b)
{
    return a->kind == b->kind && a->state == b->state && a->segment == b->segment &&
           a->row == b->row && a->column == b->column;
}

enum pmkv_status pmkv_map_foreach(struct pmkv *kv, pmkv_range_fn fn, void *arg)
{
    enum pmkv_status s = handle_enter(kv);
    if (s)
        return s;
    if (!fn)
        return fail(PMKV_E_INVALID, "no callback");
    struct pmkv_range run = classify_page(kv, 0);
    for (uint64_t off = PAGE_BYTES; off <= kv->vol.layout.pool_bytes; off += PAGE_BYTES) {
        struct pmkv_range next = {0};
        bool end = off == kv->vol.layout.pool_bytes;
        if (!end) {
            next = classify_page(kv, off);
            if (continues(&run, &next)) {
                run.bytes += PAGE_BYTES;
                continue;
            }
        }
        if (fn(arg, &run))
            return fail(PMKV_E_STOPPED, "stopped by the callback");
        run = next;
    }
    return PMKV_OK;
}
