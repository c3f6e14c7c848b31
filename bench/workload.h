/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The workloads, over any engine.
 *
 * A pass writes or reads each of the keys 0..num-1 once, in an order of its own; a mix picks keys
 * at random. All writes of a workload give their keys the same new version. A reader accepts the
 * versions from `low` (all keys have at least that one) to `high` (the newest): after a whole pass
 * of writes that is one version.
 */
#ifndef PMKV_BENCH_WORKLOAD_H
#define PMKV_BENCH_WORKLOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "data.h"
#include "engine.h"
#include "fault.h"
#include "measure.h"
#include "options.h"
#include "pick.h"

/* Parts of a hundred operations of a mix. */
struct mix {
    unsigned read, update, insert, scan, modify;
    enum distribution distribution;
};

/* What a workload works on. */
struct pass {
    const struct engine *engine;
    void *db;
    struct permutation order;
    bool sequential;
    uint64_t version;   /* to write */
    uint64_t low, high; /* to find */
    uint64_t num;       /* keys of a pass */
    _Atomic uint64_t next_insert;
    _Atomic uint64_t
        inserting[OPTIONS_MAX_THREADS]; /* the thread's key on its way, or UINT64_MAX */
    uint64_t insert_end;
    size_t key_bytes, value_bytes;
    unsigned batch, threads;
    uint64_t seed;
    const struct mix *mix;
    struct pick pick;
    bool deletes;     /* keys go away meanwhile */
    bool side_failed; /* the writer beside the readers */
    char side_failure[256];
};

/* Keys that are there before and after a workload. */
enum keys_there { KEYS_ANY, KEYS_NONE, KEYS_ALL };

struct workload {
    enum step step;
    void (*run)(struct worker *w, uint64_t first, uint64_t count);
    enum keys_there before, after; /* after KEYS_ANY: as before */
    bool writes;                   /* a new version */
    bool whole;                    /* a pass, whatever --duration says */
    bool batched;                  /* a call is a batch */
    const char *limits[2];         /* rows of the limits to compare with; NULL: none */
    struct mix mix;
};

/* NULL for the steps that are none: limit, open, openkilled, scrub, pack. */
const struct workload *workload_of(enum step step);
/* Why the engine cannot run it; NULL: it can. */
const char *workload_misfit(const struct workload *load, const struct engine *engine);

/* Runs a workload in the threads of the options; faults of the options, when they are given. */
bool workload_run(const struct workload *load, const struct bench_options *opts, struct pass *pass,
                  struct fault_run *faults, struct measure_result *out);

/* What a thread needs for its operations. */
struct thread_scratch {
    void *session;
    uint64_t random;
    struct engine_read reads[OPTIONS_MAX_BATCH];
    struct engine_write writes[OPTIONS_MAX_BATCH];
    char *keys, *values; /* `batch` of each */
    const char *scan_fault;
    const struct pass *pass;
};
struct thread_scratch *scratch_new(const struct pass *pass, uint64_t seed);
void scratch_free(struct thread_scratch *s);

/* Operations on one key; they fail the worker when anything is not as it must be. */
void op_put(struct worker *w, const struct pass *pass, struct thread_scratch *s, uint64_t number);
void op_get(struct worker *w, const struct pass *pass, struct thread_scratch *s, uint64_t number);
/* The value is one that the pass may find under this number. */
bool op_value_is_good(const struct pass *pass, const void *value, size_t bytes, uint64_t number,
                      bool full);
/* `first` .. + count - 1 of a mix: mix.c. */
void run_mix(struct worker *w, uint64_t first, uint64_t count);
void run_seek(struct worker *w, uint64_t first, uint64_t count);

#endif
