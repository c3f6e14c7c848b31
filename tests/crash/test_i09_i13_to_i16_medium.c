/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Invariants I9 and I13 to I16 of docs/design.md: copies, repair, doubt and faults. */
#include <criterion/criterion.h>
#include <malloc.h>
#include <pthread.h>
#include <unistd.h>

#include "kv/clean.h"
#include "kv/meta.h"
#include "kv/repair.h"
#include "kv/segment.h"
#include "place.h"
#include "script.h"

TestSuite(medium, .timeout = 120);

/* --- I9 --------------------------------------------------------------------------------------- */

/* Copies that were stored since the last fence. */
struct copies {
    struct layout layout;
    uint32_t superblock, table, header[64];
    unsigned stores;
};

static unsigned bits(uint32_t v)
{
    return (unsigned)__builtin_popcount(v);
}

static void note_copy(struct copies *c, uint64_t off)
{
    struct place p = layout_locate(&c->layout, off);
    if (p.kind == PLACE_SUPERBLOCK)
        c->superblock |= 1u << p.copy;
    else if (p.kind == PLACE_TABLE)
        c->table |= 1u << p.copy;
    else if (p.kind == PLACE_HEADER)
        c->header[p.segment] |= 1u << p.column;
    else
        return;
    c->stores++;
    cr_assert_leq(bits(c->superblock), 1, "two copies of the superblock under one fence");
    cr_assert_leq(bits(c->table), 1, "two copies of the table under one fence");
    if (p.kind == PLACE_HEADER)
        cr_assert_leq(bits(c->header[p.segment]), (c->layout.columns + 1) / 2,
                      "more than half of the headers under one fence");
}

static void watch_stores(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct copies *c = arg;
    (void)m, (void)bytes;
    if (op == SIM_STORE)
        note_copy(c, off);
}

static void watch_drains(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct copies *c = arg;
    (void)m, (void)op, (void)off, (void)bytes;
    c->superblock = c->table = 0;
    memset(c->header, 0, sizeof c->header);
}

static void copies_change_one_by_one(enum pmkv_geometry geometry)
{
    struct crash_run r;
    crash_begin(&r, geometry, 9);
    struct copies c = {.layout = r.kv->vol.layout};
    sim_set_access_hook(r.media, watch_stores, &c);
    sim_set_drain_hook(r.media, watch_drains, &c);
    script_fill_segment(&r, 0, 20);
    place_clean(r.kv, 0);
    atomic_store(&r.kv->counter, atomic_load(&r.kv->counter_ceiling));
    for (int i = 0; i < 40; i++) /* until the lane has given its own: reserves, in the superblock */
        model_put(&r.model, r.kv, 0, 10);
    crash_close(&r.kv, "at the end");
    cr_assert_gt(c.stores, 8);
}

Test(medium, i09_one_copy_changes_per_fence)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_MIRROR; g++)
        copies_change_one_by_one(g);
}

/* --- I13 -------------------------------------------------------------------------------------- */

struct ending {
    struct pmkv *kv;
    uint32_t segment;
    atomic_bool ended;
};

static void *end_segment(void *arg)
{
    struct ending *e = arg;
    cr_assert_eq(segment_end(e->kv, e->segment), 0);
    atomic_store(&e->ended, true);
    return NULL;
}

Test(medium, i13_a_pinned_segment_is_not_freed)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 13);
    script_fill_segment(&r, 0, 20);
    script_fill_segment(&r, 0, 20);
    seal_waiting(r.kv);
    struct ending e = {.kv = r.kv};
    while (!kind_is_log(r.kv->segments[e.segment].kind) ||
           r.kv->segments[e.segment].live_units != 0)
        e.segment++;
    uint64_t generation = r.kv->segments[e.segment].generation;
    cr_assert_not(segment_pin(r.kv, e.segment, generation + 1), "another generation is pinned");
    cr_assert_eq(r.kv->segments[e.segment].pins, 0);
    cr_assert(segment_pin(r.kv, e.segment, generation));
    pthread_t thread;
    pthread_create(&thread, NULL, end_segment, &e);
    usleep(50 * 1000);
    cr_assert_not(atomic_load(&e.ended), "the segment was freed under a repair");
    segment_unpin(r.kv, e.segment);
    pthread_join(thread, NULL);
    cr_assert_not(segment_pin(r.kv, e.segment, generation), "the old generation is pinned again");
    crash_close(&r.kv, "at the end");
}

