/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The hash index: its memory, stripes, searches and changes. Theory and X1..X4: index_impl.h. */

#include "index_impl.h"
#include "index_match.h"

#include "../recovery/errmsg.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    HUGE_PAGE_BYTES = 2 << 20,
    STRIPE_REPORT = 16, /* slots a stripe gains or loses before it touches the shared count */
};

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}
static uint64_t min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}
/* In 4.5ths, rounded up; callers keep slots below 2^41. */
static uint64_t buckets_for(uint64_t slots)
{
    uint64_t count = (slots * 2 + 8) / 9;
    return min_u64(max_u64(count, 1ull << LEVEL_MIN), 1ull << LEVEL_MAX);
}

static size_t huge_page_round(uint64_t bytes)
{
    return (bytes + HUGE_PAGE_BYTES - 1) & ~((uint64_t)HUGE_PAGE_BYTES - 1);
}

/* Address space for buckets and overflow buckets; pages come when they are touched. */
static int index_reserve(struct index *ix)
{
    size_t bucket_bytes = huge_page_round(ix->bucket_limit * sizeof(struct index_bucket));
    size_t overflow_bytes =
        huge_page_round((uint64_t)ix->overflow_limit * sizeof(struct index_bucket));
    size_t bytes = bucket_bytes + overflow_bytes + HUGE_PAGE_BYTES;
    void *region = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (region == MAP_FAILED)
        return err_fact(-ENOMEM, "index: can't reserve %zu bytes of address space", bytes);
    ix->region = region;
    ix->region_bytes = bytes;
    char *base = (char *)huge_page_round((uintptr_t)region);
    ix->buckets = (struct index_bucket *)base;
    ix->overflow = (struct index_bucket *)(base + bucket_bytes);
    /* A wish: without huge pages the index is only slower. */
    (void)madvise(base, bucket_bytes + overflow_bytes, MADV_HUGEPAGE);
    return 0;
}

/* From the heap, where a process that opens one pool after the other finds the same pages again:
 * whoever counts slots touches all of them. */
static int stripes_new(struct index *ix)
{
    size_t bytes = INDEX_STRIPES * sizeof(struct stripe);
    ix->stripes = aligned_alloc(alignof(struct stripe), bytes);
    if (!ix->stripes)
        return err_fact(-ENOMEM, "index: no memory for its stripes");
    memset(ix->stripes, 0, bytes);
    return 0;
}

/* Those of the stripes need nothing: zeros are an unlocked mutex (PTHREAD_MUTEX_INITIALIZER), and
 * nothing is to be given back. */
static void index_init_locks(struct index *ix)
{
    pthread_mutex_init(&ix->grow_lock, NULL);
    pthread_mutex_init(&ix->overflow_lock, NULL);
}

int index_new(struct index **out, uint64_t expected, uint64_t max_slots)
{
    const uint64_t positions = 1ull << SLOT_POSITION_BITS;
    max_slots = min_u64(max_u64(max_slots, expected), positions);
    expected = min_u64(expected, positions);
    struct index *ix = aligned_alloc(alignof(struct index), sizeof *ix);
    if (!ix)
        return err_fact(-ENOMEM, "index: no memory");
    *ix = (struct index){.bucket_limit = buckets_for(max_slots), .overflow_fresh = 1};
    /* All slots in full chains need a seventh; a quarter leaves room for holes. */
    ix->overflow_limit = (uint32_t)min_u64(max_slots / 4 + (1u << LEVEL_MIN), UINT32_MAX);
    int rc = stripes_new(ix);
    if (rc == 0)
        rc = index_reserve(ix);
    if (rc) {
        free(ix->stripes);
        free(ix);
        return rc;
    }
    index_init_locks(ix);
    count_publish(ix, buckets_for(expected));
    *out = ix;
    return 0;
}

static uint64_t count_expected(const struct index *ix, uint64_t slots)
{
    uint64_t count = buckets_for(min_u64(slots, 1ull << SLOT_POSITION_BITS));
    return max_u64(min_u64(count, ix->bucket_limit), count_observe(ix));
}

void index_expect(struct index *ix, uint64_t slots)
{
    assert(index_slot_count(ix) == 0);
    count_publish(ix, count_expected(ix, slots));
}

