/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Shared commits (kv/join.h) that fail; who joins whom is for tests/sched/test_sched_join.c. */
#include <criterion/criterion.h>

#include "crash_run.h"
#include "kv/lane.h"
#include "place.h"

TestSuite(join, .timeout = 60);

Test(join, j4_a_record_whose_round_failed_is_written_by_itself)
{
    struct media *media = crash_format(PMKV_PARITY);
    media->drain_is_slow = true;
    struct pmkv *kv = crash_open(media, PMKV_PARITY, "join");
    struct model model = {0};
    model_put(&model, kv, 0, 2000);
    struct row_buf *buf = place_open_row(kv);
    for (uint32_t copy = 0; copy < row_copies(kv); copy++)
        sim_poison(media, row_copy_off(kv, buf, copy, 1), PAGE_BYTES);
    model_put(&model, kv, 1, 3000);
    cr_assert(place_open_row(kv) != buf, "every copy faulted and the row went on");
    model_compare(&model, kv, 0, "after a round that failed");
    crash_close(&kv, "join");
}
