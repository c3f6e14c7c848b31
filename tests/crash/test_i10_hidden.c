/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Invariant I10 of docs/design.md: damage that hides behind other damage is listed, and what cannot
 * have been there is not. */
#include <criterion/criterion.h>
#include <string.h>

#include "place.h"
#include "script.h"

TestSuite(hidden, .timeout = 120);

/* The value of a put is changed, and it goes on in a page that cannot be read: so does the commit
 * behind it, which nobody would miss. */
Test(hidden, a_commit_behind_a_damaged_one)
{
    struct crash_run r;
    struct row_place first, second;
    crash_begin(&r, PMKV_NONE, 10);
    model_put(&r.model, r.kv, 0, 4100);
    model_put(&r.model, r.kv, 1, 100);
    cr_assert(place_of_key(r.kv, 0, &first) && place_of_key(r.kv, 1, &second));
    cr_assert_eq(second.offset / PAGE_PAYLOAD_BYTES, 1);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    first.offset += place_value_at(0) + 50;
    place_flip(image, place_offset(r.kv, first, 0));
    sim_poison(image, place_offset(r.kv, second, 0), PAGE_BYTES);
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    cr_assert_eq(place_get(r.kv, 0), PMKV_E_LOST);
    cr_assert_eq(crash_lost_count(r.kv), 2, "%llu entries: the second put is missing in silence",
                 (unsigned long long)crash_lost_count(r.kv));
    crash_close(&r.kv, "at the end");
}

/* With two twins and one of them unreadable, the other one would name the row, were there anything
 * in it. */
Test(hidden, one_unreadable_twin_of_two_hides_nothing)
{
    struct crash_run r;
    crash_begin(&r, PMKV_DOUBLE, 10);
    model_put(&r.model, r.kv, 0, 300);
    const struct row_buf *open = place_open_row(r.kv);
    const struct layout *l = &r.kv->vol.layout;
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    uint64_t twin = 0;
    for (uint32_t i = 0; i < l->segments && twin == 0; i++)
        for (uint32_t slot = 0; r.kv->segments[i].kind == KIND_TWIN && slot < twin_slots(r.kv);
             slot++) {
            uint64_t off = twin_slot_off(r.kv, i, slot);
            if (off != open->twin_off[0] && off != open->twin_off[1])
                twin = off;
        }
    cr_assert_neq(twin, 0);
    sim_poison(image, twin, PAGE_BYTES);
    sim_poison(image, layout_data_page_off(l, open->segment, open->row + 1, 0), PAGE_BYTES);
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    cr_assert_eq(crash_lost_count(r.kv), 0, "a row that was never begun is listed");
    model_compare(&r.model, r.kv, 0, "after the crash");
    crash_close(&r.kv, "at the end");
}

/* The first commit of a row is cut: one of its two twins has it, the other one does not. And that
 * twin and the row lose a page of it. */
struct cut {
    struct pmkv *kv;
    struct media *image;
    uint64_t slot;
};

static uint8_t lines_of_one_twin(void *arg, size_t index, const struct sim_line *line)
{
    const struct cut *c = arg;
    uint64_t bytes = (uint64_t)c->kv->vol.layout.row_pages * PAGE_BYTES;
    (void)index;
    return line->off >= c->slot && line->off < c->slot + bytes ? 0xff : 0;
}

static void cut_commit(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct cut *c = arg;
    (void)op, (void)off, (void)bytes;
    if (c->image || sim_pending_count(m) < 100) /* of the commit, not of the headers */
        return;
    const struct row_buf *open = place_open_row(c->kv);
    c->slot = open->twin_off[0];
    c->image = crash_image(m, lines_of_one_twin, c);
    sim_poison(c->image, c->slot + PAGE_BYTES, PAGE_BYTES);
    sim_poison(c->image, layout_data_page_off(&c->kv->vol.layout, open->segment, open->row, 1),
               PAGE_BYTES);
}

/* The twin that has it names the row, and is no other one: it was torn. Where any other twin cannot
 * be read there, that may have been the second one: the put is listed, and what may have stood
 * behind it. Elsewhere it says nothing. */
Test(hidden, a_torn_commit_in_one_twin_of_two)
{
    for (int other_lost = 0; other_lost <= 1; other_lost++) {
        struct crash_run r;
        crash_begin(&r, PMKV_DOUBLE, 10);
        struct cut c = {.kv = r.kv};
        struct model before = r.model;
        sim_set_drain_hook(r.media, cut_commit, &c);
        model_put(&r.model, r.kv, 0, 6000);
        sim_set_drain_hook(r.media, NULL, NULL);
        cr_assert_not_null(c.image);
        sim_poison(c.image, place_open_row(r.kv)->twin_off[1] + (other_lost ? 1 : 2) * PAGE_BYTES,
                   PAGE_BYTES);
        struct pmkv *kv = crash_open(c.image, r.geometry, "after the crash");
        cr_assert_eq(crash_lost_count(kv), other_lost ? 2 : 0);
        if (!other_lost)
            model_compare(&before, kv, 0, "after the crash");
        crash_close(&kv, "after the crash");
        crash_close(&r.kv, "at the end");
    }
}

/* Decoding with a parity that is too old gives bytes that no check contradicts. */
Test(hidden, a_record_that_decodes_to_garbage)
{
    struct crash_run r;
    uint32_t keys = 0;
    crash_begin(&r, PMKV_PARITY, 10);
    for (; keys == 0 || place_open_row(r.kv)->row < 3; keys++)
        model_put(&r.model, r.kv, keys % 30, 180);
    const struct row_buf *open = place_open_row(r.kv);
    struct row_ref ref = {open->segment, 0, open->generation};
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    place_zero_with_check(&r, image, ref, 1, 5);
    sim_poison(image, layout_data_page_off(&r.kv->vol.layout, ref.segment, ref.row, 2), PAGE_BYTES);
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    cr_assert_geq(crash_lost_count(r.kv), 1, "a record is missing in silence");
    crash_close(&r.kv, "at the end");
}

static uint64_t nameless(struct pmkv *kv)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < kv->lost_count; i++)
        count += kv->lost[i]->key_bytes == 0;
    return count;
}

/* The same behind the last record of a row that was left early: there may have been one. */
Test(hidden, garbage_behind_the_last_record)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 10);
    for (uint32_t key = 0; key < 9; key++)
        model_put(&r.model, r.kv, key, 3000);
    for (uint32_t key = 9; place_open_row(r.kv)->row < 3; key = key < 30 ? key + 1 : 9)
        model_put(&r.model, r.kv, key, 6000);
    const struct row_buf *open = place_open_row(r.kv);
    struct row_ref ref = {open->segment, 0, open->generation};
    uint64_t behind = layout_data_page_off(&r.kv->vol.layout, ref.segment, ref.row, 7);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    place_zero_with_check(&r, image, ref, 1, 5);
    sim_poison(image, behind, PAGE_BYTES);
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    cr_assert_eq(place_get(r.kv, 1), PMKV_E_LOST);
    cr_assert_eq(nameless(r.kv), 1, "what stood there is missing in silence");
    crash_close(&r.kv, "at the end");
}
