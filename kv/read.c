/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "read.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/media.h"
#include "damage.h"
#include "defer.h"
#include "lane.h"
#include "lost.h"
#include "quick.h"

/* --- rebuilding ------------------------------------------------------------------------------- */

/* An open row has no group checks yet: the pages of the record that failed are written again. */
static void report_open_range(struct pmkv *kv, struct row_place place, uint32_t bytes)
{
    uint32_t first = place.offset / PAGE_PAYLOAD_BYTES;
    uint32_t last = (place.offset + bytes - 1) / PAGE_PAYLOAD_BYTES;
    for (uint32_t p = first; p <= last && p < kv->vol.layout.row_pages; p++)
        damage_found(kv, DAMAGE_CHECK,
                     layout_data_page_off(&kv->vol.layout, place.segment, place.row, p),
                     "record in an open row");
}

/* Payload of a row wherever it can be had from now: a lane's image, or the row, decoded as far as
 * it is asked for. */
struct row_source {
    struct row_ref ref;
    struct row_image own, *image;
    bool across[256];  /* page of each chunk: loaded and decoded; layout_compute allows no more */
    bool trust_queue;  /* pages that wait for repair are not touched again */
    struct lane *lane; /* locked */
    struct row_buf *buf;
};

static bool source_open(struct pmkv *kv, struct row_ref ref, struct row_source *src)
{
    *src = (struct row_source){.ref = ref, .trust_queue = true};
    src->lane = lane_holding(kv, ref, &src->buf);
    if (src->lane)
        return true;
    if (!atomic_flag_test_and_set_explicit(&kv->spare_taken, memory_order_acquire))
        src->image = &kv->spare;
    else if (row_image_init(&src->own, &kv->vol.layout) == 0)
        src->image = &src->own;
    return src->image != NULL;
}

static void source_close(struct pmkv *kv, struct row_source *src)
{
    if (src->lane)
        lane_unlock(src->lane);
    else if (src->image == &kv->spare)
        atomic_flag_clear_explicit(&kv->spare_taken, memory_order_release);
    else
        row_image_free(&src->own);
}

/* The pages just loaded that failed, each by its own checks; what is in `bad` is known. */
static void report_bad_pages(struct pmkv *kv, const struct row_source *src, uint32_t page,
                             uint32_t bad)
{
    const struct layout *l = &kv->vol.layout;
    for (uint32_t c = 0; c < l->columns; c++) {
        const struct row_page *p = &src->image->info[c * l->chunk_pages + page];
        if (((p->good | p->absent) == 0xffff && !p->poisoned) || bad >> c & 1)
            continue;
        damage_found(kv, p->poisoned ? DAMAGE_POISON : DAMAGE_CHECK,
                     layout_chunk_page_off(l, src->ref.segment, src->ref.row, c, page), "row");
    }
}

static void source_load(struct pmkv *kv, struct row_source *src, uint32_t data_page)
{
    const struct layout *l = &kv->vol.layout;
    uint32_t column = data_page / l->chunk_pages, page = data_page % l->chunk_pages, bad = 0;
    if (src->across[page])
        return;
    if (src->trust_queue &&
        damage_waits(kv, layout_data_page_off(l, src->ref.segment, src->ref.row, data_page)))
        bad = 1u << column;
    row_load_across(&kv->vol, src->ref, src->image, page, bad);
    report_bad_pages(kv, src, page, bad);
    row_decode_across(&kv->vol, src->ref, src->image, page);
    src->across[page] = true;
}

/* false: part of the range is lost. */
static bool source_read(struct pmkv *kv, struct row_source *src, uint32_t offset, void *dst,
                        uint32_t bytes)
{
    if (src->lane) {
        if (offset + bytes > src->buf->fill)
            return false;
        row_buf_read(src->buf, offset, dst, bytes);
        return true;
    }
    for (uint8_t *to = dst; bytes > 0;) {
        uint32_t page = offset / PAGE_PAYLOAD_BYTES, in = offset % PAGE_PAYLOAD_BYTES;
        uint32_t group = in / GROUP_BYTES;
        uint32_t left = (group == 15 ? PAGE_PAYLOAD_BYTES : (group + 1) * GROUP_BYTES) - in,
                 part = left < bytes ? left : bytes;
        source_load(kv, src, page);
        if (!row_group_ok(src->image, page, group))
            return false;
        memcpy(to, src->image->pages + (size_t)page * PAGE_BYTES + in, part);
        to += part;
        offset += part;
        bytes -= part;
    }
    return true;
}

