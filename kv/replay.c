/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "replay.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../recovery/errmsg.h"
#include "../recovery/media.h"
#include "damage.h"
#include "lane.h"
#include "lost.h"
#include "meta.h"
#include "read.h"
#include "repair.h"
#include "segment.h"
#include "space.h"
#include "super.h"

/* --- pass: segments --------------------------------------------------------------------------- */

static void read_all_headers(struct pmkv *kv)
{
    struct warm warm;
    warm_begin(&warm, kv, WARM_HEADERS);
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        atomic_store_explicit(&warm.reached, i, memory_order_relaxed);
        segment_read_headers(kv, i);
    }
    warm_end(&warm);
}

/* The table when the pool was closed cleanly, else (and wherever the table does not hold) the
 * headers. */
static int pass_segments(struct replay *r)
{
    struct pmkv *kv = r->kv;
    uint32_t segments = kv->vol.layout.segments, valid = 0;
    struct segment_header *table = calloc(segments, sizeof *table);
    if (!table)
        return -ENOMEM;
    if (r->clean && kv->super.table_version) /* unreached: every close gives it a version */
        valid = table_read(kv, table);
    r->clean = r->clean && valid == segments;
    for (uint32_t i = 0; i < segments && r->clean; i++)
        segment_adopt(kv, &table[i]);
    if (!r->clean)
        read_all_headers(kv);
    free(table);
    return 0;
}

/* --- pass: rows ------------------------------------------------------------------------------- */

static bool is_open(const struct segment *s)
{
    return atomic_load(&s->state) == SEGMENT_OPEN && s->kind != KIND_TWIN;
}

/* Rows of the segments that lanes were writing. Before anything is stored the superblock says that
 * the pool is in use, and numbers below the old ceiling are never given out again (I3). */
static int pass_rows(struct replay *r)
{
    struct pmkv *kv = r->kv;
    if (r->clean) {
        for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
            if (is_open(&kv->segments[i]))
                atomic_store(&kv->segments[i].rows_durable, kv->segments[i].rows_used);
        return 0;
    }
    int rc = replay_find_twins(r);
    for (uint32_t i = 0; i < kv->vol.layout.segments && rc == 0; i++)
        if (is_open(&kv->segments[i]))
            rc = replay_segment_rows(r, i);
    return rc;
}

/* --- pass: tails ------------------------------------------------------------------------------ */

static struct lane *lane_for_tail(struct pmkv *kv, const struct lane_tail *t)
{
    /* unreached: of each kind there is a lane, and a close writes one tail for it. */
    for (struct lane *lane = kv->cleaner; t->kind != LANE_USER && lane <= kv->meta; lane++)
        if (lane->kind == t->kind)
            return lane->segment < 0 ? lane : NULL;
    for (uint32_t i = 0; i < kv->lane_count; i++)
        if (kv->lanes[i].segment < 0)
            return &kv->lanes[i];
    return NULL;
}

/* Gives a recovered or resumed row to readers, or completes it at once when no lane goes on with
 * it. */
static int adopt_tail_row(struct replay *r, struct lane *lane, const struct lane_tail *t)
{
    struct pmkv *kv = r->kv;
    struct row_buf buf;
    int rc = row_buf_alloc(kv, &buf);
    if (rc)
        return rc;
    if (!replay_tail(r, t->segment, t->row, t->lines_used * LINE_BYTES, &buf)) {
        row_buf_free(&buf);
        return -EAGAIN;
    }
    if (kv->opts.read_only || !lane) {
        struct lane whole = {.whole_rows = true};
        rc = kv->opts.read_only ? replay_keep_ghost(r, &buf) : row_close_store(kv, &whole, &buf);
        if (rc == 0 && !kv->opts.read_only)
            rc = media_drain(kv->vol.media);
        row_buf_free(&buf); /* of a ghost that was kept it has nothing any more */
        return rc;
    }
    struct row_buf *to = &lane->rows[lane->current];
    for (uint32_t i = 0; i < MAX_PARITY; i++)
        buf.twin_off[i] = to->twin_off[i];
    row_buf_free(to);
    *to = buf;
    return 0;
}

