/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "image.h"

#include <stdio.h>
#include <stdlib.h>

#include "kv/open.h"
#include "kv/segment.h"
#include "recovery/group.h"
#include "recovery/media/sim.h"

/* --- contents --------------------------------------------------------------------------------- */

size_t image_key(char to[16], unsigned key)
{
    return (size_t)snprintf(to, 16, "k%u", key);
}

size_t image_value(uint8_t to[IMAGE_VALUE_MAX], unsigned key, unsigned version)
{
    size_t bytes = (key % 8 == 7 ? 9000 : 60 * key) + version + 2;
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(i * 29 + key * 5 + version * 17);
    to[0] = (uint8_t)key;
    to[1] = (uint8_t)version;
    return bytes;
}

struct pmkv_options image_options(enum pmkv_geometry geometry)
{
    struct pmkv_options o;
    pmkv_options_init(&o);
    o.geometry = geometry;
    o.row_pages = 8;
    o.segment_rows = 8;
    o.lanes = 1;
    o.no_background = true;
    return o;
}

static void fill(struct pmkv *kv)
{
    static uint8_t value[IMAGE_VALUE_MAX];
    char name[16];
    for (unsigned version = 1; version <= 3; version++)
        for (unsigned key = version - 1; key < IMAGE_KEYS; key += version) {
            size_t key_bytes = image_key(name, key);
            enum pmkv_status s =
                pmkv_put(kv, name, key_bytes, value, image_value(value, key, version));
            fuzz_that(s == PMKV_OK, "put: %s", pmkv_errormsg());
        }
    struct pmkv_batch *batch = NULL;
    fuzz_that(pmkv_batch_new(&batch) == PMKV_OK, "batch");
    for (unsigned key = 0; key < 6; key++) {
        size_t key_bytes = image_key(name, key);
        pmkv_batch_put(batch, name, key_bytes, value, image_value(value, key, 4));
    }
    pmkv_batch_delete(batch, "k10", 3);
    fuzz_that(pmkv_write(kv, batch) == PMKV_OK, "batch: %s", pmkv_errormsg());
    pmkv_batch_free(&batch);
}

/* --- making ----------------------------------------------------------------------------------- */

/* The medium as a close leaves it is gone with the close, so it is copied there. */
static const struct media_ops *sim_ops;
static struct media *left_behind;

static void copy_and_close(struct media *m)
{
    fuzz_that(sim_crash_image(m, sim_choose_all, NULL, &left_behind) == 0, "image");
    m->ops = sim_ops;
    m->ops->close(m);
}

static struct media *make_medium(enum pmkv_geometry geometry, bool crashed)
{
    static const struct {
        uint32_t data, parity;
    } columns[] = {[PMKV_PARITY] = {8, 1},
                   [PMKV_DOUBLE] = {8, 2},
                   [PMKV_MIRROR] = {1, 1},
                   [PMKV_NONE] = {1, 0}};
    struct pmkv_options o = image_options(geometry);
    uint64_t bytes = layout_min_bytes(PAGE_BYTES, columns[geometry].data, columns[geometry].parity,
                                      o.row_pages, o.segment_rows);
    struct media *m, *image = NULL;
    struct pmkv *kv = NULL;
    fuzz_that(sim_new(bytes, PAGE_BYTES, &m) == 0, "sim_new");
    fuzz_that(store_format(m, &o) == PMKV_OK, "format: %s", pmkv_errormsg());
    fuzz_that(store_open(m, &o, &kv) == PMKV_OK, "open: %s", pmkv_errormsg());
    fill(kv);
    if (crashed) {
        fuzz_that(sim_crash_image(m, sim_choose_all, NULL, &image) == 0, "image");
        fuzz_that(pmkv_close(&kv) == PMKV_OK, "close: %s", pmkv_errormsg());
        return image;
    }
    static struct media_ops ops;
    sim_ops = m->ops;
    ops = *m->ops;
    ops.close = copy_and_close;
    m->ops = &ops;
    fuzz_that(pmkv_close(&kv) == PMKV_OK, "close: %s", pmkv_errormsg());
    return left_behind;
}

