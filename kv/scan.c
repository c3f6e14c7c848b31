/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/group.h"
#include "../recovery/media.h"
#include "damage.h"
#include "lane.h"
#include "lost.h"
#include "segment.h"

/* --- one row ---------------------------------------------------------------------------------- */

static bool parse_at(struct pmkv *kv, struct row_ref ref, const uint8_t *payload, uint32_t at,
                     uint32_t bytes, struct parsed *out)
{
    if (at + RECORD_HEADER_BYTES > bytes)
        return false;
    memcpy(&out->h, payload + at, sizeof out->h);
    if (!record_shape_holds(&out->h, bytes - at))
        return false;
    out->offset = at;
    out->pos = pos_make(&kv->shape, (struct row_place){ref.segment, ref.row, at});
    out->key = payload + at + RECORD_HEADER_BYTES;
    out->value = out->key + out->h.key_bytes;
    if (!record_check_holds(&out->h, hash64(out->key, out->h.key_bytes),
                            record_secret(kv->vol.secret, ref.generation, out->pos)))
        return false;
    out->value_good = hash64(out->value, out->h.value_bytes) == out->h.value_hash;
    return true;
}

int row_parse(struct pmkv *kv, struct row_ref ref, const uint8_t *payload, uint32_t bytes,
              int (*fn)(void *arg, const struct parsed *p), void *arg)
{
    for (uint32_t at = 0; at < bytes;) {
        struct parsed p;
        if (parse_at(kv, ref, payload, at, bytes, &p)) {
            int rc = fn(arg, &p);
            if (rc)
                return rc;
            at += (uint32_t)record_packed(p.h.key_bytes, p.h.value_bytes);
        } else {
            at += UNIT_BYTES; /* padding; or a record is lost: a batch is packed */
        }
    }
    return 0;
}

void row_flatten(struct pmkv *kv, const struct row_image *image, uint8_t *payload)
{
    for (uint32_t p = 0; p < kv->vol.layout.row_pages; p++) {
        uint8_t *to = payload + p * PAGE_PAYLOAD_BYTES;
        memcpy(to, image->pages + (size_t)p * PAGE_BYTES, PAGE_PAYLOAD_BYTES);
        for (uint32_t g = 0; g < PAGE_GROUPS && image->lost_groups; g++)
            if (!row_group_ok(image, p, g))
                memset(to + g * GROUP_BYTES, 0, g == 15 ? 192 : GROUP_BYTES);
    }
}

/* --- gathering -------------------------------------------------------------------------------- */

static int gathering_reserve(struct gathering *g, uint32_t key_bytes)
{
    if (g->count == g->capacity) {
        uint32_t capacity = g->capacity ? g->capacity * 2 : 256;
        void *records = realloc(g->records, capacity * sizeof *g->records);
        if (!records)
            return -ENOMEM;
        g->records = records;
        g->capacity = capacity;
    }
    if (g->keys_room - g->keys_used < key_bytes) {
        size_t room = (g->keys_room + key_bytes) * 2;
        uint8_t *keys = realloc(g->keys, room);
        if (!keys)
            return -ENOMEM;
        g->keys = keys;
        g->keys_room = room;
    }
    return 0;
}

int gathering_add(struct gathering *g, const struct parsed *p)
{
    uint32_t kept = p->h.key_bytes > ENTRY_KEY_MAX ? ENTRY_KEY_PREFIX : p->h.key_bytes;
    if (gathering_reserve(g, kept))
        return -ENOMEM;
    struct row_place place = pos_place(&g->kv->shape, p->pos);
    g->records[g->count++] = (struct gathered_record){
        .h = p->h,
        .start = (uint64_t)place.row * row_payload(g->kv) + place.offset,
        .key_at = g->keys_used,
        .kept_bytes = kept,
        .hash = record_key_hash(p->h.type, p->key, p->h.key_bytes),
        .counts = p->h.type != RECORD_COMMIT && !(p->h.flags & RECORD_BATCH)};
    if (p->h.type == RECORD_COMMIT)
        kept = sizeof(struct commit_key);
    memcpy(g->keys + g->keys_used, p->key, kept);
    g->keys_used += kept;
    return 0;
}

static bool is_member(const struct gathered_record *r)
{
    return r->h.flags & RECORD_BATCH;
}

/* The commit of a batch is there. Members stand before it, in order of their numbers, in one
 * segment. Those that are missing were damaged: a torn batch has no commit, for recovery takes
 * nothing behind a gap that is not proven to have been fenced. Of all of them the chain holds. */
