/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "row_fixture.h"

#include <stdlib.h>

#include <criterion/criterion.h>

static void random_bytes(struct test_rng *rng, uint8_t *out, size_t count)
{
    for (size_t i = 0; i < count; i++)
        out[i] = (uint8_t)test_rng_next(rng);
}

void row_fixture_store(struct row_fixture *f, const struct row_image *image)
{
    for (uint32_t i = 0; i < image->page_count; i++)
        memcpy(f->fake.bytes + page_off(f, i), image->pages + i * PAGE_BYTES, PAGE_BYTES);
}

void row_fixture_restore(struct row_fixture *f)
{
    row_fixture_store(f, &f->truth);
    memset(f->fake.poison, 0, f->fake.media.size / PAGE_BYTES * sizeof *f->fake.poison);
    memset(f->damaged, 0, f->truth.page_count * sizeof *f->damaged);
}

static void encode_truth(struct row_fixture *f, bool full)
{
    uint16_t present[256];
    random_bytes(&f->rng, f->truth.pages, (size_t)f->truth.page_count * PAGE_BYTES);
    for (uint32_t p = 0; p < f->v.layout.row_pages; p++)
        present[p] = full ? ALL : (uint16_t)(test_rng_next(&f->rng) | test_rng_next(&f->rng));
    if (!full) /* a position where every column is absent */
        for (uint32_t c = 0; c < f->v.layout.data_columns; c++)
            present[c * f->v.layout.chunk_pages] &= (uint16_t)~8;
    row_encode(&f->v, f->ref, &f->truth, present);
}

void row_fixture_init(struct row_fixture *f, uint32_t n, uint32_t m, uint32_t row_pages, bool full)
{
    memset(f, 0, sizeof *f);
    f->rng = test_rng_make(11, n * 100 + m * 10 + row_pages);
    uint64_t bytes = layout_min_bytes(PAGE_BYTES, n, m, row_pages, 4);
    cr_assert_eq(layout_compute(&f->v.layout, bytes, PAGE_BYTES, n, m, row_pages, 4), 0);
    parity_code_init(&f->v.code, n, m);
    fake_media_init(&f->fake, bytes);
    f->v.media = &f->fake.media;
    f->v.secret = 0xabcdef0123456789ull;
    f->ref = (struct row_ref){.segment = 3, .row = 2, .generation = 41};
    cr_assert_eq(row_image_init(&f->truth, &f->v.layout), 0);
    cr_assert_eq(row_image_init(&f->image, &f->v.layout), 0);
    f->damaged = calloc(f->truth.page_count, sizeof *f->damaged);
    encode_truth(f, full);
    row_fixture_restore(f);
}

void row_fixture_free(struct row_fixture *f)
{
    row_image_free(&f->truth);
    row_image_free(&f->image);
    fake_media_free(&f->fake);
    free(f->damaged);
}

uint64_t page_off(const struct row_fixture *f, uint32_t page_index)
{
    const struct layout *l = &f->v.layout;
    return layout_chunk_page_off(l, f->ref.segment, f->ref.row, page_index / l->chunk_pages,
                                 page_index % l->chunk_pages);
}

uint8_t *page_on_medium(struct row_fixture *f, uint32_t page_index)
{
    return f->fake.bytes + page_off(f, page_index);
}

uint8_t *true_page(const struct row_fixture *f, uint32_t page_index)
{
    return f->truth.pages + page_index * PAGE_BYTES;
}

uint8_t *check_on_medium(struct row_fixture *f, uint32_t page_index, uint32_t group)
{
    return page_on_medium(f, page_index) + PAGE_PAYLOAD_BYTES + group * 4;
}

uint64_t page_secret(const struct row_fixture *f, uint32_t page_index)
{
    return group_secret(f->v.secret, f->ref.generation, page_off(f, page_index) / PAGE_BYTES);
}

/* --- damage ----------------------------------------------------------------------------------- */

void poison_page(struct row_fixture *f, uint32_t page_index)
{
    f->fake.poison[page_off(f, page_index) / PAGE_BYTES] = true;
    random_bytes(&f->rng, page_on_medium(f, page_index), PAGE_BYTES);
    f->damaged[page_index] = ALL;
}

void scramble_page(struct row_fixture *f, uint32_t page_index)
{
    random_bytes(&f->rng, page_on_medium(f, page_index), PAGE_BYTES);
    f->damaged[page_index] = ALL;
}

void damage_group(struct row_fixture *f, uint32_t page_index, uint32_t group)
{
    if (f->truth.info[page_index].absent >> group & 1) {
        uint32_t bit = (uint32_t)test_rng_below(&f->rng, 32);
        if (!(f->damaged[page_index] >> group & 1))
            check_on_medium(f, page_index, group)[bit / 8] ^= (uint8_t)(1u << bit % 8);
    } else {
        uint8_t *at = page_on_medium(f, page_index) + group * GROUP_BYTES;
        at[test_rng_below(&f->rng, group_bytes(group))]++;
    }
    f->damaged[page_index] |= (uint16_t)(1u << group);
}

