/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * XXH3-64 (libxxhash, inlined), compiled for SSE2, AVX2 and AVX-512 and chosen by CPUID at load
 * time: from 256 B on the inlined vector forms are 2.5 to 3 times faster than Debian's SSE2
 * library. All give the same result. Seeds are mixed in outside (hash_mix): a seeded XXH3 rebuilds
 * its secret at every call.
 *
 * One thing is not as published: 129 to 240 bytes are hashed in the form that XXH3 has for more
 * than 240. The published one for that range takes 15 multiplications one by one, some 190
 * instructions that wait for the last line of a record; so many that the processor does not get to
 * the next read meanwhile (docs/design.md, "What a get costs").
 */
#ifndef PMKV_RECOVERY_HASH_H
#define PMKV_RECOVERY_HASH_H

#include <stddef.h>
#include <stdint.h>

extern uint64_t (*hash64)(const void *bytes, size_t count);
enum { HASH_LONG_FROM = 129 };

/* The same of `count` bytes that come to their place in order: what is copied is hashed while the
 * cache still has it. Whole blocks are hashed where they stand, so that nothing is buffered, as a
 * stream of XXH3 does. */
enum { HASH_BLOCK_BYTES = 1024 };
struct hash_run {
    _Alignas(64) uint64_t sums[8];
    const unsigned char *bytes;
    size_t count, hashed;
};
void hash_run_begin(struct hash_run *r, const void *bytes, size_t count);
void hash_run_to(struct hash_run *r, size_t there); /* so many bytes are there by now */
uint64_t hash_run_end(struct hash_run *r);          /* all are */

/* A strong 64-bit finalizer (the constants of MurmurHash3's fmix64). */
static inline uint64_t hash_mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    x ^= x >> 33;
    return x;
}

/* Binds a hash to a secret: not an XOR, so that equal hashes at two places differ in every bit. */
static inline uint64_t hash_bind(uint64_t hash, uint64_t secret)
{
    return hash_mix(hash + hash_mix(secret ^ 0x9e3779b97f4a7c15ull) * 0xd6e8feb86659fd93ull);
}

/* Bound hashes of `count` groups of 256 bytes that stand behind each other: the hash64 of group i
 * with the secret `first + i * step`. */
extern void (*hash_bind_groups)(const void *bytes, size_t count, uint64_t first, uint64_t step,
                                uint64_t *out);

#endif
