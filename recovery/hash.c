/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "hash.h"
#include "hash_impl.h"

#include <stdbool.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "hash_groups.h"

uint64_t hash64_base(const void *bytes, size_t count)
{
    return hash_any(bytes, count);
}

/* What a stream keeps is the same in all variants: it may begin and end with the plain one. */
_Static_assert(sizeof(XXH3_state_t) <= sizeof(struct hash_stream), "room for the state");
_Static_assert(_Alignof(XXH3_state_t) <= _Alignof(struct hash_stream), "aligned for the state");

void hash_begin(struct hash_stream *s)
{
    XXH3_64bits_reset((XXH3_state_t *)s);
}

void hash_bind_groups_base(const void *bytes, size_t count, uint64_t first, uint64_t step,
                           uint64_t *out)
{
    bind_groups(bytes, count, first, step, out);
}

void hash_add_base(struct hash_stream *s, const void *bytes, size_t count)
{
    XXH3_64bits_update((XXH3_state_t *)s, bytes, count);
}

uint64_t hash_end(const struct hash_stream *s)
{
    const XXH3_state_t *state = (const XXH3_state_t *)s;
    if (state->totalLen <= XXH3_MIDSIZE_MAX) /* all of it is still in the buffer */
        return hash64_base(state->buffer, (size_t)state->totalLen);
    return XXH3_64bits_digest(state);
}

/* Start with a variant that always works, so that even an earlier constructor may call it. */
uint64_t (*hash64)(const void *bytes, size_t count) = hash64_base;
void (*hash_bind_groups)(const void *bytes, size_t count, uint64_t first, uint64_t step,
                         uint64_t *out) = hash_bind_groups_base;
void (*hash_add)(struct hash_stream *s, const void *bytes, size_t count) = hash_add_base;

#if defined(__x86_64__)
/* All that the compiler may use in hash_avx512.c. unreached: a CPU has all of it, or nothing. */
static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

/*
 * Runs while the program (or dlopen) still has this library to itself, so the pointer is a plain
 * one: a hash costs one predicted indirect call and no atomic.
 * unreached: a CPU has one best variant (tests/unit/test_hash.c calls all it has).
 */
__attribute__((constructor)) static void hash_select(void)
{
    __builtin_cpu_init();
    if (has_avx512()) {
        hash64 = hash64_avx512;
        hash_bind_groups = hash_bind_groups_avx512;
        hash_add = hash_add_avx512;
    } else if (__builtin_cpu_supports("avx2")) {
        hash64 = hash64_avx2;
        hash_bind_groups = hash_bind_groups_avx2;
        hash_add = hash_add_avx2;
    }
}
#endif
