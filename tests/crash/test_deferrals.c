/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Puts that compare later (kv/defer.h): what is counted, and what damage does not change. Their
 * schedules are in tests/sched/test_sched_defer.c. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "kv/defer.h"
#include "kv/open.h"
#include "place.h"
#include "script.h"

TestSuite(deferrals, .timeout = 120);

/* The index cannot tell these two apart; they are not the model's. */
static const char *const one = "twin-68609", *const other = "twin-205544";

static enum pmkv_status put(struct pmkv *kv, const char *key, const char *value)
{
    return pmkv_put(kv, key, strlen(key), value, strlen(value));
}

static void expect(struct pmkv *kv, const char *key, const char *value)
{
    char found[64];
    size_t bytes;
    cr_assert_eq(pmkv_get(kv, key, strlen(key), found, sizeof found, &bytes), PMKV_OK, "%s: %s",
                 key, pmkv_errormsg());
    cr_assert(bytes == strlen(value) && memcmp(found, value, bytes) == 0, "%s: another value", key);
}

static enum pmkv_status get(struct pmkv *kv, const char *key)
{
    char found[64];
    return pmkv_get(kv, key, strlen(key), found, sizeof found, NULL);
}

/* `other` is there, its slot stands for `one`. */
static void displace(struct crash_run *r)
{
    uint64_t hash = key_hash(other, strlen(other));
    cr_assert_eq(put(r->kv, other, "other"), PMKV_OK);
    cr_assert_not(defer_is_open(r->kv, hash));
    cr_assert_eq(put(r->kv, one, "one"), PMKV_OK);
    cr_assert(defer_is_open(r->kv, hash), "nothing was deferred");
}

static void both_are_there(struct crash_run *r)
{
    uint64_t count;
    expect(r->kv, one, "one");
    expect(r->kv, other, "other");
    cr_assert_eq(pmkv_count(r->kv, &count), PMKV_OK);
    cr_assert_eq(count, 2, "%llu keys", (unsigned long long)count);
    cr_assert_eq(pmkv_delete(r->kv, one, strlen(one)), PMKV_OK);
    expect(r->kv, other, "other");
    cr_assert_eq(pmkv_delete(r->kv, other, strlen(other)), PMKV_OK);
}

static int no_item(void *arg, const struct pmkv_item *item)
{
    (void)arg, (void)item;
    return 0;
}

/* I14: whose slot it was cannot be said, so neither is the other key not there. */
Test(deferrals, no_key_is_missed_while_the_device_is_gone)
{
    struct crash_run r;
    uint64_t left, count;
    crash_begin(&r, PMKV_PARITY, 1);
    displace(&r);
    sim_set_gone(r.media, true);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(get(r.kv, other), PMKV_E_IO, "%s", pmkv_status_name(get(r.kv, other)));
        cr_assert_eq(pmkv_exists(r.kv, other, strlen(other)), PMKV_E_IO);
        cr_assert_eq(pmkv_delete(r.kv, other, strlen(other)), PMKV_E_IO);
        cr_assert_eq(pmkv_foreach(r.kv, PMKV_FOREACH_KEYS_ONLY, no_item, NULL), PMKV_E_IO);
        cr_assert_eq(pmkv_count(r.kv, &count), PMKV_OK);
    }
    cr_assert_not(defer_settle_all(r.kv));
    cr_assert(defer_names(r.kv, pos_segment(&r.kv->shape, r.kv->deferrals[0].now)),
              "its segment may be freed");
    sim_set_gone(r.media, false);
    cr_assert_eq(pmkv_repair(r.kv, &left), PMKV_OK);
    both_are_there(&r);
    crash_end(&r);
}

Test(deferrals, what_was_displaced_is_rebuilt)
{
    struct crash_run r;
    uint64_t left;
    crash_begin(&r, PMKV_PARITY, 2);
    displace(&r);
    struct row_buf *buf = place_open_row(r.kv);
    sim_poison(r.media, row_copy_off(r.kv, buf, 0, 0), PAGE_BYTES);
    both_are_there(&r);
    cr_assert_eq(pmkv_repair(r.kv, &left), PMKV_OK);
    crash_end(&r);
}

