/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A recovery that finds a loss is cut at each of its fences, and the next one finds it again: it is
 * named once, nothing else is, and the key stays lost (P7, P8). And the cleaner's copy of a record
 * whose source has gone bad serves. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>

#include "kv/open.h"
#include "place.h"
#include "script.h"

TestSuite(loss_once, .timeout = 300);

/* --- a recovery cut at each of its fences ----------------------------------------------------- */

struct cut {
    const struct model *model;
    enum pmkv_geometry geometry;
    uint32_t lost_key;
    uint64_t from, end; /* its record */
    unsigned images;
};

struct listed {
    const struct cut *cut;
    unsigned by_name, elsewhere;
};

static int see(void *arg, const struct pmkv_lost *lost)
{
    struct listed *seen = arg;
    const struct cut *c = seen->cut;
    seen->by_name += lost->key != NULL;
    seen->elsewhere += lost->pool_offset + lost->bytes <= c->from || lost->pool_offset >= c->end;
    return 0;
}

static void listed_once(struct pmkv *kv, const struct cut *c, const char *where)
{
    struct listed seen = {.cut = c};
    cr_assert_eq(pmkv_lost_foreach(kv, see, &seen), PMKV_OK);
    cr_assert_eq(seen.by_name, 1, "%s: %u are listed by name", where, seen.by_name);
    cr_assert_eq(seen.elsewhere, 0, "%s: what is good is listed", where);
    cr_assert_eq(place_get(kv, c->lost_key), PMKV_E_LOST, "%s", where);
    for (uint32_t key = 0; key < MODEL_KEYS; key++)
        if (key != c->lost_key && c->model->now[key].version)
            cr_assert_eq(place_get(kv, key), PMKV_OK, "%s: key %u", where, key);
}

static void cut_here(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct cut *c = arg;
    char where[64];
    (void)op, (void)off, (void)bytes;
    for (int all = 0; all < 2; all++) {
        snprintf(where, sizeof where, "image %u", c->images++);
        struct media *image = crash_image(m, all ? sim_choose_all : sim_choose_none, NULL);
        struct pmkv *kv = crash_open(image, c->geometry, where);
        listed_once(kv, c, where);
        crash_close(&kv, where);
    }
}

static void loses_it_once(enum pmkv_geometry geometry)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, geometry, 91);
    for (uint32_t key = 0; key < 6; key++)
        model_put(&r.model, r.kv, key, 900);
    struct cut c = {.model = &r.model, .geometry = geometry, .lost_key = 3};
    cr_assert(place_of_key(r.kv, c.lost_key, &place));
    c.from = place_offset(r.kv, place, 0);
    c.end = c.from + place_value_at(c.lost_key) + 900;
    place.offset += place_value_at(c.lost_key) + 5;
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    for (uint32_t copy = 0; copy < row_copies(r.kv); copy++)
        place_flip(image, place_offset(r.kv, place, copy));
    sim_set_drain_hook(image, cut_here, &c);
    struct pmkv *kv = crash_open(image, geometry, "the first recovery");
    sim_set_drain_hook(image, NULL, NULL);
    listed_once(kv, &c, "not cut");
    cr_assert_gt(c.images, 4, "%u images", c.images);
    crash_close(&kv, "at the end");
    crash_close(&r.kv, "at the end");
}

Test(loss_once, with_redundancy)
{
    loses_it_once(PMKV_PARITY);
}

Test(loss_once, without_redundancy)
{
    loses_it_once(PMKV_NONE);
}

/* --- a recovery whose fences fail ------------------------------------------------------------- */

struct failing {
    unsigned left;
    struct media *there; /* what is on the medium then */
};

static void fail_here(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct failing *f = arg;
    (void)off, (void)bytes;
    if (op != SIM_DRAIN || f->left == 0 || --f->left > 0)
        return;
    f->there = crash_image(m, sim_choose_none, NULL);
    sim_set_drain_error(m, -EIO);
}

/* Each fence in turn, and all after it: the open is an error, or the store knows; and the next one
 * finds everything. */