/* Frees the segment between the moment its repair was asked for and the repair. */
Test(medium, i13_a_repair_by_an_old_generation_touches_nothing)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 13);
    model_put(&r.model, r.kv, 0, 5000);
    uint32_t segment = place_segment_of(r.kv, 0);
    script_fill_segment(&r, 20, 20);
    uint64_t off = layout_data_page_off(&r.kv->vol.layout, segment, 0, 0);
    place_flip(r.media, off + 40);
    place_clean(r.kv, segment); /* the live record moves, rebuilt; the page waits for repair */
    while (r.kv->lanes[0].segment != segment && r.kv->segments[segment].generation == 0)
        script_fill_segment(&r, 20, 20); /* taken again */
    model_put(&r.model, r.kv, 1, 5000);
    uint64_t left;
    cr_assert_eq(pmkv_repair(r.kv, &left), PMKV_OK);
    model_compare(&r.model, r.kv, 0, "after the repair");
    crash_now(&r, sim_choose_none, NULL);
    crash_end(&r);
}

/* --- I14 -------------------------------------------------------------------------------------- */

static void no_verdict_while_gone(struct crash_run *r, const char *what)
{
    struct pmkv_health health;
    uint64_t left;
    sim_set_gone(r->media, true);
    for (uint32_t i = 0; i < 20; i++)
        cr_assert_eq(place_get(r->kv, i), PMKV_E_IO, "%s: key %u: %s", what, i,
                     pmkv_status_name(place_get(r->kv, i)));
    cr_assert_eq(pmkv_health(r->kv, &health), PMKV_OK);
    cr_assert_eq(health.state, PMKV_STATE_UNAVAILABLE, "%s: state %d", what, (int)health.state);
    cr_assert_eq(pmkv_put(r->kv, "k", 1, "v", 1), PMKV_E_IO);
    pmkv_scrub_start(r->kv, 0);
    cr_assert_eq(pmkv_repair(r->kv, &left), PMKV_OK);
    sim_set_gone(r->media, false);
    cr_assert_eq(pmkv_repair(r->kv, &left), PMKV_OK);
    cr_assert_eq(pmkv_health(r->kv, &health), PMKV_OK);
    cr_assert_eq(health.records_lost, 0, "%s: lost", what);
    cr_assert_eq(health.pages_retired, 0, "%s: retired", what);
}

Test(medium, i14_a_device_that_is_gone_is_no_damage)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 14);
    for (uint32_t i = 0; i < 20; i++)
        model_put(&r.model, r.kv, i, 500 + i * 300);
    no_verdict_while_gone(&r, "with an open row");
    model_compare(&r.model, r.kv, 0, "back again");
    crash_now(&r, sim_choose_none, NULL);
    no_verdict_while_gone(&r, "with closed rows");
    model_compare(&r.model, r.kv, 0, "back again");
    crash_now(&r, sim_choose_none, NULL);
    crash_end(&r);
}

static void goes_at(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    unsigned *left = arg;
    (void)op, (void)off, (void)bytes;
    if (*left > 0 && --*left == 0)
        sim_set_gone(m, true);
}

/* The device goes in the middle of a scrub that has a page to repair. */
Test(medium, i14_a_device_that_goes_in_the_middle_of_a_repair_is_no_damage)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 14);
    script_fill_segment(&r, 0, 20);
    uint64_t off = layout_data_page_off(&r.kv->vol.layout, place_segment_of(r.kv, 0), 0, 0);
    for (unsigned at = 1; at < 4000; at += at / 8 + 1) {
        struct pmkv_health health;
        unsigned left = at;
        sim_poison(r.media, off, PAGE_BYTES);
        sim_set_access_hook(r.media, goes_at, &left);
        model_key(0, &(size_t){0});
        place_get(r.kv, 0);
        pmkv_scrub_start(r.kv, 0);
        sim_set_access_hook(r.media, NULL, NULL);
        sim_set_gone(r.media, false);
        crash_now(&r, sim_choose_none, NULL);
        cr_assert_eq(pmkv_health(r.kv, &health), PMKV_OK);
        cr_assert_eq(health.pages_retired + health.records_lost, 0, "gone at access %u", at);
    }
    crash_end(&r);
}

