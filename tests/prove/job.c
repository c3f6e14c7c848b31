/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A job: the settings, the instants of one history, and which images are made of each. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/open.h"
#include "kv/segment.h"
#include "prove.h"

/* Sixteen segments of eight rows of eight data pages, or of four rows. */
const struct setting settings[] = {
    {"parity", PMKV_PARITY, 5600 << 10, 4096, 8, 1, false},
    {"double", PMKV_DOUBLE, 6200 << 10, 4096, 8, 2, false},
    {"mirror", PMKV_MIRROR, 4700 << 10, 4096, 4, 1, false},
    {"none", PMKV_NONE, 2500 << 10, 4096, 4, 0, false},
    {"parity, loss unit 16 KiB", PMKV_PARITY, 7360 << 10, 16384, 8, 1, false},
    {"parity, pages of a file", PMKV_PARITY, 5600 << 10, 4096, 8, 1, true},
    {"double, pages of a file", PMKV_DOUBLE, 6200 << 10, 4096, 8, 2, true},
    {"none, pages of a file", PMKV_NONE, 2500 << 10, 4096, 4, 0, true},
};
const unsigned setting_count = sizeof settings / sizeof *settings;

const char *const failure_names[FAILURES] = {
    "acknowledged operations lost", "wrong bytes",         "pools refused",
    "recovered twice, differently", "not clean or of use", "processes that died or hung",
};

struct pmkv_options setting_options(const struct setting *s)
{
    struct pmkv_options o;
    pmkv_options_init(&o);
    o.geometry = s->geometry;
    o.loss_unit_bytes = s->loss_unit;
    o.row_pages = 8;
    o.segment_rows = s->segment_rows;
    o.lanes = 1;
    o.no_background = true;
    o.allow_inject = true;
    return o;
}

void prove_fail(struct run *r, enum failure kind, const char *format, ...)
{
    char text[1400];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (r->limits->fail_fast)
        atomic_store(&r->totals->stop, true);
    if (atomic_fetch_add(&r->totals->failures[kind], 1) < 5)
        fprintf(
            stderr, "\nFAILED (%s): %s, %s\n  %s\n  again: --seed %llu --job %llu --per-job %u\n",
            failure_names[kind], r->setting->name, r->work->name, text,
            (unsigned long long)r->limits->seed, (unsigned long long)r->job, r->limits->per_job);
}

/* --- the images of one instant ---------------------------------------------------------------- */

static enum fault_mode draw_mode(const struct run *r, uint64_t salt)
{
    unsigned dice = (unsigned)(test_mix(salt ^ 0x6d6f6465) % 16);
    if (dice == 0)
        return FAULTS_UNLIMITED;
    if (dice < 4 || r->setting->budget == 0 || r->ill)
        return FAULTS_BEYOND;
    return FAULTS_WITHIN;
}

static void one_image(struct run *r, const struct pending *p, uint64_t number, uint64_t salt,
                      bool pivot)
{
    struct choice c = choice_make(p, number, salt);
    struct cut cut = {.depth = 1, .salt = salt, .pivot = pivot};
    int n = snprintf(cut.where, sizeof cut.where, "%s: instant %llu: %s", r->what,
                     (unsigned long long)r->instant, choice_name(&c));
    atomic_fetch_add(&r->totals->torn, c.kind == CHOOSE_TORN);
    recover_image(r, choice_image(&c), &cut);
    if (r->creating || test_mix(salt ^ 0xfa) % 16 >= r->limits->fault_per)
        return;
    struct media *image = choice_image(&c);
    cut.pivot = false;
    if (test_mix(salt ^ 0xa11ce) % 3 == 0)
        cut.running = draw_mode(r, salt);
    else
        fault_plant(r, image, draw_mode(r, salt), salt, &cut.plan, cut.where + n,
                    sizeof cut.where - (size_t)n);
    recover_image(r, image, &cut);
}

/* The cleaner's segment is none that a writer has: what it moved stands where it came from until it
 * is known to have been fenced. */
static bool writers_have(const struct pmkv *kv, uint32_t segment)
{
    for (uint32_t i = 0; i < kv->lane_count; i++)
        if (kv->lanes[i].segment == segment)
            return true;
    return false;
}

