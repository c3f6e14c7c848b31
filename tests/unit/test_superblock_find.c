/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The search for the superblock: which copy wins, what the others are called, hostile bytes. */

#include <criterion/criterion.h>
#include <stddef.h>

#include "recovery/errmsg.h"
#include "superblock_fixture.h"
#include "support/rng.h"

/* --- find ------------------------------------------------------------------------------------- */

Test(superblock, every_loss_unit_and_geometry_is_found_from_any_copy)
{
    const uint32_t columns[][2] = {{8, 1}, {8, 2}, {1, 1}, {1, 0}};
    for (uint64_t unit = 4096; unit <= 4 * MIB; unit *= 2)
        for (int c = 0; c < 4; c++) {
            struct sb_pool p;
            uint64_t least = layout_min_bytes(unit, columns[c][0], columns[c][1], 8, 4);
            sb_pool_init_with(&p, least + 12 * PAGE_BYTES, unit, columns[c][0], columns[c][1]);
            assert_finds(&p, SUPERBLOCK_FOUND, 7, "intact");
            for (uint32_t left = 0; left < SUPERBLOCK_COPIES; left++) {
                for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
                    poison_copy(&p, i, i != left);
                assert_finds(&p, SUPERBLOCK_FOUND, 1u << left, "one copy left");
            }
            sb_pool_free(&p);
        }
}

Test(superblock, damaged_copies_are_not_good)
{
    struct sb_pool p;
    for (uint32_t damaged = 1; damaged < 7; damaged++) {
        sb_pool_init(&p);
        for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
            if (damaged >> i & 1)
                copy_of(&p, i)[100 + i]++;
        assert_finds(&p, SUPERBLOCK_FOUND, 7 & ~damaged, "damaged copies");
        sb_pool_free(&p);
    }
}

Test(superblock, a_copy_whose_check_alone_is_damaged_is_not_good)
{
    struct sb_pool p;
    sb_pool_init(&p);
    copy_of(&p, 2)[offsetof(struct superblock, check)]++;
    assert_finds(&p, SUPERBLOCK_FOUND, 3, "check of copy 2");
    sb_pool_free(&p);
}

Test(superblock, damaged_beyond_use_is_told_from_foreign)
{
    struct sb_pool p;
    sb_pool_init(&p);
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
        copy_of(&p, i)[200]++;
    assert_finds(&p, SUPERBLOCK_DAMAGED, 0, "magic everywhere, no check");
    cr_assert_not_null(strstr(err_message(), "checksum mismatch"), "'%s'", err_message());
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
        copy_of(&p, i)[0]++;
    assert_finds(&p, SUPERBLOCK_FOREIGN, 0, "no magic");
    sb_pool_free(&p);
}

Test(superblock, the_highest_version_wins_and_older_copies_are_not_good)
{
    for (uint32_t newest = 0; newest < SUPERBLOCK_COPIES; newest++) {
        struct sb_pool p;
        sb_pool_init(&p);
        p.sb.version = 2;
        superblock_encode(&p.sb, newest, p.layout.superblock_off[newest], copy_of(&p, newest));
        assert_finds(&p, SUPERBLOCK_FOUND, 1u << newest, "one copy is newer");
        sb_pool_free(&p);
    }
}

Test(superblock, copies_of_one_version_that_differ_are_not_both_good)
{
    struct sb_pool p;
    sb_pool_init(&p);
    struct superblock other = p.sb;
    other.counter_ceiling++;
    superblock_encode(&other, 2, p.layout.superblock_off[2], copy_of(&p, 2));
    assert_finds(&p, SUPERBLOCK_FOUND, 3, "copy 2 tells another ceiling");
    sb_pool_free(&p);
}

Test(superblock, a_newer_format_is_not_touched)
{
    struct sb_pool p;
    sb_pool_init(&p);
    struct superblock newer = stored(&p, 0);
    newer.format_version = FORMAT_VERSION + 1;
    newer.reserved[7] = 1; /* who knows what it means there */
    newer.pool_bytes = 3;
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
        plant(&p, &newer, p.layout.superblock_off[i], i);
    assert_finds(&p, SUPERBLOCK_NEWER, 0, "all copies");
    sb_pool_free(&p);
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        sb_pool_init(&p);
        plant(&p, &newer, p.layout.superblock_off[i], i);
        assert_finds(&p, SUPERBLOCK_NEWER, 0, "a conversion that was cut");
        for (uint32_t other = 0; other < SUPERBLOCK_COPIES; other++)
            poison_copy(&p, other, other != i);
        assert_finds(&p, SUPERBLOCK_NEWER, 0, "the only copy left");
        sb_pool_free(&p);
    }
}

Test(superblock, an_older_format_is_not_touched_either)
{
    struct sb_pool p;
    sb_pool_init(&p);
    struct superblock older = stored(&p, 0);
    older.format_version = FORMAT_VERSION - 1;
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++)
        plant(&p, &older, p.layout.superblock_off[i], i);
    assert_finds(&p, SUPERBLOCK_NEWER, 0, "all copies");
    sb_pool_free(&p);
}

