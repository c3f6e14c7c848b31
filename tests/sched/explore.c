/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "explore.h"

#include <criterion/criterion.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "door.h"
#include "kv/defer.h"
#include "kv/lane.h"
#include "kv/open.h"
#include "kv/space.h"
#include "sched.h"
#include "support/environment.h"

enum {
    POOL_BYTES = 12 << 20, /* 32 segments and some: two lanes */
    IMAGES_ONE_IN = 4,     /* runs of which images are taken */
    REOPEN_ONE_IN = 16,
};

static struct {
    struct world world;
    struct media *base; /* the pool before each run, closed cleanly */
    struct map initial;
    uint32_t initial_version, fillers;
    struct sched_plan plan;
    uint32_t number, instants; /* runs so far; instants of the last */
    uint64_t points, images, by_changes[SCHED_CHANGES + 1];
    uint64_t seed;
    char where[200];
} all;

/* --- judging ---------------------------------------------------------------------------------- */

static void judge(const struct history *h, const char *what)
{
    static char text[6000];
    if (history_holds(h))
        return;
    history_print(h, text, sizeof text);
    cr_assert_fail("%s: %s: no order of the operations explains it:%s", all.where, what, text);
}

static uint64_t read_all(struct world *w)
{
    uint64_t there = 0;
    for (uint32_t key = 0; key < w->script->keys; key++) {
        do_get(w, key);
        there += w->h.ops[w->h.count - 1].version != 0;
    }
    return there;
}

/* I5, I13, and sums: when nobody is in the store. */
static void judge_counts(struct world *w, uint64_t there)
{
    struct pmkv *kv = w->kv;
    int64_t live = 0;
    uint64_t count;
    cr_assert(defer_settle_all(kv), "%s: a deferral can't be settled", all.where);
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        struct segment *s = &kv->segments[i];
        live += s->live_units;
        cr_assert_eq(s->pins, 0, "%s: segment %u is pinned by nobody", all.where, i);
        if (kind_is_log(s->kind))
            cr_assert_eq(s->added, s->published, "%s: segment %u: %u records stored, %u published",
                         all.where, i, s->added, s->published);
    }
    int64_t said = space_live_units(kv);
    cr_assert_eq(live, said, "%s: segments hold %lld live units, the store says %lld", all.where,
                 (long long)live, (long long)said);
    for (uint32_t i = 0; i < PUBLISHING_SLOTS; i++)
        cr_assert_eq(kv->publishing[i][0], 0, "%s: a batch is still being published", all.where);
    cr_assert_eq(pmkv_count(kv, &count), PMKV_OK);
    cr_assert_eq(count, there + w->fillers, "%s: %llu keys are counted, %llu are there", all.where,
                 (unsigned long long)count, (unsigned long long)there + w->fillers);
}

/* What is left of a run when the store is closed: taken at its last drain. */
static void keep_last(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct media **last = arg;
    (void)op, (void)off, (void)bytes;
    media_close(last);
    *last = crash_image(m, sim_choose_all, NULL);
}

static void reopen(struct world *w)
{
    struct media *last = NULL;
    sim_set_drain_hook(w->media, keep_last, &last);
    world_close(w);
    w->media = last;
    world_open(w);
    judge_counts(w, read_all(w));
    judge(&w->h, "after a clean close");
    if (all.number % REOPEN_ONE_IN == 1)
        crash_heal(w->kv, all.where);
}

/* --- crashes ---------------------------------------------------------------------------------- */

void world_image(struct world *w, bool none)
{
    struct media *m = w->media;
    struct crash_choice c =
        crash_make_choice(&w->rng, (unsigned)test_rng_below(&w->rng, 12), sim_pending_count(m));
    if (w->image_count == WORLD_IMAGES)
        return;
    bool points = sched_has_points(); /* history and medium are of one instant */
    sched_quiet(true);
    w->images[w->image_count].at = w->instants;
    w->images[w->image_count].h = w->h;
    w->images[w->image_count++].media = crash_image(m, none ? sim_choose_none : crash_choose, &c);
    sched_quiet(!points);
}

static void instant(void *arg, struct media *m)
{
    struct world *w = arg;
    (void)m;
    w->instants++;
    for (uint32_t i = 0; i < WORLD_INSTANTS; i++)
        if (w->image_at[i] == w->instants)
            world_image(w, false);
}

/* I1: after a crash records of equal size are put where the lost ones may have been, and the power
 * goes again. */
static void crash_again(struct world *w)
{
    for (uint32_t key = 0; key < 2 && key < w->script->keys; key++)
        do_put(w, key, 500);
    struct crash_choice c = crash_make_choice(&w->rng, (unsigned)test_rng_below(&w->rng, 12),
                                              sim_pending_count(w->media));
    struct media *second = crash_image(w->media, crash_choose, &c);
    crash_close(&w->kv, all.where);
    w->media = second;
    world_open(w);
    crash_nothing_lost(w->kv, all.where);
    read_all(w);
    judge(&w->h, "after a second crash");
}

