/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Invariants I10 to I12 of docs/design.md: what recovery takes for damage, what for a tail, whom it
 * believes; and when a twin may be used again. */
#include <criterion/criterion.h>

#include "place.h"
#include "recovery/group.h"
#include "script.h"

TestSuite(recovery, .timeout = 120);

/* --- I10 -------------------------------------------------------------------------------------- */

static void damage_before_a_later_epoch(enum pmkv_geometry geometry)
{
    struct crash_run r;
    crash_begin(&r, geometry, 10);
    for (uint32_t i = 0; i < 5; i++)
        model_put(&r.model, r.kv, i, 300);
    place_crash_changed(&r, 2, false);
    cr_assert_eq(place_get(r.kv, 2), PMKV_E_LOST, "%s: a lost record is %s",
                 crash_geometry_name(geometry), pmkv_status_name(place_get(r.kv, 2)));
    model_compare(&r.model, r.kv, MODEL_LOST_IS_FINE, "after the crash");
    cr_assert_eq(place_get(r.kv, 4), PMKV_OK);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, geometry, "after another crash");
    cr_assert_eq(place_get(r.kv, 2), PMKV_E_LOST, "it was lost, and only said so once");
    crash_close(&r.kv, "at the end");
}

Test(recovery, i10_damage_before_a_later_epoch_is_named)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++)
        damage_before_a_later_epoch(g);
}

/* Without its header a record has no name: the range is reported. */
Test(recovery, i10_a_gap_before_a_later_epoch_is_reported_as_a_range)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 10);
    for (uint32_t i = 0; i < 5; i++)
        model_put(&r.model, r.kv, i, 300);
    place_crash_changed(&r, 2, true);
    cr_assert_geq(crash_lost_count(r.kv), 1);
    cr_assert_eq(place_get(r.kv, 1), PMKV_OK);
    cr_assert_eq(place_get(r.kv, 3), PMKV_OK);
    crash_close(&r.kv, "at the end");
}

/* The end of the log that nobody was told about, torn in every way: no damage. */
Test(recovery, i10_a_torn_tail_is_no_damage)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++) {
        struct crash_plan plan = {script_small, 100, 2, 6, 0, 0, FAULT_NONE};
        crash_script_run(g, &plan); /* fails when anything is lost */
    }
}

/* The place behind the last commit cannot be read in any copy: there may have been one. */
static void tail_that_cannot_be_read(enum pmkv_geometry geometry)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, geometry, 10);
    for (uint32_t i = 0; i < 5; i++)
        model_put(&r.model, r.kv, i, 300);
    cr_assert(place_of_key(r.kv, 0, &place));
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    for (uint32_t copy = 0; copy < row_copies(r.kv); copy++)
        sim_poison(image, place_offset(r.kv, place, copy), PAGE_BYTES);
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    cr_assert_geq(crash_lost_count(r.kv), 1, "%s: lost in silence", crash_geometry_name(geometry));
    crash_close(&r.kv, "at the end");
}

Test(recovery, i10_a_tail_that_cannot_be_read_is_reported)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++)
        tail_that_cannot_be_read(g);
}

/* A closed row says by itself what is damaged. */
Test(recovery, i10_damage_in_a_closed_row_is_named)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_NONE, 10);
    for (uint32_t i = 0; i < 20; i++)
        model_put(&r.model, r.kv, i, 4000);
    cr_assert(place_of_key(r.kv, 5, &place));
    cr_assert_neq(place.row, place_open_row(r.kv)->row);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    place.offset += place_value_at(5) + 50;
    place_flip(image, place_offset(r.kv, place, 0));
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    cr_assert_eq(place_get(r.kv, 5), PMKV_E_LOST);
    model_compare(&r.model, r.kv, MODEL_LOST_IS_FINE, "after the crash");
    crash_close(&r.kv, "at the end");
}