static void settle_batch(struct gathering *g, uint32_t commit)
{
    struct commit_key key;
    memcpy(&key, g->keys + g->records[commit].key_at, sizeof key);
    uint64_t begin = g->records[commit].h.seq - key.count, chain = 0;
    uint32_t first = commit;
    /* unreached: numbers that fall along the row: the cleaner moves no members as such. */
    while (first > 0 && is_member(&g->records[first - 1]) &&
           g->records[first - 1].h.seq < g->records[first].h.seq &&
           g->records[first - 1].h.seq >= begin)
        first--;
    for (uint32_t i = first; i < commit; i++)
        chain = record_chain(chain, &g->records[i].h);
    for (uint32_t i = first; i < commit; i++)
        g->records[i].counts = commit - first < key.count || chain == key.hash;
}

/* The commit of a batch is lost. A commit that was begun later in the row proves that all of the
 * batch was fenced, for what a batch that was given up has stored ends its row. So does a record in
 * a later row when the batch began behind the start of its row: it is all in this one, and had it
 * been given up it would be zeros. Where it began in an earlier row, its numbers tell. */
static void settle_without_commit(struct gathering *g)
{
    uint64_t payload = row_payload(g->kv);
    uint64_t last_row = g->count ? g->records[g->count - 1].start / payload : 0;
    uint32_t later = 0;
    for (uint32_t i = g->count; i-- > 0;) {
        struct gathered_record *r = &g->records[i], *next = i + 1 < g->count ? r + 1 : NULL;
        uint32_t line = epoch_line(record_epoch(&r->h));
        if (!next || next->start / payload != r->start / payload)
            later = 0;
        bool fenced = line < later || (line > 0 && r->start / payload < last_row);
        bool goes_on = next && is_member(next) && next->counts && next->h.seq == r->h.seq + 1;
        if (is_member(r) && (fenced || goes_on))
            r->counts = true;
        later = line > later ? line : later;
    }
}

void gathering_settle(struct gathering *g)
{
    for (uint32_t i = 0; i < g->count; i++)
        if (g->records[i].h.type == RECORD_COMMIT)
            settle_batch(g, i);
    settle_without_commit(g);
}

int gathering_entries(struct gathering *g, struct entries *out)
{
    for (uint32_t i = 0; i < g->count; i++) {
        const struct gathered_record *r = &g->records[i];
        struct entry e = {.type = r->h.type,
                          .start = r->start,
                          .seq = r->h.seq,
                          .key_bytes = r->h.key_bytes,
                          .value_bytes = r->h.value_bytes,
                          .key = g->keys + r->key_at,
                          .kept_bytes = r->kept_bytes,
                          .hash = r->hash};
        if (r->counts && !r->lost && entries_add(out, &e))
            return -ENOMEM;
    }
    return 0;
}

void gathering_free(struct gathering *g)
{
    free(g->records);
    free(g->keys);
    *g = (struct gathering){0};
}

/* --- a row, from wherever it is --------------------------------------------------------------- */

static int gather_parsed(void *arg, const struct parsed *p)
{
    return gathering_add(arg, p);
}

/* The row's payload: from the lane that has it in DRAM, else from the medium, decoded. */
static void row_payload_now(struct pmkv *kv, struct row_ref ref, struct row_image *image,
                            uint8_t *payload)
{
    struct row_buf *buf;
    struct lane *lane = lane_holding(kv, ref, &buf);
    if (lane) {
        memset(payload, 0, row_payload(kv));
        row_buf_read(buf, 0, payload, buf->fill);
        lane_unlock(lane);
        return;
    }
    row_load_settled(kv, ref, image);
    if (image->bad_pages)
        row_decode(&kv->vol, ref, image);
    /* unreached: a lost row of the store's own records. */
    if (image->lost_groups && kind_is_log(kv->segments[ref.segment].kind))
        lost_add_range(kv, layout_data_page_off(&kv->vol.layout, ref.segment, ref.row, 0),
                       image->lost_groups * GROUP_BYTES); /* no summary names what was there */
    row_flatten(kv, image, payload);
}

static bool row_in_memory(struct pmkv *kv, struct row_ref ref)
{
    struct row_buf *buf;
    struct lane *lane = lane_holding(kv, ref, &buf);
    if (lane)
        lane_unlock(lane);
    return lane != NULL;
}

/* --- a segment of the store's own records ----------------------------------------------------- */

/* Header and key of one of them. */
struct own_head {
    struct record_header h;
    uint8_t key[24];
};

/* Copies payload of a row that no lane has; what cannot be read is nobody's damage yet. */
static bool peek(struct pmkv *kv, struct row_place place, void *dst, uint32_t bytes)
{
    for (uint8_t *to = dst; bytes > 0;) {
        uint32_t in = place.offset % PAGE_PAYLOAD_BYTES, left = PAGE_PAYLOAD_BYTES - in;
        uint32_t part = left < bytes ? left : bytes;
        uint64_t page = layout_data_page_off(&kv->vol.layout, place.segment, place.row,
                                             place.offset / PAGE_PAYLOAD_BYTES);
        if (media_load(kv->vol.media, page + in, to, part) != part)
            return false;
        to += part;
        place.offset += part;
        bytes -= part;
    }
    return true;
}

