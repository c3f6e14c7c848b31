/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Kill -9 under load, with the oracle outside the process (P1, P2, P7; design 9f).
 *
 * The parent never calls the library. Each round it forks a worker, which opens the pool, verifies
 * it against the oracle, and then writes with four threads: puts, overwrites, deletes, batches,
 * some values of 100 KiB to 3 MiB. The oracle is memory the two share, so it outlives the worker:
 *
 *   1. the writer stores what it is about to do (old and new version of each key), then `active`
 *   2. it calls the library
 *   3. it stores the new versions as acknowledged, then clears `active`
 *
 * The parent kills the worker at a random moment, in recovery too. The next worker demands: each
 * key that is not in an active operation has its acknowledged version; an active operation is there
 * entirely or not at all; no other key is there. What it finds becomes the truth, so an operation
 * found absent must not appear later either.
 *
 * --stops N stops the worker (SIGSTOP) up to N times before the kill and lets it go on; half of the
 * kills then meet it stopped. --poison has a fifth thread that takes pages away meanwhile: one at a
 * time, each scrubbed before the next, also over a kill, so that nothing may be lost.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../support/check.h"
#include "../support/options.h"
#include "../support/pool.h"
#include "../support/rng.h"
#include "../support/value.h"

enum { WRITERS = 4, KEYS = 256, LARGE_KEYS = 2, BATCH_KEYS = 12 };
enum { LARGE_LOW = 100 << 10, LARGE_HIGH = 3 << 20, SMALL_LOW = 16, SMALL_HIGH = 16 << 10 };
enum { VALUE_ROOM = LARGE_HIGH + 64 };
enum phase { PHASE_STARTED, PHASE_VERIFIED };

/* Version: number << 1 | absent. 0: never written. */
struct change {
    uint32_t key;
    uint64_t before, after;
};

struct writer {
    _Atomic uint32_t active; /* number of changes of the operation in flight */
    struct change change[BATCH_KEYS];
    uint64_t version[KEYS]; /* acknowledged */
    uint64_t used[KEYS];    /* highest number ever given to the library */
    uint64_t acked, batches, full;
};

struct oracle {
    _Atomic uint32_t phase;
    _Atomic bool stop;               /* the worker closes the pool and exits */
    uint64_t in_flight, found_after; /* operations that a kill met; of these, there afterwards */
    uint64_t stopped, poisoned;
    struct writer writer[WRITERS];
};

static struct oracle *oracle;
static struct test_options options = {.rounds = 12, .pool_mib = 96};
static uint64_t recovery_kills = 20, run_ms = 200, stops;
static bool poison;

static bool is_absent(uint64_t version)
{
    return version == 0 || (version & 1) != 0;
}

/* --- the writers ------------------------------------------------------------------------------ */

struct worker {
    struct pmkv *kv;
    unsigned id;
    struct test_rng rng;
    unsigned char *value;
    struct pmkv_batch *batch;
};

static size_t value_size(struct test_rng *rng, uint32_t key)
{
    return key < LARGE_KEYS ? test_rng_size(rng, LARGE_LOW, LARGE_HIGH)
                            : test_rng_size(rng, SMALL_LOW, SMALL_HIGH);
}

/* Step 1: which keys change and how. */
static void operation_plan(struct worker *w, uint32_t count)
{
    struct writer *state = &oracle->writer[w->id];
    uint32_t first = (uint32_t)test_rng_below(&w->rng, KEYS - count + 1);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t key = first + i;
        bool delete = !is_absent(state->version[key]) && test_rng_one_in(&w->rng, 5);
        uint64_t number = ++state->used[key];
        state->change[i] = (struct change){key, state->version[key], number << 1 | delete};
    }
    atomic_store(&state->active, count);
}

