/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The SIGBUS handler: who decides what about a signal, in this order.
 *
 * G1  si_code <= 0 (sent by a process): never ours, to the handler before us.
 * G2  Address outside every registered mapping: to the handler before us.
 * G3  BUS_MCEERR_AO: the instruction has nothing to do with the address. Queued, never a fix-up.
 * G4  Instruction in the exception table, or the thread inside a portable copy: resumed there.
 * G5  Else a stray access to pool memory: to the handler before us.
 *
 * The handler before us. It must see what it would have seen without us, so its sa_mask,
 * SA_NODEFER and SA_RESETHAND are honoured, and for SIG_DFL the very same siginfo is raised again
 * under the default action. Another library may install itself after us. Whether it calls us cannot
 * be known, so a later fault_guard_install goes in front of it again, with *another entry point*
 * and another "previous": a newcomer that does call the entry it found there reaches the older one,
 * and what would be an endless circle through a single entry is a line.
 *
 * Everything the handler reads is atomic and lock-free; a region in the middle of a change counts
 * as absent, the handler never waits for a writer it may itself have interrupted.
 *
 * Not done: taking SIGBUS back by itself. fault_guard_is_ours tells; the program decides.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "fault_guard.h"

#include "mcsafe_impl.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

/* --- registered mappings ---------------------------------------------------------------------- */

enum { REGIONS_MAX = 64 };

/* version is odd while base and bytes change; bytes 0: free. */
struct region {
    atomic_uint version;
    atomic_uintptr_t base;
    atomic_size_t bytes;
};
static struct region regions[REGIONS_MAX];
static pthread_mutex_t region_lock = PTHREAD_MUTEX_INITIALIZER;

/* Each release keeps the stores before it before it, so who sees a new word sees the odd version.
 * (No fences: thread sanitizers do not know them.) */
static void region_set(struct region *r, uintptr_t base, size_t bytes)
{
    unsigned version = atomic_load_explicit(&r->version, memory_order_relaxed);
    atomic_store_explicit(&r->version, version + 1, memory_order_relaxed);
    atomic_store_explicit(&r->base, base, memory_order_release);
    atomic_store_explicit(&r->bytes, bytes, memory_order_release);
    atomic_store_explicit(&r->version, version + 2, memory_order_release);
}

/* Both words of one moment; false when they are being changed. Pairs with region_set. */
static bool region_get(struct region *r, uintptr_t *base, size_t *bytes)
{
    unsigned before = atomic_load_explicit(&r->version, memory_order_acquire);
    *base = atomic_load_explicit(&r->base, memory_order_acquire);
    *bytes = atomic_load_explicit(&r->bytes, memory_order_acquire);
    /* unreached: torn in a race only (mappings_that_come_and_go_hide_no_other runs it). */
    return !(before & 1) && before == atomic_load_explicit(&r->version, memory_order_relaxed);
}

int fault_guard_register(void *base, size_t bytes)
{
    if (!base || !bytes)
        return -EINVAL;
    int rc = -ENOSPC;
    pthread_mutex_lock(&region_lock);
    for (struct region *r = regions; r < regions + REGIONS_MAX; r++)
        if (!atomic_load_explicit(&r->bytes, memory_order_relaxed)) {
            region_set(r, (uintptr_t)base, bytes);
            rc = 0;
            break;
        }
    pthread_mutex_unlock(&region_lock);
    return rc;
}

void fault_guard_unregister(void *base)
{
    pthread_mutex_lock(&region_lock);
    for (struct region *r = regions; base && r < regions + REGIONS_MAX; r++)
        if (atomic_load_explicit(&r->base, memory_order_relaxed) == (uintptr_t)base) {
            region_set(r, 0, 0);
            break;
        }
    pthread_mutex_unlock(&region_lock);
}

enum { FAULT_PAGE_BYTES = 4096 };

/* What a signal says is gone: [from, from + bytes). */
struct loss {
    uintptr_t from;
    size_t bytes;
};

/* A machine check names the page and, in si_addr_lsb, the size of the mapping it was found through;
 * the other codes name a byte and leave si_addr_lsb unset. */
static struct loss loss_of(const siginfo_t *info)
{
    uintptr_t addr = (uintptr_t)info->si_addr;
    if (info->si_code != BUS_MCEERR_AR && info->si_code != BUS_MCEERR_AO)
        return (struct loss){addr, 1};
    unsigned lsb = (unsigned)info->si_addr_lsb;
    size_t bytes = lsb < 40 ? (size_t)1 << lsb : 1;
    return (struct loss){addr & ~(uintptr_t)(bytes - 1), bytes};
}