static void recover_image(const struct world *of, uint32_t number)
{
    static struct world w; /* histories are large */
    w = *of;
    w.media = of->images[number].media;
    w.h = of->images[number].h;
    w.kv = NULL;
    size_t used = strlen(all.where);
    snprintf(all.where + used, sizeof all.where - used, ", the power gone at instant %u",
             of->images[number].at);
    world_open(&w);
    crash_nothing_lost(w.kv, all.where);
    read_all(&w);
    judge(&w.h, "after a crash");
    if (all.images++ % 4 == 0)
        crash_again(&w);
    world_close(&w);
    all.where[used] = 0;
}

static void choose_instants(struct world *w)
{
    w->with_images = all.number % (w->script->pairs ? 8 * IMAGES_ONE_IN : IMAGES_ONE_IN) == 0;
    for (uint32_t i = 0; i < WORLD_INSTANTS && w->with_images; i++)
        w->image_at[i] = 1 + (uint32_t)test_rng_below(&w->rng, all.instants + 1);
}

/* --- a run ------------------------------------------------------------------------------------ */

static void body(void *arg, unsigned thread)
{
    struct world *w = arg;
    w->script->body(w, thread);
}

static void begin_run(struct world *w, const struct sched_script *script)
{
    *w = (struct world){.script = script,
                        .last_version = all.initial_version,
                        .fillers = all.fillers,
                        .rng = test_rng_make(all.seed, all.number)};
    script->names(w);
    choose_instants(w);
    w->media = crash_image(all.base, sim_choose_none, NULL);
    w->h.initial = all.initial;
    if (!script->background)
        world_open(w);
    if (script->arrange)
        script->arrange(w);
    door_open(w->media, instant, w);
}

/* Returns the number of its points. */
static uint32_t run_plan(const struct sched_script *script, const struct sched_plan *plan)
{
    struct world *w = &all.world;
    struct sched_outcome outcome;
    char text[64];
    all.plan = *plan;
    sched_plan_print(plan, text, sizeof text);
    snprintf(all.where, sizeof all.where, "%s, plan %s", script->name, text);
    begin_run(w, script);
    sched_run(plan, script->threads, script->helpers, body, w, &outcome);
    cr_assert(!outcome.failed, "%s: %s", all.where, outcome.text);
    all.instants = w->instants;
    if (w->kv && w->with_images)
        world_image(w, false);
    if (w->kv) {
        judge_counts(w, read_all(w));
        judge(&w->h, "at the end");
        cr_assert_leq(w->damage, script->most_faults, "%s: %llu events of damage", all.where,
                      (unsigned long long)w->damage);
        crash_nothing_lost(w->kv, all.where);
    }
    if (script->after)
        script->after(w);
    if (w->kv && (script->reopens || all.number % REOPEN_ONE_IN == 1))
        reopen(w);
    if (w->kv)
        world_close(w);
    for (uint32_t i = 0; i < w->image_count; i++)
        recover_image(w, i);
    all.number++;
    all.points += outcome.points;
    all.by_changes[plan->changes]++;
    return outcome.points;
}

/* --- all runs --------------------------------------------------------------------------------- */

static void default_names(struct world *w)
{
    size_t bytes;
    for (uint32_t i = 0; i < HISTORY_KEYS; i++)
        snprintf(w->names[i], sizeof w->names[i], "%s", model_key(i, &bytes));
}

/* What the operations of `prepare` leave, which ran one after the other. */
static void take_initial(const struct world *w)
{
    for (uint32_t i = 0; i < w->h.count; i++) {
        const struct op *op = &w->h.ops[i];
        for (uint32_t k = 0; op->kind == OP_BATCH && k < op->count; k++)
            all.initial.version[op->key + k] = k + op->deletes < op->count ? op->version + k : 0;
        if (op->kind == OP_PUT || op->kind == OP_DELETE)
            all.initial.version[op->key] = op->kind == OP_PUT ? op->version : 0;
    }
    all.initial_version = w->last_version;
    all.fillers = w->fillers;
}

static void make_base(const struct sched_script *script)
{
    struct world *w = &all.world;
    struct sched_script alone = *script;
    alone.background = false;
    *w = (struct world){.script = &alone};
    script->names(w);
    struct pmkv_options o = world_options(w);
    cr_assert_eq(sim_new(POOL_BYTES, PAGE_BYTES, &w->media), 0);
    cr_assert_eq(store_format(w->media, &o), PMKV_OK, "%s", pmkv_errormsg());
    world_open(w);
    cr_assert_eq(w->kv->lane_count, script->lanes, "the pool is too small for %u lanes",
                 script->lanes);
    script->prepare(w);
    take_initial(w);
    sim_set_drain_hook(w->media, keep_last, &all.base);
    world_close(w);
}

static void take_number(void *arg, unsigned thread)
{
    struct world *w = arg;
    (void)thread;
    lane_unlock(lane_pick(w->kv));
}

