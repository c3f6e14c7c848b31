/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A SIGBUS that does not belong to the instruction it interrupts, and a program that owns SIGBUS.
 */
#include "sigbus.h"

#include <pthread.h>
#include <stdatomic.h>

/* ThreadSanitizer delivers a queued signal when it likes, never in the middle of a copy. */
#if defined(__SANITIZE_THREAD__)
#define SIGNALS_ARE_DEFERRED 1
#elif defined(__has_feature)
#define SIGNALS_ARE_DEFERRED __has_feature(thread_sanitizer)
#else
#define SIGNALS_ARE_DEFERRED 0
#endif

TestSuite(fault_guard_async, .init = set_up, .timeout = 60);

/* --- asynchronous errors ---------------------------------------------------------------------- */

Test(fault_guard_async, an_asynchronous_error_is_queued_once_and_taken_once)
{
    install_full(0);
    install_and_register();
    uintptr_t addr = 0;
    cr_assert(!fault_guard_take_async(base, MAP_BYTES, &addr));
    queue_sigbus(BUS_MCEERR_AO, base + MAP_PAGE + 70, 12);
    queue_sigbus(BUS_MCEERR_AO, base + MAP_PAGE, 12);
    cr_assert_eq(seen.calls, 0);
    cr_assert(fault_guard_take_async(base, MAP_BYTES, &addr));
    cr_assert_eq(addr, (uintptr_t)base + MAP_PAGE);
    cr_assert(!fault_guard_take_async(base, MAP_BYTES, &addr));
}

Test(fault_guard_async, an_asynchronous_error_is_handed_to_its_own_pool_only)
{
    install_and_register();
    cr_assert_eq(fault_guard_register(foreign, MAP_BYTES), 0);
    queue_sigbus(BUS_MCEERR_AO, foreign + MAP_PAGE, 12);
    uintptr_t addr = 0;
    cr_assert(!fault_guard_take_async(base, MAP_BYTES, &addr));
    cr_assert(fault_guard_take_async(foreign, MAP_BYTES, &addr));
    cr_assert_eq(addr, (uintptr_t)foreign + MAP_PAGE);
}

Test(fault_guard_async, an_asynchronous_error_elsewhere_reaches_the_handler_before_us)
{
    install_full(0);
    install_and_register();
    queue_sigbus(BUS_MCEERR_AO, foreign, 12);
    cr_assert_eq(seen.calls, 1);
    cr_assert_eq(seen.code, BUS_MCEERR_AO);
    uintptr_t addr;
    cr_assert(!fault_guard_take_async(foreign, MAP_BYTES, &addr));
}

