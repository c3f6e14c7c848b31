/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The hash index with one user at a time: it holds what it was given, at any size and shape. */

#include "index_model.h"

#include "kv/index_match.h"
#include "recovery/errmsg.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#ifndef UNDER_SANITIZER
#define UNDER_SANITIZER 0
#endif

/* Hashes of one bucket for ever: only bits above the 36 that choose differ. */
static uint64_t twin_hash(uint64_t number)
{
    return 0x123456789u | number << LEVEL_MAX;
}

/* Hashes of one chain in a table of the smallest size; growth tells them apart. */
static uint64_t neighbour_hash(uint64_t number)
{
    return 0x4321 | number << LEVEL_MIN;
}

static uint64_t overflow_bytes(const struct index *ix)
{
    return index_dram_bytes(ix) - sizeof *ix - count_observe(ix) * sizeof(struct index_bucket);
}

Test(index, slot_keeps_position_older_and_tag_apart)
{
    struct slot s = slot_make((1ull << 40) - 1, 0, 0xabcdeull << 16);
    cr_assert_eq(slot_position(s), (1ull << 40) - 1);
    cr_assert_eq(slot_older(s), 0);
    cr_assert_eq(slot_tag(s), 0xabcde);
    s = slot_with(s, 5, 16);
    cr_assert_eq(slot_position(s), 5);
    cr_assert_eq(slot_older(s), SLOT_OLDER_MAX);
    cr_assert_eq(slot_tag(s), 0xabcde);
}

Test(index, new_one_holds_nothing)
{
    struct model m;
    model_open(&m, 0, 0, 1);
    cr_assert_eq(index_slot_count(m.ix), 0);
    cr_assert_eq(index_keys(m.ix), 0);
    for (uint64_t i = 0; i < 1000; i++)
        cr_assert_eq(model_find(&m, model_hash(i)), 0);
    model_close(&m);
}

Test(index, hash_of_all_zeros_is_an_ordinary_hash)
{
    struct model m;
    model_open(&m, 0, 0, 10);
    cr_assert_eq(model_find(&m, 0), 0);
    uint64_t position = model_put(&m, 0);
    cr_assert_eq(model_find(&m, 0), position);
    cr_assert(model_delete(&m, 0));
    cr_assert_eq(model_find(&m, 0), 0);
    model_close(&m);
}

Test(index, bucket_number_agrees_with_the_definition)
{
    for (uint64_t count = 1u << 16; count < 1u << 18; count += 977) {
        uint64_t size = 1ull << level_of(count);
        for (uint64_t i = 0; i < 100; i++) {
            uint64_t hash = model_hash(i);
            uint64_t low = hash % size;
            uint64_t expected = low < count - size ? hash % (size * 2) : low;
            cr_assert_eq(bucket_number(hash, count), expected,
                         "hash %lx of %lu buckets: %lu, not %lu", hash, count,
                         bucket_number(hash, count), expected);
        }
    }
}

#if INDEX_MATCH_VECTOR
Test(index, vector_match_agrees_with_the_scalar_one)
{
    struct index_bucket bucket;
    for (uint64_t round = 0; round < 200000; round++) {
        uint64_t hash = model_hash(round);
        for (uint64_t i = 0; i < BUCKET_SLOTS; i++) {
            uint64_t dice = model_hash(round * 8 + i);
            uint64_t like = dice % 3 == 0 ? hash : dice % 3 == 1 ? hash ^ 1ull << dice % 40 : dice;
            atomic_init(&bucket.slots[i], dice % 7 ? slot_make(dice >> 30, 0, like).v : 0);
        }
        atomic_init(&bucket.control, slot_make(1, 0, hash).v);
        uint32_t vector = bucket_match_vector(&bucket, hash);
        uint32_t scalar = bucket_match_scalar(&bucket, hash);
        cr_assert_eq(vector, scalar, "hash %lx: %x, not %x", hash, vector, scalar);
    }
}
#endif

