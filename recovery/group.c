/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "group.h"

#include <string.h>

#include "hash.h"
#include "layout.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "checks are stored little endian");

enum { GROUP_STRIDE = 256, CHECKS_OFF = PAGE_PAYLOAD_BYTES };

uint64_t group_secret(uint64_t pool_secret, uint64_t generation, uint64_t page_no)
{
    return hash_bind(page_no, hash_bind(generation, pool_secret));
}

/*
 * Always odd: that keeps it away from 0 and from 2 and its own ^ 2, the values to which a real
 * check steps aside. Two multiplications are enough, the page secret is mixed already.
 */
uint32_t group_absent(uint64_t page_secret, uint32_t group)
{
    uint64_t place = (page_secret + 0xa0761d6478bd642full) * 0xe7037ed1a0b428dbull;
    return (uint32_t)(place * (2 * group + 1) >> 32) | 1;
}

static uint32_t check_of_hash(uint64_t hash, uint64_t page_secret, uint32_t group)
{
    uint64_t place = page_secret + (group + 1) * 0xa0761d6478bd642full;
    uint32_t check = (uint32_t)hash_bind(hash, place);
    if (check == 0)
        return 2;
    if (check == group_absent(page_secret, group))
        return check ^ 2;
    return check;
}

uint32_t group_check(uint64_t page_secret, uint32_t group, const void *bytes)
{
    return check_of_hash(hash64(bytes, group_bytes(group)), page_secret, group);
}

enum group_verdict group_verify(uint64_t page_secret, uint32_t group, const void *bytes,
                                uint32_t stored)
{
    if (stored == 0)
        return GROUP_BAD;
    if (stored == group_absent(page_secret, group))
        return GROUP_ABSENT;
    return stored == group_check(page_secret, group, bytes) ? GROUP_GOOD : GROUP_BAD;
}

void page_verify(const uint8_t page[4096], uint64_t page_secret, uint16_t *good, uint16_t *absent)
{
    uint32_t checks[PAGE_GROUPS];
    memcpy(checks, page + CHECKS_OFF, sizeof checks);
    unsigned good_mask = 0, absent_mask = 0;
    for (uint32_t g = 0; g < PAGE_GROUPS; g++) {
        enum group_verdict verdict =
            group_verify(page_secret, g, page + g * GROUP_STRIDE, checks[g]);
        good_mask |= (unsigned)(verdict == GROUP_GOOD) << g;
        absent_mask |= (unsigned)(verdict == GROUP_ABSENT) << g;
    }
    *good = (uint16_t)good_mask;
    *absent = (uint16_t)absent_mask;
}

void page_seal(uint8_t page[4096], uint64_t page_secret, uint16_t present)
{
    uint32_t checks[PAGE_GROUPS];
    for (uint32_t g = 0; g < PAGE_GROUPS; g++)
        checks[g] = present >> g & 1 ? group_check(page_secret, g, page + g * GROUP_STRIDE)
                                     : group_absent(page_secret, g);
    memcpy(page + CHECKS_OFF, checks, sizeof checks);
}
