/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The operations of scripts, and the store they work on. */
#include <criterion/criterion.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crash/place.h"
#include "explore.h"
#include "kv/index_impl.h"
#include "kv/open.h"
#include "kv/repair.h"
#include "sched.h"
#include "support/value.h"

enum { FILLER_VERSION = 77, WORLD_VALUE_BYTES = 32 << 10 };

void world_fail(const char *format, ...)
{
    char text[700];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (sched_is_running())
        sched_fail("%s", text);
    cr_assert_fail("%s", text);
}

static void expect_ok(enum pmkv_status s, const char *what, uint32_t key)
{
    if (s != PMKV_OK)
        world_fail("%s of key %u: %s (%s)", what, key, pmkv_status_name(s), pmkv_errormsg());
}

/* --- the store -------------------------------------------------------------------------------- */

struct pmkv_options world_options(const struct world *w)
{
    struct pmkv_options o = crash_options(PMKV_PARITY);
    o.lanes = w->script->lanes;
    o.no_background = !w->script->background;
    return o;
}

static void count_damage(void *arg, const struct pmkv_event *event)
{
    struct world *w = arg;
    w->damage += event->kind == PMKV_EVENT_MEDIA_ERROR || event->kind == PMKV_EVENT_LOST ||
                 event->kind == PMKV_EVENT_RETIRED;
}

void world_open(struct world *w)
{
    struct pmkv_options o = world_options(w);
    sched_quiet(true);
    w->media->drain_is_slow = w->script->slow_drain;
    enum pmkv_status s = store_open(w->media, &o, &w->kv);
    sched_quiet(false);
    expect_ok(s, "open", 0);
    pmkv_set_event_fn(w->kv, count_damage, w);
}

void world_index_is_full(struct world *w)
{
    struct index *ix = w->kv->index;
    atomic_store(&ix->slots_about, (int64_t)(count_observe(ix) * 9 / 2 + 9));
}

void world_close(struct world *w)
{
    expect_ok(pmkv_close(&w->kv), "close", 0);
    w->media = NULL;
}

/* --- operations ------------------------------------------------------------------------------- */

static void *make_value(const struct world *w, uint32_t key, uint32_t version, uint32_t bytes)
{
    uint8_t *value = malloc(bytes + 1);
    const char *name = w->names[key];
    test_value_fill(value, bytes, name, strlen(name), version);
    return value;
}

void do_put(struct world *w, uint32_t key, uint32_t bytes)
{
    uint32_t version = ++w->last_version;
    const char *name = w->names[key];
    void *value = make_value(w, key, version, bytes);
    sched_note("put");
    struct op *op =
        history_begin(&w->h, (struct op){.kind = OP_PUT, .key = key, .version = version});
    enum pmkv_status s = pmkv_put(w->kv, name, strlen(name), value, bytes);
    history_end(&w->h, op);
    free(value);
    expect_ok(s, "put", key);
}

void do_delete(struct world *w, uint32_t key)
{
    const char *name = w->names[key];
    sched_note("delete");
    struct op *op = history_begin(&w->h, (struct op){.kind = OP_DELETE, .key = key});
    enum pmkv_status s = pmkv_delete(w->kv, name, strlen(name));
    op->found = s == PMKV_OK;
    history_end(&w->h, op);
    if (s != PMKV_E_NOT_FOUND)
        expect_ok(s, "delete", key);
}

/* I2: what a read has shown must survive, also when its writer has not returned yet. */
static void expect_durable(struct world *w, uint32_t key, uint32_t version)
{
    for (uint32_t i = 0; i < w->h.count && version && sched_is_running(); i++) {
        const struct op *op = &w->h.ops[i];
        bool one = op->kind == OP_PUT || op->kind == OP_PUT_IF;
        uint32_t count = one ? 1 : op->kind == OP_BATCH ? op->count : 0;
        if (op->end == OP_PENDING && key - op->key < count && version - op->version < count)
            world_image(w, true);
    }
}

