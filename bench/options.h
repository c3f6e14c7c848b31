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

#include "engine.h"
#include "fault.h"
#include "pick.h"
#include "pmkv.h"

/* One word of --benchmarks. */
enum step {
    STEP_FILLSEQ,
    STEP_FILLRANDOM,
    STEP_OVERWRITE,
    STEP_UPDATE,
    STEP_WRITEBATCH,
    STEP_READRANDOM,
    STEP_READMISSING,
    STEP_MULTIREADRANDOM,
    STEP_READWHILEWRITING,
    STEP_SEEKRANDOM,
    STEP_DELETERANDOM,
    STEP_YCSBA,
    STEP_YCSBB,
    STEP_YCSBC,
    STEP_YCSBD,
    STEP_YCSBE,
    STEP_YCSBF,
    STEP_OPEN,
    STEP_OPENKILLED,
    STEP_SCRUB,
    STEP_PACK,
    STEP_LIMIT,
    STEP_KINDS
};
enum {
    OPTIONS_MAX_STEPS = 64,
    OPTIONS_MAX_THREADS = 256,
    OPTIONS_MAX_ENGINES = 16,
    OPTIONS_MAX_FILES = 16,
    OPTIONS_MAX_BATCH = 256
};

struct bench_options {
    bool micro;
    enum step steps[OPTIONS_MAX_STEPS];
    unsigned step_count;
    const struct engine *engines[OPTIONS_MAX_ENGINES];
    unsigned engine_count;
    uint64_t num;
    unsigned threads_list[OPTIONS_MAX_ENGINES], threads_count;
    unsigned threads; /* of the list, the one that runs */
    unsigned rounds, batch;
    bool rounds_given;
    double duration_s, ops_per_s; /* 0: none */
    size_t key_bytes, value_bytes;
    enum distribution distribution;
    enum pmkv_geometry geometry;
    enum pmkv_backend backend;
    const char *pool_path;
    uint64_t pool_bytes;        /* 0: auto */
    double fill_percent;        /* 0: half, roughly */
    uint64_t scrub_bytes_per_s; /* 0: none */
    bool flush_line;            /* PMEM2_FORCE_GRANULARITY=CACHE_LINE */
    bool keep_pool, force, use_existing;
    struct fault faults[FAULTS_MAX];
    unsigned fault_count;
    const char *json_path, *hdr_path, *report_path; /* NULL: none */
    int rows_fd;                                    /* rows go there and nowhere else; -1: none */
    int opened_fd; /* gets a byte when the existing store is open; -1: none */
    const char *files[OPTIONS_MAX_FILES]; /* of earlier runs, for the report */
    unsigned file_count;
    uint64_t seed;
};

const char *step_name(enum step step);

enum options_outcome { OPTIONS_RUN, OPTIONS_DONE, OPTIONS_BAD, OPTIONS_NO_ENGINE };
/* Prints what is wrong, the help text or the version by itself. */
enum options_outcome options_parse(struct bench_options *opts, int argc, char **argv);

/* What --help prints. */
extern const char options_help[];

/* The size of a pool that takes the data at half of its capacity, or as --fill says. */
uint64_t options_pool_bytes(const struct bench_options *opts);

#endif
