/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The histories: what a store lives through while power is cut at every instant. */
#include <stdio.h>
#include <stdlib.h>

#include "kv/clean.h"
#include "kv/lane.h"
#include "kv/meta.h"
#include "kv/open.h"
#include "prove.h"

static uint8_t value[EXPECT_MAX_BYTES];

static uint32_t below(struct run *r, uint64_t bound)
{
    return (uint32_t)test_rng_below(&r->rng, bound);
}

static uint32_t some_size(struct run *r, uint32_t most)
{
    return (uint32_t)test_rng_size(&r->rng, 0, most);
}

/* --- operations ------------------------------------------------------------------------------- */

static void unexpected(struct run *r, const char *what, enum pmkv_status s)
{
    prove_fail(r, FAIL_SICK, "%s: %s: %s (%s)", r->what, what, pmkv_status_name(s),
               pmkv_errormsg());
    longjmp(r->give_up, 1);
}

/* What stale pages will hold: the medium as it is now. */
static void remember(struct run *r)
{
    media_close(&r->old);
    if (sim_crash_image(r->media, sim_choose_none, NULL, &r->old))
        abort();
}

static enum pmkv_status try_put(struct run *r, uint32_t key, uint32_t bytes)
{
    size_t key_bytes;
    const char *name = expect_key(key, &key_bytes);
    if (!expect_put(&r->expect, key, bytes, value))
        longjmp(r->give_up, 1);
    enum pmkv_status s = pmkv_put(r->kv, name, key_bytes, value, bytes);
    expect_settle(&r->expect, s == PMKV_OK);
    if (below(r, 8) == 0)
        remember(r);
    return s;
}

static void put(struct run *r, uint32_t key, uint32_t bytes)
{
    enum pmkv_status s = try_put(r, key, bytes);
    if (s)
        unexpected(r, "put", s);
}

static void delete (struct run *r, uint32_t key)
{
    size_t key_bytes;
    const char *name = expect_key(key, &key_bytes);
    bool there = expect_has(r->expect.now[key]);
    if (!expect_delete(&r->expect, key))
        longjmp(r->give_up, 1);
    enum pmkv_status s = pmkv_delete(r->kv, name, key_bytes);
    expect_settle(&r->expect, s == PMKV_OK);
    if (s != PMKV_OK && (there || s != PMKV_E_NOT_FOUND))
        unexpected(r, "delete", s);
}

static uint64_t version_of(struct run *r, uint32_t key)
{
    size_t key_bytes, bytes;
    uint64_t version = PMKV_ABSENT;
    const char *name = expect_key(key, &key_bytes);
    enum pmkv_status s =
        pmkv_get_version(r->kv, name, key_bytes, value, sizeof value, &bytes, &version);
    if (s != PMKV_OK && s != PMKV_E_NOT_FOUND)
        unexpected(r, "get of a version", s);
    return version;
}

/* On another version than the key has, which changes nothing; then on the one it has. */
static void put_if(struct run *r, uint32_t key, uint32_t bytes)
{
    size_t key_bytes;
    const char *name = expect_key(key, &key_bytes);
    uint64_t version = version_of(r, key), other = version ? PMKV_ABSENT : 1;
    enum pmkv_status s = pmkv_put_if(r->kv, name, key_bytes, value, bytes, other, NULL);
    if (s != (version ? PMKV_E_EXISTS : PMKV_E_NOT_FOUND))
        unexpected(r, "put on another version", s);
    if (!expect_put(&r->expect, key, bytes, value))
        longjmp(r->give_up, 1);
    s = pmkv_put_if(r->kv, name, key_bytes, value, bytes, version, NULL);
    expect_settle(&r->expect, s == PMKV_OK);
    if (s)
        unexpected(r, "put on its version", s);
}

static void delete_if(struct run *r, uint32_t key)
{
    size_t key_bytes;
    const char *name = expect_key(key, &key_bytes);
    uint64_t version = version_of(r, key);
    enum pmkv_status s = pmkv_delete_if(r->kv, name, key_bytes, version + 1);
    if (s != (version ? PMKV_E_CONFLICT : PMKV_E_NOT_FOUND))
        unexpected(r, "delete on another version", s);
    if (version == PMKV_ABSENT)
        return;
    if (!expect_delete(&r->expect, key))
        longjmp(r->give_up, 1);
    s = pmkv_delete_if(r->kv, name, key_bytes, version);
    expect_settle(&r->expect, s == PMKV_OK);
    if (s)
        unexpected(r, "delete on its version", s);
}