/* --- what is where ---------------------------------------------------------------------------- */

static struct pos_shape shape_of(const struct layout *l)
{
    struct pos_shape s = {.row_payload = l->row_pages * PAGE_PAYLOAD_BYTES};
    while (1u << s.page_bits < l->row_pages)
        s.page_bits++;
    while (1u << s.row_bits < l->segment_rows)
        s.row_bits++;
    return s;
}

static void read_generations(struct image *image)
{
    const struct layout *l = &image->layout;
    image->generations = calloc(l->segments, sizeof *image->generations);
    fuzz_that(image->generations, "no memory");
    for (uint32_t i = 0; i < l->segments; i++) {
        struct segment_header h[2];
        sim_peek(image->medium, layout_slice_off(l, i, 0), h, sizeof h);
        image->generations[i] = h[h[1].version > h[0].version].generation;
    }
}

static uint64_t secret_at(const struct image *image, const struct image_record *r)
{
    struct pos_shape shape = shape_of(&image->layout);
    struct log_pos pos = pos_make(&shape, (struct row_place){r->segment, r->row, r->offset});
    return record_secret(image->super.secret, r->generation, pos);
}

static uint64_t byte_off(const struct image *image, uint32_t segment, uint32_t row, uint32_t at)
{
    return layout_data_page_off(&image->layout, segment, row, at / PAGE_PAYLOAD_BYTES) +
           at % PAGE_PAYLOAD_BYTES;
}

static void peek_payload(const struct image *image, struct media *m, uint32_t segment, uint32_t row,
                         uint8_t *to)
{
    for (uint32_t page = 0; page < image->layout.row_pages; page++)
        sim_peek(m, layout_data_page_off(&image->layout, segment, row, page),
                 to + (size_t)page * PAGE_PAYLOAD_BYTES, PAGE_PAYLOAD_BYTES);
}

static void find_records(struct image *image, uint32_t segment, uint32_t row)
{
    uint32_t room = image->layout.row_pages * PAGE_PAYLOAD_BYTES;
    uint8_t *payload = malloc(room);
    fuzz_that(payload, "no memory");
    peek_payload(image, image->medium, segment, row, payload);
    for (uint32_t at = 0; at + RECORD_HEADER_BYTES <= room; at += 8) {
        struct image_record r = {segment, row, at, image->generations[segment], {0}};
        memcpy(&r.h, payload + at, sizeof r.h);
        if (!record_shape_holds(&r.h, room - at) ||
            !record_check_holds(&r.h, hash64(payload + at + RECORD_HEADER_BYTES, r.h.key_bytes),
                                secret_at(image, &r)))
            continue;
        image->records =
            realloc(image->records, (image->record_count + 1) * sizeof *image->records);
        fuzz_that(image->records, "no memory");
        image->records[image->record_count++] = r;
    }
    free(payload);
}

const struct image *image_of(enum pmkv_geometry geometry, bool crashed)
{
    static struct image images[4][2];
    struct image *image = &images[geometry][crashed];
    if (image->medium)
        return image;
    uint32_t good;
    image->medium = make_medium(geometry, crashed);
    fuzz_that(superblock_find(image->medium, &image->super, &image->layout, &good) ==
                  SUPERBLOCK_FOUND,
              "the pool: %s", pmkv_errormsg());
    read_generations(image);
    for (uint32_t segment = 0; segment < image->layout.segments; segment++)
        for (uint32_t row = 0; row < image->layout.segment_rows; row++)
            if (image->generations[segment])
                find_records(image, segment, row);
    fuzz_that(image->record_count > 40, "%u records found", image->record_count);
    return image;
}

/* --- edits ------------------------------------------------------------------------------------ */

static void put_bytes(struct media *m, uint64_t off, const void *from, size_t bytes)
{
    media_inject_bytes(m, off, from, bytes); /* fails on poison: then nothing is to be edited */
}