/* Puts until the open row is another one than row 0 and holds `commits`. Returns the next key. */
static uint32_t put_into_next_row(struct crash_run *r, uint32_t commits)
{
    uint32_t key = 0;
    for (; key == 0 || place_open_row(r->kv)->row == 0; key++)
        model_put(&r->model, r->kv, key, 1500);
    for (uint32_t i = 1; i < commits; i++)
        model_put(&r->model, r->kv, key++, 1500);
    return key;
}

/* The end of row 0 is damaged, and the next row, which is the last, holds so many commits. They say
 * that all of row 0 was fenced: the first one how far it went, the second that its close was too.
 */
static void damage_at_the_end_of_row_0(uint32_t commits, bool row_1_retired)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_NONE, 10);
    model_put(&r.model, r.kv, 40, 100);
    if (row_1_retired)
        cr_assert_eq(segment_retire_row(r.kv, place_open_row(r.kv)->segment, 1), 0);
    uint32_t key = put_into_next_row(&r, commits) - commits - 1; /* the last one of row 0 */
    cr_assert_eq(place_open_row(r.kv)->row, row_1_retired ? 2 : 1);
    cr_assert(place_of_key(r.kv, key, &place));
    cr_assert_eq(place.row, 0);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    place.offset += 12; /* its header: it has no name any more */
    place_flip(image, place_offset(r.kv, place, 0));
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    cr_assert_eq(crash_lost_count(r.kv), 1, "%u commits: %llu lost, an acknowledged record is %s",
                 commits, (unsigned long long)crash_lost_count(r.kv),
                 pmkv_status_name(place_get(r.kv, key)));
    crash_close(&r.kv, "at the end");
}

Test(recovery, i10_damage_at_the_end_of_the_row_before_the_last_is_reported)
{
    damage_at_the_end_of_row_0(1, false);
    damage_at_the_end_of_row_0(2, false);
    damage_at_the_end_of_row_0(1, true);
    damage_at_the_end_of_row_0(2, true);
}

/* Nor does it help when what the first commit said is lost with it: the second one's word is
 * enough.
 */
Test(recovery, i10_a_later_commit_says_that_the_close_of_the_row_before_was_fenced)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_NONE, 10);
    uint32_t key = put_into_next_row(&r, 2) - 3; /* the last one of row 0 */
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    for (uint32_t i = 0; i < 2; i++) {
        cr_assert(place_of_key(r.kv, key + i, &place));
        place.offset += 12;
        place_flip(image, place_offset(r.kv, place, 0));
    }
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    cr_assert_eq(crash_lost_count(r.kv), 2, "%llu lost",
                 (unsigned long long)crash_lost_count(r.kv));
    crash_close(&r.kv, "at the end");
}

/* The same places torn: the close of a row, and the first commits of the next, at every instant. */
static void torn_close(enum pmkv_geometry geometry, bool row_1_retired)
{
    struct crash_run r;
    crash_begin(&r, geometry, 10);
    r.per_instant = 12;
    model_put(&r.model, r.kv, 40, 100);
    if (row_1_retired)
        cr_assert_eq(segment_retire_row(r.kv, place_open_row(r.kv)->segment, 1), 0);
    crash_watch(&r, true);
    put_into_next_row(&r, 3);
    model_batch(&r.model, r.kv, 0, 14, 0, 3000); /* over the end of the row */
    crash_end(&r);
}

Test(recovery, i10_a_torn_close_is_no_damage)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_NONE; g++) {
        torn_close(g, false);
        torn_close(g, true);
    }
}

/* The torn end of an open row, and so many checks in it that hold. */
static uint64_t lost_with_checks(uint32_t checks)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_NONE, 10);
    for (uint32_t i = 0; i < 4; i++)
        model_put(&r.model, r.kv, i, 300);
    model_batch(&r.model, r.kv, 4, 4, 0, 300); /* its end is there, its begin is not */
    const struct row_buf *row = place_open_row(r.kv);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    uint64_t off = layout_data_page_off(&r.kv->vol.layout, row->segment, row->row, 5);
    uint64_t secret = group_secret(r.kv->vol.secret, row->generation, off / PAGE_BYTES);
    for (uint32_t g = 3; g < 3 + checks; g++) {
        uint32_t absent = group_absent(secret, g);
        cr_assert_eq(media_inject_bytes(image, off + PAGE_PAYLOAD_BYTES + g * 4, &absent, 4), 0);
    }
    struct row_place least = {.offset = UINT32_MAX};
    for (uint32_t i = 4; i < 8; i++)
        if (place_of_key(r.kv, i, &place) && place.offset < least.offset)
            least = place;
    least.offset += 12;
    place_flip(image, place_offset(r.kv, least, 0));
    crash_close(&r.kv, "the store that lost its power");
    struct pmkv *kv = crash_open(image, PMKV_NONE, "after the crash");
    uint64_t lost = crash_lost_count(kv);
    crash_close(&kv, "at the end");
    return lost;
}

