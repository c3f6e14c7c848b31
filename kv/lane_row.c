/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Rows of a lane: storing lines to every copy, gathering checks and parity, closing. */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "../recovery/errmsg.h"
#include "../recovery/group.h"
#include "../recovery/media.h"
#include "damage.h"
#include "lane.h"
#include "repair.h"

static bool bit_get(const uint64_t *bits, uint32_t i)
{
    return bits[i / 64] >> (i % 64) & 1;
}
static void bit_set(uint64_t *bits, uint32_t i)
{
    bits[i / 64] |= 1ull << (i % 64);
}

uint64_t row_copy_off(const struct pmkv *kv, const struct row_buf *buf, uint32_t copy,
                      uint32_t page)
{
    if (copy == 0)
        return layout_data_page_off(&kv->vol.layout, buf->segment, buf->row, page);
    if (twins_are_parity(kv))
        return layout_chunk_page_off(&kv->vol.layout, buf->segment, buf->row, 1, page);
    return buf->twin_off[copy - 1] + (uint64_t)page * PAGE_BYTES;
}

void row_buf_write(struct row_buf *buf, uint32_t offset, const void *src, uint32_t bytes)
{
    const char *from = src;
    while (bytes > 0) {
        uint32_t page = offset / PAGE_PAYLOAD_BYTES, in = offset % PAGE_PAYLOAD_BYTES;
        uint32_t part = PAGE_PAYLOAD_BYTES - in < bytes ? PAGE_PAYLOAD_BYTES - in : bytes;
        memcpy(buf->data + page * PAGE_BYTES + in, from, part);
        from += part;
        offset += part;
        bytes -= part;
    }
}

/* A piece at a time, so that the copy finds in the cache what the hash has read. */
uint64_t row_buf_write_hashed(struct row_buf *buf, uint32_t offset, const void *src, uint32_t bytes)
{
    const char *from = src;
    struct hash_run hash;
    hash_run_begin(&hash, src, bytes);
    for (uint32_t at = 0; at < bytes; at += HASH_BLOCK_BYTES) {
        uint32_t part = bytes - at < HASH_BLOCK_BYTES ? bytes - at : HASH_BLOCK_BYTES;
        hash_run_to(&hash, at + part);
        row_buf_write(buf, offset + at, from + at, part);
    }
    return hash_run_end(&hash);
}

void row_buf_read(const struct row_buf *buf, uint32_t offset, void *dst, uint32_t bytes)
{
    char *to = dst;
    while (bytes > 0) {
        uint32_t page = offset / PAGE_PAYLOAD_BYTES, in = offset % PAGE_PAYLOAD_BYTES;
        uint32_t part = PAGE_PAYLOAD_BYTES - in < bytes ? PAGE_PAYLOAD_BYTES - in : bytes;
        memcpy(to, buf->data + page * PAGE_BYTES + in, part);
        to += part;
        offset += part;
        bytes -= part;
    }
}

void row_buf_zero(struct row_buf *buf, uint32_t offset, uint32_t bytes)
{
    while (bytes > 0) {
        uint32_t page = offset / PAGE_PAYLOAD_BYTES, in = offset % PAGE_PAYLOAD_BYTES;
        uint32_t part = PAGE_PAYLOAD_BYTES - in < bytes ? PAGE_PAYLOAD_BYTES - in : bytes;
        memset(buf->data + page * PAGE_BYTES + in, 0, part);
        offset += part;
        bytes -= part;
    }
}

/* --- storing ---------------------------------------------------------------------------------- */

/* Where the copies of this page are: asked for many times in a row. */
static void row_at_page(struct pmkv *kv, struct row_buf *buf, uint32_t page)
{
    for (uint32_t copy = 0; copy < row_copies(kv); copy++)
        buf->page_off[copy] = row_copy_off(kv, buf, copy, page);
    buf->page_off_of = page + 1;
}

