/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Every decoder of bytes of the medium, called with any bytes: the first byte of the input chooses
 * it, an odd one has the checks put right before.
 */
#include <stdio.h>
#include <stdlib.h>

#include "kv/entries.h"
#include "kv/lane.h"
#include "kv/lost.h"
#include "kv/meta.h"
#include "kv/segment.h"
#include "recovery/group.h"
#include "recovery/superblock.h"
#include "recovery/superblock_impl.h"
#include "target.h"

static const uint8_t *rest(struct input *in, size_t *bytes)
{
    *bytes = (size_t)(in->end - in->at);
    return in->at;
}

/* --- superblock ------------------------------------------------------------------------------- */

static void decode_superblock(struct input *in, bool stamp)
{
    struct superblock sb;
    struct layout l = {0};
    uint64_t off = input_byte(in) * 4096ull;
    input_copy(in, &sb, sizeof sb);
    if (stamp) {
        sb.magic = SUPERBLOCK_MAGIC;
        sb.format_version = FORMAT_VERSION;
        sb.check = 0;
        sb.check = hash_bind(hash64(&sb, sizeof sb), off);
    }
    if (superblock_judge(&sb, off, &l) != COPY_VALID)
        return;
    fuzz_that(l.pool_bytes == sb.pool_bytes && l.segments > 0, "a layout without segments");
    uint64_t last = layout_slice_off(&l, l.segments - 1, l.columns - 1);
    fuzz_that(last + l.slice_pages * 4096ull <= l.pool_bytes, "the last slice ends outside");
    fuzz_that(superblock_valid((const uint8_t *)&sb, off, &l), "valid once, and then not");
}

/* --- entries ---------------------------------------------------------------------------------- */

static int count_entry(void *arg, const struct entry *e)
{
    fuzz_that(e->kept_bytes <= ENTRY_KEY_MAX && e->key_bytes > 0, "a key of %u bytes, %u kept",
              e->key_bytes, e->kept_bytes);
    ++*(uint64_t *)arg;
    return 0;
}

static void decode_summary(struct input *in, bool stamp)
{
    size_t bytes;
    uint64_t count = 0;
    const uint8_t *at = rest(in, &bytes);
    (void)stamp;
    summary_part_foreach(at, (uint32_t)bytes, count_entry, &count);
}

/* What is read and written again reads the same. */
static void decode_entries(struct input *in, bool stamp)
{
    size_t bytes;
    const uint8_t *at = rest(in, &bytes);
    struct entries_reader r = {.bytes = at, .used = bytes};
    struct entries again = {0};
    struct entry e, f;
    (void)stamp;
    unsigned count = 0;
    while (entries_next(&r, &e) == 1 && e.start < 1ull << 40 && count++ < 1000) {
        if (e.key_bytes > ENTRY_KEY_MAX)
            break; /* to write one takes the whole key */
        entries_add(&again, &e);
    }
    struct entries_reader first = {.bytes = at, .used = bytes};
    struct entries_reader second = {.bytes = again.bytes, .used = again.used};
    while (entries_next(&second, &f) == 1) {
        fuzz_that(entries_next(&first, &e) == 1, "more entries than were read");
        fuzz_that(e.type == f.type && e.start == f.start && e.seq == f.seq && e.hash == f.hash &&
                      e.value_bytes == f.value_bytes && e.kept_bytes == f.kept_bytes &&
                      memcmp(e.key, f.key, e.kept_bytes) == 0,
                  "an entry changed: start %llu, %llu", (unsigned long long)e.start,
                  (unsigned long long)f.start);
    }
    entries_free(&again);
}

/* --- what needs a store ----------------------------------------------------------------------- */

static struct pmkv *store_of_layout(void)
{
    static struct pmkv *kv;
    if (kv)
        return kv;
    kv = aligned_alloc(64, sizeof *kv);
    fuzz_that(kv, "no memory");
    memset(kv, 0, sizeof *kv);
    uint64_t bytes = layout_min_bytes(4096, 8, 1, 8, 8);
    fuzz_that(layout_compute(&kv->vol.layout, bytes, 4096, 8, 1, 8, 8) == 0, "layout");
    kv->vol.secret = 7;
    return kv;
}

