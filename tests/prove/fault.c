/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include <stdio.h>
#include <string.h>

#include "kv/lane.h"
#include "prove.h"

const char *const fault_names[FAULTS] = {
#define FAULT_NAME(name, what) what,
    FAULT_MAP(FAULT_NAME)
#undef FAULT_NAME
};

/* A fault being placed: where faults go follows from the store that is running, which knows what is
 * where; the image is of its medium. */
struct aim {
    struct run *r;
    struct media *image;
    struct test_rng rng;
    uint64_t near;        /* the row of this page; 0: anywhere */
    unsigned superblocks; /* copies hit: never more than one, but by unlimited plans */
};

static uint32_t below(struct aim *a, uint64_t bound)
{
    return (uint32_t)test_rng_below(&a->rng, bound);
}

/* --- places ----------------------------------------------------------------------------------- */

/* A byte of a row's payload; of an open row in one of its copies. */
static uint64_t payload_off(struct aim *a, struct row_place p, uint32_t in)
{
    struct pmkv *kv = a->r->kv;
    uint32_t at = p.offset + in;
    if (at >= row_payload(kv))
        at = row_payload(kv) - 1;
    uint32_t page = at / PAGE_PAYLOAD_BYTES;
    for (uint32_t i = 0; i < kv->lane_total; i++) {
        const struct row_buf *buf = &kv->lanes[i].rows[kv->lanes[i].current];
        if (buf->state == ROW_OPEN && buf->segment == p.segment && buf->row == p.row)
            return row_copy_off(kv, buf, below(a, row_copies(kv)), page) + at % PAGE_PAYLOAD_BYTES;
    }
    return layout_data_page_off(&kv->vol.layout, p.segment, p.row, page) + at % PAGE_PAYLOAD_BYTES;
}

/* Where the record of some key is. */
static bool some_record(struct aim *a, struct row_place *out, uint32_t *key_bytes, uint32_t *bytes)
{
    uint32_t first = below(a, EXPECT_KEYS);
    for (uint32_t i = 0; i < EXPECT_KEYS && a->r->kv; i++) {
        uint32_t key = (first + i) % EXPECT_KEYS;
        size_t length;
        const char *name = expect_key(key, &length);
        struct index_find f;
        struct slot_ref ref;
        index_find_begin(a->r->kv->index, key_hash(name, length), &f);
        if (!index_find_next(&f, &ref) || pos_is_lost((struct log_pos){slot_position(ref.slot)}))
            continue;
        *out = pos_place(&a->r->kv->shape, (struct log_pos){slot_position(ref.slot)});
        *key_bytes = (uint32_t)length;
        *bytes = expect_has(a->r->expect.now[key]) ? a->r->expect.now[key].bytes : 0;
        return true;
    }
    return false;
}

static uint64_t record_spot(struct aim *a, enum fault area)
{
    struct row_place p;
    uint32_t key_bytes, bytes;
    if (!some_record(a, &p, &key_bytes, &bytes))
        return below(a, a->image->size);
    uint32_t value_at = RECORD_HEADER_BYTES + key_bytes;
    switch (area) {
    case FAULT_FLIP_HEADER:
        return payload_off(a, p, below(a, RECORD_HEADER_BYTES));
    case FAULT_FLIP_KEY:
        return payload_off(a, p, RECORD_HEADER_BYTES + below(a, key_bytes));
    case FAULT_FLIP_VALUE:
        return payload_off(a, p, value_at + below(a, bytes ? bytes : 1));
    default:
        return payload_off(a, p, (value_at + bytes) | (LINE_BYTES - 1));
    }
}

/* A page of a row in use, in one of the columns [from, to). */
static uint64_t row_page(struct aim *a, uint32_t from, uint32_t to)
{
    const struct layout *l = &a->r->layout;
    uint32_t segment = below(a, l->segments), row = below(a, l->segment_rows);
    for (unsigned tries = 0; tries < 64 && a->r->kv; tries++) {
        const struct segment *s = &a->r->kv->segments[segment];
        if (s->kind != KIND_NONE && s->kind != KIND_TWIN && s->rows_used > 0) {
            row = below(a, 2) ? s->rows_used - 1 : below(a, s->rows_used);
            break;
        }
        segment = below(a, l->segments);
    }
    return layout_chunk_page_off(l, segment, row % l->segment_rows, from + below(a, to - from),
                                 below(a, l->chunk_pages));
}

static uint64_t twin_spot(struct aim *a)
{
    struct pmkv *kv = a->r->kv;
    const struct layout *l = &a->r->layout;
    if (kv && !twins_are_parity(kv) && l->parity_columns) {
        struct lane *lane = &kv->lanes[below(a, 2) ? 0 : below(a, kv->lane_total)];
        const struct row_buf *buf = &lane->rows[below(a, LANE_SETS)];
        uint64_t off = buf->twin_off[below(a, l->parity_columns)];
        if (off)
            return off + below(a, (uint64_t)l->row_pages * PAGE_BYTES / (1 + below(a, 8)));
    }
    return row_page(a, l->parity_columns ? l->data_columns : 0, l->columns) + below(a, PAGE_BYTES);
}

