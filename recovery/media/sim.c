/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The doors of the simulated medium (sim.h). */
#define _GNU_SOURCE
#include "sim.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../errmsg.h"
#include "../hash.h"
#include "sim_impl.h"

/* --- recording -------------------------------------------------------------------------------- */

static uint64_t record(struct sim *s, enum sim_op op, uint64_t off, uint64_t bytes)
{
    uint64_t seq = ++s->seq;
    if (!s->logging)
        return seq;
    if (s->event_count == s->event_room) {
        s->event_room = s->event_room ? s->event_room * 2 : 256;
        s->events = sim_realloc(s->events, s->event_room * sizeof *s->events);
    }
    s->events[s->event_count++] = (struct sim_event){
        .op = op, .thread = sim_thread(), .off = off, .bytes = bytes, .seq = seq};
    return seq;
}

static void run_hook(struct media *m, struct sim *s, enum sim_op op, uint64_t off, uint64_t bytes)
{
    bool access = op == SIM_LOAD || op == SIM_STORE;
    sim_hook hook = access ? s->access_hook : s->drain_hook;
    if (!hook || s->in_hook)
        return;
    s->in_hook = true;
    hook(access ? s->access_arg : s->drain_arg, m, op, off, bytes);
    s->in_hook = false;
}

/* --- the normal door -------------------------------------------------------------------------- */

/* Bytes of the range before the first poisoned page. */
static size_t readable(const struct sim *s, uint64_t off, size_t bytes)
{
    if (s->gone)
        return 0;
    for (uint64_t page = off / PAGE_BYTES * PAGE_BYTES; page < off + bytes; page += PAGE_BYTES)
        if (state_is_poisoned(&s->state, page))
            return page > off ? (size_t)(page - off) : 0;
    return bytes;
}

static size_t sim_load(struct media *m, uint64_t off, void *dst, size_t bytes)
{
    assert(range_inside(m, off, bytes));
    struct sim *s = sim_lock(m);
    run_hook(m, s, SIM_LOAD, off, bytes);
    size_t n = readable(s, off, bytes);
    image_read(&s->state.cpu, off, dst, n);
    s->counters.loads++;
    s->counters.short_loads += n < bytes;
    sim_unlock(s);
    return n;
}

static size_t sim_store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    assert(!m->read_only && off % LINE_BYTES == 0 && bytes % LINE_BYTES == 0);
    assert(range_inside(m, off, bytes));
    struct sim *s = sim_lock(m);
    run_hook(m, s, SIM_STORE, off, bytes);
    size_t n = readable(s, off, bytes);
    uint64_t seq = record(s, SIM_STORE, off, bytes);
    image_write(&s->state.cpu, off, src, n);
    pending_add(&s->state, off, src, n, seq);
    s->counters.stores++;
    s->counters.lines_stored += n / LINE_BYTES;
    s->counters.short_stores += n < bytes;
    sim_unlock(s);
    count_store(m, bytes);
    return n;
}

static int sim_drain(struct media *m)
{
    struct sim *s = sim_lock(m);
    run_hook(m, s, SIM_DRAIN, 0, 0);
    record(s, SIM_DRAIN, 0, 0);
    s->counters.drains++;
    int rc = s->gone ? -EIO : s->drain_error;
    if (rc == 0)
        pending_drain(&s->state, sim_thread(), 0);
    sim_unlock(s);
    count_fence(m);
    return rc < 0 ? err_fact(-EIO, "the drain was told to fail") : 0;
}

static int sim_present(struct media *m)
{
    struct sim *s = sim_lock(m);
    bool gone = s->gone;
    sim_unlock(s);
    return gone ? err_fact(-EIO, "the simulated device is gone") : 0;
}

static int sim_bad_ranges(struct media *m, int (*fn)(void *arg, uint64_t off, uint64_t bytes),
                          void *arg)
{
    struct sim *s = sim_lock(m);
    int rc = 0;
    for (uint64_t off = 0; off < m->size && rc == 0 && !s->hide_bad_ranges;) {
        uint64_t end = off;
        while (end < m->size && state_is_poisoned(&s->state, end))
            end += PAGE_BYTES;
        if (end > off)
            rc = fn(arg, off, end - off);
        off = end + PAGE_BYTES;
    }
    sim_unlock(s);
    return rc;
}

/* --- the recovery door ------------------------------------------------------------------------ */

