/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What the SIGBUS handler does with signals that are not ours, looked at from inside the process:
 * the handler is called like a function while SIGBUS is blocked, so what it raises stays pending.
 * And what becomes of it in a sandbox that forbids its system calls.
 */
#include "sigbus.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <time.h>
#include <ucontext.h>

#include "media_kit.h"
#include "recovery/errmsg.h"

TestSuite(fault_guard_forward, .init = set_up, .timeout = 60);

static sigset_t only_sigbus(void)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGBUS);
    return set;
}

static siginfo_t fault_at(int code, void *addr, int lsb)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = SIGBUS;
    info.si_code = code;
    info.si_addr = addr;
    info.si_addr_lsb = (short)lsb;
    return info;
}

/* Calls the handler that is installed, as for a fault at `addr`. */
static void handle(int code, void *addr)
{
    static ucontext_t nowhere; /* no instruction of ours */
    sigset_t set = only_sigbus();
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    struct sigaction now;
    cr_assert_eq(sigaction(SIGBUS, NULL, &now), 0);
    siginfo_t info = fault_at(code, addr, 0);
    now.sa_sigaction(SIGBUS, &info, &nowhere);
}

/* Takes the SIGBUS that is pending; si_signo 0: there is none. */
static siginfo_t pending(void)
{
    sigset_t set = only_sigbus();
    struct timespec at_once = {0};
    siginfo_t info = {0};
    if (sigtimedwait(&set, &info, &at_once) < 0)
        info.si_signo = 0;
    return info;
}

static bool default_action_is_set(void)
{
    struct sigaction now;
    return sigaction(SIGBUS, NULL, &now) == 0 && now.sa_handler == SIG_DFL;
}

/* --- the default action, ignored, one-shot ---------------------------------------------------- */

Test(fault_guard_forward, under_the_default_action_the_very_same_signal_is_raised_again)
{
    needs_a_kernel();
    install_and_register();
    handle(BUS_ADRERR, foreign + 5);
    siginfo_t again = pending();
    cr_assert_eq(again.si_signo, SIGBUS);
    cr_assert_eq(again.si_code, BUS_ADRERR, "code %d", again.si_code);
    cr_assert_eq(again.si_addr, foreign + 5);
    cr_assert(default_action_is_set());
}

Test(fault_guard_forward, an_ignored_fault_is_fatal_and_what_is_no_fault_is_ignored)
{
    needs_a_kernel();
    signal(SIGBUS, SIG_IGN);
    install_and_register();
    handle(BUS_MCEERR_AO, foreign);
    handle(SI_USER, NULL);
    cr_assert_eq(pending().si_signo, 0);
    cr_assert(!default_action_is_set());
    handle(BUS_ADRERR, foreign);
    cr_assert_eq(pending().si_signo, SIGBUS);
    cr_assert(default_action_is_set());
}

Test(fault_guard_forward, a_one_shot_handler_before_us_makes_room_for_the_default_action)
{
    needs_a_kernel();
    install_full((int)SA_RESETHAND);
    install_and_register();
    handle(BUS_ADRERR, foreign);
    cr_assert_eq(seen.calls, 1);
    cr_assert_eq(pending().si_signo, 0);
    handle(BUS_ADRERR, foreign);
    cr_assert_eq(seen.calls, 1);
    cr_assert_eq(pending().si_signo, SIGBUS);
}

Test(fault_guard_forward, each_of_its_entries_calls_the_handler_it_found)
{
    for (int i = 0; i < 8; i++) {
        seen.calls = 0;
        install_full(0);
        cr_assert_eq(fault_guard_install(false), 0, "entry %d", i);
        raise(SIGBUS);
        cr_assert_eq(seen.calls, 1, "entry %d: %d calls", i, seen.calls);
    }
    install_full(0);
    char path[KIT_PATH_BYTES];
    kit_path(path, kit_memory(), "displaced");
    struct media *m = NULL;
    struct media_args args = {.create_bytes = KIT_POOL_BYTES};
    cr_assert_eq(media_create(path, &args, &m), -EBUSY);
    cr_assert(strstr(err_message(), "cannot install the SIGBUS handler"), "%s", err_message());
    cr_assert_neq(access(path, F_OK), 0, "a file is left behind");
}

/* --- the filter ------------------------------------------------------------------------------- */

