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

#include "fault.h"
#include "measure.h"

enum { PERCENTILES = 4 };
extern const double percentile_percents[PERCENTILES]; /* 50, 99, 99.9, 99.99 */

struct latency {
    uint64_t count, min_ns, max_ns;
    double mean_ns, stddev_ns;
    uint64_t percentile_ns[PERCENTILES];
};
struct latency latency_of(const struct histogram *h);

/* The store during a row (differences) and after it; -1 for what the engine does not count. */
struct store_figures {
    double fences_per_op, media_bytes_per_op;
    double write_amplification;          /* bytes to the medium a byte of keys and values written */
    double pool_per_live, used_per_live; /* bytes of the medium a live byte */
    double live_share;                   /* of the room for records, what live ones take */
    double index_bytes_per_key;          /* as the engine counts it */
    double dram_bytes_per_key; /* anonymous memory of the process, less what it had before */
    uint64_t keys;
};

/* Plain data: a run in another process sends it as it stands. */
struct row {
    char engine[16], name[24];
    unsigned round, threads, ops_per_call;
    char limits[2][16]; /* names to compare with; empty: none */
    bool skipped;       /* the engine cannot: `note` says why */
    char note[96];
    double close_ms;       /* of open: the close before it */
    uint64_t bytes_per_op; /* read by an operation, where bandwidth is what counts; else 0 */
    struct measure_result m;
    struct store_figures store;
    struct fault_figures faults;
};

/* Rounds of one engine, name and number of threads: medians, all latencies in one histogram. */
struct series {
    const struct row *last;
    unsigned rounds;
    double wall_ns, wall_min_ns, wall_max_ns, cpu_ns, mops, mops_min, mops_max, other_percent;
    struct histogram latency;
};

struct results {
    struct row **rows; /* stay where they are */
    size_t row_count;
    struct series *series;
    size_t series_count;
};

/* Takes a copy. */
struct row *results_add(struct results *r, const struct row *row);
/* Computes the series; once, at the end. */
void results_finish(struct results *r);
void results_free(struct results *r);

/* Time of a series over that of the limit it is compared with; 0 when the limit was not run. */
double series_ratio(const struct results *r, const struct series *s, unsigned limit);

#endif
