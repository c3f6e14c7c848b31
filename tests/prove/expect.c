/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "expect.h"

#include <stdio.h>
#include <string.h>

#include "recovery/hash.h"
#include "support/value.h"

static uint8_t answer[EXPECT_MAX_BYTES];

const char *expect_key(uint32_t key, size_t *bytes)
{
    static char keys[EXPECT_KEYS][64];
    if (!keys[key][0])
        snprintf(keys[key], sizeof keys[key], "key-%u%.*s", key, (int)(key % 5 * 9),
                 "....................................");
    *bytes = strlen(keys[key]);
    return keys[key];
}

/* --- operations ------------------------------------------------------------------------------- */

bool expect_put(struct expect *e, uint32_t key, uint32_t bytes, void *value)
{
    size_t key_bytes;
    const char *name = expect_key(key, &key_bytes);
    if (e->last_version + 1 == EXPECT_VERSIONS)
        return false;
    e->last_version++;
    e->history[e->last_version].key = (uint8_t)key;
    e->history[e->last_version].bytes = bytes;
    e->to[key] = (struct expect_value){e->last_version, bytes};
    e->in_flight |= 1u << key;
    test_value_fill(value, bytes, name, key_bytes, e->last_version);
    return true;
}

void expect_delete(struct expect *e, uint32_t key)
{
    e->to[key] = (struct expect_value){0, 0};
    e->in_flight |= 1u << key;
}

void expect_settle(struct expect *e, bool happened)
{
    if (happened) {
        memcpy(e->was, e->now, sizeof e->was);
        for (uint32_t i = 0; i < EXPECT_KEYS; i++)
            if (e->in_flight >> i & 1)
                e->now[i] = e->to[i];
        e->operations++;
    }
    e->in_flight = 0;
}

uint64_t expect_hash(const struct expect *e)
{
    struct expect_value owed[2 * EXPECT_KEYS] = {0};
    memcpy(owed, e->now, sizeof e->now);
    for (uint32_t i = 0; i < EXPECT_KEYS; i++)
        owed[EXPECT_KEYS + i] = e->in_flight >> i & 1 ? e->to[i] : e->now[i];
    return hash64(owed, sizeof owed);
}

/* --- judging ---------------------------------------------------------------------------------- */

struct reading {
    uint32_t key;
    enum pmkv_status status;
    size_t bytes;
};

static bool is_value(const struct reading *g, struct expect_value v)
{
    size_t key_bytes;
    const char *name = expect_key(g->key, &key_bytes);
    if (v.version == 0)
        return g->status == PMKV_E_NOT_FOUND;
    return g->status == PMKV_OK && g->bytes == v.bytes &&
           test_value_is(answer, g->bytes, name, key_bytes, v.version);
}

/* Which version of the key is this? 0: none that was ever put. */
static uint32_t version_of(const struct expect *e, const struct reading *g)
{
    for (uint32_t v = e->last_version; v > 0; v--)
        if (e->history[v].key == g->key &&
            is_value(g, (struct expect_value){v, e->history[v].bytes}))
            return v;
    return 0;
}

struct lost_seen {
    uint64_t all, ranges;
};

static int see_lost(void *arg, const struct pmkv_lost *lost)
{
    struct lost_seen *seen = arg;
    seen->all++;
    seen->ranges += lost->key_bytes == 0;
    return 0;
}

static void complain(struct verdict *v, const struct expect *e, const struct reading *g)
{
    bool flies = e->in_flight >> g->key & 1;
    if (v->text[0])
        return;
    snprintf(v->text, sizeof v->text,
             "key %u should be version %u (%s%u), is %s with %zu bytes, version %u: %s", g->key,
             e->now[g->key].version, flies ? "in flight: " : "not in flight, before: ",
             flies ? e->to[g->key].version : e->was[g->key].version, pmkv_status_name(g->status),
             g->bytes, version_of(e, g), g->status == PMKV_OK ? "" : pmkv_errormsg());
    v->is_wrong = g->status == PMKV_OK;
}

/* Damage beyond the redundancy: see section 6 of docs/design.md for what may be missing in silence,
 * which is the very last operation, and what a range without a name may hide. */
static bool may_be(const struct expect *e, const struct reading *g, enum expect_mode mode,
                   const struct lost_seen *lost, struct verdict *v)
{
    if (g->status == PMKV_E_LOST)
        return true;
    if (mode == EXPECT_SAFETY && g->status != PMKV_OK)
        return true;
    if (is_value(g, e->was[g->key]))
        return true;
    if (mode == EXPECT_NAMED && lost->ranges == 0)
        return false;
    v->stale++;
    return g->status == PMKV_E_NOT_FOUND || version_of(e, g) != 0;
}

static void judge_key(const struct expect *e, struct pmkv *kv, enum expect_mode mode, uint32_t key,
                      const struct lost_seen *lost, struct verdict *v)
{
    struct reading g = {.key = key};
    size_t key_bytes;
    const char *name = expect_key(key, &key_bytes);
    g.status = pmkv_get(kv, name, key_bytes, answer, sizeof answer, &g.bytes);
    v->lost += g.status == PMKV_E_LOST;
    uint64_t of[2] = {(uint64_t)g.status, g.status == PMKV_OK ? hash64(answer, g.bytes) : 0};
    v->answers = hash_mix(v->answers + hash64(of, sizeof of));
    bool flies = e->in_flight >> key & 1;
    unsigned states = is_value(&g, e->now[key]) ? 1 : 0;
    if (is_value(&g, flies ? e->to[key] : e->now[key]))
        states |= 2;
    if (states == 0 && (mode == EXPECT_ALL || !may_be(e, &g, mode, lost, v)))
        complain(v, e, &g);
    if (states || mode == EXPECT_ALL)
        v->states &= states;
}

static uint64_t keys_owed(const struct expect *e, bool after)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < EXPECT_KEYS; i++)
        count += (after && e->in_flight >> i & 1 ? e->to[i] : e->now[i]).version != 0;
    return count;
}

static void judge_whole(const struct expect *e, struct pmkv *kv, const struct lost_seen *lost,
                        struct verdict *v)
{
    uint64_t count = 0;
    if (pmkv_count(kv, &count) || (!(v->states & 1 && count == keys_owed(e, false)) &&
                                   !(v->states & 2 && count == keys_owed(e, true))))
        snprintf(v->text, sizeof v->text,
                 "states %u (half of what was in flight?), %llu keys counted, not %llu or %llu",
                 v->states, (unsigned long long)count, (unsigned long long)keys_owed(e, false),
                 (unsigned long long)keys_owed(e, true));
    if (lost->all)
        snprintf(v->text, sizeof v->text, "%llu entries in the lost list, %llu of them ranges",
                 (unsigned long long)lost->all, (unsigned long long)lost->ranges);
}

void expect_judge(const struct expect *e, struct pmkv *kv, enum expect_mode mode, struct verdict *v)
{
    struct lost_seen lost = {0};
    *v = (struct verdict){.states = 3};
    pmkv_lost_foreach(kv, see_lost, &lost);
    for (uint32_t i = 0; i < EXPECT_KEYS; i++)
        judge_key(e, kv, mode, i, &lost, v);
    if (mode == EXPECT_ALL && !v->text[0])
        judge_whole(e, kv, &lost, v);
}
