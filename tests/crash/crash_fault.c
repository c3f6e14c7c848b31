/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Faults on crash images: one page, or with two parities two. */
#include <stdio.h>
#include <string.h>

#include "crash_run.h"

/* A page of a segment in use, else any page of the pool. */
static uint64_t choose_page(struct crash_run *r, struct media *image)
{
    const struct layout *l = &r->kv->vol.layout;
    for (unsigned attempt = 0; attempt < 64 && !test_rng_one_in(&r->rng, 8); attempt++) {
        uint32_t segment = (uint32_t)test_rng_below(&r->rng, l->segments);
        const struct segment *s = &r->kv->segments[segment];
        if (s->kind == KIND_NONE || (s->kind == KIND_TWIN && test_rng_one_in(&r->rng, 2)))
            continue;
        uint32_t rows = s->rows_used ? s->rows_used : 1;
        uint32_t row =
            test_rng_one_in(&r->rng, 2) ? rows - 1 : (uint32_t)test_rng_below(&r->rng, rows);
        if (s->kind == KIND_TWIN)
            row = (uint32_t)test_rng_below(&r->rng, l->segment_rows);
        uint32_t column = (uint32_t)test_rng_below(&r->rng, l->columns);
        if (test_rng_one_in(&r->rng, 8))
            return layout_slice_off(l, segment, column);
        uint32_t page = (uint32_t)test_rng_below(&r->rng, l->chunk_pages);
        return layout_chunk_page_off(l, segment, row, column, page);
    }
    return test_rng_below(&r->rng, image->size / PAGE_BYTES) * PAGE_BYTES;
}

static void flip(struct crash_run *r, uint8_t *page)
{
    uint64_t bit = test_rng_below(&r->rng, PAGE_BYTES * 8);
    page[bit / 8] ^= (uint8_t)(1u << bit % 8);
}

static void make_stale(struct crash_run *r, struct media *image, uint64_t off, uint8_t *page)
{
    if (r->old_pages && test_rng_one_in(&r->rng, 2))
        memcpy(page, r->old_pages + off, PAGE_BYTES);
    else
        sim_peek(image, choose_page(r, image), page, PAGE_BYTES);
}

static void plant_one(struct crash_run *r, struct media *image, uint64_t off,
                      enum crash_fault fault)
{
    uint8_t page[PAGE_BYTES];
    sim_peek(image, off, page, PAGE_BYTES);
    switch (fault) {
    case FAULT_POISON:
        sim_poison(image, off, PAGE_BYTES);
        return;
    case FAULT_FLIP:
        flip(r, page);
        break;
    case FAULT_ZERO:
        memset(page, 0, PAGE_BYTES);
        break;
    case FAULT_STALE:
        make_stale(r, image, off, page);
        break;
    default:
        return;
    }
    media_inject_bytes(image, off, page, PAGE_BYTES);
}

void crash_plant(struct crash_run *r, struct media *image, char *text, size_t room)
{
    unsigned count = crash_budget(r->geometry);
    text[0] = 0;
    for (unsigned i = 0; i < (count ? count : 1); i++) {
        enum crash_fault fault = r->fault;
        if (fault == FAULT_ANY)
            fault = 1 + (enum crash_fault)test_rng_below(&r->rng, FAULT_KINDS - 1);
        uint64_t off = choose_page(r, image);
        struct place p = layout_locate(&r->kv->vol.layout, off);
        size_t used = strlen(text);
        snprintf(text + used, room - used, ", fault %d at 0x%llx (kind %d of %d, %u/%u/%u/%u)",
                 (int)fault, (unsigned long long)off, (int)p.kind,
                 p.kind >= PLACE_HEADER && p.kind <= PLACE_ROW ? r->kv->segments[p.segment].kind
                                                               : (int)p.copy,
                 p.segment, p.row, p.column, p.page);
        plant_one(r, image, off, fault);
    }
    if (test_rng_one_in(&r->rng, 2))
        sim_set_clear_leaves(image, SIM_CLEAR_GARBAGE);
    sim_hide_bad_ranges(image, test_rng_one_in(&r->rng, 2));
}