/* unreached: the tails in a superblock whose check holds are of a close, and of segments and rows
 * as the table has them that went before it. */
static bool tail_valid(const struct pmkv *kv, const struct lane_tail *t)
{
    const struct layout *l = &kv->vol.layout;
    return t->segment < l->segments && t->row <= l->segment_rows && t->kind < LANE_KINDS &&
           t->lines_used * LINE_BYTES <= row_payload(kv) && is_open(&kv->segments[t->segment]) &&
           atomic_load(&kv->segments[t->segment].generation) == t->generation;
}

/* The segment's rows from this tail on were not what the close said: as after a crash. */
static int recover_tail(struct replay *r, const struct lane_tail *t)
{
    int rc = r->twin_count ? 0 : replay_find_twins(r);
    return rc ? rc : replay_segment_rows(r, t->segment);
}

/* I1: after a clean close a lane resumes at its tail. */
static int pass_tails(struct replay *r)
{
    struct pmkv *kv = r->kv;
    int rc = 0;
    for (uint32_t i = 0; r->clean && i < kv->tail_count && rc == 0; i++) {
        const struct lane_tail *t = &kv->tails[i];
        /* unreached: as in tail_valid. */
        if (!tail_valid(kv, t))
            continue;
        struct segment *s = &kv->segments[t->segment];
        struct lane *lane = lane_for_tail(kv, t);
        atomic_store(&s->rows_durable, t->row);
        rc = t->lines_used ? adopt_tail_row(r, lane, t) : 0;
        if (rc == -EAGAIN) {
            rc = recover_tail(r, t);
            continue;
        }
        if (!lane || kv->opts.read_only) {
            atomic_store(&s->rows_durable, t->row + (t->lines_used && !kv->opts.read_only));
            continue;
        }
        lane->segment = t->segment;
        lane->next_row = t->row + (t->lines_used != 0);
    }
    return rc;
}

/* --- pass: own records ------------------------------------------------------------------------ */

struct own {
    struct replay *r;
    uint32_t segment;
    uint64_t scan_seq;
    struct snapshot_found *snapshots; /* of the lost list */
    uint32_t snapshot_count;
};

static struct log_pos entry_pos(const struct pmkv *kv, uint32_t segment, const struct entry *e)
{
    struct row_place place = {segment, (uint32_t)(e->start / row_payload(kv)),
                              (uint32_t)(e->start % row_payload(kv))};
    return pos_make(&kv->shape, place);
}

/* A snapshot of the lost list, of which some parts were found. */
struct snapshot_found {
    uint64_t version;
    struct meta_ref *parts;
    uint32_t count, seen;
};

static struct snapshot_found *snapshot_of(struct own *o, const struct meta_key *key)
{
    for (uint32_t i = 0; i < o->snapshot_count; i++)
        if (o->snapshots[i].version == key->generation)
            return &o->snapshots[i];
    struct snapshot_found *list =
        realloc(o->snapshots, (o->snapshot_count + 1) * sizeof *o->snapshots);
    struct meta_ref *parts = list ? calloc(key->parts, sizeof *parts) : NULL;
    if (list)
        o->snapshots = list;
    if (!parts)
        return NULL;
    list[o->snapshot_count] = (struct snapshot_found){key->generation, parts, key->parts, 0};
    return &list[o->snapshot_count++];
}

/* unreached: a key whose record holds was made by snapshot_write (lost.c): its parts are numbered
 * from 0, all of a version say alike how many they are, and a copy of one has its number. */
static int note_lost_part(struct own *o, const struct meta_key *key, struct meta_ref ref)
{
    if (key->parts == 0 || key->part >= key->parts || key->parts > 65536)
        return 0;
    struct snapshot_found *s = snapshot_of(o, key);
    if (!s)
        return -ENOMEM;
    if (key->part >= s->count)
        return 0;
    s->seen += s->parts[key->part].pos.v == 0;
    if (s->parts[key->part].seq <= ref.seq)
        s->parts[key->part] = ref;
    return 0;
}

