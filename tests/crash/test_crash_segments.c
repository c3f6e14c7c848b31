/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Power is lost while rows close, segments are sealed and cleaned, pages are repaired and pools are
 * made (P1, P2, P7; design 9a). */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <stdio.h>

#include "kv/open.h"
#include "script.h"

TestSuite(crash_segments, .timeout = 600);

static enum pmkv_geometry geometries[] = {PMKV_PARITY, PMKV_DOUBLE, PMKV_MIRROR, PMKV_NONE};

static struct criterion_test_params each_geometry(void)
{
    return cr_make_param_array(enum pmkv_geometry, geometries, 4, NULL);
}

#define SCRIPT_TEST(name, ...)                                                                     \
    ParameterizedTestParameters(crash_segments, name)                                              \
    {                                                                                              \
        return each_geometry();                                                                    \
    }                                                                                              \
    ParameterizedTest(enum pmkv_geometry *geometry, crash_segments, name)                          \
    {                                                                                              \
        crash_script_run(*geometry, &(struct crash_plan){__VA_ARGS__});                            \
    }

SCRIPT_TEST(rows_close_and_segments_are_sealed, script_rows, 11, 3, 6, 8, 10, FAULT_NONE)
SCRIPT_TEST(cleaning, script_cleaning, 12, 6, 5, 8, 10, FAULT_NONE)

ParameterizedTestParameters(crash_segments, repair)
{
    return cr_make_param_array(enum pmkv_geometry, geometries, 3, NULL); /* none repairs nothing */
}
ParameterizedTest(enum pmkv_geometry *geometry, crash_segments, repair)
{
    crash_script_run(*geometry, &(struct crash_plan){script_repair, 13, 1, 8, 4, 6, FAULT_NONE});
}

/* --- making a pool ---------------------------------------------------------------------------- */

struct making {
    struct test_rng rng;
    enum pmkv_geometry geometry;
    unsigned pools, nothing;
};

static uint8_t any_words(void *arg, size_t index, const struct sim_line *line)
{
    struct making *m = arg;
    (void)index, (void)line;
    return test_rng_one_in(&m->rng, 2) ? 0xff : (uint8_t)test_rng_next(&m->rng);
}

/* Half of a pool is no pool; one that opens is whole and empty. */
static void open_what_is_there(struct making *m, struct media *image)
{
    struct pmkv_options o = crash_options(m->geometry);
    struct pmkv *kv;
    uint64_t count;
    enum pmkv_status s = store_open(image, &o, &kv);
    if (s != PMKV_OK) {
        cr_assert(s == PMKV_E_NOT_POOL || s == PMKV_E_CORRUPT, "%s", pmkv_status_name(s));
        m->nothing++;
        return;
    }
    m->pools++;
    cr_assert_eq(pmkv_count(kv, &count), PMKV_OK);
    cr_assert_eq(count, 0);
    crash_nothing_lost(kv, "a new pool");
    crash_heal(kv, "a new pool");
    crash_close(&kv, "a new pool");
}

static void while_making(void *arg, struct media *media, enum sim_op op, uint64_t off,
                         uint64_t bytes)
{
    struct making *m = arg;
    (void)op, (void)off, (void)bytes;
    open_what_is_there(m, crash_image(media, sim_choose_none, NULL));
    open_what_is_there(m, crash_image(media, sim_choose_all, NULL));
    for (unsigned i = 0; i < 6; i++)
        open_what_is_there(m, crash_image(media, any_words, m));
}

ParameterizedTestParameters(crash_segments, making_a_pool)
{
    return each_geometry();
}
ParameterizedTest(enum pmkv_geometry *geometry, crash_segments, making_a_pool)
{
    struct making m = {.rng = test_rng_make(14, *geometry), .geometry = *geometry};
    struct pmkv_options o = crash_options(*geometry);
    struct media *media;
    cr_assert_eq(sim_new(crash_pool_bytes(*geometry), PAGE_BYTES, &media), 0);
    sim_set_drain_hook(media, while_making, &m);
    cr_assert_eq(store_format(media, &o), PMKV_OK, "%s", pmkv_errormsg());
    media_close(&media);
    cr_assert_gt(m.pools, 0);
    cr_assert_gt(m.nothing, 0);
}
