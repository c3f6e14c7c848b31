/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Readers and writers on a pool whose pages are destroyed under them. Every value read is checked:
 *
 *   own keys     each belongs to one writer, which notes the version it starts to write and the one
 *                that was acknowledged. A read that began when `acked` was a and ended when
 * `started` was s must give a version of a..s, in every byte; "not found" is right only when one of
 * a..s is a delete. other keys   what the pool held before: size and hash of each value were taken
 * at the start.
 */
#include "inject.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWN_KEYS "pmkv-demo/heal/"
enum { KEYS = 3000, KEY_ROOM = 64, MAX_THREADS = 64 };

struct key_state {
    atomic_ullong started, acked;
};

struct other {
    void *key;
    size_t key_bytes, value_bytes;
    uint64_t hash;
};

struct heal {
    struct pmkv *kv;
    unsigned writers;
    atomic_bool stop;
    atomic_ullong reads, writes, wrong, lost;
    struct other *others;
    size_t other_count, other_room;
    struct key_state keys[KEYS];
};

struct heal_thread {
    pthread_t thread;
    struct heal *heal;
    unsigned number;
    uint64_t random;
    unsigned char value[VALUE_MAX_BYTES];
};

static size_t key_make(char *key, unsigned k)
{
    return (size_t)snprintf(key, KEY_ROOM, OWN_KEYS "%05u", k);
}

static uint64_t hash_bytes(const unsigned char *p, size_t bytes)
{
    uint64_t hash = mix64(bytes + 1), word = 0;
    for (; bytes >= 8; p += 8, bytes -= 8) {
        memcpy(&word, p, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
        hash ^= hash >> 29;
    }
    word = 0;
    memcpy(&word, p, bytes);
    return mix64(hash ^ word);
}

static void failed(atomic_ullong *counter, const char *what, const char *key)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
    check_failed("%s: %s (%s)", key, what, pmkv_errormsg());
}

/* What a read or write that did not succeed means; every one is a failed check. */
static void failed_status(struct heal *heal, enum pmkv_status status, const char *key)
{
    atomic_ullong *counter = status == PMKV_E_LOST ? &heal->lost : &heal->wrong;
    failed(counter, pmkv_status_name(status), key);
}

/* --- own keys --------------------------------------------------------------------------------- */

static bool delete_is_between(uint64_t first, uint64_t last)
{
    for (uint64_t v = first; v <= last; v++)
        if (version_is_delete(v))
            return true;
    return false;
}

static void read_own(struct heal_thread *t, unsigned k)
{
    struct heal *heal = t->heal;
    char key[KEY_ROOM];
    size_t key_bytes = key_make(key, k), bytes = 0;
    uint64_t first = atomic_load_explicit(&heal->keys[k].acked, memory_order_acquire);
    enum pmkv_status status = pmkv_get(heal->kv, key, key_bytes, t->value, sizeof t->value, &bytes);
    uint64_t last = atomic_load_explicit(&heal->keys[k].started, memory_order_acquire);
    uint64_t version = 0;
    if (status == PMKV_E_NOT_FOUND) {
        if (!delete_is_between(first, last))
            failed(&heal->wrong, "not found, but it was not deleted", key);
    } else if (status != PMKV_OK) {
        failed_status(heal, status, key);
    } else if (!value_check(t->value, bytes, k, &version)) {
        failed(&heal->wrong, "wrong bytes", key);
    } else if (version < first || version > last) {
        failed(&heal->wrong, "a version that is not the last", key);
    }
    atomic_fetch_add_explicit(&heal->reads, 1, memory_order_relaxed);
}

static void write_version(struct heal_thread *t, unsigned k, uint64_t version)
{
    struct heal *heal = t->heal;
    char key[KEY_ROOM];
    size_t key_bytes = key_make(key, k);
    enum pmkv_status status;
    atomic_store_explicit(&heal->keys[k].started, version, memory_order_release);
    if (version_is_delete(version))
        status = pmkv_delete(heal->kv, key, key_bytes);
    else
        status = pmkv_put(heal->kv, key, key_bytes, t->value, value_make(t->value, k, version));
    if (status == PMKV_OK)
        atomic_store_explicit(&heal->keys[k].acked, version, memory_order_release);
    else
        failed_status(heal, status, key);
    atomic_fetch_add_explicit(&heal->writes, 1, memory_order_relaxed);
}

