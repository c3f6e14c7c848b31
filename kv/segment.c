/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "segment.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "../recovery/errmsg.h"
#include "../recovery/media.h"
#include "damage.h"
#include "lost.h"
#include "repair.h"
#include "scrub.h"
#include "space.h"
#include "super.h"

/* --- bytes of a header ------------------------------------------------------------------------ */

static uint64_t header_check(const struct pmkv *kv, const struct segment_header *h)
{
    uint64_t place = (uint64_t)h->segment << 16 | h->column;
    return hash_bind(hash64((const char *)h + 8, sizeof *h - 8),
                     kv->vol.secret ^ hash_mix(place + 0x736567));
}

void segment_header_encode(const struct pmkv *kv, uint32_t segment, uint16_t column,
                           struct segment_header *out)
{
    const struct segment *s = &kv->segments[segment];
    uint8_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    if (state == SEGMENT_READY)
        state = SEGMENT_OPEN;
    if (state == SEGMENT_CLEANING || (state == SEGMENT_SEALED && s->summarised))
        state = SEGMENT_SEALED;
    else if (state == SEGMENT_SEALED)
        state = SEGMENT_OPEN; /* its records are not all in summaries yet: open reads them */
    bool free = state == SEGMENT_FREE || state == SEGMENT_ENDING;
    *out = (struct segment_header){
        .generation = free ? 0 : atomic_load_explicit(&s->generation, memory_order_relaxed),
        .version = s->header_version,
        .retired_rows = s->retired_rows,
        .segment = segment,
        .column = column,
        .state = free ? SEGMENT_FREE : state,
        .kind = free ? KIND_NONE : s->kind,
        .rows_used = s->rows_used,
        .records = s->records,
        .closed_rows = free ? 0 : s->closed_rows,
    };
    out->check = header_check(kv, out);
}

bool segment_header_valid(const struct pmkv *kv, const struct segment_header *h, uint32_t segment,
                          uint16_t column)
{
    static const uint8_t zeros[sizeof h->reserved];
    if (h->segment != segment || h->column != column || h->check != header_check(kv, h))
        return false;
    bool free = h->state == SEGMENT_FREE && h->kind == KIND_NONE && h->generation == 0;
    bool used = (h->state == SEGMENT_OPEN || h->state == SEGMENT_SEALED) && h->kind >= KIND_LOG &&
                h->kind <= KIND_WHOLE && h->generation != 0;
    uint32_t rows = kv->vol.layout.segment_rows;
    return (free || used) && h->rows_used <= rows && h->closed_rows <= (free ? 0 : rows) &&
           memcmp(h->reserved, zeros, sizeof zeros) == 0;
}

/* --- headers on the medium -------------------------------------------------------------------- */

/* Stores the copies of columns [from, to) and fences; counts those that took it. */
static int store_headers(struct pmkv *kv, uint32_t segment, uint32_t from, uint32_t to,
                         uint32_t *taken)
{
    for (uint32_t c = from; c < to; c++) {
        _Alignas(64) struct segment_header h;
        segment_header_encode(kv, segment, (uint16_t)c, &h);
        uint64_t off =
            layout_slice_off(&kv->vol.layout, segment, c) + segment_header_line(h.version);
        if (media_store(kv->vol.media, off, &h, sizeof h) == sizeof h)
            ++*taken;
        else
            damage_found(kv, DAMAGE_POISON, off, "segment header store");
    }
    if (from < to && media_drain(kv->vol.media)) {
        write_failure(kv);
        return -EIO;
    }
    return 0;
}

/* Poison stands where every copy should go: the page goes through the recovery door, as a whole. */
static uint32_t mend_headers(struct pmkv *kv, uint32_t segment)
{
    uint32_t mended = 0;
    for (uint32_t c = 0; c < kv->vol.layout.columns; c++)
        mended += repair_place(kv, layout_slice_off(&kv->vol.layout, segment, c)) == REPAIR_DONE;
    return mended;
}