/* I15: a store that faults in one copy is no error; the page is noted and rebuilt before the close.
 */
static void store_piece(struct pmkv *kv, struct row_buf *buf, uint32_t copy, uint32_t page,
                        uint32_t from, uint32_t bytes)
{
    if (bit_get(buf->bad[copy], page))
        return;
    uint64_t off = buf->page_off[copy] + from;
    if (media_store(kv->vol.media, off, buf->data + page * PAGE_BYTES + from, bytes) == bytes)
        return;
    bit_set(buf->bad[copy], page);
    damage_found(kv, DAMAGE_POISON, off, "store to an open row");
}

static void mark_twins(struct pmkv *kv, struct row_buf *buf, uint32_t page)
{
    bit_set(buf->twin_marked, page);
    for (uint32_t t = 0; t < kv->vol.layout.parity_columns; t++) {
        _Alignas(64) struct twin_mark mark;
        uint64_t off = row_copy_off(kv, buf, t + 1, page);
        twin_mark_encode(kv, buf, page, t, off, &mark);
        uint64_t line = off + PAGE_PAYLOAD_BYTES;
        if (media_store(kv->vol.media, line, &mark, sizeof mark) == sizeof mark)
            continue;
        bit_set(buf->bad[t + 1], page);
        damage_found(kv, DAMAGE_POISON, line, "store of a twin's mark");
    }
}

static bool page_has_copy(const struct pmkv *kv, const struct row_buf *buf, uint32_t page)
{
    for (uint32_t copy = 0; copy < row_copies(kv); copy++)
        if (!bit_get(buf->bad[copy], page))
            return true;
    return false;
}

/* Stores what is to be stored of the next page to copies `from_copy` and up; false: it has none. */
static bool store_page(struct pmkv *kv, struct row_buf *buf, uint32_t from_copy)
{
    uint32_t page = buf->stored / PAGE_PAYLOAD_BYTES, from = buf->stored % PAGE_PAYLOAD_BYTES;
    uint32_t left = PAGE_PAYLOAD_BYTES - from;
    uint32_t bytes = buf->fill - buf->stored < left ? buf->fill - buf->stored : left;
    if (buf->page_off_of != page + 1)
        row_at_page(kv, buf, page);
    if (!bit_get(buf->twin_marked, page) && !twins_are_parity(kv))
        mark_twins(kv, buf, page);
    for (uint32_t copy = from_copy; copy < row_copies(kv); copy++)
        store_piece(kv, buf, copy, page, from, bytes);
    buf->stored += bytes;
    return page_has_copy(kv, buf, page);
}

static bool store_copies(struct pmkv *kv, struct row_buf *buf, uint32_t from_copy)
{
    bool held = true;
    while (buf->stored < buf->fill)
        held &= store_page(kv, buf, from_copy);
    return held;
}

bool row_store(struct pmkv *kv, struct lane *lane, struct row_buf *buf)
{
    return lane->whole_rows || store_copies(kv, buf, 0); /* whole rows are stored at the close */
}

bool row_store_twins(struct pmkv *kv, struct row_buf *buf)
{
    buf->stored = 0;
    return store_copies(kv, buf, 1);
}

/* --- checks and parity ------------------------------------------------------------------------ */

static void row_add_parity(struct pmkv *kv, struct row_buf *buf, uint32_t page, uint32_t group,
                           uint32_t count)
{
    uint8_t *parity[MAX_PARITY] = {NULL, NULL};
    uint32_t chunk_pages = kv->vol.layout.chunk_pages, from = group * GROUP_BYTES;
    uint32_t end = group + count == PAGE_GROUPS ? PAGE_PAYLOAD_BYTES : from + count * GROUP_BYTES;
    for (uint32_t m = 0; m < kv->vol.layout.parity_columns; m++)
        parity[m] = buf->parity[m] + (page % chunk_pages) * PAGE_BYTES + from;
    parity_add(&kv->vol.code, page / chunk_pages, buf->data + page * PAGE_BYTES + from, end - from,
               parity);
}

