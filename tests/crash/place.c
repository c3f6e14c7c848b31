/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "place.h"

#include "recovery/group.h"

#include <criterion/criterion.h>

#include "kv/clean.h"
#include "kv/meta.h"

bool place_of_key(struct pmkv *kv, uint32_t key, struct row_place *out)
{
    size_t bytes;
    const char *name = model_key(key, &bytes);
    struct index_find f;
    struct slot_ref ref;
    index_find_begin(kv->index, key_hash(name, bytes), &f);
    while (index_find_next(&f, &ref)) {
        struct log_pos pos = {slot_position(ref.slot)};
        if (pos_is_lost(pos))
            continue;
        *out = pos_place(&kv->shape, pos);
        return true;
    }
    return false;
}

uint64_t place_offset(struct pmkv *kv, struct row_place place, uint32_t copy)
{
    uint32_t page = place.offset / PAGE_PAYLOAD_BYTES, in = place.offset % PAGE_PAYLOAD_BYTES;
    if (copy == 0)
        return layout_data_page_off(&kv->vol.layout, place.segment, place.row, page) + in;
    const struct row_buf *buf = place_open_row(kv);
    cr_assert(buf->segment == place.segment && buf->row == place.row);
    return row_copy_off(kv, buf, copy, page) + in;
}

uint32_t place_value_at(uint32_t key)
{
    size_t bytes;
    model_key(key, &bytes);
    return RECORD_HEADER_BYTES + (uint32_t)bytes;
}

struct row_buf *place_open_row(struct pmkv *kv)
{
    return &kv->lanes[0].rows[kv->lanes[0].current];
}

void place_flip(struct media *m, uint64_t off)
{
    uint8_t byte;
    sim_peek(m, off, &byte, 1);
    byte ^= 0x10;
    cr_assert_eq(media_inject_bytes(m, off, &byte, 1), 0);
}

void place_zero_with_check(struct crash_run *r, struct media *image, struct row_ref ref,
                           uint32_t page, uint32_t group)
{
    static const uint8_t zeros[GROUP_BYTES];
    uint64_t off = layout_data_page_off(&r->kv->vol.layout, ref.segment, ref.row, page);
    uint32_t check = group_check(group_secret(r->kv->vol.secret, ref.generation, off / PAGE_BYTES),
                                 group, zeros);
    cr_assert_eq(media_inject_bytes(image, off + group * GROUP_BYTES, zeros, sizeof zeros), 0);
    cr_assert_eq(media_inject_bytes(image, off + PAGE_PAYLOAD_BYTES + group * sizeof check, &check,
                                    sizeof check),
                 0);
}

void place_crash_flipped(struct crash_run *r, struct row_place place)
{
    struct media *image = crash_image(r->media, sim_choose_none, NULL);
    for (uint32_t copy = 0; copy < row_copies(r->kv); copy++)
        place_flip(image, place_offset(r->kv, place, copy));
    crash_close(&r->kv, "the store that lost its power");
    r->media = image;
    r->kv = crash_open_run(r, image, "after the crash");
}

void place_crash_changed(struct crash_run *r, uint32_t key, bool in_header)
{
    struct row_place place;
    cr_assert(place_of_key(r->kv, key, &place));
    place.offset += in_header ? 12 : place_value_at(key) + 5;
    place_crash_flipped(r, place);
}

void place_clean(struct pmkv *kv, uint32_t segment)
{
    seal_waiting(kv);
    atomic_store(&kv->segments[segment].evacuate, true);
    clean_round(kv);
}

uint32_t place_segment_of(struct pmkv *kv, uint32_t key)
{
    struct row_place place;
    cr_assert(place_of_key(kv, key, &place), "key %u has no slot", key);
    return place.segment;
}

enum pmkv_status place_get(struct pmkv *kv, uint32_t key)
{
    static uint8_t value[MODEL_MAX_BYTES];
    size_t bytes, key_bytes;
    const char *name = model_key(key, &key_bytes);
    return pmkv_get(kv, name, key_bytes, value, sizeof value, &bytes);
}
