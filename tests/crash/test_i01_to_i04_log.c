/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Invariants I1 to I4 of docs/design.md: the log, its numbers and the locks of its writers. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "kv/segment.h"
#include "kv/super.h"
#include "place.h"
#include "script.h"

TestSuite(log, .timeout = 120);

/* --- I1 --------------------------------------------------------------------------------------- */

/* Every payload line that was stored: of which generation, and what. */
struct shadow {
    struct pmkv look; /* of the pool: for checking headers */
    struct shadow_line {
        uint64_t generation;
        uint8_t bytes[LINE_BYTES];
    } * lines;
    unsigned seen, again;
};

static uint64_t generation_on_medium(struct shadow *sh, struct media *m, uint32_t segment)
{
    uint64_t version = 0, generation = 0;
    for (uint32_t c = 0; c < sh->look.vol.layout.columns; c++) {
        struct segment_header h[2];
        sim_peek(m, layout_slice_off(&sh->look.vol.layout, segment, c), h, sizeof h);
        for (int i = 0; i < 2; i++)
            if (segment_header_valid(&sh->look, &h[i], segment, (uint16_t)c) &&
                h[i].version > version && h[i].kind != KIND_TWIN) {
                version = h[i].version;
                generation = h[i].generation;
            }
    }
    return generation;
}

/* Zeros may take the place of what was never accepted; nothing ever takes the place of zeros. */
static void one_content(struct shadow *sh, struct media *m, const struct sim_line *line)
{
    static const uint8_t zeros[LINE_BYTES];
    struct place p = layout_locate(&sh->look.vol.layout, line->off);
    if (p.kind != PLACE_ROW || p.column >= sh->look.vol.layout.data_columns ||
        line->off % PAGE_BYTES == PAGE_PAYLOAD_BYTES)
        return;
    uint64_t generation = generation_on_medium(sh, m, p.segment);
    struct shadow_line *known = &sh->lines[line->off / LINE_BYTES];
    if (generation == 0)
        return;
    sh->seen++;
    if (known->generation == generation) {
        sh->again++;
        bool same = memcmp(known->bytes, line->bytes, LINE_BYTES) == 0;
        bool cleared = memcmp(line->bytes, zeros, LINE_BYTES) == 0;
        cr_assert(same || cleared, "line 0x%llx of segment %u, row %u got another content",
                  (unsigned long long)line->off, p.segment, p.row);
    }
    known->generation = generation;
    memcpy(known->bytes, line->bytes, LINE_BYTES);
}

static void watch_contents(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    (void)op, (void)off, (void)bytes;
    for (size_t i = 0; i < sim_pending_count(m); i++)
        one_content(arg, m, sim_pending(m, i));
}

/* Power goes at the next fence, after some of what it waits for was noted. */
struct cut {
    struct shadow *shadow;
    struct test_rng rng;
    struct media *image;
};

static uint8_t some_words(void *arg, size_t index, const struct sim_line *line)
{
    struct cut *c = arg;
    (void)index, (void)line;
    return test_rng_one_in(&c->rng, 2) ? 0xff : (uint8_t)test_rng_next(&c->rng);
}

static void cut_here(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct cut *c = arg;
    watch_contents(c->shadow, m, op, off, bytes);
    if (!c->image)
        c->image = crash_image(m, some_words, c);
}

static void crash_in_a_put(struct crash_run *r, struct shadow *sh, uint64_t seed)
{
    struct cut c = {.shadow = sh, .rng = test_rng_make(seed, 1)};
    sim_set_drain_hook(r->media, cut_here, &c);
    cr_assert_eq(model_try_put(&r->model, r->kv, (uint32_t)seed % 9, 2500), PMKV_OK);
    crash_close(&r->kv, "the store that lost its power");
    r->media = c.image;
    sim_set_drain_hook(r->media, watch_contents, sh);
    r->kv = crash_open(r->media, r->geometry, "after the crash");
    unsigned state = model_compare(&r->model, r->kv, 0, "after the crash");
    model_settle(&r->model, state == MODEL_AFTER);
}