Test(loss_once, a_recovery_whose_fences_fail_loses_nothing)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 93);
    script_fill_segment(&r, 0, 20);
    for (uint32_t key = 0; key < 6; key++)
        model_put(&r.model, r.kv, key, 900);
    unsigned refused = 0, fences = 0;
    for (bool reached = true; reached; fences++) {
        struct failing f = {.left = fences + 1};
        struct media *image = crash_image(r.media, sim_choose_none, NULL);
        struct pmkv_options o = crash_options(PMKV_PARITY);
        struct pmkv *kv = NULL;
        sim_set_drain_hook(image, fail_here, &f);
        enum pmkv_status s = store_open(image, &o, &kv);
        reached = f.there != NULL;
        cr_assert_eq(s == PMKV_OK, kv != NULL);
        cr_assert(s == PMKV_OK || s == PMKV_E_IO, "fence %u: %s", fences, pmkv_status_name(s));
        refused += s != PMKV_OK;
        if (kv)
            model_compare(&r.model, kv, 0, "opened all the same");
        pmkv_close(&kv);
        if (!reached) {
            media_close(&f.there); /* of a fence of the close */
            break;
        }
        kv = crash_open(f.there, PMKV_PARITY, "the next");
        model_compare(&r.model, kv, 0, "the next");
        crash_nothing_lost(kv, "the next");
        crash_close(&kv, "the next");
    }
    cr_assert_gt(refused, 3, "%u of %u fences", refused, fences);
    crash_close(&r.kv, "at the end");
}

/* --- two copies of one record ----------------------------------------------------------------- */

struct moving {
    uint64_t source; /* page of the record that is moved */
    uint32_t key;
    bool beside[MODEL_KEYS]; /* keys with a part of them in that page */
    unsigned images, readable;
};

/* Power is lost while the record is moved, and its source goes bad. Where the copy is durable it
 * serves; before that the record is lost, and said to be: as a range while no summary names it. */
static void lose_source(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct moving *v = arg;
    (void)op, (void)off, (void)bytes;
    struct media *image = crash_image(m, sim_choose_none, NULL);
    sim_poison(image, v->source, PAGE_BYTES);
    struct pmkv *kv = crash_open(image, PMKV_NONE, "while it is moved");
    enum pmkv_status s = place_get(kv, v->key);
    bool by_range = s == PMKV_E_NOT_FOUND && crash_lost_count(kv) > 0;
    cr_assert(s == PMKV_OK || s == PMKV_E_LOST || by_range, "%s", pmkv_status_name(s));
    for (uint32_t key = 40; key < 46; key++)
        if (!v->beside[key])
            cr_assert_eq(place_get(kv, key), PMKV_OK, "key %u", key);
    v->images++;
    v->readable += s == PMKV_OK;
    crash_close(&kv, "while it is moved");
}

Test(loss_once, the_cleaners_copy_serves_when_its_source_is_bad)
{
    struct crash_run r;
    struct row_place place;
    struct moving v = {.key = 42};
    crash_begin(&r, PMKV_NONE, 92);
    for (uint32_t key = 40; key < 46; key++)
        model_put(&r.model, r.kv, key, 3000);
    script_fill_segment(&r, 0, 3);
    cr_assert(place_of_key(r.kv, v.key, &place));
    v.source = place_offset(r.kv, place, 0) / PAGE_BYTES * PAGE_BYTES;
    for (uint32_t key = 40; key < 46; key++) {
        struct row_place other;
        cr_assert(place_of_key(r.kv, key, &other));
        uint64_t from = place_offset(r.kv, other, 0);
        other.offset += place_value_at(key) + 2999;
        v.beside[key] = from < v.source + PAGE_BYTES && place_offset(r.kv, other, 0) >= v.source;
    }
    sim_set_drain_hook(r.media, lose_source, &v);
    place_clean(r.kv, place.segment);
    sim_set_drain_hook(r.media, NULL, NULL);
    cr_assert_gt(v.images, 4);
    cr_assert_gt(v.readable, 0, "the copy never served, in %u images", v.images);
    crash_close(&r.kv, "at the end");
}