static enum find_result source_try(struct pmkv *kv, struct row_source *src, struct row_place place,
                                   struct log_pos pos, uint64_t generation, uint8_t **record)
{
    struct record_header h;
    if (!source_read(kv, src, place.offset, &h, sizeof h))
        return FIND_LOST;
    if (!record_shape_holds(&h, row_payload(kv) - place.offset))
        return FIND_LOST;
    uint32_t bytes = (uint32_t)record_bytes(h.key_bytes, h.value_bytes);
    uint8_t *all = malloc(bytes);
    if (!all)
        return FIND_NOMEM;
    const uint8_t *key = all + sizeof h;
    bool good = source_read(kv, src, place.offset, all, bytes) &&
                record_check_holds(&h, hash64(key, h.key_bytes),
                                   record_secret(kv->vol.secret, generation, pos)) &&
                hash64(key + h.key_bytes, h.value_bytes) == h.value_hash;
    if (!good) {
        free(all);
        return FIND_LOST;
    }
    *record = all;
    return FIND_HIT;
}

/* A page that waited for repair may be a good one by now, and needed; one that is being repaired
 * right now is bad once more, for a moment. Nothing is lost for that: the verdict is by what is
 * there while nobody repairs. */
static enum find_result source_record(struct pmkv *kv, struct row_source *src,
                                      struct row_place place, struct log_pos pos,
                                      uint64_t generation, uint8_t **record)
{
    enum find_result r = source_try(kv, src, place, pos, generation, record);
    if (r != FIND_LOST || src->lane)
        return r;
    src->trust_queue = false;
    memset(src->across, 0, sizeof src->across);
    pthread_mutex_lock(&kv->verdict_lock);
    r = source_try(kv, src, place, pos, generation, record);
    pthread_mutex_unlock(&kv->verdict_lock);
    return r;
}

/* Rebuilds the record at `pos`. FIND_NONE: the segment is of another generation now. */
static enum find_result rebuild_record(struct pmkv *kv, struct log_pos pos, uint64_t generation,
                                       uint8_t **record)
{
    struct row_place place = pos_place(&kv->shape, pos);
    if (generation == 0 || generation == GENERATION_CHANGING)
        return FIND_NONE; /* it was freed: the slot has moved */
    if (media_present(kv->vol.media) && medium_in_doubt(kv, 0))
        return FIND_IO; /* I14: also for what the lanes still have in DRAM */
    if (!segment_pin(kv, place.segment, generation))
        return FIND_NONE;
    struct row_source src;
    enum find_result r = FIND_NOMEM;
    if (source_open(kv, (struct row_ref){place.segment, place.row, generation}, &src)) {
        r = source_record(kv, &src, place, pos, generation, record);
        if (src.lane && r == FIND_HIT) {
            struct record_header h;
            memcpy(&h, *record, sizeof h);
            report_open_range(kv, place, (uint32_t)record_bytes(h.key_bytes, h.value_bytes));
        }
        source_close(kv, &src);
    }
    segment_unpin(kv, place.segment);
    uint64_t off = layout_data_page_off(&kv->vol.layout, place.segment, place.row,
                                        place.offset / PAGE_PAYLOAD_BYTES);
    if (r == FIND_LOST && medium_in_doubt(kv, off))
        return FIND_IO;
    if (r == FIND_HIT) {
        atomic_fetch_add_explicit(&kv->n.reads_rebuilt, 1, memory_order_relaxed);
        pthread_mutex_lock(&kv->work_lock);
        kv->life.pages_rebuilt++;
        pthread_mutex_unlock(&kv->work_lock);
        event_send(kv, PMKV_EVENT_REBUILT, off, PAGE_BYTES,
                   "a record was rebuilt from redundancy for its reader");
    }
    return r;
}