/* --- expectations ----------------------------------------------------------------------------- */

void assert_nothing_wrong(const struct row_fixture *f, uint32_t pages, const char *what)
{
    for (uint32_t i = 0; i < pages; i++)
        for (uint32_t g = 0; g < GROUPS; g++) {
            if (!row_group_ok(&f->image, i, g))
                continue;
            uint32_t at = i * PAGE_BYTES + g * GROUP_BYTES;
            cr_assert_eq(memcmp(f->image.pages + at, f->truth.pages + at, group_bytes(g)), 0,
                         "%s: page %u group %u reads wrong bytes", what, i, g);
        }
}

/* Columns damaged at a group position. */
static uint32_t failures_at(const struct row_fixture *f, uint32_t page, uint32_t group)
{
    uint32_t failures = 0;
    for (uint32_t c = 0; c < f->v.layout.columns; c++)
        failures += f->damaged[c * f->v.layout.chunk_pages + page] >> group & 1;
    return failures;
}

static void assert_group(const struct row_fixture *f, const char *what, uint32_t index, uint32_t g,
                         bool lost)
{
    const struct row_page *info = &f->image.info[index], *truth = &f->truth.info[index];
    bool damaged = f->damaged[index] >> g & 1;
    bool good = info->good >> g & 1, absent = info->absent >> g & 1,
         rebuilt = info->rebuilt >> g & 1;
    cr_assert_eq(good, !damaged && truth->good >> g & 1, "%s: page %u group %u good", what, index,
                 g);
    cr_assert_eq(absent, !damaged && truth->absent >> g & 1, "%s: page %u group %u absent", what,
                 index, g);
    cr_assert_eq(rebuilt, damaged && !lost, "%s: page %u group %u rebuilt", what, index, g);
}

/* Page by page across the row all is found that is found in the row, and no more when a page that
 * is bad is passed over. */
static void assert_across_as_whole(struct row_fixture *f, const char *what)
{
    const struct layout *l = &f->v.layout;
    size_t info_bytes = f->image.page_count * sizeof *f->image.info;
    struct row_page *whole = malloc(info_bytes);
    memcpy(whole, f->image.info, info_bytes);
    memset(f->image.info, 0, info_bytes);
    for (uint32_t p = 0; p < l->chunk_pages; p++) {
        uint32_t bad = 0;
        for (uint32_t c = 0; c < l->columns; c++)
            bad |= (uint32_t)(f->damaged[c * l->chunk_pages + p] == ALL) << c;
        row_load_across(&f->v, f->ref, &f->image, p, bad);
        row_decode_across(&f->v, f->ref, &f->image, p);
    }
    for (uint32_t i = 0; i < f->image.page_count; i++) {
        const struct row_page *a = &f->image.info[i], *b = &whole[i];
        cr_assert(a->good == b->good && a->absent == b->absent && a->rebuilt == b->rebuilt,
                  "%s: page %u across the row", what, i);
    }
    assert_nothing_wrong(f, f->image.page_count, what);
    free(whole);
    row_load(&f->v, f->ref, &f->image);
    row_decode(&f->v, f->ref, &f->image);
}

void assert_row_as_expected(struct row_fixture *f, const char *what)
{
    const struct layout *l = &f->v.layout;
    uint32_t rebuilt = 0, lost = 0, bad_pages = 0;
    bool holds = row_holds(&f->v, f->ref);
    row_load(&f->v, f->ref, &f->image);
    uint32_t loaded_bad_pages = f->image.bad_pages;
    uint32_t got = row_decode(&f->v, f->ref, &f->image);
    for (uint32_t i = 0; i < l->columns * l->chunk_pages; i++) {
        bad_pages += f->damaged[i] != 0;
        for (uint32_t g = 0; g < GROUPS; g++) {
            bool is_lost = failures_at(f, i % l->chunk_pages, g) > l->parity_columns;
            assert_group(f, what, i, g, is_lost);
            if (f->damaged[i] >> g & 1) {
                rebuilt += !is_lost;
                lost += is_lost && i < l->row_pages;
            }
        }
    }
    cr_assert_eq(loaded_bad_pages, bad_pages, "%s: %u bad pages, expected %u", what,
                 loaded_bad_pages, bad_pages);
    cr_assert_eq(holds, bad_pages == 0, "%s: row_holds with %u bad pages", what, bad_pages);
    cr_assert_eq(f->image.lost_groups, lost, "%s: %u lost, expected %u", what, f->image.lost_groups,
                 lost);
    cr_assert_eq(got, rebuilt, "%s: %u rebuilt, expected %u", what, got, rebuilt);
    assert_nothing_wrong(f, f->image.page_count, what);
    assert_across_as_whole(f, what);
}