/* Changes up to eight bytes of a structure of `bytes` bytes. */
static void change(struct input *in, void *at, size_t bytes)
{
    uint8_t what[8];
    size_t n = 1 + input_byte(in) % sizeof what;
    size_t from = input_number(in, (uint32_t)bytes);
    input_copy(in, what, n);
    for (size_t i = 0; i < n && from + i < bytes; i++)
        ((uint8_t *)at)[from + i] = what[i];
}

static bool edit_raw(const struct image *image, struct media *m, struct input *in)
{
    uint8_t bytes[64];
    uint32_t off = input_number(in, (uint32_t)image->layout.pool_bytes);
    size_t n = 1 + input_byte(in) % sizeof bytes;
    input_copy(in, bytes, n);
    if (off + n <= m->size)
        put_bytes(m, off, bytes, n);
    return false;
}

static bool edit_poison(const struct image *image, struct media *m, struct input *in)
{
    uint32_t page = input_number(in, (uint32_t)(image->layout.pool_bytes / PAGE_BYTES));
    sim_poison(m, (uint64_t)page * PAGE_BYTES, PAGE_BYTES);
    return false;
}

static bool edit_superblock(const struct image *image, struct media *m, struct input *in)
{
    struct superblock sb = image->super;
    uint8_t which = input_byte(in), page[PAGE_BYTES];
    change(in, &sb, offsetof(struct superblock, tails) + 4 * sizeof sb.tails[0]);
    if (sb.tail_count > SUPERBLOCK_MAX_TAILS) /* encode takes no more */
        sb.tail_count %= SUPERBLOCK_MAX_TAILS + 1;
    for (uint32_t copy = 0; copy < 3; copy++)
        if (which >> copy & 1) {
            uint64_t off = image->layout.superblock_off[copy];
            superblock_encode(&sb, copy, off, page);
            put_bytes(m, off, page, sizeof page);
        }
    return true;
}

static void stamp_header(const struct image *image, struct segment_header *h)
{
    uint64_t place = (uint64_t)h->segment << 16 | h->column;
    h->check = hash_bind(hash64((const char *)h + 8, sizeof *h - 8),
                         image->super.secret ^ hash_mix(place + 0x736567));
}

static bool edit_header(const struct image *image, struct media *m, struct input *in)
{
    uint32_t segment = input_number(in, image->layout.segments);
    uint32_t columns = 1 + input_byte(in) % image->layout.columns;
    struct input from = *in;
    for (uint32_t c = 0; c < columns; c++) {
        struct segment_header h[2];
        uint64_t off = layout_slice_off(&image->layout, segment, c);
        sim_peek(m, off, h, sizeof h);
        struct segment_header new = h[h[1].version > h[0].version];
        *in = from;
        change(in, &new, sizeof new);
        new.column = (uint16_t)c;
        stamp_header(image, &new);
        put_bytes(m, off + new.version % 2 * sizeof new, &new, sizeof new);
    }
    return true;
}

/* Groups of the row's page that count keep counting. */
static void reseal(const struct image *image, struct media *m, uint32_t segment, uint32_t row,
                   uint32_t page)
{
    uint64_t off = layout_data_page_off(&image->layout, segment, row, page);
    uint64_t secret =
        group_secret(image->super.secret, image->generations[segment], off / PAGE_BYTES);
    uint8_t bytes[PAGE_BYTES];
    sim_peek(m, off, bytes, sizeof bytes);
    for (uint32_t g = 0; g < 16; g++) {
        uint32_t word;
        memcpy(&word, bytes + PAGE_PAYLOAD_BYTES + 4 * g, sizeof word);
        if (word == 0 || word == group_absent(secret, g))
            continue;
        word = group_check(secret, g, bytes + GROUP_BYTES * g);
        memcpy(bytes + PAGE_PAYLOAD_BYTES + 4 * g, &word, sizeof word);
    }
    put_bytes(m, off, bytes, sizeof bytes);
}