/* Checks and parity of groups that stand behind each other in a page. */
static void groups_finish(struct pmkv *kv, struct row_buf *buf, uint32_t page, uint32_t group,
                          uint32_t count)
{
    uint8_t *bytes = buf->data + page * PAGE_BYTES;
    uint32_t checks[PAGE_GROUPS];
    group_checks(buf->secret, group, count, bytes, checks);
    memcpy(bytes + PAGE_PAYLOAD_BYTES + group * sizeof *checks, checks, count * sizeof *checks);
    buf->present[page] |= (uint16_t)(((1u << count) - 1) << group);
    row_add_parity(kv, buf, page, group, count);
}

static uint64_t data_page_secret(const struct pmkv *kv, const struct row_buf *buf, uint32_t page)
{
    uint64_t off = layout_data_page_off(&kv->vol.layout, buf->segment, buf->row, page);
    return group_secret(kv->vol.secret, buf->generation, off / PAGE_BYTES);
}

static void page_groups_finish(struct pmkv *kv, struct row_buf *buf, uint32_t page, uint32_t group,
                               uint32_t count)
{
    if (buf->secret_of != page + 1) {
        buf->secret = data_page_secret(kv, buf, page);
        buf->secret_of = page + 1;
    }
    groups_finish(kv, buf, page, group, count);
}

/* Groups of the page, up to this place of the row, that are full (all: or begun). */
static uint32_t groups_until(uint32_t page, uint32_t end, bool all)
{
    uint32_t start = page * PAGE_PAYLOAD_BYTES, bytes = end > start ? end - start : 0;
    if (bytes >= PAGE_PAYLOAD_BYTES)
        return PAGE_GROUPS;
    return (bytes + (all ? GROUP_BYTES - 1 : 0)) / GROUP_BYTES;
}

/* Where in the row the first group behind these begins. */
static uint32_t groups_end(uint32_t groups)
{
    return groups / PAGE_GROUPS * PAGE_PAYLOAD_BYTES + groups % PAGE_GROUPS * GROUP_BYTES;
}

static void progress_until(struct pmkv *kv, struct row_buf *buf, uint32_t end, bool all)
{
    for (;;) {
        uint32_t page = buf->groups_done / PAGE_GROUPS, group = buf->groups_done % PAGE_GROUPS;
        uint32_t until = groups_until(page, end, all);
        if (until <= group)
            return;
        page_groups_finish(kv, buf, page, group, until - group);
        buf->groups_done += until - group;
    }
}

void row_progress(struct pmkv *kv, struct row_buf *buf)
{
    progress_until(kv, buf, buf->fill, false);
}

/* Checks of eight groups are computed together in the time of three. */
enum { GROUPS_AT_ONCE = 8, HALF_BYTES = GROUPS_AT_ONCE * GROUP_BYTES };

/* Checks and store of a half page; the check line goes with the second. */
static void store_half(struct pmkv *kv, struct row_buf *buf, uint32_t page, uint32_t half)
{
    if (buf->page_off_of != page + 1)
        row_at_page(kv, buf, page);
    progress_until(kv, buf, page * PAGE_PAYLOAD_BYTES + (half ? PAGE_PAYLOAD_BYTES : HALF_BYTES),
                   false);
    store_piece(kv, buf, 0, page, half * HALF_BYTES, HALF_BYTES);
}

