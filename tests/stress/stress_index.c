/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The hash index with threads. Writers replace keys that are always there, insert and remove
 * others, and so make the table grow; readers search without a lock. A reader fails the run when
 *
 *   1. it misses a key that is always there,
 *   2. it finds a version of a key older than one it found before,
 *   3. it finds a key that is never there,
 *   4. a search does not settle in a million attempts.
 *
 * A scan must give every key that is always there exactly once. One key in eight shares its low
 * 16 hash bits and most of its tag with many others, so that there are overflow chains to come,
 * move and go, and candidates between which a reader can be put to sleep.
 *
 * usage: stress_index [seconds [seed]]
 */

#include "kv/index_impl.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum {
    ALWAYS = 100000, /* keys 0..: always there */
    CHURN = 700000,  /* the next: come and go */
    KEYS = ALWAYS + CHURN,
    WRITERS = 2,
    READERS = 2,
    VERSION_BITS = 18,
    VERSION_MASK = (1 << VERSION_BITS) - 1,
    CROWDED_CHAINS = 1024,
    FIRST_FILL = ALWAYS + 180000,    /* a little below what makes the smallest table grow */
    LAST_BUCKETS = (1 << 17) + 1000, /* where a round ends: most splits are behind it */
    LOWS = 1 << LEVEL_MIN,
};

/* A position is key + 1 and version: what the medium would say about the record there. */
static uint64_t position_of(uint64_t key, uint32_t version)
{
    return (key + 1) << VERSION_BITS | (version & VERSION_MASK);
}
static uint64_t key_at(uint64_t position)
{
    return (position >> VERSION_BITS) - 1;
}
static uint32_t version_at(uint64_t position)
{
    return position & VERSION_MASK;
}

static struct index *ix;
static uint32_t version_of[KEYS]; /* the last one stored, under the key's stripe lock */
static uint32_t by_low[ALWAYS];   /* the keys always there, sorted by the low bits of their hash */
static uint32_t low_start[LOWS + 1]; /* where those of one bucket begin */
static _Atomic bool stop;
static _Atomic uint64_t failures, searches, writes, again;

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static uint64_t hash_of(uint64_t key)
{
    uint64_t hash = mix(key);
    if (key % 8 == 0) /* the first chains to split, and again at every level */
        hash = (hash & ~0xffff8ffffull) | hash % CROWDED_CHAINS;
    return hash;
}

static void fail(const char *what, uint64_t key, uint64_t detail)
{
    if (atomic_fetch_add(&failures, 1) < 10)
        fprintf(stderr, "stress_index: key %lu: %s (%lu)\n", key, what, detail);
    atomic_store(&stop, true);
}

/* Now and then a reader sleeps in the middle of a search: a window of nanoseconds becomes one in
 * which others do thousands of steps. */
static void reader_dawdle(uint32_t *dice)
{
    if ((*dice = *dice * 1103515245 + 12345) >> 22 == 0)
        sched_yield();
}

/* One attempt: the position, 0: not there, UINT64_MAX: start again. */
static uint64_t search_once(uint64_t key, uint64_t hash)
{
    static _Thread_local uint32_t dice;
    struct index_find f;
    struct slot_ref ref;
    index_find_begin(ix, hash, &f);
    reader_dawdle(&dice);
    while (index_find_next(&f, &ref)) {
        reader_dawdle(&dice);
        uint64_t position = slot_position(ref.slot);
        if (key_at(position) >= KEYS)
            fail("a candidate that nobody inserted", key, position);
        if (key_at(position) == key)
            return index_slot_unchanged(&ref) ? position : UINT64_MAX;
    }
    return index_find_settled(&f) ? 0 : UINT64_MAX;
}

static uint64_t search(uint64_t key)
{
    uint64_t hash = hash_of(key);
    for (int attempt = 0; attempt < 1000000; attempt++) {
        uint64_t position = search_once(key, hash);
        if (position != UINT64_MAX)
            return position;
        atomic_fetch_add_explicit(&again, 1, memory_order_relaxed);
    }
    fail("does not settle", key, 0);
    return 0;
}

static bool locked_find(uint64_t key, struct slot_ref *ref)
{
    struct index_find f;
    index_find_begin(ix, hash_of(key), &f);
    while (index_find_next(&f, ref))
        if (key_at(slot_position(ref->slot)) == key)
            return true;
    if (!index_find_settled(&f))
        fail("a search under the lock is not settled", key, 0);
    return false;
}

/* Puts the key, or removes it when it is one of those that come and go and `removes`. */
static void write_key(uint64_t key, bool removes)
{
    struct slot_ref ref;
    uint64_t hash = hash_of(key);
    uint32_t stripe = index_stripe(hash);
    index_lock(ix, stripe);
    bool there = locked_find(key, &ref);
    if (there && slot_position(ref.slot) != position_of(key, version_of[key]))
        fail("the lock's owner finds an old version", key, version_at(slot_position(ref.slot)));
    if (there && removes) {
        index_remove(ix, &ref);
        index_keys_add(ix, stripe, -1);
    } else if (!removes) {
        uint64_t position = position_of(key, ++version_of[key]);
        if (there)
            index_replace(ix, &ref, slot_with(ref.slot, position, 0));
        else if (index_insert(ix, hash, slot_make(position, 0, hash)) != 0)
            fail("no memory", key, 0);
        else
            index_keys_add(ix, stripe, 1);
    }
    index_unlock(ix, stripe);
    index_grow_step(ix);
}

