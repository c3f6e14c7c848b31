/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * usage: service run POOL [early]      two writers and two readers until SIGTERM, in a fresh pool
 *        service verify POOL N0 N1     is everything there that was acknowledged? (N: operations
 *                                      of each writer)
 *
 * run prints a line ten times a second:
 *
 *   at N0 N1 reads R faults F rebuilt B repaired P retired X cleaned C lost L
 *
 * N is what each writer has had acknowledged. Every read is checked against what may be there: no
 * older than what was acknowledged before it, no newer than what had begun when it was over. Reader
 * 0 stays on processor 0 and reads one key over and over, so that somebody outside can catch it in
 * the middle of a copy; everybody else is on processor 1. After SIGTERM all keys are read once
 * more, bad pages are repaired, and the last line is "result right" or "result wrong: ...".
 *
 * early asks the kernel for asynchronous machine checks (BUS_MCEERR_AO).
 */
#include "work.h"

#include <pmkv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static struct pmkv *kv;
static atomic_bool stopping;
static atomic_ullong begun[WRITERS], acknowledged[WRITERS];
static atomic_ullong reads;
static atomic_ullong events[PMKV_EVENT_SIGBUS_TAKEN + 1];

static const char hot_key[] = "hot";
static char hot_value[3000];

__attribute__((noreturn, format(printf, 1, 2))) static void wrong(const char *format, ...)
{
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER;
    va_list args;
    pthread_mutex_lock(&once); /* never given back: the first one speaks */
    va_start(args, format);
    printf("result wrong: ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    fflush(stdout);
    _exit(1);
}

static void stay_on(int processor)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0)
        wrong("sched_setaffinity");
}

/* --- writers ---------------------------------------------------------------------------------- */

static void *writer(void *arg)
{
    uint32_t w = (uint32_t)(uintptr_t)arg;
    uint8_t *value = malloc(VALUE_ROOM);
    char key[KEY_ROOM];
    stay_on(1);
    for (uint64_t n = 1; !atomic_load(&stopping); n++) {
        struct operation op = work_operation(w, n);
        size_t key_bytes = work_key(key, w, op.key);
        atomic_store(&begun[w], n);
        enum pmkv_status s = op.is_delete
                                 ? pmkv_delete(kv, key, key_bytes)
                                 : pmkv_put(kv, key, key_bytes, value, work_value(value, w, n));
        if (s != PMKV_OK && !(op.is_delete && s == PMKV_E_NOT_FOUND))
            wrong("writer %u operation %llu: %s: %s", w, (unsigned long long)n, pmkv_status_name(s),
                  pmkv_errormsg());
        atomic_store(&acknowledged[w], n);
    }
    free(value);
    return NULL;
}

/* --- readers ---------------------------------------------------------------------------------- */

/* May the key be absent, when `from` was acknowledged before the read and `to` had begun after? */
static bool may_be_absent(uint32_t w, uint32_t key, uint64_t from, uint64_t to)
{
    for (uint64_t n = to; n > from; n--) {
        struct operation op = work_operation(w, n);
        if (op.key == key && op.is_delete)
            return true;
    }
    uint64_t last = work_last(w, key, from);
    return last == 0 || work_operation(w, last).is_delete;
}

static void read_one(uint32_t w, uint32_t key, uint8_t *value)
{
    char name[KEY_ROOM];
    size_t name_bytes = work_key(name, w, key), bytes = 0;
    uint64_t from = atomic_load(&acknowledged[w]);
    enum pmkv_status s = pmkv_get(kv, name, name_bytes, value, VALUE_ROOM, &bytes);
    uint64_t to = atomic_load(&begun[w]);
    if (s == PMKV_E_NOT_FOUND) {
        if (!may_be_absent(w, key, from, to))
            wrong("key %s is absent, after operation %llu", name, (unsigned long long)from);
    } else if (s != PMKV_OK) {
        wrong("key %s: %s: %s", name, pmkv_status_name(s), pmkv_errormsg());
    } else {
        uint64_t n = work_origin(value, bytes, w, key);
        if (n < work_last(w, key, from) || n > to || n == 0)
            wrong("key %s has %zu bytes of operation %llu, expected one of %llu to %llu", name,
                  bytes, (unsigned long long)n, (unsigned long long)work_last(w, key, from),
                  (unsigned long long)to);
    }
    atomic_fetch_add(&reads, 1);
}

