/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Open rows that lanes go on with after a clean close have a valid twin at every instant of that
 * open, also where slots of twins went out of use since (P5, I12). And what an earlier
 * generation left in a twin slot is none of the row's. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "kv/open.h"
#include "kv/segment.h"
#include "place.h"

TestSuite(resumed, .timeout = 120);

enum { LANES = 3, POOL_BYTES = 20 << 20 }; /* a lane for every 16 segments */

static struct pmkv *open_lanes(struct media *m)
{
    struct pmkv *kv = NULL;
    struct pmkv_options o = crash_options(PMKV_PARITY);
    o.lanes = LANES;
    enum pmkv_status s = store_open(m, &o, &kv);
    cr_assert_eq(s, PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_eq(kv->lane_count, LANES);
    return kv;
}

struct one_put {
    struct crash_run *run;
    uint32_t key;
};

static void *put_one(void *arg)
{
    struct one_put *p = arg;
    model_put(&p->run->model, p->run->kv, p->key, 2000);
    return NULL;
}

/* Threads take lanes in turn. */
static void put_in_each_lane(struct crash_run *r, uint32_t first_key)
{
    for (uint32_t i = 0; i < LANES; i++) {
        struct one_put p = {r, first_key + i};
        pthread_t thread;
        cr_assert_eq(pthread_create(&thread, NULL, put_one, &p), 0);
        pthread_join(thread, NULL);
    }
}

static void keep_last(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct crash_run *r = arg;
    (void)op, (void)off, (void)bytes;
    media_close(&r->last);
    r->last = crash_image(m, sim_choose_all, NULL);
}

static void close_and_keep(struct crash_run *r)
{
    sim_set_drain_hook(r->media, keep_last, r);
    crash_close(&r->kv, "a clean close");
    r->media = r->last;
    r->last = NULL;
}

/* Power is lost while the pool is opened, and with it the first page of one open row. */
struct loss {
    struct crash_run *run;
    uint64_t page;
};

static void lose_power_and_page(void *arg, struct media *m, enum sim_op op, uint64_t off,
                                uint64_t bytes)
{
    struct loss *l = arg;
    (void)op, (void)off, (void)bytes;
    for (uint32_t all = 0; all <= 1; all++) {
        struct media *image = crash_image(m, all ? sim_choose_all : sim_choose_none, NULL);
        sim_poison(image, l->page, PAGE_BYTES);
        struct pmkv *kv = open_lanes(image);
        crash_nothing_lost(kv, "while a pool was opened");
        model_compare(&l->run->model, kv, 0, "while a pool was opened");
        crash_close(&kv, "while a pool was opened");
        l->run->images++;
    }
}

static uint32_t twin_segment(const struct pmkv *kv)
{
    uint32_t i = 0;
    while (kv->segments[i].kind != KIND_TWIN)
        i++;
    return i;
}

Test(resumed, rows_have_a_twin_at_every_instant_of_a_clean_open)
{
    for (uint32_t lane = 0; lane < LANES; lane++) {
        struct crash_run r = {.geometry = PMKV_PARITY};
        struct pmkv_options o = crash_options(PMKV_PARITY);
        cr_assert_eq(sim_new(POOL_BYTES, PAGE_BYTES, &r.media), 0);
        cr_assert_eq(store_format(r.media, &o), PMKV_OK, "%s", pmkv_errormsg());
        r.kv = open_lanes(r.media);
        put_in_each_lane(&r, 0);
        close_and_keep(&r);
        r.kv = open_lanes(r.media);
        put_in_each_lane(&r, LANES);
        const struct row_buf *row = &r.kv->lanes[lane].rows[r.kv->lanes[lane].current];
        cr_assert(row->state == ROW_OPEN && row->fill > 4000, "lane %u has no row", lane);
        struct loss l = {&r, layout_data_page_off(&r.kv->vol.layout, row->segment, row->row, 0)};
        for (uint32_t slot = 0; slot < 2; slot++) /* the first lane's: all others would move up */
            cr_assert_eq(segment_retire_row(r.kv, twin_segment(r.kv), slot), 0);
        close_and_keep(&r);
        sim_set_drain_hook(r.media, lose_power_and_page, &l);
        r.kv = open_lanes(r.media);
        sim_set_drain_hook(r.media, NULL, NULL);
        cr_assert_gt(r.images, 4);
        model_compare(&r.model, r.kv, 0, "at the end");
        crash_close(&r.kv, "at the end");
    }
}

/* The slots of an open row still have, behind what was stored of it, a page of the same row of the
 * segment's generation before: nothing of the row's, so it is left as it is. (Were it read for the
 * row's, the checks of records, bound to the generation, would refuse what it says.) */
Test(resumed, a_page_of_the_generation_before)
{
    enum { STALE_PAGE = 5 };
    struct crash_run r;
    crash_begin(&r, PMKV_DOUBLE, 10);
    model_put(&r.model, r.kv, 0, 300);
    struct row_buf before = *place_open_row(r.kv);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    uint8_t page[PAGE_BYTES], found[PAGE_BYTES];
    uint64_t off[2];
    before.generation--;
    for (uint32_t twin = 0; twin < 2; twin++) {
        struct twin_mark mark;
        off[twin] = row_copy_off(r.kv, &before, twin + 1, STALE_PAGE);
        memset(page, 0xa5, sizeof page);
        twin_mark_encode(r.kv, &before, STALE_PAGE, twin, off[twin], &mark);
        memcpy(page + PAGE_PAYLOAD_BYTES, &mark, sizeof mark);
        cr_assert_eq(media_inject_bytes(image, off[twin], page, sizeof page), 0);
    }
    sim_poison(image,
               layout_data_page_off(&r.kv->vol.layout, before.segment, before.row, STALE_PAGE),
               PAGE_BYTES);
    crash_close(&r.kv, "the store that lost its power");
    r.kv = crash_open(image, r.geometry, "after the crash");
    for (uint32_t twin = 0; twin < 2; twin++) {
        sim_peek(image, off[twin], found, sizeof found);
        cr_assert_eq(memcmp(found, page, PAGE_PAYLOAD_BYTES), 0, "twin %u was stored to", twin);
    }
    crash_nothing_lost(r.kv, "after the crash");
    model_compare(&r.model, r.kv, 0, "after the crash");
    crash_heal(r.kv, "after the crash");
    crash_close(&r.kv, "at the end");
}
