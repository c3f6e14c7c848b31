/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The workloads that go through the public header.
 *
 * A pass writes or reads each of the keys 0..num-1 once, in an order of its own. A write pass gives
 * all keys the same new version, so a reader knows which version it must find.
 */
#ifndef PMKV_BENCH_WORKLOAD_H
#define PMKV_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "data.h"
#include "measure.h"
#include "options.h"
#include "pool.h"

enum { BATCH_OPS = 16 };

/* What a pass works on. */
struct pass {
    struct pmkv *kv;
    struct permutation order;
    uint64_t version; /* to write, or to find */
    uint64_t num;
    size_t key_bytes, value_bytes;
};

/* Keys that are there before and after a workload. */
enum keys_there { KEYS_ANY, KEYS_NONE, KEYS_ALL };

struct workload {
    enum step step;
    void (*run)(struct worker *w, uint64_t first, uint64_t count);
    enum keys_there before, after; /* after KEYS_ANY: as before */
    bool writes;                   /* a new version */
    unsigned ops_per_call;
    const char *limits[2]; /* rows of the limits to compare with; NULL: none */
};

/* NULL for the steps that are no pass: limit, reopen. */
const struct workload *workload_of(enum step step);

/* Runs one pass in the threads of the options. */
bool workload_run(const struct workload *load, const struct bench_options *opts, struct pass *pass,
                  struct measure_result *out);

#endif