static void fill_unit(struct sim *s, uint64_t off, uint64_t bytes)
{
    uint8_t page[PAGE_BYTES] = {0};
    if (s->leaves == SIM_CLEAR_OLD)
        return;
    for (uint64_t at = off; at < off + bytes; at += PAGE_BYTES) {
        for (uint32_t i = 0; s->leaves == SIM_CLEAR_GARBAGE && i < PAGE_BYTES; i++)
            page[i] = (uint8_t)((at / PAGE_BYTES + 1) * 2654435761u >> (i % 24)) ^ (uint8_t)i;
        image_write(&s->state.cpu, at, page, PAGE_BYTES);
        image_write(&s->state.durable, at, page, PAGE_BYTES);
    }
}

static void set_poison(struct sim *s, uint64_t off, uint64_t bytes, bool bad)
{
    for (uint64_t page = off / PAGE_BYTES; page < (off + bytes) / PAGE_BYTES; page++) {
        uint64_t bit = 1ull << (page % 64);
        if (bad)
            s->state.poison[page / 64] |= bit;
        else
            s->state.poison[page / 64] &= ~bit;
    }
}

/* The clear is durable at once; the bytes that were there before are what sim_set_clear_leaves
 * says. */
static int clear_unit(struct media *m, struct sim *s, uint64_t off)
{
    uint64_t unit = off / m->loss_unit * m->loss_unit;
    run_hook(m, s, SIM_CLEAR, unit, m->loss_unit);
    if (s->gone || s->clears_fail)
        return err_fact(-EIO, "the clear was told to fail");
    record(s, SIM_CLEAR, unit, m->loss_unit);
    s->counters.clears++;
    set_poison(s, unit, m->loss_unit, false);
    fill_unit(s, unit, m->loss_unit);
    return 0;
}

static int sim_recovery_write(struct media *m, uint64_t off, const void *page)
{
    struct sim *s = sim_lock(m);
    int rc = state_is_poisoned(&s->state, off) ? clear_unit(m, s, off) : 0;
    if (rc == 0) {
        uint64_t seq = record(s, SIM_RECOVERY_DATA, off, PAGE_BYTES);
        image_write(&s->state.cpu, off, page, PAGE_BYTES);
        pending_add(&s->state, off, page, PAGE_BYTES, seq);
        run_hook(m, s, SIM_RECOVERY_DATA, off, PAGE_BYTES);
        pending_drain(&s->state, 0, seq);
        s->counters.recovery_writes++;
    }
    sim_unlock(s);
    return rc < 0 ? rc : verify_by_load(m, off, page);
}

/* --- faults ----------------------------------------------------------------------------------- */

void sim_poison(struct media *m, uint64_t off, uint64_t bytes)
{
    assert(range_inside(m, off, bytes));
    uint64_t from = off / m->loss_unit * m->loss_unit;
    uint64_t end = (off + bytes + m->loss_unit - 1) / m->loss_unit * m->loss_unit;
    struct sim *s = sim_lock(m);
    set_poison(s, from, end - from, true);
    sim_unlock(s);
}

static int sim_inject_poison(struct media *m, uint64_t off)
{
    sim_poison(m, off, PAGE_BYTES);
    return 0;
}

/* A pending line that is changed would bring the old bytes back when it becomes durable: such bytes
 * are changed there too. */
static int sim_inject_bytes(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    const uint8_t *from = src;
    struct sim *s = sim_lock(m);
    image_write(&s->state.cpu, off, src, bytes);
    image_write(&s->state.durable, off, src, bytes);
    for (size_t i = 0; i < s->state.pending_count; i++) {
        struct sim_line *line = &s->state.pending[i];
        for (size_t at = 0; at < LINE_BYTES; at++)
            if (line->off + at >= off && line->off + at < off + bytes)
                line->bytes[at] = from[line->off + at - off];
    }
    sim_unlock(s);
    return 0;
}

bool sim_is_poisoned(struct media *m, uint64_t off)
{
    assert(off < m->size);
    struct sim *s = sim_lock(m);
    bool bad = state_is_poisoned(&s->state, off);
    sim_unlock(s);
    return bad;
}

/* --- settings and observations ---------------------------------------------------------------- */

void sim_hide_bad_ranges(struct media *m, bool hide)
{
    struct sim *s = sim_lock(m);
    s->hide_bad_ranges = hide;
    sim_unlock(s);
}

void sim_set_clear_leaves(struct media *m, enum sim_clear_leaves leaves)
{
    struct sim *s = sim_lock(m);
    s->leaves = leaves;
    sim_unlock(s);
}

void sim_set_clears_fail(struct media *m, bool fail)
{
    struct sim *s = sim_lock(m);
    s->clears_fail = fail;
    sim_unlock(s);
}

void sim_set_gone(struct media *m, bool gone)
{
    struct sim *s = sim_lock(m);
    s->gone = gone;
    sim_unlock(s);
}

void sim_set_drain_error(struct media *m, int error)
{
    struct sim *s = sim_lock(m);
    s->drain_error = error;
    sim_unlock(s);
}

