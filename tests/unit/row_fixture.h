/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * One row on a fake medium, with the truth beside it: what was stored, and which groups of the
 * medium were damaged since. Expectations are computed from these two alone.
 */
#ifndef PMKV_TESTS_ROW_FIXTURE_H
#define PMKV_TESTS_ROW_FIXTURE_H

#include "fake_media.h"
#include "recovery/group.h"
#include "recovery/row.h"
#include "support/rng.h"

enum { ALL = 0xffff, GROUPS = PAGE_GROUPS };

struct row_fixture {
    struct fake_media fake;
    struct volume v;
    struct row_ref ref;
    struct row_image truth; /* as encoded */
    struct row_image image; /* what the test loads */
    uint16_t *damaged;      /* groups a page */
    struct test_rng rng;
};

/* A row of n+m columns whose groups are present with 3 in 4, or all when `full`. */
void row_fixture_init(struct row_fixture *f, uint32_t n, uint32_t m, uint32_t row_pages, bool full);
void row_fixture_free(struct row_fixture *f);
/* Stores the truth again: no damage. */
void row_fixture_restore(struct row_fixture *f);
/* Stores an image's pages as those of the row. */
void row_fixture_store(struct row_fixture *f, const struct row_image *image);

/* Pool offset of a page of the row, its bytes on the medium and in the truth, a group's check. */
uint64_t page_off(const struct row_fixture *f, uint32_t page_index);
uint8_t *page_on_medium(struct row_fixture *f, uint32_t page_index);
uint8_t *true_page(const struct row_fixture *f, uint32_t page_index);
uint8_t *check_on_medium(struct row_fixture *f, uint32_t page_index, uint32_t group);
uint64_t page_secret(const struct row_fixture *f, uint32_t page_index);

/* Damage that decoding must see through. */
void poison_page(struct row_fixture *f, uint32_t page_index);
void scramble_page(struct row_fixture *f, uint32_t page_index);
/* Other bytes under the same check; of an absent group, one flipped bit of its check. */
void damage_group(struct row_fixture *f, uint32_t page_index, uint32_t group);

/* Loads and decodes, then asserts that everything is as the damage allows: what may be read is
 * right, rebuilt and lost groups are counted exactly. */
void assert_row_as_expected(struct row_fixture *f, const char *what);
/* No group of the first `pages` pages that may be read differs from the truth. */
void assert_nothing_wrong(const struct row_fixture *f, uint32_t pages, const char *what);

#endif