static void *reader(void *arg)
{
    (void)arg;
    uint8_t *value = malloc(VALUE_ROOM);
    uint64_t turn = 1;
    stay_on(1);
    while (!atomic_load(&stopping)) {
        turn = turn * 6364136223846793005ull + 1442695040888963407ull;
        read_one((uint32_t)(turn >> 33) % WRITERS, (uint32_t)(turn >> 40) % KEYS, value);
    }
    free(value);
    return NULL;
}

static void read_hot(void)
{
    static _Thread_local char value[sizeof hot_value];
    size_t bytes = 0;
    enum pmkv_status s = pmkv_get(kv, hot_key, strlen(hot_key), value, sizeof value, &bytes);
    if (s != PMKV_OK)
        wrong("the hot key: %s: %s", pmkv_status_name(s), pmkv_errormsg());
    if (bytes != sizeof value || memcmp(value, hot_value, bytes) != 0)
        wrong("the hot key has another value");
}

static void *hot_reader(void *arg)
{
    (void)arg;
    stay_on(0);
    while (!atomic_load(&stopping))
        read_hot();
    return NULL;
}

/* --- run -------------------------------------------------------------------------------------- */

static void count_event(void *arg, const struct pmkv_event *event)
{
    (void)arg;
    atomic_fetch_add(&events[event->kind], 1);
}

static void report(void)
{
    struct pmkv_stats stats = {0};
    pmkv_stats(kv, &stats);
    printf("at %llu %llu reads %llu faults %llu rebuilt %llu repaired %llu retired %llu "
           "cleaned %llu lost %llu\n",
           atomic_load(&acknowledged[0]), atomic_load(&acknowledged[1]), atomic_load(&reads),
           (unsigned long long)stats.faults, (unsigned long long)stats.reads_rebuilt,
           atomic_load(&events[PMKV_EVENT_REPAIRED]), atomic_load(&events[PMKV_EVENT_RETIRED]),
           (unsigned long long)stats.segments_cleaned, atomic_load(&events[PMKV_EVENT_LOST]));
    fflush(stdout);
}

static void open_pool(const char *path)
{
    enum pmkv_status s = pmkv_open(path, NULL, &kv);
    if (s != PMKV_OK)
        wrong("open: %s: %s", pmkv_status_name(s), pmkv_errormsg());
    pmkv_set_event_fn(kv, count_event, NULL);
}

static void close_pool(void)
{
    enum pmkv_status s = pmkv_close(&kv);
    if (s != PMKV_OK)
        wrong("close: %s: %s", pmkv_status_name(s), pmkv_errormsg());
}

static void read_all(void)
{
    static uint8_t value[VALUE_ROOM];
    for (uint32_t w = 0; w < WRITERS; w++)
        for (uint32_t key = 0; key < KEYS; key++)
            read_one(w, key, value);
}

/* A page whose segment is being emptied just now has to wait for that. */
static void repair_all(void)
{
    uint64_t left = 1;
    for (int tries = 0; tries < 50 && left > 0; tries++) {
        if (tries > 0)
            usleep(100 * 1000);
        enum pmkv_status s = pmkv_repair(kv, &left);
        if (s != PMKV_OK)
            wrong("repair: %s: %s", pmkv_status_name(s), pmkv_errormsg());
    }
    if (left > 0)
        wrong("%llu pages still wait for repair: %s", (unsigned long long)left, pmkv_errormsg());
}

static void on_term(int sig)
{
    (void)sig;
    atomic_store(&stopping, true);
}

static void finish(void)
{
    read_all();
    repair_all();
    read_all(); /* through the same mapping, after the repair */
    read_hot();
    report();
    close_pool();
    printf("result right\n");
}

