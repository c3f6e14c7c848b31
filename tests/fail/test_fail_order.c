/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A store with an ordered index while any one call fails: what an iterator shows is all there is,
 * or it says that it is not; and puts do not depend on it. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "fail_kit.h"

TestSuite(fail_order, .timeout = 600);

enum { NEW_KEY = SPARE_KEY - 1, PUTS = 30 }; /* is not there; so many fill its node's bytes */
static int new_version;

static const struct kit_pool *pool_now;

static void each_failure(const char *name, enum kit_state state, const struct trial *trial)
{
    struct kit_pool pool;
    struct trial t = *trial;
    kit_pool_make(&pool, ON_MEMORY, PMKV_PARITY, state);
    pool_now = &pool;
    t.name = name;
    if (t.classes == 0)
        t.classes = FAULTS_ALL;
    t.pool = &pool;
    t.options = kit_options(&pool);
    t.options.ordered = true;
    kit_every_failure(&t);
    kit_pool_free(&pool);
}

static int version_of(unsigned key)
{
    return key == NEW_KEY ? new_version : pool_now->contents.version[key];
}

static void see(const struct pmkv_item *item, unsigned *seen)
{
    static uint8_t want[MAX_VALUE];
    char name[16] = "";
    unsigned key = KEYS;
    memcpy(name, item->key, item->key_bytes < 15 ? item->key_bytes : 15);
    bool known = sscanf(name, "key%u", &key) == 1 && key < KEYS;
    if (!kit_that(known, "a key of %zu bytes that was never put", item->key_bytes))
        return;
    *seen |= 1u << key;
    int version = version_of(key);
    kit_that(item->status == PMKV_OK && version > 0 &&
                 item->value_bytes == kit_value(want, key, version) &&
                 memcmp(item->value, want, item->value_bytes) == 0,
             "key%u: wrong bytes", key);
}

/* After an error it is between two keys: back is the last one it showed. */
static void go_back(struct pmkv_iter *iter, const char *last, size_t last_bytes)
{
    if (pmkv_iter_prev(iter) != PMKV_OK)
        return;
    const struct pmkv_item *item = pmkv_iter_item(iter);
    kit_that(item && item->key_bytes == last_bytes && memcmp(item->key, last, last_bytes) == 0,
             "back from an error leads to another key than '%.*s'", (int)last_bytes, last);
}

static enum pmkv_status go_through(struct pmkv *kv)
{
    struct pmkv_iter *iter = NULL;
    unsigned seen = 0;
    char last[16];
    size_t last_bytes = 0;
    enum pmkv_status s = pmkv_iter_new(kv, 0, &iter);
    if (s == PMKV_OK)
        s = pmkv_iter_seek(iter, NULL, 0);
    while (s == PMKV_OK && pmkv_iter_item(iter)) {
        const struct pmkv_item *item = pmkv_iter_item(iter);
        see(item, &seen);
        last_bytes = item->key_bytes < sizeof last ? item->key_bytes : sizeof last;
        memcpy(last, item->key, last_bytes);
        s = pmkv_iter_next(iter);
    }
    if (s != PMKV_OK && last_bytes > 0)
        go_back(iter, last, last_bytes);
    pmkv_iter_free(&iter);
    for (unsigned key = 0; key < KEYS && s == PMKV_OK; key++)
        kit_that((seen >> key & 1) == (version_of(key) > 0), "key%u is shown, or is not, wrongly",
                 key);
    return s;
}

static enum pmkv_status iterate(struct pmkv *kv)
{
    new_version = 0;
    return go_through(kv);
}

Test(fail_order, an_iterator_shows_everything_or_is_an_error)
{
    each_failure("iterate", CLEAN, &(struct trial){.run = iterate});
    each_failure("iterate, damaged", DAMAGED, &(struct trial){.run = iterate});
}

/* A new key again and again; each time what an iterator shows is right, or it is an error. */
static enum pmkv_status put_often(struct pmkv *kv)
{
    enum pmkv_status s = PMKV_OK;
    char name[16];
    new_version = 0;
    for (int i = 1; i <= PUTS && s == PMKV_OK; i++) {
        s = kit_put(kv, NEW_KEY, i);
        new_version = s == PMKV_OK ? i : 0;
        enum pmkv_status then = go_through(kv);
        kit_that(then == PMKV_OK || then == PMKV_E_NO_MEMORY, "%s", pmkv_status_name(then));
        if (s == PMKV_OK && i < PUTS)
            s = pmkv_delete(kv, name, kit_key(name, NEW_KEY));
        if (s == PMKV_OK && i < PUTS)
            new_version = 0;
    }
    return s;
}

static void after_puts(struct contents *contents)
{
    contents->version[NEW_KEY] = new_version;
}

Test(fail_order, puts_do_not_depend_on_it)
{
    struct trial t = {
        .classes = FAULTS_MEMORY, .run = put_often, .apply = after_puts, .steps = true};
    each_failure("puts, iterated", CLEAN, &t);
}

Test(fail_order, an_open_has_all_keys_or_fails)
{
    each_failure("open", CLEAN, &(struct trial){.run = iterate, .opens = true});
    each_failure("open, damaged", CRASHED_DAMAGED, &(struct trial){.run = iterate, .opens = true});
}
