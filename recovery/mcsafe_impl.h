/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What the files behind mcsafe.h share: the routines themselves. Included by them and nobody else.
 */
#ifndef PMKV_RECOVERY_MCSAFE_IMPL_H
#define PMKV_RECOVERY_MCSAFE_IMPL_H

#include "mcsafe.h"

#include <stdbool.h>

/* mcsafe_portable.c */
void mc_portable_select(void);
size_t mc_portable_load(void *dst, const void *src, size_t bytes);
size_t mc_portable_store_plain(void *dst, const void *src, size_t bytes);
size_t mc_portable_store_flush(void *dst, const void *src, size_t bytes);
size_t mc_portable_touch(const void *src, size_t bytes);
/* From the signal handler: leaves the portable copy this thread is in, never to return; false when
 * it is in none. `ucontext` holds the signal mask to go back to. */
bool mc_portable_escape(const void *ucontext);

#if defined(__x86_64__)
/* mcsafe_x86.S */
#define MC_X86_STORES(width)                                                                       \
    size_t mc_x86_store_##width##_plain(void *dst, const void *src, size_t bytes);                 \
    size_t mc_x86_store_##width##_nt(void *dst, const void *src, size_t bytes);                    \
    size_t mc_x86_store_##width##_clwb(void *dst, const void *src, size_t bytes);                  \
    size_t mc_x86_store_##width##_clflushopt(void *dst, const void *src, size_t bytes);            \
    size_t mc_x86_store_##width##_clflush(void *dst, const void *src, size_t bytes)

size_t mc_x86_load_8byte(void *dst, const void *src, size_t bytes);
size_t mc_x86_load_avx2(void *dst, const void *src, size_t bytes);
size_t mc_x86_load_avx512(void *dst, const void *src, size_t bytes);
size_t mc_x86_load_avx512_rep(void *dst, const void *src, size_t bytes);
MC_X86_STORES(8byte);
MC_X86_STORES(avx2);
MC_X86_STORES(avx512);
size_t mc_x86_touch(const void *src, size_t bytes);
#endif

#endif