/* Puts keys from `first` on, of `least` bytes or more, and deletes those behind them, as one. */
static void batch_of(struct run *r, uint32_t first, uint32_t puts, uint32_t deletes, uint32_t least,
                     uint32_t most)
{
    struct pmkv_batch *b;
    size_t key_bytes;
    if (pmkv_batch_new(&b))
        abort();
    for (uint32_t i = first; i < first + puts + deletes; i++) {
        const char *name = expect_key(i % EXPECT_KEYS, &key_bytes);
        if (i >= first + puts) {
            if (!expect_delete(&r->expect, i % EXPECT_KEYS))
                longjmp(r->give_up, 1);
            pmkv_batch_delete(b, name, key_bytes);
            continue;
        }
        uint32_t bytes = least + some_size(r, most - least);
        if (!expect_put(&r->expect, i % EXPECT_KEYS, bytes, value))
            longjmp(r->give_up, 1);
        pmkv_batch_put(b, name, key_bytes, value, bytes);
    }
    enum pmkv_status s = pmkv_write(r->kv, b);
    pmkv_batch_free(&b);
    expect_settle(&r->expect, s == PMKV_OK);
    if (s)
        unexpected(r, "batch", s);
}

static void batch(struct run *r, uint32_t first, uint32_t puts, uint32_t deletes, uint32_t most)
{
    batch_of(r, first, puts, deletes, 0, most);
}

/* The close frees the medium, so what it leaves is taken at its last drain. */
static void reopen(struct run *r)
{
    struct pmkv *kv = r->kv;
    struct pmkv_options o = setting_options(r->setting);
    r->what = "clean close";
    note_places(r);
    r->kv = NULL;
    r->keep_last = true;
    enum pmkv_status s = pmkv_close(&kv);
    r->keep_last = false;
    r->media = r->last;
    r->last = NULL;
    if (s)
        unexpected(r, "close", s);
    r->what = "open after a clean close";
    sim_set_drain_hook(r->media, instant_hook, r);
    s = store_open(r->media, &o, &kv);
    if (s) {
        r->media = NULL;
        unexpected(r, "open", s);
    }
    r->kv = kv;
    r->expect.operations++;
}

/* The power goes, and the history goes on with what is recovered. */
static void crash(struct run *r)
{
    struct pmkv_options o = setting_options(r->setting);
    struct media *image;
    remember(r);
    if (sim_crash_image(r->media, sim_choose_none, NULL, &image))
        abort();
    note_places(r);
    store_abandon(&r->kv);
    r->media = image;
    r->what = "open after a crash";
    sim_set_drain_hook(image, instant_hook, r);
    struct pmkv *kv = NULL;
    enum pmkv_status s = store_open(image, &o, &kv);
    if (s) {
        r->media = NULL;
        unexpected(r, "open", s);
    }
    r->kv = kv;
    r->expect.operations++;
}

/* Writes, unwatched, until the lane has gone on to so many other segments. */
static void fill_segments(struct run *r, uint32_t segments, uint32_t keys)
{
    bool armed = r->armed;
    int64_t at = r->kv->lanes[0].segment;
    r->armed = false;
    for (uint32_t i = 0; segments > 0; i++) {
        put(r, i % keys, 3000 + i % 7 * 500);
        segments -= at != r->kv->lanes[0].segment;
        at = r->kv->lanes[0].segment;
    }
    r->armed = armed;
}

static uint32_t some_closed_segment(struct run *r)
{
    uint32_t segment = 0;
    while (segment + 1 < r->layout.segments &&
           (!kind_is_log(r->kv->segments[segment].kind) ||
            r->kv->lanes[0].segment == (int64_t)segment || !r->kv->segments[segment].rows_used))
        segment++;
    return segment;
}

/* --- writing ---------------------------------------------------------------------------------- */

