/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What the cleaner costs (P10): a pool of which --percent of the capacity is live is overwritten
 * again and again, uniformly and then with skew (zipfian, 0.99). For each the program prints the
 * rate beside that of filling the empty pool, the records stored for each put beside those of a
 * simulation with as many segments, free ones and records (clean_model.h), and the longest pauses.
 * It fails when more is moved than 15 % above the best policy of the simulation; rates and pauses
 * are the machine's as well, and are only printed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "../support/check.h"
#include "../support/options.h"
#include "../support/pool.h"
#include "../support/rng.h"
#include "clean_model.h"

enum { KEY_BYTES = 16, VALUE_BYTES = 200, HEADER_BYTES = 32, LINE = 64, PAGE_PAYLOAD = 63 * LINE };
enum { RECORD_BYTES = HEADER_BYTES + KEY_BYTES + VALUE_BYTES }; /* a multiple of 8 */
enum { STORED_BYTES = (RECORD_BYTES + LINE - 1) / LINE * LINE, SUMMARY_BYTES = 25 };

static struct test_options options = {.rounds = 4, .pool_mib = 128};
static uint64_t percent = 80;
static struct pmkv *store;
static struct pmkv_info info;

/* --- which key -------------------------------------------------------------------------------- */

struct chooser {
    struct test_rng rng;
    uint32_t keys;
    bool skewed;
    double zeta, zeta_of_two, alpha, eta;
};

/* Zipfian ranks as in Gray and others, 1994; neighbours in rank are no neighbours by key. */
static struct chooser chooser_make(uint32_t keys, bool skewed)
{
    const double theta = 0.99;
    struct chooser c = {.rng = test_rng_make(options.seed, skewed), .keys = keys, .skewed = skewed};
    for (uint32_t i = 1; i <= keys && skewed; i++)
        c.zeta += pow(i, -theta);
    c.zeta_of_two = 1 + pow(0.5, theta);
    c.alpha = 1 / (1 - theta);
    c.eta = (1 - pow(2.0 / keys, 1 - theta)) / (1 - c.zeta_of_two / c.zeta);
    return c;
}

static uint32_t choose(void *arg)
{
    struct chooser *c = arg;
    if (!c->skewed)
        return (uint32_t)test_rng_below(&c->rng, c->keys);
    double u = (double)(test_rng_next(&c->rng) >> 11) / 9007199254740992.0; /* 2^53 */
    uint64_t rank = (uint64_t)(c->keys * pow(c->eta * u - c->eta + 1, c->alpha));
    if (u * c->zeta < 1)
        rank = 0;
    else if (u * c->zeta < c->zeta_of_two)
        rank = 1;
    return (uint32_t)(rank * 2654435761u % c->keys);
}

/* --- putting ---------------------------------------------------------------------------------- */

struct part { /* of the run */
    double wall_s, cpu_s, longest_s, longest_unforced_s;
    uint64_t puts, pauses, forced; /* pauses of more than 1 ms; the scheduler took the CPU away */
    double free_segments;          /* mean */
    struct pmkv_stats before, after;
};

static double cpu_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static bool put(uint32_t key, uint64_t version)
{
    char name[KEY_BYTES + 1], value[VALUE_BYTES];
    snprintf(name, sizeof name, "%016x", key);
    memset(value, (int)(version * 31 + 1) & 0xff, sizeof value);
    memcpy(value, &version, sizeof version);
    return test_status(pmkv_put(store, name, KEY_BYTES, value, sizeof value), PMKV_OK, "pmkv_put");
}

static void note_pause(struct part *p, double seconds, long *switches)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    bool forced = usage.ru_nivcsw > *switches;
    *switches = usage.ru_nivcsw;
    p->pauses++;
    p->forced += forced;
    if (!forced && seconds > p->longest_unforced_s)
        p->longest_unforced_s = seconds;
}

/* `next` NULL: every key once, in order. */
static struct part put_many(uint64_t count, struct chooser *next)
{
    struct part p = {.puts = count};
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    long switches = usage.ru_nivcsw;
    uint64_t looks = 0;
    test_status(pmkv_stats(store, &p.before), PMKV_OK, "pmkv_stats");
    double start = test_now(), cpu = cpu_now(), last = start;
    for (uint64_t i = 0; i < count; i++) {
        if (!put(next ? choose(next) : (uint32_t)i, i))
            break;
        double now = test_now();
        if (now - last > p.longest_s)
            p.longest_s = now - last;
        if (now - last > 1e-3)
            note_pause(&p, now - last, &switches);
        last = now;
        if (i % 8192 == 0) {
            test_status(pmkv_stats(store, &p.after), PMKV_OK, "pmkv_stats");
            p.free_segments += (double)p.after.segments_free;
            looks++;
            last = test_now();
        }
    }
    p.wall_s = test_now() - start;
    p.cpu_s = cpu_now() - cpu;
    p.free_segments /= (double)looks;
    test_status(pmkv_stats(store, &p.after), PMKV_OK, "pmkv_stats");
    return p;
}

/* --- comparing -------------------------------------------------------------------------------- */

static uint64_t segment_payload(void)
{
    return (uint64_t)info.segment_rows * info.row_pages * PAGE_PAYLOAD;
}

