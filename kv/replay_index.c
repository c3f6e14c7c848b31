/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What becomes of the index once the entries are in it: pieces and tombstones that nothing needs,
 * and records that are lost. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lost.h"
#include "read.h"
#include "replay.h"

int note(struct notes *n, struct noted noted)
{
    if (n->count == n->capacity) {
        uint32_t capacity = n->capacity ? n->capacity * 2 : 256;
        struct noted *list = realloc(n->list, capacity * sizeof *list);
        if (!list)
            return -ENOMEM;
        n->list = list;
        n->capacity = capacity;
    }
    n->list[n->count++] = noted;
    return 0;
}

static int notes_append(struct notes *to, const struct notes *from)
{
    int rc = 0;
    for (uint32_t i = 0; i < from->count && rc == 0; i++)
        rc = note(to, from->list[i]);
    return rc;
}

int notes_join(struct all_notes *to, const struct all_notes *from)
{
    int rc = notes_append(&to->extents, &from->extents);
    if (rc == 0)
        rc = notes_append(&to->manifests, &from->manifests);
    return rc ? rc : notes_append(&to->tombstones, &from->tombstones);
}

void notes_free(struct all_notes *n)
{
    free(n->extents.list);
    free(n->manifests.list);
    free(n->tombstones.list);
    *n = (struct all_notes){0};
}

/* What stands under a slot that may be of the same key. */
struct standing {
    struct slot_ref ref;
    struct record_header h;
    bool same;
};

/* unreached: keys of one hash, in bucket and tag, that differ: tests/crash/test_long_keys.c has
 * some that share all but the hash; two of one hash are once in 2^36. */
static bool same_key(const struct entry *e, const uint8_t *key, uint32_t key_bytes)
{
    if (key_bytes != e->key_bytes || memcmp(key, e->key, e->kept_bytes) != 0)
        return false;
    return e->kept_bytes == e->key_bytes || hash64(key, key_bytes) == e->hash;
}

/* Reads the key under the slot, from the record, else from its summary entry. */
static int read_standing(struct pmkv *kv, const struct entry *e, struct standing *st)
{
    /* unreached: as below. */
    struct log_pos pos = {slot_position(st->ref.slot)};
    uint8_t *record;
    st->same = false;
    /* unreached: a lost record of another key; of this one marked_already has asked. */
    if (pos_is_lost(pos))
        return 0; /* names no place; see apply_lost */
    enum find_result r = read_record(kv, pos, pos_generation(kv, pos), &record);
    if (r == FIND_HIT) {
        memcpy(&st->h, record, sizeof st->h);
        st->same = same_key(e, record + sizeof st->h, st->h.key_bytes);
        free(record);
        return 0;
    }
    struct entry there;
    uint8_t name[ENTRY_KEY_MAX];
    /* unreached: what stands cannot be read, and memory runs out. */
    if (r == FIND_NOMEM)
        return -ENOMEM;
    if (entry_at(kv, pos, &there, name)) { /* unreached: the slot was made from that entry */
        st->h = (struct record_header){.type = there.type,
                                       .key_bytes = (uint16_t)there.key_bytes,
                                       .value_bytes = there.value_bytes,
                                       .seq = there.seq};
        /* unreached: another key of this hash, that cannot be read. */
        st->same = there.key_bytes == e->key_bytes && there.hash == e->hash &&
                   memcmp(name, e->key, e->kept_bytes) == 0;
    }
    return 0;
}

static int find_standing(struct pmkv *kv, const struct entry *e, struct standing *st, bool *found)
{
    struct index_find f;
    *found = false;
    index_find_begin(kv->index, e->hash, &f);
    while (index_find_next(&f, &st->ref)) {
        int rc = read_standing(kv, e, st);
        if (rc) /* unreached: as in read_standing */
            return rc;
        if (st->same) { /* unreached: another key of this hash */
            *found = true;
            return 0;
        }
    }
    return 0;
}

static int64_t standing_units(const struct record_header *h)
{
    return (int64_t)units_of(record_packed(h->key_bytes, h->value_bytes));
}

/* --- afterwards ------------------------------------------------------------------------------- */

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void drop_slot(struct pmkv *kv, const struct noted *n)
{
    struct slot_ref ref;
    index_lock(kv->index, index_stripe(n->hash));
    if (index_find_position(kv->index, n->hash, n->pos.v, &ref)) { /* unreached: it was put there */
        index_remove(kv->index, &ref);
        live_add(kv, pos_place(&kv->shape, n->pos).segment, -(int64_t)n->units);
    }
    index_unlock(kv->index, index_stripe(n->hash));
}

