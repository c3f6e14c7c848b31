/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Merging the entries of a partition and putting what counts into the index: see replay_merge.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../recovery/errmsg.h"
#include "read.h"
#include "replay_merge.h"

enum { TABLE_BITS_LEAST = 10, KEYS_LEAST = 1 << (TABLE_BITS_LEAST - 1) };

int merger_init(struct merger *m, struct pmkv *kv)
{
    *m = (struct merger){.kv = kv,
                         .key_room = KEYS_LEAST,
                         .table_bits = TABLE_BITS_LEAST,
                         .live = calloc(kv->vol.layout.segments, sizeof *m->live),
                         .keys = malloc(KEYS_LEAST * sizeof *m->keys),
                         .table = malloc(sizeof *m->table << TABLE_BITS_LEAST)};
    if (!m->live || !m->keys || !m->table)
        return err_fact(-ENOMEM, "no memory to merge entries of summaries");
    return index_fill_begin(kv->index, &m->fill);
}

/* --- which entries are of one key ------------------------------------------------------------- */

/* By the middle of the product: the hash's own low bits are alike in a partition. */
static uint32_t table_at(const struct merger *m, uint64_t hash)
{
    return (uint32_t)(hash * 0x9e3779b97f4a7c15ull >> (64 - m->table_bits));
}

static uint32_t table_next(const struct merger *m, uint32_t at)
{
    return (at + 1) & ((1u << m->table_bits) - 1);
}

static void table_clear(struct merger *m)
{
    memset(m->table, 0, sizeof *m->table << m->table_bits);
}

/* Room for twice as many keys; the table stays half empty. unreached: memory runs out. */
static int table_grow(struct merger *m)
{
    uint32_t room = m->key_room * 2, bits = m->table_bits + 1;
    struct merged_key *keys = realloc(m->keys, room * sizeof *keys);
    if (keys)
        m->keys = keys;
    uint32_t *table = keys ? realloc(m->table, sizeof *table << bits) : NULL;
    if (!table)
        return err_fact(-ENOMEM, "no memory to merge entries of summaries");
    m->table = table;
    m->table_bits = bits;
    m->key_room = room;
    table_clear(m);
    for (uint32_t i = 0; i < m->key_count; i++) {
        uint32_t at = table_at(m, m->keys[i].hash);
        while (m->table[at])
            at = table_next(m, at);
        m->table[at] = i + 1;
    }
    return 0;
}

/* Pieces of long values have a namespace of their own. Keys that an entry does not keep whole are
 * as good as their hash. unreached: keys of one hash that differ. */
static bool same_key(const struct met *a, const struct met *b)
{
    return a->key_bytes == b->key_bytes && a->kept_bytes == b->kept_bytes &&
           (a->type == RECORD_EXTENT) == (b->type == RECORD_EXTENT) &&
           memcmp(a->key, b->key, a->kept_bytes) == 0;
}

/* --- which of them counts --------------------------------------------------------------------- */

static bool can_be_read(struct pmkv *kv, const struct met *m)
{
    uint8_t *record;
    if (read_record(kv, met_pos(m), pos_generation(kv, met_pos(m)), &record) != FIND_HIT)
        return false;
    free(record);
    return true;
}

static const struct met *serving_copy(struct pmkv *kv, const struct met *a, const struct met *b)
{
    const struct met *low = met_pos(a).v < met_pos(b).v ? a : b, *high = low == a ? b : a;
    return can_be_read(kv, low) || !can_be_read(kv, high) ? low : high;
}

static int merge_met(void *arg, const struct met *met)
{
    struct merger *m = arg;
    uint64_t hash = met_hash(met);
    uint32_t at = table_at(m, hash);
    for (; m->table[at]; at = table_next(m, at)) {
        struct merged_key *key = &m->keys[m->table[at] - 1];
        /* unreached: as in same_key. */
        if (key->hash != hash || !same_key(key->best, met))
            continue;
        key->versions += record_is_version(met->type);
        if (met->seq > key->best->seq)
            key->best = met;
        else if (met->seq == key->best->seq)
            key->best = serving_copy(m->kv, key->best, met);
        return 0;
    }
    m->keys[m->key_count++] = (struct merged_key){hash, met, record_is_version(met->type)};
    m->table[at] = m->key_count;
    return m->key_count == m->key_room ? table_grow(m) : 0;
}

int merge_partition(struct merger *m, struct met_writer *const *writers, uint32_t writer_count,
                    uint32_t stream)
{
    int rc = 0;
    m->key_count = 0;
    table_clear(m);
    for (uint32_t i = 0; i < writer_count && rc == 0; i++)
        rc = met_foreach(writers[i], stream, merge_met, m);
    return rc;
}

/* --- into the index --------------------------------------------------------------------------- */

static int note_best(struct merger *m, const struct merged_key *key)
{
    struct noted noted = {
        .hash = key->hash, .pos = met_pos(key->best), .units = met_units(key->best)};
    struct extent_key extent;
    switch (key->best->type) {
    case RECORD_EXTENT:
        memcpy(&extent, key->best->key, sizeof extent);
        noted.value_id = extent.value_id;
        return note(&m->notes.extents, noted);
    case RECORD_MANIFEST:
        return note(&m->notes.manifests, noted);
    case RECORD_TOMBSTONE:
        return note(&m->notes.tombstones, noted);
    default:
        return 0;
    }
}

static int enter_key(struct merger *m, const struct merged_key *key)
{
    const struct met *best = key->best;
    bool version = record_is_version(best->type);
    struct slot slot = slot_make(met_pos(best).v, key->versions - version, key->hash);
    int rc = index_fill(&m->fill, key->hash, slot, version);
    if (rc) /* unreached: the index has room for what it was sized for */
        return rc;
    m->live[pos_segment(&m->kv->shape, met_pos(best))] += met_units(best);
    return note_best(m, key);
}

int merge_enter(struct merger *m)
{
    enum { AHEAD = 16 }; /* keys whose buckets were asked for */
    int rc = 0;
    for (uint32_t i = 0; i < m->key_count && rc == 0; i++) {
        if (i + AHEAD < m->key_count)
            index_prefetch(m->kv->index, m->keys[i + AHEAD].hash);
        rc = enter_key(m, &m->keys[i]);
    }
    return rc;
}

int merger_end(struct merger *m, struct all_notes *notes)
{
    for (uint32_t i = 0; m->live && i < m->kv->vol.layout.segments; i++)
        if (m->live[i])
            live_add(m->kv, i, m->live[i]);
    if (m->fill.ix)
        index_fill_end(&m->fill);
    int rc = notes_join(notes, &m->notes);
    notes_free(&m->notes);
    free(m->live);
    free(m->keys);
    free(m->table);
    *m = (struct merger){0};
    return rc;
}
