/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Which SIGBUS is ours, and what the handler before us sees of the others. */
#include "sigbus.h"

#include <errno.h>
#include <pthread.h>

TestSuite(fault_guard, .init = set_up, .timeout = 60);

/* --- ours ------------------------------------------------------------------------------------- */

Test(fault_guard, a_fault_in_a_registered_mapping_is_fixed_up)
{
    install_full(0);
    install_and_register();
    cr_assert_eq(load_at(base, 100), 100);
    cr_assert_eq(seen.calls, 0);
}

Test(fault_guard, installing_twice_does_not_make_it_its_own_predecessor)
{
    install_full(0);
    install_and_register();
    for (int i = 0; i < 20; i++)
        cr_assert_eq(fault_guard_install(false), 0);
    raise(SIGBUS);
    cr_assert_eq(seen.calls, 1);
    cr_assert_eq(load_at(base, 9), 9);
}

Test(fault_guard, the_handler_runs_on_the_alternate_stack)
{
    struct sigaction act;
    install_and_register();
    cr_assert_eq(sigaction(SIGBUS, NULL, &act), 0);
    cr_assert(act.sa_flags & SA_ONSTACK);
    cr_assert(act.sa_flags & SA_SIGINFO);
}

Test(fault_guard, errno_survives_a_fault)
{
    install_full(0);
    install_and_register();
    errno = 4711;
    load_at(base, 1);
    raise(SIGBUS);
    cr_assert_eq(errno, 4711);
}

/* A program that owns SIGBUS; the fault reaches the filter as a machine check of such a mapping. */
static volatile sig_atomic_t faults, claimed_lsb;

static void claim_a_machine_check(int sig, siginfo_t *info, void *uc)
{
    (void)sig;
    faults++;
    info->si_code = BUS_MCEERR_AR;
    info->si_addr_lsb = (short)claimed_lsb;
    if (!fault_guard_filter(info, uc))
        _exit(1);
}

/* One page is gone: the signal says where it begins, and the edge is not met again. A mapping of 2
 * MiB is named as a whole, whatever went: there the load finds the edge itself. */
Test(fault_guard, a_load_goes_on_to_the_edge_whatever_the_signal_names)
{
    needs_a_kernel();
    struct sigaction act = {.sa_flags = SA_SIGINFO};
    act.sa_sigaction = claim_a_machine_check;
    cr_assert_eq(sigaction(SIGBUS, &act, NULL), 0);
    cr_assert_eq(fault_guard_install(true), 0);
    cr_assert_eq(fault_guard_register(base, MAP_BYTES), 0);
    for (claimed_lsb = 12; claimed_lsb <= 21; claimed_lsb += 9) {
        faults = 0;
        cr_assert_eq(load_at(base, 100), 100, "a mapping of 2^%d bytes", (int)claimed_lsb);
        cr_assert_leq(faults, claimed_lsb == 12 ? 1 : 2, "%d signals", (int)faults);
    }
}

/* --- not ours: what the handler before us sees ------------------------------------------------ */

Test(fault_guard, a_fault_in_foreign_memory_reaches_the_handler_before_us)
{
    install_full(0);
    install_and_register();
    seen.heal = foreign;
    read_raw(foreign);
    cr_assert_eq(seen.calls, 1);
    cr_assert_eq(seen.code, BUS_ADRERR);
    cr_assert_eq(seen.addr, foreign + EDGE + 3);
}

Test(fault_guard, a_safe_copy_of_foreign_memory_is_not_fixed_up)
{
    install_full(0);
    install_and_register();
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++) {
        char *map = map_poisoned();
        char dst[256];
        seen.heal = map;
        seen.calls = 0;
        cr_assert_eq(v->load(dst, map + EDGE - 50, 256), 256, "%s", v->name);
        cr_assert_eq(seen.calls, 1, "%s: the handler before us saw %d", v->name, seen.calls);
    }
}