/* One version of the header, in every column; header_lock. */
static int write_version(struct pmkv *kv, uint32_t segment, uint32_t *taken)
{
    uint32_t columns = kv->vol.layout.columns;
    uint64_t version = counter_next(kv, 2); /* odd and even in turn: the other line */
    if (version == 0)
        return -EIO;
    version += ~(version ^ kv->segments[segment].header_version) & 1;
    kv->segments[segment].header_version = version;
    int rc = store_headers(kv, segment, 0, columns / 2, taken);
    return rc ? rc : store_headers(kv, segment, columns / 2, columns, taken);
}

/* With few columns both lines hold the same in the end: were the newer one damaged in every column,
 * the older would speak of an earlier state of the segment, and all in it was gone without a word.
 * header_lock. */
static int write_headers(struct pmkv *kv, uint32_t segment, uint32_t *taken)
{
    *taken = 0;
    int rc = write_version(kv, segment, taken);
    if (rc == 0 && kv->vol.layout.columns <= 2)
        rc = write_version(kv, segment, taken);
    return rc;
}

int segment_write_headers(struct pmkv *kv, uint32_t segment)
{
    uint32_t taken;
    pthread_mutex_lock(&kv->header_lock);
    int rc = write_headers(kv, segment, &taken);
    pthread_mutex_unlock(&kv->header_lock);
    if (rc == 0 && taken == 0 && mend_headers(kv, segment) == 0)
        return err_fact(-EIO, "no copy of the header of segment %u could be stored", segment);
    return rc;
}

/* Who finds it said already finds it durable: it is said under the lock. */
static int say_closed(struct pmkv *kv, uint32_t segment, uint32_t *taken)
{
    struct segment *s = &kv->segments[segment];
    int rc = 0;
    *taken = 1;
    pthread_mutex_lock(&kv->header_lock);
    uint32_t said = s->closed_rows;
    uint32_t closed = atomic_load_explicit(&s->rows_durable, memory_order_relaxed);
    if (closed > said) {
        s->closed_rows = closed;
        rc = write_headers(kv, segment, taken);
        if (rc || *taken == 0)
            s->closed_rows = said; /* some copies may say it: it is true */
    }
    pthread_mutex_unlock(&kv->header_lock);
    return rc;
}

int segment_note_closed(struct pmkv *kv, uint32_t segment)
{
    uint32_t taken;
    int rc = say_closed(kv, segment, &taken);
    if (rc == 0 && taken == 0 && mend_headers(kv, segment) > 0)
        rc = say_closed(kv, segment, &taken);
    if (rc == 0 && taken > 0)
        return 0;
    return atomic_load(&kv->write_failed) || atomic_load(&kv->unavailable) ? -EIO : 0;
}

void segment_adopt(struct pmkv *kv, const struct segment_header *h)
{
    struct segment *s = &kv->segments[h->segment];
    atomic_store_explicit(&s->generation, h->generation, memory_order_relaxed);
    atomic_store_explicit(&s->state, h->state, memory_order_relaxed);
    s->kind = h->kind;
    s->retired_rows = h->retired_rows;
    s->rows_used = h->rows_used;
    s->records = h->records;
    s->closed_rows = h->closed_rows;
    s->header_version = h->version;
    s->summarised = h->state == SEGMENT_SEALED;
    uint32_t durable = h->state == SEGMENT_SEALED ? h->rows_used : 0;
    atomic_store_explicit(&s->rows_durable, durable, memory_order_relaxed);
    kv->free_count += h->state == SEGMENT_FREE;
}

/* Is there nothing but zeros in the segment, headers aside? Then nothing was ever written to it. */
static bool segment_blank(struct pmkv *kv, uint32_t segment)
{
    static const uint8_t zeros[PAGE_BYTES];
    const struct layout *l = &kv->vol.layout;
    uint8_t page[PAGE_BYTES];
    for (uint32_t c = 0; c < l->columns; c++)
        for (uint32_t p = 1; p < l->slice_pages; p++) {
            uint64_t off = layout_slice_off(l, segment, c) + (uint64_t)p * PAGE_BYTES;
            if (media_load(kv->vol.media, off, page, PAGE_BYTES) != PAGE_BYTES ||
                memcmp(page, zeros, PAGE_BYTES) != 0)
                return false;
        }
    return true;
}