uint32_t index_level(const struct index *ix, uint64_t slots)
{
    return level_of(count_expected(ix, slots));
}

void index_free(struct index **ix)
{
    if (!*ix)
        return;
    munmap((*ix)->region, (*ix)->region_bytes);
    free((*ix)->stripes);
    pthread_mutex_destroy(&(*ix)->overflow_lock);
    pthread_mutex_destroy(&(*ix)->grow_lock);
    free(*ix);
    *ix = NULL;
}

uint64_t index_dram_bytes(const struct index *ix)
{
    uint64_t overflow = atomic_load_explicit(&ix->overflow_fresh, memory_order_relaxed) - 1;
    return (count_observe(ix) + overflow) * sizeof(struct index_bucket) + sizeof *ix;
}

uint64_t index_slot_count(const struct index *ix)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < INDEX_STRIPES; i++)
        sum += atomic_load_explicit(&ix->stripes[i].slots, memory_order_relaxed);
    return (uint64_t)sum;
}

static void stripe_locked(struct index *ix, uint32_t stripe)
{
    uint32_t deferral = index_deferral(ix, stripe);
    if (__builtin_expect(deferral != 0, 0))
        ix->settle(ix->settle_arg, stripe, deferral);
}

void index_lock(struct index *ix, uint32_t stripe)
{
    int rc = pthread_mutex_lock(&ix->stripes[stripe].lock);
    assert(rc == 0);
    (void)rc;
    stripe_locked(ix, stripe);
}

bool index_trylock(struct index *ix, uint32_t stripe)
{
    if (pthread_mutex_trylock(&ix->stripes[stripe].lock) != 0)
        return false;
    stripe_locked(ix, stripe);
    return true;
}

void index_unlock(struct index *ix, uint32_t stripe)
{
    int rc = pthread_mutex_unlock(&ix->stripes[stripe].lock);
    assert(rc == 0);
    (void)rc;
}

void index_on_deferral(struct index *ix, index_settle_fn settle, void *arg)
{
    ix->settle = settle;
    ix->settle_arg = arg;
}

uint32_t index_deferral(const struct index *ix, uint32_t stripe)
{
    return atomic_load_explicit(&ix->stripes[stripe].deferral, memory_order_acquire);
}

void index_defer(struct index *ix, uint32_t stripe, uint32_t number)
{
    atomic_store_explicit(&ix->stripes[stripe].deferral, number, memory_order_release);
}

/* Writers have the lock: no read-modify-write is needed, only whole loads for those who have not.
 */
static int32_t counter_add(_Atomic int32_t *counter, int64_t delta)
{
    int32_t sum = atomic_load_explicit(counter, memory_order_relaxed) + (int32_t)delta;
    atomic_store_explicit(counter, sum, memory_order_relaxed);
    return sum;
}

void index_keys_add(struct index *ix, uint32_t stripe, int64_t delta)
{
    int32_t keys = counter_add(&ix->stripes[stripe].keys, delta);
    assert(keys >= 0);
    (void)keys;
}

uint64_t *index_last_number(struct index *ix, uint32_t stripe)
{
    return &ix->stripes[stripe].last_number;
}

uint64_t index_keys(const struct index *ix)
{
    int64_t sum = 0;
    for (uint32_t i = 0; i < INDEX_STRIPES; i++)
        sum += atomic_load_explicit(&ix->stripes[i].keys, memory_order_relaxed);
    return (uint64_t)sum;
}

/* The shared count, a line that all writers store to, is touched once in STRIPE_REPORT. */
static void stripe_count_slots(struct index *ix, uint32_t number, int64_t delta)
{
    struct stripe *stripe = &ix->stripes[number];
    int32_t news = counter_add(&stripe->slots, delta) - stripe->reported;
    if (news < STRIPE_REPORT && news > -STRIPE_REPORT)
        return;
    stripe->reported += news;
    atomic_fetch_add_explicit(&ix->slots_about, news, memory_order_relaxed);
}

void index_prefetch(const struct index *ix, uint64_t hash)
{
    bucket_prefetch(ix, hash);
}

