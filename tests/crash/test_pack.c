/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* pmkv_pack: room comes back, nothing else changes, whatever cuts it short. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "kv/meta.h"
#include "kv/open.h"
#include "script.h"

TestSuite(pack, .timeout = 600);

static struct pmkv_stats stats_of(struct pmkv *kv)
{
    struct pmkv_stats stats;
    cr_assert_eq(pmkv_stats(kv, &stats), PMKV_OK);
    return stats;
}

/* Segments in which most records are dead, and a long value across them. */
static void fill(struct crash_run *r)
{
    for (uint32_t i = 40; i < 46; i++)
        model_put(&r->model, r->kv, i, 200);
    model_put(&r->model, r->kv, 46, 20000);
    for (uint32_t i = 0; i < 5; i++) {
        script_fill_segment(r, 0, 24);
        model_delete(&r->model, r->kv, i);
    }
    seal_waiting(r->kv);
}

static void script_pack(struct crash_run *r)
{
    bool armed = r->armed;
    crash_watch(r, false);
    fill(r);
    crash_remember(r);
    crash_watch(r, armed);
    r->what = "packing";
    cr_assert_eq(pmkv_pack(r->kv, NULL, NULL), PMKV_OK, "%s", pmkv_errormsg());
}

static enum pmkv_geometry geometries[] = {PMKV_PARITY, PMKV_DOUBLE, PMKV_MIRROR, PMKV_NONE};

ParameterizedTestParameters(pack, cut_by_a_crash)
{
    return cr_make_param_array(enum pmkv_geometry, geometries, 4, NULL);
}
ParameterizedTest(enum pmkv_geometry *geometry, pack, cut_by_a_crash)
{
    crash_script_run(*geometry, &(struct crash_plan){script_pack, 61, 3, 5, 8, 10, FAULT_NONE});
}

Test(pack, gives_room_back_once)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 62);
    fill(&r);
    struct pmkv_stats loose = stats_of(r.kv);
    cr_assert_eq(pmkv_pack(r.kv, NULL, NULL), PMKV_OK, "%s", pmkv_errormsg());
    struct pmkv_stats packed = stats_of(r.kv);
    cr_assert_gt(packed.segments_free, loose.segments_free + 1, "%llu segments are free, %llu were",
                 (unsigned long long)packed.segments_free, (unsigned long long)loose.segments_free);
    cr_assert_leq(packed.live_bytes, loose.live_bytes);
    model_compare(&r.model, r.kv, 0, "when it is packed");
    cr_assert_eq(pmkv_pack(r.kv, NULL, NULL), PMKV_OK);
    struct pmkv_stats again = stats_of(r.kv);
    cr_assert_leq(again.segments_cleaned, packed.segments_cleaned + 1,
                  "what is packed is packed again: %llu segments",
                  (unsigned long long)(again.segments_cleaned - packed.segments_cleaned));
    crash_now(&r, sim_choose_none, NULL);
    model_compare(&r.model, r.kv, 0, "after a crash");
    crash_reopen(&r);
    model_compare(&r.model, r.kv, 0, "after a clean close");
    crash_heal(r.kv, "packed");
    crash_end(&r);
}

struct seen {
    unsigned calls, stop_at;
    uint64_t done, total;
};

static int see(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct seen *seen = arg;
    cr_assert_str_eq(what, "pack");
    cr_assert(done > seen->done && done <= total);
    seen->done = done;
    seen->total = total;
    return ++seen->calls == seen->stop_at;
}

Test(pack, stops_when_it_is_told_to)
{
    struct crash_run r;
    struct seen seen = {.stop_at = 1}, whole = {0};
    crash_begin(&r, PMKV_PARITY, 63);
    fill(&r);
    cr_assert_eq(pmkv_pack(r.kv, see, &seen), PMKV_E_STOPPED);
    cr_assert_lt(seen.done, seen.total);
    model_compare(&r.model, r.kv, 0, "when it was stopped");
    cr_assert_eq(pmkv_pack(r.kv, see, &whole), PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_eq(whole.done, whole.total);
    model_compare(&r.model, r.kv, 0, "when it went on");
    crash_end(&r);
}

Test(pack, is_refused_where_nothing_may_be_written)
{
    struct crash_run r;
    struct pmkv *kv = NULL;
    crash_begin(&r, PMKV_PARITY, 64);
    fill(&r);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    struct pmkv_options o = crash_options(PMKV_PARITY);
    o.read_only = true;
    cr_assert_eq(store_open(image, &o, &kv), PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_eq(pmkv_pack(kv, NULL, NULL), PMKV_E_READONLY);
    crash_close(&kv, "read-only");
    cr_assert_eq(pmkv_pack(NULL, NULL, NULL), PMKV_E_INVALID);
    atomic_store(&r.kv->write_failed, true);
    cr_assert_eq(pmkv_pack(r.kv, NULL, NULL), PMKV_E_IO);
    atomic_store(&r.kv->write_failed, false);
    crash_end(&r);
}