/* --- whole records ---------------------------------------------------------------------------- */

static enum find_result load_record(struct pmkv *kv, struct log_pos pos, uint64_t generation,
                                    uint8_t **record)
{
    struct row_place place = pos_place(&kv->shape, pos);
    struct record_header h;
    if (payload_load(kv, place, &h, sizeof h) ||
        !record_shape_holds(&h, row_payload(kv) - place.offset))
        return FIND_LOST;
    uint32_t bytes = (uint32_t)record_bytes(h.key_bytes, h.value_bytes);
    uint8_t *all = malloc(bytes);
    if (!all)
        return FIND_NOMEM;
    const uint8_t *key = all + sizeof h;
    if (payload_load(kv, place, all, bytes) == 0 && memcmp(all, &h, sizeof h) == 0 &&
        record_check_holds(&h, hash64(key, h.key_bytes),
                           record_secret(kv->vol.secret, generation, pos)) &&
        hash64(key + h.key_bytes, h.value_bytes) == h.value_hash) {
        *record = all;
        return FIND_HIT;
    }
    free(all);
    return FIND_LOST;
}

enum find_result read_record(struct pmkv *kv, struct log_pos pos, uint64_t generation,
                             uint8_t **record)
{
    enum find_result r = load_record(kv, pos, generation, record);
    if (r != FIND_LOST)
        return r;
    struct row_place place = pos_place(&kv->shape, pos);
    if (atomic_load(&kv->segments[place.segment].generation) != generation)
        return FIND_NONE;
    return rebuild_record(kv, pos, generation, record);
}

/* --- finding ---------------------------------------------------------------------------------- */

enum { HEAD_BYTES = 320 };

/* What is asked for. `hash` chooses bucket and tag; `khash` is hash64 of the key's bytes. */
struct wanted {
    const void *key;
    uint32_t key_bytes;
    uint64_t hash, khash;
    bool extent, locked, poisoned;
};

enum candidate { CANDIDATE_HIT, CANDIDATE_OTHER, CANDIDATE_BAD };

static bool type_fits(const struct wanted *w, const struct record_header *h)
{
    return w->extent
               ? h->type == RECORD_EXTENT
               : h->type == RECORD_PUT || h->type == RECORD_TOMBSTONE || h->type == RECORD_MANIFEST;
}

/* The key is read apart: it is long, another one under the same tag, or was read wrongly just now.
 * Its own bytes decide, both what they are and whether they hold: a page that is written again in
 * the background may have been bad a moment ago and be good now. */
static enum candidate judge_apart(struct pmkv *kv, const struct wanted *w, struct found *f,
                                  uint64_t secret)
{
    struct row_place place = pos_place(&kv->shape, f->pos);
    if (!record_shape_holds(&f->h, row_payload(kv) - place.offset))
        return CANDIDATE_BAD;
    uint8_t *key = malloc(f->h.key_bytes);
    if (!key)
        return CANDIDATE_BAD;
    place.offset += RECORD_HEADER_BYTES;
    bool good = payload_load(kv, place, key, f->h.key_bytes) == 0;
    bool same = good && f->h.key_bytes == w->key_bytes && memcmp(key, w->key, w->key_bytes) == 0;
    good = good && record_check_holds(&f->h, same ? w->khash : hash64(key, f->h.key_bytes), secret);
    free(key);
    return !good ? CANDIDATE_BAD : same && type_fits(w, &f->h) ? CANDIDATE_HIT : CANDIDATE_OTHER;
}

