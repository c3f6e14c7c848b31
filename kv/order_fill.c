/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The ordered index of a store that is being opened: the keys of all slots are read, segment by
 * segment, for that is the order in which they come fastest, and sorted; each processor does a part
 * of it. Then all are entered in their order. Recovery is over and nothing moves meanwhile.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../recovery/errmsg.h"
#include "lost.h"
#include "order.h"
#include "read.h"

enum {
    THREADS_FROM = 100 * 1000, /* keys: fewer are not worth a thread */
    THREADS_MOST = 16,
    PART_BYTES = 1 << 20,
    AHEAD = 16,
    HEAD_KEY_MAX = 256,
};

/* Where keys stand until they are entered. */
struct part {
    struct part *before;
    size_t used;
    uint8_t bytes[];
};
struct sorted_key {
    uint64_t head; /* key_head, after what all keys share */
    struct key_view key;
};

/* What one thread has read. */
struct reader {
    _Alignas(LINE_BYTES) struct fill *fill;
    struct part *part;
    struct sorted_key *keys;
    uint64_t count, room, taken; /* taken: by the merge */
    uint32_t shared;             /* bytes that all its keys begin with */
    pthread_t thread;
    bool started;
};
struct fill {
    struct pmkv *kv;
    uint64_t *positions, position_count, position_room;
    uint64_t *of_segments, *segment_end; /* positions by segment; the end of each */
    struct reader readers[THREADS_MOST];
    uint32_t reader_count, shared;
    int (*task)(struct reader *r);
    _Atomic uint32_t next_segment;
    _Atomic int rc; /* the first error: everybody stops */
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
    for (uint32_t i = 0; i < scan->count; i++) {
        uint64_t position = slot_position(scan->slots[i]);
        if (!pos_is_lost((struct log_pos){position})) /* keep_lost has those */
            f->positions[f->position_count++] = position;
    }
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

static uint32_t segment_of(const struct fill *f, uint64_t i)
{
    return pos_segment(&f->kv->shape, (struct log_pos){f->positions[i]});
}

static int sort_by_segment(struct fill *f)
{
    uint32_t segments = f->kv->vol.layout.segments;
    f->of_segments = malloc((f->position_count + 1) * sizeof *f->of_segments);
    uint64_t *end = f->segment_end = calloc(segments + 1, sizeof *end);
    if (!f->of_segments || !end)
        return -ENOMEM;
    for (uint64_t i = 0; i < f->position_count; i++)
        end[segment_of(f, i) + 1]++;
    for (uint32_t s = 0; s < segments; s++)
        end[s + 1] += end[s]; /* end[s]: where segment s begins, for now */
    for (uint64_t i = 0; i < f->position_count; i++)
        f->of_segments[end[segment_of(f, i)]++] = f->positions[i];
    free(f->positions);
    f->positions = NULL;
    return 0;
}

/* --- reading them ----------------------------------------------------------------------------- */

static int reserve(struct reader *r, uint32_t bytes)
{
    if (r->count == r->room) {
        uint64_t room = r->room ? 2 * r->room : 1024;
        struct sorted_key *keys = realloc(r->keys, room * sizeof *keys);
        if (!keys)
            return -ENOMEM;
        r->keys = keys;
        r->room = room;
    }
    if (r->part && r->part->used + bytes <= PART_BYTES)
        return 0;
    struct part *part = malloc(sizeof *part + PART_BYTES);
    if (!part)
        return -ENOMEM;
    *part = (struct part){.before = r->part};
    r->part = part;
    return 0;
}

static int keep(struct reader *r, struct key_view key)
{
    if (reserve(r, key.length))
        return -ENOMEM;
    struct key_view kept = {r->part->bytes + r->part->used, key.length};
    memcpy(r->part->bytes + r->part->used, key.bytes, key.length);
    r->part->used += key.length;
    uint32_t shared = r->count ? key_common(kept, r->keys[0].key) : kept.length;
    if (r->count == 0 || shared < r->shared)
        r->shared = shared;
    r->keys[r->count++].key = kept;
    return 0;
}

static int keep_record(struct reader *r, const struct record_header *h, const uint8_t *key)
{
    return record_is_version(h->type) ? keep(r, (struct key_view){key, h->key_bytes}) : 0;
}

/* Header and key alone, as most are. False: it must be read whole. */
static bool read_head(struct pmkv *kv, struct log_pos pos, uint64_t generation, uint8_t *key,
                      struct record_header *h)
{
    struct row_place place = pos_place(&kv->shape, pos);
    if (payload_load(kv, place, h, sizeof *h) ||
        !record_shape_holds(h, row_payload(kv) - place.offset) || h->key_bytes > HEAD_KEY_MAX)
        return false;
    place.offset += RECORD_HEADER_BYTES;
    return payload_load(kv, place, key, h->key_bytes) == 0 &&
           record_check_holds(h, hash64(key, h->key_bytes),
                              record_secret(kv->vol.secret, generation, pos));
}

static int read_one(struct reader *r, struct log_pos pos)
{
    struct pmkv *kv = r->fill->kv;
    struct record_header h;
    uint8_t key[HEAD_KEY_MAX], *record;
    struct row_place place = pos_place(&kv->shape, pos);
    uint64_t generation = pos_generation(kv, pos);
    if (read_head(kv, pos, generation, key, &h))
        return keep_record(r, &h, key);
    enum find_result found = read_record(kv, pos, generation, &record);
    if (found == FIND_LOST) { /* its slot says so from now on, the lost list what its name was */
        lost_discover(kv, (struct row_ref){place.segment, place.row, generation});
        return 0;
    }
    if (found != FIND_HIT)
        return found == FIND_NOMEM ? -ENOMEM
               : found == FIND_IO  ? err_fact(-EIO, "a key cannot be read for its order")
                                   : 0; /* of another generation: nobody finds it either */
    memcpy(&h, record, sizeof h);
    int rc = keep_record(r, &h, record + sizeof h);
    free(record);
    return rc;
}

static int read_segment(struct reader *r, uint32_t segment)
{
    struct fill *f = r->fill;
    const uint64_t *positions = f->of_segments;
    uint64_t i = segment > 0 ? f->segment_end[segment - 1] : 0, end = f->segment_end[segment];
    int rc = 0;
    for (; i < end && rc == 0; i++) {
        struct log_pos ahead = {positions[i + AHEAD < end ? i + AHEAD : i]};
        prefetch_record(f->kv, pos_place(&f->kv->shape, ahead), LINE_BYTES);
        rc = read_one(r, (struct log_pos){positions[i]});
    }
    return rc;
}

/* The opener alone tells of progress. */
static int tell_progress(const struct reader *r, uint32_t segment)
{
    const struct pmkv_options *o = &r->fill->kv->opts;
    if (!o->progress || segment % 16 != 0 || r != r->fill->readers)
        return 0;
    bool stop =
        o->progress(o->progress_arg, "ordered index", segment, r->fill->kv->vol.layout.segments);
    return stop ? -ECANCELED : 0;
}

static int task_read(struct reader *r)
{
    struct fill *f = r->fill;
    uint32_t segment;
    int rc = 0;
    while (rc == 0 && atomic_load(&f->rc) == 0 &&
           (segment = atomic_fetch_add(&f->next_segment, 1)) < f->kv->vol.layout.segments) {
        rc = read_segment(r, segment);
        if (rc == 0)
            rc = tell_progress(r, segment);
    }
    return rc;
}

/* Of lost records those whose names are known. */
static int keep_lost(struct fill *f)
{
    int rc = 0;
    for (uint32_t i = 0; i < f->kv->lost_count && rc == 0; i++) {
        const struct lost_entry *l = f->kv->lost[i];
        if (l->in_index && l->key_bytes && l->key_bytes == l->kept_bytes)
            rc = keep(f->readers, (struct key_view){l->key, l->key_bytes});
    }
    return rc;
}

/* --- sorting and entering them ---------------------------------------------------------------- */

static int compare_keys(const void *a, const void *b)
{
    const struct sorted_key *x = a, *y = b;
    if (x->head != y->head)
        return x->head < y->head ? -1 : 1;
    return key_compare(x->key, y->key);
}

static void find_shared(struct fill *f)
{
    const struct reader *first = NULL;
    f->shared = 0;
    for (uint32_t i = 0; i < f->reader_count; i++) {
        const struct reader *r = &f->readers[i];
        if (r->count == 0)
            continue;
        uint32_t shared = first ? key_common(first->keys[0].key, r->keys[0].key) : r->shared;
        if (!first || shared < f->shared)
            f->shared = shared;
        if (r->shared < f->shared)
            f->shared = r->shared;
        first = first ? first : r;
    }
}

static int task_sort(struct reader *r)
{
    for (uint64_t i = 0; i < r->count; i++)
        r->keys[i].head = key_head(r->keys[i].key, r->fill->shared);
    if (r->count > 0)
        qsort(r->keys, r->count, sizeof *r->keys, compare_keys);
    return 0;
}

/* The one with the least key that is left; NULL: none is. */
static struct reader *least_reader(struct fill *f)
{
    struct reader *least = NULL;
    for (uint32_t i = 0; i < f->reader_count; i++) {
        struct reader *r = &f->readers[i];
        if (r->taken < r->count &&
            (!least || compare_keys(&r->keys[r->taken], &least->keys[least->taken]) < 0))
            least = r;
    }
    return least;
}

/* Twice is there what was read whole before its row was found to have losses. */
static int enter_keys(struct fill *f)
{
    struct reader *r;
    struct key_view last = {NULL, 0};
    while ((r = least_reader(f)) != NULL) {
        struct key_view key = r->keys[r->taken++].key;
        if (r->taken + AHEAD < r->count)
            __builtin_prefetch(r->keys[r->taken + AHEAD].key.bytes);
        if (last.bytes && key_compare(last, key) == 0)
            continue;
        if (!order_append(f->kv->order, key))
            return -ENOMEM;
        last = key;
    }
    return 0;
}

/* --- threads ---------------------------------------------------------------------------------- */

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    int rc = r->fill->task(r), none = 0;
    if (rc)
        atomic_compare_exchange_strong(&r->fill->rc, &none, rc);
    return NULL;
}