static int run(const char *path, bool early)
{
    pthread_t threads[WRITERS + 2];
    memset(hot_value, 'h', sizeof hot_value);
    signal(SIGTERM, on_term);
    if (early && prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0) != 0)
        wrong("PR_MCE_KILL_EARLY");
    stay_on(1);
    open_pool(path);
    if (pmkv_put(kv, hot_key, strlen(hot_key), hot_value, sizeof hot_value) != PMKV_OK)
        wrong("the hot key: %s", pmkv_errormsg());
    for (uint32_t w = 0; w < WRITERS; w++)
        pthread_create(&threads[w], NULL, writer, (void *)(uintptr_t)w);
    pthread_create(&threads[WRITERS], NULL, reader, NULL);
    pthread_create(&threads[WRITERS + 1], NULL, hot_reader, NULL);
    while (!atomic_load(&stopping)) {
        report();
        usleep(100 * 1000);
    }
    for (int i = 0; i < WRITERS + 2; i++)
        pthread_join(threads[i], NULL);
    finish();
    return 0;
}

/* --- verify ----------------------------------------------------------------------------------- */

/* Which operation's value does each key have? The greatest of them, as long as it is of a put, is
 * where the writer was; deletes behind it leave nothing to see, so it is a lower bound. */
static uint64_t origins_of(uint32_t w, uint64_t *origins)
{
    static uint8_t value[VALUE_ROOM];
    uint64_t greatest = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        char name[KEY_ROOM];
        size_t name_bytes = work_key(name, w, key), bytes = 0;
        enum pmkv_status s = pmkv_get(kv, name, name_bytes, value, sizeof value, &bytes);
        origins[key] = 0;
        if (s == PMKV_E_NOT_FOUND)
            continue;
        if (s != PMKV_OK)
            wrong("key %s: %s: %s", name, pmkv_status_name(s), pmkv_errormsg());
        origins[key] = work_origin(value, bytes, w, key);
        if (origins[key] == 0)
            wrong("key %s has a value of %zu bytes that nobody wrote", name, bytes);
        if (origins[key] > greatest)
            greatest = origins[key];
    }
    return greatest;
}

/* Is the pool as after the writer's first n operations? */
static bool is_prefix(uint32_t w, const uint64_t *origins, uint64_t n, uint32_t *key)
{
    for (*key = 0; *key < KEYS; ++*key) {
        uint64_t last = work_last(w, *key, n);
        uint64_t expected = last && !work_operation(w, last).is_delete ? last : 0;
        if (origins[*key] != expected)
            return false;
    }
    return true;
}

/* At most one operation of a writer was under way beyond those it was told of; but what it was told
 * of late may have been more than what was printed, so any later state is right too. */
static void verify_writer(uint32_t w, uint64_t acked)
{
    static uint64_t origins[KEYS];
    uint64_t greatest = origins_of(w, origins), n = greatest > acked ? greatest : acked;
    uint32_t key, first_key = 0;
    if (is_prefix(w, origins, n, &first_key)) {
        printf("writer %u: as after operation %llu, %llu were acknowledged\n", w,
               (unsigned long long)n, (unsigned long long)acked);
        return;
    }
    for (uint64_t more = n + 1; more < n + 100; more++) /* deletes that came last */
        if (work_operation(w, more).is_delete && is_prefix(w, origins, more, &key))
            return;
    wrong("writer %u: after %llu acknowledged operations (%llu found) key %u has the value of %llu",
          w, (unsigned long long)acked, (unsigned long long)greatest, first_key,
          (unsigned long long)origins[first_key]);
}

static int verify(const char *path, char **acked)
{
    open_pool(path);
    memset(hot_value, 'h', sizeof hot_value);
    for (int turn = 0; turn < 2; turn++) { /* before the repair and, in the same mapping, after */
        for (uint32_t w = 0; w < WRITERS; w++)
            verify_writer(w, strtoull(acked[w], NULL, 0));
        read_hot();
        if (turn == 0)
            repair_all();
    }
    report();
    close_pool();
    printf("result right\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc >= 3 && strcmp(argv[1], "run") == 0)
        return run(argv[2], argc > 3 && strcmp(argv[3], "early") == 0);
    if (argc == 3 + WRITERS && strcmp(argv[1], "verify") == 0)
        return verify(argv[2], argv + 3);
    fprintf(stderr, "usage: service run POOL [early] | verify POOL N0 N1\n");
    return 2;
}