Test(fault_guard_forward, the_filter_takes_no_other_signal)
{
    install_and_register();
    siginfo_t info = fault_at(BUS_MCEERR_AO, base, 12);
    info.si_signo = SIGSEGV;
    cr_assert_not(fault_guard_filter(&info, NULL));
    info.si_signo = SIGBUS;
    cr_assert(fault_guard_filter(&info, NULL));
}

Test(fault_guard_forward, a_block_of_a_size_that_cannot_be_is_a_byte)
{
    install_and_register();
    siginfo_t info = fault_at(BUS_MCEERR_AO, base - 1, 63);
    cr_assert_not(fault_guard_filter(&info, NULL), "right before the mapping");
    info.si_addr = base;
    cr_assert(fault_guard_filter(&info, NULL));
}

static atomic_bool stop;

static void *come_and_go(void *arg)
{
    while (!atomic_load(&stop)) {
        fault_guard_unregister(arg);
        fault_guard_register(arg, MAP_BYTES);
    }
    return NULL;
}

Test(fault_guard_forward, mappings_that_come_and_go_hide_no_other)
{
    enum { ROUNDS = 200000 };
    pthread_t thread;
    cr_assert_eq(fault_guard_register(foreign, MAP_BYTES), 0); /* looked at first */
    install_and_register();
    cr_assert_eq(pthread_create(&thread, NULL, come_and_go, foreign), 0);
    unsigned missed = 0;
    siginfo_t info = fault_at(BUS_MCEERR_AO, base, 12);
    for (int i = 0; i < ROUNDS; i++)
        missed += !fault_guard_filter(&info, NULL);
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
    cr_assert_eq(missed, 0, "%u of %d were called foreign", missed, ROUNDS);
}

static void *take_all(void *arg)
{
    uintptr_t addr;
    while (!atomic_load(&stop))
        while (fault_guard_take_async(foreign, MAP_BYTES, &addr))
            atomic_fetch_add((atomic_uint *)arg, 1);
    return NULL;
}

Test(fault_guard_forward, of_two_takers_one_gets_the_page)
{
    enum { ROUNDS = 20000 };
    pthread_t threads[2];
    atomic_uint taken = 0;
    cr_assert_eq(fault_guard_register(foreign, MAP_BYTES), 0);
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, take_all, &taken), 0);
    for (unsigned i = 1; i <= ROUNDS; i++) {
        siginfo_t info = fault_at(BUS_MCEERR_AO, foreign, 12);
        cr_assert(fault_guard_filter(&info, NULL));
        while (atomic_load(&taken) < i)
            sched_yield();
    }
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(taken, ROUNDS, "%u of %d", taken, ROUNDS);
}

/* --- in a sandbox ----------------------------------------------------------------------------- */

enum { NO_SANDBOX = 77 };

/* From now on that call gets EPERM; `argument` >= 0: only where that argument is not 0. */
static void forbid(int call, int argument)
{
    size_t low = offsetof(struct seccomp_data, args) + (size_t)(argument < 0 ? 0 : argument) * 8;
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)low),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, argument < 0 ? 0 : 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) != 0)
        _exit(NO_SANDBOX);
}

static void must_live(void (*fn)(void))
{
    needs_a_kernel();
    int fate = fate_of(fn);
    if (fate == -1 - NO_SANDBOX)
        cr_skip_test("no seccomp here");
    cr_assert_eq(fate, LIVES, "signal or status %d", fate);
}

static void raise_without_queueing(void)
{
    forbid(SYS_rt_tgsigqueueinfo, -1);
    handle(BUS_ADRERR, foreign);
    siginfo_t plain = pending();
    if (plain.si_signo != SIGBUS || plain.si_code > 0 || !default_action_is_set())
        _exit(1);
}

Test(fault_guard_forward, where_no_signal_can_be_queued_a_plain_one_is_raised)
{
    install_and_register();
    must_live(raise_without_queueing);
}

static void install_without_asking(void)
{
    forbid(SYS_rt_sigaction, -1);
    if (fault_guard_install(false) != -EPERM || fault_guard_is_ours())
        _exit(1);
}

static void install_without_setting(void)
{
    forbid(SYS_rt_sigaction, 1);
    if (fault_guard_install(false) != -EPERM || fault_guard_is_ours())
        _exit(1);
}

Test(fault_guard_forward, a_handler_that_cannot_be_installed_is_an_error)
{
    must_live(install_without_asking);
    must_live(install_without_setting);
}