/* Copies header and key in one go and compares. */
static enum candidate judge(struct pmkv *kv, const struct wanted *w, struct found *f)
{
    struct row_place place = pos_place(&kv->shape, f->pos);
    uint64_t secret = record_secret(kv->vol.secret, f->generation, f->pos);
    uint8_t head[HEAD_BYTES];
    uint32_t room = row_payload(kv) - place.offset;
    uint32_t bytes = RECORD_HEADER_BYTES + w->key_bytes;
    bool at_once = bytes <= HEAD_BYTES && bytes <= room; /* else a shorter key's, at a row's end */
    if (payload_load(kv, place, head, at_once ? bytes : RECORD_HEADER_BYTES))
        return CANDIDATE_BAD;
    memcpy(&f->h, head, sizeof f->h);
    if (!at_once || f->h.key_bytes != w->key_bytes ||
        memcmp(head + RECORD_HEADER_BYTES, w->key, w->key_bytes) != 0)
        return judge_apart(kv, w, f, secret);
    if (!record_check_holds(&f->h, w->khash, secret) || !record_shape_holds(&f->h, room))
        return CANDIDATE_BAD;
    return type_fits(w, &f->h) ? CANDIDATE_HIT : CANDIDATE_OTHER;
}

/* Compares a rebuilt record. */
static enum candidate judge_rebuilt(const struct wanted *w, struct found *f)
{
    memcpy(&f->h, f->rebuilt, sizeof f->h);
    bool same = f->h.key_bytes == w->key_bytes && type_fits(w, &f->h) &&
                memcmp(f->rebuilt + sizeof f->h, w->key, w->key_bytes) == 0;
    if (same)
        return CANDIDATE_HIT;
    free(f->rebuilt);
    f->rebuilt = NULL;
    return CANDIDATE_OTHER;
}

enum step { STEP_NEXT, STEP_AGAIN, STEP_HIT, STEP_LOST, STEP_IO, STEP_NOMEM };

/* A page that waits for repair: poison is no passing upset, and each try at it costs a signal. */
static bool head_is_bad(struct pmkv *kv, struct row_place place, const struct wanted *w)
{
    const struct layout *l = &kv->vol.layout;
    uint32_t first = place.offset / PAGE_PAYLOAD_BYTES;
    uint32_t last = (place.offset + RECORD_HEADER_BYTES + w->key_bytes - 1) / PAGE_PAYLOAD_BYTES;
    for (uint32_t p = first; p <= last && p < l->row_pages; p++)
        if (damage_waits(kv, layout_data_page_off(l, place.segment, place.row, p)))
            return true;
    return false;
}

/* The cold half: the candidate could not be read. */
static __attribute__((noinline)) enum step step_bad(struct pmkv *kv, const struct wanted *w,
                                                    struct found *f)
{
    struct row_place place = pos_place(&kv->shape, f->pos);
    if (!index_slot_unchanged(&f->ref) ||
        atomic_load(&kv->segments[place.segment].generation) != f->generation)
        return STEP_AGAIN;
    if (!head_is_bad(kv, place, w)) {
        enum candidate c = judge(kv, w, f); /* once more: a passing upset is no damage */
        if (c != CANDIDATE_BAD)
            return c == CANDIDATE_HIT ? STEP_HIT : STEP_NEXT;
    }
    switch (rebuild_record(kv, f->pos, f->generation, &f->rebuilt)) {
    case FIND_HIT:
        return judge_rebuilt(w, f) == CANDIDATE_HIT ? STEP_HIT : STEP_NEXT;
    case FIND_NONE:
        return STEP_AGAIN;
    case FIND_IO:
        return STEP_IO;
    case FIND_NOMEM:
        return STEP_NOMEM;
    default:
        break;
    }
    if (!w->extent && lost_tombstone(kv, f->pos, w->key, w->key_bytes, &f->h))
        return STEP_HIT;
    if (!w->locked)
        return lost_discover(kv, (struct row_ref){place.segment, place.row, f->generation})
                   ? STEP_AGAIN
                   : STEP_LOST;
    /* Under a stripe lock the others cannot be discovered; its summary says whose it is. */
    enum lost_match m = lost_match_place(kv, f->pos, w->key, w->key_bytes, w->hash);
    f->h = (struct record_header){0};
    return m == LOST_OTHER ? STEP_NEXT : STEP_LOST;
}