static void contents_of(enum pmkv_geometry geometry)
{
    struct crash_run r;
    crash_begin(&r, geometry, 1);
    struct shadow *sh = calloc(1, sizeof *sh);
    sh->look.vol = r.kv->vol;
    sh->lines = calloc(r.media->size / LINE_BYTES, sizeof *sh->lines);
    sim_set_drain_hook(r.media, watch_contents, sh);
    for (uint64_t i = 0; i < 24; i++) {
        model_put(&r.model, r.kv, (uint32_t)i % 7, 100 + (uint32_t)i * 90);
        if (i % 3 == 0)
            crash_in_a_put(&r, sh, i);
        if (i % 4 == 1) {
            crash_reopen(&r); /* resumes at its tail */
            sim_set_drain_hook(r.media, watch_contents, sh);
            for (uint32_t k = 0; k < 7; k++) /* and goes on in the next row */
                model_put(&r.model, r.kv, 10 + k, 6000);
            crash_in_a_put(&r, sh, i);
        }
    }
    cr_assert_gt(sh->again, 100, "%u lines, %u of them again", sh->seen, sh->again);
    sim_set_drain_hook(r.media, NULL, NULL);
    free(sh->lines);
    free(sh);
    crash_end(&r);
}

Test(log, i01_a_position_gets_one_content_per_generation)
{
    contents_of(PMKV_PARITY);
    contents_of(PMKV_MIRROR);
    contents_of(PMKV_NONE);
}

/* --- I2 --------------------------------------------------------------------------------------- */

/* No line of a record that can be found waits for a fence. */
static void visible_is_durable(void *arg, struct media *m, enum sim_op op, uint64_t off,
                               uint64_t bytes)
{
    struct crash_run *r = arg;
    (void)op, (void)off, (void)bytes;
    for (uint32_t key = 0; key < MODEL_KEYS; key++) {
        struct row_place at;
        if (!place_of_key(r->kv, key, &at))
            continue;
        for (size_t i = 0; i < sim_pending_count(m); i++) {
            uint64_t line = sim_pending(m, i)->off;
            uint64_t start = layout_data_page_off(&r->kv->vol.layout, at.segment, at.row,
                                                  at.offset / PAGE_PAYLOAD_BYTES) +
                             at.offset % PAGE_PAYLOAD_BYTES;
            cr_assert(start < line || start >= line + LINE_BYTES,
                      "%s: key %u is visible and not durable", r->what, key);
        }
        r->instants++;
    }
}

Test(log, i02_nothing_is_visible_before_it_is_durable)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 2);
    sim_set_drain_hook(r.media, visible_is_durable, &r);
    script_small(&r);
    script_batches(&r);
    script_fill_segment(&r, 0, 30);
    r.what = "cleaning";
    model_put(&r.model, r.kv, 40, 100);
    uint32_t segment = place_segment_of(r.kv, 40);
    script_fill_segment(&r, 0, 30);
    place_clean(r.kv, segment);
    cr_assert_gt(r.instants, 1000);
    crash_end(&r);
}

static void all_rows_are_redundant(struct pmkv *kv, const char *where)
{
    struct row_image image;
    cr_assert_eq(row_image_init(&image, &kv->vol.layout), 0);
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
        for (uint32_t row = 0; kind_is_log(kv->segments[i].kind) && row < kv->segments[i].rows_used;
             row++) {
            row_load(&kv->vol, row_ref_of(kv, i, row), &image);
            cr_assert_eq(image.bad_pages, 0, "%s: row %u of segment %u", where, row, i);
        }
    row_image_free(&image);
}

/* What recovery shows stands in rows with parity and checks, and all of that is fenced. */
static void recovered_is_redundant(void *arg, struct media *m, enum sim_op op, uint64_t off,
                                   uint64_t bytes)
{
    struct crash_run *r = arg;
    (void)op, (void)off, (void)bytes;
    struct media *first = crash_image(m, sim_choose_none, NULL);
    struct pmkv *kv = crash_open(first, r->geometry, r->what);
    struct volume durable = kv->vol;
    struct media *image = crash_image(first, sim_choose_none, NULL);
    kv->vol.media = image;
    all_rows_are_redundant(kv, r->what);
    kv->vol.media = durable.media;
    media_close(&image);
    crash_close(&kv, r->what);
    r->instants++;
}