/* Step 2 for one key. */
static enum pmkv_status operation_single(struct worker *w)
{
    const struct change *c = &oracle->writer[w->id].change[0];
    char key[TEST_KEY_BYTES];
    size_t key_bytes = test_key_make(key, w->id, c->key);
    if (is_absent(c->after))
        return pmkv_delete(w->kv, key, key_bytes);
    size_t n = value_size(&w->rng, c->key);
    test_value_fill(w->value, n, key, key_bytes, c->after);
    return pmkv_put(w->kv, key, key_bytes, w->value, n);
}

/* Step 2 for several. */
static enum pmkv_status operation_batch(struct worker *w, uint32_t count)
{
    pmkv_batch_clear(w->batch);
    for (uint32_t i = 0; i < count; i++) {
        const struct change *c = &oracle->writer[w->id].change[i];
        char key[TEST_KEY_BYTES];
        size_t key_bytes = test_key_make(key, w->id, c->key);
        enum pmkv_status status;
        if (is_absent(c->after)) {
            status = pmkv_batch_delete(w->batch, key, key_bytes);
        } else {
            size_t n = value_size(&w->rng, c->key);
            test_value_fill(w->value, n, key, key_bytes, c->after);
            status = pmkv_batch_put(w->batch, key, key_bytes, w->value, n);
        }
        if (status != PMKV_OK)
            return status;
    }
    return pmkv_write(w->kv, w->batch);
}

/* Step 3. Cut in the middle, the operation still counts as in flight. */
static void operation_acknowledge(struct writer *state, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        state->version[state->change[i].key] = state->change[i].after;
    state->acked++;
    state->batches += count > 1;
    atomic_store(&state->active, 0);
}

static void *writer_run(void *arg)
{
    struct worker *w = arg;
    struct writer *state = &oracle->writer[w->id];
    while (!atomic_load(&oracle->stop)) {
        bool batch = test_rng_one_in(&w->rng, 4);
        uint32_t count = batch ? 2 + (uint32_t)test_rng_below(&w->rng, BATCH_KEYS - 1) : 1;
        operation_plan(w, count);
        enum pmkv_status status = batch ? operation_batch(w, count) : operation_single(w);
        if (status == PMKV_OK) {
            operation_acknowledge(state, count);
        } else if (status == PMKV_E_FULL) {
            state->full++;
            atomic_store(&state->active, 0); /* an error means: not there, not later either */
        } else {
            test_status(status, PMKV_OK, batch ? "pmkv_write" : "pmkv_put or pmkv_delete");
            return NULL;
        }
    }
    return NULL;
}

/* --- verifying -------------------------------------------------------------------------------- */

/* What the store has of a key: its version, or 0. False: nothing that was ever written. */
static bool key_observe(struct pmkv *kv, unsigned id, uint32_t index, unsigned char *value,
                        uint64_t *observed)
{
    char key[TEST_KEY_BYTES];
    size_t key_bytes = test_key_make(key, id, index), n = 0;
    enum pmkv_status status = pmkv_get(kv, key, key_bytes, value, VALUE_ROOM, &n);
    *observed = 0;
    if (status == PMKV_E_NOT_FOUND)
        return true;
    if (!test_status(status, PMKV_OK, "pmkv_get"))
        return false;
    if (!test_that(test_value_parse(value, n, key, key_bytes, observed), "%.*s is broken: %s",
                   (int)key_bytes, key, test_value_explain(value, n, key, key_bytes)))
        return false;
    return test_that(*observed != 0, "%.*s has version 0", (int)key_bytes, key);
}

static bool matches(uint64_t version, uint64_t observed)
{
    return is_absent(version) ? observed == 0 : observed == version;
}

