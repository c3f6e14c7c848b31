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

static bool next_version(struct expect *e, uint32_t key, uint32_t bytes)
{
    if (e->last_version + 1 == EXPECT_VERSIONS)
        return false;
    e->last_version++;
    e->history[e->last_version].key = (uint8_t)key;
    e->history[e->last_version].bytes = bytes;
    e->to[key] = (struct expect_value){e->last_version, bytes};
    e->in_flight |= 1u << key;
    return true;
}

bool expect_put(struct expect *e, uint32_t key, uint32_t bytes, void *value)
{
    size_t key_bytes;
    const char *name = expect_key(key, &key_bytes);
    if (!next_version(e, key, bytes))
        return false;
    test_value_fill(value, bytes, name, key_bytes, e->last_version);
    return true;
}

bool expect_delete(struct expect *e, uint32_t key)
{
    return next_version(e, key, EXPECT_GONE);
}

void expect_settle(struct expect *e, bool happened)
{
    if (happened) {
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
    unsigned states;  /* bit 0: what was acknowledged, bit 1: what is in flight */
    uint32_t version; /* of another one that it is; 0: none, or it is not there */
};

static bool is_value(const struct reading *g, struct expect_value v)
{
    size_t key_bytes;
    const char *name = expect_key(g->key, &key_bytes);
    if (!expect_has(v))
        return g->status == PMKV_E_NOT_FOUND;
    return g->status == PMKV_OK && g->bytes == v.bytes &&
           test_value_is(answer, g->bytes, name, key_bytes, v.version);
}

/* Which version of the key is this? 0: none that was ever put. */
static uint32_t version_of(const struct expect *e, const struct reading *g)
{
    for (uint32_t v = e->last_version; v > 0 && g->status == PMKV_OK; v--)
        if (e->history[v].key == g->key &&
            is_value(g, (struct expect_value){v, e->history[v].bytes}))
            return v;
    return 0;
}

static struct expect_value after(const struct expect *e, uint32_t key)
{
    return e->in_flight >> key & 1 ? e->to[key] : e->now[key];
}

static struct reading read_key(const struct expect *e, struct pmkv *kv, uint32_t key,
                               struct verdict *v)
{
    struct reading g = {.key = key};
    size_t key_bytes;
    const char *name = expect_key(key, &key_bytes);
    g.status = pmkv_get(kv, name, key_bytes, answer, sizeof answer, &g.bytes);
    g.states = (is_value(&g, e->now[key]) ? 1 : 0) | (is_value(&g, after(e, key)) ? 2 : 0);
    if (g.states == 0)
        g.version = version_of(e, &g);
    uint64_t of[2] = {(uint64_t)g.status, g.status == PMKV_OK ? hash64(answer, g.bytes) : 0};
    v->answers = hash_mix(v->answers + hash64(of, sizeof of));
    v->lost += g.status == PMKV_E_LOST;
    return g;
}

static void complain(struct verdict *v, const struct expect *e, const struct reading *g)
{
    bool flies = e->in_flight >> g->key & 1;
    if (v->text[0])
        return;
    snprintf(v->text, sizeof v->text,
             "key %u should be version %u%s, is %s with %zu bytes, version %u (%s)", g->key,
             e->now[g->key].version, flies ? " or what is in flight" : "",
             pmkv_status_name(g->status), g->bytes, g->version,
             g->status == PMKV_OK ? "" : pmkv_errormsg());
    v->is_wrong = g->status == PMKV_OK;
}

/* Is it known that the key's record was fenced? Only of the end of a segment that a lane writes is
 * it not, where nothing that is there stands behind it. Versions of a few bytes are not told apart.
 */
static bool is_vouched_for(const struct expect *e, const struct reading *readings, uint32_t key)
{
    const struct expect_place *p = &e->place[key];
    if (!p->known || p->left)
        return p->known;
    for (uint32_t i = 0; i < EXPECT_KEYS; i++) {
        const struct expect_place *q = &e->place[i];
        bool there =
            readings[i].states & 1 && readings[i].status == PMKV_OK && readings[i].bytes >= 8;
        bool behind = q->row > p->row || (q->row == p->row && q->offset > p->offset);
        if (i != key && there && q->known && q->segment == p->segment && behind)
            return true;
    }
    return false;
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

/* Damage beyond the redundancy. What docs/design.md says in section 6: what was hit at the very end
 * of an open row may be missing in silence; and where a range without a name is listed, an older
 * version may be there. */
static bool may_be(const struct reading *g, enum expect_mode mode, const struct lost_seen *lost,
                   bool vouched_for)
{
    if (g->status == PMKV_E_LOST)
        return true;
    if (g->status != PMKV_OK && g->status != PMKV_E_NOT_FOUND)
        return mode == EXPECT_SAFETY;
    if (g->status == PMKV_OK && g->version == 0)
        return false;
    return mode == EXPECT_SAFETY || lost->ranges > 0 || !vouched_for;
}

static uint64_t keys_owed(const struct expect *e, bool later)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < EXPECT_KEYS; i++)
        count += expect_has(later ? after(e, i) : e->now[i]);
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
    struct reading readings[EXPECT_KEYS];
    struct lost_seen lost = {0};
    *v = (struct verdict){.states = 3};
    for (uint32_t i = 0; i < EXPECT_KEYS; i++)
        readings[i] = read_key(e, kv, i, v);
    pmkv_lost_foreach(kv, see_lost, &lost);
    for (uint32_t i = 0; i < EXPECT_KEYS; i++) {
        const struct reading *g = &readings[i];
        if (g->states || mode == EXPECT_ALL)
            v->states &= g->states;
        if (g->states == 0 &&
            (mode == EXPECT_ALL || !may_be(g, mode, &lost, is_vouched_for(e, readings, i))))
            complain(v, e, g);
    }
    if (mode == EXPECT_ALL && !v->text[0])
        judge_whole(e, kv, &lost, v);
}