Test(deferrals, recovery_knows_nothing_of_them)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 3);
    displace(&r);
    struct media *left = crash_image(r.media, sim_choose_none, NULL);
    struct pmkv *live = r.kv;
    struct pmkv_options o = crash_options(PMKV_PARITY);
    cr_assert_eq(store_open(left, &o, &r.kv), PMKV_OK, "%s", pmkv_errormsg());
    both_are_there(&r);
    cr_assert_eq(pmkv_close(&r.kv), PMKV_OK);
    r.kv = live;
    both_are_there(&r);
    crash_end(&r);
}

static uint32_t older_puts(struct pmkv *kv, uint32_t key)
{
    size_t bytes;
    const char *name = model_key(key, &bytes);
    struct index_find f;
    struct slot_ref ref;
    index_find_begin(kv->index, key_hash(name, bytes), &f);
    cr_assert(index_find_next(&f, &ref), "key %u has no slot", key);
    return slot_older(ref.slot);
}

/* I8: a delete that a put replaces is no older put. */
Test(deferrals, older_puts_are_counted_as_when_compared_at_once)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 4);
    model_put(&r.model, r.kv, 0, 100);
    model_put(&r.model, r.kv, 0, 90);
    cr_assert(defer_settle_all(r.kv));
    cr_assert_eq(older_puts(r.kv, 0), 1);
    model_delete(&r.model, r.kv, 0);
    cr_assert_eq(older_puts(r.kv, 0), 2);
    model_put(&r.model, r.kv, 0, 80);
    cr_assert(defer_settle_all(r.kv));
    cr_assert_eq(older_puts(r.kv, 0), 2);
    model_compare(&r.model, r.kv, 0, "in the end");
    crash_end(&r);
}

/* A thread's deferrals are settled when it has used them up, whatever it puts then. */
Test(deferrals, pieces_of_a_long_value_go_soon)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 5);
    for (uint32_t key = 0; key < DEFERRALS_EACH; key++)
        model_put(&r.model, r.kv, key, 20000);
    for (uint32_t key = 0; key < DEFERRALS_EACH; key++)
        model_put(&r.model, r.kv, key, 50);
    cr_assert_gt(index_slot_count(r.kv->index), DEFERRALS_EACH, "nothing was deferred");
    model_put(&r.model, r.kv, DEFERRALS_EACH, 50);
    cr_assert_eq(index_slot_count(r.kv->index), DEFERRALS_EACH + 1, "pieces are left");
    model_compare(&r.model, r.kv, 0, "in the end");
    crash_end(&r);
}

/* What was replaced makes room at once where there is none else. */
Test(deferrals, a_full_pool_takes_what_displaced_values_leave)
{
    struct crash_run r;
    char name[32];
    enum pmkv_status s = PMKV_OK;
    static uint8_t value[48 << 10];
    uint32_t keys = 0;
    crash_begin(&r, PMKV_PARITY, 6);
    memset(value, 0x5a, sizeof value);
    for (; s == PMKV_OK; keys += s == PMKV_OK) {
        snprintf(name, sizeof name, "long-%u", keys);
        s = pmkv_put(r.kv, name, strlen(name), value, sizeof value);
    }
    cr_assert_eq(s, PMKV_E_FULL);
    cr_assert_eq(put(r.kv, "long-0", "short"), PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_eq(pmkv_put(r.kv, "more", 4, value, sizeof value - 4096), PMKV_OK, "%s",
                 pmkv_errormsg());
    cr_assert_eq(pmkv_delete(r.kv, "more", 4), PMKV_OK);
    while (keys-- > 0) {
        snprintf(name, sizeof name, "long-%u", keys);
        cr_assert_eq(pmkv_delete(r.kv, name, strlen(name)), PMKV_OK);
    }
    crash_end(&r);
}
