/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Decoding a row, one group position at a time: group g of page p of every column. Positions know
 * nothing of each other, so damage scattered over many columns is rebuilt as long as no position
 * has more than M failures. When a decoded group is believed is said at row_decode in row.h; rule
 * numbers here are those.
 */
#include <string.h>

#include "group.h"
#include "media.h"
#include "row_impl.h"

/* One group position. Decoding works on copies: the image changes only when the answer is believed.
 */
struct position {
    struct volume *v;
    struct row_ref ref;
    struct row_image *image;
    uint32_t page, group;
    uint32_t bytes;
    uint32_t erased; /* bit per column */
    uint8_t *columns[MAX_COLUMNS];
    uint8_t decoded[MAX_COLUMNS][GROUP_BYTES];
};

static uint32_t index_of(const struct position *at, uint32_t column)
{
    return column * at->v->layout.chunk_pages + at->page;
}

static uint8_t *group_in_image(const struct position *at, uint32_t column)
{
    return row_page_at(at->image, index_of(at, column)) + at->group * GROUP_BYTES;
}

static uint32_t data_mask(const struct position *at)
{
    return (1u << at->v->layout.data_columns) - 1;
}

static void position_init(struct position *at, uint32_t page, uint32_t group)
{
    at->page = page;
    at->group = group;
    at->bytes = group_bytes(group);
    at->erased = 0;
    for (uint32_t c = 0; c < at->v->layout.columns; c++) {
        if (row_group_ok(at->image, index_of(at, c), group)) {
            at->columns[c] = group_in_image(at, c);
        } else {
            at->columns[c] = at->decoded[c];
            at->erased |= 1u << c;
        }
    }
}

/* --- evidence --------------------------------------------------------------------------------- */

enum evidence { EVIDENCE_AGAINST, EVIDENCE_NONE, EVIDENCE_FOR };

/* Rule 2. Two flipped bits leave one wrong answer in 8 million undetected: 529 of 2^32 values. */
static bool check_nearly(uint32_t stored, uint32_t computed)
{
    return __builtin_popcount(stored ^ computed) <= 2;
}

static bool all_zero(const uint8_t *bytes, uint32_t count)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

static enum evidence judge_group(const struct position *at, uint32_t column)
{
    uint32_t index = index_of(at, column);
    const struct row_page *info = &at->image->info[index];
    const uint8_t *decoded = at->decoded[column];
    if ((info->good | info->absent) == 0)
        return EVIDENCE_NONE; /* rule 1 */

    uint32_t stored;
    memcpy(&stored, row_page_at(at->image, index) + PAGE_PAYLOAD_BYTES + at->group * sizeof stored,
           sizeof stored);
    uint64_t secret = row_page_secret(at->v, at->ref, index);
    if (stored == 0)
        return EVIDENCE_NONE;
    if (check_nearly(stored, group_check(secret, at->group, decoded)))
        return EVIDENCE_FOR;
    if (all_zero(decoded, at->bytes) && check_nearly(stored, group_absent(secret, at->group)))
        return EVIDENCE_FOR;
    if (memcmp(decoded, group_in_image(at, column), at->bytes) == 0)
        return EVIDENCE_FOR; /* rule 3 */
    return EVIDENCE_AGAINST;
}

/* One contradiction condemns the position: its decoded groups come from the same survivors. */
static enum evidence judge_position(const struct position *at)
{
    enum evidence sum = EVIDENCE_NONE;
    for (uint32_t c = 0; c < at->v->layout.data_columns; c++) {
        if (!(at->erased >> c & 1))
            continue;
        enum evidence e = judge_group(at, c);
        if (e == EVIDENCE_AGAINST)
            return EVIDENCE_AGAINST;
        if (e == EVIDENCE_FOR)
            sum = EVIDENCE_FOR;
    }
    return sum;
}

/* --- decoding --------------------------------------------------------------------------------- */

static void decode(struct position *at, uint32_t also_erased)
{
    parity_decode(&at->v->code, at->erased | also_erased, at->bytes, at->columns);
}

/*
 * One data group failed, P and Q are there. Decodes by P and computes Q anew beside the one that
 * was read: where they differ one parity is wrong, and only the group's own check can tell which.
 * The wrong one joins the erased, so that it is rebuilt too.
 */
static bool decode_two_ways(struct position *at)
{
    uint32_t p = at->v->layout.data_columns, q = p + 1;
    uint8_t *read_q = at->columns[q];

    at->columns[q] = at->decoded[q];
    decode(at, 1u << q);
    at->columns[q] = read_q;
    enum evidence by_p = judge_position(at);
    if (memcmp(at->decoded[q], read_q, at->bytes) == 0)
        return by_p != EVIDENCE_AGAINST;
    if (by_p == EVIDENCE_FOR) {
        at->erased |= 1u << q;
        return true;
    }
    at->erased |= 1u << p;
    at->columns[p] = at->decoded[p];
    decode(at, 0);
    return judge_position(at) == EVIDENCE_FOR;
}

static bool decode_position(struct position *at)
{
    uint32_t failures = (uint32_t)__builtin_popcount(at->erased);
    if (failures > at->v->code.m)
        return false;
    if (failures == 1 && at->v->code.m == 2 && at->erased & data_mask(at))
        return decode_two_ways(at);
    decode(at, 0);
    return judge_position(at) != EVIDENCE_AGAINST;
}

static uint32_t take_decoded(struct position *at)
{
    uint16_t bit = (uint16_t)(1u << at->group);
    uint32_t taken = 0;
    for (uint32_t c = 0; c < at->v->layout.columns; c++) {
        if (!(at->erased >> c & 1))
            continue;
        struct row_page *info = &at->image->info[index_of(at, c)];
        if ((uint16_t)(info->good | info->absent) == ALL_GROUPS)
            at->image->bad_pages++; /* a wrong parity: its checks held, so it was not counted yet */
        memcpy(group_in_image(at, c), at->decoded[c], at->bytes);
        info->good &= (uint16_t)~bit;
        info->absent &= (uint16_t)~bit;
        info->rebuilt |= bit;
        taken++;
    }
    return taken;
}

static uint32_t count_lost(const struct layout *l, const struct row_image *image)
{
    uint32_t lost = 0;
    for (uint32_t i = 0; i < l->row_pages; i++) {
        const struct row_page *info = &image->info[i];
        uint16_t ok = info->good | info->absent | info->rebuilt;
        lost += PAGE_GROUPS - (uint32_t)__builtin_popcount(ok);
    }
    return lost;
}

uint32_t row_decode_across(struct volume *v, struct row_ref ref, struct row_image *image,
                           uint32_t page)
{
    struct position at;
    at.v = v;
    at.ref = ref;
    at.image = image;
    uint32_t rebuilt = 0;
    for (uint32_t g = 0; g < PAGE_GROUPS; g++) {
        position_init(&at, page, g);
        if (at.erased && decode_position(&at))
            rebuilt += take_decoded(&at);
    }
    return rebuilt;
}

uint32_t row_decode(struct volume *v, struct row_ref ref, struct row_image *image)
{
    uint32_t rebuilt = 0;
    for (uint32_t p = 0; p < v->layout.chunk_pages; p++)
        rebuilt += row_decode_across(v, ref, image, p);
    image->lost_groups = count_lost(&v->layout, image);
    return rebuilt;
}