/* By all readers; what a thread that cannot be started would do the opener does. */
static int in_threads(struct fill *f, int (*task)(struct reader *r))
{
    f->task = task;
    for (uint32_t i = 1; i < f->reader_count; i++)
        f->readers[i].started =
            pthread_create(&f->readers[i].thread, NULL, reader_main, &f->readers[i]) == 0;
    reader_main(&f->readers[0]);
    for (uint32_t i = 1; i < f->reader_count; i++)
        if (f->readers[i].started)
            pthread_join(f->readers[i].thread, NULL);
        else
            reader_main(&f->readers[i]);
    return atomic_load(&f->rc);
}

static uint32_t choose_readers(const struct fill *f)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (f->position_count < THREADS_FROM || f->kv->opts.no_background || cpus < 1)
        return 1;
    return cpus < THREADS_MOST ? (uint32_t)cpus : THREADS_MOST;
}

static int fill_run(struct fill *f)
{
    int rc = find_positions(f);
    if (rc == 0)
        rc = sort_by_segment(f);
    f->reader_count = choose_readers(f);
    for (uint32_t i = 0; i < f->reader_count; i++)
        f->readers[i].fill = f;
    if (rc == 0)
        rc = in_threads(f, task_read);
    if (rc == 0)
        rc = keep_lost(f);
    find_shared(f);
    if (rc == 0)
        rc = in_threads(f, task_sort);
    return rc ? rc : enter_keys(f);
}

static void fill_free(struct fill *f)
{
    for (uint32_t i = 0; i < f->reader_count; i++) {
        for (struct part *p = f->readers[i].part, *before; p; p = before) {
            before = p->before;
            free(p);
        }
        free(f->readers[i].keys);
    }
    free(f->positions);
    free(f->of_segments);
    free(f->segment_end);
}

int order_fill(struct pmkv *kv)
{
    struct fill f = {.kv = kv};
    int rc = fill_run(&f);
    fill_free(&f);
    return rc == -ENOMEM ? err_fact(rc, "no memory for the ordered index") : rc;
}