static void play_small(struct run *r)
{
    r->what = "small puts";
    for (uint32_t i = 0; i < 8; i++)
        put(r, below(r, EXPECT_KEYS), some_size(r, 300));
    r->what = "overwrites and deletes";
    for (uint32_t i = 0; i < 4; i++) {
        put(r, below(r, 8), some_size(r, 1500));
        delete (r, below(r, EXPECT_KEYS));
    }
    r->what = "on conditions";
    for (uint32_t i = 0; i < 3; i++) {
        put_if(r, below(r, 8), some_size(r, 1500));
        delete_if(r, below(r, 8));
    }
}

static void play_batches(struct run *r)
{
    r->what = "a batch within a row";
    batch(r, below(r, EXPECT_KEYS), 2 + below(r, 3), below(r, 2), 60);
    batch(r, below(r, EXPECT_KEYS), 1 + below(r, 6), below(r, 3), 700);
    r->what = "a batch over several rows";
    batch_of(r, below(r, EXPECT_KEYS), 12, 3, 5000, 7000);
    r->what = "batches after it";
    batch(r, below(r, EXPECT_KEYS), 3, below(r, 4), 50);
    put(r, below(r, EXPECT_KEYS), 20);
    batch(r, below(r, EXPECT_KEYS), 1, 2, 20);
}

static void play_long(struct run *r)
{
    r->what = "long values";
    put(r, 0, 9000 + below(r, 30000));
    put(r, 1, 60000 + below(r, 60000));
    put(r, 2, 10);
    r->what = "long values replaced";
    put(r, 1, below(r, 2) ? 10 : 20000);
    delete (r, 0);
    r->what = "long values in a batch";
    batch(r, 3, 3, 1, 20000);
    r->what = "long values on conditions";
    put_if(r, 2, 9000 + below(r, 20000));
    put_if(r, 0, 20000);
}

static void play_rows(struct run *r)
{
    uint32_t rows = 0, row = r->kv->lanes[0].rows[r->kv->lanes[0].current].row;
    r->what = "rows fill up";
    while (rows < 3) {
        put(r, below(r, EXPECT_KEYS), some_size(r, 7000));
        const struct row_buf *buf = &r->kv->lanes[0].rows[r->kv->lanes[0].current];
        rows += buf->row != row;
        row = buf->row;
    }
}

static void play_seal(struct run *r)
{
    uint32_t row;
    r->what = "the last row of a segment fills up";
    put(r, 0, 10);
    r->armed = false;
    do {
        put(r, below(r, EXPECT_KEYS), 4000);
        row = r->kv->lanes[0].rows[r->kv->lanes[0].current].row;
    } while (row + 1 < r->layout.segment_rows);
    r->armed = true;
    int64_t segment = r->kv->lanes[0].segment;
    while (r->kv->lanes[0].segment == segment)
        put(r, below(r, EXPECT_KEYS), 1000 + some_size(r, 6000));
    r->what = "a segment is sealed";
    seal_waiting(r->kv);
    put(r, below(r, EXPECT_KEYS), 10);
    delete (r, below(r, EXPECT_KEYS));
}

/* --- cleaning, a full pool -------------------------------------------------------------------- */

/* The lane takes a segment again that was freed: what stood there before is still there. */
static void use_again(struct run *r)
{
    uint64_t used = 0;
    r->armed = false;
    for (uint32_t i = 0; i < 2 * r->layout.segments; i++) {
        int64_t segment = r->kv->lanes[0].segment;
        if (segment >= 0 && used >> segment & 1)
            break;
        used |= segment >= 0 ? 1ull << segment : 0;
        fill_segments(r, 1, 10);
    }
    r->armed = true;
    r->what = "in a segment that was freed";
    for (uint32_t i = 0; i < 4; i++)
        put(r, below(r, 10), some_size(r, 3000));
    delete (r, below(r, 10));
}

