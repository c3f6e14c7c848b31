/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Opening, making and closing a pool, while any one call fails. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "fail_kit.h"

TestSuite(fail_open, .timeout = 900);

struct case_open {
    enum kit_backend backend;
    enum pmkv_geometry geometry;
    enum kit_state state;
    const char *name;
};

static void open_one(const struct case_open *c, bool read_only, bool background)
{
    struct kit_pool pool;
    char title[64];
    kit_pool_make(&pool, c->backend, c->geometry, c->state);
    snprintf(title, sizeof title, "open %s%s%s", c->name, read_only ? ", read-only" : "",
             background ? ", threads" : "");
    struct trial t = {.name = title,
                      .classes = FAULTS_ALL,
                      .pool = &pool,
                      .options = kit_options(&pool),
                      .opens = true};
    t.options.read_only = read_only;
    t.options.no_background = !background;
    kit_every_failure(&t);
    kit_pool_free(&pool);
}

Test(fail_open, a_clean_pool)
{
    open_one(&(struct case_open){ON_MEMORY, PMKV_PARITY, CLEAN, "clean on memory"}, false, false);
    open_one(&(struct case_open){ON_DISK, PMKV_MIRROR, CLEAN, "clean on disk"}, false, false);
}

Test(fail_open, a_clean_pool_with_threads)
{
    open_one(&(struct case_open){ON_MEMORY, PMKV_PARITY, CLEAN, "clean on memory"}, false, true);
}

Test(fail_open, after_a_crash)
{
    open_one(&(struct case_open){ON_MEMORY, PMKV_PARITY, CRASHED, "crashed on memory"}, false,
             false);
    open_one(&(struct case_open){ON_DISK, PMKV_MIRROR, CRASHED, "crashed on disk"}, false, false);
}

Test(fail_open, a_damaged_pool)
{
    open_one(&(struct case_open){ON_MEMORY, PMKV_DOUBLE, DAMAGED, "damaged on memory"}, false,
             false);
    open_one(&(struct case_open){ON_DISK, PMKV_PARITY, DAMAGED, "damaged on disk"}, false, false);
}

Test(fail_open, a_damaged_pool_after_a_crash)
{
    open_one(&(struct case_open){ON_MEMORY, PMKV_PARITY, CRASHED_DAMAGED, "both on memory"}, false,
             false);
    open_one(&(struct case_open){ON_DISK, PMKV_PARITY, CRASHED_DAMAGED, "both on disk"}, false,
             false);
}

Test(fail_open, beyond_the_redundancy)
{
    open_one(&(struct case_open){ON_MEMORY, PMKV_NONE, DAMAGED, "losses on memory"}, false, false);
    open_one(&(struct case_open){ON_DISK, PMKV_NONE, CRASHED_DAMAGED, "losses on disk"}, false,
             false);
}

Test(fail_open, with_a_list_of_losses)
{
    struct kit_pool pool;
    kit_pool_make(&pool, ON_MEMORY, PMKV_NONE, DAMAGED);
    kit_pool_note_losses(&pool);
    struct trial t = {.name = "open with a list of losses",
                      .classes = FAULTS_ALL,
                      .pool = &pool,
                      .options = kit_options(&pool),
                      .opens = true};
    kit_every_failure(&t);
    kit_pool_free(&pool);
}

Test(fail_open, for_reading)
{
    open_one(&(struct case_open){ON_MEMORY, PMKV_PARITY, CRASHED_DAMAGED, "both on memory"}, true,
             false);
    open_one(&(struct case_open){ON_DISK, PMKV_MIRROR, CLEAN, "clean on disk"}, true, false);
}

/* --- closing ---------------------------------------------------------------------------------- */

static void close_one(const struct case_open *c)
{
    struct kit_pool pool;
    char title[64];
    kit_pool_make(&pool, c->backend, c->geometry, c->state);
    snprintf(title, sizeof title, "close %s", c->name);
    pool.contents.version[1] = 5; /* put before it */
    struct trial t = {.name = title,
                      .classes = FAULTS_ALL,
                      .pool = &pool,
                      .options = kit_options(&pool),
                      .closes = true};
    kit_every_failure(&t);
    kit_pool_free(&pool);
}

Test(fail_open, a_close)
{
    close_one(&(struct case_open){ON_MEMORY, PMKV_PARITY, CLEAN, "on memory"});
    close_one(&(struct case_open){ON_DISK, PMKV_PARITY, CLEAN, "on disk"});
    close_one(&(struct case_open){ON_DISK, PMKV_MIRROR, DAMAGED, "damaged on disk"});
}

/* --- making ----------------------------------------------------------------------------------- */

/* A pool that is not made leaves no file; but one that somebody else has locked is theirs. */
static void make(void *arg)
{
    const struct kit_pool *pool = arg;
    struct pmkv_options options = kit_options(pool);
    struct pmkv *kv = NULL;
    unlink(pool->path);
    struct kit_left left = kit_left(pool->path);
    kit_forget_message();
    faults_arm();
    enum pmkv_status s = pmkv_create(pool->path, &options);
    faults_disarm();
    kit_judge_message(s);
    kit_judge_left(&left, pool->path);
    kit_that(!faults_report().transient || s == PMKV_OK, "%s: %s", pmkv_status_name(s),
             pmkv_errormsg());
    if (s != PMKV_OK) {
        kit_that(s == PMKV_E_BUSY || access(pool->path, F_OK) != 0, "%s: a file is left behind",
                 pmkv_status_name(s));
        return;
    }
    s = pmkv_open(pool->path, &options, &kv);
    if (!kit_that(s == PMKV_OK, "open: %s: %s", pmkv_status_name(s), pmkv_errormsg()))
        return;
    kit_that(kit_put(kv, 1, 1) == PMKV_OK, "put: %s", pmkv_errormsg());
    kit_that(pmkv_close(&kv) == PMKV_OK, "close: %s", pmkv_errormsg());
}

static void every_failure_on(enum kit_backend backend, enum pmkv_geometry geometry,
                             const char *name, void (*work)(void *pool))
{
    struct kit_pool pool;
    kit_pool_make(&pool, backend, geometry, CLEAN);
    kit_every_failure_of(name, FAULTS_ALL, work, &pool);
    kit_pool_free(&pool);
}

Test(fail_open, a_create)
{
    every_failure_on(ON_MEMORY, PMKV_PARITY, "create on memory", make);
    every_failure_on(ON_DISK, PMKV_NONE, "create on disk", make);
}

static void probe(void *arg)
{
    const struct kit_pool *pool = arg;
    struct pmkv_probe facts = {0};
    struct kit_left left = kit_left(pool->path);
    kit_forget_message();
    faults_arm();
    enum pmkv_status s = pmkv_probe(pool->path, &facts);
    faults_disarm();
    kit_judge_message(s);
    kit_judge_left(&left, pool->path);
    enum pmkv_backend right = pool->backend == ON_DISK ? PMKV_BACKEND_FILE : PMKV_BACKEND_SHM;
    kit_that(s != PMKV_OK || facts.backend == right, "backend %s",
             pmkv_backend_name(facts.backend));
}

Test(fail_open, a_probe)
{
    every_failure_on(ON_MEMORY, PMKV_PARITY, "probe on memory", probe);
    every_failure_on(ON_DISK, PMKV_PARITY, "probe on disk", probe);
}