Test(index, grows_from_the_smallest_table_to_two_million_slots, .timeout = 120)
{
    enum { KEYS = 2000000 };
    struct model m;
    model_open(&m, 0, KEYS, KEYS);
    cr_assert_eq(count_observe(m.ix), 1u << 16);
    for (uint64_t i = 0; i < KEYS; i++)
        model_put(&m, model_hash(i));
    cr_assert_eq(index_slot_count(m.ix), KEYS);
    uint64_t due = (uint64_t)KEYS * 2 / 9;
    cr_assert_geq(count_observe(m.ix) + INDEX_STRIPES * 4, due, "%lu buckets, %lu are due",
                  count_observe(m.ix), due);
    cr_assert_leq(count_observe(m.ix), due + 1);
    for (uint64_t i = 0; i < KEYS; i++)
        cr_assert_eq(model_find(&m, model_hash(i)), i + 1, "key %lu is not at %lu", i, i + 1);
    for (uint64_t i = KEYS; i < 2 * (uint64_t)KEYS; i++)
        cr_assert_eq(model_find(&m, model_hash(i)), 0);
    model_close(&m);
}

Test(index, holds_what_a_plain_array_holds, .timeout = 120)
{
    enum { KEYS = 500000, STEPS = 3000000 };
    struct model m;
    model_open(&m, 0, KEYS, STEPS);
    uint64_t *expected = calloc(KEYS, sizeof *expected);
    uint64_t there = 0;
    for (uint64_t step = 0; step < STEPS; step++) {
        uint64_t dice = model_hash(~step);
        uint64_t key = dice % KEYS;
        uint64_t hash = model_hash(key);
        bool wants_delete = dice >> 60 < 5;
        if (wants_delete) {
            cr_assert_eq(model_delete(&m, hash), expected[key] != 0);
            there -= expected[key] != 0;
            expected[key] = 0;
        } else {
            there += expected[key] == 0;
            expected[key] = model_put(&m, hash);
        }
    }
    cr_assert_eq(index_slot_count(m.ix), there);
    for (uint64_t key = 0; key < KEYS; key++)
        cr_assert_eq(model_find(&m, model_hash(key)), expected[key]);
    free(expected);
    model_close(&m);
}

Test(index, keeps_keys_apart_whose_36_bits_are_equal, .timeout = 60)
{
    enum { KEYS = 3000 };
    struct model m;
    model_open(&m, 0, 1000000, 2 * KEYS);
    for (uint64_t i = 0; i < KEYS; i++)
        model_put(&m, twin_hash(i));
    for (uint64_t i = 0; i < KEYS; i++)
        cr_assert_eq(model_find(&m, twin_hash(i)), i + 1);
    for (uint64_t i = 0; i < KEYS; i += 2)
        cr_assert(model_delete(&m, twin_hash(i)));
    for (uint64_t i = 0; i < KEYS; i++)
        cr_assert_eq(model_find(&m, twin_hash(i)), i % 2 ? i + 1 : 0);
    model_close(&m);
}

Test(index, uses_overflow_buckets_again, .timeout = 60)
{
    enum { KEYS = 1000 };
    struct model m;
    model_open(&m, 0, 1000000, 3 * KEYS);
    uint64_t used = 0;
    for (int round = 0; round < 3; round++) {
        for (uint64_t i = 0; i < KEYS; i++)
            model_put(&m, twin_hash(i) ^ (uint64_t)round);
        cr_assert(round == 0 || overflow_bytes(m.ix) == used, "%lu B of overflow buckets, not %lu",
                  overflow_bytes(m.ix), used);
        used = overflow_bytes(m.ix);
        for (uint64_t i = 0; i < KEYS; i++)
            cr_assert(model_delete(&m, twin_hash((i + 500) % KEYS) ^ (uint64_t)round));
        cr_assert_null(bucket_next(m.ix, bucket_first(m.ix, twin_hash(0) ^ (uint64_t)round)));
    }
    cr_assert_eq(index_slot_count(m.ix), 0);
    model_close(&m);
}

