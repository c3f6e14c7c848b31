/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "clean_model.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum { NOWHERE = UINT32_MAX, WRITTEN = 0, SURVIVED = 1 };

struct model_segment {
    uint32_t *keys;
    uint32_t used, room, live;
    uint64_t sealed;
    bool closed;
};

struct model_run {
    const struct clean_model *m;
    struct model_segment *segments;
    uint64_t *place; /* of a key: its segment, and where in it */
    uint32_t *free, free_count;
    uint32_t open[2];
    uint64_t now, moved;
};

const char *clean_policy_name(enum clean_policy policy)
{
    static const char *const names[] = {"emptiest", "cost and benefit", "root of the age"};
    return names[policy];
}

static void *allocate(size_t count, size_t each)
{
    void *p = calloc(count, each);
    if (p == NULL) {
        fprintf(stderr, "no memory for the model\n");
        exit(2);
    }
    return p;
}

static uint64_t place_of(uint32_t segment, uint32_t at)
{
    return (uint64_t)segment << 32 | at;
}

static void append(struct model_run *r, uint32_t key, int stream)
{
    struct model_segment *s = &r->segments[r->open[stream]];
    if (r->open[stream] == NOWHERE || s->used == s->room) {
        if (r->open[stream] != NOWHERE) {
            s->closed = true;
            s->sealed = r->now;
        }
        r->open[stream] = r->free[--r->free_count];
        s = &r->segments[r->open[stream]];
        s->used = s->live = 0;
        s->room = stream == WRITTEN ? r->m->records : r->m->survivors;
    }
    r->place[key] = place_of(r->open[stream], s->used);
    s->keys[s->used++] = key;
    s->live++;
}

static double score(const struct model_run *r, const struct model_segment *s,
                    enum clean_policy policy)
{
    double u = (double)s->live / s->room, age = (double)(r->now - s->sealed) + 1;
    switch (policy) {
    case CLEAN_EMPTIEST:
        return 1 - u;
    case CLEAN_COST_BENEFIT:
        return (1 - u) * age / (1 + u);
    default:
        return (1 - u) * sqrt(age) / (1 + u);
    }
}

static void clean(struct model_run *r, enum clean_policy policy)
{
    uint32_t best = 0;
    double best_score = -1;
    for (uint32_t i = 0; i < r->m->segments; i++)
        if (r->segments[i].closed && score(r, &r->segments[i], policy) > best_score) {
            best_score = score(r, &r->segments[i], policy);
            best = i;
        }
    struct model_segment *victim = &r->segments[best];
    for (uint32_t i = 0; i < victim->used; i++)
        if (r->place[victim->keys[i]] == place_of(best, i)) {
            append(r, victim->keys[i], SURVIVED);
            r->moved++;
        }
    victim->closed = false;
    r->free[r->free_count++] = best;
}

double clean_model_run(const struct clean_model *m, enum clean_policy policy)
{
    struct model_run r = {.m = m, .open = {NOWHERE, NOWHERE}};
    uint32_t most = m->records > m->survivors ? m->records : m->survivors;
    r.segments = allocate(m->segments, sizeof *r.segments);
    uint32_t *keys = allocate((size_t)m->segments * most, sizeof *keys);
    r.place = allocate(m->keys, sizeof *r.place);
    r.free = allocate(m->segments, sizeof *r.free);
    for (uint32_t i = 0; i < m->segments; i++) {
        r.segments[i].keys = keys + (size_t)i * most;
        r.free[r.free_count++] = i;
    }
    for (uint32_t key = 0; key < m->keys; key++, r.now++)
        append(&r, key, WRITTEN);
    uint64_t before = 0;
    for (uint64_t i = 0; i < m->warm + m->counted; i++, r.now++) {
        if (i == m->warm)
            before = r.moved;
        while (r.free_count < m->keep_free)
            clean(&r, policy);
        uint32_t key = m->pick(m->arg);
        r.segments[r.place[key] >> 32].live--;
        append(&r, key, WRITTEN);
    }
    free(r.segments);
    free(keys);
    free(r.place);
    free(r.free);
    return 1 + (double)(r.moved - before) / (double)m->counted;
}