Test(fault_guard, a_stray_access_to_the_pool_reaches_the_handler_before_us)
{
    install_full(0);
    install_and_register();
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++) {
        char dst[64];
        v->load(dst, base, sizeof dst); /* leaves no place to jump back to */
    }
    seen.heal = base;
    read_raw(base);
    cr_assert_eq(seen.calls, 1);
    cr_assert_eq(seen.addr, base + EDGE + 3);
}

Test(fault_guard, a_signal_that_a_process_sent_is_never_ours)
{
    install_full(0);
    install_and_register();
    queue_sigbus(SI_QUEUE, base + EDGE, 0);
    cr_assert_eq(seen.calls, 1);
    cr_assert_eq(seen.code, SI_QUEUE);
    kill(getpid(), SIGBUS);
    cr_assert_eq(seen.calls, 2);
    cr_assert_eq(seen.code, SI_USER);
}

Test(fault_guard, after_unregister_a_fault_is_foreign)
{
    install_full(0);
    install_and_register();
    fault_guard_unregister(base);
    seen.heal = base;
    cr_assert_eq(load_at(base, 50), 256);
    cr_assert_eq(seen.calls, 1);
}

Test(fault_guard, a_plain_handler_before_us_is_called)
{
    signal(SIGBUS, plain_handler);
    install_and_register();
    seen.heal = foreign;
    read_raw(foreign);
    cr_assert_eq(seen.calls, 1);
    raise(SIGBUS);
    cr_assert_eq(seen.calls, 2);
}

Test(fault_guard, the_handler_before_us_runs_under_its_own_mask)
{
    install_full(0);
    install_and_register();
    raise(SIGBUS);
    cr_assert(sigismember(&seen.mask, SIGUSR2));
    cr_assert(sigismember(&seen.mask, SIGBUS));
    sigset_t now;
    pthread_sigmask(SIG_SETMASK, NULL, &now);
    cr_assert(!sigismember(&now, SIGUSR2));
}

Test(fault_guard, sa_nodefer_of_the_handler_before_us_is_honoured)
{
    install_full(SA_NODEFER);
    install_and_register();
    raise(SIGBUS);
    cr_assert_eq(seen.calls, 1);
    cr_assert(!sigismember(&seen.mask, SIGBUS));
}

/* --- not ours: default and ignored ------------------------------------------------------------ */

static void touch_foreign(void)
{
    read_raw(foreign);
}

static void touch_pool_raw(void)
{
    read_raw(base);
}

static void raise_sigbus(void)
{
    raise(SIGBUS);
}

static void copy_pool(void)
{
    _exit(load_at(base, 7) == 7 ? 0 : 1);
}

static void report_foreign_async(void)
{
    queue_sigbus(BUS_MCEERR_AO, foreign, 12);
}

Test(fault_guard, under_the_default_action_the_process_dies_as_without_us)
{
    needs_a_kernel();
    install_and_register();
    cr_assert_eq(fate_of(touch_foreign), SIGBUS);
    cr_assert_eq(fate_of(touch_pool_raw), SIGBUS);
    cr_assert_eq(fate_of(raise_sigbus), SIGBUS);
    cr_assert_eq(fate_of(report_foreign_async), SIGBUS);
    cr_assert_eq(fate_of(copy_pool), LIVES);
}

Test(fault_guard, when_ignored_a_sent_signal_is_ignored_and_a_fault_still_kills)
{
    needs_a_kernel();
    signal(SIGBUS, SIG_IGN);
    install_and_register();
    cr_assert_eq(fate_of(raise_sigbus), LIVES);
    cr_assert_eq(fate_of(report_foreign_async), LIVES);
    cr_assert_eq(fate_of(touch_foreign), SIGBUS);
    cr_assert_eq(fate_of(copy_pool), LIVES);
}