static void decode_lost(struct input *in, bool stamp)
{
    struct pmkv *kv = store_of_layout();
    size_t bytes;
    const uint8_t *at = rest(in, &bytes);
    (void)stamp;
    lost_load_part(kv, at, (uint32_t)bytes);
    for (uint32_t i = 0; i < kv->lost_count; i++) {
        fuzz_that(kv->lost[i]->kept_bytes <= ENTRY_KEY_MAX, "a name of %u bytes",
                  kv->lost[i]->kept_bytes);
        free(kv->lost[i]);
    }
    free(kv->lost);
    kv->lost = NULL;
    kv->lost_count = kv->lost_capacity = 0;
}

static void decode_header(struct input *in, bool stamp)
{
    const struct pmkv *kv = store_of_layout();
    struct segment_header h;
    input_copy(in, &h, sizeof h);
    if (stamp) {
        uint64_t place = (uint64_t)h.segment << 16 | h.column;
        h.check = hash_bind(hash64((const char *)&h + 8, sizeof h - 8),
                            kv->vol.secret ^ hash_mix(place + 0x736567));
    }
    if (segment_header_valid(kv, &h, h.segment, h.column))
        fuzz_that(h.rows_used <= 8 && h.state >= 1 && h.state <= 3, "header: state %u, %u rows",
                  h.state, h.rows_used);
}

static void decode_mark(struct input *in, bool stamp)
{
    const struct pmkv *kv = store_of_layout();
    struct twin_mark m;
    uint64_t off = input_byte(in) * 4096ull;
    input_copy(in, &m, sizeof m);
    if (stamp)
        m.check = hash_bind(hash64((const char *)&m + 8, sizeof m - 8),
                            kv->vol.secret ^ hash_mix(off + 0x7477696e));
    if (twin_mark_valid(kv, &m, off))
        fuzz_that(m.segment < kv->vol.layout.segments && m.row < 8 && m.page < 8 && m.number < 1,
                  "a mark out of range");
}

/* --- groups and records ----------------------------------------------------------------------- */

static void decode_page(struct input *in, bool stamp)
{
    uint8_t page[4096];
    uint64_t secret = group_secret(7, input_byte(in), 3);
    uint16_t present, good, absent;
    input_copy(in, &present, sizeof present);
    input_copy(in, page, sizeof page);
    if (stamp)
        page_seal(page, secret, present);
    page_verify(page, secret, &good, &absent);
    fuzz_that(!(good & absent), "groups both good and absent: %x", good & absent);
    if (stamp)
        fuzz_that(good == present && (good | absent) == 0xffff, "sealed %x, verified %x", present,
                  good);
}

static void decode_record(struct input *in, bool stamp)
{
    struct record_header h;
    uint32_t room = input_number(in, 256 * 4032);
    uint64_t secret = input_byte(in);
    input_copy(in, &h, sizeof h);
    if (stamp)
        record_stamp(&h, record_epoch(&h), 11, secret);
    if (record_shape_holds(&h, room))
        fuzz_that(record_bytes(h.key_bytes, h.value_bytes) <= room && h.key_bytes > 0,
                  "a record of %u and %u bytes in %u", h.key_bytes, h.value_bytes, room);
    fuzz_that(!stamp || record_check_holds(&h, 11, secret), "a stamped record does not check");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static void (*const decoders[])(struct input *, bool) = {
        decode_superblock, decode_summary, decode_entries, decode_lost,
        decode_header,     decode_mark,    decode_page,    decode_record};
    struct input in = {data, data + bytes};
    uint8_t choice = input_byte(&in);
    decoders[choice / 2 % (sizeof decoders / sizeof *decoders)](&in, choice & 1);
    return 0;
}