static void play_clean(struct run *r)
{
    r->armed = false;
    for (uint32_t i = 16; i < EXPECT_KEYS; i++)
        put(r, i, some_size(r, 400));
    batch(r, 12, 4, 0, 500);
    put(r, 11, 20000);
    for (uint32_t i = 0; i < 8; i++) {
        fill_segments(r, 1, 10);
        delete (r, i);
    }
    remember(r);
    r->armed = true;
    r->what = "cleaning";
    uint64_t before = atomic_load(&r->kv->n.segments_cleaned);
    for (uint32_t i = 0; i < 6 && atomic_load(&r->kv->n.segments_cleaned) == before; i++) {
        fill_segments(r, 1, 10);
        seal_waiting(r->kv);
        clean_round(r->kv);
    }
    r->what = "after cleaning";
    put(r, below(r, EXPECT_KEYS), some_size(r, 500));
    use_again(r);
}

static void play_full(struct run *r)
{
    enum pmkv_status s = PMKV_OK;
    uint32_t key = 0;
    r->armed = false;
    for (uint32_t i = 0; i < 200 && s == PMKV_OK; i++) {
        key = i % EXPECT_KEYS;
        s = try_put(r, key, 100000 + below(r, 90000));
    }
    if (s != PMKV_E_FULL)
        unexpected(r, "filling the pool", s);
    r->armed = true;
    r->what = "a full pool";
    for (uint32_t i = 0; i < 2; i++) {
        s = try_put(r, (key + i) % EXPECT_KEYS, 120000);
        if (s && s != PMKV_E_FULL)
            unexpected(r, "put", s);
    }
    r->what = "deletes in a full pool";
    delete (r, (key + 3) % EXPECT_KEYS);
    delete (r, (key + 4) % EXPECT_KEYS);
    s = try_put(r, (key + 3) % EXPECT_KEYS, 1000);
    if (s && s != PMKV_E_FULL)
        unexpected(r, "put", s);
}

/* --- creation, closes, crashes ---------------------------------------------------------------- */

static void play_create(struct run *r)
{
    put(r, 0, 10);
}

static void play_reopen(struct run *r)
{
    r->what = "an open row";
    for (uint32_t i = 0; i < 3; i++)
        put(r, below(r, EXPECT_KEYS), some_size(r, 2000));
    reopen(r);
    r->what = "a resumed row";
    put(r, below(r, EXPECT_KEYS), some_size(r, 3000));
    batch(r, below(r, EXPECT_KEYS), 2, 1, 100);
    if (below(r, 2))
        reopen(r);
    reopen(r);
    r->what = "a row resumed twice";
    put(r, below(r, EXPECT_KEYS), 6000);
    delete (r, below(r, EXPECT_KEYS));
}

static void play_crashes(struct run *r)
{
    for (uint32_t i = 0; i < 3; i++) {
        r->what = "between crashes";
        put(r, below(r, EXPECT_KEYS), some_size(r, 3000));
        batch(r, below(r, EXPECT_KEYS), 2, 1, 800);
        if (i == 1)
            fill_segments(r, 1, EXPECT_KEYS);
        crash(r);
    }
    r->what = "after crashes";
    put(r, below(r, EXPECT_KEYS), 100);
}

/* --- damage ----------------------------------------------------------------------------------- */

static void read_all(struct run *r)
{
    struct verdict v;
    expect_judge(&r->expect, r->kv, EXPECT_ALL, &v);
    if (v.text[0])
        prove_fail(r, v.is_wrong ? FAIL_WRONG : FAIL_LOST, "%s: read: %s", r->what, v.text);
}

static void heal(struct run *r, uint64_t off)
{
    uint64_t left = 0;
    r->ill = true;
    sim_poison(r->media, off, PAGE_BYTES);
    read_all(r);
    if (below(r, 2))
        pmkv_scrub_start(r->kv, 0);
    else
        put(r, below(r, EXPECT_KEYS), 300);
    enum pmkv_status s = pmkv_scrub_start(r->kv, 0);
    if (s == PMKV_OK)
        s = pmkv_repair(r->kv, &left);
    if (s || left || sim_is_poisoned(r->media, off))
        unexpected(r, "repair", s);
    r->ill = false;
    r->expect.operations++;
}

