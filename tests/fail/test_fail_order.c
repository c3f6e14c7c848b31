/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A store with an ordered index while any one call fails: what an iterator shows is all there is,
 * or it says that it is not; and puts do not depend on it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "fail_kit.h"

TestSuite(fail_order, .timeout = 600);

/* A key that is not there, and makes its node of the ordered index larger. */
enum { LONG_KEY = 1000, LONG_BIT = 1u << KEYS };
static char long_key[LONG_KEY];

static const struct kit_pool *pool_now;

static void each_failure(const char *name, enum kit_state state, const struct trial *trial)
{
    struct kit_pool pool;
    struct trial t = *trial;
    kit_pool_make(&pool, ON_MEMORY, PMKV_PARITY, state);
    pool_now = &pool;
    t.name = name;
    t.classes = FAULTS_ALL;
    t.pool = &pool;
    t.options = kit_options(&pool);
    t.options.ordered = true;
    kit_every_failure(&t);
    kit_pool_free(&pool);
}

static void see(const struct pmkv_item *item, unsigned *seen)
{
    static uint8_t want[MAX_VALUE];
    char name[16] = "";
    unsigned key = KEYS;
    if (item->key_bytes == LONG_KEY && memcmp(item->key, long_key, LONG_KEY) == 0) {
        *seen |= LONG_BIT;
        return;
    }
    memcpy(name, item->key, item->key_bytes < 15 ? item->key_bytes : 15);
    bool known = sscanf(name, "key%u", &key) == 1 && key < KEYS;
    if (!kit_that(known, "a key of %zu bytes that was never put", item->key_bytes))
        return;
    *seen |= 1u << key;
    int version = pool_now->contents.version[key];
    kit_that(item->status == PMKV_OK && version > 0 &&
                 item->value_bytes == kit_value(want, key, version) &&
                 memcmp(item->value, want, item->value_bytes) == 0,
             "key%u: wrong bytes", key);
}

static enum pmkv_status go_through(struct pmkv *kv, bool with_long_key)
{
    struct pmkv_iter *iter = NULL;
    unsigned seen = 0;
    enum pmkv_status s = pmkv_iter_new(kv, 0, &iter);
    if (s == PMKV_OK)
        s = pmkv_iter_seek(iter, NULL, 0);
    while (s == PMKV_OK && pmkv_iter_item(iter)) {
        see(pmkv_iter_item(iter), &seen);
        s = pmkv_iter_next(iter);
    }
    pmkv_iter_free(&iter);
    for (unsigned key = 0; key < KEYS && s == PMKV_OK; key++)
        kit_that((seen >> key & 1) == (pool_now->contents.version[key] > 0),
                 "key%u is shown, or is not, wrongly", key);
    if (s == PMKV_OK)
        kit_that(with_long_key == (seen >= LONG_BIT), "the long key is missing, or there");
    return s;
}

static enum pmkv_status iterate(struct pmkv *kv)
{
    return go_through(kv, false);
}

Test(fail_order, an_iterator_shows_everything_or_is_an_error)
{
    each_failure("iterate", CLEAN, &(struct trial){.run = iterate});
    each_failure("iterate, damaged", DAMAGED, &(struct trial){.run = iterate});
}

static enum pmkv_status put_new(struct pmkv *kv)
{
    memset(long_key, 'z', sizeof long_key);
    enum pmkv_status s = pmkv_put(kv, long_key, LONG_KEY, "value", 5);
    enum pmkv_status then = s == PMKV_OK ? go_through(kv, true) : PMKV_OK;
    kit_that(then == PMKV_OK || then == PMKV_E_NO_MEMORY || then == PMKV_E_IO, "iterator: %s",
             pmkv_status_name(then));
    return s;
}

Test(fail_order, a_put_does_not_depend_on_it)
{
    each_failure("a put, iterated", CLEAN, &(struct trial){.run = put_new});
}

Test(fail_order, an_open_has_all_keys_or_fails)
{
    each_failure("open", CLEAN, &(struct trial){.run = iterate, .opens = true});
    each_failure("open, damaged", CRASHED_DAMAGED, &(struct trial){.run = iterate, .opens = true});
}