/* The same room, without what twins and the store's own records take: their segments are as full as
 * the others. */
static struct clean_model model_of(const struct part *p, uint32_t keys, struct chooser *chooser)
{
    uint64_t own = p->after.live_bytes - (uint64_t)keys * RECORD_BYTES;
    double full = (double)p->after.live_bytes / (double)(p->after.live_bytes + p->after.dead_bytes);
    uint64_t row = (uint64_t)info.row_pages * PAGE_PAYLOAD;
    return (struct clean_model){.segments =
                                    info.segment_count - 2 -
                                    (uint32_t)((double)own / full / (double)segment_payload()),
                                .keep_free = (uint32_t)(p->free_segments + 0.5) + info.lanes / 2,
                                .records = (uint32_t)(row / STORED_BYTES) * info.segment_rows,
                                .survivors = (uint32_t)(row / RECORD_BYTES) * info.segment_rows,
                                .keys = keys,
                                .pick = choose,
                                .arg = chooser,
                                .warm = p->puts / 2,
                                .counted = p->puts};
}

static void say(const char *name, const struct part *p, const struct part *fill)
{
    double wall = p->wall_s / (double)p->puts * 1e9, cpu = p->cpu_s / (double)p->puts * 1e9;
    double fill_wall = fill->wall_s / (double)fill->puts * 1e9;
    double fill_cpu = fill->cpu_s / (double)fill->puts * 1e9;
    printf("%-8s %5.0f ns a put, %3.0f %% of the rate of the fill; CPU %5.0f ns, %3.0f %%; longest "
           "%.1f ms; over 1 ms %llu, %llu of them preempted, the longest else %.1f ms\n",
           name, wall, 100 * fill_wall / wall, cpu, 100 * fill_cpu / cpu, p->longest_s * 1e3,
           (unsigned long long)p->pauses, (unsigned long long)p->forced,
           p->longest_unforced_s * 1e3);
}

static void compare(const char *name, const struct part *p, uint32_t keys, bool skewed)
{
    double moved = (double)(p->after.records_moved - p->before.records_moved);
    double stored = 1 + moved / (double)p->puts, best = INFINITY;
    printf("         %.2f records stored a put; simulated:", stored);
    for (int policy = 0; policy < CLEAN_POLICIES; policy++) {
        struct chooser chooser = chooser_make(keys, skewed);
        struct clean_model model = model_of(p, keys, &chooser);
        double simulated = clean_model_run(&model, (enum clean_policy)policy);
        printf(" %s %.2f", clean_policy_name((enum clean_policy)policy), simulated);
        if (simulated < best)
            best = simulated;
    }
    printf("; %.1f segments free\n", p->free_segments);
    if (options.self_test)
        stored *= 2;
    test_that(stored <= best * 1.15, "%s: %.2f records stored a put, %.2f are enough", name, stored,
              best);
}

static void say_space(const char *when, uint32_t keys)
{
    struct pmkv_stats stats;
    test_status(pmkv_stats(store, &stats), PMKV_OK, "pmkv_stats");
    double user = (double)keys * (KEY_BYTES + VALUE_BYTES);
    double segment = (double)info.pool_bytes / info.segment_count;
    printf("%-8s %.2f pool bytes used a live byte (%llu of %u segments free)\n", when,
           ((double)info.segment_count - (double)stats.segments_free) * segment / user,
           (unsigned long long)stats.segments_free, info.segment_count);
}

static void story(void)
{
    test_status(pmkv_info(store, &info), PMKV_OK, "pmkv_info");
    uint32_t keys =
        (uint32_t)(info.capacity_bytes * percent / 100 / (RECORD_BYTES + SUMMARY_BYTES));
    struct part fill = put_many(keys, NULL);
    say("fill", &fill, &fill);
    say_space("loaded", keys);
    uint64_t pass = info.segment_count * segment_payload() / STORED_BYTES * options.rounds / 2;
    for (int skewed = 0; skewed < 2 && test_failures() == 0; skewed++) {
        const char *name = skewed ? "zipfian" : "uniform";
        struct chooser chooser = chooser_make(keys, skewed);
        put_many(pass / 2, &chooser);
        struct part part = put_many(pass, &chooser);
        say(name, &part, &fill);
        compare(name, &part, keys, skewed);
    }
}

int main(int argc, char **argv)
{
    const struct test_option extra[] = {
        {"percent", TEST_OPTION_NUMBER, &percent, "N: of the capacity is live (default 80)"},
        {NULL, TEST_OPTION_FLAG, NULL, NULL},
    };
    test_options_parse(&options, extra, argc, argv);
    test_begin("stress_clean", options.seed, options.self_test);
    test_deadline(600);
    char path[TEST_PATH_BYTES];
    test_pool_path(path, options.dir != NULL ? options.dir : test_dir_memory(), "clean");
    if (test_pool_create(path, &options))
        store = test_pool_open(path, 0);
    if (store != NULL) {
        story();
        test_pool_check(store);
        test_pool_close(&store);
    }
    test_pool_remove(path, &options);
    return test_end("%llu %% of %llu MiB live", (unsigned long long)percent,
                    (unsigned long long)options.pool_mib);
}
