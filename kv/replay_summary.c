/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The index pass: the entries of all segments are gathered by partition (replay_partition.c), then
 * each partition is merged and entered (replay_merge.c). In a large pool each processor takes
 * segments, and then partitions. The index is made as large as it will be, because growing costs
 * more than filling. Segments without a whole summary are left to the opener, after the others:
 * reading their records changes what others may be reading, and may find losses.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../recovery/errmsg.h"
#include "meta.h"
#include "read.h"
#include "replay.h"
#include "replay_merge.h"
#include "scan.h"

enum {
    THREADS_FROM = 100 * 1000, /* entries: fewer are not worth a thread */
    THREADS_MOST = 16,
    SAMPLE_FROM = 1 << 18, /* entries: an index for fewer has the least size in any case */
    SAMPLE_PART = 16,      /* of the partitions one in that many, and some more */
    SAMPLE_LEAST = 4,
    GROW_EACH = 16,
    /* Of the pool's size: what entries on their way may take, about what the index takes where
     * records are of 300 B. Twice as much, or half as much again and again, is no faster: memory
     * that is fresh costs as much as to read the summaries once more. */
    MEMORY_PART = 16,
};

/* One thread's part of the pass, on cache lines of its own. */
struct filler {
    _Alignas(LINE_BYTES) struct pmkv *kv;
    struct fill *fill;
    struct met_writer met;
    struct merger merger;
    uint8_t *bytes; /* a part of a summary; entries point into it */
    size_t bytes_room;
    uint32_t segment, count; /* which one is gathered; its entries so far */
    pthread_t thread;
    bool opener;  /* the thread that opens the pool */
    bool started; /* the others; known to the opener alone */
};

struct fill {
    struct replay *r;
    struct filler fillers[THREADS_MOST];
    uint32_t count, round;
    struct partitions partitions;
    uint32_t groups; /* of partitions that share buckets */
    _Atomic uint64_t keys_counted;
    bool *late; /* by segment: it has no whole summary */
    int (*task)(struct filler *f, uint32_t number);
    uint32_t tasks;
    _Atomic uint32_t next; /* task that nobody has taken yet */
    _Atomic int rc;        /* the first error: everybody stops */
};

/* --- a segment's entries ---------------------------------------------------------------------- */

static bool room_for_part(struct filler *f, size_t bytes)
{
    if (bytes <= f->bytes_room)
        return true;
    uint8_t *larger = realloc(f->bytes, bytes + bytes / 2);
    if (!larger)
        return false;
    f->bytes = larger;
    f->bytes_room = bytes + bytes / 2;
    return true;
}

