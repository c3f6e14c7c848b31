/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Puts and deletes on a condition, and the versions they compare. */
#include <criterion/criterion.h>

#include "place.h"
#include "script.h"

TestSuite(put_if, .timeout = 120);

static enum pmkv_status put_on(struct pmkv *kv, uint32_t key, uint32_t bytes, uint64_t version)
{
    static uint8_t value[MODEL_MAX_BYTES];
    size_t key_bytes;
    const char *name = model_key(key, &key_bytes);
    return pmkv_put_if(kv, name, key_bytes, value, bytes, version, NULL);
}

static enum pmkv_status delete_on(struct pmkv *kv, uint32_t key, uint64_t version)
{
    size_t key_bytes;
    const char *name = model_key(key, &key_bytes);
    return pmkv_delete_if(kv, name, key_bytes, version);
}

Test(put_if, a_version_stays_when_its_record_is_moved)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 1);
    model_put(&r.model, r.kv, 0, 100);
    model_batch(&r.model, r.kv, 1, 2, 0, 100);
    model_put(&r.model, r.kv, 3, 20000); /* its manifest moves, and its pieces */
    uint32_t segment = place_segment_of(r.kv, 0);
    uint64_t versions[4];
    for (uint32_t key = 0; key < 4; key++)
        versions[key] = model_version(r.kv, key);
    script_fill_segment(&r, 20, 20);
    place_clean(r.kv, segment);
    cr_assert_neq(place_segment_of(r.kv, 0), segment, "nothing was moved");
    for (uint32_t key = 0; key < 4; key++)
        cr_assert_eq(model_version(r.kv, key), versions[key], "key %u, moved", key);
    crash_now(&r, sim_choose_none, NULL);
    crash_reopen(&r);
    for (uint32_t key = 0; key < 4; key++) {
        cr_assert_eq(model_version(r.kv, key), versions[key], "key %u, recovered", key);
        model_put_if(&r.model, r.kv, key, 50);
    }
    crash_end(&r);
}

Test(put_if, a_version_does_not_come_back)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 2);
    model_put(&r.model, r.kv, 0, 100);
    uint64_t first = model_version(r.kv, 0);
    model_delete(&r.model, r.kv, 0);
    cr_assert_eq(put_on(r.kv, 0, 10, first), PMKV_E_NOT_FOUND);
    crash_now(&r, sim_choose_none, NULL);
    model_put(&r.model, r.kv, 0, 100);
    cr_assert_gt(model_version(r.kv, 0), first);
    cr_assert_eq(put_on(r.kv, 0, 10, first), PMKV_E_CONFLICT);
    cr_assert_eq(delete_on(r.kv, 0, first), PMKV_E_CONFLICT);
    model_compare(&r.model, r.kv, 0, "after the refusals");
    crash_end(&r);
}

Test(put_if, a_refused_put_stores_nothing)
{
    struct crash_run r;
    struct pmkv_stats before, after;
    crash_begin(&r, PMKV_PARITY, 3);
    model_put(&r.model, r.kv, 0, 100);
    cr_assert_eq(pmkv_stats(r.kv, &before), PMKV_OK);
    cr_assert_eq(put_on(r.kv, 0, 10, PMKV_ABSENT), PMKV_E_EXISTS);
    cr_assert_eq(put_on(r.kv, 0, 10, 1ull << 60), PMKV_E_CONFLICT);
    cr_assert_eq(delete_on(r.kv, 0, 1ull << 60), PMKV_E_CONFLICT);
    cr_assert_eq(put_on(r.kv, 1, 10, 1ull << 60), PMKV_E_NOT_FOUND);
    cr_assert_eq(delete_on(r.kv, 1, 1ull << 60), PMKV_E_NOT_FOUND);
    cr_assert_eq(delete_on(r.kv, 0, PMKV_ABSENT), PMKV_E_INVALID);
    cr_assert_eq(pmkv_put_if(r.kv, "", 0, "v", 1, PMKV_ABSENT, NULL), PMKV_E_INVALID);
    cr_assert_eq(pmkv_stats(r.kv, &after), PMKV_OK);
    cr_assert_eq(after.media_bytes_written, before.media_bytes_written);
    cr_assert_eq(after.fences, before.fences);
    cr_assert_eq(after.puts, before.puts);
    cr_assert_eq(after.deletes, before.deletes);
    crash_end(&r);
}