/* The operation that the kill met: all before, or all after. Makes what is found the truth. */
static void operation_resolve(unsigned id, const uint64_t *observed)
{
    struct writer *state = &oracle->writer[id];
    uint32_t count = atomic_load(&state->active), before = 0, after = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct change *c = &state->change[i];
        before += matches(c->before, observed[c->key]);
        after += matches(c->after, observed[c->key]);
    }
    if (count == 0)
        return;
    if (!test_that(before == count || after == count,
                   "writer %u: half an operation: of %u keys %u are before, %u after", id, count,
                   before, after))
        return;
    oracle->in_flight++;
    if (after == count) {
        oracle->found_after++;
        operation_acknowledge(state, count);
    }
    atomic_store(&state->active, 0);
}

static bool in_flight(const struct writer *state, uint32_t key)
{
    for (uint32_t i = 0; i < state->active; i++)
        if (state->change[i].key == key)
            return true;
    return false;
}

static uint64_t writer_verify(struct pmkv *kv, unsigned id, unsigned char *value)
{
    const struct writer *state = &oracle->writer[id];
    uint64_t observed[KEYS], present = 0;
    for (uint32_t key = 0; key < KEYS; key++) {
        if (!key_observe(kv, id, key, value, &observed[key]))
            continue;
        present += observed[key] != 0;
        if (!in_flight(state, key))
            test_that(matches(state->version[key], observed[key]),
                      "s%u-%06u: acknowledged version %llu, found %llu (0 is none)", id, key,
                      (unsigned long long)state->version[key], (unsigned long long)observed[key]);
    }
    operation_resolve(id, observed);
    return present;
}

static int name_verify(void *arg, const struct pmkv_item *item)
{
    unsigned id;
    uint32_t index;
    bool known = test_key_parse(item->key, item->key_bytes, &id, &index);
    test_that(known && id < WRITERS && index < KEYS, "a key that nobody put: %.*s",
              (int)item->key_bytes, (const char *)item->key);
    ++*(uint64_t *)arg;
    return 0;
}

static void pool_verify(struct pmkv *kv)
{
    unsigned char *value = malloc(VALUE_ROOM);
    uint64_t present = 0, shown = 0, count = 0;
    for (unsigned id = 0; id < WRITERS; id++)
        present += writer_verify(kv, id, value);
    test_status(pmkv_foreach(kv, PMKV_FOREACH_KEYS_ONLY, name_verify, &shown), PMKV_OK,
                "pmkv_foreach");
    test_status(pmkv_count(kv, &count), PMKV_OK, "pmkv_count");
    test_that(shown == present && count == present,
              "%llu keys are there, pmkv_foreach shows %llu, pmkv_count says %llu",
              (unsigned long long)present, (unsigned long long)shown, (unsigned long long)count);
    free(value);
}

/* --- taking pages away ------------------------------------------------------------------------ */

/* The page of the last injection, perhaps in another process, is good again when a scrub is over.
 */
static void *poison_run(void *arg)
{
    struct worker *w = arg;
    while (!atomic_load(&oracle->stop) && test_failures() == 0) {
        struct pmkv_scan scan;
        uint64_t left = 0;
        uint32_t n = 0;
        test_pool_scrub(w->kv, &scan);
        test_status(pmkv_repair(w->kv, &left), PMKV_OK, "pmkv_repair");
        if (left > 0)
            continue; /* its segment changes hands just now */
        const struct pmkv_inject spec = {.size = sizeof(spec),
                                         .kind = PMKV_INJECT_POISON,
                                         .target = PMKV_INJECT_AT_RANDOM,
                                         .unit_bytes = TEST_PAGE_BYTES,
                                         .seed = test_rng_next(&w->rng),
                                         .count = 1,
                                         .live_only = true};
        enum pmkv_status status = pmkv_inject(w->kv, &spec, &n);
        if (status == PMKV_E_UNSUPPORTED)
            return NULL;
        test_status(status, PMKV_OK, "pmkv_inject");
        oracle->poisoned += n;
        test_sleep_ms((unsigned)test_rng_below(&w->rng, 10));
    }
    return NULL;
}

/* --- worker and parent ------------------------------------------------------------------------ */