static int gather_entry(void *arg, const struct entry *e)
{
    struct filler *f = arg;
    f->count++;
    return met_add(&f->met, &f->fill->partitions, f->kv, f->segment, e);
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

/* 0; -EIO: the parts do not hold as many entries as the header (after a clean close: the table)
 * says; -ENOMEM. */
static int gather_summary(struct filler *f, struct segment *s)
{
    uint32_t i = 0;
    for (; i < s->part_count && f->count < s->records; i++) {
        if (!room_for_part(f, s->parts[i].bytes))
            return -ENOMEM;
        int rc = part_read(f->kv, s->parts[i], f->bytes);
        if (rc == 0) /* unreached: memory runs out while a part is rebuilt */
            rc = summary_part_foreach(f->bytes, s->parts[i].bytes, gather_entry, f);
        if (rc)
            return rc;
    }
    if (f->count != s->records)
        return -EIO;
    drop_parts_from(f->kv, s, i);
    return 0;
}

static int gather_pending(struct filler *f, const struct segment *s)
{
    struct entries_reader reader = {.bytes = s->pending.bytes, .used = s->pending.used};
    struct entry e;
    int rc = 0;
    while (rc == 0 && entries_next(&reader, &e) == 1)
        rc = gather_entry(f, &e);
    return rc;
}

/* The summary does not count; the records are summed up anew. */
static void forget_summary(struct pmkv *kv, struct segment *s)
{
    drop_parts_from(kv, s, 0);
    s->records = 0;
    s->summarised = false;
}

static int gather_segment(struct filler *f, uint32_t segment)
{
    struct pmkv *kv = f->kv;
    struct segment *s = &kv->segments[segment];
    bool sealed = atomic_load(&s->state) == SEGMENT_SEALED;
    int rc = -EIO;
    if (!kind_is_log(s->kind))
        return 0;
    f->segment = segment;
    f->count = 0;
    met_mark(&f->met);
    if (s->pending.count) {
        forget_summary(kv, s);
        rc = gather_pending(f, s);
    } else if (sealed || (f->fill->r->clean && s->rows_used > 0)) {
        /* Of a segment whose only row was left open, and is damaged in every copy, recovery found
         * nothing (pass_tails): then its summary names what is not there. */
        rc = gather_summary(f, s);
    }
    if (rc != -EIO)
        return rc;
    met_rewind(&f->met);
    f->fill->late[segment] = true;
    return 0;
}

/* No whole summary: the records themselves. unreached: memory runs out in the middle. */
static int gather_late(struct filler *f, uint32_t segment)
{
    struct pmkv *kv = f->kv;
    struct segment *s = &kv->segments[segment];
    f->fill->late[segment] = false; /* in the next round they are pending, or there are none */
    forget_summary(kv, s);
    int rc = segment_scan(kv, segment, &s->pending);
    f->segment = segment;
    return rc ? rc : gather_pending(f, s);
}

/* --- threads ---------------------------------------------------------------------------------- */

/* One where the pool is small, or its owner wants no threads. unreached: a machine has one number
 * of processors. */
static uint32_t choose_fillers(const struct pmkv *kv, uint64_t entries)
{
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (entries < THREADS_FROM || kv->opts.no_background || cpus < 1)
        return 1;
    return cpus < THREADS_MOST ? (uint32_t)cpus : THREADS_MOST;
}

static void *filler_main(void *arg)
{
    struct filler *f = arg;
    struct fill *fill = f->fill;
    uint32_t number;
    while (atomic_load(&fill->rc) == 0 &&
           (number = atomic_fetch_add(&fill->next, 1)) < fill->tasks) {
        int rc = fill->task(f, number), none = 0;
        if (rc)
            atomic_compare_exchange_strong(&fill->rc, &none, rc);
    }
    return NULL;
}

/* Does tasks 0 .. count - 1. A thread that cannot be started is not missed: the opener takes what
 * is left. unreached: one that cannot, in a pool that is large enough. */
static int run_tasks(struct fill *fill, int (*task)(struct filler *f, uint32_t number),
                     uint32_t count)
{
    fill->task = task;
    fill->tasks = count;
    atomic_store(&fill->next, 0);
    for (uint32_t i = 1; i < fill->count; i++)
        fill->fillers[i].started =
            pthread_create(&fill->fillers[i].thread, NULL, filler_main, &fill->fillers[i]) == 0;
    filler_main(&fill->fillers[0]);
    for (uint32_t i = 1; i < fill->count; i++)
        if (fill->fillers[i].started)
            pthread_join(fill->fillers[i].thread, NULL);
    return atomic_load(&fill->rc);
}

/* The opener alone tells of progress. unreached: no test with threads asks for it. */
static int tell_progress(struct filler *f, uint32_t segment)
{
    const struct pmkv_options *o = &f->kv->opts;
    uint32_t segments = f->kv->vol.layout.segments;
    if (!o->progress || segment % 16 != 0 || !f->opener)
        return 0;
    return o->progress(o->progress_arg, "index", (uint64_t)f->fill->round * segments + segment,
                       (uint64_t)f->fill->partitions.rounds * segments)
               ? -ECANCELED
               : 0;
}

static int task_gather(struct filler *f, uint32_t segment)
{
    int rc = gather_segment(f, segment);
    return rc ? rc : tell_progress(f, segment);
}

static int merge_stream(struct filler *f, uint32_t stream)
{
    struct met_writer *writers[THREADS_MOST];
    for (uint32_t i = 0; i < f->fill->count; i++)
        writers[i] = &f->fill->fillers[i].met;
    return merge_partition(&f->merger, writers, f->fill->count, stream);
}

static int task_count(struct filler *f, uint32_t stream)
{
    int rc = merge_stream(f, stream);
    atomic_fetch_add(&f->fill->keys_counted, f->merger.key_count);
    return rc;
}

/* All partitions of this round that may share buckets. unreached: memory runs out. */
static int task_merge(struct filler *f, uint32_t group)
{
    const struct partitions *p = &f->fill->partitions;
    uint32_t groups = f->fill->groups;
    uint32_t stream = (group - p->from) & (groups - 1);
    int rc = 0;
    for (; stream < p->count && rc == 0; stream += groups) {
        rc = merge_stream(f, stream);
        if (rc == 0)
            rc = merge_enter(&f->merger);
    }
    return rc;
}

/* --- the pass --------------------------------------------------------------------------------- */

struct amount {
    uint64_t entries, bytes;
};

static struct amount amount_expected(const struct pmkv *kv)
{
    struct amount sum = {0};
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        const struct segment *s = &kv->segments[i];
        if (!kind_is_log(s->kind))
            continue;
        sum.entries += s->pending.count ? s->pending.count : s->records;
        sum.bytes += s->pending.used;
        for (uint32_t k = 0; k < s->part_count && !s->pending.count; k++)
            sum.bytes += s->parts[k].bytes;
    }
    sum.bytes += sum.entries * sizeof(struct met);
    return sum;
}