/* The highest complete version counts: a crash may have cut the one after it. */
static void choose_snapshot(struct own *o)
{
    struct pmkv *kv = o->r->kv;
    for (uint32_t i = 0; i < o->snapshot_count; i++) {
        struct snapshot_found *s = &o->snapshots[i];
        if (s->seen == s->count && s->version > kv->lost_version) {
            free(kv->lost_parts);
            kv->lost_parts = s->parts;
            kv->lost_part_count = s->count;
            kv->lost_version = s->version;
        } else {
            free(s->parts);
        }
    }
    free(o->snapshots);
}

/* The state of the scrub: the record with the highest number. */
static void note_scan(struct own *o, const struct entry *e, struct meta_ref ref)
{
    struct pmkv *kv = o->r->kv;
    /* unreached: a record that holds has the size this code gave it. */
    if (e->value_bytes == sizeof kv->scan && e->seq >= o->scan_seq) {
        o->scan_seq = e->seq;
        kv->scan_pos = ref.pos;
    }
}

static int own_record(void *arg, const struct entry *e)
{
    struct own *o = arg;
    struct pmkv *kv = o->r->kv;
    struct meta_key key;
    /* unreached: of a segment of the store's own every record that holds is one of these. */
    if (e->type != RECORD_META || e->key_bytes != sizeof key)
        return 0;
    memcpy(&key, e->key, sizeof key);
    struct meta_ref ref = {entry_pos(kv, o->segment, e), e->value_bytes, e->seq};
    switch (key.kind) { /* unreached: the kinds this code writes are all there are */
    case META_SUMMARY: {
        /* unreached: a summary whose record holds names a segment and a part of this pool. */
        bool current = key.segment < kv->vol.layout.segments && key.part < 65536 &&
                       atomic_load(&kv->segments[key.segment].generation) == key.generation;
        return current ? summary_note_part(kv, &key, ref) : 0;
    }
    case META_LOST:
        return note_lost_part(o, &key, ref);
    case META_SCAN:
        note_scan(o, e, ref);
        return 0;
    default:
        return 0;
    }
}

static int scan_own_segment(struct own *o, uint32_t segment)
{
    struct entries list = {0};
    o->segment = segment;
    int rc = segment_scan(o->r->kv, segment, &list);
    struct entries_reader readers[2] = {{.bytes = list.bytes, .used = list.used},
                                        {.bytes = o->r->kv->segments[segment].pending.bytes,
                                         .used = o->r->kv->segments[segment].pending.used}};
    for (int i = 0; i < 2 && rc == 0; i++) {
        struct entry e;
        while (rc == 0 && entries_next(&readers[i], &e) == 1)
            rc = own_record(o, &e);
    }
    entries_free(&list);
    return rc;
}

static int scan_own_segments(struct own *o)
{
    struct pmkv *kv = o->r->kv;
    struct warm warm;
    int rc = 0;
    warm_begin(&warm, kv, WARM_OWN);
    for (uint32_t i = 0; i < kv->vol.layout.segments && rc == 0; i++) {
        atomic_store_explicit(&warm.reached, i, memory_order_relaxed);
        if (kv->segments[i].kind == KIND_META)
            rc = scan_own_segment(o, i);
    }
    warm_end(&warm);
    return rc;
}

static int read_own_value(struct pmkv *kv, struct log_pos pos, uint8_t **record,
                          const uint8_t **value, uint32_t *bytes)
{
    struct record_header h;
    if (pos.v == 0 || read_record(kv, pos, pos_generation(kv, pos), record) != FIND_HIT)
        return -EIO;
    memcpy(&h, *record, sizeof h);
    *value = *record + sizeof h + h.key_bytes;
    *bytes = h.value_bytes;
    return 0;
}