static enum step step_candidate(struct pmkv *kv, const struct wanted *w, struct found *f)
{
    f->pos = (struct log_pos){slot_position(f->ref.slot)};
    if (__builtin_expect(pos_is_lost(f->pos), 0)) {
        if (w->extent)
            return STEP_NEXT;
        enum lost_match m =
            lost_match_id(kv, f->pos.v & ~POSITION_LOST, w->key, w->key_bytes, w->hash);
        f->h = (struct record_header){0};
        return m == LOST_SAME ? STEP_LOST : m == LOST_OTHER ? STEP_NEXT : STEP_AGAIN;
    }
    struct row_place place = pos_place(&kv->shape, f->pos);
    f->generation =
        atomic_load_explicit(&kv->segments[place.segment].generation, memory_order_acquire);
    /* Only a slot that still stands vouches for the generation: the segment may have been freed and
     * taken again since the slot was read, and its records need not be fenced yet (I2). */
    if (__builtin_expect(!index_slot_unchanged(&f->ref), 0))
        return STEP_AGAIN;
    prefetch_record(kv, place, w->extent ? PAGE_PAYLOAD_BYTES : GROUP_BYTES);
    bool known_bad = w->poisoned && head_is_bad(kv, place, w);
    switch (known_bad ? CANDIDATE_BAD : judge(kv, w, f)) {
    case CANDIDATE_HIT:
        return STEP_HIT;
    case CANDIDATE_OTHER:
        return STEP_NEXT;
    default:
        return step_bad(kv, w, f);
    }
}

/* D2: a deferral may hide the key from a search without the lock that met its tag. */
static inline bool may_be_hidden(const struct pmkv *kv, const struct wanted *w, bool met_tag)
{
    return met_tag && !w->locked && defer_is_open(kv, w->hash);
}

static enum find_result find(struct pmkv *kv, const struct wanted *w, struct found *out)
{
    struct index_find f;
    *out = (struct found){.locked = w->locked};
    if (w->locked && defer_hides(kv, w->hash))
        return FIND_IO;
again:
    index_find_begin(kv->index, w->hash, &f);
    bool met_tag = false;
    while (index_find_next(&f, &out->ref)) {
        switch (step_candidate(kv, w, out)) {
        case STEP_NEXT:
            met_tag = true;
            continue;
        case STEP_AGAIN:
            goto again;
        case STEP_HIT:
            if (out->h.flags & RECORD_BATCH && !w->locked)
                wait_published(kv, out->h.seq);
            return FIND_HIT;
        case STEP_LOST:
            out->lost = true;
            return FIND_LOST;
        case STEP_IO:
            return FIND_IO;
        case STEP_NOMEM:
            return FIND_NOMEM;
        }
    }
    if (may_be_hidden(kv, w, met_tag)) {
        if (!defer_settle(kv, w->hash))
            return FIND_IO;
        goto again;
    }
    if (!index_find_settled(&f))
        goto again;
    return FIND_NONE;
}

/* After the quick search that left `out`. */
static struct wanted wanted_key(const void *key, uint32_t key_bytes, uint64_t khash,
                                const struct found *out)
{
    return (struct wanted){.key = key,
                           .key_bytes = key_bytes,
                           .hash = khash,
                           .khash = khash,
                           .poisoned = out->poisoned};
}

enum find_result find_at(struct pmkv *kv, const void *key, uint32_t key_bytes, uint64_t khash,
                         struct slot_ref ref, struct found *out)
{
    struct wanted w = wanted_key(key, key_bytes, khash, out);
    w.locked = true;
    *out = (struct found){.ref = ref, .locked = true};
    switch (step_candidate(kv, &w, out)) {
    case STEP_HIT:
        return FIND_HIT;
    case STEP_NEXT:
        return FIND_NONE;
    case STEP_LOST:
        out->lost = true;
        return FIND_LOST;
    case STEP_NOMEM:
        return FIND_NOMEM;
    default:
        return FIND_IO;
    }
}

