/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Repairs that cannot be done now: the page stays in the queue, nothing is given up, and the next
 * repair does it (P6, I14). */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "kv/damage.h"
#include "kv/meta.h"
#include "kv/repair.h"
#include "kv/segment.h"
#include "place.h"
#include "script.h"

TestSuite(repair_refused, .timeout = 120);

static uint64_t repair(struct pmkv *kv, const char *where)
{
    uint64_t left = 0;
    enum pmkv_status s = pmkv_repair(kv, &left);
    cr_assert(s == PMKV_OK || s == PMKV_E_IO, "%s: %s: %s", where, pmkv_status_name(s),
              pmkv_errormsg());
    return left;
}

static uint64_t retired_pages(struct pmkv *kv)
{
    struct pmkv_health health;
    cr_assert_eq(pmkv_health(kv, &health), PMKV_OK);
    return health.pages_retired;
}

/* The page is lost and met. */
static void lose(struct crash_run *r, uint64_t off)
{
    sim_poison(r->media, off, PAGE_BYTES);
    damage_found(r->kv, DAMAGE_POISON, off, "met by the test");
}

/* --- a page that cannot be cleared, while no header can be made durable ----------------------- */

/* The row must not be used again, which the headers have to say. When they cannot, the next process
 * finds the page as it is, and retires the row then. */
static void retired_by_the_next(struct crash_run *r, uint64_t off, const char *what)
{
    lose(r, off);
    sim_set_clears_fail(r->media, true);
    sim_set_drain_error(r->media, -EIO);
    repair(r->kv, what);
    crash_now(r, sim_choose_none, NULL);
    cr_assert_eq(retired_pages(r->kv), 0, "%s: the headers say so", what);
    model_compare(&r->model, r->kv, 0, what);
    sim_set_clears_fail(r->media, true);
    cr_assert_eq(repair(r->kv, what), 0, "%s", what);
    cr_assert_eq(retired_pages(r->kv), 1, "%s: it was forgotten", what);
    model_compare(&r->model, r->kv, 0, what);
    crash_nothing_lost(r->kv, what);
    crash_end(r);
}

static void begin(struct crash_run *r)
{
    crash_begin(r, PMKV_PARITY, 77);
    script_fill_segment(r, 0, 20);
    for (uint32_t key = 0; key < 10; key++)
        model_put(&r->model, r->kv, key, 3000);
}

Test(repair_refused, a_page_of_a_closed_row)
{
    struct crash_run r;
    begin(&r);
    seal_waiting(r.kv); /* an open of rows without a summary repairs them at once */
    struct row_place place = {.segment = place_segment_of(r.kv, 15)};
    cr_assert_neq(place.segment, (uint32_t)r.kv->lanes[0].segment);
    retired_by_the_next(&r, place_offset(r.kv, place, 0), "a closed row");
}

Test(repair_refused, a_page_of_a_twin)
{
    struct crash_run r;
    begin(&r);
    struct row_buf *buf = place_open_row(r.kv);
    struct row_place place = {.segment = buf->segment, .row = buf->row};
    retired_by_the_next(&r, place_offset(r.kv, place, 1), "a twin");
}

Test(repair_refused, a_page_of_a_row_to_come)
{
    struct crash_run r;
    begin(&r);
    struct row_buf *buf = place_open_row(r.kv);
    struct row_place place = {.segment = buf->segment, .row = buf->row + 1};
    retired_by_the_next(&r, place_offset(r.kv, place, 0), "a row to come");
}

Test(repair_refused, a_page_of_a_free_segment)
{
    struct crash_run r;
    begin(&r);
    uint32_t segment = 0;
    while (segment < r.kv->vol.layout.segments && r.kv->segments[segment].generation != 0)
        segment++;
    cr_assert_lt(segment, r.kv->vol.layout.segments);
    uint64_t off = layout_data_page_off(&r.kv->vol.layout, segment, 2, 0);
    retired_by_the_next(&r, off, "a free segment");
}

Test(repair_refused, a_page_of_a_segment_that_is_prepared)
{
    struct crash_run r;
    begin(&r);
    segment_prepare_ahead(r.kv);
    uint32_t segment = 0;
    while (atomic_load(&r.kv->segments[segment].state) != SEGMENT_READY)
        segment++;
    uint64_t off = layout_data_page_off(&r.kv->vol.layout, segment, 2, 0);
    retired_by_the_next(&r, off, "a prepared segment");
}

/* --- a segment that is between two uses --------------------------------------------------------
 */

/* It is being freed, or begun: its pages are another's to write, and wait (I13). */
Test(repair_refused, a_page_of_a_segment_that_changes_waits)
{
    struct crash_run r;
    begin(&r);
    struct row_place place = {.segment = place_segment_of(r.kv, 15)};
    struct segment *s = &r.kv->segments[place.segment];
    cr_assert_neq(place.segment, (uint32_t)r.kv->lanes[0].segment);
    uint64_t off = place_offset(r.kv, place, 0), generation = atomic_load(&s->generation);
    lose(&r, off);
    atomic_store(&s->generation, GENERATION_CHANGING);
    cr_assert_eq(repair_place(r.kv, off), REPAIR_LATER);
    cr_assert_eq(atomic_load(&s->pins), 0);
    atomic_store(&s->generation, generation);
    cr_assert_eq(repair_place(r.kv, off), REPAIR_DONE);
    crash_nothing_lost(r.kv, "a segment that changed");
    model_compare(&r.model, r.kv, 0, "a segment that changed");
    crash_end(&r);
}