/* No copy of the header is left: without its generation nothing in the segment can be told from
 * what stood there before. It begins anew, and what may have been in it is named by range (P8). */
static void segment_give_up(struct pmkv *kv, uint32_t segment, struct segment_header *h)
{
    const struct layout *l = &kv->vol.layout;
    uint64_t version = kv->opts.read_only ? 1 : counter_next(kv, 1);
    *h = (struct segment_header){.state = SEGMENT_FREE, .version = version ? version : 1};
    if (segment_blank(kv, segment))
        return;
    struct lost_entry e = {.pool_off = layout_data_page_off(l, segment, 0, 0),
                           .bytes = l->segment_rows * l->row_pages * PAGE_BYTES};
    lost_add(kv, &e, NULL, false);
    /* The list of what is lost goes elsewhere: with its new header a crash would leave no word. */
    kv->segments[segment].passed_over = true;
}

/* The newer of the valid lines of one header page: 1; 0: none is valid; -1: poison. */
static int header_load(struct pmkv *kv, uint32_t segment, uint32_t column,
                       struct segment_header *out)
{
    struct segment_header lines[2];
    uint64_t off = layout_slice_off(&kv->vol.layout, segment, column);
    if (media_load(kv->vol.media, off, lines, sizeof lines) != sizeof lines)
        return -1;
    int valid = 0;
    for (uint32_t i = 0; i < 2; i++) {
        const struct segment_header *h = &lines[i];
        bool good = segment_header_valid(kv, h, segment, (uint16_t)column) &&
                    segment_header_line(h->version) == i * LINE_BYTES;
        if (good && (!valid || h->version > out->version)) {
            *out = *h;
            valid = 1;
        }
    }
    return valid;
}

void segment_read_headers(struct pmkv *kv, uint32_t segment)
{
    struct segment_header copies[MAX_COLUMNS], best = {0};
    uint32_t columns = kv->vol.layout.columns;
    bool valid[MAX_COLUMNS] = {false};
    for (uint32_t c = 0; c < columns; c++) {
        uint64_t off = layout_slice_off(&kv->vol.layout, segment, c);
        int got = header_load(kv, segment, c, &copies[c]);
        valid[c] = got > 0;
        if (!valid[c] && got == 0 && !kv->was_clean)
            copy_behind(kv, off); /* torn by the crash, as far as anybody can tell */
        else if (!valid[c])
            damage_found(kv, got == 0 ? DAMAGE_CHECK : DAMAGE_POISON, off, "segment header");
        else if (copies[c].version > best.version)
            best = copies[c];
    }
    for (uint32_t c = 0; c < columns; c++)
        if (valid[c] && copies[c].version < best.version)
            copy_behind(kv, layout_slice_off(&kv->vol.layout, segment, c));
    if (best.version == 0)
        segment_give_up(kv, segment, &best);
    best.segment = segment;
    segment_adopt(kv, &best);
}

/* --- taking and ending ------------------------------------------------------------------------ */

int64_t segment_room(const struct pmkv *kv, enum space_class class)
{
    /* Each lane may take one more segment after it was admitted, so the reserve of a class covers
     * the lanes of the classes after it: cleaner and meta one each, deletes one, lanes one each. */
    int64_t keep = class == SPACE_PUT       ? kv->reserve_segments
                   : class == SPACE_DELETE  ? kv->reserve_segments - 1
                   : class == SPACE_CLEANER ? 1
                                            : 0;
    int64_t beside = class == SPACE_PUT || class == SPACE_DELETE ? kv->free_beside_twins : 0;
    return (int64_t)kv->free_count + kv->ready_count - beside - keep;
}

/* An array's columns are loss units: where several segments share one, a lane takes none from the
 * arrays of its twins, whichever those are. Where every array has twins there is nothing to be told
 * apart. */
