/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Mixed workloads: YCSB's, and the seeks. */
#include "workload.h"

#include <string.h>

enum { SCAN_MAX = 100 };

/*
 * Keys below this number are there. A thread says which key it inserts before it takes the number,
 * as a lower bound, and takes that back when the key is there; so a number that was given out
 * before we looked is either there or said to be on its way.
 */
static uint64_t keys_there(struct pass *pass)
{
    uint64_t there = atomic_load(&pass->next_insert);
    for (unsigned i = 0; i < pass->threads; i++) {
        uint64_t on_its_way = atomic_load(&pass->inserting[i]);
        if (on_its_way < there)
            there = on_its_way;
    }
    return there;
}

static uint64_t pick_key(struct pass *pass, struct thread_scratch *s)
{
    uint64_t there = pass->mix->insert > 0 ? keys_there(pass) : pass->num;
    return pick_next(&pass->pick, &s->random, there);
}

/* Beyond the numbers that are set aside an insertion is an update of the last key. */
static void op_insert(struct worker *w, struct pass *pass, struct thread_scratch *s)
{
    atomic_store(&pass->inserting[w->id], atomic_load(&pass->next_insert));
    uint64_t number = atomic_load(&pass->next_insert);
    if (number + pass->threads < pass->insert_end)
        number = atomic_fetch_add(&pass->next_insert, 1);
    else
        number = 0;
    op_put(w, pass, s, number);
    atomic_store(&pass->inserting[w->id], UINT64_MAX);
}

struct scan {
    const struct pass *pass;
    uint64_t first; /* number of the key that was asked for */
    unsigned seen, bad;
    bool full;
};

static void scan_visit(void *arg, const void *key, size_t key_bytes, const void *value,
                       size_t value_bytes)
{
    struct scan *scan = arg;
    uint64_t number = key_bytes == scan->pass->key_bytes ? key_number(key, key_bytes) : UINT64_MAX;
    bool in_place = scan->seen++ == 0 ? number == scan->first : number > scan->first;
    if (!in_place || !op_value_is_good(scan->pass, value, value_bytes, number, scan->full))
        scan->bad++;
}

static void op_scan(struct worker *w, const struct pass *pass, struct thread_scratch *s,
                    uint64_t number, unsigned count)
{
    struct scan scan = {.pass = pass, .first = number, .full = w->full_check};
    unsigned seen = 0;
    key_format(s->keys, pass->key_bytes, number);
    enum engine_status status =
        pass->engine->seek(s->session, s->keys, pass->key_bytes, count, scan_visit, &scan, &seen);
    if (status != ENGINE_OK)
        worker_fail(w, "seek key %llu: %s", (unsigned long long)number, engine_failure());
    else if (seen == 0 || scan.bad > 0)
        worker_fail(w, "seek key %llu: %u records, %u of them WRONG", (unsigned long long)number,
                    seen, scan.bad);
}

void run_seek(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    for (uint64_t i = first; i < first + count && !w->failed; i++)
        op_scan(w, pass, w->scratch, permutation_at(&pass->order, i % pass->num), 1);
}

static void op_mixed(struct worker *w, struct pass *pass, struct thread_scratch *s)
{
    const struct mix *mix = pass->mix;
    uint64_t random = pick_random(&s->random);
    unsigned at = (unsigned)(random % 100);
    if (at < mix->read)
        return op_get(w, pass, s, pick_key(pass, s));
    if ((at -= mix->read) < mix->update)
        return op_put(w, pass, s, pick_key(pass, s));
    if ((at -= mix->update) < mix->insert)
        return op_insert(w, pass, s);
    if ((at -= mix->insert) < mix->scan)
        return op_scan(w, pass, s, pick_key(pass, s), 1 + (unsigned)(random >> 32) % SCAN_MAX);
    uint64_t number = pick_key(pass, s);
    op_get(w, pass, s, number);
    if (!w->failed)
        op_put(w, pass, s, number);
}

void run_mix(struct worker *w, uint64_t first, uint64_t count)
{
    (void)first;
    for (uint64_t i = 0; i < count && !w->failed; i++)
        op_mixed(w, w->shared, w->scratch);
}
