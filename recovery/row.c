/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Row images: loading, sealing, encoding. row_decode.c rebuilds. */
#include "row.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "errmsg.h"
#include "group.h"
#include "media.h"
#include "row_impl.h"

int row_image_init(struct row_image *image, const struct layout *layout)
{
    uint32_t count = layout->columns * layout->chunk_pages;
    uint8_t *pages = aligned_alloc(PAGE_BYTES, (size_t)count * PAGE_BYTES);
    struct row_page *info = calloc(count, sizeof *info);
    if (!pages || !info) {
        free(pages);
        free(info);
        return err_fact(-ENOMEM, "no memory for a row of %u pages", count);
    }
    memset(pages, 0, (size_t)count * PAGE_BYTES);
    *image = (struct row_image){.pages = pages, .info = info, .page_count = count};
    return 0;
}

void row_image_free(struct row_image *image)
{
    free(image->pages);
    free(image->info);
    *image = (struct row_image){0};
}

uint64_t row_page_secret(const struct volume *v, struct row_ref ref, uint32_t page_index)
{
    const struct layout *l = &v->layout;
    uint64_t off = layout_chunk_page_off(l, ref.segment, ref.row, page_index / l->chunk_pages,
                                         page_index % l->chunk_pages);
    return group_secret(v->secret, ref.generation, off / PAGE_BYTES);
}

bool row_group_ok(const struct row_image *image, uint32_t page_index, uint32_t group)
{
    const struct row_page *info = &image->info[page_index];
    return (info->good | info->absent | info->rebuilt) >> group & 1;
}

/* --- load ------------------------------------------------------------------------------------- */

static void clear_groups(uint8_t *page, uint16_t groups)
{
    for (uint32_t g = 0; groups; g++, groups >>= 1)
        if (groups & 1)
            memset(page + g * GROUP_BYTES, 0, group_bytes(g));
}

/* The checks stand in the last line, so what a short load did read is unverified: all 16 groups
 * fail. */
static void load_page(struct volume *v, struct row_ref ref, struct row_image *image, uint32_t index)
{
    const struct layout *l = &v->layout;
    uint8_t *page = row_page_at(image, index);
    uint64_t off = layout_chunk_page_off(l, ref.segment, ref.row, index / l->chunk_pages,
                                         index % l->chunk_pages);
    struct row_page info = {0};
    size_t got = media_load(v->media, off, page, PAGE_BYTES);
    if (got < PAGE_BYTES) {
        info.poisoned = true;
        memset(page + got, 0, PAGE_BYTES - got);
    } else {
        page_verify(page, row_page_secret(v, ref, index), &info.good, &info.absent);
        clear_groups(page, info.absent);
    }
    image->info[index] = info;
}

void row_load(struct volume *v, struct row_ref ref, struct row_image *image)
{
    image->bad_pages = 0;
    image->lost_groups = 0;
    for (uint32_t i = 0; i < image->page_count; i++) {
        load_page(v, ref, image, i);
        const struct row_page *info = &image->info[i];
        image->bad_pages += info->poisoned || (uint16_t)(info->good | info->absent) != ALL_GROUPS;
    }
}

void row_load_across(struct volume *v, struct row_ref ref, struct row_image *image, uint32_t page,
                     uint32_t bad)
{
    const struct layout *l = &v->layout;
    for (uint32_t c = 0; c < l->columns; c++) {
        uint32_t index = c * l->chunk_pages + page;
        if (bad >> c & 1) {
            image->info[index] = (struct row_page){.poisoned = true};
            memset(row_page_at(image, index), 0, PAGE_BYTES);
        } else {
            load_page(v, ref, image, index);
        }
    }
}

/* --- looking only ----------------------------------------------------------------------------- */

/* A scrub is bound by memory when each page is read once, and nothing else leaves the first-level
 * cache: so the copy is a page that is used again, its halves are checked while they are there, and
 * the page after it is asked for a little at a time, because the processor stops at its end. */
enum { LOOK_STEP = 256 };

