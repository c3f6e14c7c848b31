/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The inside of a simulated medium, shared by sim.c and sim_crash.c. */
#ifndef PMKV_RECOVERY_MEDIA_SIM_IMPL_H
#define PMKV_RECOVERY_MEDIA_SIM_IMPL_H

#include "backend.h"
#include "sim.h"
#include "sim_image.h"

/* What a power cut and a snapshot are about. */
struct sim_state {
    struct sim_image cpu, durable;
    uint64_t *poison; /* a bit for each page */
    struct sim_line *pending;
    size_t pending_count, pending_room;
};

struct sim {
    pthread_mutex_t lock; /* recursive: hooks use the medium; guards everything below */
    struct sim_state state;
    uint64_t seq;
    bool in_hook;
    sim_hook drain_hook, access_hook;
    void *drain_arg, *access_arg;
    bool logging;
    struct sim_event *events;
    size_t event_count, event_room;
    struct sim_counters counters;
    bool hide_bad_ranges, clears_fail, gone;
    int drain_error;
    enum sim_clear_leaves leaves;
};

static inline struct sim *sim_lock(struct media *m)
{
    struct sim *s = m->impl;
    pthread_mutex_lock(&s->lock);
    return s; /* unreached: of a loop that begins where it is inlined and never ends at once */
}

static inline void sim_unlock(struct sim *s)
{
    pthread_mutex_unlock(&s->lock);
}

/* The calling thread: 1, 2, ... in order of first use. */
unsigned sim_thread(void);

void state_copy(struct sim_state *to, const struct sim_state *from, uint64_t size);
void state_free(struct sim_state *state);
bool state_is_poisoned(const struct sim_state *state, uint64_t off);

/* Adds the lines of a store, which are in the CPU's image already. */
void pending_add(struct sim_state *state, uint64_t off, const void *src, size_t bytes,
                 uint64_t seq);
/* Makes durable, and takes off the list: the lines of `thread`, or only those of the store `seq`.
 */
void pending_drain(struct sim_state *state, unsigned thread, uint64_t only_seq);

/* Wraps a state, which it takes over, into a medium. */
int sim_wrap(struct sim_state *state, uint64_t size, uint64_t loss_unit, struct media **out);

#endif