int replay_drop_orphans(struct replay *r)
{
    struct pmkv *kv = r->kv;
    uint64_t *ids = malloc((r->notes.manifests.count + 1) * sizeof *ids);
    uint32_t count = 0;
    if (!ids)
        return -ENOMEM;
    for (uint32_t i = 0; i < r->notes.manifests.count; i++) {
        uint8_t *record;
        const struct noted *n = &r->notes.manifests.list[i];
        uint64_t generation = pos_generation(kv, n->pos);
        enum find_result found = read_record(kv, n->pos, generation, &record);
        if (found == FIND_IO || found == FIND_NOMEM) {
            free(ids); /* no verdict over its pieces now (I14) */
            return found == FIND_IO ? -EIO : -ENOMEM;
        }
        if (found != FIND_HIT)
            continue;
        struct record_header h;
        struct manifest m;
        memcpy(&h, record, sizeof h);
        memcpy(&m, record + sizeof h + h.key_bytes, sizeof m);
        ids[count++] = m.value_id;
        free(record);
    }
    qsort(ids, count, sizeof *ids, compare_ids);
    for (uint32_t i = 0; i < r->notes.extents.count; i++)
        if (!bsearch(&r->notes.extents.list[i].value_id, ids, count, sizeof *ids, compare_ids))
            drop_slot(kv, &r->notes.extents.list[i]);
    free(ids);
    return 0;
}

void replay_drop_tombstones(struct replay *r)
{
    for (uint32_t i = 0; i < r->notes.tombstones.count; i++) {
        struct slot_ref ref;
        /* unreached: something older is there, and lost: the slot is marked. */
        if (index_find_position(r->kv->index, r->notes.tombstones.list[i].hash,
                                r->notes.tombstones.list[i].pos.v, &ref) &&
            slot_older(ref.slot) == 0)
            drop_slot(r->kv, &r->notes.tombstones.list[i]);
    }
}

/* --- lost records ----------------------------------------------------------------------------- */

/* The slot of the key a lost entry names; by its whole name where that is kept, else by hash. */
static bool find_lost_slot(struct pmkv *kv, const struct lost_entry *l, struct standing *st)
{
    struct entry e = {
        .key_bytes = l->key_bytes, .kept_bytes = l->kept_bytes, .key = l->key, .hash = l->hash};
    bool found;
    st->h = (struct record_header){0};
    return find_standing(kv, &e, st, &found) == 0 && found; /* unreached: as in read_standing */
}

/* Has one of the first `applied` entries, of the same key, marked its slot? A recovery that was cut
 * after its losses became durable finds them again (P7). */
static bool marked_already(struct pmkv *kv, const struct lost_entry *l, uint32_t applied)
{
    struct index_find f;
    struct slot_ref ref;
    index_find_begin(kv->index, l->hash, &f);
    while (index_find_next(&f, &ref)) {
        struct log_pos pos = {slot_position(ref.slot)};
        /* unreached: a marked slot of another key of this hash. */
        for (uint32_t i = 0; pos_is_lost(pos) && i < applied; i++) {
            struct lost_entry *o = kv->lost[i];
            /* unreached: slots and entries of another key of this hash. */
            if (o->id != (pos.v & ~POSITION_LOST) || o->hash != l->hash ||
                o->key_bytes != l->key_bytes || o->kept_bytes != l->kept_bytes ||
                memcmp(o->key, l->key, l->kept_bytes) != 0)
                continue;
            if (o->seq < l->seq)
                o->seq = l->seq; /* nothing older voids it */
            return true;
        }
    }
    return false;
}

/* Returns 0 when a newer record voids the entry, or another entry says the same. */
static int apply_lost(struct pmkv *kv, const struct lost_entry *l, uint32_t applied)
{
    struct standing st;
    uint32_t stripe = index_stripe(l->hash);
    struct log_pos mark = {l->id | POSITION_LOST};
    int rc = 1;
    index_lock(kv->index, stripe);
    if (marked_already(kv, l, applied)) {
        rc = 0;
    } else if (!find_lost_slot(kv, l, &st)) {
        /* unreached: the index has room for what it was sized for. */
        rc = index_insert(kv->index, l->hash, slot_make(mark.v, 0, l->hash)) ? -ENOMEM : 1;
        /* unreached: an entry with a name has its number. */
    } else if (l->seq != 0 && st.h.seq > l->seq) {
        rc = 0;
    } else {
        uint32_t segment =
            pos_place(&kv->shape, (struct log_pos){slot_position(st.ref.slot)}).segment;
        index_replace(kv->index, &st.ref, slot_make(mark.v, slot_older(st.ref.slot) + 1, l->hash));
        live_add(kv, segment, -standing_units(&st.h));
        index_keys_add(kv->index, stripe, -(int64_t)record_is_version(st.h.type));
    }
    index_unlock(kv->index, stripe);
    return rc;
}

int replay_apply_lost(struct replay *r)
{
    struct pmkv *kv = r->kv;
    uint32_t kept = 0;
    int rc = 0;
    for (uint32_t i = 0; i < kv->lost_count; i++) {
        /* unreached: the index has room for what it was sized for. */
        int keep = kv->lost[i]->in_index && rc == 0 ? apply_lost(kv, kv->lost[i], kept) : 1;
        if (keep < 0) /* unreached: as above */
            rc = keep;
        if (keep != 0) {
            kv->lost[kept++] = kv->lost[i];
        } else {
            free(kv->lost[i]);
            kv->lost_dirty = true;
        }
    }
    kv->lost_count = kept;
    return rc;
}
