/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Repair, scrub, cleaning, growth and injection, while any one call fails. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "fail_kit.h"

TestSuite(fail_heal, .timeout = 900);

static const struct kit_pool *pool_now;

static void one_pool(const char *name, enum kit_backend backend, enum pmkv_geometry geometry,
                     enum kit_state state, const struct trial *trial)
{
    struct kit_pool pool;
    char title[64];
    kit_pool_make(&pool, backend, geometry, state);
    pool_now = &pool;
    snprintf(title, sizeof title, "%s on %s", name, backend == ON_DISK ? "disk" : "memory");
    struct trial t = *trial;
    t.name = title;
    t.pool = &pool;
    t.options = kit_options(&pool);
    t.options.allow_inject = true;
    kit_every_failure(&t);
    kit_pool_free(&pool);
}

static enum pmkv_status repair(struct pmkv *kv)
{
    uint64_t left = 0;
    return pmkv_repair(kv, &left);
}

Test(fail_heal, a_repair)
{
    struct trial t = {.classes = FAULTS_ALL, .run = repair};
    one_pool("repair", ON_MEMORY, PMKV_PARITY, DAMAGED, &t);
    one_pool("repair", ON_DISK, PMKV_MIRROR, DAMAGED, &t);
}

static enum pmkv_status scrub(struct pmkv *kv)
{
    enum pmkv_status s = pmkv_scrub_start(kv, 0);
    if (s == PMKV_OK)
        s = pmkv_scrub_wait(kv, NULL, NULL);
    return s;
}

Test(fail_heal, a_scrub)
{
    struct trial t = {.classes = FAULTS_ALL, .run = scrub};
    one_pool("scrub", ON_MEMORY, PMKV_PARITY, CRASHED_DAMAGED, &t);
    one_pool("scrub", ON_DISK, PMKV_PARITY, DAMAGED, &t);
    one_pool("scrub of losses", ON_MEMORY, PMKV_NONE, DAMAGED, &t);
}

/* One key again and again: rows fill, segments are sealed and cleaned. */
static int fills_done;
static enum pmkv_status overwrite(struct pmkv *kv)
{
    enum pmkv_status s = PMKV_OK;
    fills_done = 0;
    for (int i = 0; i < 300 && s == PMKV_OK; i++) {
        s = kit_put(kv, LARGE_KEY, 1 + i % 100);
        fills_done += s == PMKV_OK;
    }
    return s;
}
static void after_overwrite(struct contents *contents)
{
    if (fills_done > 0)
        contents->version[LARGE_KEY] = 1 + (fills_done - 1) % 100;
}

Test(fail_heal, cleaning_without_memory)
{
    struct trial t = {
        .classes = FAULTS_MEMORY, .run = overwrite, .apply = after_overwrite, .steps = true};
    one_pool("overwrite", ON_MEMORY, PMKV_PARITY, CLEAN, &t);
}

static enum pmkv_status pack(struct pmkv *kv)
{
    return pmkv_pack(kv, NULL, NULL);
}

Test(fail_heal, a_pack)
{
    struct trial t = {.classes = FAULTS_ALL, .run = pack};
    one_pool("pack", ON_MEMORY, PMKV_PARITY, CRASHED, &t);
    one_pool("pack", ON_DISK, PMKV_MIRROR, CRASHED, &t);
}

static enum pmkv_status inject(struct pmkv *kv)
{
    struct pmkv_inject spec = {.size = sizeof spec,
                               .kind = PMKV_INJECT_POISON,
                               .target = PMKV_INJECT_AT_KEY,
                               .unit_bytes = 4096,
                               .key = "key1",
                               .key_bytes = 4,
                               .count = 1,
                               .clear_fails = false};
    enum pmkv_status s = pmkv_inject(kv, &spec, NULL);
    spec.kind = PMKV_INJECT_GARBAGE;
    spec.key = "key2";
    spec.unit_bytes = 64;
    if (s == PMKV_OK)
        s = pmkv_inject(kv, &spec, NULL);
    return s;
}

Test(fail_heal, an_injection)
{
    struct trial t = {.classes = FAULTS_ALL, .run = inject};
    one_pool("inject", ON_MEMORY, PMKV_DOUBLE, CLEAN, &t);
    one_pool("inject", ON_DISK, PMKV_DOUBLE, CLEAN, &t);
}
