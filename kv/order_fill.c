/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The ordered index of a store that is being opened: the keys of all slots are read, sorted, and
 * entered in their order, which leaves the tree's nodes full. Recovery is over and no other thread
 * is there yet, so nothing moves meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/errmsg.h"
#include "lost.h"
#include "order.h"
#include "read.h"

enum { PART_BYTES = 1 << 20, AHEAD = 16, HEAD_KEY_MAX = 256, PROGRESS = 1 << 16 };

/* Where keys stand until they are entered. */
struct part {
    struct part *before;
    size_t used, capacity;
    uint8_t bytes[];
};
struct sorted_key {
    uint64_t head; /* bytes [shared, shared + 8) of the key, big-endian */
    struct key_view key;
};
struct fill {
    struct pmkv *kv;
    uint64_t *positions, position_count, position_room;
    struct part *part;
    struct sorted_key *keys;
    uint64_t count;
    uint32_t shared; /* bytes that all keys begin with */
};

/* --- where they are --------------------------------------------------------------------------- */

static int note_positions(struct fill *f, const struct index_scan *scan)
{
    if (f->position_count + scan->count > f->position_room) {
        uint64_t room = 2 * (f->position_count + scan->count);
        uint64_t *grown = realloc(f->positions, room * sizeof *grown);
        if (!grown)
            return -ENOMEM;
        f->positions = grown;
        f->position_room = room;
    }
    for (uint32_t i = 0; i < scan->count; i++)
        f->positions[f->position_count++] = slot_position(scan->slots[i]);
    return 0;
}

static int find_positions(struct fill *f)
{
    struct index_scan scan;
    int rc = index_scan_begin(f->kv->index, &scan), more = 1;
    if (rc)
        return rc;
    while (rc == 0 && (more = index_scan_step(&scan)) == 1)
        rc = note_positions(f, &scan);
    index_scan_end(&scan);
    return rc ? rc : more;
}

/* --- reading them ----------------------------------------------------------------------------- */

static int keep(struct fill *f, struct key_view key)
{
    if (!f->part || f->part->used + key.length > f->part->capacity) {
        struct part *part = malloc(sizeof *part + PART_BYTES);
        if (!part)
            return -ENOMEM;
        *part = (struct part){.before = f->part, .capacity = PART_BYTES};
        f->part = part;
    }
    uint8_t *to = f->part->bytes + f->part->used;
    memcpy(to, key.bytes, key.length);
    f->part->used += key.length;
    struct key_view kept = {to, key.length};
    uint32_t shared = f->count ? key_common(kept, f->keys[0].key) : kept.length;
    if (f->count == 0 || shared < f->shared)
        f->shared = shared;
    f->keys[f->count++].key = kept;
    return 0;
}

static int keep_record(struct fill *f, const struct record_header *h, const uint8_t *key)
{
    return record_is_version(h->type) ? keep(f, (struct key_view){key, h->key_bytes}) : 0;
}

/* Header and key alone, as most are. False: it must be read whole. */
static bool read_head(struct fill *f, struct log_pos pos, uint64_t generation, uint8_t *head,
                      struct record_header *h)
{
    struct pmkv *kv = f->kv;
    struct row_place place = pos_place(&kv->shape, pos);
    if (payload_load(kv, place, h, sizeof *h) ||
        !record_shape_holds(h, row_payload(kv) - place.offset) || h->key_bytes > HEAD_KEY_MAX)
        return false;
    place.offset += RECORD_HEADER_BYTES;
    return payload_load(kv, place, head, h->key_bytes) == 0 &&
           record_check_holds(h, hash64(head, h->key_bytes),
                              record_secret(kv->vol.secret, generation, pos));
}

static int read_one(struct fill *f, struct log_pos pos)
{
    struct pmkv *kv = f->kv;
    struct record_header h;
    uint8_t head[HEAD_KEY_MAX], *record;
    if (pos_is_lost(pos))
        return 0; /* keep_lost has it */
    struct row_place place = pos_place(&kv->shape, pos);
    uint64_t generation = pos_generation(kv, pos);
    if (read_head(f, pos, generation, head, &h))
        return keep_record(f, &h, head);
    enum find_result r = read_record(kv, pos, generation, &record);
    if (r == FIND_LOST) { /* its slot says so from now on, and the lost list what its name was */
        lost_discover(kv, (struct row_ref){place.segment, place.row, generation});
        return 0;
    }
    if (r != FIND_HIT)
        return r == FIND_NOMEM ? -ENOMEM : err_fact(-EIO, "a key cannot be read for its order");
    memcpy(&h, record, sizeof h);
    int rc = keep_record(f, &h, record + sizeof h);
    free(record);
    return rc;
}

static void ask_for(struct fill *f, uint64_t i)
{
    struct log_pos pos = {i < f->position_count ? f->positions[i] : POSITION_LOST};
    if (!pos_is_lost(pos))
        prefetch_record(f->kv, pos_place(&f->kv->shape, pos), LINE_BYTES);
}

static int read_keys(struct fill *f)
{
    const struct pmkv_options *opts = &f->kv->opts;
    int rc = 0;
    for (uint64_t i = 0; i < f->position_count && rc == 0; i++) {
        if (i % PROGRESS == 0 && opts->progress &&
            opts->progress(opts->progress_arg, "ordered index", i, f->position_count))
            return -ECANCELED;
        ask_for(f, i + AHEAD);
        rc = read_one(f, (struct log_pos){f->positions[i]});
    }
    return rc;
}

/* Of lost records those whose names are known. */
static int keep_lost(struct fill *f)
{
    struct sorted_key *keys = realloc(f->keys, (f->count + f->kv->lost_count + 1) * sizeof *keys);
    int rc = keys ? 0 : -ENOMEM;
    if (keys)
        f->keys = keys;
    for (uint32_t i = 0; i < f->kv->lost_count && rc == 0; i++) {
        const struct lost_entry *l = f->kv->lost[i];
        if (l->in_index && l->key_bytes && l->key_bytes == l->kept_bytes)
            rc = keep(f, (struct key_view){l->key, l->key_bytes});
    }
    return rc;
}

/* --- entering them ---------------------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
    const struct sorted_key *x = a, *y = b;
    if (x->head != y->head)
        return x->head < y->head ? -1 : 1;
    return key_compare(x->key, y->key);
}

static int enter_keys(struct fill *f)
{
    for (uint64_t i = 0; i < f->count; i++)
        f->keys[i].head = key_head(f->keys[i].key, f->shared);
    qsort(f->keys, f->count, sizeof *f->keys, compare_keys);
    for (uint64_t i = 0; i < f->count; i++)
        if (!order_insert(f->kv->order, f->keys[i].key))
            return -ENOMEM;
    return 0;
}

static void fill_free(struct fill *f)
{
    while (f->part) {
        struct part *before = f->part->before;
        free(f->part);
        f->part = before;
    }
    free(f->positions);
    free(f->keys);
}

int order_fill(struct pmkv *kv)
{
    struct fill f = {.kv = kv};
    int rc = find_positions(&f);
    if (rc == 0) {
        f.keys = malloc((f.position_count + 1) * sizeof *f.keys);
        rc = f.keys ? read_keys(&f) : -ENOMEM;
    }
    if (rc == 0)
        rc = keep_lost(&f);
    if (rc == 0)
        rc = enter_keys(&f);
    fill_free(&f);
    return rc == -ENOMEM ? err_fact(rc, "no memory for the ordered index") : rc;
}
