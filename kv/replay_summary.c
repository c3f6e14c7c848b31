/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The index pass: which entries a segment has, and all of them entered.
 *
 * Almost all of an open of a large pool is spent here, waiting for memory. So a segment's entries
 * are decoded first and then entered with what they need asked for well ahead; the index is made as
 * large as it will be, because growing costs more than filling; and in a large pool each processor
 * takes segments. Which thread enters what, and when, makes no difference (replay_enter). Segments
 * without a whole summary are left to the opener, after the others: reading their records changes
 * what others may be reading, and may find losses.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../recovery/errmsg.h"
#include "meta.h"
#include "read.h"
#include "replay.h"
#include "scan.h"

enum {
    THREADS_FROM = 100 * 1000, /* entries: fewer are not worth a thread */
    THREADS_MOST = 16,
    SAMPLE_FROM = 1 << 18, /* entries: an index for fewer has the least size in any case */
    SAMPLE_PARTS = 64,
    SAMPLE_BITS = 18, /* of the table in which their hashes are, half full at most */
    BATCH = 16,       /* entries */
};

/* One thread's part of the pass. */
struct filler {
    struct pmkv *kv;
    struct fill *fill;
    struct all_notes notes;
    uint8_t *bytes; /* the parts of a segment's summary; entries point into it */
    size_t bytes_room;
    struct entry *list; /* its entries */
    uint32_t count, capacity;
    pthread_t thread;
    bool opener;  /* the thread that opens the pool */
    bool started; /* the others; known to the opener alone */
};

struct fill {
    struct replay *r;
    _Atomic uint32_t next; /* segment that nobody has taken yet */
    _Atomic int rc;        /* the first error: everybody stops */
    bool *late;            /* by segment: it has no whole summary */
};

/* --- a segment's entries ---------------------------------------------------------------------- */

static bool room_for(void **list, size_t *room, size_t need)
{
    if (need <= *room)
        return true;
    size_t more = need + need / 2;
    void *larger = realloc(*list, more);
    if (!larger)
        return false;
    *list = larger;
    *room = more;
    return true;
}

static int list_add(struct filler *f, const struct entry *e)
{
    if (f->count == f->capacity) {
        uint32_t capacity = f->capacity ? f->capacity * 2 : 1024;
        struct entry *list = realloc(f->list, capacity * sizeof *list);
        if (!list)
            return -ENOMEM;
        f->list = list;
        f->capacity = capacity;
    }
    f->list[f->count++] = *e;
    return 0;
}

static int decode_entry(void *arg, const struct entry *e)
{
    return list_add(arg, e);
}

/* Reads a part whose record is as it should be straight to where it is decoded. */
static bool part_load(struct pmkv *kv, struct meta_ref ref, uint8_t *out)
{
    struct {
        struct record_header h;
        struct meta_key key;
    } head;
    struct row_place place = pos_place(&kv->shape, ref.pos);
    uint64_t hash;
    /* unreached: the head has changed since it was gathered in the pass before. */
    if (place.offset + sizeof head + ref.bytes > row_payload(kv) ||
        payload_load(kv, place, &head, sizeof head) || head.h.key_bytes != sizeof head.key ||
        head.h.value_bytes != ref.bytes ||
        !record_check_holds(&head.h, hash64(&head.key, sizeof head.key),
                            record_secret(kv->vol.secret, pos_generation(kv, ref.pos), ref.pos)))
        return false;
    place.offset += sizeof head;
    /* unreached: a value that cannot be loaded; one that does not hold is read again (part_read).
     */
    return value_load(kv, place, out, ref.bytes, &hash) == 0 && hash == head.h.value_hash;
}

/* 0; -EIO: the part is lost; -ENOMEM. unreached: a part without a place is not counted by the
 * header; the length is of the same header. */
static int part_read(struct pmkv *kv, struct meta_ref ref, uint8_t *out)
{
    uint8_t *record;
    struct record_header h;
    if (ref.pos.v == 0)
        return -EIO;
    if (part_load(kv, ref, out))
        return 0;
    if (read_record(kv, ref.pos, pos_generation(kv, ref.pos), &record) != FIND_HIT)
        return -EIO;
    memcpy(&h, record, sizeof h);
    bool fits = h.value_bytes == ref.bytes;
    if (fits)
        memcpy(out, record + sizeof h + h.key_bytes, h.value_bytes);
    free(record);
    return fits ? 0 : -EIO;
}

/* Parts behind the last one are of a summary that was begun before a crash and was longer. */
static void drop_parts_from(struct pmkv *kv, struct segment *s, uint32_t from)
{
    while (s->part_count > from)
        meta_drop(kv, s->parts[--s->part_count]);
}

/* Decodes the parts of a summary. 0; -EIO: they do not hold as many entries as the header (after a
 * clean close: the table) says; -ENOMEM. */
