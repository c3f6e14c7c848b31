/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Scans of the hash index: what is there all the time is given once, whatever growth does. */

#include "index_model.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>

enum { BASE = 250000, EXTRA = 900000 };

/* seen[i]: how often the scan gave number i, which is key i in whatever version. */
struct scan_check {
    struct model m;
    uint64_t *number; /* position -> number */
    uint8_t *seen;
};

static void scan_check_open(struct scan_check *c, uint64_t expected)
{
    model_open(&c->m, expected, BASE + EXTRA, BASE + 2 * EXTRA);
    c->number = calloc(c->m.limit, sizeof *c->number);
    c->seen = calloc(BASE + EXTRA, 1);
    for (uint64_t i = 0; i < BASE; i++)
        c->number[model_put(&c->m, model_hash(i))] = i;
}

static void scan_check_close(struct scan_check *c)
{
    free(c->number);
    free(c->seen);
    model_close(&c->m);
}

static void scan_check_take(struct scan_check *c, const struct index_scan *scan)
{
    for (uint32_t i = 0; i < scan->count; i++)
        c->seen[c->number[slot_position(scan->slots[i])]]++;
}

static void scan_check_verify(const struct scan_check *c)
{
    for (uint64_t i = 0; i < BASE; i++)
        cr_assert_eq(c->seen[i], 1, "key %lu given %d times", i, c->seen[i]);
    for (uint64_t i = BASE; i < BASE + EXTRA; i++)
        cr_assert_leq(c->seen[i], 1, "new key %lu given %d times", i, c->seen[i]);
}

/* Adds a key and replaces one, so that growth goes on under the scan. */
static void scan_disturb(struct scan_check *c, uint64_t i)
{
    c->number[c->m.next] = BASE + i;
    model_put(&c->m, model_hash(BASE + i));
    uint64_t replaced = model_hash(~i) % BASE;
    c->number[c->m.next] = replaced;
    model_put(&c->m, model_hash(replaced));
}

static void scan_while_growth_overtakes_it(uint64_t expected)
{
    struct scan_check c;
    struct index_scan scan;
    uint64_t disturbed = 0;
    scan_check_open(&c, expected);
    cr_assert_eq(index_scan_begin(c.m.ix, &scan), 0);
    while (index_scan_step(&scan) == 1) {
        scan_check_take(&c, &scan);
        for (int i = 0; i < 9 && disturbed < EXTRA; i++)
            scan_disturb(&c, disturbed++);
    }
    cr_assert_eq(index_scan_step(&scan), 0);
    index_scan_end(&scan);
    cr_assert_geq(level_of(count_observe(c.m.ix)), 17);
    scan_check_verify(&c);
    scan_check_close(&c);
}

Test(index_scan, scan_gives_every_slot_once_while_growth_overtakes_it, .timeout = 60)
{
    scan_while_growth_overtakes_it(0);
}

Test(index_scan, scan_that_begins_half_way_through_a_level_gives_every_slot_once, .timeout = 60)
{
    scan_while_growth_overtakes_it(90000 * 9 / 2);
}

static void *disturb_thread(void *arg)
{
    struct scan_check *c = arg;
    for (uint64_t i = 0; i < EXTRA; i++)
        scan_disturb(c, i);
    return NULL;
}

Test(index_scan, scan_gives_every_slot_once_while_a_thread_grows, .timeout = 60)
{
    struct scan_check c;
    struct index_scan scan;
    pthread_t thread;
    scan_check_open(&c, 0);
    pthread_create(&thread, NULL, disturb_thread, &c);
    cr_assert_eq(index_scan_begin(c.m.ix, &scan), 0);
    while (index_scan_step(&scan) == 1)
        scan_check_take(&c, &scan);
    index_scan_end(&scan);
    pthread_join(thread, NULL);
    scan_check_verify(&c);
    scan_check_close(&c);
}

Test(index_scan, scan_of_one_long_chain_gives_all_of_it)
{
    struct model m;
    struct index_scan scan;
    model_open(&m, 0, 1000000, 4096);
    for (uint64_t i = 0; i < 1000; i++)
        model_put(&m, i << LEVEL_MAX);
    cr_assert_eq(index_scan_begin(m.ix, &scan), 0);
    cr_assert_eq(index_scan_step(&scan), 1);
    cr_assert_eq(scan.count, 1000);
    index_scan_end(&scan);
    model_close(&m);
}