/* Opens, verifies, writes until it is killed or told to stop. */
static _Noreturn void worker_main(const char *path, uint64_t round, bool check)
{
    struct worker workers[WRITERS], poisoner;
    pthread_t threads[WRITERS], poison_thread;
    struct pmkv *kv = test_pool_open(path, poison ? TEST_OPEN_INJECT : 0);
    if (kv == NULL)
        _exit(TEST_FAILED);
    pool_verify(kv);
    if (check && poison)
        test_pool_heal(kv);
    else if (check)
        test_pool_check(kv);
    if (test_failures() > 0)
        _exit(TEST_FAILED);
    atomic_store(&oracle->phase, PHASE_VERIFIED);
    for (unsigned id = 0; id < WRITERS; id++) {
        workers[id] = (struct worker){
            .kv = kv,
            .id = id,
            .rng = test_rng_make(options.seed, round * WRITERS + id),
            .value = malloc(VALUE_ROOM),
        };
        pmkv_batch_new(&workers[id].batch);
        pthread_create(&threads[id], NULL, writer_run, &workers[id]);
    }
    poisoner = (struct worker){.kv = kv, .rng = test_rng_make(options.seed + 1, round)};
    if (poison)
        pthread_create(&poison_thread, NULL, poison_run, &poisoner);
    for (unsigned id = 0; id < WRITERS; id++) {
        pthread_join(threads[id], NULL);
        free(workers[id].value);
        pmkv_batch_free(&workers[id].batch);
    }
    if (poison)
        pthread_join(poison_thread, NULL);
    test_pool_close(&kv);
    _exit(test_failures() > 0 ? TEST_FAILED : TEST_OK);
}

/* Stops the worker and lets it go on, a few times; it may stay stopped for the kill. */
static void worker_stop(pid_t child, struct test_rng *rng)
{
    uint64_t times = test_rng_below(rng, stops + 1);
    for (uint64_t i = 0; i < times; i++) {
        kill(child, SIGSTOP);
        oracle->stopped++;
        usleep((useconds_t)test_rng_below(rng, 20000));
        if (i + 1 == times && test_rng_one_in(rng, 2))
            return;
        kill(child, SIGCONT);
        usleep((useconds_t)test_rng_below(rng, 20000));
    }
}