/* Ends a read. Returns the version, as the history counts, 0: not there. */
static uint32_t end_read(struct world *w, struct op *op, enum pmkv_status s, const void *value,
                         size_t bytes)
{
    const char *name = w->names[op->key];
    uint64_t version = 0;
    if (s == PMKV_OK && !test_value_parse(value, bytes, name, strlen(name), &version))
        world_fail("key %u: %s", op->key, test_value_explain(value, bytes, name, strlen(name)));
    op->version = (uint32_t)version;
    history_end(&w->h, op);
    expect_durable(w, op->key, op->version);
    if (s != PMKV_E_NOT_FOUND)
        expect_ok(s, "get", op->key);
    return op->version;
}

void do_get(struct world *w, uint32_t key)
{
    const char *name = w->names[key];
    void *value = NULL;
    size_t bytes = 0;
    sched_note("get");
    struct op *op = history_begin(&w->h, (struct op){.kind = OP_GET, .key = key});
    enum pmkv_status s = pmkv_get_alloc(w->kv, name, strlen(name), &value, &bytes);
    end_read(w, op, s, value, bytes);
    free(value);
}

/* As the history counts versions, and as the store does. */
struct read_version {
    uint32_t number;
    uint64_t version;
};

static struct read_version read_version(struct world *w, uint32_t key)
{
    uint8_t value[WORLD_VALUE_BYTES];
    const char *name = w->names[key];
    size_t bytes = 0;
    struct read_version read = {0, PMKV_ABSENT};
    sched_note("get version");
    struct op *op = history_begin(&w->h, (struct op){.kind = OP_GET, .key = key});
    enum pmkv_status s =
        pmkv_get_version(w->kv, name, strlen(name), value, sizeof value, &bytes, &read.version);
    read.number = end_read(w, op, s, value, bytes);
    return read;
}

static void put_if(struct world *w, uint32_t key, uint32_t bytes, struct read_version expected)
{
    uint32_t number = ++w->last_version;
    uint64_t now = 0;
    const char *name = w->names[key];
    void *value = make_value(w, key, number, bytes);
    sched_note("put if");
    struct op *op = history_begin(
        &w->h,
        (struct op){.kind = OP_PUT_IF, .key = key, .version = number, .expected = expected.number});
    enum pmkv_status s =
        pmkv_put_if(w->kv, name, strlen(name), value, bytes, expected.version, &now);
    op->found = s == PMKV_OK;
    history_end(&w->h, op);
    free(value);
    bool refused = expected.version == PMKV_ABSENT ? s == PMKV_E_EXISTS
                                                   : s == PMKV_E_CONFLICT || s == PMKV_E_NOT_FOUND;
    if (!refused)
        expect_ok(s, "put if", key);
    if (s == PMKV_OK && now <= expected.version)
        world_fail("key %u: version %llu after %llu", key, (unsigned long long)now,
                   (unsigned long long)expected.version);
}

void do_put_if(struct world *w, uint32_t key, uint32_t bytes)
{
    put_if(w, key, bytes, read_version(w, key));
}

void do_create(struct world *w, uint32_t key, uint32_t bytes)
{
    put_if(w, key, bytes, (struct read_version){0, PMKV_ABSENT});
}

void do_delete_if(struct world *w, uint32_t key)
{
    const char *name = w->names[key];
    struct read_version expected = read_version(w, key);
    if (expected.version == PMKV_ABSENT)
        return;
    sched_note("delete if");
    struct op *op = history_begin(
        &w->h, (struct op){.kind = OP_DELETE_IF, .key = key, .expected = expected.number});
    enum pmkv_status s = pmkv_delete_if(w->kv, name, strlen(name), expected.version);
    op->found = s == PMKV_OK;
    history_end(&w->h, op);
    if (s != PMKV_E_NOT_FOUND && s != PMKV_E_CONFLICT)
        expect_ok(s, "delete if", key);
}

void do_exists(struct world *w, uint32_t key)
{
    const char *name = w->names[key];
    sched_note("exists");
    struct op *op = history_begin(&w->h, (struct op){.kind = OP_EXISTS, .key = key});
    enum pmkv_status s = pmkv_exists(w->kv, name, strlen(name));
    op->found = s == PMKV_OK;
    history_end(&w->h, op);
    if (s != PMKV_E_NOT_FOUND)
        expect_ok(s, "exists", key);
}

void do_seen(struct world *w, uint32_t key, bool found, uint32_t begin)
{
    struct op *op = history_begin(&w->h, (struct op){.kind = OP_EXISTS, .key = key});
    op->begin = begin;
    op->found = found;
    history_end(&w->h, op);
}

