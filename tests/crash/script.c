/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "script.h"

#include <criterion/criterion.h>
#include <stdlib.h>

#include "kv/clean.h"
#include "kv/meta.h"
#include "support/environment.h"

void script_small(struct crash_run *r)
{
    r->what = "small puts";
    for (uint32_t i = 0; i < 12; i++)
        model_put(&r->model, r->kv, i, (uint32_t)test_rng_size(&r->rng, 0, 600));
    r->what = "overwrites and deletes";
    for (uint32_t i = 0; i < 12; i += 2) {
        model_put(&r->model, r->kv, i, (uint32_t)test_rng_size(&r->rng, 0, 3000));
        model_delete(&r->model, r->kv, i + 1);
    }
    r->what = "puts after deletes";
    for (uint32_t i = 1; i < 12; i += 4)
        model_put(&r->model, r->kv, i, 100);
}

void script_batches(struct crash_run *r)
{
    r->what = "a batch within a row";
    model_batch(&r->model, r->kv, 0, 6, 0, 40);
    model_batch(&r->model, r->kv, 3, 4, 2, 700);
    r->what = "a batch over several rows";
    model_batch(&r->model, r->kv, 0, 20, 4, 6000);
    r->what = "batches after it";
    model_batch(&r->model, r->kv, 10, 3, 10, 50);
    model_put(&r->model, r->kv, 12, 20);
    model_batch(&r->model, r->kv, 5, 30, 0, 3000);
}

void script_long_values(struct crash_run *r)
{
    r->what = "long values";
    model_put(&r->model, r->kv, 0, 30000);
    model_put(&r->model, r->kv, 1, 9000);
    model_put(&r->model, r->kv, 2, 150000);
    r->what = "long values replaced";
    model_put(&r->model, r->kv, 2, 10);
    model_put(&r->model, r->kv, 1, 40000);
    model_delete(&r->model, r->kv, 0);
    r->what = "long values in a batch";
    model_batch(&r->model, r->kv, 3, 3, 1, 12000);
}

void script_conditional(struct crash_run *r)
{
    r->what = "keys created on the condition that they are not there";
    for (uint32_t i = 0; i < 4; i++)
        model_put_if(&r->model, r->kv, i, (uint32_t)test_rng_size(&r->rng, 0, 600));
    model_put_if(&r->model, r->kv, 4, 20000);
    r->what = "replaced on their versions";
    model_put_if(&r->model, r->kv, 4, 12000);
    model_put_if(&r->model, r->kv, 0, 3000);
    r->what = "deleted on their versions, and created again";
    model_delete_if(&r->model, r->kv, 4);
    model_delete_if(&r->model, r->kv, 0);
    model_put_if(&r->model, r->kv, 0, 40);
    r->what = "on versions that a batch has given";
    model_batch(&r->model, r->kv, 0, 3, 1, 100);
    model_put_if(&r->model, r->kv, 1, 100);
    model_put_if(&r->model, r->kv, 3, 100);
}

void script_fill_segment(struct crash_run *r, uint32_t first_key, uint32_t keys)
{
    uint32_t segment = r->kv->lanes[0].segment < 0 ? UINT32_MAX : (uint32_t)r->kv->lanes[0].segment;
    for (uint32_t i = 0;
         r->kv->lanes[0].segment < 0 || segment == UINT32_MAX || r->kv->lanes[0].segment == segment;
         i++) {
        model_put(&r->model, r->kv, first_key + i % keys, 3000 + i % 7 * 500);
        if (segment == UINT32_MAX)
            segment = (uint32_t)r->kv->lanes[0].segment;
    }
}

void script_rows(struct crash_run *r)
{
    r->what = "rows fill up";
    script_fill_segment(r, 0, 40);
    r->what = "a segment is sealed";
    seal_waiting(r->kv);
    r->what = "after it";
    model_put(&r->model, r->kv, 3, 10);
    model_delete(&r->model, r->kv, 4);
}