/* Copy 0 says whose pool it is, also when a newer program wrote it. */
Test(superblock, a_newer_format_of_another_pool_counts_where_copy_0_is_its)
{
    struct sb_pool p;
    sb_pool_init(&p);
    struct superblock newer = stored(&p, 0);
    newer.format_version = FORMAT_VERSION + 1;
    newer.uuid[0] ^= 1;
    plant(&p, &newer, p.layout.superblock_off[1], 1);
    assert_finds(&p, SUPERBLOCK_FOUND, 5, "copy 0 is ours");
    plant(&p, &newer, 0, 0);
    assert_finds(&p, SUPERBLOCK_NEWER, 0, "copy 0 is the newer one's");
    sb_pool_free(&p);
}

/* A machine check in the middle of a copy: what came before it counts as a trace of a pool. */
Test(superblock, poison_within_the_copies_is_damage_and_not_foreign)
{
    struct sb_pool p;
    sb_pool_init(&p);
    for (uint32_t i = 1; i < SUPERBLOCK_COPIES; i++)
        memset(copy_of(&p, i), 0, PAGE_BYTES);
    p.fake.stop_at = 128;
    assert_finds(&p, SUPERBLOCK_DAMAGED, 0, "the first 128 bytes of copy 0");
    cr_assert_not_null(strstr(err_message(), "poison"), "'%s'", err_message());
    sb_pool_free(&p);
}

Test(superblock, a_truncated_file_is_reported_with_both_sizes)
{
    struct sb_pool p;
    sb_pool_init(&p);
    for (uint64_t size = 8 * MIB - PAGE_BYTES; size >= PAGE_BYTES; size -= PAGE_BYTES) {
        p.fake.media.size = size;
        assert_finds(&p, SUPERBLOCK_TRUNCATED, 0, "truncated");
    }
    cr_assert_not_null(strstr(err_message(), "8388608"), "'%s'", err_message());
    poison_copy(&p, 0, true);
    p.fake.media.size = 4 * MIB;
    assert_finds(&p, SUPERBLOCK_TRUNCATED, 0, "truncated, copy 1 says so");
    sb_pool_free(&p);
}

Test(superblock, tiny_and_odd_sizes_are_foreign_or_truncated)
{
    struct sb_pool p;
    sb_pool_init(&p);
    for (uint64_t size = 0; size < PAGE_BYTES; size++) {
        p.fake.media.size = size;
        assert_finds(&p, SUPERBLOCK_FOREIGN, 0, "less than a page");
    }
    p.fake.media.size = PAGE_BYTES + 1;
    assert_finds(&p, SUPERBLOCK_TRUNCATED, 0, "a page and a byte");
    sb_pool_free(&p);
}

Test(superblock, a_file_longer_than_its_pool_has_its_last_copy_inside)
{
    struct sb_pool p;
    sb_pool_init(&p);
    p.fake.bytes = realloc(p.fake.bytes, 16 * MIB);
    p.fake.poison = realloc(p.fake.poison, 16 * MIB / PAGE_BYTES + 1);
    memset(p.fake.bytes + 8 * MIB, 0, 8 * MIB);
    memset(p.fake.poison, 0, 16 * MIB / PAGE_BYTES + 1);
    p.fake.media.size = 16 * MIB - 100;
    assert_finds(&p, SUPERBLOCK_FOUND, 7, "twice as long");
    p.sb.version = 5;
    superblock_encode(&p.sb, 2, p.layout.superblock_off[2], copy_of(&p, 2));
    assert_finds(&p, SUPERBLOCK_FOUND, 4, "and the newest");
    sb_pool_free(&p);
}

/* Another pool's copies 1 and 2 on the same medium, of a pool with that loss unit. */
static void plant_former_pool(struct sb_pool *p, uint64_t loss_unit, uint64_t created_time)
{
    struct layout former;
    struct superblock old = p->sb;
    layout_compute(&former, p->layout.pool_bytes, loss_unit, 1, 1, 8, 4);
    memcpy(old.uuid, "another pool", 12);
    old.version = 1000;
    old.loss_unit = loss_unit;
    old.data_columns = old.parity_columns = 1;
    old.created_time = created_time;
    for (uint32_t i = 1; i < SUPERBLOCK_COPIES; i++)
        superblock_encode(&old, i, former.superblock_off[i],
                          p->fake.bytes + former.superblock_off[i]);
}

Test(superblock, copies_of_a_former_pool_are_ignored)
{
    const uint64_t loss_units[][2] = {{4096, 2 * MIB}, {2 * MIB, 4096}};
    for (int i = 0; i < 2; i++) {
        struct sb_pool p;
        sb_pool_init_with(&p, 64 * MIB, loss_units[i][0], 1, 1);
        plant_former_pool(&p, loss_units[i][1], 999);
        assert_finds(&p, SUPERBLOCK_FOUND, 7, "a former pool");
        poison_copy(&p, 0, true);
        assert_finds(&p, SUPERBLOCK_FOUND, 6, "without copy 0 the pool created last counts");
        sb_pool_free(&p);
    }
}