void do_batch(struct world *w, uint32_t first, uint32_t puts, uint32_t deletes, uint32_t bytes)
{
    struct pmkv_batch *batch;
    struct op begun = {.kind = OP_BATCH,
                       .key = first,
                       .version = w->last_version + 1,
                       .count = puts + deletes,
                       .deletes = deletes};
    expect_ok(pmkv_batch_new(&batch), "batch", first);
    for (uint32_t key = first; key < first + puts; key++) {
        void *value = make_value(w, key, ++w->last_version, bytes);
        expect_ok(pmkv_batch_put(batch, w->names[key], strlen(w->names[key]), value, bytes),
                  "batch", key);
        free(value);
    }
    for (uint32_t key = first + puts; key < first + puts + deletes; key++)
        expect_ok(pmkv_batch_delete(batch, w->names[key], strlen(w->names[key])), "batch", key);
    sched_note("batch");
    struct op *op = history_begin(&w->h, begun);
    enum pmkv_status s = pmkv_write(w->kv, batch);
    history_end(&w->h, op);
    pmkv_batch_free(&batch);
    expect_ok(s, "batch", first);
}

void do_fill(struct world *w, uint32_t number, uint32_t bytes)
{
    char name[24];
    uint8_t *value = malloc(bytes);
    int used = snprintf(name, sizeof name, "filler-%u", number);
    test_value_fill(value, bytes, name, (size_t)used, FILLER_VERSION);
    sched_note("fill");
    enum pmkv_status s = pmkv_put(w->kv, name, (size_t)used, value, bytes);
    free(value);
    expect_ok(s, "filler", number);
    if (number >= w->fillers)
        w->fillers = number + 1;
}

void do_clean(struct world *w, uint32_t segment)
{
    sched_note("clean");
    place_clean(w->kv, segment);
}

void do_repair(struct world *w)
{
    sched_note("repair");
    repair_pending(w->kv);
}

void world_is_whole(struct world *w)
{
    struct pmkv_scan scan = {0};
    do_repair(w);
    uint64_t known = w->damage;
    if (pmkv_check(w->kv, &scan, NULL, NULL))
        world_fail("check: %s", pmkv_errormsg());
    if (w->damage > known)
        world_fail("nothing is in need of repair, and %llu pages are bad",
                   (unsigned long long)(w->damage - known));
}

void do_leave_segment(struct world *w)
{
    sched_note("leave segment");
    struct lane *lane = lane_pick(w->kv);
    int rc = lane_finish_segment(w->kv, lane);
    lane_unlock(lane);
    if (rc)
        world_fail("a lane cannot leave its segment: %d", rc);
}

void do_take_segment(struct world *w)
{
    do_leave_segment(w);
    sched_note("take segment");
    struct lane *lane = lane_pick(w->kv);
    int rc = row_open_next(w->kv, lane, SPACE_PUT);
    lane_unlock(lane);
    if (rc)
        world_fail("a lane cannot take a segment: %d", rc);
}

/* --- places ----------------------------------------------------------------------------------- */

static struct row_place place_of(struct world *w, uint32_t key)
{
    struct index_find f;
    struct slot_ref ref;
    uint64_t hash = key_hash(w->names[key], strlen(w->names[key]));
    index_find_begin(w->kv->index, hash, &f);
    cr_assert(index_find_next(&f, &ref), "key %u has no slot", key);
    return pos_place(&w->kv->shape, (struct log_pos){slot_position(ref.slot)});
}

uint32_t world_segment_of(struct world *w, uint32_t key)
{
    return place_of(w, key).segment;
}

uint64_t world_page_of(struct world *w, uint32_t key)
{
    struct row_place place = place_of(w, key);
    return layout_data_page_off(&w->kv->vol.layout, place.segment, place.row,
                                place.offset / PAGE_PAYLOAD_BYTES);
}

void world_fill_segment(struct world *w, uint32_t rows)
{
    struct lane *lane = lane_pick(w->kv); /* this thread's, as nobody else writes */
    lane_unlock(lane);
    do_fill(w, 0, 8000); /* it has a segment now */
    for (uint32_t i = 1; lane->next_row + rows < w->kv->vol.layout.segment_rows; i++)
        do_fill(w, i % 8, 8000);
}
