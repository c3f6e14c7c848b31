/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The superblock: what counts as a copy, and the order in which copies change. */

#include <criterion/criterion.h>

#include "recovery/errmsg.h"
#include "superblock_fixture.h"
#include "support/rng.h"

/* --- bytes ------------------------------------------------------------------------------------ */

Test(superblock, the_magic_can_be_read_in_the_file)
{
    struct sb_pool p;
    sb_pool_init(&p);
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
        cr_assert_eq(memcmp(copy_of(&p, i), "PMKVPOOL", 8), 0);
    sb_pool_free(&p);
}

Test(superblock, every_flipped_bit_makes_a_copy_invalid)
{
    struct sb_pool p;
    sb_pool_init(&p);
    uint8_t *page = copy_of(&p, 1);
    uint64_t off = p.layout.superblock_off[1];
    cr_assert(superblock_valid(page, off, &p.layout), "%s", err_message());
    for (uint32_t bit = 0; bit < PAGE_BYTES * 8; bit++) {
        page[bit / 8] ^= (uint8_t)(1u << bit % 8);
        cr_assert(!superblock_valid(page, off, &p.layout), "bit %u", bit);
        page[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    sb_pool_free(&p);
}

Test(superblock, a_copy_at_another_offset_is_invalid)
{
    struct sb_pool p;
    sb_pool_init(&p);
    cr_assert(!superblock_valid(copy_of(&p, 0), p.layout.superblock_off[1], &p.layout));
    cr_assert(!superblock_valid(copy_of(&p, 1), 0, NULL));
    sb_pool_free(&p);
}

Test(superblock, a_copy_of_another_layout_is_invalid)
{
    struct sb_pool p;
    struct layout other;
    sb_pool_init(&p);
    layout_compute(&other, 8 * MIB, 4096, 8, 2, 8, 4);
    cr_assert(superblock_valid(copy_of(&p, 0), 0, NULL), "%s", err_message());
    cr_assert(!superblock_valid(copy_of(&p, 0), 0, &other));
    cr_assert(superblock_valid(copy_of(&p, 0), 0, &p.layout), "%s", err_message());
    struct layout off_by_one[6];
    for (int i = 0; i < 6; i++)
        off_by_one[i] = p.layout;
    off_by_one[0].pool_bytes++;
    off_by_one[1].loss_unit++;
    off_by_one[2].data_columns++;
    off_by_one[3].parity_columns++;
    off_by_one[4].row_pages++;
    off_by_one[5].segment_rows++;
    for (int i = 0; i < 6; i++)
        cr_expect(!superblock_valid(copy_of(&p, 0), 0, &off_by_one[i]), "size %d", i);
    sb_pool_free(&p);
}

Test(superblock, encode_clears_what_is_reserved)
{
    struct sb_pool p;
    uint8_t page[PAGE_BYTES];
    sb_pool_init(&p);
    memset(p.sb.reserved, 0xee, sizeof p.sb.reserved);
    p.sb.tails[5].segment = 1;
    superblock_encode(&p.sb, 0, 0, page);
    cr_assert(superblock_valid(page, 0, &p.layout), "%s", err_message());
    sb_pool_free(&p);
}

/* A right check over wrong content: each breaks one rule. */
#define WITH(change)                                                                               \
    do {                                                                                           \
        struct superblock sb = good;                                                               \
        change;                                                                                    \
        plant(&p, &sb, 0, sb.copy);                                                                \
        cr_assert(!superblock_valid(copy_of(&p, 0), 0, NULL), "valid with " #change);              \
    } while (0)

Test(superblock, content_is_checked_although_the_check_is_right)
{
    struct sb_pool p;
    sb_pool_init(&p);
    struct superblock good = stored(&p, 0);
    plant(&p, &good, 0, 0);
    cr_assert(superblock_valid(copy_of(&p, 0), 0, NULL), "%s", err_message());
    WITH(sb.magic++);
    WITH(sb.format_version = 0);
    WITH(sb.format_version = FORMAT_VERSION - 1);
    WITH(sb.format_version = FORMAT_VERSION + 1);
    WITH(sb.copy = 1);
    WITH(sb.copy = ~0u);
    WITH(sb.pool_bytes = 0);
    WITH(sb.pool_bytes++);
    WITH(sb.pool_bytes = ~0ull << 12);
    WITH(sb.loss_unit = 0);
    WITH(sb.loss_unit = 1ull << 63);
    WITH(sb.data_columns = 0);
    WITH(sb.data_columns = ~0u);
    WITH(sb.parity_columns = 3);
    WITH(sb.row_pages = 0);
    WITH(sb.row_pages = 1u << 31);
    WITH(sb.segment_rows = 0);
    WITH(sb.segment_rows = ~0u);
    WITH(sb.clean = 2);
    WITH(sb.tail_count = SUPERBLOCK_MAX_TAILS + 1);
    WITH(sb.tail_count = ~0u);
    WITH(sb.tail_count = 0);
    WITH(sb.tails[0].segment = p.layout.segments);
    WITH(sb.tails[0].row = 4);
    WITH(sb.tails[0].lines_used = 505);
    WITH(sb.tails[0].reserved = 1);
    WITH(sb.tails[1].kind = 1);
    WITH(sb.reserved[0] = 1);
    WITH(sb.reserved[sizeof sb.reserved - 1] = 1);
    sb_pool_free(&p);
}

/* --- write ------------------------------------------------------------------------------------ */

Test(superblock, one_copy_is_written_per_fence)
{
    struct sb_pool p;
    sb_pool_init(&p);
    cr_assert_eq(p.fake.stores, SUPERBLOCK_COPIES);
    cr_assert_eq(p.fake.most_epoch_stores, 1);
    assert_finds(&p, SUPERBLOCK_FOUND, 7, "after a write");
    sb_pool_free(&p);
}

Test(superblock, the_oldest_copy_is_written_first)
{
    const uint32_t ages[][3] = {{3, 2, 1}, {1, 2, 3}, {2, 3, 1}, {3, 1, 2}, {2, 2, 1}, {0, 2, 1}};
    for (int t = 0; t < 6; t++) {
        struct sb_pool p;
        sb_pool_init(&p);
        for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
            p.sb.version = ages[t][i];
            superblock_encode(&p.sb, i, p.layout.superblock_off[i], copy_of(&p, i));
            if (ages[t][i] == 0)
                copy_of(&p, i)[99]++; /* damaged counts as oldest */
        }
        p.fake.stores = 0;
        p.sb.version = 4;
        cr_assert_eq(superblock_write(&p.fake.media, &p.layout, &p.sb), 0);
        uint32_t before = 0;
        for (int n = 0; n < 3; n++)
            for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
                if (p.fake.store_log[n] == p.layout.superblock_off[i]) {
                    cr_assert_geq(ages[t][i], before, "case %d: copy %u too late", t, i);
                    before = ages[t][i];
                }
        assert_finds(&p, SUPERBLOCK_FOUND, 7, "all copies written");
        sb_pool_free(&p);
    }
}

/* Whatever a cut leaves of the one copy in flight, the old or the new superblock is found. */
Test(superblock, a_write_cut_anywhere_leaves_a_superblock)
{
    struct test_rng rng = test_rng_make(12, 0);
    for (uint32_t cut = 0; cut < SUPERBLOCK_COPIES; cut++)
        for (int round = 0; round < 100; round++) {
            struct sb_pool p;
            sb_pool_init(&p);
            struct superblock next = p.sb;
            next.version = 2;
            for (uint32_t i = 0; i <= cut; i++) {
                uint8_t page[PAGE_BYTES];
                superblock_encode(&next, i, p.layout.superblock_off[i], page);
                for (uint32_t word = 0; word < PAGE_BYTES; word += 8)
                    if (i < cut || test_rng_one_in(&rng, 2))
                        memcpy(copy_of(&p, i) + word, page + word, 8);
            }
            struct superblock found;
            struct layout layout;
            uint32_t good;
            cr_assert_eq(superblock_find(&p.fake.media, &found, &layout, &good), SUPERBLOCK_FOUND);
            cr_assert_eq(found.version, cut > 0 || found.version == 2 ? 2 : 1);
            p.sb = found;
            p.sb.version++;
            cr_assert_eq(superblock_write(&p.fake.media, &p.layout, &p.sb), 0);
            assert_finds(&p, SUPERBLOCK_FOUND, 7, "written again");
            sb_pool_free(&p);
        }
}

Test(superblock, copies_that_fault_are_skipped_and_counted)
{
    for (uint32_t poisoned = 0; poisoned < 8; poisoned++) {
        struct sb_pool p;
        sb_pool_init(&p);
        for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
            poison_copy(&p, i, poisoned >> i & 1);
        p.sb.version++;
        int rc = superblock_write(&p.fake.media, &p.layout, &p.sb);
        cr_assert_eq(rc, poisoned == 7 ? -EIO : 0, "%#x: %d", poisoned, rc);
        cr_assert_eq(p.sb.media_errors, (uint64_t)__builtin_popcount(poisoned));
        if (poisoned != 7)
            assert_finds(&p, SUPERBLOCK_FOUND, 7 & ~poisoned, "the others took it");
        sb_pool_free(&p);
    }
}

Test(superblock, a_drain_that_fails_stops_the_write)
{
    struct sb_pool p;
    sb_pool_init(&p);
    p.fake.stores = 0;
    p.fake.fail_drains = 1;
    p.sb.version++;
    cr_assert_eq(superblock_write(&p.fake.media, &p.layout, &p.sb), -EIO);
    cr_assert_eq(p.fake.stores, 1, "%u copies touched", p.fake.stores);
    sb_pool_free(&p);
}

Test(superblock, a_broken_one_is_not_written)
{
    struct sb_pool p;
    sb_pool_init(&p);
    p.fake.stores = 0;
    p.sb.tail_count = SUPERBLOCK_MAX_TAILS + 1;
    cr_assert_eq(superblock_write(&p.fake.media, &p.layout, &p.sb), -EINVAL);
    p.sb.tail_count = 1;
    p.sb.tails[0].row = 99;
    cr_assert_eq(superblock_write(&p.fake.media, &p.layout, &p.sb), -EINVAL);
    cr_assert_eq(p.fake.stores, 0);
    sb_pool_free(&p);
}
