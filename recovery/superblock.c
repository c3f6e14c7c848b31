/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The bytes of a superblock copy: encode, judge, write. Rule numbers are those of superblock.h. */
#include "superblock.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "errmsg.h"
#include "hash.h"
#include "media.h"
#include "superblock_impl.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "stored little endian");
#define AT(field, offset)                                                                          \
    _Static_assert(offsetof(struct superblock, field) == (offset), #field " has moved")
AT(magic, 0);
AT(check, 8);
AT(format_version, 16);
AT(copy, 20);
AT(version, 24);
AT(uuid, 32);
AT(secret, 48);
AT(pool_bytes, 56);
AT(loss_unit, 64);
AT(data_columns, 72);
AT(parity_columns, 76);
AT(row_pages, 80);
AT(segment_rows, 84);
AT(created_time, 88);
AT(counter_ceiling, 96);
AT(table_version, 104);
AT(unsafe_shutdowns, 112);
AT(clean, 120);
AT(tail_count, 124);
AT(media_errors, 128);
AT(pages_rebuilt, 136);
AT(pages_repaired, 144);
AT(pages_retired, 152);
AT(records_lost, 160);
AT(tails, 168);
AT(reserved, 3240);
#undef AT
#define TAIL_AT(field, offset)                                                                     \
    _Static_assert(offsetof(struct lane_tail, field) == (offset), #field " has moved")
TAIL_AT(segment, 0);
TAIL_AT(row, 4);
TAIL_AT(kind, 6);
TAIL_AT(lines_used, 8);
TAIL_AT(reserved, 12);
TAIL_AT(generation, 16);
#undef TAIL_AT

/* Rule 2. */
static uint64_t check_of(const struct superblock *sb, uint64_t off)
{
    struct superblock plain = *sb;
    plain.check = 0;
    uint64_t check = hash_bind(hash64(&plain, sizeof plain), off);
    return check ? check : 1; /* unreached: a hash of 0, once in 2^64 */
}

void superblock_encode(const struct superblock *sb, uint32_t copy, uint64_t off, uint8_t page[4096])
{
    struct superblock bytes = *sb;
    bytes.magic = SUPERBLOCK_MAGIC;
    bytes.format_version = FORMAT_VERSION;
    bytes.copy = copy;
    for (uint32_t i = bytes.tail_count; i < SUPERBLOCK_MAX_TAILS; i++)
        bytes.tails[i] = (struct lane_tail){0};
    memset(bytes.reserved, 0, sizeof bytes.reserved);
    bytes.check = check_of(&bytes, off);
    memcpy(page, &bytes, sizeof bytes);
}

/* --- judge ------------------------------------------------------------------------------------ */

static bool all_zero(const void *bytes, size_t count)
{
    const uint8_t *b = bytes;
    return b[0] == 0 && memcmp(b, b + 1, count - 1) == 0;
}

static int check_tails(const struct superblock *sb, const struct layout *l)
{
    if (sb->clean > 1)
        return err_fact(-EINVAL, "clean mark is %u, must be 0 or 1", sb->clean);
    if (sb->tail_count > SUPERBLOCK_MAX_TAILS)
        return err_fact(-EINVAL, "%u lane tails, at most %d", sb->tail_count, SUPERBLOCK_MAX_TAILS);
    for (uint32_t i = 0; i < sb->tail_count; i++) {
        const struct lane_tail *t = &sb->tails[i];
        if (t->segment >= l->segments || t->row >= l->segment_rows ||
            t->lines_used > l->row_pages * PAGE_PAYLOAD_LINES || t->reserved != 0)
            return err_fact(-EINVAL,
                            "lane tail %u (segment %u, row %u, %u lines) is not in the pool", i,
                            t->segment, t->row, t->lines_used);
    }
    size_t used = offsetof(struct superblock, tails) + sb->tail_count * sizeof *sb->tails;
    if (!all_zero((const uint8_t *)sb + used, sizeof *sb - used))
        return err_fact(-EINVAL, "reserved bytes are not zero");
    return 0;
}

/* Rules 4 and 5. */
static int check_content(const struct superblock *sb, uint64_t off, struct layout *layout)
{
    int rc = layout_compute(layout, sb->pool_bytes, sb->loss_unit, sb->data_columns,
                            sb->parity_columns, sb->row_pages, sb->segment_rows);
    if (rc)
        return rc;
    if (sb->copy >= SUPERBLOCK_COPIES || layout->superblock_off[sb->copy] != off)
        return err_fact(-EINVAL, "copy %u does not belong there", sb->copy);
    return check_tails(sb, layout);
}

enum copy_verdict superblock_judge(const struct superblock *sb, uint64_t off, struct layout *layout)
{
    if (sb->magic != SUPERBLOCK_MAGIC) {
        err_fact(-EINVAL, "no magic");
        return COPY_NO_MAGIC;
    }
    uint64_t computed = check_of(sb, off);
    if (sb->check != computed) {
        err_fact(-EINVAL, "checksum mismatch (stored %016llx, computed %016llx)",
                 (unsigned long long)sb->check, (unsigned long long)computed);
        return COPY_TORN;
    }
    if (sb->format_version < 1) {
        err_fact(-EINVAL, "format version 0 does not exist");
        return COPY_BROKEN;
    }
    if (sb->format_version != FORMAT_VERSION) {
        err_fact(-EINVAL, "format version %u is not %d", sb->format_version, FORMAT_VERSION);
        return COPY_NEWER;
    }
    return check_content(sb, off, layout) == 0 ? COPY_VALID : COPY_BROKEN;
}

bool superblock_valid(const uint8_t page[4096], uint64_t off, const struct layout *l)
{
    struct superblock sb;
    struct layout own;
    memcpy(&sb, page, sizeof sb);
    if (superblock_judge(&sb, off, &own) != COPY_VALID)
        return false;
    if (l && (own.pool_bytes != l->pool_bytes || own.loss_unit != l->loss_unit ||
              own.data_columns != l->data_columns || own.parity_columns != l->parity_columns ||
              own.row_pages != l->row_pages || own.segment_rows != l->segment_rows)) {
        err_fact(-EINVAL, "its sizes are those of another pool");
        return false;
    }
    return true;
}

/* --- write ------------------------------------------------------------------------------------ */

/* Version of the copy on the medium; 0, before all others, when it is no copy of this pool. */
static uint64_t stored_version(struct media *m, const struct layout *l, const uint8_t uuid[16],
                               uint32_t copy)
{
    uint8_t page[PAGE_BYTES];
    struct superblock sb;
    uint64_t off = l->superblock_off[copy];
    if (media_load(m, off, page, sizeof page) < sizeof page || !superblock_valid(page, off, l))
        return 0;
    memcpy(&sb, page, sizeof sb);
    return memcmp(sb.uuid, uuid, sizeof sb.uuid) == 0 ? sb.version : 0;
}

/* Copies by age, oldest first. */
static void order_copies(struct media *m, const struct layout *l, const uint8_t uuid[16],
                         uint32_t order[SUPERBLOCK_COPIES])
{
    uint64_t version[SUPERBLOCK_COPIES];
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        version[i] = stored_version(m, l, uuid, i);
        uint32_t at = i;
        for (; at > 0 && version[order[at - 1]] > version[i]; at--)
            order[at] = order[at - 1];
        order[at] = i;
    }
}

int superblock_write(struct media *m, const struct layout *l, struct superblock *sb)
{
    uint8_t pages[SUPERBLOCK_COPIES][PAGE_BYTES] __attribute__((aligned(64)));
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        superblock_encode(sb, i, l->superblock_off[i], pages[i]);
        if (!superblock_valid(pages[i], l->superblock_off[i], l))
            return err_phrase(-EINVAL, "superblock about to be written");
    }
    uint32_t order[SUPERBLOCK_COPIES], faults = 0;
    order_copies(m, l, sb->uuid, order);
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        uint32_t copy = order[i];
        if (media_store(m, l->superblock_off[copy], pages[copy], PAGE_BYTES) < PAGE_BYTES)
            faults++;
        /* Also after a fault: what was stored of this copy must not mix with the next. */
        int rc = media_drain(m);
        if (rc)
            return err_phrase(rc, "superblock copy %u", copy);
    }
    sb->media_errors += faults;
    if (faults == SUPERBLOCK_COPIES)
        return err_fact(-EIO, "superblock: every copy faults");
    return 0;
}