static int summary_decode(struct filler *f, struct segment *s)
{
    size_t all = 0, at = 0;
    f->count = 0;
    for (uint32_t i = 0; i < s->part_count; i++)
        all += s->parts[i].bytes;
    if (!room_for((void **)&f->bytes, &f->bytes_room, all))
        return -ENOMEM;
    uint32_t i = 0;
    for (; i < s->part_count && f->count < s->records; i++) {
        int rc = part_read(f->kv, s->parts[i], f->bytes + at);
        if (rc == 0) /* unreached: memory runs out while a part is rebuilt */
            rc = summary_part_foreach(f->bytes + at, s->parts[i].bytes, decode_entry, f);
        if (rc)
            return rc;
        at += s->parts[i].bytes;
    }
    if (f->count != s->records)
        return -EIO;
    drop_parts_from(f->kv, s, i);
    return 0;
}

static int pending_decode(struct filler *f, const struct segment *s)
{
    struct entries_reader reader = {.bytes = s->pending.bytes, .used = s->pending.used};
    struct entry e;
    int rc = 0;
    f->count = 0;
    while (rc == 0 && entries_next(&reader, &e) == 1)
        rc = list_add(f, &e);
    return rc;
}

/* --- entering them ---------------------------------------------------------------------------- */

static void prefetch_buckets(const struct filler *f, uint32_t from)
{
    for (uint32_t i = from; i < f->count && i < from + BATCH; i++)
        index_prefetch_insert(f->kv->index, f->list[i].hash);
}

/* The buckets of the next batch are asked for, then what stands under the slots of this one: one
 * after the other, waiting for those lines would be most of what an open does. In batches, for
 * between the locked instructions of two inserts the processor overlaps nothing. */
static int enter_list(struct filler *f, uint32_t segment)
{
    struct pmkv *kv = f->kv;
    int64_t units = 0;
    int rc = 0;
    prefetch_buckets(f, 0);
    for (uint32_t from = 0; from < f->count && rc == 0; from += BATCH) {
        uint32_t to = f->count - from < BATCH ? f->count : from + BATCH;
        prefetch_buckets(f, to);
        for (uint32_t i = from; i < to; i++)
            find_prefetch(kv, f->list[i].hash, RECORD_HEADER_BYTES + f->list[i].key_bytes);
        for (uint32_t i = from; i < to && rc == 0; i++)
            rc = replay_enter(kv, &f->notes, segment, &f->list[i], &units);
        index_grow_step(kv->index);
    }
    live_add(kv, segment, units);
    return rc;
}

/* The summary does not count; the records are summed up anew. */
static void forget_summary(struct pmkv *kv, struct segment *s)
{
    drop_parts_from(kv, s, 0);
    s->records = 0;
    s->summarised = false;
}

static int fill_from(struct filler *f, uint32_t segment)
{
    struct pmkv *kv = f->kv;
    struct segment *s = &kv->segments[segment];
    bool sealed = atomic_load(&s->state) == SEGMENT_SEALED;
    int rc = -EIO;
    if (!kind_is_log(s->kind))
        return 0;
    if (s->pending.count) {
        forget_summary(kv, s);
        rc = pending_decode(f, s);
    } else if (sealed || f->fill->r->clean) {
        rc = summary_decode(f, s);
    }
    if (rc == -EIO) {
        f->fill->late[segment] = true;
        return 0;
    }
    return rc ? rc : enter_list(f, segment);
}

/* No whole summary: the records themselves. unreached: memory runs out in the middle. */
static int fill_late(struct filler *f, uint32_t segment)
{
    struct pmkv *kv = f->kv;
    struct segment *s = &kv->segments[segment];
    forget_summary(kv, s);
    int rc = segment_scan(kv, segment, &s->pending);
    if (rc == 0)
        rc = pending_decode(f, s);
    return rc ? rc : enter_list(f, segment);
}

/* --- threads ---------------------------------------------------------------------------------- */

/* The opener alone tells of progress. unreached: no test with threads asks for it. */
static int tell_progress(struct filler *f, uint32_t segment)
{
    const struct pmkv_options *o = &f->kv->opts;
    if (!o->progress || segment % 16 != 0 || !f->opener)
        return 0;
    return o->progress(o->progress_arg, "index", segment, f->kv->vol.layout.segments) ? -ECANCELED
                                                                                      : 0;
}

static void *filler_main(void *arg)
{
    struct filler *f = arg;
    struct fill *fill = f->fill;
    uint32_t segments = f->kv->vol.layout.segments;
    while (atomic_load(&fill->rc) == 0) {
        uint32_t segment = atomic_fetch_add(&fill->next, 1);
        if (segment >= segments)
            break;
        int rc = fill_from(f, segment), none = 0;
        if (rc == 0)
            rc = tell_progress(f, segment);
        if (rc)
            atomic_compare_exchange_strong(&fill->rc, &none, rc);
    }
    return NULL;
}

