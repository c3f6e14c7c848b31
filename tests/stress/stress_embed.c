/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The rules of embedding (P4; the header on MEMORY ERRORS and FORK). Each case runs in a process of
 * its own, since the owner of SIGBUS is decided once a process.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create */
#endif
#include <pthread.h>
#include <stdatomic.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../support/check.h"
#include "../support/options.h"
#include "../support/oracle.h"
#include "../support/pool.h"
#include "../support/rng.h"

enum { KEYS = 300, VALUE_BYTES = 900, STACK_BYTES = 256 << 10 };

static struct test_options options = {.rounds = 1, .pool_mib = 32};
static const char *only;
static const char *dir;

/* --- the program's own handler and its own bad memory --------------------------------------------
 */

static sigjmp_buf escape;
static atomic_int own_signals, passed_on, taken_by_filter;
static void *volatile own_address;

static void own_handler(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    own_signals++;
    own_address = info->si_addr;
    siglongjmp(escape, 1);
}

static void filtering_handler(int number, siginfo_t *info, void *context)
{
    (void)number;
    if (pmkv_sigbus_filter(info, context)) {
        taken_by_filter++;
        return;
    }
    passed_on++;
    own_address = info->si_addr;
    siglongjmp(escape, 1);
}

static void handler_install(void (*handler)(int, siginfo_t *, void *))
{
    struct sigaction action;
    memset(&action, 0, sizeof(action));
    action.sa_sigaction = handler;
    action.sa_flags = SA_SIGINFO;
    sigemptyset(&action.sa_mask);
    test_that(sigaction(SIGBUS, &action, NULL) == 0, "sigaction failed");
}