static int load_lost(struct pmkv *kv)
{
    int rc = 0;
    /* unreached: memory runs out with parts to come. */
    for (uint32_t i = 0; i < kv->lost_part_count && rc == 0; i++) {
        uint8_t *record;
        const uint8_t *value;
        uint32_t bytes;
        if (read_own_value(kv, kv->lost_parts[i].pos, &record, &value, &bytes))
            continue; /* the list itself was hit: what it named is found again when it is read */
        rc = lost_load_part(kv, value, bytes);
        free(record);
    }
    return rc;
}

static void load_scan(struct pmkv *kv)
{
    uint8_t *record;
    const uint8_t *value;
    uint32_t bytes;
    if (read_own_value(kv, kv->scan_pos, &record, &value, &bytes))
        return;
    if (bytes == sizeof kv->scan) /* unreached: note_scan has asked */
        memcpy(&kv->scan, value, sizeof kv->scan);
    if (kv->scan.state == PMKV_SCAN_RUNNING)
        kv->scan.state = PMKV_SCAN_STOPPED; /* cut by a crash: the next one goes on there */
    /* unreached: a record that holds has a state this code gave it. */
    if (kv->scan.state > PMKV_SCAN_STOPPED)
        kv->scan = (struct scan_record){0};
    free(record);
}

static void count_own(struct pmkv *kv, struct meta_ref ref)
{
    if (ref.pos.v)
        live_add(kv, pos_place(&kv->shape, ref.pos).segment,
                 (int64_t)units_of(record_packed(sizeof(struct meta_key), ref.bytes)));
}

static int pass_own_records(struct replay *r)
{
    struct pmkv *kv = r->kv;
    struct own o = {.r = r};
    uint32_t found_by_recovery = kv->lost_count;
    int rc = scan_own_segments(&o);
    choose_snapshot(&o);
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        if (kv->segments[i].kind == KIND_META)
            entries_clear(&kv->segments[i].pending);
        for (uint32_t p = 0; p < kv->segments[i].part_count; p++)
            count_own(kv, kv->segments[i].parts[p]);
    }
    for (uint32_t i = 0; i < kv->lost_part_count; i++)
        count_own(kv, kv->lost_parts[i]);
    count_own(kv, (struct meta_ref){kv->scan_pos, sizeof kv->scan, 0});
    load_scan(kv);
    /* Entries that recovery found get numbers behind those of the list. */
    struct lost_entry **fresh = kv->lost;
    kv->lost = NULL;
    kv->lost_count = kv->lost_capacity = 0;
    kv->lost_next_id = 0;
    if (rc == 0)
        rc = load_lost(kv);
    for (uint32_t i = 0; i < found_by_recovery; i++) {
        if (rc == 0)
            rc = lost_append(kv, fresh[i]);
        else
            free(fresh[i]);
    }
    free(fresh);
    return rc;
}

/* --- passes: index, long values, lost --------------------------------------------------------- */

static int pass_index(struct replay *r)
{
    return replay_fill_index(r);
}

static int pass_long_values(struct replay *r)
{
    return replay_drop_orphans(r);
}

static int pass_lost(struct replay *r)
{
    int rc = replay_apply_lost(r);
    replay_drop_tombstones(r);
    return rc;
}

/* --- pass: bad ranges ------------------------------------------------------------------------- */

static int pass_bad_ranges(struct replay *r)
{
    repair_collect_listed(r->kv);
    return 0;
}

/* --- pass: settle ----------------------------------------------------------------------------- */

/* Segments no lane goes on with: empty ones are freed, others sealed (their summary follows). */
static int settle_segment(struct replay *r, uint32_t i)
{
    struct pmkv *kv = r->kv;
    struct segment *s = &kv->segments[i];
    if (!is_open(s))
        return 0;
    for (uint32_t k = 0; k < kv->lane_total; k++)
        if (kv->lanes[k].segment == i)
            return 0;
    if (s->rows_used == 0 && !kv->opts.read_only)
        return segment_end(kv, i);
    s->sealed_seq = atomic_load(&kv->counter);
    s->summarised = false;
    atomic_store(&s->state, SEGMENT_SEALED);
    return 0;
}

/* What a crash may have cut in the middle of its copies is whole again: the table, which was being
 * written if the crash met the close, headers and the superblock. */