/* Gives each key a value; a key left by an earlier run goes on from the version it has. */
static void fill(struct heal_thread *t)
{
    for (unsigned k = 0; k < KEYS; k++) {
        char key[KEY_ROOM];
        size_t key_bytes = key_make(key, k), bytes = 0;
        uint64_t version = 0;
        enum pmkv_status status =
            pmkv_get(t->heal->kv, key, key_bytes, t->value, sizeof t->value, &bytes);
        if (status != PMKV_E_NOT_FOUND && status != PMKV_OK)
            failed_status(t->heal, status, key);
        if (status == PMKV_OK && !value_check(t->value, bytes, k, &version))
            failed(&t->heal->wrong, "wrong bytes before the start", key);
        version++;
        write_version(t, k, version_is_delete(version) ? version + 1 : version);
    }
}

static void *writer_run(void *arg)
{
    struct heal_thread *t = arg;
    struct heal *heal = t->heal;
    while (!atomic_load_explicit(&heal->stop, memory_order_acquire)) {
        unsigned k = (unsigned)(next_random(&t->random) % KEYS);
        k = k - k % heal->writers + t->number;
        if (k < KEYS)
            write_version(t, k,
                          atomic_load_explicit(&heal->keys[k].started, memory_order_relaxed) + 1);
    }
    return NULL;
}

/* --- other keys ------------------------------------------------------------------------------- */

static int note_other(void *arg, const struct pmkv_item *item)
{
    struct heal *heal = arg;
    if (item->key_bytes >= strlen(OWN_KEYS) && memcmp(item->key, OWN_KEYS, strlen(OWN_KEYS)) == 0)
        return 0;
    if (item->status != PMKV_OK) {
        failed_status(heal, item->status, "a record before the start");
        return 0;
    }
    if (heal->other_count == heal->other_room) {
        heal->other_room = heal->other_room ? 2 * heal->other_room : 1024;
        heal->others = realloc(heal->others, heal->other_room * sizeof *heal->others);
    }
    void *key = malloc(item->key_bytes + 1);
    if (!heal->others || !key)
        die("out of memory");
    memcpy(key, item->key, item->key_bytes);
    ((char *)key)[item->key_bytes] = 0;
    heal->others[heal->other_count++] = (struct other){
        .key = key,
        .key_bytes = item->key_bytes,
        .value_bytes = item->value_bytes,
        .hash = hash_bytes(item->value, item->value_bytes),
    };
    return 0;
}

static void read_other(struct heal *heal, const struct other *other)
{
    void *value = NULL;
    size_t bytes = 0;
    enum pmkv_status status =
        pmkv_get_alloc(heal->kv, other->key, other->key_bytes, &value, &bytes);
    if (status != PMKV_OK)
        failed_status(heal, status, other->key);
    else if (bytes != other->value_bytes || hash_bytes(value, bytes) != other->hash)
        failed(&heal->wrong, "wrong bytes", other->key);
    pmkv_free(value);
    atomic_fetch_add_explicit(&heal->reads, 1, memory_order_relaxed);
}

static void *reader_run(void *arg)
{
    struct heal_thread *t = arg;
    struct heal *heal = t->heal;
    while (!atomic_load_explicit(&heal->stop, memory_order_acquire)) {
        uint64_t r = next_random(&t->random);
        if (r % 2 == 0 && heal->other_count > 0)
            read_other(heal, &heal->others[(r >> 8) % heal->other_count]);
        else
            read_own(t, (unsigned)((r >> 8) % KEYS));
    }
    return NULL;
}

/* --- the run ---------------------------------------------------------------------------------- */

struct tally {
    struct pmkv_stats stats;
    struct pmkv_health health;
};

static struct tally take_tally(struct pmkv *kv)
{
    struct tally t;
    enum pmkv_status status = pmkv_stats(kv, &t.stats);
    if (status == PMKV_OK)
        status = pmkv_health(kv, &t.health);
    if (status != PMKV_OK)
        die_status(status, "counters");
    return t;
}

static void print_progress(struct heal *heal, struct injector *in, const struct tally *before,
                           double seconds)
{
    struct tally t = take_tally(heal->kv);
    printf("%5.1f s  %llu reads and %llu writes checked; %llu pages poisoned, %llu faults met, "
           "%llu reads rebuilt, %llu pages repaired; wrong %llu, lost %llu\n",
           seconds, (unsigned long long)atomic_load(&heal->reads),
           (unsigned long long)atomic_load(&heal->writes),
           (unsigned long long)atomic_load(&in->injected),
           (unsigned long long)(t.stats.faults - before->stats.faults),
           (unsigned long long)(t.stats.reads_rebuilt - before->stats.reads_rebuilt),
           (unsigned long long)(t.health.pages_repaired - before->health.pages_repaired),
           (unsigned long long)atomic_load(&heal->wrong),
           (unsigned long long)atomic_load(&heal->lost));
}