static void sort_by_low(void)
{
    for (uint32_t key = 0; key < ALWAYS; key++)
        low_start[hash_of(key) % LOWS + 1]++;
    for (uint32_t low = 0; low < LOWS; low++)
        low_start[low + 1] += low_start[low];
    static uint32_t filled[LOWS];
    for (uint32_t key = 0; key < ALWAYS; key++) {
        uint32_t low = hash_of(key) % LOWS;
        by_low[low_start[low] + filled[low]++] = key;
    }
}

/* A key of the bucket that splits next, or of one a little further on: only readers that stand
 * there when it happens can be deceived. */
static uint32_t key_at_the_split(uint64_t random)
{
    uint64_t low = (count_observe(ix) + random % 4) % LOWS;
    uint32_t keys = low_start[low + 1] - low_start[low];
    return keys ? by_low[low_start[low] + (random >> 8) % keys] : 0;
}

static void *writer(void *arg)
{
    uint64_t random = (uintptr_t)arg, count = 0;
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        random = mix(random);
        uint64_t key = (random >> 8) % KEYS;
        write_key(key, key >= ALWAYS && random >> 60 == 0);
        count++;
    }
    atomic_fetch_add(&writes, count);
    return NULL;
}

static void *reader(void *arg)
{
    uint64_t random = (uintptr_t)arg, count = 0;
    uint32_t *newest = calloc(ALWAYS, sizeof *newest);
    while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
        random = mix(random);
        uint64_t key = (random >> 8) % ALWAYS;
        if (random >> 62 == 0)
            key &= ~7ull; /* where the chains are long */
        else if (random >> 63)
            key = key_at_the_split(random);
        uint64_t position = search(key);
        /* Versions wrap round only after more replacements than a run makes of one key. */
        if (position == 0)
            fail("is always there, and was missed", key, count);
        else if (version_at(position) < newest[key])
            fail("went back to an older version", key, version_at(position));
        else
            newest[key] = version_at(position);
        if (count++ % 4 == 0 && search(KEYS + random % KEYS * 4) != 0)
            fail("never inserted, and was found", KEYS, position);
    }
    free(newest);
    atomic_fetch_add(&searches, count);
    return NULL;
}

static void scan_once(uint8_t *seen)
{
    struct index_scan scan;
    for (int i = 0; i < KEYS; i++)
        seen[i] = 0;
    index_scan_begin(ix, &scan);
    while (index_scan_step(&scan) == 1)
        for (uint32_t i = 0; i < scan.count; i++)
            seen[key_at(slot_position(scan.slots[i]))]++;
    index_scan_end(&scan);
    for (uint64_t key = 0; key < ALWAYS; key++)
        if (seen[key] != 1)
            fail("a scan gave it another number of times than once", key, seen[key]);
}

static void *scanner(void *arg)
{
    uint8_t *seen = malloc(KEYS);
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        scan_once(seen);
    free(seen);
    return arg;
}

static double now_seconds(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void verify_counts(void)
{
    uint64_t there = 0;
    for (uint64_t key = 0; key < KEYS; key++)
        there += search(key) != 0;
    if (there != index_slot_count(ix) || there != index_keys(ix))
        fail("counts disagree with the keys that are there", there, index_slot_count(ix));
}

/* A fresh table each round: growth from the smallest is where most moves. */
static void round_run(uint64_t seed, double seconds)
{
    pthread_t threads[WRITERS + READERS + 1];
    if (index_new(&ix, 0, KEYS) != 0)
        abort();
    atomic_store(&stop, false);
    for (uint64_t key = 0; key < KEYS; key++)
        version_of[key] = 0;
    for (uint64_t key = 0; key < FIRST_FILL; key++)
        write_key(key, false);
    for (int i = 0; i < WRITERS + READERS + 1; i++)
        pthread_create(&threads[i], NULL,
                       i < WRITERS             ? writer
                       : i < WRITERS + READERS ? reader
                                               : scanner,
                       (void *)(uintptr_t)mix(seed + (uint64_t)i));
    double end = now_seconds() + seconds;
    while (!atomic_load(&stop) && now_seconds() < end && count_observe(ix) < LAST_BUCKETS)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    atomic_store(&stop, true);
    for (int i = 0; i < WRITERS + READERS + 1; i++)
        pthread_join(threads[i], NULL);
    verify_counts();
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 3;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 0) : (uint64_t)time(NULL);
    double end = now_seconds() + seconds;
    sort_by_low();
    printf("stress_index: seed %lu\n", seed);
    for (int rounds = 1; now_seconds() < end && atomic_load(&failures) == 0; rounds++) {
        round_run(seed + (uint64_t)rounds * 100, end - now_seconds());
        printf("round %d: %lu buckets, %lu slots, %lu B\n", rounds, count_observe(ix),
               index_slot_count(ix), index_dram_bytes(ix));
        index_free(&ix);
    }
    printf("%lu searches, %lu started again, %lu writes, %lu failures\n", atomic_load(&searches),
           atomic_load(&again), atomic_load(&writes), atomic_load(&failures));
    return atomic_load(&failures) ? EXIT_FAILURE : EXIT_SUCCESS;
}
