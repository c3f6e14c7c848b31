/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Every way in which the steps of a search can fall between the stores of a change.
 *
 * The index is compiled into this file with a hook behind each of its releases. After each store of
 * a change the hook begins a search for the wanted key, and takes every search begun so far, at
 * every stage it can be in, through each number of further steps. Stages that look alike are kept
 * once, so the number stays small. No search may ever settle on "not there".
 *
 * What is not covered: the loads within one step are not taken apart, and memory is sequentially
 * consistent here. tests/stress/stress_index.c has threads for that.
 */

#include "index_model.h"

static void after_store(void);

static inline void hooked_slot_publish(_Atomic uint64_t *at, uint64_t value)
{
    slot_publish(at, value);
    after_store();
}
static inline void hooked_control_publish(struct index_bucket *bucket, uint32_t next, uint32_t high)
{
    control_publish(bucket, next, high);
    after_store();
}
static inline void hooked_count_publish(struct index *ix, uint64_t count)
{
    count_publish(ix, count);
    after_store();
}
#define slot_publish    hooked_slot_publish
#define control_publish hooked_control_publish
#define count_publish   hooked_count_publish
#include "kv/index.c"
#include "kv/index_chain.c"
#include "kv/index_grow.c"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

enum stage { SEARCHING, CANDIDATE, ENDED };
struct search {
    struct index_find f;
    struct slot_ref ref; /* CANDIDATE: the wanted key's, not yet checked again */
    enum stage stage;
};

enum { SEARCHES_MAX = 20000 };
static struct {
    struct model m;
    uint64_t wanted;
    bool watching;
    struct search searches[SEARCHES_MAX];
    int count, stores;
    uint64_t found, again;
} world;

static void world_keep(const struct search *s)
{
    for (int i = 0; i < world.count; i++)
        if (memcmp(&world.searches[i], s, sizeof *s) == 0)
            return;
    cr_assert_lt(world.count, SEARCHES_MAX);
    world.searches[world.count++] = *s;
}

static void world_begin_search(void)
{
    struct search s;
    memset(&s, 0, sizeof s);
    index_find_begin(world.m.ix, world.wanted, &s.f);
    world_keep(&s);
}

static void search_take_candidate(struct search *s)
{
    struct slot_ref ref;
    if (!index_find_next(&s->f, &ref)) {
        s->stage = ENDED;
        return;
    }
    cr_assert_lt(slot_position(ref.slot), world.m.next + 1, "a candidate nobody inserted");
    if (world.m.medium[slot_position(ref.slot)] == world.wanted) {
        s->ref = ref;
        s->stage = CANDIDATE;
    }
}

/* One step; the search as it was before stays among those kept. */
static void world_step(struct search s)
{
    switch (s.stage) {
    case SEARCHING:
        search_take_candidate(&s);
        world_keep(&s);
        return;
    case CANDIDATE:
        if (index_slot_unchanged(&s.ref))
            world.found++;
        else
            world.again++;
        return;
    case ENDED:
        cr_assert_not(index_find_settled(&s.f), "missed, after store %d", world.stores);
        world.again++;
        return;
    }
}

static void after_store(void)
{
    if (!world.watching)
        return;
    world.stores++;
    world_begin_search();
    for (int i = 0; i < world.count; i++) /* world_step appends */
        world_step(world.searches[i]);
}

/* Runs the change with searches for the wanted key in between. */
static void never_misses(void (*fill)(struct model *m), uint64_t wanted,
                         void (*change)(struct model *m))
{
    memset(&world, 0, sizeof world);
    model_open(&world.m, 0, 1000000, 4096);
    fill(&world.m);
    cr_assert_neq(model_find(&world.m, wanted), 0);
    world.wanted = wanted;
    world.watching = true;
    after_store(); /* for searches that begin before the first */
    change(&world.m);
    world.watching = false;
    cr_assert_gt(world.stores, 1);
    cr_assert_gt(world.found, 0);
    cr_assert_neq(model_find(&world.m, wanted), 0);
    model_close(&world.m);
}

/* All keys live in the chain of bucket 0, the first to split. The split moves odd tags. */
enum { MOVES = 0x101, STAYS = 0x202, OTHER = 0x404 };

static uint64_t chain_hash(uint32_t tag, uint64_t number)
{
    return (uint64_t)tag << LEVEL_MIN | number << LEVEL_MAX;
}

static void fill_tag(struct model *m, uint32_t tag, uint64_t from, uint64_t count)
{
    for (uint64_t i = from; i < from + count; i++)
        model_put(m, chain_hash(tag, i));
}

static void split_bucket_0(struct model *m)
{
    atomic_store(&m->ix->slots_about, 294913); /* just enough for one split */
    index_grow_step(m->ix);
    cr_assert_eq(count_observe(m->ix), (1u << 16) + 1);
    atomic_store(&m->ix->slots_about, 0);
}

static void fill_mixed(struct model *m)
{
    for (uint64_t i = 0; i < 12; i++) {
        fill_tag(m, MOVES, i, 1);
        fill_tag(m, STAYS, i, 1);
    }
}

Test(index_interleavings, split_that_moves_the_key)
{
    for (uint64_t i = 0; i < 12; i++)
        never_misses(fill_mixed, chain_hash(MOVES, i), split_bucket_0);
}