/* Units of records that count. Without the store's own: how much the summaries take depends on
 * which segments the cleaner has not come to yet. */
static uint64_t live_records(const struct pmkv *kv)
{
    uint64_t units = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
        units += kind_is_log(kv->segments[i].kind) ? kv->segments[i].live_units : 0;
    return units;
}

Test(put_if, the_pieces_of_a_refused_long_value_go)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 4);
    model_put(&r.model, r.kv, 0, 100000);
    uint64_t before = live_records(r.kv);
    for (uint32_t i = 0; i < 100; i++) { /* several times what the pool holds */
        cr_assert_eq(put_on(r.kv, 0, 140000, PMKV_ABSENT), PMKV_E_EXISTS, "%u", i);
        cr_assert_eq(put_on(r.kv, 1, 140000, 7), PMKV_E_NOT_FOUND, "%u", i);
    }
    cr_assert_eq(live_records(r.kv), before);
    model_compare(&r.model, r.kv, 0, "after the refusals");
    crash_now(&r, sim_choose_none, NULL);
    model_put_if(&r.model, r.kv, 0, 140000);
    crash_end(&r);
}

Test(put_if, nobody_can_say_what_version_a_lost_record_had)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_NONE, 5);
    model_put(&r.model, r.kv, 0, 100);
    uint64_t version = model_version(r.kv, 0);
    script_fill_segment(&r, 20, 20);
    cr_assert(place_of_key(r.kv, 0, &place));
    place.offset += 12; /* its header, so that its number cannot be read either */
    place_flip(r.media, place_offset(r.kv, place, 0));
    for (int known = 0; known < 2; known++) { /* met by the conditional ones first; then listed */
        cr_assert_eq(put_on(r.kv, 0, 10, PMKV_ABSENT), PMKV_E_LOST, "%d", known);
        cr_assert_eq(put_on(r.kv, 0, 10, version), PMKV_E_LOST, "%d", known);
        cr_assert_eq(delete_on(r.kv, 0, version), PMKV_E_LOST, "%d", known);
        cr_assert_eq(place_get(r.kv, 0), PMKV_E_LOST, "%d", known);
    }
    model_put(&r.model, r.kv, 0, 10);
    model_put_if(&r.model, r.kv, 0, 20);
    model_compare(&r.model, r.kv, 0, "written again");
    crash_close(&r.kv, "at the end");
}

Test(put_if, a_full_pool_takes_no_put_but_a_delete)
{
    static const uint32_t sizes[] = {150000, 60000, 6000};
    struct crash_run r;
    enum pmkv_status s = PMKV_OK;
    uint32_t key = 0;
    crash_begin(&r, PMKV_PARITY, 6);
    for (uint32_t i = 0; i < 3; i++)
        for (s = PMKV_OK; s == PMKV_OK && key < MODEL_KEYS; key += s == PMKV_OK)
            s = put_on(r.kv, key, sizes[i], PMKV_ABSENT);
    cr_assert_eq(s, PMKV_E_FULL);
    uint64_t version = model_version(r.kv, 0);
    cr_assert_eq(put_on(r.kv, 0, 150000, version), PMKV_E_FULL);
    cr_assert_eq(model_version(r.kv, key), PMKV_ABSENT);
    cr_assert_eq(model_version(r.kv, 0), version);
    cr_assert_eq(delete_on(r.kv, 0, version + 1), PMKV_E_CONFLICT);
    cr_assert_eq(delete_on(r.kv, 0, version), PMKV_OK);
    cr_assert_eq(delete_on(r.kv, 0, version), PMKV_E_NOT_FOUND);
    crash_close(&r.kv, "at the end");
}