Test(index, splits_shorten_long_chains, .timeout = 60)
{
    enum { NEIGHBOURS = 256, FILL = 1500000 };
    struct model m;
    model_open(&m, 0, 1u << 22, NEIGHBOURS + FILL);
    for (uint64_t i = 0; i < NEIGHBOURS; i++)
        model_put(&m, neighbour_hash(i));
    for (uint64_t i = 0; i < FILL; i++)
        model_put(&m, model_hash(i));
    cr_assert_geq(level_of(count_observe(m.ix)), 18);
    uint64_t slots = 0;
    struct index_bucket *bucket = bucket_first(m.ix, neighbour_hash(0));
    for (; bucket; bucket = bucket_next(m.ix, bucket))
        for (int i = 0; i < BUCKET_SLOTS; i++)
            slots += slot_observe(&bucket->slots[i]) != 0;
    cr_assert_leq(slots, NEIGHBOURS / 4 + 20, "%lu slots in a chain split twice", slots);
    for (uint64_t i = 0; i < NEIGHBOURS; i++)
        cr_assert_eq(model_find(&m, neighbour_hash(i)), i + 1);
    model_close(&m);
}

Test(index, insert_and_remove_leave_other_slots_in_place)
{
    enum { KEYS = 40 };
    struct model m;
    struct slot_ref refs[KEYS];
    model_open(&m, 0, 1000, 4 * KEYS);
    for (uint64_t i = 0; i < KEYS; i++)
        model_put(&m, neighbour_hash(i));
    for (uint64_t i = 0; i < KEYS; i++)
        cr_assert(model_find_ref(&m, neighbour_hash(i), &refs[i]));
    index_lock(m.ix, index_stripe(neighbour_hash(0)));
    for (int i = 0; i < KEYS; i += 2)
        index_remove(m.ix, &refs[i]);
    for (uint64_t i = KEYS; i < 2 * KEYS; i++)
        cr_assert_eq(index_insert(m.ix, neighbour_hash(i), slot_make(i, 0, neighbour_hash(i))), 0);
    index_unlock(m.ix, index_stripe(neighbour_hash(0)));
    for (int i = 1; i < KEYS; i += 2)
        cr_assert(index_slot_unchanged(&refs[i]), "slot %d moved", i);
    model_close(&m);
}

Test(index, insert_without_overflow_buckets_is_an_error_and_harmless)
{
    struct model m;
    model_open(&m, 0, 1000, 100);
    m.ix->overflow_limit = 3;
    uint64_t i = 0;
    while (model_try_put(&m, twin_hash(i)) == 0)
        i++;
    cr_assert_eq(i, 3 * BUCKET_SLOTS);
    cr_assert_eq(model_try_put(&m, twin_hash(i)), -ENOMEM);
    cr_assert_not_null(strstr(err_message(), "all 2 overflow buckets"), "%s", err_message());
    cr_assert_eq(index_slot_count(m.ix), i);
    for (uint64_t k = 0; k <= i; k++)
        cr_assert_eq(model_find(&m, twin_hash(k)), k < i ? k + 1 : 0);
    model_close(&m);
}

/* The bucket that splits first, with so many slots that move that they need overflow buckets. */
Test(index, split_without_overflow_buckets_changes_nothing)
{
    enum { KEYS = 10 * BUCKET_SLOTS };
    struct model m;
    model_open(&m, 0, 1000000, KEYS);
    for (uint64_t i = 0; i < KEYS; i++)
        model_put(&m, (i * 2 + 1) << LEVEL_MIN);
    m.ix->overflow_limit = atomic_load(&m.ix->overflow_fresh) + 1;
    uint64_t bytes = overflow_bytes(m.ix);
    atomic_store(&m.ix->slots_about, 1 << 20);
    index_grow_step(m.ix);
    cr_assert_eq(count_observe(m.ix), 1u << 16);
    cr_assert(bucket_empty(&m.ix->buckets[1u << 16]));
    for (uint64_t i = 0; i < KEYS; i++)
        cr_assert_eq(model_find(&m, (i * 2 + 1) << LEVEL_MIN), i + 1);

    m.ix->overflow_limit += 20;
    index_grow_step(m.ix);
    cr_assert_gt(count_observe(m.ix), 1u << 16);
    cr_assert_leq(overflow_bytes(m.ix), bytes + 10 * sizeof(struct index_bucket));
    cr_assert(bucket_empty(&m.ix->buckets[0]));
    for (uint64_t i = 0; i < KEYS; i++)
        cr_assert_eq(model_find(&m, (i * 2 + 1) << LEVEL_MIN), i + 1);
    model_close(&m);
}

