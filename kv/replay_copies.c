/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Recovery: what the copies of a row give. Groups that check or decode first, then the twins'
 * bytes, then the row's own (I11). */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/media.h"
#include "damage.h"
#include "lane.h"
#include "replay_row.h"

/* --- twins on the medium ---------------------------------------------------------------------- */

static int note_twin(struct replay *r, const struct twin_mark *mark, uint64_t off)
{
    if (r->twin_count == r->twin_capacity) {
        uint32_t capacity = r->twin_capacity ? r->twin_capacity * 2 : 256;
        struct twin_page *twins = realloc(r->twins, capacity * sizeof *twins);
        if (!twins)
            return -ENOMEM;
        r->twins = twins;
        r->twin_capacity = capacity;
    }
    r->twins[r->twin_count++] = (struct twin_page){mark->generation, off,        mark->segment,
                                                   mark->row,        mark->page, mark->number};
    return 0;
}

static int find_twins_of(struct replay *r, uint32_t segment)
{
    struct pmkv *kv = r->kv;
    for (uint32_t slot = 0; slot < twin_slots(kv); slot++)
        for (uint32_t p = 0; p < kv->vol.layout.row_pages; p++) {
            struct twin_mark mark, none = {.segment = TWIN_UNREADABLE, .page = p};
            uint64_t off = twin_slot_off(kv, segment, slot) + (uint64_t)p * PAGE_BYTES;
            if (media_load(kv->vol.media, off + PAGE_PAYLOAD_BYTES, &mark, sizeof mark) !=
                sizeof mark) {
                damage_found(kv, DAMAGE_POISON, off, "twin page");
                if (note_twin(r, &none, off)) /* unreached: memory runs out at a page with poison */
                    return -ENOMEM;
            } else if (twin_mark_valid(kv, &mark, off) &&
                       mark.page == p && /* unreached: it is bound to its place */
                       note_twin(r, &mark, off)) {
                return -ENOMEM;
            }
        }
    return 0;
}

int replay_find_twins(struct replay *r)
{
    int rc = 0;
    for (uint32_t i = 0; i < r->kv->vol.layout.segments && rc == 0; i++)
        if (r->kv->segments[i].kind == KIND_TWIN)
            rc = find_twins_of(r, i);
    return rc;
}

/* Twin slots that name the row, at most `most` of them: its twins, and those it had before a clean
 * close, where no other row was stored since. Which one is which nobody knows: all are asked. */
static uint32_t twin_slots_of(struct replay *r, struct row_ref ref, uint64_t *slots, uint32_t most)
{
    uint32_t count = 0;
    /* unreached: `most` is what all sets of twins of a lane come to. */
    for (uint32_t i = 0; i < r->twin_count && count < most; i++) {
        const struct twin_page *t = &r->twins[i];
        uint64_t slot = t->off - (uint64_t)t->page * PAGE_BYTES;
        bool known =
            t->segment != ref.segment || t->row != ref.row || t->generation != ref.generation;
        for (uint32_t k = 0; k < count && !known; k++)
            known = slots[k] == slot;
        if (!known)
            slots[count++] = slot;
    }
    return count;
}

/* Loads the row's copy of a page in the twin slot; -1 when no mark says that it has one, 0 when it
 * met poison (or may have: a page whose mark cannot be read), 1 when read. */
static int load_twin(struct replay *r, struct row_ref ref, uint32_t page, uint64_t slot,
                     uint8_t *dst)
{
    struct pmkv *kv = r->kv;
    uint64_t off = slot + (uint64_t)page * PAGE_BYTES;
    if (twins_are_parity(kv))
        off = layout_chunk_page_off(&kv->vol.layout, ref.segment, ref.row, 1, page);
    bool marked = twins_are_parity(kv);
    for (uint32_t i = 0; i < r->twin_count && !marked; i++) {
        const struct twin_page *t = &r->twins[i];
        if (t->off != off)
            continue;
        if (t->segment == TWIN_UNREADABLE)
            return 0;
        marked = t->segment == ref.segment && t->row == ref.row && t->generation == ref.generation;
    }
    if (!marked)
        return -1;
    return media_load(kv->vol.media, off, dst, PAGE_PAYLOAD_BYTES) == PAGE_PAYLOAD_BYTES;
}

/* Twin pages of this number that cannot be read, but for those of `count` slots. */
static uint32_t twins_unreadable(const struct replay *r, uint32_t page, const uint64_t *slots,
                                 uint32_t count)
{
    uint32_t unreadable = 0;
    for (uint32_t i = 0; i < r->twin_count; i++) {
        const struct twin_page *t = &r->twins[i];
        bool other = t->segment == TWIN_UNREADABLE && t->page == page;
        for (uint32_t k = 0; k < count; k++)
            other = other && t->off - (uint64_t)page * PAGE_BYTES != slots[k];
        unreadable += other;
    }
    return unreadable;
}

/* --- candidates ------------------------------------------------------------------------------- */

/* Payload as a copy gives it (0: the row itself, else the twin slot there); decoded groups stand in
 * all. Returns pages of which neither this copy nor a decoded group could be read, as a bitmap. */