void script_cleaning(struct crash_run *r)
{
    bool armed = r->armed;
    crash_watch(r, false);
    for (uint32_t i = 40; i < 46; i++)
        model_put(&r->model, r->kv, i, 200);
    model_batch(&r->model, r->kv, 30, 5, 0, 500);
    model_put(&r->model, r->kv, 46, 20000);
    for (uint32_t i = 0; i < 10; i++) {
        script_fill_segment(r, 0, 24);
        model_delete(&r->model, r->kv, i);
    }
    crash_remember(r);
    crash_watch(r, armed);
    r->what = "cleaning";
    for (uint32_t i = 0; i < 3; i++) {
        script_fill_segment(r, 0, 20);
        clean_round(r->kv);
    }
    struct pmkv_stats stats;
    cr_assert_eq(pmkv_stats(r->kv, &stats), PMKV_OK);
    cr_assert_gt(stats.segments_cleaned, 0, "the script cleaned nothing");
}

void script_reopen(struct crash_run *r)
{
    r->what = "an open row is closed cleanly";
    for (uint32_t i = 0; i < 6; i++)
        model_put(&r->model, r->kv, i, 50 + i * 700);
    crash_reopen(r);
    r->what = "a resumed row";
    for (uint32_t i = 3; i < 9; i++)
        model_put(&r->model, r->kv, i, 3000);
    crash_reopen(r);
    crash_reopen(r);
    r->what = "a row resumed twice";
    for (uint32_t i = 0; i < 8; i++)
        model_put(&r->model, r->kv, i, 6000);
    model_batch(&r->model, r->kv, 0, 9, 2, 100);
    crash_reopen(r);
}

static void heal_one(struct crash_run *r, uint64_t off)
{
    uint64_t left;
    sim_poison(r->media, off, PAGE_BYTES);
    model_compare(&r->model, r->kv, 0, "with poison");
    cr_assert_eq(pmkv_scrub_start(r->kv, 0), PMKV_OK);
    cr_assert_eq(pmkv_repair(r->kv, &left), PMKV_OK);
    cr_assert_eq(left, 0);
    cr_assert(!sim_is_poisoned(r->media, off), "0x%llx is still poisoned", (unsigned long long)off);
}

void script_repair(struct crash_run *r)
{
    bool armed = r->armed;
    const struct layout *l = &r->kv->vol.layout;
    crash_watch(r, false);
    script_fill_segment(r, 0, 40);
    model_put(&r->model, r->kv, 5, 100);
    crash_watch(r, armed);
    sim_set_clear_leaves(r->media, SIM_CLEAR_GARBAGE);
    uint32_t open = (uint32_t)r->kv->lanes[0].segment;
    uint32_t full = 0;
    while (!kind_is_log(r->kv->segments[full].kind) || full == open)
        full++;
    r->what = "repair of a closed row";
    heal_one(r, layout_data_page_off(l, full, 2, 3));
    r->what = "repair of parity";
    heal_one(r, layout_chunk_page_off(l, full, 1, l->columns - 1, 0));
    r->what = "repair of an open row";
    heal_one(r, layout_data_page_off(l, open, 0, 0));
    if (r->kv->lanes[0].rows[r->kv->lanes[0].current].twin_off[0]) {
        r->what = "repair of a twin";
        heal_one(r, r->kv->lanes[0].rows[r->kv->lanes[0].current].twin_off[0]);
    }
    r->what = "repair of a header";
    heal_one(r, layout_slice_off(l, full, l->columns - 1));
    r->what = "repair of a superblock copy";
    heal_one(r, l->superblock_off[1]);
    r->what = "repair of the table";
    heal_one(r, l->table_off[0]);
    model_put(&r->model, r->kv, 7, 100);
}

void crash_script_run(enum pmkv_geometry geometry, const struct crash_plan *plan)
{
    struct crash_run r;
    crash_begin(&r, geometry, plan->seed + 1000 * test_from_environment("PMKV_CRASH_SEED", 0));
    r.every = plan->every * test_from_environment("PMKV_CRASH_EVERY", 1);
    r.per_instant = plan->per_instant + test_from_environment("PMKV_CRASH_MORE", 0);
    r.again_one_in = plan->again_one_in;
    r.thorough_one_in = plan->thorough_one_in;
    r.fault = plan->fault;
    crash_watch(&r, true);
    plan->script(&r);
    crash_watch(&r, false);
    cr_assert_gt(r.images, 0, "no image was made");
    r.fault = FAULT_NONE;
    crash_end(&r);
}
