/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The segment table: one header line per segment, 63 to a page, each page sealed with group checks
 * bound to the table's version. It is a cache of the headers, written at a clean close so that the
 * next open need not touch every segment; whenever it is in doubt the headers are read.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/errmsg.h"
#include "../recovery/group.h"
#include "../recovery/media.h"
#include "damage.h"
#include "segment.h"

static uint64_t table_page_secret(const struct pmkv *kv, uint32_t copy, uint32_t page)
{
    uint64_t off = kv->vol.layout.table_off[copy] + (uint64_t)page * PAGE_BYTES;
    return group_secret(kv->vol.secret, kv->super.table_version, off / PAGE_BYTES);
}

void table_page_encode(const struct pmkv *kv, uint32_t copy, uint32_t page, uint8_t out[4096])
{
    memset(out, 0, PAGE_BYTES);
    for (uint32_t i = 0; i < PAGE_PAYLOAD_LINES; i++) {
        uint32_t segment = page * PAGE_PAYLOAD_LINES + i;
        struct segment_header h;
        if (segment >= kv->vol.layout.segments)
            break;
        segment_header_encode(kv, segment, HEADER_IN_TABLE, &h);
        memcpy(out + i * LINE_BYTES, &h, sizeof h);
    }
    page_seal(out, table_page_secret(kv, copy, page), 0xffff);
}

int table_write(struct pmkv *kv)
{
    uint8_t *page = aligned_alloc(LINE_BYTES, PAGE_BYTES);
    if (!page)
        return err_fact(-ENOMEM, "no memory for a page of the table");
    uint32_t pages = (uint32_t)(kv->vol.layout.table_bytes / PAGE_BYTES);
    int rc = 0;
    for (uint32_t copy = 0; copy < TABLE_COPIES && rc == 0; copy++) {
        for (uint32_t p = 0; p < pages; p++) {
            uint64_t off = kv->vol.layout.table_off[copy] + (uint64_t)p * PAGE_BYTES;
            table_page_encode(kv, copy, p, page);
            if (media_store(kv->vol.media, off, page, PAGE_BYTES) != PAGE_BYTES)
                damage_found(kv, DAMAGE_POISON, off, "segment table store");
        }
        rc = media_drain(kv->vol.media); /* I9 */
    }
    free(page);
    return rc;
}

/* Takes the valid entries of one table page; true when the whole page checks. */
static bool table_page_read(struct pmkv *kv, uint32_t copy, uint32_t page, uint8_t *bytes,
                            struct segment_header *out)
{
    uint64_t off = kv->vol.layout.table_off[copy] + (uint64_t)page * PAGE_BYTES;
    uint16_t good = 0, absent = 0;
    if (media_load(kv->vol.media, off, bytes, PAGE_BYTES) != PAGE_BYTES) {
        damage_found(kv, DAMAGE_POISON, off, "segment table");
        return false;
    }
    page_verify(bytes, table_page_secret(kv, copy, page), &good, &absent);
    for (uint32_t i = 0; i < PAGE_PAYLOAD_LINES; i++) {
        uint32_t segment = page * PAGE_PAYLOAD_LINES + i;
        struct segment_header h;
        memcpy(&h, bytes + i * LINE_BYTES, sizeof h);
        if (segment < kv->vol.layout.segments && good >> (i / 4) & 1 &&
            segment_header_valid(kv, &h, segment, HEADER_IN_TABLE))
            out[segment] = h;
    }
    if (good != 0xffff)
        damage_found(kv, DAMAGE_CHECK, off, "segment table");
    return good == 0xffff;
}

uint32_t table_read(struct pmkv *kv, struct segment_header *out)
{
    uint32_t segments = kv->vol.layout.segments, valid = 0;
    memset(out, 0, segments * sizeof *out);
    uint8_t *bytes = aligned_alloc(LINE_BYTES, PAGE_BYTES);
    if (!bytes)
        return 0;
    uint32_t pages = (uint32_t)(kv->vol.layout.table_bytes / PAGE_BYTES);
    for (uint32_t p = 0; p < pages; p++)
        for (uint32_t copy = 0; copy < TABLE_COPIES; copy++)
            if (table_page_read(kv, copy, p, bytes, out))
                break;
    free(bytes);
    for (uint32_t i = 0; i < segments; i++)
        valid += out[i].version != 0;
    return valid;
}
