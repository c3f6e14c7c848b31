/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/value.h"

/* What is read is of no use to anybody else; what is being put must hold, for a hook may compare
 * and put meanwhile. */
static uint8_t value[MODEL_MAX_BYTES];

const char *model_key(uint32_t index, size_t *bytes)
{
    static char keys[MODEL_KEYS][24];
    char *key = keys[index];
    if (!*key)
        snprintf(key, sizeof keys[0], "key-%u%.*s", index, (int)(index % 7), "-------");
    *bytes = strlen(key);
    return key;
}

/* --- operations ------------------------------------------------------------------------------- */

static void *next_value(struct model *m, uint32_t key, uint32_t bytes)
{
    size_t key_bytes;
    uint8_t *made = malloc(bytes + 1);
    const char *name = model_key(key, &key_bytes);
    cr_assert_leq(bytes, MODEL_MAX_BYTES);
    m->flight[m->flight_count].key = key;
    m->flight[m->flight_count].to = (struct model_value){++m->last_version, bytes};
    m->flight_count++;
    test_value_fill(made, bytes, name, key_bytes, m->last_version);
    return made;
}

void model_settle(struct model *m, bool happened)
{
    for (uint32_t i = 0; i < m->flight_count && happened; i++)
        m->now[m->flight[i].key] = m->flight[i].to;
    m->flight_count = 0;
}

enum pmkv_status model_try_put(struct model *m, struct pmkv *kv, uint32_t key, uint32_t bytes)
{
    void *made = next_value(m, key, bytes);
    size_t key_bytes;
    const char *name = model_key(key, &key_bytes);
    enum pmkv_status s = pmkv_put(kv, name, key_bytes, made, bytes);
    free(made);
    return s;
}

static void settle_ok(struct model *m, enum pmkv_status s, const char *what, uint32_t key)
{
    cr_assert_eq(s, PMKV_OK, "%s of key %u: %s (%s)", what, key, pmkv_status_name(s),
                 pmkv_errormsg());
    model_settle(m, true);
}

void model_put(struct model *m, struct pmkv *kv, uint32_t key, uint32_t bytes)
{
    settle_ok(m, model_try_put(m, kv, key, bytes), "put", key);
}

void model_delete(struct model *m, struct pmkv *kv, uint32_t key)
{
    size_t key_bytes;
    const char *name = model_key(key, &key_bytes);
    bool there = m->now[key].version != 0;
    m->flight[m->flight_count].key = key;
    m->flight[m->flight_count++].to = (struct model_value){0, 0};
    enum pmkv_status s = pmkv_delete(kv, name, key_bytes);
    if (!there && s == PMKV_E_NOT_FOUND)
        s = PMKV_OK;
    settle_ok(m, s, "delete", key);
}

uint64_t model_version(struct pmkv *kv, uint32_t key)
{
    size_t key_bytes, bytes;
    uint64_t version = PMKV_ABSENT;
    const char *name = model_key(key, &key_bytes);
    enum pmkv_status s =
        pmkv_get_version(kv, name, key_bytes, value, sizeof value, &bytes, &version);
    cr_assert(s == PMKV_OK || s == PMKV_E_NOT_FOUND, "version of key %u: %s", key,
              pmkv_status_name(s));
    return version;
}

/* What a condition that does not hold is answered with; nothing is in flight then. */
static void refused(struct pmkv *kv, uint32_t key, uint32_t bytes, uint64_t now, uint64_t asked)
{
    size_t key_bytes;
    uint64_t untouched = 4711;
    const char *name = model_key(key, &key_bytes);
    enum pmkv_status want = now == PMKV_ABSENT     ? PMKV_E_NOT_FOUND
                            : asked == PMKV_ABSENT ? PMKV_E_EXISTS
                                                   : PMKV_E_CONFLICT;
    uint8_t *other = calloc(1, bytes + 1);
    enum pmkv_status s = pmkv_put_if(kv, name, key_bytes, other, bytes, asked, &untouched);
    free(other);
    cr_assert_eq(s, want, "put of key %u if it has version %llu: %s, not %s", key,
                 (unsigned long long)asked, pmkv_status_name(s), pmkv_status_name(want));
    cr_assert_eq(untouched, 4711);
    s = asked == PMKV_ABSENT ? want : pmkv_delete_if(kv, name, key_bytes, asked);
    cr_assert_eq(s, want, "delete of key %u if it has version %llu: %s, not %s", key,
                 (unsigned long long)asked, pmkv_status_name(s), pmkv_status_name(want));
}

