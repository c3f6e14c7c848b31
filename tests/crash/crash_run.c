/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "crash_run.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/open.h"

enum { MAX_DEPTH = 3, FEW_LINES = 3 };

/* --- choosing what survives ------------------------------------------------------------------- */

enum pattern { P_NONE, P_ALL, P_ONE, P_ALL_BUT_ONE, P_PREFIX, P_RANDOM, P_TORN, PATTERNS };

uint8_t crash_choose(void *arg, size_t index, const struct sim_line *line)
{
    struct crash_choice *c = arg;
    (void)line;
    if (c->subset)
        return c->at >> index & 1 ? 0xff : 0;
    switch (c->pattern) {
    case P_NONE:
        return 0;
    case P_ALL:
        return 0xff;
    case P_ONE:
        return index == c->at ? 0xff : 0;
    case P_ALL_BUT_ONE:
        return index == c->at ? 0 : 0xff;
    case P_PREFIX:
        return index < c->at ? 0xff : 0;
    case P_RANDOM:
        return test_rng_one_in(&c->rng, 2) ? 0xff : 0;
    default:
        return test_rng_one_in(&c->rng, 2) ? 0xff : (uint8_t)test_rng_next(&c->rng);
    }
}

struct crash_choice crash_make_choice(struct test_rng *rng, unsigned number, size_t pending)
{
    struct crash_choice c = {.rng = test_rng_make(test_rng_next(rng), number)};
    if (pending <= FEW_LINES && number < 1u << pending) {
        c.subset = true;
        c.at = number;
        return c;
    }
    if (pending <= FEW_LINES)
        c.pattern = P_TORN;
    else
        c.pattern = number < 2 ? number : 2 + (unsigned)test_rng_below(rng, PATTERNS - 2);
    c.at = test_rng_below(rng, pending);
    return c;
}

/* --- recovering an image ---------------------------------------------------------------------- */

struct recovery {
    struct crash_run *run;
    unsigned depth, left; /* how deep in crashes; images still to be made */
    char where[512];
};

static unsigned recover(struct crash_run *r, struct media *image, unsigned depth,
                        const char *where);

/* Power is lost while an image recovers. */
static void while_recovering(void *arg, struct media *m, enum sim_op op, uint64_t off,
                             uint64_t bytes)
{
    struct recovery *v = arg;
    struct crash_run *r = v->run;
    (void)op, (void)off, (void)bytes;
    if (v->left == 0 || !test_rng_one_in(&r->rng, 4))
        return;
    v->left--;
    r->doubles++;
    struct crash_choice c =
        crash_make_choice(&r->rng, (unsigned)test_rng_below(&r->rng, 12), sim_pending_count(m));
    recover(r, crash_image(m, crash_choose, &c), v->depth + 1, v->where);
}

static unsigned flags_of(const struct crash_run *r)
{
    return r->fault && crash_budget(r->geometry) == 0 ? MODEL_LOST_IS_FINE : 0;
}

/* Point 5: healthy, and of use. */
static void use_it(struct crash_run *r, struct pmkv *kv, struct media *m, unsigned state,
                   const char *where)
{
    struct model after = r->model;
    if (flags_of(r) == 0)
        crash_heal(kv, where);
    model_settle(&after, state == MODEL_AFTER);
    for (uint32_t i = 0; i < 3; i++)
        model_put(&after, kv, 1 + i * 5, 300 + i * 2000);
    model_compare(&after, kv, flags_of(r), where);
    struct media *image = crash_image(m, sim_choose_none, NULL);
    kv = crash_open(image, r->geometry, where);
    model_compare(&after, kv, flags_of(r), where);
    model_put(&after, kv, 2, 100);
    crash_close(&kv, where);
}

/* Opens the image, which is gone then. Returns the states it matches. */
static unsigned recover(struct crash_run *r, struct media *image, unsigned depth, const char *where)
{
    struct recovery v = {.run = r, .depth = depth};
    bool again =
        depth + 1 < MAX_DEPTH && r->again_one_in && test_rng_one_in(&r->rng, r->again_one_in);
    r->images++;
    v.left = again ? 2 : 0;
    snprintf(v.where, sizeof v.where, "%s, again", where);
    sim_set_drain_hook(image, while_recovering, &v);
    struct pmkv *kv = crash_open(image, r->geometry, where);
    sim_set_drain_hook(image, NULL, NULL);
    if (flags_of(r) == 0)
        crash_nothing_lost(kv, where);
    unsigned states = model_compare(&r->model, kv, flags_of(r), where);
    /* Recovered once more, from what is durable now: the same. */
    struct media *second = crash_image(image, sim_choose_none, NULL);
    struct pmkv *twice =
        (r->images % 8 == 0 ? crash_open_ordered : crash_open)(second, r->geometry, where);
    unsigned same = model_compare(&r->model, twice, flags_of(r), where);
    cr_assert((states & same) != 0, "%s: recovered to one state, then to the other", where);
    if (r->thorough_one_in && test_rng_one_in(&r->rng, r->thorough_one_in))
        use_it(r, twice, second, states & MODEL_AFTER ? MODEL_AFTER : MODEL_BEFORE, where);
    crash_close(&twice, where);
    crash_close(&kv, where);
    return states;
}

