/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Media that lose many pages at a time, as device-dax does: several segments share an array, and no
 * loss unit may hold both a row's column and a twin of it. Any one unit goes (P5). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>

#include "crash_run.h"
#include "kv/open.h"

TestSuite(wide_units, .timeout = 300);

enum { UNIT = 256 << 10, UNITS = 96, KEYS = 300, VALUE_BYTES = 4000 };

static struct pmkv *open_pool(struct media *m, const char *where)
{
    struct pmkv *kv = NULL;
    struct pmkv_options o = crash_options(PMKV_PARITY);
    enum pmkv_status s = store_open(m, &o, &kv);
    cr_assert_eq(s, PMKV_OK, "%s: %s: %s", where, pmkv_status_name(s), pmkv_errormsg());
    return kv;
}

static struct pmkv *filled_pool(struct media **m, struct model *model)
{
    struct pmkv_options o = crash_options(PMKV_PARITY);
    cr_assert_eq(sim_new((uint64_t)UNITS * UNIT, UNIT, m), 0);
    cr_assert_eq(store_format(*m, &o), PMKV_OK, "%s", pmkv_errormsg());
    struct pmkv *kv = open_pool(*m, "new");
    cr_assert_gt(kv->vol.layout.segments_per_array, 1);
    cr_assert_gt(kv->vol.layout.arrays, 2);
    for (uint32_t round = 0; round < 10; round++) /* into several arrays; the last row stays open */
        for (uint32_t key = 0; key < MODEL_KEYS; key++)
            model_put(model, kv, key, VALUE_BYTES + key);
    return kv;
}

Test(wide_units, any_one_may_go_while_the_store_runs)
{
    struct media *m;
    static struct model model;
    struct pmkv *kv = filled_pool(&m, &model);
    for (unsigned unit = 0; unit < UNITS; unit++) {
        char where[32];
        snprintf(where, sizeof where, "unit %u", unit);
        sim_poison(m, (uint64_t)unit * UNIT, UNIT);
        model_compare(&model, kv, 0, where);
        model_put(&model, kv, unit % MODEL_KEYS, VALUE_BYTES);
        crash_heal(kv, where);
        model_compare(&model, kv, 0, where);
    }
    crash_nothing_lost(kv, "at the end");
    crash_close(&kv, "at the end");
}

/* The power goes with rows open, and takes a unit with it. */
Test(wide_units, any_one_may_go_with_the_power)
{
    struct media *m, *left;
    static struct model model;
    struct pmkv *kv = filled_pool(&m, &model);
    for (unsigned unit = 0; unit < UNITS; unit++) {
        char where[32];
        snprintf(where, sizeof where, "unit %u", unit);
        cr_assert_eq(sim_crash_image(m, sim_choose_none, NULL, &left), 0);
        sim_poison(left, (uint64_t)unit * UNIT, UNIT);
        struct pmkv *recovered = open_pool(left, where);
        model_compare(&model, recovered, 0, where);
        crash_nothing_lost(recovered, where);
        crash_heal(recovered, where);
        crash_close(&recovered, where);
    }
    crash_close(&kv, "at the end");
}

/* Its pages are retired, which takes no proof that others can be cleared: they are one with it. */
static void cannot_be_cleared(struct media *m, struct pmkv *kv, const struct model *model)
{
    uint64_t left = 0;
    uint64_t off = layout_data_page_off(&kv->vol.layout, (uint32_t)kv->lanes[0].segment, 0, 0);
    sim_poison(m, off, PAGE_BYTES);
    sim_set_clears_fail(m, true);
    model_compare(model, kv, 0, "before the repair");
    cr_assert_eq(pmkv_repair(kv, &left), PMKV_OK, "%s", pmkv_errormsg());
    sim_set_clears_fail(m, false);
    model_compare(model, kv, 0, "after it");
    crash_nothing_lost(kv, "after it");
    crash_close(&kv, "at the end");
}

Test(wide_units, one_that_cannot_be_cleared_loses_nothing)
{
    struct media *m;
    static struct model model;
    struct pmkv *kv = filled_pool(&m, &model);
    cannot_be_cleared(m, kv, &model);
}

/* The pool was made for single pages, and was moved to such a medium. */
Test(wide_units, nor_does_one_of_a_medium_that_is_coarser_than_the_pool)
{
    struct crash_run r;
    struct media *m;
    crash_begin(&r, PMKV_NONE, 5);
    uint64_t bytes = crash_pool_bytes(PMKV_NONE);
    uint8_t *pool = malloc(bytes);
    cr_assert_not_null(pool);
    for (uint32_t key = 0; key < 10; key++)
        model_put(&r.model, r.kv, key, 3000);
    sim_peek_durable(r.media, 0, pool, bytes);
    crash_close(&r.kv, "the first medium");
    cr_assert_eq(sim_from_image(pool, bytes, 2 * PAGE_BYTES, &m), 0);
    free(pool);
    struct pmkv *kv = crash_open(m, PMKV_NONE, "the second one");
    cr_assert(kv->loss_unit_coarser);
    model_put(&r.model, kv, 0, 3000);
    cannot_be_cleared(m, kv, &r.model);
}