void sim_set_drain_hook(struct media *m, sim_hook hook, void *arg)
{
    struct sim *s = sim_lock(m);
    s->drain_hook = hook;
    s->drain_arg = arg;
    sim_unlock(s);
}

void sim_set_access_hook(struct media *m, sim_hook hook, void *arg)
{
    struct sim *s = sim_lock(m);
    s->access_hook = hook;
    s->access_arg = arg;
    sim_unlock(s);
}

void sim_log(struct media *m, bool on)
{
    struct sim *s = sim_lock(m);
    s->logging = on;
    sim_unlock(s);
}

void sim_log_clear(struct media *m)
{
    struct sim *s = sim_lock(m);
    s->event_count = 0;
    sim_unlock(s);
}

const struct sim_event *sim_events(struct media *m, size_t *count)
{
    struct sim *s = sim_lock(m);
    *count = s->event_count;
    const struct sim_event *events = s->events;
    sim_unlock(s);
    return events;
}

struct sim_counters sim_counters(struct media *m)
{
    struct sim *s = sim_lock(m);
    struct sim_counters counters = s->counters;
    sim_unlock(s);
    return counters;
}

void sim_peek(struct media *m, uint64_t off, void *dst, size_t bytes)
{
    assert(range_inside(m, off, bytes));
    struct sim *s = sim_lock(m);
    image_read(&s->state.cpu, off, dst, bytes);
    sim_unlock(s);
}

void sim_peek_durable(struct media *m, uint64_t off, void *dst, size_t bytes)
{
    assert(range_inside(m, off, bytes));
    struct sim *s = sim_lock(m);
    image_read(&s->state.durable, off, dst, bytes);
    sim_unlock(s);
}

uint64_t sim_hash(struct media *m, uint64_t off, uint64_t bytes)
{
    assert(range_inside(m, off, bytes));
    struct sim *s = sim_lock(m);
    uint64_t hash = image_hash(&s->state.durable, off, bytes);
    for (uint64_t page = off / PAGE_BYTES; page < (off + bytes) / PAGE_BYTES; page++)
        if (s->state.poison[page / 64] >> page % 64 & 1)
            hash += hash_mix(~page);
    sim_unlock(s);
    return hash;
}

/* --- making ----------------------------------------------------------------------------------- */

static void sim_close(struct media *m)
{
    struct sim *s = m->impl;
    state_free(&s->state);
    free(s->events);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

static const struct media_ops sim_ops = {
    .load = sim_load,
    .store = sim_store,
    .drain = sim_drain,
    .present = sim_present,
    .bad_ranges = sim_bad_ranges,
    .recovery_write = sim_recovery_write,
    .inject_poison = sim_inject_poison,
    .inject_bytes = sim_inject_bytes,
    .close = sim_close,
};

int sim_wrap(struct sim_state *state, uint64_t size, uint64_t loss_unit, struct media **out)
{
    struct media *m = media_new();
    /* unreached: no test lets the simulation itself run out of memory. */
    if (!m) {
        state_free(state);
        return -ENOMEM;
    }
    struct sim *s = sim_alloc(sizeof *s);
    pthread_mutexattr_t attr;
    pthread_mutexattr_init(&attr);
    pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    pthread_mutex_init(&s->lock, &attr);
    pthread_mutexattr_destroy(&attr);
    s->state = *state;
    m->ops = &sim_ops;
    m->impl = s;
    m->size = size;
    m->loss_unit = loss_unit;
    m->backend = MEDIA_SIM;
    m->durability = MEDIA_SURVIVES_POWER_LOSS;
    m->allow_inject = true;
    snprintf(m->path, sizeof m->path, "sim");
    snprintf(m->reason, sizeof m->reason, "simulated persistent memory, for tests only");
    *out = m;
    return 0;
}

int sim_from_image(const void *image, uint64_t size, uint64_t loss_unit, struct media **out)
{
    bool power_of_two = loss_unit >= PAGE_BYTES && (loss_unit & (loss_unit - 1)) == 0;
    if (!power_of_two || size == 0 || size % loss_unit != 0)
        return err_fact(-EINVAL, "a sim of %llu bytes with loss units of %llu",
                        (unsigned long long)size, (unsigned long long)loss_unit);
    struct sim_state state = {0};
    image_init(&state.durable, size);
    if (image)
        image_write(&state.durable, 0, image, size);
    image_copy(&state.cpu, &state.durable);
    state.poison = sim_alloc((size_t)(size / PAGE_BYTES + 63) / 64 * sizeof *state.poison);
    return sim_wrap(&state, size, loss_unit, out);
}

int sim_new(uint64_t size, uint64_t loss_unit, struct media **out)
{
    return sim_from_image(NULL, size, loss_unit, out);
}