static int refresh_copies(struct replay *r)
{
    struct pmkv *kv = r->kv;
    int rc = 0;
    if (!r->clean) {
        uint64_t version = counter_next(kv, 1);
        kv->super.table_version = version;
        rc = version ? table_write(kv) : -EIO; /* unreached: an open has numbers enough */
    }
    repair_behind(kv);
    return rc;
}

/* What was lost is durable. Segments whose header was may be taken again, and get one that says
 * that they are free. The rows of those that no lane goes on with were recovered, and all of them
 * are closed now: the headers say so (I10). */
static int note_recovered(struct pmkv *kv)
{
    int rc = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        struct segment *s = &kv->segments[i];
        /* unreached: what is passed over is free; one that is taken is not passed over any more. */
        if (s->passed_over && atomic_load(&s->state) == SEGMENT_FREE)
            s->passed_over = segment_write_headers(kv, i) != 0;
    }
    for (uint32_t i = 0; i < kv->vol.layout.segments && rc == 0; i++)
        if (atomic_load(&kv->segments[i].state) == SEGMENT_SEALED && !kv->segments[i].summarised)
            rc = segment_note_closed(kv, i);
    return rc;
}

static int pass_settle(struct replay *r)
{
    struct pmkv *kv = r->kv;
    int rc = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments && rc == 0; i++)
        rc = settle_segment(r, i);
    if (rc == 0 && !kv->opts.read_only)
        rc = lanes_assign_twins(kv);
    space_init(kv);
    for (uint32_t k = 0; k < kv->lane_total && rc == 0 && !kv->opts.read_only; k++)
        rc = lane_resume_row(kv, &kv->lanes[k]);
    if (rc == 0 && !kv->opts.read_only)
        rc = lost_save(kv);
    if (rc == 0)
        rc = replay_complete_damaged(r);
    if (rc == 0 && !kv->opts.read_only)
        rc = note_recovered(kv);
    return rc || kv->opts.read_only ? rc : refresh_copies(r);
}

/* --- the table -------------------------------------------------------------------------------- */

static const struct pass {
    const char *name;
    int (*run)(struct replay *r);
} passes[] = {
    {"segments", pass_segments},       /* states and generations */
    {"rows", pass_rows},               /* complete what a crash left open (I1) */
    {"tails", pass_tails},             /* or take up what a clean close left */
    {"own records", pass_own_records}, /* summaries, lost list, scan state */
    {"index", pass_index},             /* from summaries, else from records */
    {"long values", pass_long_values}, /* pieces without a manifest go */
    {"lost", pass_lost},               /* lost marks; tombstones nothing needs go */
    {"bad ranges", pass_bad_ranges},   /* what the kernel knows, for repair */
    {"settle", pass_settle},           /* segments, twins, lanes; losses become durable */
};

static int replay_buffers(struct replay *r)
{
    r->payload = malloc(row_payload(r->kv));
    r->candidate = malloc(row_payload(r->kv));
    r->merged = malloc(row_payload(r->kv));
    int rc = row_image_init(&r->image, &r->kv->vol.layout);
    return rc == 0 && r->payload && r->candidate && r->merged ? 0 : -ENOMEM;
}

static void replay_free(struct replay *r)
{
    free(r->payload);
    free(r->candidate);
    free(r->merged);
    free(r->twins);
    notes_free(&r->notes);
    row_image_free(&r->image);
}

int replay_run(struct pmkv *kv, bool clean)
{
    struct replay r = {.kv = kv, .clean = clean};
    int rc = replay_buffers(&r);
    for (size_t i = 0; i < sizeof passes / sizeof *passes && rc == 0; i++) {
        if (kv->opts.progress && kv->opts.progress(kv->opts.progress_arg, passes[i].name, 0, 0))
            rc = -ECANCELED;
        else
            rc = passes[i].run(&r);
        if (rc)
            err_phrase(rc, "recovery pass \"%s\"", passes[i].name);
    }
    kv->recovered = !r.clean;
    replay_free(&r);
    return rc;
}