void index_find_begin(const struct index *ix, uint64_t hash, struct index_find *f)
{
    find_begin(ix, hash, f);
}

bool index_find_next(struct index_find *f, struct slot_ref *out)
{
    return find_next(f, out);
}

bool index_find_settled(const struct index_find *f)
{
    return find_settled(f);
}

#ifdef __x86_64__
/* Else a prefetch for a store is one for a load, and who stores waits for the line a second time
 * when another thread had it. Where the instruction is not known it does nothing. */
__attribute__((target("prfchw")))
#endif
void index_prefetch_insert(const struct index *ix, uint64_t hash)
{
    __builtin_prefetch(bucket_first(ix, hash), 1, 3);
    __builtin_prefetch(&ix->stripes[index_stripe(hash)], 1, 3);
}

static int slot_add(struct index *ix, uint64_t hash, struct slot slot)
{
    assert(slot_position(slot) != 0);
    assert(slot_tag(slot) == (hash >> LEVEL_MIN & 0xfffff));
    int rc = chain_insert(ix, bucket_first(ix, hash), hash & 0xffff, slot);
    return rc ? err_fact(rc, "index: all %u overflow buckets are in use", ix->overflow_limit - 1)
              : 0;
}

int index_insert(struct index *ix, uint64_t hash, struct slot slot)
{
    int rc = slot_add(ix, hash, slot);
    if (rc == 0)
        stripe_count_slots(ix, index_stripe(hash), 1);
    return rc;
}

int index_fill_begin(struct index *ix, struct index_fill *fill)
{
    int32_t *counts = calloc(2 * INDEX_STRIPES, sizeof *counts);
    if (!counts)
        return err_fact(-ENOMEM, "index: no memory to be filled");
    *fill = (struct index_fill){.ix = ix, .slots = counts, .keys = counts + INDEX_STRIPES};
    return 0;
}

int index_fill(struct index_fill *fill, uint64_t hash, struct slot slot, bool is_key)
{
    int rc = slot_add(fill->ix, hash, slot);
    if (rc == 0) {
        fill->slots[index_stripe(hash)]++;
        fill->keys[index_stripe(hash)] += is_key;
    }
    return rc;
}

void index_fill_end(struct index_fill *fill)
{
    for (uint32_t i = 0; fill->slots && i < INDEX_STRIPES; i++) {
        stripe_count_slots(fill->ix, i, fill->slots[i]);
        index_keys_add(fill->ix, i, fill->keys[i]);
    }
    free(fill->slots);
    *fill = (struct index_fill){0};
}

int index_put_back(struct index *ix, uint64_t hash, struct slot slot)
{
    int rc = index_insert(ix, hash, slot);
    if (rc == 0)
        chain_bump(bucket_first(ix, hash));
    return rc;
}

void index_replace(struct index *ix, const struct slot_ref *ref, struct slot slot)
{
    (void)ix;
    assert(slot_position(slot) != 0);
    assert(slot_tag(slot) == slot_tag(ref->slot));
    assert(index_slot_unchanged(ref));
    slot_publish(ref->at, slot.v);
}

/* An overflow bucket keeps `low` of its chain: with the slot's tag that leads to the first. */
static uint32_t overflow_slot_removed(struct index *ix, struct index_bucket *bucket,
                                      struct slot slot)
{
    uint32_t low = control_high(control_observe(bucket));
    uint64_t hash = low | (uint64_t)slot_tag(slot) << LEVEL_MIN;
    if (bucket_empty(bucket))
        chain_unlink(ix, bucket_first(ix, hash), bucket);
    return low;
}

void index_remove(struct index *ix, const struct slot_ref *ref)
{
    assert(ref->slot.v != 0 && index_slot_unchanged(ref));
    slot_publish(ref->at, 0);
    uint64_t offset_bytes = (uint64_t)((char *)ref->at - (char *)ix->buckets);
    uint64_t number = offset_bytes / sizeof(struct index_bucket);
    uint32_t low = number & 0xffff;
    if (number >= ix->bucket_limit)
        low = overflow_slot_removed(ix, &ix->buckets[number], ref->slot);
    stripe_count_slots(ix, index_stripe(low), -1);
}