Test(index, growth_ends_at_the_limit_and_inserts_go_on, .timeout = 60)
{
    enum { MAX = 400000, KEYS = 600000 };
    struct model m;
    model_open(&m, 0, MAX, KEYS);
    for (uint64_t i = 0; i < KEYS; i++)
        model_put(&m, model_hash(i));
    cr_assert_eq(count_observe(m.ix), m.ix->bucket_limit);
    for (uint64_t i = 0; i < KEYS; i++)
        cr_assert_eq(model_find(&m, model_hash(i)), i + 1);
    model_close(&m);
}

Test(index, growth_catches_up_after_a_big_batch, .timeout = 60)
{
    enum { KEYS = 1000000, BATCH = 50 };
    struct model m;
    model_open(&m, 0, KEYS, 1);
    for (uint64_t i = 0; i < KEYS; i++) {
        uint64_t hash = model_hash(i);
        cr_assert_eq(index_insert(m.ix, hash, slot_make(i + 1, 0, hash)), 0);
        if (i % BATCH == 0)
            index_grow_step(m.ix);
    }
    uint64_t due = (uint64_t)KEYS * 2 / 9;
    cr_assert_geq(count_observe(m.ix), due - due / 20);
    model_close(&m);
}

Test(index, growth_passes_by_a_stripe_that_is_held)
{
    struct model m;
    model_open(&m, 0, 1000000, 1);
    atomic_store(&m.ix->slots_about, 1 << 20);
    index_lock(m.ix, 0);
    for (int i = 0; i < 10; i++)
        index_grow_step(m.ix);
    cr_assert_eq(count_observe(m.ix), 1u << 16);
    index_unlock(m.ix, 0);
    index_grow_step(m.ix);
    cr_assert_gt(count_observe(m.ix), 1u << 16);
    model_close(&m);
}

Test(index, is_sized_for_what_is_expected)
{
    struct model m;
    model_open(&m, 9000000, 0, 1);
    cr_assert_eq(count_observe(m.ix), 2000000);
    model_close(&m);
}

Test(index, counts_keys_by_stripe)
{
    struct model m;
    model_open(&m, 0, 0, 1);
    index_lock(m.ix, 7);
    index_keys_add(m.ix, 7, 3);
    index_keys_add(m.ix, 7, -1);
    index_unlock(m.ix, 7);
    index_lock(m.ix, 1023);
    index_keys_add(m.ix, 1023, 5);
    index_unlock(m.ix, 1023);
    cr_assert_eq(index_keys(m.ix), 7);
    model_close(&m);
}

Test(index, takes_little_memory_for_much_address_space)
{
    struct model m;
    model_open(&m, 0, 1ull << 34, 1);
    cr_assert_lt(index_dram_bytes(m.ix), 5u << 20);
    model_close(&m);
}

#if !UNDER_SANITIZER /* they need the address space themselves */
Test(index, without_address_space_is_an_error_with_a_fact)
{
    struct index *ix = NULL;
    struct rlimit old, low = {.rlim_cur = 1u << 30, .rlim_max = RLIM_INFINITY};
    getrlimit(RLIMIT_AS, &old);
    low.rlim_max = old.rlim_max;
    setrlimit(RLIMIT_AS, &low);
    int rc = index_new(&ix, 0, 1ull << 34);
    setrlimit(RLIMIT_AS, &old);
    cr_assert_eq(rc, -ENOMEM);
    cr_assert_null(ix);
    cr_assert_not_null(strstr(err_message(), "bytes of address space"), "%s", err_message());
}
#endif

Test(index, free_of_nothing_is_fine)
{
    struct index *ix = NULL;
    index_free(&ix);
}