/* A page of the program that raises SIGBUS: past the end of an empty file. */
static volatile char *own_bad_page(void)
{
    int fd = memfd_create("past-the-end", MFD_CLOEXEC);
    void *p = mmap(NULL, TEST_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return p == MAP_FAILED ? NULL : p;
}

/* Touches it; true when a handler jumped out. */
static bool own_page_touch(volatile char *page)
{
    if (sigsetjmp(escape, 1) != 0)
        return true;
    (void)page[100];
    return false;
}

/* --- pools ------------------------------------------------------------------------------------ */

struct store {
    char path[TEST_PATH_BYTES];
    struct pmkv *kv;
    struct test_set set;
};

static bool store_fill(struct store *s)
{
    unsigned char buffer[VALUE_BYTES];
    for (uint32_t i = 0; i < KEYS; i++)
        if (!test_status(test_set_put(s->kv, &s->set, i, buffer, VALUE_BYTES), PMKV_OK, "pmkv_put"))
            return false;
    return true;
}

static bool store_make(struct store *s, const char *name, unsigned set, unsigned flags)
{
    test_pool_path(s->path, dir, name);
    s->set = test_set_make(set, KEYS);
    s->kv = NULL;
    options.filter_only = (flags & TEST_OPEN_FILTER_ONLY) != 0;
    if (test_pool_create(s->path, &options))
        s->kv = test_pool_open(s->path, flags);
    return s->kv != NULL && store_fill(s);
}

static void store_verify(struct store *s)
{
    unsigned char buffer[VALUE_BYTES];
    test_set_verify(s->kv, &s->set, buffer, VALUE_BYTES, false);
}

static void store_end(struct store *s)
{
    store_verify(s);
    test_pool_heal(s->kv);
    test_pool_close(&s->kv);
    test_pool_remove(s->path, &options);
}

/* Poisons the page under a key. Two keys may share a page; each is repaired before the next. */
static bool key_poison(struct store *s, uint32_t index)
{
    char key[TEST_KEY_BYTES];
    uint32_t n = 0;
    const struct pmkv_inject spec = {
        .size = sizeof(spec),
        .kind = PMKV_INJECT_POISON,
        .target = PMKV_INJECT_AT_KEY,
        .unit_bytes = TEST_PAGE_BYTES,
        .key = key,
        .key_bytes = test_key_make(key, s->set.id, index),
        .count = 1,
    };
    return test_status(pmkv_inject(s->kv, &spec, &n), PMKV_OK, "pmkv_inject") &&
           test_that(n == 1, "%u faults injected", n);
}

/* A get that meets poison in the calling thread; a put beside it. Ends with the page repaired, so
 * that the next one stays within the redundancy. */
static void poison_survive(struct store *s, uint32_t index)
{
    unsigned char buffer[VALUE_BYTES];
    uint64_t left = 0;
    if (!key_poison(s, index))
        return;
    test_that(test_set_read_exact(s->kv, &s->set, index, buffer, VALUE_BYTES) == TEST_RIGHT,
              "key %u over poison is not right: %s", index, pmkv_errormsg());
    test_status(test_set_put(s->kv, &s->set, index, buffer, VALUE_BYTES), PMKV_OK,
                "pmkv_put after poison");
    test_status(pmkv_repair(s->kv, &left), PMKV_OK, "pmkv_repair");
}

/* --- cases ------------------------------------------------------------------------------------ */

static void case_earlier_handler_gets_foreign_sigbus(void)
{
    struct store s;
    volatile char *page = own_bad_page();
    handler_install(own_handler);
    if (!store_make(&s, "embed", 1, TEST_OPEN_INJECT))
        return;
    for (int i = 1; i <= 3; i++) {
        test_that(own_page_touch(page), "the touch of a bad page went through");
        test_that(own_signals == i && own_address == (void *)(page + 100),
                  "%d signals at %p, expected %d at %p", (int)own_signals, own_address, i,
                  (void *)(page + 100));
        poison_survive(&s, (uint32_t)i * 20);
        test_that(own_signals == i, "a signal of the pool reached the program's handler");
    }
    test_that(test_pool_health(s.kv).sigbus_ours, "health says that SIGBUS is not ours");
    store_end(&s);
}

static void case_foreign_sigbus_kills_as_it_would_without_us(void)
{
    struct store s;
    volatile char *page = own_bad_page();
    if (!store_make(&s, "embed", 1, 0))
        return;
    pid_t child = fork(); /* handlers are inherited */
    if (child == 0) {
        freopen("/dev/null", "w", stderr); /* a sanitizer reports at length */
        (void)page[100];
        _exit(0);
    }
    int code = test_wait(child);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    test_that(code != 0, "a foreign SIGBUS went through");
#else
    test_that(code == 256 + SIGBUS, "a foreign SIGBUS ended the process with %d", code);
#endif
    store_end(&s);
}

static void case_filter_only_with_the_programs_handler(void)
{
    struct store s;
    volatile char *page = own_bad_page();
    handler_install(filtering_handler);
    if (!store_make(&s, "embed", 1, TEST_OPEN_INJECT | TEST_OPEN_FILTER_ONLY))
        return;
    for (uint32_t i = 0; i < 10; i++)
        poison_survive(&s, i * 20);
    test_that(passed_on == 0, "the filter refused %d signals of the pool", (int)passed_on);
    test_that(own_page_touch(page) && passed_on == 1, "the filter took a signal not its own");
    struct pmkv_stats stats = {0};
    test_status(pmkv_stats(s.kv, &stats), PMKV_OK, "pmkv_stats");
    test_that(taken_by_filter > 0, "no signal came through the program's handler, %llu faults",
              (unsigned long long)stats.faults);
    store_end(&s);
}

static void case_later_handler_calls_the_filter(void)
{
    struct store s;
    if (!store_make(&s, "embed", 1, TEST_OPEN_INJECT))
        return;
    handler_install(filtering_handler);
    for (uint32_t i = 0; i < 5; i++)
        poison_survive(&s, i * 20);
    test_that(taken_by_filter > 0 && passed_on == 0, "%d taken, %d refused", (int)taken_by_filter,
              (int)passed_on);
    store_end(&s);
}

static void count_stolen(void *arg, const struct pmkv_event *event)
{
    if (event->kind == PMKV_EVENT_SIGBUS_TAKEN)
        atomic_fetch_add((atomic_int *)arg, 1);
}

/* The background thread notices by itself; nobody asks for the health. */
static void event_awaited(const atomic_int *events, int wanted)
{
    for (int i = 0; i < 500 && atomic_load(events) < wanted; i++)
        test_sleep_ms(10);
    test_sleep_ms(100); /* once, not each round */
    test_that(atomic_load(events) == wanted, "%d events say that SIGBUS was taken, not %d",
              atomic_load(events), wanted);
}

static void case_a_stolen_handler_is_told(void)
{
    struct store s;
    atomic_int events = 0;
    if (!store_make(&s, "embed", 1, 0))
        return;
    struct sigaction before;
    sigaction(SIGBUS, NULL, &before);
    test_status(pmkv_set_event_fn(s.kv, count_stolen, &events), PMKV_OK, "pmkv_set_event_fn");
    for (int i = 1; i <= 2; i++) {
        handler_install(own_handler);
        event_awaited(&events, i);
        test_that(!test_pool_health(s.kv).sigbus_ours, "health does not see that SIGBUS was taken");
        sigaction(SIGBUS, &before, NULL);
        test_that(test_pool_health(s.kv).sigbus_ours, "health does not see that SIGBUS came back");
    }
    store_end(&s);
}

static void case_two_pools_in_one_process(void)
{
    struct store a, b;
    if (!store_make(&a, "embed-a", 1, TEST_OPEN_INJECT) ||
        !store_make(&b, "embed-b", 2, TEST_OPEN_INJECT))
        return;
    test_sets_verify_names(a.kv, &a.set, 1);
    test_sets_verify_names(b.kv, &b.set, 1);
    for (uint32_t i = 0; i < 10; i++) {
        poison_survive(&a, i * 20);
        poison_survive(&b, i * 20 + 7);
    }
    store_end(&a);
    for (uint32_t i = 0; i < 5; i++)
        poison_survive(&b, i * 20 + 3);
    store_end(&b);
}

static void *thread_of_the_program(void *arg)
{
    struct store *s = arg;
    for (uint32_t i = 0; i < 5; i++)
        poison_survive(s, i * 20 + 1);
    return NULL;
}

static void thread_run(void *(*run)(void *), struct store *s)
{
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (test_that(pthread_create(&thread, &attributes, run, s) == 0, "cannot start a thread"))
        pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

static void case_a_thread_that_never_registered(void)
{
    struct store s;
    if (!store_make(&s, "embed", 1, TEST_OPEN_INJECT))
        return;
    thread_run(thread_of_the_program, &s);
    store_end(&s);
}

static void *thread_with_all_signals_blocked(void *arg)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    return thread_of_the_program(arg);
}

static void case_a_thread_that_blocks_sigbus(void)
{
    struct store s;
    if (!store_make(&s, "embed", 1, TEST_OPEN_INJECT))
        return;
    thread_run(thread_with_all_signals_blocked, &s);
    store_end(&s);
}

/* What a forked child gets. Reports through the shared counters. */
static _Noreturn void child_of_fork(struct pmkv *kv)
{
    char key[TEST_KEY_BYTES];
    size_t key_bytes = test_key_make(key, 1, 0), n = 0;
    unsigned char buffer[VALUE_BYTES] = {1};
    uint64_t count = 0;
    test_status(pmkv_get(kv, key, key_bytes, buffer, sizeof(buffer), &n), PMKV_E_FORKED, "get");
    test_status(pmkv_put(kv, key, key_bytes, buffer, sizeof(buffer)), PMKV_E_FORKED, "put");
    test_status(pmkv_delete(kv, key, key_bytes), PMKV_E_FORKED, "delete");
    test_status(pmkv_exists(kv, key, key_bytes), PMKV_E_FORKED, "exists");
    test_status(pmkv_count(kv, &count), PMKV_E_FORKED, "count");
    test_that(buffer[0] == 1 && n == 0, "a call that failed changed its outputs");
    _exit(0);
}

static void case_fork(void)
{
    struct store s;
    if (!store_make(&s, "embed", 1, TEST_OPEN_INJECT))
        return;
    for (int i = 0; i < 3; i++) {
        pid_t child = test_fork(60);
        if (child == 0)
            child_of_fork(s.kv);
        test_that(test_wait(child) == 0, "the forked child died");
        poison_survive(&s, (uint32_t)i * 20);
    }
    store_end(&s);
}

/* Threads of the parent are in the library, with its locks, when it forks: the child waits for none
 * of them. */
static atomic_bool load_over;

static void *load_of_the_parent(void *arg)
{
    struct store *s = arg;
    unsigned char buffer[VALUE_BYTES];
    for (uint32_t i = 0; !atomic_load(&load_over); i++)
        test_status(test_set_put(s->kv, &s->set, i % KEYS, buffer, VALUE_BYTES), PMKV_OK, "put");
    return NULL;
}

static int no_item(void *arg, const struct pmkv_item *item)
{
    (void)arg, (void)item;
    return 0;
}

static _Noreturn void child_amid_load(struct store *s)
{
    struct pmkv *kv = s->kv;
    struct pmkv_batch *batch = NULL;
    struct pmkv_health health;
    struct pmkv_stats stats;
    uint64_t left;
    test_status(pmkv_batch_new(&batch), PMKV_OK, "batch_new");
    test_status(pmkv_batch_put(batch, "k", 1, "v", 1), PMKV_OK, "batch_put");
    test_status(pmkv_write(kv, batch), PMKV_E_FORKED, "write");
    test_status(pmkv_foreach(kv, 0, no_item, NULL), PMKV_E_FORKED, "foreach");
    test_status(pmkv_health(kv, &health), PMKV_E_FORKED, "health");
    test_status(pmkv_stats(kv, &stats), PMKV_E_FORKED, "stats");
    test_status(pmkv_repair(kv, &left), PMKV_E_FORKED, "repair");
    test_status(pmkv_scrub_start(kv, 0), PMKV_E_FORKED, "scrub_start");
    test_status(pmkv_set_event_fn(kv, NULL, NULL), PMKV_E_FORKED, "set_event_fn");
    test_status(pmkv_open(s->path, NULL, &kv), PMKV_E_BUSY, "open of the parent's pool");
    kv = s->kv;
    test_status(pmkv_close(&kv), PMKV_E_FORKED, "close");
    child_of_fork(s->kv);
}

static void case_fork_amid_load(void)
{
    struct store s;
    pthread_t load;
    if (!store_make(&s, "embed", 1, TEST_OPEN_INJECT))
        return;
    if (!test_that(pthread_create(&load, NULL, load_of_the_parent, &s) == 0, "no thread"))
        return;
    for (int i = 0; i < 20; i++) {
        pid_t child = test_fork(20);
        if (child == 0)
            child_amid_load(&s);
        test_that(test_wait(child) == 0, "the forked child died or hung");
    }
    atomic_store(&load_over, true);
    pthread_join(load, NULL);
    store_end(&s);
}

/* The child opens the pool after its parent closed it. */
static void case_fork_and_open_again(void)
{
    struct store s;
    if (!store_make(&s, "embed", 1, 0))
        return;
    test_pool_close(&s.kv);
    pid_t child = test_fork(60);
    if (child == 0) {
        s.kv = test_pool_open(s.path, 0);
        if (s.kv != NULL && store_fill(&s))
            test_pool_close(&s.kv);
        _exit(0);
    }
    test_that(test_wait(child) == 0, "the forked child died");
    s.kv = test_pool_open(s.path, 0);
    if (s.kv != NULL)
        store_end(&s);
}

static void case_one_handle_at_a_time(void)
{
    struct store s;
    struct pmkv *second = NULL;
    if (!store_make(&s, "embed", 1, 0))
        return;
    test_status(pmkv_open(s.path, NULL, &second), PMKV_E_BUSY, "a second open in the process");
    pid_t child = test_fork(60);
    if (child == 0) {
        test_status(pmkv_open(s.path, NULL, &second), PMKV_E_BUSY, "an open in another process");
        _exit(0);
    }
    test_that(test_wait(child) == 0, "the forked child died");
    test_that(second == NULL, "an open that failed wrote its output");
    store_end(&s);
}

static const struct embed_case {
    const char *name;
    void (*run)(void);
    bool poisons;
} cases[] = {
    {"earlier-handler", case_earlier_handler_gets_foreign_sigbus, true},
    {"default-action", case_foreign_sigbus_kills_as_it_would_without_us, false},
    {"filter-only", case_filter_only_with_the_programs_handler, true},
    {"later-handler", case_later_handler_calls_the_filter, true},
    {"stolen-handler", case_a_stolen_handler_is_told, false},
    {"two-pools", case_two_pools_in_one_process, true},
    {"unregistered-thread", case_a_thread_that_never_registered, true},
    {"blocked-sigbus", case_a_thread_that_blocks_sigbus, true},
    {"fork", case_fork, true},
    {"fork-load", case_fork_amid_load, false},
    {"fork-open", case_fork_and_open_again, false},
    {"busy", case_one_handle_at_a_time, false},
};

static void case_run(const struct embed_case *c)
{
    if (c->poisons && options.geometry == PMKV_NONE)
        return;
    pid_t child = test_fork(120);
    if (child == 0) {
        c->run();
        _exit(0);
    }
    int code = test_wait(child);
    test_that(code == 0, "case %s ended with %d", c->name, code);
}

int main(int argc, char **argv)
{
    const struct test_option extra[] = {
        {"case", TEST_OPTION_TEXT, &only, "one case, by name"},
        {NULL, TEST_OPTION_FLAG, NULL, NULL},
    };
    unsigned run = 0;
    test_options_parse(&options, extra, argc, argv);
    test_begin("stress_embed", options.seed, options.self_test);
    dir = options.dir != NULL ? options.dir : test_dir_memory();
    for (uint64_t round = 0; round < options.rounds; round++) {
        for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
            if (only != NULL && strcmp(only, cases[i].name) != 0)
                continue;
            uint64_t before = test_failures();
            case_run(&cases[i]);
            if (test_failures() > before)
                fprintf(stderr, "  (case %s)\n", cases[i].name);
            run++;
        }
    }
    if (options.self_test) {
        pid_t child = test_fork(60);
        if (child == 0)
            raise(SIGBUS);
        test_that(test_wait(child) == 0, "a process that died of SIGBUS");
    }
    return test_end("%u cases", run);
}
