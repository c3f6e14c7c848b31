/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The variants behind hash64; only hash*.c and the hash test include this. */
#ifndef PMKV_RECOVERY_HASH_IMPL_H
#define PMKV_RECOVERY_HASH_IMPL_H

#include <stddef.h>
#include <stdint.h>

/* What the compiler's own target allows: SSE2 on plain x86-64. */
uint64_t hash64_base(const void *bytes, size_t count);

#if defined(__x86_64__)
uint64_t hash64_avx2(const void *bytes, size_t count);
uint64_t hash64_avx512(const void *bytes, size_t count);
#endif

#endif
