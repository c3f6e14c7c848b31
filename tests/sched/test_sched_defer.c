/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Puts that compare later (kv/defer.h), of keys that the index cannot tell apart. */
#include <criterion/criterion.h>

#include <stdlib.h>
#include <string.h>

#include "explore.h"
#include "kv/defer.h"
#include "kv/meta.h"
#include "kv/segment.h"

TestSuite(sched_defer, .timeout = 600);

enum { KEYS = 4 };

/* Two pairs whose hashes have the same 36 low bits, of two million such names. */
static void twins(struct world *w)
{
    static const char *const names[KEYS] = {"twin-68609", "twin-205544", "twin-78820",
                                            "twin-1106728"};
    for (uint32_t i = 0; i < KEYS; i++)
        strcpy(w->names[i], names[i]);
    for (uint32_t i = 0; i < KEYS; i += 2) {
        uint64_t one = key_hash(names[i], strlen(names[i]));
        uint64_t other = key_hash(names[i + 1], strlen(names[i + 1]));
        cr_assert_eq((one ^ other) << 28, 0, "%s and %s are told apart", names[i], names[i + 1]);
    }
}

static void explore_twins(struct sched_script script)
{
    script.threads = 3;
    script.keys = KEYS;
    script.lanes = 2;
    script.names = twins;
    explore(&script);
}

static void one_of_each(struct world *w)
{
    do_put(w, 1, 100);
    do_put(w, 3, 300);
}

/* --- readers and writers ---------------------------------------------------------------------- */

static void displace(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put(w, 0, 200);
        do_get(w, 1);
        do_put(w, 0, 100);
        return;
    case 1:
        do_get(w, 1);
        do_get(w, 0);
        do_exists(w, 1);
        return;
    default:
        do_get(w, 1);
        do_put(w, 2, 100);
        do_get(w, 3);
    }
}

Test(sched_defer, a_key_whose_slot_was_taken_is_there)
{
    explore_twins((struct sched_script){.name = "gets of a key whose slot was taken",
                                        .schedules = 800,
                                        .prepare = one_of_each,
                                        .body = displace});
}

static void displace_and_write(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put(w, 0, 200);
        do_delete(w, 1);
        do_put(w, 1, 100);
        return;
    case 1:
        do_put(w, 1, 150);
        do_delete(w, 0);
        do_get(w, 1);
        return;
    default:
        do_put_if(w, 1, 80);
        do_batch(w, 0, 2, 0, 60);
        do_create(w, 3, 90);
    }
}

Test(sched_defer, both_are_written)
{
    explore_twins((struct sched_script){.name = "both of two such keys are written",
                                        .schedules = 800,
                                        .prepare = one_of_each,
                                        .body = displace_and_write});
}

/* A put over a delete, of the key itself and of the other: what counts as a key, and I8. */
static void deleted(struct world *w)
{
    one_of_each(w);
    do_delete(w, 1);
    do_put(w, 3, 200);
    do_delete(w, 3);
}

static void put_over_deletes(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put(w, 1, 100);
        do_put(w, 2, 100);
        return;
    case 1:
        do_get(w, 1);
        do_put(w, 0, 100);
        do_get(w, 3);
        return;
    default:
        do_put(w, 3, 50);
        do_exists(w, 1);
        do_delete(w, 2);
    }
}

Test(sched_defer, puts_over_deletes)
{
    explore_twins((struct sched_script){.name = "puts over deletes",
                                        .schedules = 800,
                                        .prepare = deleted,
                                        .reopens = true,
                                        .body = put_over_deletes});
}

/* --- long values ------------------------------------------------------------------------------ */

static void long_ones(struct world *w)
{
    do_put(w, 0, 20000);
    do_put(w, 3, 18000);
}

static void displace_long_values(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put(w, 0, 50);
        do_put(w, 2, 50);
        return;
    case 1:
        do_get(w, 0);
        do_get(w, 3);
        return;
    default:
        do_get(w, 3);
        do_put(w, 3, 60);
        do_put(w, 0, 17000);
    }
}

Test(sched_defer, long_values_are_displaced)
{
    explore_twins((struct sched_script){.name = "long values are displaced",
                                        .schedules = 500,
                                        .prepare = long_ones,
                                        .body = displace_long_values});
}

/* --- the cleaner, scans, growth --------------------------------------------------------------- */

static void sealed(struct world *w)
{
    do_put(w, 1, 400);
    do_put(w, 3, 400);
    do_put(w, 2, 400);
    world_fill_segment(w, 1);
    do_leave_segment(w);
    seal_waiting(w->kv);
}

static void note_segment(struct world *w)
{
    w->segment = world_segment_of(w, 1);
}

static void displace_and_clean(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put(w, 0, 100);
        do_put(w, 3, 100);
        do_get(w, 1);
        return;
    case 1:
        do_clean(w, w->segment);
        do_leave_segment(w);
        for (uint32_t i = 0; i < 3; i++)
            do_fill(w, i, 8000);
        return;
    default:
        do_get(w, 1);
        do_get(w, 2);
        do_get(w, 1);
    }
}

Test(sched_defer, what_was_displaced_outlives_its_segment)
{
    explore_twins((struct sched_script){.name = "puts that displace against the cleaner",
                                        .schedules = 800,
                                        .prepare = sealed,
                                        .arrange = note_segment,
                                        .body = displace_and_clean});
}

/* Which of the keys is at a place? KEYS: none. */
static uint32_t key_at(struct world *w, struct log_pos pos)
{
    uint8_t *record;
    struct record_header h;
    uint32_t key = 0;
    if (read_record(w->kv, pos, pos_generation(w->kv, pos), &record) != FIND_HIT)
        return KEYS;
    memcpy(&h, record, sizeof h);
    while (key < KEYS && (strlen(w->names[key]) != h.key_bytes ||
                          memcmp(w->names[key], record + sizeof h, h.key_bytes) != 0))
        key++;
    free(record);
    return key;
}

/* A scan of the first pair's bucket. */
static void scan(struct world *w)
{
    struct index_scan scan;
    uint32_t seen[KEYS + 1] = {0}, begin = w->h.clock++;
    cr_assert_eq(index_scan_begin(w->kv->index, &scan), 0);
    scan.next = key_hash(w->names[0], strlen(w->names[0])) & 0xffff;
    cr_assert_eq(index_scan_step(&scan), 1);
    for (uint32_t i = 0; i < scan.count; i++)
        seen[key_at(w, (struct log_pos){slot_position(scan.slots[i])})]++;
    index_scan_end(&scan);
    for (uint32_t key = 0; key < 2; key++) {
        if (seen[key] > 1)
            world_fail("a scan shows key %u %u times", key, seen[key]);
        do_seen(w, key, seen[key] == 1, begin);
    }
}

static void displace_and_scan(struct world *w, unsigned thread)
{
    switch (thread) {
    case 0:
        do_put(w, 0, 40);
        do_put(w, 2, 40);
        return;
    case 1:
        scan(w);
        return;
    default:
        index_grow_step(w->kv->index);
        do_get(w, 1);
    }
}

Test(sched_defer, a_scan_shows_what_was_displaced)
{
    explore_twins((struct sched_script){.name = "puts that displace against a scan and growth",
                                        .schedules = 300,
                                        .prepare = one_of_each,
                                        .arrange = world_index_is_full,
                                        .body = displace_and_scan});
}