/* The first byte of the loss inside a registered mapping; false: the loss touches none. */
static bool loss_in_region(struct loss loss, uintptr_t *first)
{
    for (struct region *r = regions; r < regions + REGIONS_MAX; r++) {
        uintptr_t base;
        size_t bytes;
        if (!region_get(r, &base, &bytes) || !bytes) /* unreached: as in region_get */
            continue;
        if (loss.from < base + bytes && base < loss.from + loss.bytes) {
            *first = loss.from > base ? loss.from : base;
            return true;
        }
    }
    return false;
}

/* --- asynchronous errors ---------------------------------------------------------------------- */

/* A bag of addresses rather than a ring: a taker wants its own pool's only. A full bag forgets the
 * newcomer; scrub or the next touch finds that page. */
enum { ASYNC_MAX = 256 };
static atomic_uintptr_t async_pages[ASYNC_MAX];
static atomic_int async_count; /* a hint: 0 lets the taker skip the scan */

static void async_put(uintptr_t addr)
{
    for (size_t i = 0; i < ASYNC_MAX; i++) {
        uintptr_t there = 0;
        if (atomic_compare_exchange_strong(&async_pages[i], &there, addr)) {
            atomic_fetch_add(&async_count, 1);
            return;
        }
        if (there == addr)
            return;
    }
}

bool fault_guard_take_async(void *base, size_t bytes, uintptr_t *addr)
{
    if (atomic_load_explicit(&async_count, memory_order_relaxed) <= 0)
        return false;
    for (size_t i = 0; i < ASYNC_MAX; i++) {
        uintptr_t there = atomic_load(&async_pages[i]);
        if (!there || there - (uintptr_t)base >= bytes)
            continue;
        /* unreached: the other way is a race (of_two_takers_one_gets_the_page runs it). */
        if (atomic_compare_exchange_strong(&async_pages[i], &there, 0)) {
            atomic_fetch_sub(&async_count, 1);
            *addr = there;
            return true;
        }
    }
    return false;
}

/* --- the decision ----------------------------------------------------------------------------- */

/* The copies of mcsafe_x86.S are told where the page begins that is gone. Not where more than a
 * page may be: a mapping of 2 MiB names all of it, also when the kernel took one page out of it. */
static bool resume_at_fixup(ucontext_t *uc, struct loss loss)
{
#if defined(__x86_64__)
    uintptr_t fixup = mc_fixup((uintptr_t)uc->uc_mcontext.gregs[REG_RIP]);
    if (fixup) {
        uintptr_t page = loss.from & ~(uintptr_t)(FAULT_PAGE_BYTES - 1);
        uc->uc_mcontext.gregs[REG_RCX] =
            loss.bytes <= FAULT_PAGE_BYTES ? (greg_t)page : (greg_t)UINTPTR_MAX;
        uc->uc_mcontext.gregs[REG_RIP] = (greg_t)fixup;
        return true;
    }
#else
    (void)loss;
#endif
    return mc_portable_escape(uc);
}

bool fault_guard_filter(void *siginfo, void *ucontext)
{
    const siginfo_t *info = siginfo;
    uintptr_t first;
    if (info->si_signo != SIGBUS || info->si_code <= 0)
        return false; /* G1 */
    struct loss loss = loss_of(info);
    if (!loss_in_region(loss, &first))
        return false; /* G2 */
    if (info->si_code == BUS_MCEERR_AO) {
        async_put(first); /* G3 */
        return true;
    }
    return resume_at_fixup(ucontext, loss); /* G4, G5 */
}

/* --- the handler before us -------------------------------------------------------------------- */

enum { ENTRIES_MAX = 8 };
static struct sigaction previous[ENTRIES_MAX];
static atomic_flag previous_spent[ENTRIES_MAX]; /* its SA_RESETHAND has been used up */

/* Dies as without us: same siginfo, default action. The signal waits until the handler returns, so
 * a core dump shows the faulting instruction. */
static void die_of(siginfo_t *info)
{
    struct sigaction dfl = {.sa_handler = SIG_DFL};
    sigaction(SIGBUS, &dfl, NULL);
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGBUS, info) != 0)
        raise(SIGBUS);
}

/* The kernel does not let a fault be ignored. */
static bool is_a_fault(const siginfo_t *info)
{
    return info->si_code > 0 && info->si_code != BUS_MCEERR_AO;
}

