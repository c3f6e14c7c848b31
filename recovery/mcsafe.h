/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Machine-check-safe copies: the only routines that touch pool memory.
 *
 * They are small leaf routines whose instruction ranges stand in a table with a fix-up address; the
 * SIGBUS handler (fault_guard.h) resumes a faulting one at its fix-up, and it returns how many
 * bytes moved. On CPUs without such routines a portable file with sigsetjmp does the same.
 *
 * All return the number of bytes moved (touched) before poison. A load's count is exact to the
 * byte, and nothing is written to dst beyond it. A store's and a touch's is a lower bound in whole
 * lines: the line after it may have been stored, but not written back.
 */
#ifndef PMKV_RECOVERY_MCSAFE_H
#define PMKV_RECOVERY_MCSAFE_H

#include <stddef.h>
#include <stdint.h>

/* Chooses the variants by CPUID, once; idempotent and thread safe. Called by fault_guard_install.
 */
void mc_select(void);
/* Name of the variant in use: "avx512-rep", "avx512", "avx2", "8-byte", "portable". */
const char *mc_variant(void);

typedef size_t (*mc_load_fn)(void *dst, const void *src, size_t bytes);
/* dst is 64 B aligned, bytes a multiple of 64. */
typedef size_t (*mc_store_fn)(void *dst, const void *src, size_t bytes);
typedef size_t (*mc_touch_fn)(const void *src, size_t bytes);

/* Pool to private memory. */
extern mc_load_fn mc_load;
/* Private memory to pool. plain: for media without a flush; nt: non-temporal whole lines, durable
 * after a fence; clwb: cached stores written back, for media that want them. */
extern mc_store_fn mc_store_plain, mc_store_nt, mc_store_clwb;
/* One load per line. */
extern mc_touch_fn mc_touch;
/* sfence, or the CPU's equivalent. */
void mc_fence(void);

/* For tests and benches: every variant this CPU can run; name NULL ends the list. */
struct mc_variant_fns {
    const char *name;
    mc_load_fn load;
    mc_store_fn store_plain, store_nt, store_clwb;
    mc_touch_fn touch;
};
const struct mc_variant_fns *mc_variants(void);

#endif