/* --- I15 -------------------------------------------------------------------------------------- */

/* Poison in the given copies of the page that the open row reaches next. */
static void poison_ahead(struct crash_run *r, bool own, bool twins, bool clears_fail)
{
    struct row_buf *buf = place_open_row(r->kv);
    uint32_t page = buf->fill / PAGE_PAYLOAD_BYTES + 1;
    sim_set_clears_fail(r->media, clears_fail);
    for (uint32_t copy = own ? 0 : 1; copy < (twins ? row_copies(r->kv) : 1); copy++)
        sim_poison(r->media, row_copy_off(r->kv, buf, copy, page), PAGE_BYTES);
}

static void puts_go_on(enum pmkv_geometry geometry, bool own, bool twins, bool clears_fail)
{
    struct crash_run r;
    crash_begin(&r, geometry, 15);
    model_put(&r.model, r.kv, 0, 100);
    struct row_buf *buf = place_open_row(r.kv);
    poison_ahead(&r, own, twins, clears_fail);
    model_put(&r.model, r.kv, 1, 6000);
    if (!(own && twins))
        cr_assert(place_open_row(r.kv) == buf && buf->fill > 6000, "the put left the row");
    else
        cr_assert(place_open_row(r.kv) != buf, "every copy faulted and the row went on");
    model_compare(&r.model, r.kv, 0, "with poison in the open row");
    if (!clears_fail)
        crash_now(&r, sim_choose_none, NULL);
    script_fill_segment(&r, 0, 20);
    model_compare(&r.model, r.kv, 0, "after the row was closed");
    sim_set_clears_fail(r.media, false);
    crash_now(&r, sim_choose_none, NULL);
    struct pmkv_health health;
    cr_assert_eq(pmkv_health(r.kv, &health), PMKV_OK);
    cr_assert_eq(health.records_lost, 0, "%s, own %d, twins %d, clears fail %d: %llu lost",
                 crash_geometry_name(geometry), own, twins, clears_fail,
                 (unsigned long long)health.records_lost);
    crash_close(&r.kv, "at the end");
}

Test(medium, i15_a_store_that_faults_in_one_copy_is_no_error)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_MIRROR; g++) {
        puts_go_on(g, true, false, false);
        puts_go_on(g, false, true, false);
        puts_go_on(g, true, false, true);
        puts_go_on(g, false, true, true);
    }
}

Test(medium, i15_a_row_whose_every_copy_faults_is_closed)
{
    for (enum pmkv_geometry g = PMKV_PARITY; g <= PMKV_MIRROR; g++) {
        puts_go_on(g, true, true, false);
        if (g != PMKV_MIRROR) /* there both columns of a row would be lost for good */
            puts_go_on(g, true, true, true);
    }
}

/* What faulted while the row was open is good again once it is closed. */
Test(medium, i15_a_faulted_page_is_rebuilt_before_its_row_closes)
{
    struct crash_run r;
    struct row_image image;
    crash_begin(&r, PMKV_PARITY, 15);
    model_put(&r.model, r.kv, 0, 100);
    struct row_ref ref = row_ref_of(r.kv, place_segment_of(r.kv, 0), 0);
    poison_ahead(&r, true, false, false);
    script_fill_segment(&r, 0, 20);
    cr_assert_eq(row_image_init(&image, &r.kv->vol.layout), 0);
    row_load(&r.kv->vol, ref, &image);
    cr_assert_eq(image.bad_pages, 0, "%u pages of the closed row are bad", image.bad_pages);
    row_image_free(&image);
    crash_end(&r);
}

/* --- I16 -------------------------------------------------------------------------------------- */

/* A lost parity page, and a data group that silently changed: parity made from that group as it is
 * would make the change look right. */