void segments_note_twins(struct pmkv *kv)
{
    const struct layout *l = &kv->vol.layout;
    uint32_t outside = 0;
    pthread_mutex_lock(&kv->segments_lock);
    for (uint32_t array = 0; array < l->arrays; array++) {
        uint32_t first = array * l->segments_per_array;
        bool twins = false;
        for (uint32_t i = first; i < first + l->segments_per_array; i++)
            twins |= kv->segments[i].kind == KIND_TWIN;
        twins &= l->segments_per_array > 1;
        outside += !twins;
        for (uint32_t i = first; i < first + l->segments_per_array; i++)
            kv->segments[i].beside_twins = twins;
    }
    kv->free_beside_twins = 0;
    for (uint32_t i = 0; i < l->segments; i++) {
        uint8_t state = atomic_load_explicit(&kv->segments[i].state, memory_order_relaxed);
        kv->segments[i].beside_twins &= outside > 0;
        kv->free_beside_twins +=
            kv->segments[i].beside_twins && (state == SEGMENT_FREE || state == SEGMENT_READY);
    }
    pthread_mutex_unlock(&kv->segments_lock);
}

static bool array_avoided(const struct pmkv *kv, uint32_t segment, const uint32_t *avoid,
                          uint32_t count)
{
    if (kv->vol.layout.segments_per_array == 1)
        return false; /* every column is a loss unit of its own: another segment is far enough */
    for (uint32_t i = 0; i < count; i++)
        if (avoid[i] == layout_array_of(&kv->vol.layout, segment))
            return true;
    return false;
}

static uint64_t all_rows(const struct pmkv *kv)
{
    uint32_t rows = kv->vol.layout.segment_rows;
    return rows >= 64 ? ~0ull : (1ull << rows) - 1;
}

/* Finds a segment in `state` outside the avoided arrays and moves it to OPEN; segments_lock. */
static int64_t segment_claim(struct pmkv *kv, enum segment_state state, bool passed_over,
                             enum segment_kind kind, const uint32_t *avoid, uint32_t avoid_count)
{
    uint32_t count = kv->vol.layout.segments;
    uint64_t all_retired = all_rows(kv);
    for (uint32_t i = 0; i < count; i++) {
        struct segment *s = &kv->segments[i];
        if (atomic_load_explicit(&s->state, memory_order_relaxed) != state ||
            s->passed_over != passed_over || array_avoided(kv, i, avoid, avoid_count) ||
            s->retired_rows == all_retired ||
            (kind == KIND_TWIN && s->retired_rows)) /* its bits would mean twin slots */
            continue;
        atomic_store_explicit(&s->state, SEGMENT_OPEN, memory_order_relaxed);
        if (state == SEGMENT_FREE)
            kv->free_count--;
        else
            kv->ready_count--;
        kv->free_beside_twins -= s->beside_twins;
        return i;
    }
    return -ENOSPC;
}

/* Probes every page, so that a lane meets no poison that could be found before (I9). */
static void segment_probe(struct pmkv *kv, uint32_t segment)
{
    const struct layout *l = &kv->vol.layout;
    for (uint32_t c = 0; c < l->columns; c++) {
        uint64_t off = layout_slice_off(l, segment, c);
        media_populate(kv->vol.media, off, (size_t)l->slice_pages * PAGE_BYTES);
        for (uint32_t p = 0; p < l->slice_pages; p++, off += PAGE_BYTES)
            if (media_touch(kv->vol.media, off, PAGE_BYTES) != PAGE_BYTES)
                damage_found(kv, DAMAGE_POISON, off, "probe of a free segment");
    }
}

/* Gives a claimed segment its generation, durably. On failure it is free again, and passed over.
 * That is no durable verdict (I14): all writes may fail for a while. */
