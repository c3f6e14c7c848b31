/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "history.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "support/rng.h"

struct op *history_begin(struct history *h, struct op op)
{
    assert(h->count < HISTORY_OPS);
    op.begin = h->clock++;
    op.end = OP_PENDING;
    h->ops[h->count] = op;
    return &h->ops[h->count++];
}

void history_end(struct history *h, struct op *op)
{
    op->end = h->clock++;
}

/* --- the search ------------------------------------------------------------------------------- */

/* States of the search that lead nowhere: which operations are done, and the map. A state that
 * finds no place here is only searched again. */
enum { DEAD_STATES = 1 << 14, DEAD_PROBES = 8 };
struct search {
    const struct history *h;
    uint64_t all; /* that returned */
    uint64_t dead[DEAD_STATES];
};

static void apply_batch(const struct op *op, struct map *m)
{
    for (uint32_t i = 0; i < op->count; i++)
        m->version[op->key + i] = i + op->deletes < op->count ? op->version + i : 0;
}

/* Does a map answer so? Then *m is what it is afterwards. */
static bool apply(const struct op *op, struct map *m)
{
    uint32_t *version = &m->version[op->key];
    switch (op->kind) {
    case OP_PUT:
        *version = op->version;
        return true;
    case OP_BATCH:
        apply_batch(op, m);
        return true;
    case OP_GET:
        return op->end == OP_PENDING || *version == op->version;
    case OP_EXISTS:
        return op->end == OP_PENDING || (*version != 0) == op->found;
    case OP_DELETE:
        if (op->end != OP_PENDING && (*version != 0) != op->found)
            return false;
        *version = 0;
        return true;
    case OP_PUT_IF:
    case OP_DELETE_IF:
        if (op->end != OP_PENDING && (*version == op->expected) != op->found)
            return false;
        if (*version == op->expected)
            *version = op->kind == OP_PUT_IF ? op->version : 0;
        return true;
    }
    return false;
}

static uint64_t state_hash(uint64_t done, const struct map *m)
{
    uint64_t hash = test_mix(done + 1);
    for (uint32_t i = 0; i < HISTORY_KEYS; i++)
        hash = test_mix(hash ^ m->version[i]);
    return hash | 1;
}

static bool is_dead(const struct search *s, uint64_t hash)
{
    for (uint32_t i = 0; i < DEAD_PROBES; i++)
        if (s->dead[(hash + i) % DEAD_STATES] == hash)
            return true;
    return false;
}

static void note_dead(struct search *s, uint64_t hash)
{
    for (uint32_t i = 0; i < DEAD_PROBES; i++)
        if (s->dead[(hash + i) % DEAD_STATES] == 0) {
            s->dead[(hash + i) % DEAD_STATES] = hash;
            return;
        }
}

/* No operation that is not done yet returned before this one was called. */
static bool may_be_next(const struct history *h, uint64_t done, const struct op *op)
{
    for (uint32_t i = 0; i < h->count; i++)
        if (!(done >> i & 1) && h->ops[i].end < op->begin)
            return false;
    return true;
}

static bool search(struct search *s, uint64_t done, struct map now)
{
    if ((done & s->all) == s->all)
        return true;
    uint64_t hash = state_hash(done, &now);
    if (is_dead(s, hash))
        return false;
    for (uint32_t i = 0; i < s->h->count; i++) {
        struct map next = now;
        const struct op *op = &s->h->ops[i];
        if (!(done >> i & 1) && may_be_next(s->h, done, op) && apply(op, &next) &&
            search(s, done | 1ull << i, next))
            return true;
    }
    note_dead(s, hash);
    return false;
}

bool history_holds(const struct history *h)
{
    static struct search s;
    s.h = h;
    s.all = 0;
    memset(s.dead, 0, sizeof s.dead);
    assert(h->count <= HISTORY_OPS);
    for (uint32_t i = 0; i < h->count && i < HISTORY_OPS; i++)
        s.all |= (uint64_t)(h->ops[i].end != OP_PENDING) << i;
    return search(&s, 0, h->initial);
}

/* --- text ------------------------------------------------------------------------------------- */

static const char *details(const struct op *op, char *text, size_t room)
{
    const char *found = op->found ? "yes" : "no";
    switch (op->kind) {
    case OP_BATCH:
        snprintf(text, room, "+%u (%u deletes) version %u", op->count, op->deletes, op->version);
        break;
    case OP_DELETE:
    case OP_EXISTS:
        snprintf(text, room, " %s", found);
        break;
    case OP_PUT_IF:
    case OP_DELETE_IF:
        snprintf(text, room, " version %u if %u %s", op->version, op->expected, found);
        break;
    default:
        snprintf(text, room, " version %u", op->version);
    }
    return text;
}

void history_print(const struct history *h, char *text, uint32_t room)
{
    static const char *const names[] = {"put",   "delete", "get",      "exists",
                                        "batch", "put if", "delete if"};
    int used = 0;
    for (uint32_t i = 0; i < h->count && (uint32_t)used < room; i++) {
        const struct op *op = &h->ops[i];
        char end[16] = "..", more[64];
        if (op->end != OP_PENDING)
            snprintf(end, sizeof end, "%u", op->end);
        used += snprintf(text + used, room - (uint32_t)used, "\n  %3u-%-3s %s key %u%s", op->begin,
                         end, names[op->kind], op->key, details(op, more, sizeof more));
    }
}