/* Do the checks say that there is nothing from here on to the end of the page? */
static bool page_ends(struct pmkv *kv, struct row_ref ref, uint32_t at)
{
    static const uint8_t zeros[PAGE_PAYLOAD_BYTES];
    _Alignas(LINE_BYTES) uint8_t page[PAGE_BYTES];
    uint32_t number = at / PAGE_PAYLOAD_BYTES, in = at % PAGE_PAYLOAD_BYTES;
    uint64_t off = layout_data_page_off(&kv->vol.layout, ref.segment, ref.row, number);
    uint16_t good, absent;
    /* unreached: a page whose part was just read cannot be. */
    if (media_load(kv->vol.media, off, page, sizeof page) != sizeof page)
        return false;
    page_verify(page, group_secret(kv->vol.secret, ref.generation, off / PAGE_BYTES), &good,
                &absent);
    for (uint32_t g = in / GROUP_BYTES; g < PAGE_GROUPS; g++) {
        uint32_t from = g * GROUP_BYTES < in ? in : g * GROUP_BYTES;
        uint32_t to = g * GROUP_BYTES + group_bytes(g);
        /* unreached: a group that is neither, or not zeros: the row is read whole then. */
        if (!(absent >> g & 1) && (!(good >> g & 1) || memcmp(page + from, zeros, to - from) != 0))
            return false;
    }
    return true;
}

/* unreached: other types and sizes that check; the row is read whole then. */
static bool head_holds(struct pmkv *kv, struct row_ref ref, const struct own_head *head,
                       const struct parsed *p)
{
    return head->h.type == RECORD_META && head->h.key_bytes == sizeof head->key &&
           record_shape_holds(&head->h, row_payload(kv) - p->offset) &&
           record_check_holds(&head->h, hash64(head->key, sizeof head->key),
                              record_secret(kv->vol.secret, ref.generation, p->pos));
}

/* Gathers a row's records by their heads alone: their values are read when they are wanted. False
 * when something is not as it should be: then the row is to be read whole. */
static bool gather_heads(struct gathering *g, struct row_ref ref, int *rc)
{
    struct pmkv *kv = g->kv;
    uint32_t at = 0, all = row_payload(kv);
    struct own_head head;
    while (at + sizeof head <= all && *rc == 0) { /* unreached: memory runs out */
        struct row_place place = {ref.segment, ref.row, at};
        struct parsed p = {.offset = at, .pos = pos_make(&kv->shape, place), .key = head.key};
        if (!peek(kv, place, &head, sizeof head))
            return false;
        if (head_holds(kv, ref, &head, &p)) {
            p.h = head.h;
            *rc = gathering_add(g, &p);
            at += (uint32_t)record_packed(p.h.key_bytes, p.h.value_bytes);
        } else if (at % LINE_BYTES != 0) {
            at += UNIT_BYTES; /* padding */
        } else {
            break;
        }
    }
    /* unreached: as in page_ends. */
    for (; at < all; at = (at / PAGE_PAYLOAD_BYTES + 1) * PAGE_PAYLOAD_BYTES)
        if (!page_ends(kv, ref, at))
            return false;
    return true;
}

/* --- a segment -------------------------------------------------------------------------------- */

static int gather_row(struct gathering *g, struct row_ref ref, struct row_image *image,
                      uint8_t *payload)
{
    struct pmkv *kv = g->kv;
    uint32_t count = g->count;
    size_t keys_used = g->keys_used;
    int rc = 0;
    if (kv->segments[ref.segment].kind == KIND_META && !row_in_memory(kv, ref)) {
        if (gather_heads(g, ref, &rc))
            return rc;
        g->count = count;
        g->keys_used = keys_used;
    }
    row_payload_now(kv, ref, image, payload);
    return row_parse(kv, ref, payload, row_payload(kv), gather_parsed, g);
}

int segment_scan(struct pmkv *kv, uint32_t segment, struct entries *out)
{
    struct gathering g = {.kv = kv};
    struct row_image image;
    uint8_t *payload = malloc(row_payload(kv));
    int rc = payload ? row_image_init(&image, &kv->vol.layout) : -ENOMEM;
    if (rc) {
        free(payload);
        return rc;
    }
    /* unreached: memory runs out with rows to come. */
    for (uint32_t row = 0; row < kv->segments[segment].rows_used && rc == 0; row++) {
        rc = gather_row(&g, row_ref_of(kv, segment, row), &image, payload);
    }
    gathering_settle(&g);
    if (rc == 0)
        rc = gathering_entries(&g, out);
    gathering_free(&g);
    row_image_free(&image);
    free(payload);
    return rc;
}