/* A check is 32 bits, and a large row has thousands: one that holds by chance is no sign of a
 * close.
 */
Test(recovery, i10_one_check_that_holds_says_nothing)
{
    cr_assert_eq(lost_with_checks(0), 0);
    cr_assert_eq(lost_with_checks(1), 0, "a torn write is taken for damage");
    cr_assert_eq(lost_with_checks(2), 1, "damage is taken for a torn write");
}

/* The value of the very last put goes on in a page that cannot be read: it has a name. */
Test(recovery, i10_a_last_record_whose_value_cannot_be_read_is_named)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_NONE, 10);
    model_put(&r.model, r.kv, 0, 6000);
    cr_assert(place_of_key(r.kv, 0, &place));
    place.offset += PAGE_PAYLOAD_BYTES;
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    sim_poison(image, place_offset(r.kv, place, 0), PAGE_BYTES);
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    cr_assert_eq(place_get(r.kv, 0), PMKV_E_LOST, "it is %s", pmkv_status_name(place_get(r.kv, 0)));
    crash_close(&r.kv, "at the end");
}

/* --- I11 -------------------------------------------------------------------------------------- */

/* Twins that hold garbage under marks that are valid: what checks or decodes goes first. */
static void spoil_twins(struct pmkv *kv, struct media *image, struct test_rng *rng)
{
    const struct layout *l = &kv->vol.layout;
    uint8_t page[PAGE_PAYLOAD_BYTES];
    for (uint32_t i = 0; i < l->segments; i++)
        for (uint32_t slot = 0; kv->segments[i].kind == KIND_TWIN && slot < twin_slots(kv); slot++)
            for (uint32_t p = 0; p < l->row_pages; p++) {
                for (size_t k = 0; k < sizeof page; k++)
                    page[k] = (uint8_t)test_rng_next(rng);
                media_inject_bytes(image, twin_slot_off(kv, i, slot) + (uint64_t)p * PAGE_BYTES,
                                   page, sizeof page);
            }
}

Test(recovery, i11_checks_and_decoding_go_before_twins)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 11);
    for (uint32_t i = 0; i < 24; i++)
        model_put(&r.model, r.kv, i, 4000);
    cr_assert_gt(place_open_row(r.kv)->row, 1);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    spoil_twins(r.kv, image, &r.rng);
    sim_poison(image, layout_data_page_off(&r.kv->vol.layout, place_open_row(r.kv)->segment, 0, 3),
               PAGE_BYTES);
    crash_close(&r.kv, "the store that lost its power");
    r.media = image;
    r.kv = crash_open(image, r.geometry, "after the crash");
    model_compare(&r.model, r.kv, 0, "with twins of garbage");
    crash_end(&r);
}

/* The superblock says that all was closed cleanly, and where; the row's own bytes are not believed
 * for that. */
static void clean_flag_is_not_believed(enum pmkv_geometry geometry, uint32_t copy)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, geometry, 11);
    for (uint32_t i = 0; i < 6; i++)
        model_put(&r.model, r.kv, i, 1500);
    cr_assert(place_of_key(r.kv, 3, &place));
    place.offset += place_value_at(3) + 7;
    uint64_t off = place_offset(r.kv, place, copy);
    struct pmkv *kv = r.kv;
    struct media *kept = NULL;
    r.keep_last = true;
    crash_watch(&r, true);
    r.armed = false;
    crash_close(&kv, "a clean close");
    r.keep_last = false;
    kept = r.last;
    r.last = NULL;
    place_flip(kept, off);
    r.media = kept;
    r.kv = crash_open(kept, geometry, "after the close");
    model_compare(&r.model, r.kv, 0, "with a changed copy of the open row");
    script_fill_segment(&r, 10, 20);
    crash_now(&r, sim_choose_none, NULL);
    crash_end(&r);
}