static uint64_t refused_otherwise(const struct model *m, struct pmkv *kv, uint32_t key,
                                  uint32_t bytes)
{
    uint64_t now = model_version(kv, key);
    cr_assert_eq(now != PMKV_ABSENT, m->now[key].version != 0);
    refused(kv, key, bytes, now, now + 1);
    if (now > 1)
        refused(kv, key, bytes, now, now - 1);
    refused(kv, key, bytes, now, now == PMKV_ABSENT ? 1 : PMKV_ABSENT);
    return now;
}

void model_put_if(struct model *m, struct pmkv *kv, uint32_t key, uint32_t bytes)
{
    uint64_t now = refused_otherwise(m, kv, key, bytes), after = 0;
    void *made = next_value(m, key, bytes);
    size_t key_bytes;
    const char *name = model_key(key, &key_bytes);
    enum pmkv_status s = pmkv_put_if(kv, name, key_bytes, made, bytes, now, &after);
    free(made);
    settle_ok(m, s, "put on its version", key);
    cr_assert_gt(after, now);
    cr_assert_eq(after, model_version(kv, key));
}

void model_delete_if(struct model *m, struct pmkv *kv, uint32_t key)
{
    uint64_t now = refused_otherwise(m, kv, key, 10);
    size_t key_bytes;
    const char *name = model_key(key, &key_bytes);
    m->flight[m->flight_count].key = key;
    m->flight[m->flight_count++].to = (struct model_value){0, 0};
    settle_ok(m, pmkv_delete_if(kv, name, key_bytes, now), "delete on its version", key);
}

void model_batch(struct model *m, struct pmkv *kv, uint32_t first, uint32_t puts, uint32_t deletes,
                 uint32_t bytes)
{
    struct pmkv_batch *batch;
    size_t key_bytes;
    cr_assert_eq(pmkv_batch_new(&batch), PMKV_OK);
    for (uint32_t i = first; i < first + puts; i++) {
        void *made = next_value(m, i, bytes);
        const char *name = model_key(i, &key_bytes);
        cr_assert_eq(pmkv_batch_put(batch, name, key_bytes, made, bytes), PMKV_OK);
        free(made);
    }
    for (uint32_t i = first + puts; i < first + puts + deletes; i++) {
        const char *name = model_key(i, &key_bytes);
        m->flight[m->flight_count].key = i;
        m->flight[m->flight_count++].to = (struct model_value){0, 0};
        cr_assert_eq(pmkv_batch_delete(batch, name, key_bytes), PMKV_OK);
    }
    enum pmkv_status s = pmkv_write(kv, batch);
    pmkv_batch_free(&batch);
    settle_ok(m, s, "batch", first);
}

/* --- comparing -------------------------------------------------------------------------------- */

static bool holds(struct pmkv *kv, uint32_t key, struct model_value v, unsigned flags,
                  enum pmkv_status *got, size_t *got_bytes)
{
    size_t key_bytes;
    const char *name = model_key(key, &key_bytes);
    *got_bytes = 0;
    *got = pmkv_get(kv, name, key_bytes, value, sizeof value, got_bytes);
    if (*got == PMKV_E_LOST && flags & MODEL_LOST_IS_FINE)
        return true;
    if (v.version == 0)
        return *got == PMKV_E_NOT_FOUND;
    return *got == PMKV_OK && *got_bytes == v.bytes &&
           test_value_is(value, v.bytes, name, key_bytes, v.version);
}

static struct model_value *in_flight(const struct model *m, uint32_t key)
{
    for (uint32_t i = m->flight_count; i > 0; i--)
        if (m->flight[i - 1].key == key)
            return (struct model_value *)&m->flight[i - 1].to;
    return NULL;
}

static uint64_t keys_of(const struct model *m, bool after)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < MODEL_KEYS; i++) {
        const struct model_value *to = after ? in_flight(m, i) : NULL;
        count += (to ? to->version : m->now[i].version) != 0;
    }
    return count;
}