static bool copy_ahead(struct media *m, uint64_t off, uint8_t *to, size_t bytes, uint64_t next)
{
    for (size_t at = 0; at < bytes; at += LOOK_STEP) {
        media_prefetch(m, next + at, LOOK_STEP);
        if (media_load(m, off + at, to + at, LOOK_STEP) != LOOK_STEP)
            return false;
    }
    return true;
}

static bool page_holds(struct volume *v, uint64_t off, uint64_t next, uint64_t secret,
                       uint8_t page[PAGE_BYTES])
{
    enum { HALF = PAGE_BYTES / 2, HALF_GROUPS = PAGE_GROUPS / 2 };
    uint32_t computed[PAGE_GROUPS];
    uint16_t good, absent;
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t at = half * HALF, group = half * HALF_GROUPS;
        if (!copy_ahead(v->media, off + at, page + at, HALF, next + at))
            return false;
        group_checks(secret, group, HALF_GROUPS, page, computed + group);
    }
    page_judge(page, secret, computed, &good, &absent);
    return (uint16_t)(good | absent) == ALL_GROUPS;
}

static uint64_t page_off(const struct layout *l, struct row_ref ref, uint32_t index)
{
    return layout_chunk_page_off(l, ref.segment, ref.row, index / l->chunk_pages,
                                 index % l->chunk_pages);
}

bool row_holds(struct volume *v, struct row_ref ref)
{
    _Alignas(64) uint8_t page[PAGE_BYTES];
    const struct layout *l = &v->layout;
    uint32_t count = l->columns * l->chunk_pages;
    uint64_t off = page_off(l, ref, 0);
    for (uint32_t i = 0; i < count; i++) {
        uint64_t next = i + 1 < count ? page_off(l, ref, i + 1) : off;
        if (!page_holds(v, off, next, group_secret(v->secret, ref.generation, off / PAGE_BYTES),
                        page))
            return false;
        off = next;
    }
    return true;
}

/* --- seal and encode -------------------------------------------------------------------------- */

static void seal_page(uint8_t *page, uint64_t secret, const struct row_page *info)
{
    uint16_t present = info->good | info->rebuilt;
    uint16_t lost = (uint16_t) ~(present | info->absent);
    page_seal(page, secret, present);
    uint32_t never_valid = 0;
    for (uint32_t g = 0; g < PAGE_GROUPS; g++)
        if (lost >> g & 1)
            memcpy(page + PAGE_PAYLOAD_BYTES + g * sizeof never_valid, &never_valid,
                   sizeof never_valid);
}

void row_seal(struct volume *v, struct row_ref ref, struct row_image *image)
{
    for (uint32_t i = 0; i < image->page_count; i++)
        seal_page(row_page_at(image, i), row_page_secret(v, ref, i), &image->info[i]);
}

static void adopt_data(const struct layout *l, struct row_image *image, const uint16_t *present)
{
    for (uint32_t i = 0; i < l->row_pages; i++) {
        uint16_t absent = (uint16_t)~present[i];
        clear_groups(row_page_at(image, i), absent);
        image->info[i] = (struct row_page){.good = present[i], .absent = absent};
    }
}

/* Parity of page p of every chunk. The check lines are no payload and take no part. */
static void encode_page(struct volume *v, struct row_image *image, uint32_t p)
{
    const struct layout *l = &v->layout;
    uint8_t *columns[MAX_COLUMNS];
    uint16_t present = 0;
    for (uint32_t c = 0; c < l->columns; c++) {
        uint32_t index = c * l->chunk_pages + p;
        columns[c] = row_page_at(image, index);
        if (c < l->data_columns)
            present |= image->info[index].good;
        else
            image->info[index] = (struct row_page){.good = present, .absent = (uint16_t)~present};
    }
    uint32_t parity = ((1u << l->parity_columns) - 1) << l->data_columns;
    parity_decode(&v->code, parity, PAGE_PAYLOAD_BYTES, columns);
}

void row_encode(struct volume *v, struct row_ref ref, struct row_image *image,
                const uint16_t *present)
{
    image->bad_pages = 0;
    image->lost_groups = 0;
    adopt_data(&v->layout, image, present);
    for (uint32_t p = 0; p < v->layout.chunk_pages; p++)
        encode_page(v, image, p);
    row_seal(v, ref, image);
}
