/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Twin slots: row_pages pages in one column of a twin segment, where the copy of an open row lives.
 * No twin lies in a loss unit of its row's columns (segment_take avoids the twins' arrays) nor of
 * another twin of the same set (they are in different columns).
 */
#include <errno.h>
#include <stdlib.h>

#include "../recovery/errmsg.h"
#include "lane.h"

static uint64_t mark_check(const struct pmkv *kv, const struct twin_mark *m, uint64_t page_off)
{
    return hash_bind(hash64((const char *)m + 8, sizeof *m - 8),
                     kv->vol.secret ^ hash_mix(page_off + 0x7477696e));
}

void twin_mark_encode(const struct pmkv *kv, const struct row_buf *buf, uint32_t page,
                      uint32_t number, uint64_t page_off, struct twin_mark *out)
{
    *out = (struct twin_mark){.generation = buf->generation,
                              .segment = buf->segment,
                              .row = buf->row,
                              .page = page,
                              .number = number};
    out->check = mark_check(kv, out, page_off);
}

bool twin_mark_valid(const struct pmkv *kv, const struct twin_mark *m, uint64_t page_off)
{
    const struct layout *l = &kv->vol.layout;
    return m->check == mark_check(kv, m, page_off) && m->segment < l->segments &&
           m->row < l->segment_rows && m->page < l->row_pages && m->number < l->parity_columns;
}

uint32_t twin_slots(const struct pmkv *kv)
{
    uint32_t slots = kv->slots_per_slice * kv->vol.layout.columns;
    return slots < 64 ? slots : 64; /* as many as retired_rows has bits */
}

uint64_t twin_slot_off(const struct pmkv *kv, uint32_t segment, uint32_t slot)
{
    const struct layout *l = &kv->vol.layout;
    uint32_t column = slot % l->columns, index = slot / l->columns;
    return layout_slice_off(l, segment, column) + (1 + (uint64_t)index * l->row_pages) * PAGE_BYTES;
}

/* Next twin segment at or after `from` that is in use as one; -1: none. */
static int64_t twin_segment_from(struct pmkv *kv, uint32_t from)
{
    for (uint32_t i = from; i < kv->vol.layout.segments; i++)
        if (kv->segments[i].kind == KIND_TWIN &&
            atomic_load_explicit(&kv->segments[i].state, memory_order_relaxed) != SEGMENT_FREE)
            return i;
    return -1;
}

struct twin_walk {
    int64_t segment;
    uint32_t slot;
};

/* The next usable slot, taking another twin segment when the ones there are used up. */
static int twin_next(struct pmkv *kv, struct twin_walk *w, uint64_t *off, uint32_t *column)
{
    for (;;) {
        if (w->segment >= 0 && w->slot < twin_slots(kv)) {
            uint32_t slot = w->slot++;
            if (kv->segments[w->segment].retired_rows >> slot & 1)
                continue;
            *column = slot % kv->vol.layout.columns;
            *off = twin_slot_off(kv, (uint32_t)w->segment, slot);
            return 0;
        }
        int64_t next = twin_segment_from(kv, (uint32_t)(w->segment + 1));
        if (next < 0)
            next = segment_take(kv, KIND_TWIN, SPACE_META, NULL, 0);
        if (next < 0)
            return err_fact((int)next, "no segment is free for the twins of open rows");
        w->segment = next;
        w->slot = 0;
    }
}

bool twin_in_use(struct pmkv *kv, uint64_t off)
{
    uint64_t bytes = (uint64_t)kv->vol.layout.row_pages * PAGE_BYTES;
    for (uint32_t i = 0; i < kv->lane_total; i++)
        for (uint32_t set = 0; set < LANE_SETS; set++)
            for (uint32_t t = 0; t < kv->vol.layout.parity_columns; t++)
                if (off - kv->lanes[i].rows[set].twin_off[t] < bytes)
                    return true;
    return false;
}

static bool slot_retired(struct pmkv *kv, uint64_t off)
{
    struct place p = layout_locate(&kv->vol.layout, off);
    const struct layout *l = &kv->vol.layout;
    uint32_t index = (p.row * l->chunk_pages + p.page) / l->row_pages;
    uint32_t slot = index * l->columns + p.column;
    return slot < 64 && kv->segments[p.segment].retired_rows >> slot & 1;
}

static bool same_array(const struct pmkv *kv, uint64_t twin_off, uint32_t segment)
{
    const struct layout *l = &kv->vol.layout;
    return l->segments_per_array > 1 &&
           layout_array_of(l, layout_locate(l, twin_off).segment) == layout_array_of(l, segment);
}