uint64_t row_fill_hashed(struct pmkv *kv, struct row_buf *buf, uint32_t offset, const void *src,
                         uint32_t bytes)
{
    const char *from = src;
    struct hash_run hash;
    assert(offset < PAGE_PAYLOAD_BYTES && offset + bytes == row_payload(kv));
    hash_run_begin(&hash, src, bytes);
    buf->groups_done = PAGE_GROUPS; /* as if the first page were done: they follow at the close */
    for (uint32_t at = 0; at < bytes;) {
        uint32_t page = (offset + at) / PAGE_PAYLOAD_BYTES, in = (offset + at) % PAGE_PAYLOAD_BYTES;
        uint32_t half = in >= HALF_BYTES;
        uint32_t part = (half ? PAGE_PAYLOAD_BYTES : HALF_BYTES) - in;
        hash_run_to(&hash, at + part);
        row_buf_write(buf, offset + at, from + at, part);
        at += part;
        if (page > 0)
            store_half(kv, buf, page, half);
    }
    buf->ahead = true;
    return hash_run_end(&hash);
}

bool row_commit(struct pmkv *kv, struct row_buf *buf)
{
    while (buf->stored < buf->fill) {
        if (!store_page(kv, buf, 0))
            return false;
        if (buf->stored - groups_end(buf->groups_done) >= HALF_BYTES ||
            buf->stored % PAGE_PAYLOAD_BYTES == 0)
            progress_until(kv, buf, buf->stored, false);
    }
    return true;
}

/* Parity is a sum in which a group that is added again is gone. */
void row_regress(struct pmkv *kv, struct row_buf *buf, uint32_t end)
{
    buf->ahead = false;
    while (buf->groups_done > 0) {
        uint32_t page = (buf->groups_done - 1) / PAGE_GROUPS;
        uint32_t group = (buf->groups_done - 1) % PAGE_GROUPS;
        if (groups_until(page, end, false) > group)
            return;
        row_add_parity(kv, buf, page, group, 1);
        buf->present[page] &= (uint16_t) ~(1u << group);
        buf->groups_done--;
    }
}

/* --- closing ---------------------------------------------------------------------------------- */

/* Checks of the groups never written: absent, bound like real ones. */
static void seal_data_page(struct pmkv *kv, struct row_buf *buf, uint32_t p)
{
    if (buf->present[p] == 0xffff)
        return;
    uint64_t secret = data_page_secret(kv, buf, p);
    for (uint32_t g = 0; g < PAGE_GROUPS; g++) {
        if (buf->present[p] >> g & 1)
            continue;
        uint32_t absent = group_absent(secret, g);
        memcpy(buf->data + p * PAGE_BYTES + PAGE_PAYLOAD_BYTES + g * 4, &absent, 4);
    }
}

static void seal_parity_pages(struct pmkv *kv, struct row_buf *buf)
{
    const struct layout *l = &kv->vol.layout;
    for (uint32_t p = 0; p < l->chunk_pages; p++) {
        uint16_t present = 0;
        for (uint32_t c = 0; c < l->data_columns; c++)
            present |= buf->present[c * l->chunk_pages + p];
        for (uint32_t m = 0; m < l->parity_columns; m++) {
            uint64_t off = layout_chunk_page_off(l, buf->segment, buf->row, l->data_columns + m, p);
            uint64_t secret = group_secret(kv->vol.secret, buf->generation, off / PAGE_BYTES);
            page_seal(buf->parity[m] + p * PAGE_BYTES, secret, present);
        }
    }
}

static bool store_or_mend(struct pmkv *kv, struct row_buf *buf, uint64_t off, const uint8_t *page,
                          uint32_t from)
{
    uint32_t bytes = PAGE_BYTES - from;
    if (media_store(kv->vol.media, off + from, page + from, bytes) == bytes)
        return true;
    damage_found(kv, DAMAGE_POISON, off, "store at the close of a row");
    return repair_page_now(kv, off, page, buf->segment, buf->row) != REPAIR_LATER;
}

/* The rest of the last group, as zeros: its check covers it, and the medium holds what was there in
 * an earlier generation. */