static void play_repair(struct run *r)
{
    const struct layout *l = &r->layout;
    fill_segments(r, 1, EXPECT_KEYS);
    put(r, 5, 100);
    if (l->parity_columns == 0)
        return; /* repairs nothing */
    sim_set_clear_leaves(r->media, below(r, 2) ? SIM_CLEAR_GARBAGE : SIM_CLEAR_ZEROS);
    uint32_t open = (uint32_t)r->kv->lanes[0].segment, full = some_closed_segment(r);
    r->what = "repair of a closed row";
    heal(r, layout_data_page_off(l, full, below(r, l->segment_rows), below(r, l->row_pages)));
    r->what = "repair of parity";
    heal(r, layout_chunk_page_off(l, full, 1, l->columns - 1, below(r, l->chunk_pages)));
    r->what = "repair of an open row";
    heal(r, layout_data_page_off(l, open, 0, 0));
    const struct row_buf *buf = &r->kv->lanes[0].rows[r->kv->lanes[0].current];
    if (buf->twin_off[0]) {
        r->what = "repair of a twin";
        heal(r, buf->twin_off[0]);
    }
    r->what = "repair of a header";
    heal(r, layout_slice_off(l, full, below(r, l->columns)));
    r->what = "repair of a superblock copy";
    heal(r, l->superblock_off[below(r, SUPERBLOCK_COPIES)]);
    r->what = "repair of the table";
    heal(r, l->table_off[below(r, TABLE_COPIES)]);
}

/* A page that cannot be cleared: its row is retired and the cleaner moves what lives there. */
static void play_retire(struct run *r)
{
    const struct layout *l = &r->layout;
    uint64_t left = 0;
    fill_segments(r, 2, EXPECT_KEYS);
    seal_waiting(r->kv);
    if (l->parity_columns == 0)
        return;
    uint32_t full = some_closed_segment(r);
    uint64_t off = layout_data_page_off(l, full, below(r, l->segment_rows), below(r, l->row_pages));
    r->ill = true;
    r->what = "a page that cannot be cleared";
    media_inject_clear_fails(r->media, off);
    sim_poison(r->media, off, PAGE_BYTES);
    read_all(r);
    if (pmkv_scrub_start(r->kv, 0) || pmkv_repair(r->kv, &left))
        unexpected(r, "scrub", PMKV_E_BUG);
    r->what = "a retired row is emptied";
    clean_round(r->kv);
    read_all(r);
    put(r, below(r, EXPECT_KEYS), 200);
}

static void play_scrub(struct run *r)
{
    struct pmkv_scan scan;
    fill_segments(r, 1, EXPECT_KEYS);
    put(r, 1, 20);
    r->what = "scrub";
    if (pmkv_scrub_start(r->kv, 0) || pmkv_check(r->kv, &scan, NULL, NULL))
        unexpected(r, "scrub", PMKV_E_BUG);
    put(r, 2, 20);
}

/* --- anything --------------------------------------------------------------------------------- */

static void play_random(struct run *r)
{
    static const uint32_t most[] = {60, 500, 3000, 9000, 40000};
    for (uint32_t i = 0; i < 24; i++) {
        r->what = "anything";
        uint32_t dice = below(r, 40);
        if (dice < 20)
            put(r, below(r, EXPECT_KEYS), some_size(r, most[below(r, 5)]));
        else if (dice < 26)
            delete (r, below(r, EXPECT_KEYS));
        else if (dice < 33)
            batch(r, below(r, EXPECT_KEYS), below(r, 8), 1 + below(r, 4), most[below(r, 4)]);
        else if (dice < 35)
            reopen(r);
        else if (dice < 37)
            crash(r);
        else if (dice < 38)
            fill_segments(r, 1, EXPECT_KEYS);
        else if (dice < 39)
            seal_waiting(r->kv);
        else
            clean_round(r->kv);
    }
}

const struct workload workloads[] = {
    {"small", play_small, false},      {"batches", play_batches, false},
    {"long values", play_long, false}, {"rows", play_rows, false},
    {"seal", play_seal, false},        {"clean", play_clean, false},
    {"full pool", play_full, false},   {"creation", play_create, true},
    {"reopen", play_reopen, false},    {"crashes", play_crashes, false},
    {"repair", play_repair, false},    {"retire", play_retire, false},
    {"scrub", play_scrub, false},      {"random", play_random, false},
    {"random", play_random, false},
};
const unsigned workload_count = sizeof workloads / sizeof *workloads;