static int segment_begin(struct pmkv *kv, uint32_t segment, enum segment_kind kind)
{
    struct segment *s = &kv->segments[segment];
    uint64_t generation = counter_next(kv, 1);
    atomic_store_explicit(&s->generation, GENERATION_CHANGING, memory_order_seq_cst);
    while (atomic_load_explicit(&s->pins, memory_order_seq_cst) != 0)
        sched_yield(); /* a repair of the free segment is at its last page (I13) */
    s->kind = kind;
    s->rows_used = 0;
    s->summarised = false;
    s->part_count = 0;
    s->records = 0;
    s->closed_rows = 0;
    s->stuck = false;
    s->sealed_seq = 0;
    entries_clear(&s->pending);
    atomic_store_explicit(&s->live_units, 0, memory_order_relaxed);
    atomic_store_explicit(&s->rows_durable, 0, memory_order_relaxed);
    atomic_store_explicit(&s->evacuate, false, memory_order_relaxed);
    atomic_store_explicit(&s->generation, generation, memory_order_seq_cst);
    bool begun = generation && segment_write_headers(kv, segment) == 0;
    pthread_mutex_lock(&kv->segments_lock);
    s->passed_over = !begun;
    if (begun) {
        pthread_mutex_unlock(&kv->segments_lock);
        return 0;
    }
    s->kind = KIND_NONE;
    atomic_store_explicit(&s->generation, 0, memory_order_release);
    atomic_store_explicit(&s->state, SEGMENT_FREE, memory_order_relaxed);
    kv->free_count++;
    kv->free_beside_twins += s->beside_twins;
    pthread_mutex_unlock(&kv->segments_lock);
    return -EIO;
}

int64_t segment_take(struct pmkv *kv, enum segment_kind kind, enum space_class class,
                     const uint32_t *avoid, uint32_t avoid_count)
{
    for (;;) {
        pthread_mutex_lock(&kv->segments_lock);
        int64_t taken = -ENOSPC;
        bool ready = false, last = false;
        if (segment_room(kv, class) > 0 || class >= SPACE_CLEANER) {
            if (kind == KIND_LOG || (kind == KIND_WHOLE && class == SPACE_PUT))
                taken = segment_claim(kv, SEGMENT_READY, false, kind, avoid, avoid_count);
            ready = taken >= 0;
            if (!ready)
                taken = segment_claim(kv, SEGMENT_FREE, false, kind, avoid, avoid_count);
            if (taken < 0 && kind == KIND_WHOLE) {
                taken = segment_claim(kv, SEGMENT_READY, false, kind, avoid, avoid_count);
                ready = taken >= 0;
            }
            last = taken < 0;
            if (last)
                taken = segment_claim(kv, SEGMENT_FREE, true, kind, avoid, avoid_count);
        }
        if (space_is_low(kv)) {
            kv->cleaner_wanted = true;
            pthread_cond_signal(&kv->cleaner_cond);
        }
        pthread_mutex_unlock(&kv->segments_lock);
        if (taken >= 0 && !ready)
            segment_probe(kv, (uint32_t)taken);
        /* One that is ready was begun as KIND_LOG; another kind has a generation of its own. */
        bool begun = taken < 0 || (ready && kind == KIND_LOG);
        int rc = begun ? 0 : segment_begin(kv, (uint32_t)taken, kind);
        bool outage = atomic_load(&kv->write_failed) || atomic_load(&kv->unavailable);
        if (rc && !last && !outage)
            continue;    /* another one: this one's header cannot be stored */
        keeper_wake(kv); /* it prepares another one */
        return rc && last && !outage ? -ENOSPC : rc ? rc : taken;
    }
}

void segment_spare_entries(struct pmkv *kv, struct entries *e)
{
    pthread_mutex_lock(&kv->segments_lock);
    if (kv->spare_count < SPARE_ENTRIES) {
        entries_clear(e);
        kv->spare_entries[kv->spare_count++] = *e;
        *e = (struct entries){0};
    }
    pthread_mutex_unlock(&kv->segments_lock);
    entries_free(e);
}

/* Else they grow step by step: that copies, and meets pages that were never touched, 14 us each in
 * a virtual machine, while a put waits. */
static void take_spare_entries(struct pmkv *kv, struct entries *e)
{
    pthread_mutex_lock(&kv->segments_lock);
    if (kv->spare_count > 0 && !e->bytes)
        *e = kv->spare_entries[--kv->spare_count];
    pthread_mutex_unlock(&kv->segments_lock);
}