static void fail_key(uint32_t key, const struct model_value *wanted, enum pmkv_status got,
                     size_t bytes, const char *where)
{
    size_t key_bytes;
    const char *name = model_key(key, &key_bytes);
    cr_assert_fail(
        "%s: key %u should have version %llu of %u bytes, got %s with %zu bytes: %s", where, key,
        (unsigned long long)wanted->version, wanted->bytes, pmkv_status_name(got), bytes,
        got == PMKV_OK ? test_value_explain(value, bytes, name, key_bytes) : pmkv_errormsg());
}

/* Number of the model's key; MODEL_KEYS: it is none. */
static uint32_t number_of(const struct pmkv_item *item)
{
    uint32_t i;
    for (i = 0; i < MODEL_KEYS; i++) {
        size_t key_bytes;
        const char *name = model_key(i, &key_bytes);
        if (key_bytes == item->key_bytes && memcmp(name, item->key, key_bytes) == 0)
            break;
    }
    return i;
}

static bool comes_after(const struct pmkv_item *item, const uint8_t *before, size_t bytes)
{
    int order = memcmp(item->key, before, bytes < item->key_bytes ? bytes : item->key_bytes);
    return order ? order > 0 : item->key_bytes > bytes;
}

/* What an iterator shows, in order and with a status, is what gets find. */
static void compare_order(struct pmkv *kv, const char *where)
{
    struct pmkv_iter *iter = NULL;
    const struct pmkv_item *item;
    uint8_t before[64];
    size_t before_bytes = 0;
    enum pmkv_status shown[MODEL_KEYS];
    for (uint32_t i = 0; i < MODEL_KEYS; i++)
        shown[i] = PMKV_E_NOT_FOUND;
    if (pmkv_iter_new(kv, 0, &iter) == PMKV_E_UNSUPPORTED)
        return;
    for (enum pmkv_status s = pmkv_iter_seek(iter, NULL, 0);; s = pmkv_iter_next(iter)) {
        cr_assert_eq(s, PMKV_OK, "%s: iterator: %s", where, pmkv_errormsg());
        if ((item = pmkv_iter_item(iter)) == NULL)
            break;
        cr_assert(comes_after(item, before, before_bytes), "%s: keys out of order", where);
        uint32_t i = number_of(item);
        memcpy(before, item->key, before_bytes = item->key_bytes);
        if (i < MODEL_KEYS)
            shown[i] = item->status;
    }
    for (uint32_t i = 0; i < MODEL_KEYS; i++) {
        size_t key_bytes;
        const char *name = model_key(i, &key_bytes);
        enum pmkv_status got = pmkv_exists(kv, name, key_bytes);
        if (got != PMKV_E_LOST) /* whose name may be lost as well */
            cr_assert_eq(shown[i], got, "%s: key %u is %s, and the iterator says %s", where, i,
                         pmkv_status_name(got), pmkv_status_name(shown[i]));
    }
    pmkv_iter_free(&iter);
}

unsigned model_compare(const struct model *m, struct pmkv *kv, unsigned flags, const char *where)
{
    unsigned states = MODEL_BEFORE | MODEL_AFTER;
    enum pmkv_status got;
    size_t bytes;
    for (uint32_t i = 0; i < MODEL_KEYS; i++) {
        const struct model_value *to = in_flight(m, i);
        bool before = holds(kv, i, m->now[i], flags, &got, &bytes);
        if (!to && !before)
            fail_key(i, &m->now[i], got, bytes, where);
        if (!to)
            continue;
        bool after = holds(kv, i, *to, flags, &got, &bytes);
        if (!before && !after)
            fail_key(i, to, got, bytes, where);
        states &= (before ? MODEL_BEFORE : 0) | (after ? MODEL_AFTER : 0);
        cr_assert_neq(states, 0, "%s: half of what was in flight is there (key %u)", where, i);
    }
    compare_order(kv, where);
    uint64_t count;
    cr_assert_eq(pmkv_count(kv, &count), PMKV_OK);
    if (flags & MODEL_LOST_IS_FINE)
        return states;
    bool counts = (states & MODEL_BEFORE && count == keys_of(m, false)) ||
                  (states & MODEL_AFTER && count == keys_of(m, true));
    cr_assert(counts, "%s: %llu keys are counted, not %llu or %llu", where,
              (unsigned long long)count, (unsigned long long)keys_of(m, false),
              (unsigned long long)keys_of(m, true));
    return states;
}