Test(medium, i16_parity_is_not_made_from_unverified_data)
{
    struct crash_run r;
    struct row_place place;
    uint64_t left;
    crash_begin(&r, PMKV_PARITY, 16);
    script_fill_segment(&r, 0, 20);
    cr_assert(place_of_key(r.kv, 3, &place));
    const struct layout *l = &r.kv->vol.layout;
    uint64_t value = place_offset(r.kv, place, 0) + place_value_at(3) + 20;
    uint64_t parity = layout_chunk_page_off(l, place.segment, place.row, l->columns - 1, 0);
    place_flip(r.media, value);
    sim_poison(r.media, parity, PAGE_BYTES);
    cr_assert_neq(repair_place(r.kv, parity), REPAIR_LATER);
    cr_assert_eq(pmkv_repair(r.kv, &left), PMKV_OK);
    cr_assert_eq(place_get(r.kv, 3), PMKV_E_LOST, "a changed record is %s",
                 pmkv_status_name(place_get(r.kv, 3)));
    struct row_image image;
    uint32_t group = (uint32_t)(value % PAGE_BYTES / GROUP_BYTES);
    cr_assert_eq(row_image_init(&image, l), 0);
    row_load(&r.kv->vol, row_ref_of(r.kv, place.segment, place.row), &image);
    cr_assert_not(image.info[l->columns - 1].good >> group & 1,
                  "parity of group %u was made from a group that fails its check", group);
    row_image_free(&image);
    /* Another page of the row goes: what is rebuilt by that parity is right, or lost. */
    uint64_t other = layout_data_page_off(l, place.segment, place.row,
                                          (place.offset / PAGE_PAYLOAD_BYTES + 2) % l->row_pages);
    sim_poison(r.media, other, PAGE_BYTES);
    model_compare(&r.model, r.kv, MODEL_LOST_IS_FINE, "with another page lost");
    crash_close(&r.kv, "at the end");
}

/* A row that goes on after a clean close takes up its parity from bytes that were checked. */
Test(medium, i16_a_resumed_row_is_verified_first)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_PARITY, 16);
    for (uint32_t i = 0; i < 6; i++)
        model_put(&r.model, r.kv, i, 1000);
    cr_assert(place_of_key(r.kv, 3, &place));
    uint64_t value = place_offset(r.kv, place, 0) + place_value_at(3) + 20;
    crash_reopen(&r); /* with what the close leaves the change is made: */
    struct media *image = crash_image(r.media, sim_choose_all, NULL);
    crash_close(&r.kv, "the first store");
    r.media = image;
    r.kv = crash_open(image, r.geometry, "again");
    crash_reopen(&r);
    place_flip(r.media, value);
    crash_reopen(&r);
    script_fill_segment(&r, 10, 20);
    model_compare(&r.model, r.kv, 0, "after the row was closed");
    crash_end(&r);
}

/* --- fences ----------------------------------------------------------------------------------- */

Test(medium, a_put_takes_one_fence_and_a_get_none)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 17);
    model_put(&r.model, r.kv, 0, 10); /* takes a segment */
    for (uint32_t i = 0; i < 8; i++) {
        uint64_t before = sim_counters(r.media).drains;
        model_put(&r.model, r.kv, i, 200);
        cr_assert_eq(sim_counters(r.media).drains, before + 1, "put %u", i);
    }
    for (uint32_t i = 0; i < 20; i++) { /* also where a row is closed on the way */
        uint64_t before = sim_counters(r.media).drains;
        model_put(&r.model, r.kv, i, 7000);
        cr_assert_eq(sim_counters(r.media).drains, before + 1, "put %u of 7000 bytes", i);
    }
    uint64_t before = sim_counters(r.media).drains;
    model_delete(&r.model, r.kv, 3);
    model_batch(&r.model, r.kv, 0, 5, 0, 100);
    cr_assert_eq(sim_counters(r.media).drains, before + 2, "a delete and a batch");
    struct sim_counters counters = sim_counters(r.media);
    model_compare(&r.model, r.kv, 0, "reading");
    cr_assert_eq(sim_counters(r.media).drains, counters.drains, "a get fenced");
    cr_assert_eq(sim_counters(r.media).stores, counters.stores, "a get stored");
    crash_end(&r);
}