/* Sleeps until the moment to kill; false when the worker ended by itself before. */
static bool moment_wait(pid_t child, struct test_rng *rng)
{
    siginfo_t info;
    bool in_recovery = test_rng_below(rng, 100) < recovery_kills;
    if (in_recovery) {
        usleep((useconds_t)test_rng_below(rng, 30000));
        return true;
    }
    while (atomic_load(&oracle->phase) != PHASE_VERIFIED) {
        info.si_pid = 0;
        if (waitid(P_PID, (id_t)child, &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid != 0)
            return false;
        test_sleep_ms(1);
    }
    usleep((useconds_t)test_rng_below(rng, run_ms * 1000));
    return true;
}

static void round_run(const char *path, uint64_t round, struct test_rng *rng)
{
    bool clean = test_rng_one_in(rng, 8);
    atomic_store(&oracle->phase, PHASE_STARTED);
    atomic_store(&oracle->stop, false);
    pid_t child = test_fork(120);
    if (child == 0)
        worker_main(path, round, test_rng_one_in(rng, 4));
    test_rng_next(rng); /* the child's draw */
    if (moment_wait(child, rng)) {
        worker_stop(child, rng);
        if (clean)
            atomic_store(&oracle->stop, true);
        kill(child, clean ? SIGCONT : SIGKILL);
    }
    int code = test_wait(child);
    test_that(code == (clean ? 0 : 256 + SIGKILL), "round %llu: the worker ended with %d",
              (unsigned long long)round, code);
}

/* The last word: open, verify, check, scrub, close; and once more. */
static void final_verify(const char *path)
{
    pid_t child = test_fork(240);
    if (child == 0) {
        for (int i = 0; i < 2; i++) {
            struct pmkv *kv = test_pool_open(path, 0);
            if (kv == NULL)
                _exit(TEST_FAILED);
            pool_verify(kv);
            if (poison && i == 0)
                test_pool_heal(kv);
            else
                test_pool_check(kv);
            struct pmkv_health health = test_pool_health(kv);
            test_that(health.records_lost == 0 && health.pages_retired == 0,
                      "%llu records lost, %llu pages retired",
                      (unsigned long long)health.records_lost,
                      (unsigned long long)health.pages_retired);
            test_pool_close(&kv);
        }
        _exit(test_failures() > 0 ? TEST_FAILED : TEST_OK);
    }
    test_that(test_wait(child) == 0, "the last verification ended badly");
}

static void oracle_corrupt(void)
{
    for (uint32_t key = 0; key < KEYS; key++) {
        struct writer *state = &oracle->writer[0];
        if (!is_absent(state->version[key]) && !in_flight(state, key)) {
            state->version[key] += 2;
            return;
        }
    }
}

static void pool_torture(const char *dir, uint64_t rounds, struct test_rng *rng)
{
    char path[TEST_PATH_BYTES];
    test_pool_path(path, dir, "kill9");
    memset(oracle->writer, 0, sizeof(oracle->writer));
    pid_t child = test_fork(120);
    if (child == 0)
        _exit(test_pool_create(path, &options) ? TEST_OK : TEST_FAILED);
    if (test_that(test_wait(child) == 0, "cannot create %s", path))
        for (uint64_t round = 0; round < rounds && test_failures() == 0; round++)
            round_run(path, round, rng);
    if (options.self_test)
        oracle_corrupt();
    if (test_failures() == 0)
        final_verify(path);
    test_pool_remove(path, &options);
}

int main(int argc, char **argv)
{
    const struct test_option extra[] = {
        {"recovery-kills", TEST_OPTION_NUMBER, &recovery_kills, "PERCENT: killed while it opens"},
        {"run-ms", TEST_OPTION_NUMBER, &run_ms, "N: longest time from opening to the kill"},
        {"stops", TEST_OPTION_NUMBER, &stops,
         "N: most stops (SIGSTOP) of a worker before the kill"},
        {"poison", TEST_OPTION_FLAG, &poison, "pages are taken away meanwhile, one at a time"},
        {NULL, TEST_OPTION_FLAG, NULL, NULL},
    };
    test_options_parse(&options, extra, argc, argv);
    test_begin("stress_kill9", options.seed, options.self_test);
    oracle = test_shared(sizeof(*oracle));
    struct test_rng rng = test_rng_make(options.seed, 9);
    uint64_t acked = 0, batches = 0, full = 0;
    const char *dirs[] = {test_dir_memory(), test_dir_disk()};
    for (unsigned i = 0; i < 2 && test_failures() == 0; i++) {
        if (options.dir != NULL && i > 0)
            break;
        uint64_t rounds = options.dir != NULL ? options.rounds : (options.rounds + 1 - i) / 2;
        pool_torture(options.dir != NULL ? options.dir : dirs[i], rounds, &rng);
        for (unsigned id = 0; id < WRITERS; id++) {
            acked += oracle->writer[id].acked;
            batches += oracle->writer[id].batches;
            full += oracle->writer[id].full;
        }
    }
    return test_end("%llu rounds, %llu operations acknowledged (%llu batches), %llu met by a kill "
                    "(%llu there afterwards), %llu found the pool full, %llu stops, %llu pages "
                    "poisoned",
                    (unsigned long long)options.rounds, (unsigned long long)acked,
                    (unsigned long long)batches, (unsigned long long)oracle->in_flight,
                    (unsigned long long)oracle->found_after, (unsigned long long)full,
                    (unsigned long long)oracle->stopped, (unsigned long long)oracle->poisoned);
}