static uint64_t summary_spot(struct aim *a)
{
    struct pmkv *kv = a->r->kv;
    for (uint32_t i = 0; kv && i < 16; i++) {
        const struct segment *s = &kv->segments[below(a, a->r->layout.segments)];
        if (s->part_count == 0)
            continue;
        const struct meta_ref *part = &s->parts[below(a, s->part_count)];
        struct row_place p = pos_place(&kv->shape, part->pos);
        return payload_off(a, p, below(a, RECORD_HEADER_BYTES + 24 + part->bytes));
    }
    return row_page(a, 0, a->r->layout.columns) + below(a, PAGE_BYTES);
}

static uint64_t spot_in(struct aim *a, enum fault area)
{
    const struct layout *l = &a->r->layout;
    switch (area) {
    case FAULT_FLIP_CHECK:
        return row_page(a, 0, l->columns) + PAGE_PAYLOAD_BYTES + below(a, LINE_BYTES);
    case FAULT_FLIP_PARITY:
        return row_page(a, l->parity_columns ? l->data_columns : 0, l->columns) +
               below(a, PAGE_BYTES);
    case FAULT_FLIP_TWIN:
        return twin_spot(a);
    case FAULT_FLIP_SUPERBLOCK:
        return l->superblock_off[below(a, SUPERBLOCK_COPIES)] + below(a, PAGE_BYTES);
    case FAULT_FLIP_TABLE:
        return l->table_off[below(a, TABLE_COPIES)] + below(a, l->table_bytes);
    case FAULT_FLIP_SEGMENT:
        return layout_slice_off(l, below(a, l->segments), below(a, l->columns)) +
               below(a, 2 * LINE_BYTES);
    case FAULT_FLIP_SUMMARY:
        return summary_spot(a);
    default:
        return record_spot(a, area);
    }
}

/* Another column of the row, or of the header, that the first fault was in. */
static uint64_t beside(struct aim *a)
{
    const struct layout *l = &a->r->layout;
    struct place p = layout_locate(l, a->near);
    if (p.kind == PLACE_HEADER)
        return layout_slice_off(l, p.segment, below(a, l->columns)) + below(a, 2 * LINE_BYTES);
    if (p.kind != PLACE_ROW)
        return spot_in(a, (enum fault)below(a, FAULT_AREAS));
    return layout_chunk_page_off(l, p.segment, p.row, below(a, l->columns), p.page) +
           below(a, PAGE_BYTES);
}

static uint64_t aim_at(struct aim *a, enum fault area, bool unlimited)
{
    for (;;) {
        uint64_t off = a->near && below(a, 4) ? beside(a) : spot_in(a, area);
        bool superblock = layout_locate(&a->r->layout, off).kind == PLACE_SUPERBLOCK;
        if (superblock && a->superblocks > 0 && !unlimited) {
            area = FAULT_FLIP_VALUE;
            continue;
        }
        a->superblocks += superblock;
        return off;
    }
}

/* --- faults ----------------------------------------------------------------------------------- */

/* Replaces `bytes` around the spot, aligned to them. */
static void zero(struct aim *a, uint64_t off, uint32_t bytes)
{
    static const uint8_t zeros[512];
    media_inject_bytes(a->image, off / bytes * bytes, zeros, bytes);
}

static void stale(struct aim *a, uint64_t off, uint32_t bytes)
{
    uint8_t was[PAGE_BYTES];
    off = off / bytes * bytes;
    sim_peek_durable(a->r->old ? a->r->old : a->image, off, was, bytes);
    media_inject_bytes(a->image, off, was, bytes);
}

static void flip(struct aim *a, uint64_t off)
{
    uint8_t byte;
    sim_peek(a->image, off, &byte, 1);
    byte ^= (uint8_t)(1u << below(a, 8));
    media_inject_bytes(a->image, off, &byte, 1);
}

/* A record's first bytes at a line where they do not belong. */
static void misdirect(struct aim *a, uint64_t off)
{
    uint8_t bytes[PAGE_BYTES];
    uint64_t from = record_spot(a, FAULT_FLIP_HEADER) / LINE_BYTES * LINE_BYTES;
    uint64_t to = off / LINE_BYTES * LINE_BYTES;
    uint32_t most = PAGE_BYTES - (uint32_t)(to % PAGE_BYTES);
    uint32_t count = LINE_BYTES * (1 + below(a, 8));
    count = count < most ? count : most;
    if (from + count > a->image->size)
        return;
    sim_peek(a->image, from, bytes, count);
    media_inject_bytes(a->image, to, bytes, count);
}