static void instant(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct crash_run *r = arg;
    (void)off, (void)bytes;
    if (r->keep_last) {
        media_close(&r->last);
        r->last = crash_image(m, sim_choose_all, NULL);
    }
    if (!r->armed || !test_rng_one_in(&r->rng, r->every))
        return;
    size_t pending = sim_pending_count(m);
    unsigned images = r->per_instant;
    if (pending == 0)
        images = 1;
    r->instants++;
    for (unsigned i = 0; i < images; i++) {
        char where[512], fault[256] = "";
        struct crash_choice c = crash_make_choice(&r->rng, i, pending);
        struct media *image = crash_image(m, crash_choose, &c);
        if (r->fault && r->kv)
            crash_plant(r, image, fault, sizeof fault);
        snprintf(where, sizeof where,
                 "%s: %s: instant %u (op %d, %zu lines), image %u (%s %d, %zu)%s",
                 crash_geometry_name(r->geometry), r->what, r->instants, (int)op, pending, i,
                 c.subset ? "subset" : "pattern", (int)c.pattern, c.at, fault);
        recover(r, image, 0, where);
    }
}

/* --- the run ---------------------------------------------------------------------------------- */

void crash_begin(struct crash_run *r, enum pmkv_geometry geometry, uint64_t seed)
{
    *r = (struct crash_run){.geometry = geometry,
                            .rng = test_rng_make(seed, geometry),
                            .what = "",
                            .every = 1,
                            .per_instant = 6,
                            .again_one_in = 8,
                            .thorough_one_in = 8};
    r->media = crash_format(geometry);
    r->kv = crash_open(r->media, geometry, "the first open");
}

struct pmkv *crash_open_run(const struct crash_run *r, struct media *media, const char *where)
{
    return (r->ordered ? crash_open_ordered : crash_open)(media, r->geometry, where);
}

void crash_watch(struct crash_run *r, bool on)
{
    r->armed = on;
    sim_set_drain_hook(r->media, on ? instant : NULL, r);
}

void crash_remember(struct crash_run *r)
{
    if (!r->old_pages)
        r->old_pages = malloc(r->media->size);
    sim_peek(r->media, 0, r->old_pages, r->media->size);
}

/* The close frees the medium, so what it leaves is taken at its last drain. */
void crash_reopen(struct crash_run *r)
{
    const char *what = r->what;
    struct pmkv *kv = r->kv;
    r->what = "clean close";
    r->keep_last = true;
    sim_set_drain_hook(r->media, instant, r);
    crash_close(&kv, what);
    r->kv = NULL;
    r->keep_last = false;
    r->media = r->last;
    r->last = NULL;
    r->what = "open after a clean close";
    sim_set_drain_hook(r->media, r->armed ? instant : NULL, r);
    r->kv = crash_open_run(r, r->media, r->what);
    r->what = what;
    cr_assert_eq(model_compare(&r->model, r->kv, 0, "after a clean close") & MODEL_BEFORE,
                 MODEL_BEFORE);
}

void crash_now(struct crash_run *r, sim_chooser chooser, void *arg)
{
    bool armed = r->armed;
    crash_watch(r, false);
    struct media *image = crash_image(r->media, chooser, arg);
    pmkv_close(&r->kv); /* of no consequence, and it may fail */
    r->media = image;
    r->kv = crash_open_run(r, image, r->what);
    unsigned state = model_compare(&r->model, r->kv, flags_of(r), r->what);
    model_settle(&r->model, state == MODEL_AFTER);
    crash_watch(r, armed);
}

void crash_end(struct crash_run *r)
{
    crash_watch(r, false);
    crash_heal(r->kv, "at the end");
    cr_assert_eq(model_compare(&r->model, r->kv, 0, "at the end") & MODEL_BEFORE, MODEL_BEFORE);
    crash_close(&r->kv, "at the end");
    free(r->old_pages);
    cr_log_info("%s: %u instants, %u images, %u of them crashed again",
                crash_geometry_name(r->geometry), r->instants, r->images, r->doubles);
}
