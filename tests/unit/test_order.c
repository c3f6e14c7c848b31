/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The tree of keys beside a sorted array of them. */
#include <criterion/criterion.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/order.h"
#include "support/rng.h"

TestSuite(order, .timeout = 120);

enum { KEY_HIGH = 40, LONG_KEY = 65535 };

/* --- the model -------------------------------------------------------------------------------- */

struct key {
    uint32_t length;
    uint8_t bytes[KEY_HIGH];
};
struct model {
    struct order *order;
    struct key *keys;
    size_t count, room;
};

static struct key_view view(const struct key *key)
{
    return (struct key_view){key->bytes, key->length};
}

static int model_compare(const struct key *a, const struct key *b)
{
    for (uint32_t i = 0; i < a->length && i < b->length; i++)
        if (a->bytes[i] != b->bytes[i])
            return a->bytes[i] < b->bytes[i] ? -1 : 1;
    return a->length == b->length ? 0 : a->length < b->length ? -1 : 1;
}

/* The first that is not less. */
static size_t model_place(const struct model *m, const struct key *key, bool *equal)
{
    size_t low = 0, high = m->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (model_compare(&m->keys[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *equal = low < m->count && model_compare(&m->keys[low], key) == 0;
    return low;
}

static void model_insert(struct model *m, const struct key *key)
{
    bool equal;
    size_t at = model_place(m, key, &equal);
    cr_assert(order_insert(m->order, view(key)));
    if (equal)
        return;
    if (m->count == m->room) {
        m->room = 2 * m->room + 64;
        m->keys = realloc(m->keys, m->room * sizeof *m->keys);
    }
    memmove(m->keys + at + 1, m->keys + at, (m->count++ - at) * sizeof *m->keys);
    m->keys[at] = *key;
}

static void model_remove(struct model *m, const struct key *key)
{
    bool equal;
    size_t at = model_place(m, key, &equal);
    order_remove(m->order, view(key));
    if (equal)
        memmove(m->keys + at, m->keys + at + 1, (--m->count - at) * sizeof *m->keys);
}

/* What order_read says against what the array says. */
static void model_read(const struct model *m, const struct key *key, bool itself, bool downwards,
                       uint32_t most)
{
    struct key_run run = {0};
    struct order_from from = {.itself = itself, .downwards = downwards};
    bool equal = false;
    size_t at = downwards ? m->count : 0;
    if (key) {
        from.key = view(key);
        at = model_place(m, key, &equal);
        if (equal && (downwards ? itself : !itself))
            at++;
    }
    cr_assert_eq(order_read(m->order, &from, most, &run), 0);
    size_t left = downwards ? at : m->count - at;
    cr_assert_eq(run.count, left < most ? left : most);
    for (uint32_t i = 0; i < run.count; i++) {
        const struct key *wanted = &m->keys[downwards ? at - 1 - i : at + i];
        struct key_view got = run_key(&run, i);
        cr_assert_eq(got.length, wanted->length, "key %u", i);
        cr_assert_arr_eq(got.bytes, wanted->bytes, got.length, "key %u", i);
    }
    free(run.bytes);
}

/* All of them, up and down, some at a time. */
static void model_verify(const struct model *m)
{
    for (size_t at = 0; at < m->count; at += RUN_KEYS) {
        model_read(m, at ? &m->keys[at - 1] : NULL, false, false, RUN_KEYS);
        model_read(m, at ? &m->keys[m->count - at] : NULL, false, true, RUN_KEYS);
    }
    model_read(m, NULL, false, false, RUN_KEYS);
    model_read(m, NULL, false, true, RUN_KEYS);
}

static struct model model_new(void)
{
    struct model m = {0};
    cr_assert_eq(order_new(&m.order), 0);
    return m;
}

static void model_free(struct model *m)
{
    order_free(&m->order);
    free(m->keys);
}

/* --- keys ------------------------------------------------------------------------------------- */

static struct key key_of(const void *bytes, size_t length)
{
    struct key key = {.length = (uint32_t)length};
    memcpy(key.bytes, bytes, length);
    return key;
}

static struct key key_numbered(uint64_t number)
{
    char text[KEY_HIGH];
    return key_of(text, (size_t)snprintf(text, sizeof text, "some/long/prefix/%010llu",
                                         (unsigned long long)number));
}

/* Few different bytes, so that keys share beginnings and end in zeros. */
static struct key key_drawn(struct test_rng *rng, uint32_t letters)
{
    struct key key = {.length = 1 + (uint32_t)test_rng_below(rng, KEY_HIGH - 1)};
    for (uint32_t i = 0; i < key.length; i++)
        key.bytes[i] = (uint8_t)(test_rng_below(rng, letters) * 0x7f);
    return key;
}

static void run_random(uint64_t seed, uint32_t letters, size_t peak)
{
    struct test_rng rng = test_rng_make(seed, letters);
    struct model m = model_new();
    for (int phase = 0; phase < 4; phase++) {
        bool growing = phase % 2 == 0;
        for (size_t i = 0; i < 2 * peak; i++) {
            struct key key = key_drawn(&rng, letters);
            if (!growing && m.count > 0 && !test_rng_one_in(&rng, 8))
                key = m.keys[test_rng_below(&rng, m.count)];
            if (growing != test_rng_one_in(&rng, 4))
                model_insert(&m, &key);
            else
                model_remove(&m, &key);
            if (i % 64 == 0) {
                struct key from = key_drawn(&rng, letters);
                model_read(&m, &from, test_rng_one_in(&rng, 2), test_rng_one_in(&rng, 2),
                           1 + (uint32_t)test_rng_below(&rng, RUN_KEYS));
            }
        }
        model_verify(&m);
    }
    while (m.count > 0) {
        struct key key = m.keys[test_rng_below(&rng, m.count)];
        model_remove(&m, &key);
    }
    model_verify(&m);
    model_free(&m);
}

Test(order, agrees_with_a_sorted_array)
{
    run_random(1, 2, 4000);
    run_random(2, 3, 4000);
    run_random(3, 3, 60);
}

Test(order, keys_that_come_in_order_fill_the_leaves)
{
    enum { KEYS = 20000 };
    struct model m = model_new();
    for (uint64_t i = 0; i < KEYS; i++) {
        struct key key = key_numbered(i);
        model_insert(&m, &key);
    }
    model_verify(&m);
    /* Full nodes have 16 B an entry, the key and half of it for its growth. */
    cr_assert_lt(order_dram_bytes(m.order), KEYS * (16 + 27 * 3 / 2 + 10));
    model_free(&m);
}

Test(order, what_is_taken_out_gives_its_memory_back)
{
    enum { KEYS = 20000, WINDOW = 200 };
    struct model m = model_new();
    uint64_t empty = order_dram_bytes(m.order), most = 0;
    for (uint64_t i = 0; i < KEYS; i++) { /* a queue */
        struct key key = key_numbered(i);
        model_insert(&m, &key);
        if (i < WINDOW)
            continue;
        key = key_numbered(i - WINDOW);
        model_remove(&m, &key);
        if (order_dram_bytes(m.order) > most)
            most = order_dram_bytes(m.order);
    }
    cr_assert_lt(most, 64 << 10);
    model_verify(&m);
    while (m.count > 0) { /* from its end */
        struct key key = m.keys[m.count - 1];
        model_remove(&m, &key);
    }
    cr_assert_leq(order_dram_bytes(m.order), empty + 4096);
    model_free(&m);
}

Test(order, bytes_of_keys_that_went_are_used_again)
{
    struct model m = model_new();
    struct key fixed = key_numbered(0), other = key_numbered(1);
    model_insert(&m, &fixed);
    for (int i = 0; i < 10000; i++) {
        model_insert(&m, &other);
        model_remove(&m, &other);
    }
    cr_assert_lt(order_dram_bytes(m.order), 4096);
    model_verify(&m);
    model_free(&m);
}

Test(order, long_keys)
{
    enum { KEYS = 300 };
    static uint8_t bytes[LONG_KEY];
    struct order *order = NULL;
    struct key_run run = {0};
    cr_assert_eq(order_new(&order), 0);
    for (uint32_t i = 0; i < KEYS; i++) { /* which differ at their end alone */
        uint32_t number = i * 7 % KEYS;
        bytes[LONG_KEY - 2] = (uint8_t)(number >> 8);
        bytes[LONG_KEY - 1] = (uint8_t)number;
        cr_assert(order_insert(order, (struct key_view){bytes, LONG_KEY}));
    }
    cr_assert_eq(order_read(order, &(struct order_from){0}, RUN_KEYS, &run), 0);
    for (uint32_t seen = 0; seen < KEYS;) {
        cr_assert_gt(run.count, 0);
        for (uint32_t i = 0; i < run.count; i++, seen++) {
            struct key_view key = run_key(&run, i);
            cr_assert_eq(key.length, LONG_KEY);
            cr_assert_eq(key.bytes[LONG_KEY - 2] * 256u + key.bytes[LONG_KEY - 1], seen);
        }
        struct key_run next = {0};
        struct order_from from = {.key = run_key(&run, run.count - 1)};
        cr_assert_eq(order_read(order, &from, RUN_KEYS, &next), 0);
        free(run.bytes);
        run = next;
    }
    cr_assert_eq(run.count, 0);
    free(run.bytes);
    order_free(&order);
}