Test(index_interleavings, split_that_moves_others)
{
    for (uint64_t i = 0; i < 12; i++)
        never_misses(fill_mixed, chain_hash(STAYS, i), split_bucket_0);
}

/* One slot leaves the first bucket and one of a full overflow bucket moves up. */
static void fill_one_hole(struct model *m)
{
    fill_tag(m, MOVES, 0, 1);
    fill_tag(m, OTHER, 0, BUCKET_SLOTS - 1);
    fill_tag(m, STAYS, 0, BUCKET_SLOTS);
}

Test(index_interleavings, slot_that_moves_up)
{
    for (uint64_t i = 0; i < BUCKET_SLOTS; i++)
        never_misses(fill_one_hole, chain_hash(STAYS, i), split_bucket_0);
}

static void split_and_add(struct model *m)
{
    split_bucket_0(m);
    fill_tag(m, STAYS, BUCKET_SLOTS, BUCKET_SLOTS);
}

Test(index_interleavings, overflow_bucket_that_comes_after_a_slot_moved_up)
{
    for (uint64_t i = 0; i < BUCKET_SLOTS; i++)
        never_misses(fill_one_hole, chain_hash(STAYS, i), split_and_add);
}

static void fill_four_buckets(struct model *m)
{
    fill_tag(m, STAYS, 0, 4 * BUCKET_SLOTS);
}

static void add_overflow_bucket(struct model *m)
{
    fill_tag(m, STAYS, 4 * BUCKET_SLOTS, BUCKET_SLOTS + 1);
}

Test(index_interleavings, overflow_buckets_that_come)
{
    for (uint64_t i = 0; i < 4 * BUCKET_SLOTS; i++)
        never_misses(fill_four_buckets, chain_hash(STAYS, i), add_overflow_bucket);
}

/* Frees the two overflow buckets in front and lets a chain with the same tag have them. */
static void pass_overflow_on(struct model *m)
{
    for (uint64_t i = 2 * BUCKET_SLOTS; i < 4 * BUCKET_SLOTS; i++)
        cr_assert(model_delete(m, chain_hash(STAYS, i)));
    for (uint64_t i = 0; i < 3 * BUCKET_SLOTS; i++)
        model_put(m, chain_hash(STAYS, i) | INDEX_STRIPES);
}

Test(index_interleavings, overflow_buckets_that_go_to_another_chain)
{
    for (uint64_t i = 0; i < 2 * BUCKET_SLOTS; i += 3)
        never_misses(fill_four_buckets, chain_hash(STAYS, i), pass_overflow_on);
}

/* The same two, but those in the middle of the chain. */
static void take_out_the_middle(struct model *m)
{
    for (uint64_t i = BUCKET_SLOTS; i < 3 * BUCKET_SLOTS; i++)
        cr_assert(model_delete(m, chain_hash(STAYS, i)));
    for (uint64_t i = 0; i < 2 * BUCKET_SLOTS; i++)
        model_put(m, chain_hash(STAYS, i) | INDEX_STRIPES);
}

Test(index_interleavings, overflow_buckets_that_go_from_the_middle)
{
    for (uint64_t i = 3 * BUCKET_SLOTS; i < 4 * BUCKET_SLOTS; i += 3)
        never_misses(fill_four_buckets, chain_hash(STAYS, i), take_out_the_middle);
}

static void replace_all(struct model *m)
{
    fill_tag(m, STAYS, 0, 4 * BUCKET_SLOTS);
}

Test(index_interleavings, replacements)
{
    for (uint64_t i = 0; i < 4 * BUCKET_SLOTS; i += 5)
        never_misses(fill_four_buckets, chain_hash(STAYS, i), replace_all);
}

Test(index_interleavings, split_elsewhere_leaves_a_negative_answer_settled)
{
    struct model m;
    struct index_find f;
    struct slot_ref ref;
    model_open(&m, 0, 1000000, 4096);
    fill_mixed(&m);
    index_find_begin(m.ix, 0x3003, &f);
    split_bucket_0(&m);
    cr_assert_not(index_find_next(&f, &ref));
    cr_assert(index_find_settled(&f));
    model_close(&m);
}

Test(index_interleavings, search_whose_chain_changed_follows_no_more_links)
{
    struct model m;
    struct index_find f;
    struct slot_ref ref;
    int candidates = 0;
    model_open(&m, 0, 1000000, 4096);
    fill_four_buckets(&m);
    index_find_begin(m.ix, chain_hash(STAYS, 0), &f);
    for (int i = 0; i < 3 * BUCKET_SLOTS; i++) /* this overflow bucket will get a next one */
        cr_assert(index_find_next(&f, &ref));
    pass_overflow_on(&m);
    cr_assert_not_null(bucket_next(m.ix, f.bucket));
    while (index_find_next(&f, &ref))
        candidates++;
    cr_assert_eq(candidates, 0, "%d candidates of another chain", candidates);
    cr_assert_not(index_find_settled(&f));
    model_close(&m);
}

Test(index_interleavings, used_candidate_notices_a_replacement)
{
    struct model m;
    struct slot_ref ref;
    model_open(&m, 0, 1000000, 4096);
    model_put(&m, chain_hash(STAYS, 1));
    cr_assert(model_find_ref(&m, chain_hash(STAYS, 1), &ref));
    cr_assert(index_slot_unchanged(&ref));
    model_put(&m, chain_hash(STAYS, 1));
    cr_assert_not(index_slot_unchanged(&ref));
    model_close(&m);
}