Test(fault_guard_async, more_asynchronous_errors_than_fit_do_no_harm)
{
    enum { PAGES = 300 };
    char *big = mmap(NULL, PAGES * MAP_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    cr_assert_neq(big, MAP_FAILED);
    install_full(0);
    install_and_register();
    cr_assert_eq(fault_guard_register(big, PAGES * MAP_PAGE), 0);
    for (int i = 0; i < PAGES; i++)
        queue_sigbus(BUS_MCEERR_AO, big + i * MAP_PAGE, 12);
    int taken = 0;
    uintptr_t addr;
    while (fault_guard_take_async(big, PAGES * MAP_PAGE, &addr))
        taken++;
    cr_assert_eq(taken, 256);
    cr_assert_eq(seen.calls, 0);
}

Test(fault_guard_async, a_machine_check_is_known_by_its_block_and_clamped_to_the_mapping)
{
    install_full(0);
    cr_assert_eq(fault_guard_install(false), 0);
    cr_assert_eq(fault_guard_register(base + MAP_PAGE, MAP_PAGE), 0);
    /* A huge page that begins before the mapping. */
    queue_sigbus(BUS_MCEERR_AO, base, 21);
    uintptr_t addr;
    cr_assert(fault_guard_take_async(base, MAP_BYTES, &addr));
    cr_assert_eq(addr, (uintptr_t)base + MAP_PAGE, "clamped to the mapping");
    cr_assert_eq(seen.calls, 0);
}

/* --- in the middle of a copy -------------------------------------------------------------------
 */

enum { LOADED = 1003 };
static atomic_int forged_code;

/* Only a thread itself may forge a kernel's si_code, so it is made to by another signal. */
static void forge(int sig)
{
    (void)sig;
    int code = atomic_load(&forged_code);
    queue_sigbus(code, base, 12);
}

struct copier {
    const struct mc_variant_fns *variant;
    atomic_int stop;
    atomic_long cut;
    long wrong;
};

/* All of it good memory. Wherever in a routine the signal strikes, its count is a true one. */
static void *copy_good_memory(void *arg)
{
    struct copier *c = arg;
    char line[LOADED];
    fault_guard_thread();
    while (!atomic_load(&c->stop)) {
        memset(line, 0, sizeof line);
        size_t moved = c->variant->load(line, base + LOADED, LOADED);
        c->wrong += moved > LOADED || memcmp(line, base + LOADED, moved) != 0;
        c->cut += c->variant->store_plain(base + MAP_PAGE, base, MAP_PAGE) != MAP_PAGE;
        c->cut += c->variant->touch(base, 2 * MAP_PAGE) != 2 * MAP_PAGE;
    }
    return NULL;
}

enum { SIGNALS = 1000, MOST_SIGNALS = 200000 };

/* Signals a copying thread often; returns how many of its copies were cut short. What cuts goes on
 * until it did: on a busy machine the signals strike between copies for a while. */
static long bombard(const struct mc_variant_fns *v, int code)
{
    struct copier c = {.variant = v};
    pthread_t thread;
    struct sigaction act = {.sa_handler = forge};
    sigaddset(&act.sa_mask, SIGBUS); /* so that it lands in the copy, not in forge */
    atomic_store(&forged_code, code);
    cr_assert_eq(sigaction(SIGUSR1, &act, NULL), 0);
    cr_assert_eq(pthread_create(&thread, NULL, copy_good_memory, &c), 0);
    bool cuts = code == BUS_MCEERR_AR;
    for (int i = 0; i < (cuts && atomic_load(&c.cut) == 0 ? MOST_SIGNALS : SIGNALS); i++) {
        pthread_kill(thread, SIGUSR1);
        usleep(20);
    }
    atomic_store(&c.stop, 1);
    pthread_join(thread, NULL);
    cr_assert_eq(c.wrong, 0, "%s: %ld loads went wrong", v->name, c.wrong);
    return atomic_load(&c.cut);
}

Test(fault_guard_async, an_asynchronous_error_is_never_a_fix_up)
{
    needs_a_kernel();
    install_full(0);
    install_and_register();
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++) {
        uintptr_t addr;
        long cut = bombard(v, BUS_MCEERR_AO);
        cr_assert_eq(cut, 0, "%s: %ld copies were cut short", v->name, cut);
        cr_assert(fault_guard_take_async(base, MAP_BYTES, &addr));
        cr_assert_eq(addr, (uintptr_t)base);
    }
    cr_assert_eq(seen.calls, 0);
}

Test(fault_guard_async, a_sent_signal_with_a_pool_address_is_never_a_fix_up)
{
    needs_a_kernel();
    install_full(0);
    install_and_register();
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++) {
        seen.calls = 0;
        long cut = bombard(v, SI_QUEUE);
        cr_assert_eq(cut, 0, "%s: %ld copies were cut short", v->name, cut);
        cr_assert_gt(seen.calls, 0);
    }
}

/* The opposite, so that the two above can fail: a fault of the kernel's kind does cut. */
Test(fault_guard_async, a_machine_check_in_the_middle_of_a_copy_is_a_fix_up)
{
    needs_a_kernel();
    if (SIGNALS_ARE_DEFERRED)
        cr_skip_test("not under ThreadSanitizer");
    install_full(SA_RESTART);
    install_and_register();
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        cr_assert_gt(bombard(v, BUS_MCEERR_AR), 0, "%s: no copy was cut short", v->name);
}

/* --- filter only ------------------------------------------------------------------------------ */

static volatile sig_atomic_t filtered, refused;

static void program_handler(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    filtered++; /* before: a portable copy does not come back here */
    if (!fault_guard_filter(info, uc)) {
        refused++;
        note(info->si_code, info->si_addr);
    }
}

Test(fault_guard_async, filter_only_leaves_the_action_to_the_program)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO}, now;
    act.sa_sigaction = program_handler;
    sigaddset(&act.sa_mask, SIGUSR1);
    cr_assert_eq(sigaction(SIGBUS, &act, NULL), 0);
    cr_assert_eq(fault_guard_install(true), 0);
    cr_assert_eq(fault_guard_register(base, MAP_BYTES), 0);
    cr_assert_eq(sigaction(SIGBUS, NULL, &now), 0);
    cr_assert_eq(now.sa_sigaction, program_handler);
    cr_assert(fault_guard_is_ours());
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++) {
        char dst[256];
        sigset_t mask;
        filtered = 0;
        cr_assert_eq(v->load(dst, base + EDGE - 40, 256), 40, "%s", v->name);
        cr_assert_gt(filtered, 0);
        pthread_sigmask(SIG_SETMASK, NULL, &mask);
        cr_assert(!sigismember(&mask, SIGUSR1), "%s left the program's mask in force", v->name);
    }
    cr_assert_eq(refused, 0);
    seen.heal = foreign;
    read_raw(foreign);
    cr_assert_eq(refused, 1);
}