/* The open row that the slot holds a twin of: the lowest of its marks that can be read says it. */
static struct row_buf *slot_row(struct pmkv *kv, uint64_t slot_off, uint32_t *number)
{
    for (uint32_t p = 0; p < kv->vol.layout.row_pages; p++) {
        struct twin_mark mark;
        uint64_t off = slot_off + (uint64_t)p * PAGE_BYTES, line = off + PAGE_PAYLOAD_BYTES;
        if (media_load(kv->vol.media, line, &mark, sizeof mark) != sizeof mark ||
            !twin_mark_valid(kv, &mark, off))
            continue;
        *number = mark.number;
        for (uint32_t i = 0; i < kv->lane_total; i++) {
            struct row_buf *buf = &kv->lanes[i].rows[kv->lanes[i].current];
            if (buf->state == ROW_OPEN && buf->segment == mark.segment && buf->row == mark.row &&
                buf->generation == mark.generation)
                return buf;
        }
        return NULL;
    }
    return NULL;
}

/* Rows that lanes go on with keep the slots they have: were they given to another row, there would
 * be moments in which the row's own bytes are the only copy. */
static void keep_twins(struct pmkv *kv)
{
    for (int64_t i = twin_segment_from(kv, 0); i >= 0; i = twin_segment_from(kv, (uint32_t)i + 1))
        for (uint32_t slot = 0; slot < twin_slots(kv); slot++) {
            uint32_t number;
            uint64_t off = twin_slot_off(kv, (uint32_t)i, slot);
            bool retired = kv->segments[i].retired_rows >> slot & 1;
            struct row_buf *buf = retired ? NULL : slot_row(kv, off, &number);
            if (buf && buf->twin_off[number] == 0)
                buf->twin_off[number] = off;
        }
}

/* A free slot for twin `t` of the set: not in the column of its other twin, for two twins never
 * share a loss unit; nor in the array of `segment` (-1: anywhere). */
static int twin_take(struct pmkv *kv, struct row_buf *buf, uint32_t t, int64_t segment)
{
    struct twin_walk w = {.segment = twin_segment_from(kv, 0)};
    uint64_t off = 0, other_off = kv->vol.layout.parity_columns > 1 ? buf->twin_off[t ^ 1] : 0;
    uint32_t column = 0, other = UINT32_MAX;
    if (other_off)
        other = layout_locate(&kv->vol.layout, other_off).column;
    do {
        int rc = twin_next(kv, &w, &off, &column);
        if (rc)
            return rc;
    } while (column == other || twin_in_use(kv, off) ||
             (segment >= 0 && same_array(kv, off, (uint32_t)segment)));
    buf->twin_off[t] = off;
    return 0;
}

int lanes_assign_twins(struct pmkv *kv)
{
    uint32_t m = kv->vol.layout.parity_columns;
    if (m == 0 || twins_are_parity(kv))
        return 0;
    keep_twins(kv);
    for (uint32_t i = 0; i < kv->lane_total; i++)
        for (uint32_t k = 0; k < LANE_SETS * m && !kv->lanes[i].whole_rows; k++) {
            struct row_buf *buf = &kv->lanes[i].rows[k / m];
            int rc = buf->twin_off[k % m] ? 0 : twin_take(kv, buf, k % m, -1);
            if (rc)
                return rc;
        }
    return 0;
}

bool twins_too_near(const struct pmkv *kv, const struct lane *lane, int64_t segment)
{
    if (twins_are_parity(kv))
        return false;
    for (uint32_t set = 0; set < LANE_SETS; set++)
        for (uint32_t t = 0; t < kv->vol.layout.parity_columns; t++)
            if (same_array(kv, lane->rows[set].twin_off[t], (uint32_t)segment))
                return true;
    return false;
}

int twin_refresh(struct pmkv *kv, struct row_buf *buf, uint32_t segment)
{
    uint32_t m = kv->vol.layout.parity_columns;
    if (m == 0 || twins_are_parity(kv))
        return 0;
    for (uint32_t t = 0; t < m; t++) {
        if (buf->twin_off[t] == 0 || !slot_retired(kv, buf->twin_off[t]))
            continue;
        pthread_mutex_lock(&kv->twin_lock);
        int rc = twin_take(kv, buf, t, segment);
        pthread_mutex_unlock(&kv->twin_lock);
        if (rc)
            return rc;
    }
    return 0;
}

struct lane *twin_owner(struct pmkv *kv, uint64_t off, struct row_buf **buf, uint32_t *number,
                        uint32_t *page)
{
    uint64_t bytes = (uint64_t)kv->vol.layout.row_pages * PAGE_BYTES;
    for (uint32_t i = 0; i < kv->lane_total; i++) {
        lane_lock_beside(&kv->lanes[i]);
        for (uint32_t set = 0; set < LANE_SETS; set++)
            for (uint32_t t = 0; t < kv->vol.layout.parity_columns; t++) {
                uint64_t from = kv->lanes[i].rows[set].twin_off[t];
                if (from == 0 || off < from || off >= from + bytes)
                    continue;
                *buf = &kv->lanes[i].rows[set];
                *number = t;
                *page = (uint32_t)((off - from) / PAGE_BYTES);
                return &kv->lanes[i];
            }
        lane_unlock(&kv->lanes[i]);
    }
    return NULL;
}