/* --- a row that is out of use ----------------------------------------------------------------- */

/* A scrub meets its page again and again: that is no loss, and no work is left. */
Test(repair_refused, a_page_of_a_row_that_was_passed_over_is_done)
{
    struct crash_run r;
    begin(&r);
    struct row_buf *buf = place_open_row(r.kv);
    struct row_place place = {.segment = buf->segment, .row = buf->row + 1};
    uint64_t off = place_offset(r.kv, place, 0);
    lose(&r, off);
    sim_set_clears_fail(r.media, true);
    cr_assert_eq(repair(r.kv, "retired"), 0);
    cr_assert_eq(retired_pages(r.kv), 1);
    script_fill_segment(&r, 0, 20);
    for (int i = 0; i < 2; i++) {
        damage_found(r.kv, DAMAGE_POISON, off, "met again");
        cr_assert_eq(repair(r.kv, "again"), 0);
        cr_assert_eq(repair_place(r.kv, off), REPAIR_DONE);
    }
    crash_nothing_lost(r.kv, "a row without content");
    model_compare(&r.model, r.kv, 0, "a row without content");
    crash_end(&r);
}

/* A row is retired while a lane writes it, and power goes before the cleaner has moved its records:
 * they count as those of any other row that was open. */
Test(repair_refused, a_page_of_an_open_row_keeps_its_records_through_a_crash)
{
    struct crash_run r;
    begin(&r);
    struct row_buf *buf = place_open_row(r.kv);
    struct row_place place = {.segment = buf->segment, .row = buf->row};
    lose(&r, place_offset(r.kv, place, 0));
    sim_set_clears_fail(r.media, true);
    /* pmkv_repair would have the lane leave the row as well. */
    cr_assert_eq(repair_pending(r.kv), 0);
    cr_assert_eq(retired_pages(r.kv), 1);
    cr_assert(r.kv->segments[place.segment].retired_rows >> place.row & 1);
    crash_now(&r, sim_choose_none, NULL);
    crash_nothing_lost(r.kv, "an open row");
    model_compare(&r.model, r.kv, 0, "an open row");
    crash_end(&r);
}

/* --- a medium that goes in the middle --------------------------------------------------------- */

/* When the page cannot be cleared, the superblock is gone as well: that is no single page. */
static void lose_superblock(void *arg, struct media *m, enum sim_op op, uint64_t off,
                            uint64_t bytes)
{
    const struct layout *l = arg;
    (void)off, (void)bytes;
    if (op == SIM_CLEAR)
        for (int i = 0; i < SUPERBLOCK_COPIES; i++)
            media_inject_poison(m, l->superblock_off[i]);
}

Test(repair_refused, no_row_is_retired_when_the_superblock_goes_with_the_page)
{
    struct crash_run r;
    begin(&r);
    static struct layout layout;
    layout = r.kv->vol.layout;
    struct row_place place = {.segment = (uint32_t)r.kv->lanes[0].segment};
    lose(&r, place_offset(r.kv, place, 0));
    sim_set_clears_fail(r.media, true);
    sim_set_drain_hook(r.media, lose_superblock, &layout);
    cr_assert_gt(repair(r.kv, "in doubt"), 0, "it was taken for done");
    cr_assert_eq(retired_pages(r.kv), 0);
    sim_set_drain_hook(r.media, NULL, NULL);
    sim_set_clears_fail(r.media, false);
    struct pmkv_health health;
    cr_assert_eq(pmkv_health(r.kv, &health), PMKV_OK);
    cr_assert_eq(health.state, PMKV_STATE_UNAVAILABLE);
    pmkv_close(&r.kv);
}

/* --- a row whose close was not fenced --------------------------------------------------------- */

/* It is written from the lane's image with its checks, as the close stored it. */
Test(repair_refused, a_page_of_a_row_whose_close_could_not_be_fenced_is_written_as_it_was_stored)
{
    struct crash_run r;
    begin(&r);
    struct lane *lane = &r.kv->lanes[0];
    while (place_open_row(r.kv)->fill + 4000 < row_payload(r.kv))
        model_put(&r.model, r.kv, 11, 3000);
    struct row_buf *buf = place_open_row(r.kv);
    sim_set_drain_error(r.media, -EIO);
    cr_assert_eq(model_try_put(&r.model, r.kv, 12, 6000), PMKV_E_IO);
    sim_set_drain_error(r.media, 0);
    cr_assert_neq(buf, &lane->rows[lane->current], "the row was not left");
    cr_assert_eq(buf->state, ROW_CLOSING);
    for (uint32_t column = 0; column < r.kv->vol.layout.columns; column += 8) { /* data, parity */
        uint64_t off = layout_chunk_page_off(&r.kv->vol.layout, buf->segment, buf->row, column, 0);
        uint8_t before[PAGE_BYTES], after[PAGE_BYTES];
        sim_peek(r.media, off, before, sizeof before);
        lose(&r, off);
        cr_assert_eq(repair(r.kv, "closing"), 0);
        sim_peek(r.media, off, after, sizeof after);
        cr_assert_arr_eq(after, before, sizeof before, "column %u", column);
    }
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    struct pmkv *kv = crash_open(image, PMKV_PARITY, "after a crash");
    model_compare(&r.model, kv, 0, "after a crash");
    crash_nothing_lost(kv, "after a crash");
    crash_close(&kv, "after a crash");
    pmkv_close(&r.kv);
}
