/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What a manifest says of the pieces of its value: V9 of docs/format.md. */
#include <criterion/criterion.h>
#include <string.h>

#include "crash_run.h"
#include "kv/lane.h"
#include "kv/write.h"

TestSuite(long_values, .timeout = 120);

enum { VALUE_BYTES = 50000 };
static const char key[] = "long";

static void fill(uint8_t *value)
{
    struct test_rng rng = test_rng_make(7, 0);
    for (size_t i = 0; i < VALUE_BYTES; i++)
        value[i] = (uint8_t)test_rng_next(&rng);
}

/* Puts the key with a manifest of the caller's. */
static void put_manifest(struct pmkv *kv, const struct manifest *m)
{
    struct lane *lane = lane_pick(kv);
    struct log_pos pos;
    uint64_t hash = hash64(key, sizeof key);
    struct draft d = {.type = RECORD_MANIFEST,
                      .key_bytes = sizeof key,
                      .value_bytes = sizeof *m,
                      .key = key,
                      .value = m,
                      .key_hash = hash,
                      .value_hash = hash64(m, sizeof *m),
                      .seq = counter_next(kv, 1)};
    cr_assert_eq(lane_begin(kv, lane, record_packed(sizeof key, sizeof *m), 1, SPACE_PUT), 0);
    cr_assert_eq(lane_add(kv, lane, &d, &pos), 0);
    cr_assert_eq(lane_commit(kv, lane), 0);
    lane_unlock(lane);
    index_lock(kv->index, index_stripe(hash));
    cr_assert_eq(index_insert(kv->index, hash, slot_make(pos.v, 0, hash)), 0);
    index_unlock(kv->index, index_stripe(hash));
    record_published(&kv->segments[pos_place(&kv->shape, pos).segment]);
}

/* Stores the value, lets the caller change its manifest, and says what a get then answers. */
static enum pmkv_status get_with(void (*change)(struct manifest *m, const uint8_t *value))
{
    static uint8_t value[VALUE_BYTES], got[VALUE_BYTES];
    struct crash_run r;
    struct manifest m;
    size_t bytes = 0;
    fill(value);
    crash_begin(&r, PMKV_PARITY, 51);
    cr_assert_eq(extents_store(r.kv, value, sizeof value, &m), PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_gt(m.extents, 1);
    change(&m, value);
    put_manifest(r.kv, &m);
    enum pmkv_status s = pmkv_get(r.kv, key, sizeof key, got, sizeof got, &bytes);
    if (s == PMKV_OK)
        cr_assert(bytes == sizeof value && memcmp(got, value, bytes) == 0);
    crash_close(&r.kv, "at the end");
    return s;
}

static void leave(struct manifest *m, const uint8_t *value)
{
    (void)m, (void)value;
}

static void other_hash(struct manifest *m, const uint8_t *value)
{
    (void)value;
    m->value_hash ^= 1;
}

static void fewer_pieces(struct manifest *m, const uint8_t *value)
{
    (void)value;
    m->extents--;
}

static void of_another_form(struct manifest *m, const uint8_t *value)
{
    (void)value;
    m->reserved = 1;
}

Test(long_values, are_read_by_the_hashes_of_their_pieces)
{
    cr_assert_eq(get_with(leave), PMKV_OK);
}

Test(long_values, of_other_pieces_than_the_manifest_says_are_not_returned)
{
    cr_assert_eq(get_with(other_hash), PMKV_E_LOST);
    cr_assert_eq(get_with(fewer_pieces), PMKV_E_LOST);
    cr_assert_eq(get_with(of_another_form), PMKV_E_LOST);
}