static uint64_t entries_expected(const struct pmkv *kv)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        const struct segment *s = &kv->segments[i];
        if (kind_is_log(s->kind))
            sum += s->pending.count ? s->pending.count : s->records;
    }
    return sum;
}

/* Hashes of a part of the entries; 0 is an empty place. */
struct sample {
    uint64_t *seen;
    uint64_t count, again;
};

static void sample_add(struct sample *s, uint64_t hash)
{
    const uint64_t mask = (1u << SAMPLE_BITS) - 1;
    uint64_t at = hash & mask;
    while (s->seen[at] && s->seen[at] != hash)
        at = (at + 1) & mask;
    s->again += s->seen[at] == hash;
    s->seen[at] = hash;
    s->count++;
}

/* unreached: memory runs out, or the part is lost; as many entries as the table takes. */
static void sample_part(struct filler *f, struct sample *s, struct meta_ref ref)
{
    f->count = 0;
    if (!room_for((void **)&f->bytes, &f->bytes_room, ref.bytes) ||
        part_read(f->kv, ref, f->bytes) != 0 ||
        summary_part_foreach(f->bytes, ref.bytes, decode_entry, f) != 0)
        return; /* an estimate is all that it is for */
    for (uint32_t i = 0; i < f->count && s->count < 1u << (SAMPLE_BITS - 1); i++)
        sample_add(s, f->list[i].hash);
}

/* unreached: memory runs out; a segment of the log has parts. How many slots they will take. Where
 * keys are overwritten more often than the cleaner comes by, most entries are of older versions,
 * and an index with room for all would be as much larger for good. Of n entries by chance n * n /
 * 2k meet a key again, if there are k. */
static uint64_t slots_expected(struct filler *f, uint64_t entries)
{
    struct pmkv *kv = f->kv;
    uint64_t parts = 0, number = 0;
    if (entries < SAMPLE_FROM)
        return entries;
    struct sample s = {.seen = calloc(1u << SAMPLE_BITS, sizeof *s.seen)};
    if (!s.seen)
        return 0; /* it grows as it is filled */
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
        parts += kind_is_log(kv->segments[i].kind) ? kv->segments[i].part_count : 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
        for (uint32_t k = 0; kind_is_log(kv->segments[i].kind) && k < kv->segments[i].part_count;
             k++)
            if (hash_mix(++number) % parts < SAMPLE_PARTS)
                sample_part(f, &s, kv->segments[i].parts[k]);
    free(s.seen);
    uint64_t keys = s.count * s.count / (2 * s.again + 1);
    return keys < entries ? keys : entries;
}

/* One where the pool is small, or its owner wants no threads. unreached: a machine has one number
 * of processors. */
static uint32_t choose_fillers(const struct pmkv *kv, uint64_t entries)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (entries < THREADS_FROM || kv->opts.no_background || cpus < 1)
        return 1;
    return cpus < THREADS_MOST ? (uint32_t)cpus : THREADS_MOST;
}

/* A thread that cannot be started is not missed: the opener takes what is left. unreached: one that
 * cannot, in a pool that is large enough. */
static int run_fillers(struct filler *fillers, uint32_t count)
{
    struct fill *fill = fillers->fill;
    for (uint32_t i = 1; i < count; i++)
        fillers[i].started =
            pthread_create(&fillers[i].thread, NULL, filler_main, &fillers[i]) == 0;
    filler_main(&fillers[0]);
    for (uint32_t i = 1; i < count; i++)
        if (fillers[i].started)
            pthread_join(fillers[i].thread, NULL);
    int rc = atomic_load(&fill->rc);
    for (uint32_t i = 0; i < fillers->kv->vol.layout.segments && rc == 0; i++)
        if (fill->late[i])
            rc = fill_late(&fillers[0], i);
    for (uint32_t i = 0; i < count && rc == 0; i++)
        rc = notes_join(&fill->r->notes, &fillers[i].notes);
    return rc;
}

int replay_fill_index(struct replay *r)
{
    struct pmkv *kv = r->kv;
    struct filler fillers[THREADS_MOST] = {0};
    uint64_t entries = entries_expected(kv);
    uint32_t count = choose_fillers(kv, entries);
    struct fill fill = {.r = r, .late = calloc(kv->vol.layout.segments, sizeof *fill.late)};
    if (!fill.late)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        fillers[i] = (struct filler){.kv = kv, .fill = &fill, .opener = i == 0};
    index_expect(kv->index, slots_expected(&fillers[0], entries));
    int rc = run_fillers(fillers, count);
    for (uint32_t i = 0; i < count; i++) {
        notes_free(&fillers[i].notes);
        free(fillers[i].bytes);
        free(fillers[i].list);
    }
    free(fill.late);
    return rc;
}