static void call_previous(const struct sigaction *before, int sig, siginfo_t *info, void *uc)
{
    sigset_t mask, sigbus;
    pthread_sigmask(SIG_BLOCK, &before->sa_mask, &mask);
    if (before->sa_flags & SA_NODEFER) {
        sigemptyset(&sigbus);
        sigaddset(&sigbus, SIGBUS);
        pthread_sigmask(SIG_UNBLOCK, &sigbus, NULL);
    }
    if (before->sa_flags & SA_SIGINFO)
        before->sa_sigaction(sig, info, uc);
    else
        before->sa_handler(sig);
    pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

static void forward(int entry, int sig, siginfo_t *info, void *uc)
{
    const struct sigaction *before = &previous[entry];
    /* sa_handler and sa_sigaction share their place. */
    bool by_default = before->sa_handler == SIG_DFL;
    if (!by_default && before->sa_flags & (int)SA_RESETHAND)
        by_default = atomic_flag_test_and_set(&previous_spent[entry]);
    if (!by_default && before->sa_handler == SIG_IGN) {
        if (!is_a_fault(info))
            return;
        by_default = true;
    }
    if (by_default)
        die_of(info);
    else
        call_previous(before, sig, info, uc);
}

static void handle(int entry, int sig, siginfo_t *info, void *uc)
{
    int saved_errno = errno;
    if (!fault_guard_filter(info, uc))
        forward(entry, sig, info, uc);
    errno = saved_errno;
}

/* --- installation ----------------------------------------------------------------------------- */

#define ENTRY(n)                                                                                   \
    static void entry_##n(int sig, siginfo_t *info, void *uc)                                      \
    {                                                                                              \
        handle(n, sig, info, uc);                                                                  \
    }
ENTRY(0)
ENTRY(1)
ENTRY(2)
ENTRY(3)
ENTRY(4)
ENTRY(5)
ENTRY(6)
ENTRY(7)

typedef void (*entry_fn)(int sig, siginfo_t *info, void *uc);
static const entry_fn entries[ENTRIES_MAX] = {
    entry_0, entry_1, entry_2, entry_3, entry_4, entry_5, entry_6, entry_7,
};

static pthread_mutex_t install_lock = PTHREAD_MUTEX_INITIALIZER;
static int entries_used;
static atomic_bool program_owns_sigbus;

static bool is_an_entry(const struct sigaction *act)
{
    if (!(act->sa_flags & SA_SIGINFO))
        return false;
    for (int i = 0; i < ENTRIES_MAX; i++)
        if (act->sa_sigaction == entries[i])
            return true;
    return false;
}

/* SA_RESTART unless the handler before us relied on interrupted calls. */
static int flags_in_front_of(const struct sigaction *before)
{
    bool is_function = before->sa_handler != SIG_DFL && before->sa_handler != SIG_IGN;
    bool interrupts = is_function && !(before->sa_flags & SA_RESTART);
    return SA_SIGINFO | SA_ONSTACK | (interrupts ? 0 : SA_RESTART);
}

static int install(void)
{
    struct sigaction now;
    if (sigaction(SIGBUS, NULL, &now) != 0)
        return -errno;
    if (is_an_entry(&now))
        return 0;
    if (entries_used == ENTRIES_MAX)
        return -EBUSY;
    /* Known before the entry can run. */
    previous[entries_used] = now;
    struct sigaction ours = {.sa_flags = flags_in_front_of(&now)};
    ours.sa_sigaction = entries[entries_used];
    sigemptyset(&ours.sa_mask);
    if (sigaction(SIGBUS, &ours, NULL) != 0)
        return -errno;
    entries_used++;
    return 0;
}

int fault_guard_install(bool filter_only)
{
    mc_select();
    if (filter_only) {
        atomic_store(&program_owns_sigbus, true);
        return 0;
    }
    pthread_mutex_lock(&install_lock);
    int rc = install();
    pthread_mutex_unlock(&install_lock);
    return rc;
}

bool fault_guard_is_ours(void)
{
    struct sigaction now;
    if (atomic_load(&program_owns_sigbus))
        return true;
    return sigaction(SIGBUS, NULL, &now) == 0 && is_an_entry(&now);
}

void fault_guard_thread(void)
{
    static _Thread_local bool unblocked __attribute__((tls_model("initial-exec")));
    if (unblocked)
        return;
    sigset_t sigbus;
    sigemptyset(&sigbus);
    sigaddset(&sigbus, SIGBUS);
    unblocked = pthread_sigmask(SIG_UNBLOCK, &sigbus, NULL) == 0;
}
