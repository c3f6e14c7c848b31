/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A piece of a long value is lost while there is no memory to find out whose it is. It is nobody's
 * for all that: it stays in the index, and its key is named as soon as there is memory (I8). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "faults.h"
#include "kv/lane.h"
#include "kv/lost.h"

TestSuite(fail_lost, .timeout = 120);

enum { LONG_BYTES = 60000, POOL_BYTES = 12 << 20 };

static char path[64];

static struct pmkv *make_pool(struct row_ref *piece)
{
    static uint8_t value[LONG_BYTES];
    struct pmkv *kv = NULL;
    struct pmkv_options o;
    pmkv_options_init(&o);
    o.geometry = PMKV_NONE;
    o.pool_bytes = POOL_BYTES;
    o.no_background = o.allow_inject = true;
    o.lanes = 1;
    memset(value, 7, sizeof value);
    snprintf(path, sizeof path, "/dev/shm/pmkv-fail-lost.%d", (int)getpid());
    unlink(path);
    cr_assert_eq(pmkv_create(path, &o), PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_eq(pmkv_open(path, &o, &kv), PMKV_OK, "%s", pmkv_errormsg());
    for (uint32_t i = 0; i < 4; i++)
        cr_assert_eq(pmkv_put(kv, &i, sizeof i, value, sizeof value), PMKV_OK);
    *piece = row_ref_of(kv, (uint32_t)kv->lanes[0].segment, 0);
    const uint8_t spoilt = 99;
    uint64_t off = layout_data_page_off(&kv->vol.layout, piece->segment, 0, 0) + 200;
    cr_assert_eq(media_inject_bytes(kv->vol.media, off, &spoilt, 1), 0);
    return kv;
}

static int count_lost(void *arg, const struct pmkv_lost *lost)
{
    cr_expect_eq(lost->key_bytes, sizeof(uint32_t), "a key of %zu bytes", lost->key_bytes);
    ++*(int *)arg;
    return 0;
}

Test(fail_lost, a_piece_whose_owner_cannot_be_looked_for_is_not_dropped)
{
    static uint8_t value[LONG_BYTES];
    bool reached = true;
    unsigned nth = 0;
    while (reached) {
        struct row_ref piece;
        struct pmkv *kv = make_pool(&piece);
        size_t bytes;
        uint32_t key = 0;
        int lost = 0;
        faults_plan(FAULTS_MEMORY, ++nth, 0);
        faults_arm();
        lost_discover(kv, piece);
        faults_disarm();
        reached = faults_report().reached;
        enum pmkv_status s = pmkv_get(kv, &key, sizeof key, value, sizeof value, &bytes);
        cr_expect_eq(s, PMKV_E_LOST, "call %u (%s): then %s", nth, faults_report().call,
                     pmkv_status_name(s));
        cr_assert_eq(pmkv_lost_foreach(kv, count_lost, &lost), PMKV_OK);
        cr_expect_eq(lost, 1, "call %u (%s): %d are listed", nth, faults_report().call, lost);
        cr_assert_eq(pmkv_close(&kv), PMKV_OK, "%s", pmkv_errormsg());
        unlink(path);
    }
    cr_assert_gt(nth, 5, "%u calls", nth);
}