void segment_prepare_ahead(struct pmkv *kv)
{
    for (;;) {
        pthread_mutex_lock(&kv->segments_lock);
        int64_t taken = -ENOSPC;
        /* The store's own records take none that is ready: two are left for them. */
        if (kv->ready_count < kv->lane_count + 2 && kv->free_count > 2)
            taken = segment_claim(kv, SEGMENT_FREE, false, KIND_LOG, NULL, 0);
        pthread_mutex_unlock(&kv->segments_lock);
        if (taken < 0)
            return;
        segment_probe(kv, (uint32_t)taken);
        if (segment_begin(kv, (uint32_t)taken, KIND_LOG))
            return;
        take_spare_entries(kv, &kv->segments[taken].pending);
        pthread_mutex_lock(&kv->segments_lock);
        atomic_store_explicit(&kv->segments[taken].state, SEGMENT_READY, memory_order_relaxed);
        kv->ready_count++;
        kv->free_beside_twins += kv->segments[taken].beside_twins;
        pthread_mutex_unlock(&kv->segments_lock);
    }
}

bool segment_pin(struct pmkv *kv, uint32_t segment, uint64_t generation)
{
    struct segment *s = &kv->segments[segment];
    atomic_fetch_add_explicit(&s->pins, 1, memory_order_seq_cst);
    if (generation != GENERATION_CHANGING &&
        atomic_load_explicit(&s->generation, memory_order_seq_cst) == generation)
        return true;
    atomic_fetch_sub_explicit(&s->pins, 1, memory_order_release);
    return false;
}

void segment_unpin(struct pmkv *kv, uint32_t segment)
{
    atomic_fetch_sub_explicit(&kv->segments[segment].pins, 1, memory_order_release);
}

int segment_end(struct pmkv *kv, uint32_t segment)
{
    struct segment *s = &kv->segments[segment];
    uint64_t generation = atomic_load_explicit(&s->generation, memory_order_relaxed);
    uint8_t state = atomic_load_explicit(&s->state, memory_order_relaxed);
    /* I13: nobody may repair by the old generation what a new one is being written to. */
    atomic_store_explicit(&s->generation, GENERATION_CHANGING, memory_order_seq_cst);
    while (atomic_load_explicit(&s->pins, memory_order_seq_cst) != 0)
        sched_yield();
    atomic_store_explicit(&s->state, SEGMENT_ENDING, memory_order_relaxed);
    if (segment_write_headers(kv, segment)) {
        atomic_store_explicit(&s->state, state, memory_order_relaxed);
        atomic_store_explicit(&s->generation, generation, memory_order_seq_cst);
        return -EIO;
    }
    damage_forget_given_up(kv, segment);
    uint32_t live = atomic_exchange_explicit(&s->live_units, 0, memory_order_relaxed);
    atomic_fetch_sub_explicit(&kv->live_units, live, memory_order_relaxed);
    atomic_store_explicit(&s->evacuate, false, memory_order_relaxed);
    s->rows_used = 0;
    entries_free(&s->pending);
    pthread_mutex_lock(&kv->segments_lock); /* from here on it may be claimed */
    s->kind = KIND_NONE;
    atomic_store_explicit(&s->generation, 0, memory_order_seq_cst);
    atomic_store_explicit(&s->state, SEGMENT_FREE, memory_order_relaxed);
    kv->free_count++;
    kv->free_beside_twins += s->beside_twins;
    pthread_cond_broadcast(&kv->space_cond);
    pthread_mutex_unlock(&kv->segments_lock);
    return 0;
}

bool place_retired(const struct pmkv *kv, const struct place *p)
{
    const struct layout *l = &kv->vol.layout;
    if (p->kind != PLACE_ROW)
        return false;
    const struct segment *s = &kv->segments[p->segment];
    uint32_t bit = p->row;
    if (s->kind == KIND_TWIN)
        bit = (p->row * l->chunk_pages + p->page) / l->row_pages * l->columns + p->column;
    return bit < 64 && s->retired_rows >> bit & 1;
}

int segment_retire_row(struct pmkv *kv, uint32_t segment, uint32_t row)
{
    struct segment *s = &kv->segments[segment];
    s->retired_rows |= 1ull << row;
    atomic_store_explicit(&s->evacuate, true, memory_order_relaxed);
    return segment_write_headers(kv, segment);
}
