/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The index grows while its keys are put, read, deleted and scanned (X1..X4 of kv/index_impl.h). */
#include <criterion/criterion.h>

#include <stdio.h>
#include <string.h>

#include "explore.h"
#include "kv/index_impl.h"
#include "kv/read.h"

TestSuite(sched_index, .timeout = 600);

enum { KEYS = 9 }; /* more than a bucket's slots: a chain */

/* Names of the first bucket that is split, found once: some 65536 tries each. */
static void first_bucket(struct world *w)
{
    static char found[KEYS][24];
    static uint32_t count, number;
    for (; count < KEYS; number++) {
        int bytes = snprintf(found[count], sizeof found[0], "grown-%u", number);
        count += (key_hash(found[count], (size_t)bytes) & 0xffff) == 0;
    }
    memcpy(w->names, found, sizeof found);
}

static void keys_there(struct world *w)
{
    for (uint32_t key = 1; key < KEYS; key++)
        do_put(w, key, 40);
}

static uint32_t tag_of(const struct world *w, uint32_t key)
{
    return slot_tag(slot_make(1, 0, key_hash(w->names[key], strlen(w->names[key]))));
}

/* Are the keys in the buckets that are split? A scan shows each at most once. */
static void scan(struct world *w)
{
    struct index_scan scan;
    uint32_t seen[KEYS] = {0}, begin = w->h.clock++;
    cr_assert_eq(index_scan_begin(w->kv->index, &scan), 0);
    while (index_scan_step(&scan) == 1) {
        for (uint32_t i = 0; i < scan.count; i++)
            for (uint32_t key = 0; key < KEYS; key++)
                seen[key] += slot_tag(scan.slots[i]) == tag_of(w, key);
        if (scan.next == 1)
            scan.next = 1 << LEVEL_MIN; /* nothing of theirs is in the others */
    }
    index_scan_end(&scan);
    for (uint32_t key = 0; key < KEYS; key++) {
        if (seen[key] > 1)
            world_fail("a scan shows key %u %u times", key, seen[key]);
        do_seen(w, key, seen[key] == 1, begin);
    }
}

static void explore_growth(const char *name, void (*body)(struct world *w, unsigned thread))
{
    explore(&(struct sched_script){.name = name,
                                   .threads = 3,
                                   .keys = KEYS,
                                   .lanes = 2,
                                   .schedules = 400,
                                   .names = first_bucket,
                                   .prepare = keys_there,
                                   .arrange = world_index_is_full,
                                   .body = body});
}

static void grow_and_read(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        index_grow_step(w->kv->index);
        do_put(w, 0, 40);
        index_grow_step(w->kv->index);
        return;
    case 1:
        do_get(w, 8);
        do_get(w, 1);
        do_get(w, 0);
        return;
    default:
        do_put(w, 1, 40);
        do_get(w, 7);
        do_put(w, 8, 40);
    }
}

Test(sched_index, growth_against_puts_and_gets)
{
    explore_growth("index growth against puts and gets", grow_and_read);
}

static void grow_and_scan(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        index_grow_step(w->kv->index);
        do_put(w, 0, 40);
        return;
    case 1:
        scan(w);
        return;
    default:
        do_put(w, 3, 40);
        do_put(w, 2, 40);
    }
}

Test(sched_index, growth_against_scans)
{
    explore_growth("index growth against scans", grow_and_scan);
}