/* A page of an open row is stored whole when it is repaired: behind the row's records there are
 * zeros, never what the process had in its heap. */
Test(medium, i13_a_repair_of_an_open_row_stores_nothing_of_the_heap)
{
    mallopt(M_PERTURB, 0x5a); /* what is allocated holds garbage */
    struct media *m = crash_format(PMKV_PARITY);
    struct pmkv *kv = crash_open(m, PMKV_PARITY, "heap");
    uint8_t page[PAGE_PAYLOAD_BYTES];
    uint64_t left = 1;
    cr_assert_eq(pmkv_put(kv, "key", 3, "value", 5), PMKV_OK);
    const struct row_buf *buf = NULL;
    for (uint32_t i = 0; i < kv->lane_count && !buf; i++)
        if (kv->lanes[i].segment >= 0)
            buf = &kv->lanes[i].rows[kv->lanes[i].current];
    cr_assert(buf && buf->fill > 0 && buf->fill < sizeof page);
    uint64_t off = layout_data_page_off(&kv->vol.layout, buf->segment, buf->row, 0);
    const uint64_t pages[] = {off, buf->twin_off[0]};
    for (int i = 0; i < 2; i++) {
        sim_poison(m, pages[i], PAGE_BYTES);
        cr_assert_eq(pmkv_scrub_start(kv, 0), PMKV_OK);
        cr_assert(pmkv_repair(kv, &left) == PMKV_OK && left == 0);
        cr_assert(!sim_is_poisoned(m, pages[i]));
        sim_peek(m, pages[i], page, sizeof page);
        for (uint32_t at = buf->fill; at < sizeof page; at++)
            cr_assert_eq(page[at], 0, "copy %d: byte %u is %02x", i, at, page[at]);
    }
    crash_close(&kv, "heap");
}

/* A key that is read wrongly once: its page is being written again while it is read. */
struct upset {
    uint64_t off;
    unsigned left; /* loads of it that are still to be wrong, this one among them */
    bool wrong;
};

static void upset_once(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct upset *u = arg;
    if (op != SIM_LOAD || off > u->off || u->off >= off + bytes)
        return;
    bool wrong = u->left > 0 && u->left-- > 0;
    if (wrong != u->wrong)
        place_flip(m, u->off);
    u->wrong = wrong;
}

/* It is the key's record all the same: a get finds it, and a put gives the key no second one. */
static void a_passing_upset_hides_no_key(uint32_t key_bytes)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 13);
    char key[5000], value[64];
    memset(key, 'k', sizeof key);
    cr_assert_eq(pmkv_put(r.kv, key, key_bytes, "first", 5), PMKV_OK);
    struct row_buf *row = place_open_row(r.kv);
    uint32_t segment = row->segment, at = row->row, last = RECORD_HEADER_BYTES + key_bytes - 1;
    struct upset u = {.off = place_offset(r.kv, (struct row_place){segment, at, last}, 0)};
    sim_set_access_hook(r.media, upset_once, &u);
    for (unsigned wrong = 1; wrong <= 4; wrong++) {
        size_t bytes = 0;
        u.left = wrong;
        cr_assert_eq(pmkv_get(r.kv, key, key_bytes, value, sizeof value, &bytes), PMKV_OK,
                     "%u wrong reads of a key of %u bytes hide it", wrong, key_bytes);
        u.left = 0;
    }
    u.left = 1;
    cr_assert_eq(pmkv_put(r.kv, key, key_bytes, "second", 6), PMKV_OK);
    uint64_t count = 0;
    cr_assert_eq(pmkv_count(r.kv, &count), PMKV_OK);
    cr_assert_eq(count, 1, "a key of %u bytes is there %llu times", key_bytes,
                 (unsigned long long)count);
    sim_set_access_hook(r.media, NULL, NULL);
    crash_close(&r.kv, "at the end");
}

Test(medium, i13_a_passing_upset_hides_no_key)
{
    a_passing_upset_hides_no_key(20);
    a_passing_upset_hides_no_key(3000);
}
