/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The variants behind hash64 and runs; only hash*.c and the hash test include this. */
#ifndef PMKV_RECOVERY_HASH_IMPL_H
#define PMKV_RECOVERY_HASH_IMPL_H

#include "hash.h"

/* What the compiler's own target allows: SSE2 on plain x86-64. */
uint64_t hash64_base(const void *bytes, size_t count);
void hash_bind_groups_base(const void *bytes, size_t count, uint64_t first, uint64_t step,
                           uint64_t *out);
/* Adds blocks of HASH_BLOCK_BYTES to a run's sums. */
void hash_blocks_base(uint64_t sums[8], const void *bytes, size_t blocks);
extern void (*hash_blocks)(uint64_t sums[8], const void *bytes, size_t blocks);

#if defined(__x86_64__)
uint64_t hash64_avx2(const void *bytes, size_t count);
void hash_bind_groups_avx2(const void *bytes, size_t count, uint64_t first, uint64_t step,
                           uint64_t *out);
void hash_blocks_avx2(uint64_t sums[8], const void *bytes, size_t blocks);
uint64_t hash64_avx512(const void *bytes, size_t count);
void hash_bind_groups_avx512(const void *bytes, size_t count, uint64_t first, uint64_t step,
                             uint64_t *out);
void hash_blocks_avx512(uint64_t sums[8], const void *bytes, size_t blocks);
#endif

#endif
