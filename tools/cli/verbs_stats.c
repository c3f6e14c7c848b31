/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* stats: the counters, for people, as JSON, and as text for Prometheus' node exporter. */

#include "args.h"
#include "output.h"
#include "pool.h"
#include "verbs.h"

#include <stddef.h>
#include <stdio.h>

/* X(member, type of metric, what it counts): every member of struct pmkv_stats. */
#define STATS_MAP(X)                                                                               \
    X(keys, "gauge", "keys in the store")                                                          \
    X(live_bytes, "gauge", "bytes of live records, headers included")                              \
    X(dead_bytes, "gauge", "reclaimable bytes in segments")                                        \
    X(free_bytes, "gauge", "bytes of free segments")                                               \
    X(segments_free, "gauge", "free segments")                                                     \
    X(segments_open, "gauge", "segments being written")                                            \
    X(segments_sealed, "gauge", "full segments")                                                   \
    X(index_bytes, "gauge", "memory of the index")                                                 \
    X(puts, "counter", "puts since open")                                                          \
    X(gets, "counter", "gets since open")                                                          \
    X(deletes, "counter", "deletes since open")                                                    \
    X(batches, "counter", "batches since open")                                                    \
    X(misses, "counter", "gets of keys that are not there, since open")                            \
    X(user_bytes_written, "counter", "bytes of keys and values put since open")                    \
    X(media_bytes_written, "counter", "bytes stored to the pool since open")                       \
    X(fences, "counter", "fences since open")                                                      \
    X(segments_cleaned, "counter", "segments cleaned since open")                                  \
    X(records_moved, "counter", "records moved by the cleaner since open")                         \
    X(faults, "counter", "loads and stores that met poison, since open")                           \
    X(check_failures, "counter", "checks that failed since open")                                  \
    X(reads_rebuilt, "counter", "reads answered from redundancy, since open")

struct metric {
    const char *name, *type, *meaning;
    size_t offset;
};

static const struct metric metrics[] = {
#define STATS_METRIC(member, type, meaning)                                                        \
    {#member, type, meaning, offsetof(struct pmkv_stats, member)},
    STATS_MAP(STATS_METRIC)
#undef STATS_METRIC
};
enum { METRIC_COUNT = sizeof(metrics) / sizeof(metrics[0]) };
_Static_assert(METRIC_COUNT * sizeof(uint64_t) == sizeof(struct pmkv_stats),
               "every counter is in STATS_MAP");

struct stats_args {
    struct cli_args common;
    bool prometheus;
};

enum { OPTION_PROMETHEUS = CLI_LONG_OPTION };

static const struct argp_option stats_options[] = {
    {"prometheus", OPTION_PROMETHEUS, NULL, 0, "Print the text format of Prometheus", 0},
    CLI_OPTION_JSON,
    {0},
};

static error_t parse_stats(int key, char *arg, struct argp_state *state)
{
    struct stats_args *args = state->input;

    if (key == OPTION_PROMETHEUS) {
        args->prometheus = true;
        return 0;
    }
    return args_parse_common(&args->common, key, arg, state);
}

static unsigned long long value_of(const struct pmkv_stats *stats, const struct metric *metric)
{
    return *(const uint64_t *)(const void *)((const char *)stats + metric->offset);
}

static void print_text(const struct pmkv_stats *stats)
{
    for (int i = 0; i < METRIC_COUNT; i++)
        printf("%-20s %20llu  %s\n", metrics[i].name, value_of(stats, &metrics[i]),
               metrics[i].meaning);
}

static void print_label(const char *text)
{
    for (; *text; text++) {
        if (*text == '\n') {
            fputs("\\n", stdout);
            continue;
        }
        if (*text == '"' || *text == '\\')
            putchar('\\');
        putchar(*text);
    }
}

static void print_prometheus(const struct pmkv_stats *stats)
{
    for (int i = 0; i < METRIC_COUNT; i++) {
        const char *suffix = metrics[i].type[0] == 'c' ? "_total" : "";
        printf("# HELP pmkv_%s%s %s\n", metrics[i].name, suffix, metrics[i].meaning);
        printf("# TYPE pmkv_%s%s %s\n", metrics[i].name, suffix, metrics[i].type);
        printf("pmkv_%s%s{pool=\"", metrics[i].name, suffix);
        print_label(cli_pool());
        printf("\"} %llu\n", value_of(stats, &metrics[i]));
    }
}

static enum cli_exit print_json(const struct pmkv_stats *stats)
{
    json_t *document = out_document();
    json_t *object = json_object();

    for (int i = 0; i < METRIC_COUNT; i++)
        out_set_u64(object, metrics[i].name, value_of(stats, &metrics[i]));
    out_set(document, "stats", object);
    return out_print(document);
}

static enum cli_exit run_stats(struct pmkv *kv, const struct stats_args *args)
{
    struct pmkv_stats stats;
    enum pmkv_status status = pmkv_stats(kv, &stats);

    if (status != PMKV_OK)
        return cli_fail(status);
    if (args->common.json)
        return print_json(&stats);
    if (args->prometheus)
        print_prometheus(&stats);
    else
        print_text(&stats);
    return CLI_OK;
}

enum cli_exit verb_stats(int argc, char **argv)
{
    static const struct argp argp = {
        stats_options,
        parse_stats,
        "POOL",
        "Prints the counters of the store. Those since open speak of this command's own look at "
        "the pool; a program that serves it has its own (pmkv_stats).",
        NULL,
        NULL,
        NULL};
    struct stats_args args = {.common = {.min_count = 1, .max_count = 1}};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = pool_open(POOL_READ, &kv);
    return code == CLI_OK ? pool_close(&kv, run_stats(kv, &args)) : code;
}