static void fill_last_group(struct pmkv *kv, struct lane *lane, struct row_buf *buf)
{
    uint32_t in = buf->fill % PAGE_PAYLOAD_BYTES, rest = in % GROUP_BYTES;
    if (rest == 0)
        return;
    uint32_t end = in - rest + group_bytes(in / GROUP_BYTES);
    row_buf_zero(buf, buf->fill, end - in);
    buf->fill += end - in;
    row_store(kv, lane, buf);
}

/* Stores what the medium lacks of a page: its checks, and of a row stored whole the payload, the
 * first half of which is on its way while the checks of the second are made. I15: a page whose
 * store faulted is rebuilt before the row closes, or the row retires. */
static bool close_data_page(struct pmkv *kv, struct lane *lane, struct row_buf *buf, uint32_t p)
{
    uint32_t start = p * PAGE_PAYLOAD_BYTES, from = PAGE_PAYLOAD_BYTES;
    uint64_t off = row_copy_off(kv, buf, 0, p);
    uint8_t *page = buf->data + p * PAGE_BYTES;
    bool good = !bit_get(buf->bad[0], p);
    if (p > 0 && buf->ahead && good)
        return true;
    if (lane->whole_rows && start < buf->fill && good) {
        from = HALF_BYTES;
        progress_until(kv, buf, start + from < buf->fill ? start + from : buf->fill, true);
        good = media_store(kv->vol.media, off, page, from) == from;
    }
    uint32_t end = start + PAGE_PAYLOAD_BYTES;
    progress_until(kv, buf, end < buf->fill ? end : buf->fill, true);
    seal_data_page(kv, buf, p);
    return good ? store_or_mend(kv, buf, off, page, from)
                : repair_page_now(kv, off, page, buf->segment, buf->row) != REPAIR_LATER;
}

static bool close_data_pages(struct pmkv *kv, struct lane *lane, struct row_buf *buf)
{
    bool done = true;
    for (uint32_t p = 0; p < kv->vol.layout.row_pages && done; p++)
        done = close_data_page(kv, lane, buf, p);
    return done;
}

static bool store_parity_pages(struct pmkv *kv, struct lane *lane, struct row_buf *buf)
{
    const struct layout *l = &kv->vol.layout;
    bool done = true;
    for (uint32_t m = 0; m < l->parity_columns; m++)
        for (uint32_t p = 0; p < l->chunk_pages && done; p++) {
            /* A mirror's payload is there already, as the twin. */
            bool there = twins_are_parity(kv) && !lane->whole_rows && !bit_get(buf->bad[1], p);
            done = store_or_mend(
                kv, buf, layout_chunk_page_off(l, buf->segment, buf->row, l->data_columns + m, p),
                buf->parity[m] + p * PAGE_BYTES, there ? PAGE_PAYLOAD_BYTES : 0);
        }
    return done;
}

int row_close_store(struct pmkv *kv, struct lane *lane, struct row_buf *buf)
{
    fill_last_group(kv, lane, buf);
    if (buf->ahead && buf->present[0] == 0) /* once: a close that failed comes here again */
        page_groups_finish(kv, buf, 0, 0, PAGE_GROUPS);
    bool done = close_data_pages(kv, lane, buf);
    if (done) {
        seal_parity_pages(kv, buf);
        done = store_parity_pages(kv, lane, buf);
    }
    if (!done) {
        lane->must_close = true;
        return err_fact(-EIO, "row %u of segment %u cannot be closed while the medium is in doubt",
                        buf->row, buf->segment);
    }
    memset(buf->bad, 0, sizeof buf->bad);
    buf->state = ROW_CLOSING;
    lane->must_close = false;
    return 0;
}

void row_closed(struct pmkv *kv, struct lane *lane)
{
    for (uint32_t i = 0; i < LANE_SETS; i++) {
        struct row_buf *buf = &lane->rows[i];
        if (buf->state != ROW_CLOSING)
            continue;
        buf->state = ROW_CLOSED; /* I12: its twins are free from here on */
        struct segment *s = &kv->segments[buf->segment];
        if (atomic_load_explicit(&s->rows_durable, memory_order_relaxed) < buf->row + 1)
            atomic_store_explicit(&s->rows_durable, buf->row + 1, memory_order_release);
    }
}