void note_places(struct run *r)
{
    for (uint32_t i = 0; i < EXPECT_KEYS && r->kv; i++) {
        struct expect_place *p = &r->expect.place[i];
        size_t length;
        const char *name = expect_key(i, &length);
        struct index_find f;
        struct slot_ref ref;
        *p = (struct expect_place){0};
        index_find_begin(r->kv->index, key_hash(name, length), &f);
        if (!index_find_next(&f, &ref) || pos_is_lost((struct log_pos){slot_position(ref.slot)}))
            continue;
        struct row_place at = pos_place(&r->kv->shape, (struct log_pos){slot_position(ref.slot)});
        *p = (struct expect_place){.known = true,
                                   .left = !writers_have(r->kv, at.segment),
                                   .segment = at.segment,
                                   .row = at.row,
                                   .offset = at.offset};
    }
}

/* All images of some instants, a few of all others, so that a job makes about per_job of them; of
 * every instant when that is 0. */
static void cut_power(struct run *r, struct media *m)
{
    struct pending p;
    note_places(r);
    pending_take(&p, m, r->setting->pages);
    uint64_t salt = test_mix(r->seed + r->instant * 0x10001);
    uint64_t all = choices_count(&p), instants = r->instants_ahead ? r->instants_ahead : 1;
    uint64_t share = r->limits->per_job / instants, few = share / 4 < 4 ? 4 : share / 4;
    bool every = r->limits->per_job == 0 || all <= few || salt % all < share;
    uint64_t count = every ? all : few;
    uint64_t pivot = test_mix(salt) % count;
    bool pivots = every || salt >> 40 & 1;
    for (uint64_t i = 0; i < count && !atomic_load(&r->totals->stop); i++) {
        uint64_t own = test_mix(salt + i + 1);
        one_image(r, &p, every || i < 2 ? i : own % all, own, pivots && i == pivot);
    }
    atomic_fetch_add(&r->totals->exhaustive, every);
    atomic_fetch_add(&r->totals->pending_lines, p.lines);
    pending_free(&p);
}

void instant_hook(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct run *r = arg;
    (void)op, (void)off, (void)bytes;
    if (r->keep_last) {
        media_close(&r->last);
        if (sim_crash_image(m, sim_choose_all, NULL, &r->last))
            abort();
    }
    if (!r->armed)
        return;
    r->instant++;
    if (r->counting || atomic_load(&r->totals->stop))
        return;
    atomic_fetch_add(&r->totals->instants, 1);
    cut_power(r, m);
}

/* --- the job ---------------------------------------------------------------------------------- */

static void create_pool(struct run *r)
{
    const struct setting *s = r->setting;
    struct pmkv_options o = setting_options(s);
    if (sim_new(s->pool_bytes, s->loss_unit, &r->media))
        abort();
    sim_set_drain_hook(r->media, instant_hook, r);
    r->what = "creation";
    r->creating = true;
    if (store_format(r->media, &o)) {
        prove_fail(r, FAIL_REFUSED, "create: %s", pmkv_errormsg());
        longjmp(r->give_up, 1);
    }
    r->creating = false;
    r->what = "first open";
    if (store_open(r->media, &o, &r->kv)) {
        r->media = NULL;
        prove_fail(r, FAIL_REFUSED, "first open: %s", pmkv_errormsg());
        longjmp(r->give_up, 1);
    }
    r->layout = r->kv->vol.layout;
}

static void tear_down(struct run *r)
{
    if (r->kv)
        store_abandon(&r->kv);
    else
        media_close(&r->media);
    r->media = NULL;
    media_close(&r->last);
    media_close(&r->old);
}

/* The whole history, once. The same each time: nothing in it depends on images. */
static void play(struct run *r, bool counting)
{
    r->counting = counting;
    r->armed = false;
    r->instant = 0;
    r->ill = false;
    r->rng = test_rng_make(r->seed, 0x706c6179);
    memset(&r->expect, 0, sizeof r->expect);
    seeded_start(r->limits->seed);
    if (setjmp(r->give_up) == 0) {
        r->armed = r->work->creates;
        create_pool(r);
        r->armed = true;
        r->work->play(r);
    }
    r->armed = false;
    tear_down(r);
}

void job_run(struct run *r, uint64_t job)
{
    r->job = job;
    r->seed = test_mix(r->limits->seed ^ test_mix(job + 1));
    r->setting = &settings[job % setting_count];
    r->work = &workloads[job / setting_count % workload_count];
    atomic_store(&r->worker->job, job);
    if (r->limits->work && !strstr(r->work->name, r->limits->work))
        return;
    play(r, true);
    r->instants_ahead = r->instant;
    play(r, false);
    atomic_fetch_add(&r->totals->jobs, 1);
    atomic_fetch_add(&r->totals->operations, r->expect.operations);
}