/* Makes the index as large as it will be, by how many keys a part of the partitions has. Where keys
 * are overwritten more often than the cleaner comes by, most entries are of older versions, and an
 * index with room for all would be as much larger for good. unreached: memory runs out. */
static int size_index(struct fill *fill, uint64_t entries)
{
    const struct partitions *p = &fill->partitions;
    uint64_t expected = entries;
    if (entries >= SAMPLE_FROM) {
        uint32_t some = p->count / SAMPLE_PART + SAMPLE_LEAST;
        some = some < p->count ? some : p->count;
        int rc = run_tasks(fill, task_count, some);
        if (rc)
            return rc;
        expected = (atomic_load(&fill->keys_counted) << p->bits) / some;
    }
    index_expect(fill->r->kv->index, expected);
    fill->groups = partitions_groups(p, index_level(fill->r->kv->index, 0));
    return 0;
}

/* unreached: memory runs out. */
static int run_round(struct fill *fill, uint64_t entries)
{
    struct pmkv *kv = fill->r->kv;
    for (uint32_t i = 0; i < fill->count; i++)
        met_writer_reset(&fill->fillers[i].met);
    partitions_round(&fill->partitions, fill->round);
    int rc = run_tasks(fill, task_gather, kv->vol.layout.segments);
    for (uint32_t i = 0; i < kv->vol.layout.segments && rc == 0; i++)
        if (fill->late[i])
            rc = gather_late(&fill->fillers[0], i);
    if (rc == 0 && fill->round == 0)
        rc = size_index(fill, entries);
    return rc ? rc : run_tasks(fill, task_merge, fill->groups);
}

/* unreached: memory runs out. */
static int fillers_init(struct fill *fill, uint64_t bytes)
{
    int rc = 0;
    for (uint32_t i = 0; i < fill->count && rc == 0; i++) {
        struct filler *f = &fill->fillers[i];
        *f = (struct filler){.kv = fill->r->kv, .fill = fill, .opener = i == 0};
        rc = met_writer_init(&f->met, &fill->partitions, bytes / fill->count);
        if (rc == 0)
            rc = merger_init(&f->merger, f->kv);
    }
    return rc;
}

/* unreached: one that was not begun, as memory ran out. */
static int fillers_end(struct fill *fill, int rc)
{
    for (uint32_t i = 0; i < fill->count; i++) {
        struct filler *f = &fill->fillers[i];
        int ended = f->kv ? merger_end(&f->merger, &fill->r->notes) : 0;
        rc = rc ? rc : ended;
        met_writer_free(&f->met);
        free(f->bytes);
    }
    return rc;
}

int replay_fill_index(struct replay *r)
{
    struct pmkv *kv = r->kv;
    struct amount all = amount_expected(kv);
    struct fill fill = {.r = r,
                        .count = choose_fillers(kv, all.entries),
                        .late = calloc(kv->vol.layout.segments, sizeof *fill.late)};
    if (!fill.late)
        return -ENOMEM;
    partitions_plan(&fill.partitions, kv->index, all.entries, all.bytes,
                    kv->vol.layout.pool_bytes / MEMORY_PART);
    int rc = fillers_init(&fill, all.bytes / fill.partitions.rounds);
    for (; fill.round < fill.partitions.rounds && rc == 0; fill.round++)
        rc = run_round(&fill, all.entries);
    rc = fillers_end(&fill, rc);
    free(fill.late);
    for (uint64_t i = index_slot_count(kv->index) / GROW_EACH; rc == 0 && i > 0; i--)
        index_grow_step(kv->index); /* where it was made too small after all */
    return rc;
}
