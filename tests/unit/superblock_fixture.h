/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A pool of three superblock copies on a fake medium. */
#ifndef PMKV_TESTS_SUPERBLOCK_FIXTURE_H
#define PMKV_TESTS_SUPERBLOCK_FIXTURE_H

#include "fake_media.h"
#include "recovery/superblock.h"

#define MIB (1024ull * 1024)

struct sb_pool {
    struct fake_media fake;
    struct layout layout;
    struct superblock sb; /* as written last */
};

void sb_pool_init_with(struct sb_pool *p, uint64_t pool_bytes, uint64_t loss_unit, uint32_t n,
                       uint32_t m);
/* 8 MiB, 4 KiB loss unit, 8+1. */
void sb_pool_init(struct sb_pool *p);
void sb_pool_free(struct sb_pool *p);

uint8_t *copy_of(struct sb_pool *p, uint32_t copy);
void poison_copy(struct sb_pool *p, uint32_t copy, bool poisoned);
/* Stores `sb` as one copy, whatever it holds, with a check that is right. */
void plant(struct sb_pool *p, const struct superblock *sb, uint64_t off, uint32_t copy);
/* The copy as stored, to be changed and planted again. */
struct superblock stored(struct sb_pool *p, uint32_t copy);

/* The search ends so; when FOUND with p->sb's version, p's layout and this mask, else with the
 * outputs untouched. */
void assert_finds(struct sb_pool *p, enum superblock_found expected, uint32_t good,
                  const char *what);

#endif
