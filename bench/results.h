/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What was measured: a row for each run of a workload or a limit, and a series for each name over
 * all rounds.
 */
#ifndef PMKV_BENCH_RESULTS_H
#define PMKV_BENCH_RESULTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "measure.h"
#include "pmkv.h"

enum { PERCENTILES = 4 };
extern const double percentile_percents[PERCENTILES]; /* 50, 99, 99.9, 99.99 */

struct latency {
    uint64_t count, min_ns, max_ns;
    double mean_ns, stddev_ns;
    uint64_t percentile_ns[PERCENTILES];
};
struct latency latency_of(const struct histogram *h);

/* The store during a row (differences) and after it. */
struct store_figures {
    bool there; /* false for limits */
    double fences_per_op, media_bytes_per_op;
    uint64_t keys, pool_bytes, free_bytes, dead_bytes, index_bytes;
    uint64_t user_bytes; /* keys and values that are live */
    uint64_t segments_cleaned, records_moved, faults, check_failures;
};
struct store_figures store_figures(const struct pmkv_stats *before, const struct pmkv_stats *after,
                                   uint64_t ops, uint64_t pool_bytes, uint64_t record_bytes);
/* 0 when there is nothing to divide by. */
double store_space_ratio(const struct store_figures *s); /* pool bytes a live byte */
double store_used_ratio(const struct store_figures *s);  /* not free pool bytes a live byte */
double store_index_bytes_per_key(const struct store_figures *s);

struct row {
    const char *name;
    unsigned round, threads, ops_per_call;
    uint64_t ops;
    double elapsed_s, wall_ns, wall_p10_ns, wall_p90_ns, cpu_ns, process_cpu_ns, mops;
    size_t windows, quiet_windows;
    bool noisy, failed;
    char failure[256];
    struct latency latency;
    struct machine_noise noise;
    struct store_figures store;
};

/* Rounds of one name: medians over the rounds, all latencies in one histogram. */
struct series {
    const char *name;
    const char *limits[2]; /* names to compare with; NULL: none */
    unsigned rounds, ops_per_call;
    double wall_ns, wall_min_ns, wall_max_ns, cpu_ns, mops;
    struct histogram latency;
    struct store_figures store; /* of the last round */
};

struct reopen {
    unsigned round;
    uint64_t keys, close_ns, open_ns;
};

struct results {
    struct row *rows;
    size_t row_count;
    struct series *series;
    size_t series_count;
    struct reopen *reopens;
    size_t reopen_count;
};

/* Adds a row made from an engine's result. The pointer is good until the next call. */
struct row *results_add(struct results *r, const char *name, unsigned round,
                        const char *const limits[2], unsigned ops_per_call,
                        const struct measure_result *result, const struct store_figures *store);
void results_add_reopen(struct results *r, struct reopen reopen);
/* Computes the medians of the series; once, at the end. */
void results_finish(struct results *r);
void results_free(struct results *r);

/* Time of a series over that of the limit it is compared with; 0 when the limit was not run. */
double series_ratio(const struct results *r, const struct series *s, unsigned limit);
double reopen_median_ms(const struct results *r);

#endif