/* Threads choose lanes by their number, which they draw at their first write: always in this order,
 * so that a plan is the same run in another process. */
static void number_threads(const struct sched_script *script)
{
    struct world *w = &all.world;
    struct sched_script alone = *script;
    struct sched_outcome outcome;
    alone.background = false;
    *w = (struct world){.script = &alone};
    w->media = crash_image(all.base, sim_choose_none, NULL);
    world_open(w);
    sched_run(&(struct sched_plan){0}, script->threads, 0, take_number, w, &outcome);
    cr_assert(!outcome.failed, "%s", outcome.text);
    world_close(w);
}

/* How many to pass over so that `most` of `total` are left. */
static uint64_t stride(uint64_t total, uint64_t most)
{
    return most == 0 || total <= most ? 1 : (total + most - 1) / most;
}

static void run_singles(const struct sched_script *script, const uint32_t *points, uint32_t orders,
                        uint64_t step)
{
    uint64_t seen = all.seed % step;
    for (uint32_t order = 0; order < orders; order++)
        for (uint32_t at = 1; at <= points[order]; at++)
            if (seen++ % step == 0)
                run_plan(script, &(struct sched_plan){order, 1, {at}});
}

static void run_pairs(const struct sched_script *script, const uint32_t *points, uint32_t orders,
                      uint64_t step)
{
    uint64_t seen = all.seed % step;
    for (uint32_t order = 0; order < orders; order++)
        for (uint32_t at = 1; at <= points[order]; at++)
            for (uint32_t second = at + 1; second <= points[order]; second++)
                if (seen++ % step == 0)
                    run_plan(script, &(struct sched_plan){order, 2, {at, second}});
}

/* Every order; then every single preemption of each, and every pair where it is asked for, or as
 * many as fit. Returns the points of the longest. */
static uint32_t run_bounded(const struct sched_script *script, uint32_t count)
{
    uint32_t orders = sched_orders(script->threads + script->helpers), longest = 0;
    uint32_t *points = calloc(orders, sizeof *points);
    uint64_t singles = 0, pairs = 0;
    for (uint32_t order = 0; order < orders; order++) {
        points[order] = run_plan(script, &(struct sched_plan){.order = order});
        singles += points[order];
        pairs += (uint64_t)points[order] * (points[order] - 1) / 2;
        longest = points[order] > longest ? points[order] : longest;
    }
    run_singles(script, points, orders, stride(singles, count / 2));
    if (test_from_environment("PMKV_SCHED_BOUND", 1) > 1)
        run_pairs(script, points, orders, 1);
    else if (script->pairs && count > all.number)
        run_pairs(script, points, orders, stride(pairs, count - all.number));
    free(points);
    return longest;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static void run_random(const struct sched_script *script, uint32_t count, uint32_t points)
{
    struct test_rng rng = test_rng_make(all.seed, 1);
    uint32_t orders = sched_orders(script->threads + script->helpers);
    for (uint32_t i = 0; i < count; i++) {
        struct sched_plan plan = {.order = (uint32_t)test_rng_below(&rng, orders),
                                  .changes = 2 + (uint32_t)test_rng_below(&rng, 3)};
        for (uint32_t k = 0; k < plan.changes; k++)
            plan.at[k] = 1 + (uint32_t)test_rng_below(&rng, points);
        qsort(plan.at, plan.changes, sizeof plan.at[0], ascending);
        run_plan(script, &plan);
    }
}

/* An assert of the library: which plan it was. */
static void say_plan(int number)
{
    ssize_t n = write(STDERR_FILENO, all.where, strlen(all.where));
    n += write(STDERR_FILENO, "\n", 1);
    (void)n;
    signal(number, SIG_DFL);
    raise(number);
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void explore(const struct sched_script *given)
{
    struct sched_script script = *given;
    const char *only = getenv("PMKV_SCHED_PLAN");
    struct sched_plan plan;
    uint32_t count = script.schedules * test_from_environment("PMKV_SCHED_MORE", 1) /
                     test_from_environment("PMKV_SCHED_EVERY", 1);
    double began = seconds();
    script.names = script.names ? script.names : default_names;
    all.seed = test_from_environment("PMKV_SCHED_SEED", 1);
    signal(SIGABRT, say_plan);
    make_base(&script);
    number_threads(&script);
    if (only) {
        cr_assert(sched_plan_parse(only, &plan), "PMKV_SCHED_PLAN is no plan");
        run_plan(&script, &plan);
    } else {
        uint32_t points = run_bounded(&script, count);
        run_random(&script, count > all.number ? count - all.number : count / 4, points);
    }
    media_close(&all.base);
    printf("%s: %u schedules (%llu without, %llu with one preemption), %llu points, "
           "%llu crash images, %.1f s\n",
           script.name, all.number, (unsigned long long)all.by_changes[0],
           (unsigned long long)all.by_changes[1], (unsigned long long)all.points,
           (unsigned long long)all.images, seconds() - began);
    fflush(stdout);
}