static void raise_twice(void)
{
    raise(SIGBUS);
    if (seen.calls != 1)
        _exit(1);
    raise(SIGBUS);
}

/* Crash reporters rely on it: they return, and the fault that comes again is to kill. */
Test(fault_guard, a_one_shot_handler_before_us_is_called_once)
{
    needs_a_kernel();
    install_full((int)SA_RESETHAND);
    install_and_register();
    cr_assert_eq(fate_of(raise_twice), SIGBUS);
    cr_assert_eq(fate_of(touch_foreign), SIGBUS);
}

/* --- displaced -------------------------------------------------------------------------------- */

static struct sigaction found; /* by a newcomer that installs itself after us */
static volatile sig_atomic_t newcomer_calls;

static void chaining_newcomer(int sig, siginfo_t *info, void *uc)
{
    newcomer_calls++;
    found.sa_sigaction(sig, info, uc);
}

static void displace(void)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO};
    act.sa_sigaction = chaining_newcomer;
    cr_assert_eq(sigaction(SIGBUS, &act, &found), 0);
}

Test(fault_guard, knows_when_another_handler_took_its_place)
{
    cr_assert(!fault_guard_is_ours());
    install_and_register();
    cr_assert(fault_guard_is_ours());
    displace();
    cr_assert(!fault_guard_is_ours());
    cr_assert_eq(fault_guard_install(false), 0);
    cr_assert(fault_guard_is_ours());
}

Test(fault_guard, works_when_a_newcomer_calls_it)
{
    install_and_register();
    displace();
    cr_assert_eq(load_at(base, 31), 31);
    cr_assert_gt(newcomer_calls, 0);
}

Test(fault_guard, in_front_of_a_newcomer_again_nothing_goes_in_circles)
{
    install_full(0);
    install_and_register();
    displace();
    cr_assert_eq(fault_guard_install(false), 0);
    cr_assert_eq(load_at(base, 31), 31);
    cr_assert_eq(newcomer_calls, 0, "ours come first");
    raise(SIGBUS);
    cr_assert_eq(newcomer_calls, 1);
    cr_assert_eq(seen.calls, 1);
}

Test(fault_guard, displaced_too_often_it_says_so)
{
    for (int i = 0; i < 8; i++) {
        cr_assert_eq(fault_guard_install(false), 0);
        displace();
    }
    cr_assert_eq(fault_guard_install(false), -EBUSY);
}

/* --- threads and slots ------------------------------------------------------------------------ */

static void *load_with_sigbus_blocked(void *arg)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    fault_guard_thread();
    *(size_t *)arg = load_at(base, 12);
    pthread_sigmask(SIG_SETMASK, NULL, &all);
    cr_assert(sigismember(&all, SIGUSR1), "only SIGBUS is unblocked");
    return NULL;
}

Test(fault_guard, a_thread_that_blocks_sigbus_is_unblocked)
{
    pthread_t thread;
    size_t moved = 0;
    install_and_register();
    cr_assert_eq(pthread_create(&thread, NULL, load_with_sigbus_blocked, &moved), 0);
    pthread_join(thread, NULL);
    cr_assert_eq(moved, 12);
}

Test(fault_guard, sixty_four_mappings_fit_and_a_freed_place_is_used_again)
{
    for (uintptr_t i = 1; i <= 64; i++)
        cr_assert_eq(fault_guard_register((void *)(i << 20), 4096), 0);
    cr_assert_eq(fault_guard_register(base, MAP_BYTES), -ENOSPC);
    fault_guard_unregister((void *)(33ul << 20));
    install_and_register();
    cr_assert_eq(load_at(base, 3), 3);
}

Test(fault_guard, an_empty_mapping_is_refused)
{
    cr_assert_eq(fault_guard_register(NULL, 4096), -EINVAL);
    cr_assert_eq(fault_guard_register(base, 0), -EINVAL);
    fault_guard_unregister(NULL);
    fault_guard_unregister(base);
}