enum find_result find_key_slowly(struct pmkv *kv, const void *key, uint32_t key_bytes,
                                 uint64_t khash, bool locked, struct found *out)
{
    struct wanted w = wanted_key(key, key_bytes, khash, out);
    w.locked = locked;
    return find(kv, &w, out);
}

bool quick_poisoned(struct pmkv *kv, struct found *out, size_t moved)
{
    out->poisoned = true;
    damage_found(kv, DAMAGE_POISON, out->off + moved, "read of a record");
    return false;
}

enum find_result find_key(struct pmkv *kv, const void *key, uint32_t key_bytes, uint64_t khash,
                          bool locked, struct found *out)
{
    quick_begin(out, locked);
    enum quick q = QUICK_OTHER;
    if (key_bytes <= QUICK_KEY_MAX && !(locked && defer_hides(kv, khash)))
        q = quick_place(kv, khash, GROUP_BYTES, out);
    return quick_find(kv, q, key, key_bytes, khash, out);
}

enum find_result find_extent(struct pmkv *kv, const struct extent_key *key, bool locked,
                             struct found *out)
{
    struct wanted w = {.key = key,
                       .key_bytes = sizeof *key,
                       .hash = extent_hash(key),
                       .khash = hash64(key, sizeof *key),
                       .extent = true,
                       .locked = locked};
    return find(kv, &w, out);
}

/* --- values ----------------------------------------------------------------------------------- */

enum find_result read_value(struct pmkv *kv, struct found *f, void *dst)
{
    struct row_place place = pos_place(&kv->shape, f->pos);
    uint32_t skip = RECORD_HEADER_BYTES + f->h.key_bytes;
    place.offset += skip;
    for (int attempt = 0; attempt < 2 && !f->rebuilt; attempt++) {
        uint64_t hash;
        if (value_load(kv, place, dst, f->h.value_bytes, &hash) == 0 && hash == f->h.value_hash)
            return FIND_HIT;
        if (!index_slot_unchanged(&f->ref) ||
            atomic_load(&kv->segments[place.segment].generation) != f->generation)
            return FIND_NONE;
    }
    if (!f->rebuilt) {
        enum find_result r = rebuild_record(kv, f->pos, f->generation, &f->rebuilt);
        if (r == FIND_LOST && !f->locked) /* it takes stripe locks */
            lost_discover(kv, (struct row_ref){place.segment, place.row, f->generation});
        if (r != FIND_HIT)
            return r;
    }
    memcpy(dst, f->rebuilt + skip, f->h.value_bytes);
    return FIND_HIT;
}

/* --- batches being published ------------------------------------------------------------------ */

/* P2: a reader that met a member of a batch waits until all members are in the index, so that
 * nobody sees half a batch. Publishing is a few stores per member; the wait is as short. */
void wait_while_published(struct pmkv *kv, uint64_t seq)
{
    for (uint32_t i = 0; i < PUBLISHING_SLOTS; i++)
        for (;;) {
            uint64_t first = atomic_load_explicit(&kv->publishing[i][0], memory_order_acquire);
            uint64_t last = atomic_load_explicit(&kv->publishing[i][1], memory_order_acquire);
            if (first == 0 || seq < first || seq > last)
                break;
            sched_yield();
        }
}

uint32_t publishing_begin(struct pmkv *kv, uint64_t first, uint64_t last)
{
    atomic_fetch_add_explicit(&kv->publishing_now, 1, memory_order_acq_rel);
    for (uint32_t i = 0;; i = (i + 1) % PUBLISHING_SLOTS) {
        uint64_t none = 0;
        if (atomic_compare_exchange_strong(&kv->publishing[i][0], &none, UINT64_MAX)) {
            atomic_store_explicit(&kv->publishing[i][1], last, memory_order_release);
            atomic_store_explicit(&kv->publishing[i][0], first, memory_order_release);
            return i;
        }
    }
}

void publishing_end(struct pmkv *kv, uint32_t slot)
{
    atomic_store_explicit(&kv->publishing[slot][0], 0, memory_order_release);
    atomic_fetch_sub_explicit(&kv->publishing_now, 1, memory_order_release);
}