static void start(struct heal_thread *t, struct heal *heal, unsigned number, uint64_t seed,
                  void *(*run)(void *))
{
    t->heal = heal;
    t->number = number;
    t->random = mix64(seed + number);
    if (pthread_create(&t->thread, NULL, run, t) != 0)
        die("cannot start a thread");
}

/* Runs all threads for the time asked for. */
static void run_threads(struct heal *heal, struct injector *in, const struct heal_options *options,
                        struct heal_thread *threads, const struct tally *before)
{
    unsigned count = options->writers + options->readers;
    for (unsigned i = 0; i < options->writers; i++)
        start(&threads[i], heal, i, options->seed, writer_run);
    for (unsigned i = options->writers; i < count; i++)
        start(&threads[i], heal, i, options->seed, reader_run);
    pthread_t injector;
    if (pthread_create(&injector, NULL, injector_run, in) != 0)
        die("cannot start a thread");
    double begin = now_seconds();
    for (double passed = 0; passed < options->seconds; passed = now_seconds() - begin) {
        double left = options->seconds - passed;
        sleep_seconds(left < 1 ? left : 1);
        print_progress(heal, in, before, now_seconds() - begin);
    }
    atomic_store_explicit(&in->stop, true, memory_order_release);
    pthread_join(injector, NULL);
    atomic_store_explicit(&heal->stop, true, memory_order_release);
    for (unsigned i = 0; i < count; i++)
        pthread_join(threads[i].thread, NULL);
}

/* Nothing runs any more: every record is read once again, and the counters must tell the story. */
static void check_outcome(struct heal *heal, struct injector *in, struct heal_thread *t,
                          const struct tally *before)
{
    for (unsigned k = 0; k < KEYS; k++)
        read_own(t, k);
    for (size_t i = 0; i < heal->other_count; i++)
        read_other(heal, &heal->others[i]);
    struct tally after = take_tally(heal->kv);
    if (atomic_load(&in->injected) == 0)
        check_failed("no page was poisoned");
    if (after.stats.faults == before->stats.faults)
        check_failed("no fault was met");
    if (after.stats.reads_rebuilt == before->stats.reads_rebuilt)
        check_failed("no read was rebuilt");
    if (after.health.pages_repaired == before->health.pages_repaired)
        check_failed("no page was repaired");
    if (after.health.pages_pending != 0)
        check_failed("%llu pages still wait for repair",
                     (unsigned long long)after.health.pages_pending);
    if (after.health.records_lost != before->health.records_lost)
        check_failed("records were lost: %s", after.health.status);
}

enum demo_exit heal_run(const struct heal_options *options)
{
    if (options->writers < 1 || options->readers < 1 ||
        options->writers + options->readers > MAX_THREADS)
        die("between 1 and %d readers and writers", MAX_THREADS);
    struct pmkv_options open_options;
    pmkv_options_init(&open_options);
    open_options.allow_inject = true;
    struct heal *heal = calloc(1, sizeof *heal);
    struct heal_thread *threads = calloc(options->writers + options->readers, sizeof *threads);
    if (!heal || !threads)
        die("out of memory");
    enum pmkv_status status = pmkv_open(options->path, &open_options, &heal->kv);
    if (status != PMKV_OK)
        die_status(status, "open");
    heal->writers = options->writers;
    status = pmkv_foreach(heal->kv, 0, note_other, heal);
    if (status != PMKV_OK)
        die_status(status, "read the records of the pool");
    threads[0].heal = heal;
    fill(&threads[0]);
    struct tally before = take_tally(heal->kv);
    printf("%d keys of our own and %zu others; seed %llu\n", KEYS, heal->other_count,
           (unsigned long long)options->seed);

    struct injector in = {.kv = heal->kv,
                          .pages_per_second = options->pages_per_second,
                          .random = mix64(options->seed ^ 0x1a2b3c)};
    run_threads(heal, &in, options, threads, &before);
    check_outcome(heal, &in, &threads[0], &before);
    printf("heal: %llu reads and %llu writes checked, %llu pages poisoned, %llu scrubs: "
           "%llu failed checks\n",
           (unsigned long long)atomic_load(&heal->reads),
           (unsigned long long)atomic_load(&heal->writes),
           (unsigned long long)atomic_load(&in.injected),
           (unsigned long long)atomic_load(&in.scrubs), (unsigned long long)checks_failed());
    status = pmkv_close(&heal->kv);
    if (status != PMKV_OK)
        die_status(status, "close");
    for (size_t i = 0; i < heal->other_count; i++)
        free(heal->others[i].key);
    free(heal->others);
    free(heal);
    free(threads);
    return checks_failed() ? DEMO_FAILED : DEMO_OK;
}