Test(superblock, copy_0_says_whose_pool_it_is_whatever_clocks_said)
{
    struct sb_pool p;
    sb_pool_init_with(&p, 64 * MIB, 4096, 1, 1);
    plant_former_pool(&p, 2 * MIB, 1001);
    assert_finds(&p, SUPERBLOCK_FOUND, 7, "former pool with a later time");
    p.sb.version = 2;
    superblock_encode(&p.sb, 1, p.layout.superblock_off[1], copy_of(&p, 1));
    assert_finds(&p, SUPERBLOCK_FOUND, 2, "copy 0 is old, but of this pool");
    sb_pool_free(&p);
}

Test(superblock, a_planted_copy_with_other_sizes_does_not_win)
{
    struct sb_pool p;
    struct layout other;
    sb_pool_init_with(&p, 64 * MIB, 4096, 8, 1);
    layout_compute(&other, 64 * MIB, 2 * MIB, 8, 1, 8, 4);
    struct superblock forged = p.sb;
    forged.version = 1000;
    forged.loss_unit = 2 * MIB;
    superblock_encode(&forged, 1, other.superblock_off[1], p.fake.bytes + other.superblock_off[1]);
    assert_finds(&p, SUPERBLOCK_FOUND, 7, "same UUID, other loss unit");
    sb_pool_free(&p);
}

/* --- hostile bytes ---------------------------------------------------------------------------- */

/* Any outcome will do but a crash, a hang, a store, or a layout that leaves the medium. */
static void find_survives(struct sb_pool *p)
{
    struct superblock sb;
    struct layout layout;
    uint32_t good = 0;
    p->fake.stores = 0;
    if (superblock_find(&p->fake.media, &sb, &layout, &good) == SUPERBLOCK_FOUND) {
        cr_assert_leq(layout.pool_bytes, p->fake.media.size);
        cr_assert_neq(good, 0, "the winner is not among the good");
        cr_assert_leq(sb.tail_count, SUPERBLOCK_MAX_TAILS);
    }
    cr_assert_eq(p->fake.stores, 0);
}

static void randomize_field(struct test_rng *rng, struct superblock *sb)
{
    uint8_t *bytes = (uint8_t *)sb;
    uint64_t at = 16 + 4 * test_rng_below(rng, test_rng_one_in(rng, 4) ? 1020 : 40);
    uint32_t value = (uint32_t)test_rng_next(rng) >> test_rng_below(rng, 32);
    if (test_rng_one_in(rng, 3))
        value = 1u << test_rng_below(rng, 32);
    memcpy(bytes + at, &value, sizeof value);
}

Test(superblock, forged_copies_with_right_checks_do_no_harm)
{
    struct test_rng rng = test_rng_make(13, 0);
    struct sb_pool p;
    sb_pool_init(&p);
    const struct superblock honest = stored(&p, 0);
    for (int round = 0; round < 30000; round++) {
        for (int n = 0; n < 3; n++) {
            struct superblock forged = honest;
            for (uint64_t fields = 1 + test_rng_below(&rng, 4); fields > 0; fields--)
                randomize_field(&rng, &forged);
            uint32_t at = (uint32_t)test_rng_below(&rng, SUPERBLOCK_COPIES);
            plant(&p, &forged, p.layout.superblock_off[at],
                  test_rng_one_in(&rng, 8) ? forged.copy : at);
        }
        p.fake.media.size = test_rng_one_in(&rng, 4) ? test_rng_below(&rng, 8 * MIB) : 8 * MIB;
        find_survives(&p);
    }
    sb_pool_free(&p);
}

Test(superblock, random_images_are_foreign_or_damaged)
{
    struct test_rng rng = test_rng_make(14, 0);
    struct sb_pool p;
    sb_pool_init(&p);
    for (int round = 0; round < 300; round++) {
        for (uint64_t at = 0; at < 8 * MIB; at += 8) {
            if (at % PAGE_BYTES == 64)
                at += PAGE_BYTES - 128; /* the rest of a page is like its edges */
            uint64_t word = test_rng_next(&rng);
            if (at % PAGE_BYTES == 0 && test_rng_one_in(&rng, 3))
                word = SUPERBLOCK_MAGIC;
            memcpy(p.fake.bytes + at, &word, 8);
        }
        p.fake.media.size = test_rng_below(&rng, 8 * MIB + 1);
        struct superblock sb;
        struct layout layout;
        uint32_t good;
        enum superblock_found found = superblock_find(&p.fake.media, &sb, &layout, &good);
        cr_assert(found == SUPERBLOCK_FOREIGN || found == SUPERBLOCK_DAMAGED, "found %d", found);
    }
    sb_pool_free(&p);
}
