/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Group checks. A page has 16 groups: 15 of 256 B and one of 192 B; line 63 holds their 16 checks.
 * A check is 32 bits of XXH3-64 of the group's bytes, combined through a finalizer with a secret
 * per (pool, generation, page) and the group's number. So a stale, misdirected or zeroed group
 * fails.
 *
 * A group never written in this generation carries the *absent* check, bound the same way; it
 * counts as zeros in decoding and is never read. 0 is never a valid check, and a real check is
 * never equal to the absent one of its place.
 */
#ifndef PMKV_RECOVERY_GROUP_H
#define PMKV_RECOVERY_GROUP_H

#include <stdint.h>

/* The secret of one page in one generation. `page_no` is pool offset / 4096. */
uint64_t group_secret(uint64_t pool_secret, uint64_t generation, uint64_t page_no);

/* Byte count of a group: 256, and 192 for group 15. */
static inline uint32_t group_bytes(uint32_t group)
{
    return group == 15 ? 192 : 256;
}

uint32_t group_check(uint64_t page_secret, uint32_t group, const void *bytes);
/* Those of groups [first, first + count) of a private page. */
void group_checks(uint64_t page_secret, uint32_t first, uint32_t count, const uint8_t page[4096],
                  uint32_t *out);
uint32_t group_absent(uint64_t page_secret, uint32_t group);

/* Verifies a private copy of a whole page; sets one bit a group in each mask. */
void page_verify(const uint8_t page[4096], uint64_t page_secret, uint16_t *good, uint16_t *absent);

/* The same with checks that were computed before, by group_checks. */
void page_judge(const uint8_t page[4096], uint64_t page_secret, const uint32_t computed[16],
                uint16_t *good, uint16_t *absent);

/* Fills line 63 of a private page: real checks for the groups in `present`, absent for others. */
void page_seal(uint8_t page[4096], uint64_t page_secret, uint16_t present);

#endif