Test(log, i02_what_recovery_shows_is_redundant)
{
    struct crash_run r;
    crash_begin(&r, PMKV_DOUBLE, 2);
    sim_set_drain_hook(r.media, recovered_is_redundant, &r);
    script_small(&r);
    model_batch(&r.model, r.kv, 0, 20, 4, 6000);
    cr_assert_gt(r.instants, 20);
    sim_set_drain_hook(r.media, NULL, NULL);
    crash_end(&r);
}

/* --- I3 --------------------------------------------------------------------------------------- */

static void numbers_go_on(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct crash_run *r = arg;
    (void)op, (void)off, (void)bytes;
    uint64_t given = atomic_load(&r->kv->counter);
    struct media *image = crash_image(m, sim_choose_none, NULL);
    struct pmkv *kv = crash_open(image, r->geometry, r->what);
    uint64_t ceiling = atomic_load(&kv->counter_ceiling), now = atomic_load(&kv->counter);
    crash_close(&kv, r->what);
    /* One that is still being reserved was not given out yet. */
    if (given <= atomic_load(&r->kv->counter_ceiling))
        cr_assert_geq(now, given, "%s: numbers up to %llu were given, now from %llu", r->what,
                      (unsigned long long)given, (unsigned long long)now);
    cr_assert_gt(ceiling, now);
    r->instants++;
}

Test(log, i03_numbers_are_never_given_twice)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 3);
    r.what = "puts";
    sim_set_drain_hook(r.media, numbers_go_on, &r);
    for (uint32_t i = 0; i < 5; i++)
        model_put(&r.model, r.kv, i, 100);
    r.what = "the block runs out";
    atomic_store(&r.kv->counter, atomic_load(&r.kv->counter_ceiling) - 3);
    for (uint32_t i = 0; i < 40; i++) /* the lane's own come first */
        model_put(&r.model, r.kv, i % 5, 100);
    cr_assert_gt(r.instants, 40);
    sim_set_drain_hook(r.media, NULL, NULL);
    for (unsigned i = 0; i < 3; i++) {
        uint64_t given = atomic_load(&r.kv->counter);
        if (i == 1)
            crash_now(&r, sim_choose_none, NULL);
        else
            crash_reopen(&r);
        cr_assert_geq(atomic_load(&r.kv->counter), given, "open %u", i);
        model_put(&r.model, r.kv, i, 10);
    }
    crash_end(&r);
}

/* --- I4 --------------------------------------------------------------------------------------- */

struct rival {
    struct pmkv *kv;
    uint32_t stripe;
    pthread_t thread;
    atomic_bool has_it, started;
};

static void *take_stripe(void *arg)
{
    struct rival *v = arg;
    index_lock(v->kv->index, v->stripe);
    atomic_store(&v->has_it, true);
    index_unlock(v->kv->index, v->stripe);
    return NULL;
}

static void race_for_stripe(void *arg, struct media *m, enum sim_op op, uint64_t off,
                            uint64_t bytes)
{
    struct rival *v = arg;
    (void)m, (void)op, (void)off, (void)bytes;
    if (atomic_exchange(&v->started, true))
        return;
    pthread_create(&v->thread, NULL, take_stripe, v);
    usleep(30 * 1000);
    cr_assert_not(atomic_load(&v->has_it), "the stripe was free before the index was published");
}

/* Between its condition and its publishing a writer of `key` has the stripe, at the fence as well.
 */
static void stripe_is_held(struct crash_run *r, uint32_t key, bool batch)
{
    size_t bytes;
    const char *name = model_key(key, &bytes);
    struct rival v = {.kv = r->kv, .stripe = index_stripe(key_hash(name, bytes))};
    sim_set_drain_hook(r->media, race_for_stripe, &v);
    if (batch)
        model_batch(&r->model, r->kv, 0, 6, 0, 100);
    else
        model_put(&r->model, r->kv, key, 100);
    sim_set_drain_hook(r->media, NULL, NULL);
    cr_assert(v.started);
    pthread_join(v.thread, NULL);
    cr_assert(v.has_it);
}

Test(log, i04_a_writer_holds_its_stripes_until_it_published)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 4);
    model_put(&r.model, r.kv, 20, 10);
    stripe_is_held(&r, 0, false);
    stripe_is_held(&r, 0, false);
    for (uint32_t key = 0; key < 6; key++)
        stripe_is_held(&r, key, true);
    crash_end(&r);
}