/* Some of the page's lines are back, the rest is what a clear left. */
static void half_repair(struct aim *a, uint64_t off)
{
    uint8_t page[PAGE_BYTES];
    bool zeros = below(a, 2);
    off = off / PAGE_BYTES * PAGE_BYTES;
    sim_peek(a->image, off, page, PAGE_BYTES);
    for (uint32_t i = 0, keep = 0; i < PAGE_BYTES; i++) {
        if (i % LINE_BYTES == 0)
            keep = below(a, 2);
        if (!keep)
            page[i] = zeros ? 0 : (uint8_t)test_mix(off + i);
    }
    media_inject_bytes(a->image, off, page, PAGE_BYTES);
}

static void plant(struct aim *a, enum fault fault, uint64_t off, struct fault_plan *plan)
{
    switch (fault) {
    case FAULT_ZERO_LINE:
        zero(a, off, LINE_BYTES);
        break;
    case FAULT_ZERO_GROUP:
        zero(a, off, GROUP_BYTES);
        break;
    case FAULT_ZERO_SECTOR:
        zero(a, off, 512);
        break;
    case FAULT_CLEAR_FAILS:
        plan->cannot_clear = true;
        media_inject_clear_fails(a->image, off / PAGE_BYTES * PAGE_BYTES);
        /* fall through */
    case FAULT_POISON_PAGE:
    case FAULT_POISON_UNIT:
        sim_poison(a->image, off / PAGE_BYTES * PAGE_BYTES, PAGE_BYTES);
        break;
    case FAULT_STALE_GROUP:
        stale(a, off, GROUP_BYTES);
        break;
    case FAULT_STALE_PAGE:
        stale(a, off, PAGE_BYTES);
        break;
    case FAULT_MISDIRECTED:
        misdirect(a, off);
        break;
    case FAULT_HALF_REPAIR:
        half_repair(a, off);
        break;
    case FAULT_POISON_LATE:
        plan->late_in = 1 + below(a, 400);
        plan->late_off = below(a, 2) ? 0 : off / PAGE_BYTES * PAGE_BYTES;
        break;
    default:
        flip(a, off);
    }
}

static enum fault draw(struct aim *a, const struct fault_plan *plan)
{
    enum fault fault = (enum fault)below(a, FAULTS);
    bool coarse = a->image->loss_unit > PAGE_BYTES;
    if (fault == FAULT_POISON_PAGE || fault == FAULT_POISON_UNIT)
        fault = coarse ? FAULT_POISON_UNIT : FAULT_POISON_PAGE;
    /* One late one each; with large loss units not all pages of one fail to be cleared alike. */
    if ((fault == FAULT_POISON_LATE && plan->late_in) || (fault == FAULT_CLEAR_FAILS && coarse))
        fault = FAULT_STALE_PAGE;
    return fault;
}

static unsigned how_many(struct aim *a, enum fault_mode mode)
{
    unsigned budget = a->r->setting->budget;
    switch (mode) {
    case FAULTS_WITHIN:
        return 1 + below(a, budget);
    case FAULTS_BEYOND:
        return budget + 1 + below(a, 3);
    default:
        return 4 + below(a, 60);
    }
}

void fault_plant(struct run *r, struct media *image, enum fault_mode mode, uint64_t salt,
                 struct fault_plan *plan, char *text, size_t room)
{
    struct aim a = {
        .r = r, .image = image, .rng = test_rng_make(salt, 0xfa17), .near = plan->first};
    unsigned count = how_many(&a, mode);
    *plan = (struct fault_plan){.mode = mode};
    text[0] = 0;
    atomic_fetch_add(&r->totals->modes[mode], 1);
    atomic_fetch_add(&r->totals->faulted, 1);
    for (unsigned i = 0; i < count; i++) {
        enum fault fault = draw(&a, plan);
        enum fault area =
            (unsigned)fault < FAULT_AREAS ? fault : (enum fault)below(&a, FAULT_AREAS);
        uint64_t off = aim_at(&a, area, mode == FAULTS_UNLIMITED);
        if (i == 0)
            plan->first = off;
        if (mode == FAULTS_BEYOND && !a.near)
            a.near = off;
        plant(&a, fault, off, plan);
        atomic_fetch_add(&r->totals->faults[fault], 1);
        struct place p = layout_locate(&r->layout, off);
        plan->headers += p.kind == PLACE_HEADER;
        plan->stale_header |=
            p.kind == PLACE_HEADER && (fault == FAULT_STALE_PAGE || fault == FAULT_STALE_GROUP);
        size_t used = strlen(text);
        if (used + 1 < room)
            snprintf(text + used, room - used, "; %s at 0x%llx (place %d, %u/%u/%u/%u)",
                     fault_names[fault], (unsigned long long)off, (int)p.kind, p.segment, p.row,
                     p.column, p.page);
    }
    if (below(&a, 2))
        sim_set_clear_leaves(image, SIM_CLEAR_GARBAGE);
    sim_hide_bad_ranges(image, below(&a, 2));
}
