/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Writing, while any one call fails. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "fail_kit.h"

TestSuite(fail_write, .timeout = 600);

static void each_pool(const char *name, enum pmkv_status (*run)(struct pmkv *kv),
                      void (*apply)(struct contents *contents))
{
    static const struct {
        enum kit_backend backend;
        enum pmkv_geometry geometry;
        const char *name;
    } pools[] = {{ON_MEMORY, PMKV_PARITY, "memory"},
                 {ON_DISK, PMKV_PARITY, "disk"},
                 {ON_DISK, PMKV_MIRROR, "disk, mirror"}};
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        struct kit_pool pool;
        char title[64];
        kit_pool_make(&pool, pools[i].backend, pools[i].geometry, CLEAN);
        snprintf(title, sizeof title, "%s on %s", name, pools[i].name);
        struct trial t = {.name = title,
                          .classes = FAULTS_ALL,
                          .pool = &pool,
                          .options = kit_options(&pool),
                          .run = run,
                          .apply = apply};
        kit_every_failure(&t);
        kit_pool_free(&pool);
    }
}

static enum pmkv_status put_new(struct pmkv *kv)
{
    return kit_put(kv, SPARE_KEY - 1, 1);
}
static void after_put_new(struct contents *contents)
{
    contents->version[SPARE_KEY - 1] = 1;
}
Test(fail_write, a_put_of_a_new_key_happens_or_not)
{
    each_pool("a put", put_new, after_put_new);
}

static enum pmkv_status put_again(struct pmkv *kv)
{
    return kit_put(kv, 5, 7);
}
static void after_put_again(struct contents *contents)
{
    contents->version[5] = 7;
}
Test(fail_write, a_put_over_an_old_record_keeps_one_of_both)
{
    each_pool("a put over", put_again, after_put_again);
}

static enum pmkv_status put_large(struct pmkv *kv)
{
    return kit_put(kv, LARGE_KEY, 7);
}
static void after_put_large(struct contents *contents)
{
    contents->version[LARGE_KEY] = 7;
}
Test(fail_write, a_long_value_is_replaced_whole_or_not)
{
    each_pool("a long put", put_large, after_put_large);
}

/* A long value over a long one, if it is still the one that is read here. */
static enum pmkv_status put_large_if(struct pmkv *kv)
{
    static uint8_t value[MAX_VALUE];
    char key[16];
    uint64_t version;
    size_t bytes, key_bytes = kit_key(key, LARGE_KEY);
    enum pmkv_status s =
        pmkv_get_version(kv, key, key_bytes, value, sizeof value, &bytes, &version);
    if (s)
        return s;
    return pmkv_put_if(kv, key, key_bytes, value, kit_value(value, LARGE_KEY, 7), version, NULL);
}
Test(fail_write, a_put_on_a_version_happens_or_not)
{
    each_pool("a put on a version", put_large_if, after_put_large);
}

/* What was stored ahead goes again, whatever fails. */
static enum pmkv_status put_large_refused(struct pmkv *kv)
{
    static uint8_t value[MAX_VALUE];
    char key[16];
    size_t key_bytes = kit_key(key, LARGE_KEY), bytes = kit_value(value, LARGE_KEY, 7);
    enum pmkv_status s = pmkv_put_if(kv, key, key_bytes, value, bytes, PMKV_ABSENT, NULL);
    return s == PMKV_E_EXISTS ? PMKV_OK : s == PMKV_OK ? PMKV_E_BUG : s;
}
Test(fail_write, a_refused_put_changes_nothing)
{
    each_pool("a refused put", put_large_refused, NULL);
}

static enum pmkv_status delete_one(struct pmkv *kv)
{
    char key[16];
    return pmkv_delete(kv, key, kit_key(key, 4));
}
static void after_delete_one(struct contents *contents)
{
    contents->version[4] = 0;
}
Test(fail_write, a_delete_happens_or_not)
{
    each_pool("a delete", delete_one, after_delete_one);
}

static enum pmkv_status add(struct pmkv_batch *batch, unsigned key, int version)
{
    static uint8_t value[MAX_VALUE];
    char name[16];
    size_t key_bytes = kit_key(name, key);
    return pmkv_batch_put(batch, name, key_bytes, value, kit_value(value, key, version));
}

/* Members over several rows, one of them long, and deletes; every error of a step is the batch's.
 */
static enum pmkv_status write_batch(struct pmkv *kv)
{
    struct pmkv_batch *batch = NULL;
    char key[16];
    enum pmkv_status s = pmkv_batch_new(&batch);
    for (unsigned i = 5; i < SPARE_KEY && s == PMKV_OK; i++)
        s = add(batch, i, 8);
    if (s == PMKV_OK)
        s = add(batch, LARGE_KEY, 8);
    if (s == PMKV_OK)
        s = pmkv_batch_delete(batch, key, kit_key(key, 4));
    if (s == PMKV_OK)
        s = pmkv_write(kv, batch);
    pmkv_batch_free(&batch);
    return s;
}
static void after_batch(struct contents *contents)
{
    for (unsigned i = 5; i < SPARE_KEY; i++)
        contents->version[i] = 8;
    contents->version[LARGE_KEY] = 8;
    contents->version[4] = 0;
}
Test(fail_write, a_batch_happens_as_a_whole_or_not)
{
    each_pool("a batch", write_batch, after_batch);
}
