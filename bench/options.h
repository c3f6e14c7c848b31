/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What the command line asks for.
 */
#ifndef PMKV_BENCH_OPTIONS_H
#define PMKV_BENCH_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pmkv.h"

/* One word of --benchmarks. */
enum step {
    STEP_FILLRANDOM,
    STEP_READRANDOM,
    STEP_OVERWRITE,
    STEP_READMISSING,
    STEP_DELETERANDOM,
    STEP_BATCH16,
    STEP_LIMIT,
    STEP_REOPEN,
    STEP_KINDS
};
enum { OPTIONS_MAX_STEPS = 64, OPTIONS_MAX_THREADS = 256 };

struct bench_options {
    bool micro;
    enum step steps[OPTIONS_MAX_STEPS];
    unsigned step_count;
    uint64_t num;
    unsigned threads, rounds;
    size_t key_bytes, value_bytes;
    enum pmkv_geometry geometry;
    const char *pool_path;
    uint64_t pool_bytes; /* 0: auto */
    bool flush_line;     /* PMEM2_FORCE_GRANULARITY=CACHE_LINE */
    bool keep_pool, force;
    const char *json_path; /* NULL: none */
    uint64_t seed;
};

const char *step_name(enum step step);

enum options_outcome { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_BAD };
/* Prints what is wrong, the help text or the version by itself. */
enum options_outcome options_parse(struct bench_options *opts, int argc, char **argv);

/* The size of a pool that takes the data at half of its capacity. */
uint64_t options_pool_bytes(const struct bench_options *opts);

#endif
