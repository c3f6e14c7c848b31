/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "superblock_fixture.h"

#include <criterion/criterion.h>

#include "recovery/errmsg.h"
#include "recovery/hash.h"

void sb_pool_init_with(struct sb_pool *p, uint64_t pool_bytes, uint64_t loss_unit, uint32_t n,
                       uint32_t m)
{
    memset(p, 0, sizeof *p);
    cr_assert_eq(layout_compute(&p->layout, pool_bytes, loss_unit, n, m, 8, 4), 0, "%s",
                 err_message());
    p->sb = (struct superblock){.version = 1,
                                .uuid = "a pool of tests",
                                .secret = 42,
                                .pool_bytes = pool_bytes,
                                .loss_unit = loss_unit,
                                .data_columns = n,
                                .parity_columns = m,
                                .row_pages = 8,
                                .segment_rows = 4,
                                .created_time = 1000,
                                .counter_ceiling = 1 << 20,
                                .clean = 1,
                                .tail_count = 1};
    p->sb.tails[0] = (struct lane_tail){.segment = 2, .row = 3, .lines_used = 504, .generation = 9};
    fake_media_init(&p->fake, pool_bytes);
    cr_assert_eq(superblock_write(&p->fake.media, &p->layout, &p->sb), 0, "%s", err_message());
}

void sb_pool_init(struct sb_pool *p)
{
    sb_pool_init_with(p, 8 * MIB, 4096, 8, 1);
}

void sb_pool_free(struct sb_pool *p)
{
    fake_media_free(&p->fake);
}

uint8_t *copy_of(struct sb_pool *p, uint32_t copy)
{
    return p->fake.bytes + p->layout.superblock_off[copy];
}

void poison_copy(struct sb_pool *p, uint32_t copy, bool poisoned)
{
    p->fake.poison[p->layout.superblock_off[copy] / PAGE_BYTES] = poisoned;
}

void plant(struct sb_pool *p, const struct superblock *sb, uint64_t off, uint32_t copy)
{
    struct superblock bytes = *sb;
    bytes.copy = copy;
    bytes.check = 0;
    bytes.check = hash_bind(hash64(&bytes, sizeof bytes), off);
    memcpy(p->fake.bytes + off, &bytes, sizeof bytes);
}

struct superblock stored(struct sb_pool *p, uint32_t copy)
{
    struct superblock sb;
    memcpy(&sb, copy_of(p, copy), sizeof sb);
    return sb;
}

void assert_finds(struct sb_pool *p, enum superblock_found expected, uint32_t good,
                  const char *what)
{
    struct superblock sb = {.version = 77};
    struct layout layout = {.columns = 77};
    uint32_t mask = 77;
    enum superblock_found found = superblock_find(&p->fake.media, &sb, &layout, &mask);
    cr_assert_eq(found, expected, "%s: found %d, expected %d: %s", what, found, expected,
                 err_message());
    if (expected != SUPERBLOCK_FOUND) {
        cr_assert(sb.version == 77 && layout.columns == 77 && mask == 77, "%s: outputs changed",
                  what);
        return;
    }
    cr_assert_eq(mask, good, "%s: good copies %#x, expected %#x", what, mask, good);
    cr_assert_eq(sb.version, p->sb.version, "%s: version %llu", what,
                 (unsigned long long)sb.version);
    cr_assert_eq(memcmp(&layout, &p->layout, sizeof layout), 0, "%s: another layout", what);
}