static void poke_payload(const struct image *image, struct media *m, const struct image_record *r,
                         const uint8_t *bytes, uint32_t count)
{
    for (uint32_t i = 0; i < count;) {
        uint32_t at = r->offset + i, left = PAGE_PAYLOAD_BYTES - at % PAGE_PAYLOAD_BYTES;
        uint32_t n = left < count - i ? left : count - i;
        put_bytes(m, byte_off(image, r->segment, r->row, at), bytes + i, n);
        reseal(image, m, r->segment, r->row, at / PAGE_PAYLOAD_BYTES);
        i += n;
    }
}

/* Header, key and value of one record, stamped anew. */
static bool edit_record(const struct image *image, struct media *m, struct input *in)
{
    const struct image_record *r = &image->records[input_number(in, image->record_count)];
    uint32_t room = image->layout.row_pages * PAGE_PAYLOAD_BYTES;
    uint8_t *row = malloc(room), *bytes = row + r->offset, part = input_byte(in);
    struct record_header h;
    fuzz_that(row, "no memory");
    peek_payload(image, m, r->segment, r->row, row);
    memcpy(&h, bytes, sizeof h);
    uint16_t epoch = record_epoch(&h);
    uint32_t count = (uint32_t)record_bytes(r->h.key_bytes, r->h.value_bytes);
    if (part % 4 == 0)
        change(in, (uint8_t *)&h + 8, sizeof h - 8);
    else if (part % 4 == 1)
        change(in, bytes + RECORD_HEADER_BYTES, r->h.key_bytes);
    else if (part % 4 == 2 && r->h.value_bytes)
        change(in, bytes + RECORD_HEADER_BYTES + r->h.key_bytes, r->h.value_bytes);
    else
        change(in, &epoch, sizeof epoch);
    if (record_shape_holds(&h, room - r->offset)) {
        h.value_hash = hash64(bytes + RECORD_HEADER_BYTES + h.key_bytes, h.value_bytes);
        record_stamp(&h, epoch, hash64(bytes + RECORD_HEADER_BYTES, h.key_bytes),
                     secret_at(image, r));
    }
    memcpy(bytes, &h, sizeof h);
    poke_payload(image, m, r, bytes, count);
    free(row);
    return true;
}

static bool edit_group(const struct image *image, struct media *m, struct input *in)
{
    uint32_t segment = input_number(in, image->layout.segments);
    uint32_t row = input_byte(in) % image->layout.segment_rows;
    uint32_t page = input_byte(in) % image->layout.row_pages;
    uint8_t bytes[PAGE_BYTES];
    uint64_t off = layout_data_page_off(&image->layout, segment, row, page);
    sim_peek(m, off, bytes, sizeof bytes);
    change(in, bytes, sizeof bytes);
    put_bytes(m, off, bytes, sizeof bytes);
    if (image->generations[segment])
        reseal(image, m, segment, row, page);
    return true;
}

/* A page of the table: entries and their groups. */
static bool edit_table(const struct image *image, struct media *m, struct input *in)
{
    struct segment_header entries[63];
    uint8_t page[PAGE_BYTES];
    uint32_t copy = input_byte(in) % 2;
    uint64_t off = image->layout.table_off[copy];
    sim_peek(m, off, page, sizeof page);
    memcpy(entries, page, sizeof entries);
    uint32_t segment = input_number(in, image->layout.segments < 63 ? image->layout.segments : 63);
    change(in, &entries[segment], sizeof entries[segment]);
    stamp_header(image, &entries[segment]);
    memcpy(page, entries, sizeof entries);
    page_seal(page, group_secret(image->super.secret, image->super.table_version, off / PAGE_BYTES),
              0xffff);
    put_bytes(m, off, page, sizeof page);
    return true;
}

bool image_edit(const struct image *image, struct media *m, struct input *in)
{
    static bool (*const edits[])(const struct image *, struct media *, struct input *) = {
        edit_raw,    edit_poison, edit_superblock, edit_header,
        edit_record, edit_record, edit_group,      edit_table};
    return edits[input_byte(in) % (sizeof edits / sizeof *edits)](image, m, in);
}
