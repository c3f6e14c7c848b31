/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Pending lines, and what is left of them: power cuts and snapshots of a simulated medium. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim_impl.h"

unsigned sim_thread(void)
{
    static atomic_uint threads;
    static _Thread_local unsigned mine;
    if (mine == 0)
        mine = 1 + atomic_fetch_add_explicit(&threads, 1, memory_order_relaxed);
    return mine;
}

/* --- state ------------------------------------------------------------------------------------ */

static size_t poison_bytes(uint64_t size)
{
    return (size_t)(size / PAGE_BYTES + 63) / 64 * sizeof(uint64_t);
}

void state_copy(struct sim_state *to, const struct sim_state *from, uint64_t size)
{
    image_copy(&to->cpu, &from->cpu);
    image_copy(&to->durable, &from->durable);
    to->poison = sim_alloc(poison_bytes(size));
    memcpy(to->poison, from->poison, poison_bytes(size));
    to->pending_count = to->pending_room = from->pending_count;
    to->pending = NULL;
    if (from->pending_count > 0) {
        to->pending = sim_alloc(from->pending_count * sizeof *to->pending);
        memcpy(to->pending, from->pending, from->pending_count * sizeof *to->pending);
    }
}

void state_free(struct sim_state *state)
{
    image_free(&state->cpu);
    image_free(&state->durable);
    free(state->poison);
    free(state->pending);
}

bool state_is_poisoned(const struct sim_state *state, uint64_t off)
{
    uint64_t page = off / PAGE_BYTES;
    return state->poison[page / 64] >> (page % 64) & 1;
}

/* --- pending lines ---------------------------------------------------------------------------- */

void pending_add(struct sim_state *state, uint64_t off, const void *src, size_t bytes, uint64_t seq)
{
    size_t need = state->pending_count + bytes / LINE_BYTES;
    if (need > state->pending_room) {
        state->pending_room = need * 2 < 256 ? 256 : need * 2;
        state->pending = sim_realloc(state->pending, state->pending_room * sizeof *state->pending);
    }
    for (size_t i = 0; i < bytes; i += LINE_BYTES) {
        struct sim_line *line = &state->pending[state->pending_count++];
        *line = (struct sim_line){.off = off + i, .seq = seq, .thread = sim_thread()};
        memcpy(line->bytes, (const uint8_t *)src + i, LINE_BYTES);
    }
}

static bool is_drained(const struct sim_line *line, unsigned thread, uint64_t only_seq)
{
    return only_seq ? line->seq == only_seq : line->thread == thread;
}

/* Is there a later store of the same line among those that are being drained? Then the memory has
 * passed this one by, and it must not come back when its own thread drains. */
static bool is_overtaken(const struct sim_state *state, size_t index, unsigned thread,
                         uint64_t only_seq)
{
    const struct sim_line *line = &state->pending[index];
    for (size_t i = index + 1; i < state->pending_count; i++)
        if (state->pending[i].off == line->off && is_drained(&state->pending[i], thread, only_seq))
            return true;
    return false;
}

void pending_drain(struct sim_state *state, unsigned thread, uint64_t only_seq)
{
    size_t kept = 0;
    for (size_t i = 0; i < state->pending_count; i++) {
        const struct sim_line *line = &state->pending[i];
        if (is_drained(line, thread, only_seq))
            image_write(&state->durable, line->off, line->bytes, LINE_BYTES);
        else if (!is_overtaken(state, i, thread, only_seq))
            state->pending[kept++] = *line;
    }
    state->pending_count = kept;
}

size_t sim_pending_count(struct media *m)
{
    struct sim *s = sim_lock(m);
    size_t count = s->state.pending_count;
    sim_unlock(s);
    return count;
}

const struct sim_line *sim_pending(struct media *m, size_t index)
{
    struct sim *s = sim_lock(m);
    assert(index < s->state.pending_count);
    const struct sim_line *line = &s->state.pending[index];
    sim_unlock(s);
    return line;
}

/* --- power cuts ------------------------------------------------------------------------------- */

uint8_t sim_choose_none(void *arg, size_t index, const struct sim_line *line)
{
    (void)arg, (void)index, (void)line;
    return 0;
}

uint8_t sim_choose_all(void *arg, size_t index, const struct sim_line *line)
{
    (void)arg, (void)index, (void)line;
    return 0xff;
}

uint8_t sim_choose_bits(void *arg, size_t index, const struct sim_line *line)
{
    (void)line;
    const uint64_t *bits = arg;
    return bits[index / 64] >> (index % 64) & 1 ? 0xff : 0;
}

static void write_words(struct sim_image *image, const struct sim_line *line, uint8_t words)
{
    if (words == 0xff) {
        image_write(image, line->off, line->bytes, LINE_BYTES);
        return;
    }
    for (unsigned i = 0; i < 8; i++)
        if (words >> i & 1)
            image_write(image, line->off + i * 8, line->bytes + i * 8, 8);
}

/* A page that cannot be cleared cannot be after a power cut either. */
static int copy_clear_fails(struct media *m, struct media *image)
{
    int rc = 0;
    pthread_mutex_lock(&m->clear_fails_lock);
    for (size_t i = 0; i < m->clear_fails_count && rc == 0; i++) /* unreached: as in sim_wrap */
        rc = media_inject_clear_fails(image, m->clear_fails[i]);
    pthread_mutex_unlock(&m->clear_fails_lock);
    return rc;
}

int sim_crash_image(struct media *m, sim_chooser choose, void *arg, struct media **out)
{
    struct sim *s = sim_lock(m);
    struct sim_state left = {0};
    image_copy(&left.durable, &s->state.durable);
    for (size_t i = 0; i < s->state.pending_count; i++)
        write_words(&left.durable, &s->state.pending[i], choose(arg, i, &s->state.pending[i]));
    image_copy(&left.cpu, &left.durable);
    left.poison = sim_alloc(poison_bytes(m->size));
    memcpy(left.poison, s->state.poison, poison_bytes(m->size));
    enum sim_clear_leaves leaves = s->leaves;
    sim_unlock(s);
    int rc = sim_wrap(&left, m->size, m->loss_unit, out);
    if (rc == 0) /* unreached: as in sim_wrap */
        sim_set_clear_leaves(*out, leaves);
    return rc ? rc : copy_clear_fails(m, *out); /* unreached: as in sim_wrap */
}

/* --- snapshots -------------------------------------------------------------------------------- */

struct sim_snapshot {
    uint64_t size;
    struct sim_state state;
};

struct sim_snapshot *sim_snapshot(struct media *m)
{
    struct sim_snapshot *snapshot = sim_alloc(sizeof *snapshot);
    struct sim *s = sim_lock(m);
    snapshot->size = m->size;
    state_copy(&snapshot->state, &s->state, m->size);
    sim_unlock(s);
    return snapshot;
}

void sim_restore(struct media *m, const struct sim_snapshot *snapshot)
{
    assert(snapshot->size == m->size);
    struct sim *s = sim_lock(m);
    state_free(&s->state);
    state_copy(&s->state, &snapshot->state, m->size);
    sim_unlock(s);
}

void sim_snapshot_free(struct sim_snapshot **snapshot)
{
    if (!*snapshot)
        return;
    state_free(&(*snapshot)->state);
    free(*snapshot);
    *snapshot = NULL;
}