Test(recovery, i11_a_clean_close_is_not_believed_against_the_checks)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_MIRROR; g++) {
        clean_flag_is_not_believed(g, 0);
        clean_flag_is_not_believed(g, 1);
    }
}

/* A row that went on after a clean close has twins of two lives: the slot of before holds the older
 * ones. */
Test(recovery, i11_twins_of_before_a_clean_close_hide_no_later_commit)
{
    for (uint32_t lanes = 1; lanes <= 2; lanes++) {
        struct crash_run r;
        struct row_place place;
        crash_begin(&r, PMKV_PARITY, 11);
        for (uint32_t i = 0; i < (lanes == 1 ? 2 : 12); i++)
            model_put(&r.model, r.kv, i, 3000); /* in the first set, and in the second */
        crash_reopen(&r);
        for (uint32_t i = 12; i < 16; i++)
            model_put(&r.model, r.kv, i, 100);
        cr_assert(place_of_key(r.kv, 15, &place));
        struct media *image = crash_image(r.media, sim_choose_none, NULL);
        sim_poison(image, place_offset(r.kv, place, 0), PAGE_BYTES);
        crash_close(&r.kv, "the store that lost its power");
        r.media = image;
        r.kv = crash_open(image, r.geometry, "after the crash");
        model_compare(&r.model, r.kv, 0, "after the crash");
        crash_end(&r);
    }
}

/* --- I12 -------------------------------------------------------------------------------------- */

struct reuse {
    struct crash_run *run;
    unsigned reused;
};

/* Before a twin's mark names another row, the row it named is durable with parity and checks. */
static void twin_is_reused(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct reuse *u = arg;
    struct pmkv *kv = u->run->kv;
    struct place p = layout_locate(&kv->vol.layout, off);
    if (op != SIM_STORE || p.kind != PLACE_ROW || kv->segments[p.segment].kind != KIND_TWIN ||
        bytes != LINE_BYTES || off % PAGE_BYTES != PAGE_PAYLOAD_BYTES)
        return;
    struct twin_mark mark;
    sim_peek(m, off, &mark, sizeof mark);
    if (!twin_mark_valid(kv, &mark, off - PAGE_PAYLOAD_BYTES) ||
        kv->segments[mark.segment].generation != mark.generation)
        return;
    struct row_buf *open = NULL;
    for (uint32_t i = 0; i < kv->lane_total; i++)
        for (uint32_t set = 0; set < LANE_SETS; set++) {
            struct row_buf *b = &kv->lanes[i].rows[set];
            if (b->state == ROW_OPEN && b->segment == mark.segment && b->row == mark.row)
                open = b;
        }
    if (open)
        return; /* the same row once more */
    struct media *image = crash_image(m, sim_choose_none, NULL);
    struct volume v = kv->vol;
    struct row_image row;
    v.media = image;
    cr_assert_eq(row_image_init(&row, &v.layout), 0);
    row_load(&v, (struct row_ref){mark.segment, mark.row, mark.generation}, &row);
    cr_assert_eq(row.bad_pages, 0, "the twin of row %u is used again before its close is fenced",
                 mark.row);
    row_image_free(&row);
    media_close(&image);
    u->reused++;
}

static void twins_of(enum pmkv_geometry geometry)
{
    struct crash_run r;
    crash_begin(&r, geometry, 12);
    struct reuse u = {.run = &r};
    sim_set_access_hook(r.media, twin_is_reused, &u);
    script_small(&r);
    script_fill_segment(&r, 0, 30);
    model_batch(&r.model, r.kv, 0, 40, 0, 3500); /* over several rows */
    model_put(&r.model, r.kv, 1, 100000);
    script_fill_segment(&r, 0, 30);
    sim_set_access_hook(r.media, NULL, NULL);
    cr_assert_gt(u.reused, 50, "%u twin pages were used again", u.reused);
    crash_end(&r);
}

