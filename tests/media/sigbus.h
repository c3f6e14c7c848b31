/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What the tests of fault_guard share: two poisoned maps, ways to raise a SIGBUS, and a handler
 * that was there before us and notes what reaches it. */
#ifndef PMKV_TESTS_MEDIA_SIGBUS_H
#define PMKV_TESTS_MEDIA_SIGBUS_H

#include "recovery/fault_guard.h"
#include "recovery/mcsafe.h"

#include "poisoned_map.h"

#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#if __has_include(<valgrind/valgrind.h>)
#include <valgrind/valgrind.h>
#else
#define RUNNING_ON_VALGRIND 0
#endif

static char *base;    /* registered by most tests */
static char *foreign; /* never registered */

static inline void set_up(void)
{
    signal(SIGBUS, SIG_DFL);
    base = map_poisoned();
    foreign = map_poisoned();
}

static inline void install_and_register(void)
{
    cr_assert_eq(fault_guard_install(false), 0);
    cr_assert_eq(fault_guard_register(base, MAP_BYTES), 0);
}

/* --- what the tests do ------------------------------------------------------------------------ */

/* Valgrind takes a queued signal with a si_code of the kernel's for a crash of its own. */
static inline void needs_a_kernel(void)
{
    if (RUNNING_ON_VALGRIND)
        cr_skip_test("not under valgrind");
}

/* A SIGBUS of this thread to itself with any si_code, delivered before it returns. */
static inline void queue_sigbus(int code, void *addr, int lsb)
{
    needs_a_kernel();
    siginfo_t info;
    memset(&info, 0, sizeof info);
    info.si_signo = SIGBUS;
    info.si_code = code;
    info.si_addr = addr;
    info.si_addr_lsb = (short)lsb;
    cr_assert_eq(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGBUS, &info), 0);
}

static inline size_t load_at(char *map, size_t good)
{
    char dst[256];
    return mc_load(dst, map + EDGE - good, 256);
}

static inline void read_raw(char *map)
{
    volatile char sink = *(volatile char *)(map + EDGE + 3); /* valgrind drops dead loads */
    (void)sink;
}

/* Runs fn in a child; returns the signal that killed it, or -1 - its exit status. */
static inline int fate_of(void (*fn)(void))
{
    pid_t pid = fork();
    if (pid == 0) {
        fn();
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    return WIFSIGNALED(status) ? WTERMSIG(status) : -1 - WEXITSTATUS(status);
}

enum { LIVES = -1 };

/* --- a handler before us ---------------------------------------------------------------------- */

static struct {
    volatile sig_atomic_t calls, code;
    void *volatile addr;
    char *volatile heal; /* so that the instruction can go on */
    sigset_t mask;
} seen;

static inline void note(int code, void *addr)
{
    seen.calls++;
    seen.code = code;
    seen.addr = addr;
    pthread_sigmask(SIG_SETMASK, NULL, &seen.mask);
    if (seen.heal)
        map_heal(seen.heal);
}

static inline void full_handler(int sig, siginfo_t *info, void *uc)
{
    if (sig == SIGBUS && uc)
        note(info->si_code, info->si_addr);
}

static inline void plain_handler(int sig)
{
    if (sig == SIGBUS)
        note(0, NULL);
}

static inline void install_full(int flags)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO | flags};
    act.sa_sigaction = full_handler;
    sigaddset(&act.sa_mask, SIGUSR2);
    cr_assert_eq(sigaction(SIGBUS, &act, NULL), 0);
}

#endif
