/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The process's SIGBUS handler. Installed once, idempotent, async-signal-safe, chaining: a signal
 * whose address is outside every registered pool, or whose instruction is outside the exception
 * table, goes to the handler before it, unchanged (SIG_DFL included: the process then dies as it
 * would have without us).
 *
 * BUS_MCEERR_AR and BUS_ADRERR inside a safe copy: resume at the fix-up. BUS_MCEERR_AO for a pool
 * address: never a fix-up; the page is queued and fault_guard_take_async hands it out.
 */
#ifndef PMKV_RECOVERY_FAULT_GUARD_H
#define PMKV_RECOVERY_FAULT_GUARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Installs the handler (unless filter_only) and selects the copies. When another handler has taken
 * our place since, goes in front of it again. 0, -EBUSY (displaced more than 8 times) or -errno. */
int fault_guard_install(bool filter_only);
/* For a program that owns SIGBUS: true when the signal was ours and is dealt with. Call it first in
 * the handler, with nothing held: for a portable copy it does not return, but jumps back into it.
 */
bool fault_guard_filter(void *siginfo, void *ucontext);
/* Does the process's SIGBUS action still lead to us (always true after filter_only)? */
bool fault_guard_is_ours(void);

/* Registers a mapping; faults are only fixed up inside registered ones. 0, -EINVAL (NULL or empty)
 * or -ENOSPC (64 at most). */
int fault_guard_register(void *base, size_t bytes);
void fault_guard_unregister(void *base);

/* Unblocks SIGBUS in the calling thread if it is blocked; does the work once per thread. */
void fault_guard_thread(void);

/* Takes the address of one asynchronous error reported for [base, base+bytes); false: none. A page
 * reported again before it was taken comes out once; beyond 256 waiting ones reports are dropped.
 */
bool fault_guard_take_async(void *base, size_t bytes, uintptr_t *addr);

/* Used by the exception table of mcsafe*.c: the fix-up for an instruction, or 0. */
uintptr_t mc_fixup(uintptr_t instruction);

#endif