Test(recovery, i12_a_twin_is_used_again_only_after_the_close_is_fenced)
{
    twins_of(PMKV_PARITY);
    twins_of(PMKV_DOUBLE);
}

/* More pages of a row than the redundancy covers cannot be cleared, which shows when the row closes
 * and gives its twin up: what stood there is named at once, and again after a crash. */
Test(recovery, i12_what_a_close_cannot_keep_is_named)
{
    struct crash_run r;
    uint64_t lost = 0;
    crash_begin(&r, PMKV_PARITY, 12);
    model_put(&r.model, r.kv, 0, 100);
    const struct row_buf *row = place_open_row(r.kv);
    sim_set_clears_fail(r.media, true);
    for (uint32_t page = 1; page <= 2; page++)
        sim_poison(r.media, row_copy_off(r.kv, row, 0, page), PAGE_BYTES);
    for (uint32_t i = 1; i < 30; i++)
        model_put(&r.model, r.kv, i, 2500); /* until other rows have its place */
    for (uint32_t i = 0; i < 30; i++)
        lost += place_get(r.kv, i) == PMKV_E_LOST;
    cr_assert(lost >= 2 && lost <= 5, "%llu records of two pages are lost",
              (unsigned long long)lost);
    model_compare(&r.model, r.kv, MODEL_LOST_IS_FINE, "after the close");
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    for (uint32_t i = 0; i < 30; i++)
        lost -= place_get(r.kv, i) == PMKV_E_LOST;
    cr_assert_eq(lost, 0, "%lld fewer are named after a crash", (long long)lost);
    model_compare(&r.model, r.kv, MODEL_LOST_IS_FINE, "after the crash");
    crash_close(&r.kv, "at the end");
}

/* --- a torn close, and then a page ------------------------------------------------------------ */

struct all_but {
    size_t index;
};

static uint8_t choose_all_but(void *arg, size_t index, const struct sim_line *line)
{
    (void)line;
    return index == ((struct all_but *)arg)->index ? 0 : 0xff;
}

/* One line of the close is missing, which parity gives; the pages of the row that go next, one or
 * the other, must be rebuilt from parity as well: no longer from the twin, whose use the row's
 * recovery ended. */
static void close_is_torn(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct crash_run *r = arg;
    const struct lane *lane = &r->kv->lanes[0];
    const struct row_buf *closing = &lane->rows[lane->current ^ 1];
    (void)off, (void)bytes;
    if (op != SIM_DRAIN || closing->state != ROW_CLOSING || closing->row != 0 || r->images > 0)
        return;
    size_t lines = sim_pending_count(m);
    for (struct all_but but = {0}; but.index < lines; but.index++) {
        struct media *image = crash_image(m, choose_all_but, &but);
        struct pmkv *kv = crash_open(image, r->geometry, "a torn close");
        uint32_t page = (uint32_t)but.index % r->kv->vol.layout.row_pages;
        sim_poison(image, layout_data_page_off(&kv->vol.layout, closing->segment, 0, page),
                   PAGE_BYTES);
        model_compare(&r->model, kv, 0, "a page of a row whose close was torn");
        crash_nothing_lost(kv, "a page of a row whose close was torn");
        crash_close(&kv, "a page of a row whose close was torn");
        r->images++;
    }
}

Test(recovery, i12_a_row_whose_close_was_torn_is_made_whole_before_its_twin_goes)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_MIRROR; g++) {
        struct crash_run r;
        crash_begin(&r, g, 12);
        sim_set_drain_hook(r.media, close_is_torn, &r);
        for (uint32_t key = 0; r.images == 0; key++)
            model_put(&r.model, r.kv, key % 30, 500);
        sim_set_drain_hook(r.media, NULL, NULL);
        crash_close(&r.kv, "at the end");
    }
}