static void build_candidate(struct replay *r, struct row_ref ref, uint64_t slot, uint8_t *out,
                            bool unreadable[MAX_ROW_PAGES])
{
    struct pmkv *kv = r->kv;
    for (uint32_t p = 0; p < kv->vol.layout.row_pages; p++) {
        uint8_t bytes[PAGE_PAYLOAD_BYTES];
        int got = 1;
        const struct row_page *info = &r->image.info[p];
        if (slot == 0) {
            got = !info->poisoned;
            memcpy(bytes, r->image.pages + (size_t)p * PAGE_BYTES, PAGE_PAYLOAD_BYTES);
        } else {
            got = load_twin(r, ref, p, slot, bytes);
            if (got < 0) /* never marked: nothing of this row was stored there */
                memset(bytes, 0, sizeof bytes);
        }
        uint16_t ok = info->good | info->absent | info->rebuilt;
        unreadable[p] = unreadable[p] && got == 0 && ok != 0xffff;
        for (uint32_t g = 0; g < PAGE_GROUPS; g++) {
            uint32_t at = g * GROUP_BYTES, n = g == 15 ? 192 : GROUP_BYTES;
            if (ok >> g & 1)
                memcpy(bytes + at, r->image.pages + (size_t)p * PAGE_BYTES + at, n);
            else if (got == 0)
                memset(bytes + at, 0, n);
        }
        memcpy(out + p * PAGE_PAYLOAD_BYTES, bytes, PAGE_PAYLOAD_BYTES);
    }
}

static struct found_record *records_slot(struct row_records *rr, uint32_t offset)
{
    uint32_t i = rr->count;
    while (i > 0 && rr->list[i - 1].offset > offset)
        i--;
    if (i > 0 && rr->list[i - 1].offset == offset)
        return &rr->list[i - 1];
    if (rr->count == rr->capacity) {
        uint32_t capacity = rr->capacity ? rr->capacity * 2 : 1024;
        void *list = realloc(rr->list, capacity * sizeof *rr->list);
        if (!list)
            return NULL;
        rr->list = list;
        rr->capacity = capacity;
    }
    memmove(&rr->list[i + 1], &rr->list[i], (rr->count - i) * sizeof *rr->list);
    rr->count++;
    rr->list[i] = (struct found_record){.offset = UINT32_MAX};
    return &rr->list[i];
}

static int merge_record(void *arg, const struct parsed *p)
{
    struct row_records *rr = arg;
    struct found_record *f = records_slot(rr, p->offset);
    if (!f) {
        rr->no_memory = true;
        return -ENOMEM;
    }
    if (f->offset != UINT32_MAX && (f->good || !p->value_good))
        return 0; /* an earlier candidate gave it as well or better */
    *f = (struct found_record){.h = p->h, .offset = p->offset, .good = p->value_good};
    memcpy(rr->merged + p->offset, p->key - RECORD_HEADER_BYTES,
           record_bytes(p->h.key_bytes, p->h.value_bytes));
    return 0;
}

/* --- a row ------------------------------------------------------------------------------------ */

struct judged row_judge(struct replay *r, struct row_ref ref)
{
    struct judged j = {0};
    uint32_t held = 0;
    row_load(&r->kv->vol, ref, &r->image);
    for (uint32_t i = 0; i < r->image.page_count; i++)
        held += (uint32_t)__builtin_popcount(r->image.info[i].good | r->image.info[i].absent);
    j.checked = held >= 2; /* one holds by chance in a row of a million */
    if (r->image.bad_pages && j.checked)
        row_decode(&r->kv->vol, ref, &r->image);
    j.closed = j.checked && (r->image.bad_pages == 0 || r->image.lost_groups == 0);
    return j;
}

int row_collect(struct replay *r, struct row_ref ref, const struct judged *j,
                struct row_records *rr, bool unreadable[MAX_ROW_PAGES])
{
    struct pmkv *kv = r->kv;
    rr->count = 0;
    memset(rr->merged, 0, row_payload(kv));
    memset(unreadable, 1, MAX_ROW_PAGES);
    uint64_t slots[2 * LANE_SETS * MAX_PARITY + 1] = {1}; /* a mirror's twin is its parity column */
    uint32_t count = twins_are_parity(kv)
                         ? kv->vol.layout.parity_columns
                         : twin_slots_of(r, ref, slots, 2 * LANE_SETS * MAX_PARITY);
    if (j->closed)
        count = 0;
    slots[count] = 0; /* twins first, the row's bare bytes last (I11) */
    for (uint32_t i = 0; i <= count; i++) {
        build_candidate(r, ref, slots[i], r->candidate, unreadable);
        row_parse(kv, ref, r->candidate, row_payload(kv), merge_record, rr);
    }
    /* Had anything been stored to the row, each of its twins would name it: fewer unreadable ones
     * than are missing are word enough that nothing was. */
    uint32_t twins = twins_are_parity(kv) ? 0 : kv->vol.layout.parity_columns;
    for (uint32_t p = 0; count < twins && p < kv->vol.layout.row_pages; p++)
        unreadable[p] = unreadable[p] && twins_unreadable(r, p, slots, count) >= twins - count;
    return rr->no_memory ? -ENOMEM : 0;
}
