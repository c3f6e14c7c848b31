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

static const uint64_t PLACE_STEP = 0xa0761d6478bd642full;

static uint64_t place_secret(uint64_t page_secret, uint32_t group)
{
    return page_secret + (group + 1) * PLACE_STEP;
}

static uint32_t check_of_bound(uint64_t bound, uint64_t page_secret, uint32_t group)
{
    uint32_t check = (uint32_t)bound;
    if (check == 0)
        return 2;
    if (check == group_absent(page_secret, group))
        return check ^ 2;
    return check;
}

static uint64_t bound_hash(uint64_t page_secret, uint32_t group, const void *bytes)
{
    return hash_bind(hash64(bytes, group_bytes(group)), place_secret(page_secret, group));
}

uint32_t group_check(uint64_t page_secret, uint32_t group, const void *bytes)
{
    return check_of_bound(bound_hash(page_secret, group, bytes), page_secret, group);
}

void group_checks(uint64_t page_secret, uint32_t first, uint32_t count, const uint8_t page[4096],
                  uint32_t *out)
{
    uint64_t bound[PAGE_GROUPS];
    const uint8_t *bytes = page + first * GROUP_STRIDE;
    hash_bind_groups(bytes, count, place_secret(page_secret, first), PLACE_STEP, bound);
    if (first + count == PAGE_GROUPS) /* group 15 is a shorter one */
        bound[count - 1] = bound_hash(page_secret, 15, page + 15 * GROUP_STRIDE);
    for (uint32_t i = 0; i < count; i++)
        out[i] = check_of_bound(bound[i], page_secret, first + i);
}

void page_judge(const uint8_t page[4096], uint64_t page_secret, const uint32_t computed[16],
                uint16_t *good, uint16_t *absent)
{
    uint32_t checks[PAGE_GROUPS];
    memcpy(checks, page + CHECKS_OFF, sizeof checks);
    unsigned good_mask = 0, absent_mask = 0;
    for (uint32_t g = 0; g < PAGE_GROUPS; g++) {
        good_mask |= (unsigned)(checks[g] == computed[g]) << g;
        absent_mask |= (unsigned)(checks[g] == group_absent(page_secret, g)) << g;
    }
    *good = (uint16_t)good_mask;
    *absent = (uint16_t)absent_mask;
}

void page_verify(const uint8_t page[4096], uint64_t page_secret, uint16_t *good, uint16_t *absent)
{
    uint32_t computed[PAGE_GROUPS];
    group_checks(page_secret, 0, PAGE_GROUPS, page, computed);
    page_judge(page, page_secret, computed, good, absent);
}

void page_seal(uint8_t page[4096], uint64_t page_secret, uint16_t present)
{
    uint32_t checks[PAGE_GROUPS];
    group_checks(page_secret, 0, PAGE_GROUPS, page, checks);
    for (uint32_t g = 0; g < PAGE_GROUPS; g++)
        if (!(present >> g & 1))
            checks[g] = group_absent(page_secret, g);
    memcpy(page + CHECKS_OFF, checks, sizeof checks);
}
