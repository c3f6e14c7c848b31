/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A scrub with a rate takes its time, also when the keeper is woken all the while for what writers
 * leave it to do. How long it takes at the least does not depend on the machine. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "kv/open.h"
#include "kv/scrub.h"
#include "kv/wait.h"

enum { POOL_BYTES = 16 << 20, RATE = 32 << 20 };

static char path[64];

static void begin(void)
{
    snprintf(path, sizeof path, "/dev/shm/pmkv-scrub-rate.%d", (int)getpid());
}

static void end(void)
{
    unlink(path);
}

TestSuite(scrub_rate, .init = begin, .fini = end, .timeout = 60);

Test(scrub_rate, is_kept_while_the_keeper_is_woken)
{
    struct pmkv *kv = NULL;
    struct pmkv_options o;
    pmkv_options_init(&o);
    o.pool_bytes = POOL_BYTES;
    o.create_if_missing = true;
    cr_assert_eq(pmkv_open(path, &o, &kv), PMKV_OK, "%s", pmkv_errormsg());
    int64_t from = clock_ns();
    cr_assert_eq(pmkv_scrub_start(kv, RATE), PMKV_OK);
    struct pmkv_scan scan = {0};
    while (scan.state != PMKV_SCAN_FINISHED) {
        keeper_wake(kv);
        usleep(200);
        cr_assert_eq(pmkv_scrub_status(kv, &scan), PMKV_OK);
    }
    double seconds = (double)(clock_ns() - from) / 1e9, least = (double)POOL_BYTES / RATE;
    cr_assert_gt(seconds, least * 0.8, "%.2f s for what takes %.2f at that rate", seconds, least);
    cr_assert_eq(pmkv_close(&kv), PMKV_OK);
}