/* --- opening ---------------------------------------------------------------------------------- */

static void row_buf_reset(struct pmkv *kv, struct row_buf *buf, uint32_t segment, uint32_t row)
{
    const struct layout *l = &kv->vol.layout;
    buf->state = ROW_OPEN;
    buf->segment = segment;
    buf->row = row;
    buf->generation = atomic_load_explicit(&kv->segments[segment].generation, memory_order_relaxed);
    buf->fill = buf->stored = buf->secret_of = buf->groups_done = buf->lines_used = 0;
    buf->page_off_of = 0;
    buf->ahead = false;
    for (uint32_t m = 0; m < l->parity_columns; m++)
        memset(buf->parity[m], 0, (size_t)l->chunk_pages * PAGE_BYTES);
    memset(buf->present, 0, sizeof buf->present);
    memset(buf->bad, 0, sizeof buf->bad);
    memset(buf->twin_marked, 0, sizeof buf->twin_marked);
}

static int lane_next_segment(struct pmkv *kv, struct lane *lane, enum space_class class)
{
    uint32_t avoid[LANE_SETS * MAX_PARITY], count = 0;
    if (!twins_are_parity(kv) && !lane->whole_rows)
        for (uint32_t i = 0; i < LANE_SETS; i++)
            for (uint32_t m = 0; m < kv->vol.layout.parity_columns; m++) {
                struct place p = layout_locate(&kv->vol.layout, lane->rows[i].twin_off[m]);
                avoid[count++] = layout_array_of(&kv->vol.layout, p.segment);
            }
    enum segment_kind kind = lane->kind == LANE_META ? KIND_META
                             : lane->whole_rows      ? KIND_WHOLE
                                                     : KIND_LOG;
    int64_t segment = segment_take(kv, kind, class, avoid, count);
    if (segment < 0)
        return (int)segment;
    lane->segment = segment;
    lane->next_row = 0;
    kv->segments[segment].packed = lane->kind == LANE_CLEANER || lane->kind == LANE_META;
    atomic_store_explicit(&kv->segments[segment].stored_units, 0, memory_order_relaxed);
    return 0;
}

int row_open_next(struct pmkv *kv, struct lane *lane, enum space_class class)
{
    uint32_t rows = kv->vol.layout.segment_rows;
    for (;;) {
        if (lane->segment >= 0) {
            uint64_t retired = kv->segments[lane->segment].retired_rows;
            while (lane->next_row < rows && retired >> lane->next_row & 1)
                lane->next_row++;
            if (lane->next_row < rows)
                break;
            int rc = lane_finish_segment(kv, lane);
            if (rc)
                return rc;
        }
        int rc = lane_next_segment(kv, lane, class);
        if (rc)
            return rc;
    }
    struct row_buf *next = &lane->rows[lane->current ^ 1], *last = &lane->rows[lane->current];
    /* A row's first commit speaks for the close of the row right before it, of no other (I10). */
    bool passed_over = last->state == ROW_CLOSING && last->row + 1 != lane->next_row;
    /* I12: both sets in use by rows that no fence completed */
    if (next->state == ROW_CLOSING || passed_over) {
        if (media_drain(kv->vol.media)) {
            write_failure(kv);
            return -EIO;
        }
        row_closed(kv, lane);
    }
    int rc = twin_refresh(kv, next, (uint32_t)lane->segment);
    if (rc)
        return rc;
    lane->current ^= 1;
    row_buf_reset(kv, next, (uint32_t)lane->segment, lane->next_row++);
    kv->segments[lane->segment].rows_used = lane->next_row;
    lane->epoch_start = 0;
    return 0;
}
