/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Runs one kind of operation in some threads and measures it twice over, in turns:
 *
 *   plain windows   up to 1024 operations back to back between two readings of the clocks.
 *                   Operations may overlap in the CPU as they do in a program. Windows in which the
 *                   thread was pre-empted (wall > 1.1 CPU) are dropped from the median. The rate is
 *                   taken in wall time over all threads, not from windows: see windows.h.
 *   timed windows   each operation by itself, into the histogram. Operations do not overlap.
 *
 * With a rate operations start at moments laid down beforehand, and their latency counts from then:
 * a store that stalls is charged for all that had to wait (all windows are timed then).
 */
#ifndef PMKV_BENCH_MEASURE_H
#define PMKV_BENCH_MEASURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"
#include "machine.h"

struct measure_window {
    double wall_ns, cpu_ns; /* an operation */
};

/* Operations done in each interval; the interval doubles when the space is used up. */
enum { TIMELINE_MAX = 256, STALL_NS = 10 * 1000 * 1000 };
struct timeline {
    double interval_s;
    unsigned count;
    uint32_t ops[TIMELINE_MAX];
};

struct worker {
    void *shared;    /* the job's */
    void *scratch;   /* what the job's setup made for this thread */
    bool full_check; /* compare all bytes that are read (timed windows), or a few */
    unsigned id;
    uint64_t first, end; /* operations of this thread, with a rate */
    struct measure_window *windows;
    size_t window_count, window_max;
    _Atomic uint64_t done;
    uint64_t stalled; /* timed operations longer than STALL_NS */
    uint64_t start_ns, deadline_ns;
    uint64_t plain_ops, plain_cpu_ns;
    struct histogram latency;
    bool failed;
    char failure[256];
};

/* A failed worker stops at the end of its window. */
void worker_fail(struct worker *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

struct job {
    /* Does operations first .. first + count - 1. */
    void (*run)(struct worker *w, uint64_t first, uint64_t count);
    /* Per thread, before the start and after the end; may be NULL. */
    bool (*setup)(struct worker *w);
    void (*teardown)(struct worker *w);
    void *shared;
    uint64_t ops;      /* with a duration: no bound */
    double duration_s; /* 0: until all operations are done */
    double ops_per_s;  /* of all threads; 0: one after the other */
    bool all_timed;    /* no plain windows */
    /* Threads that run beside the workers until *stop; NULL: none. */
    void (*side[2])(void *arg, const _Atomic bool *stop);
    void *side_arg[2];
    unsigned ops_per_call; /* 16 for batches of 16: latency is that of the call; 0 is 1 */
    unsigned threads;
};

struct measure_result {
    uint64_t ops, stalled;
    unsigned threads;
    double elapsed_s;
    double wall_ns, wall_p10_ns, wall_p90_ns; /* an operation of one thread: quiet windows */
    double cpu_ns;                            /* an operation of one thread: all plain windows */
    double process_cpu_ns;                    /* an operation, all threads of the process */
    double mops; /* all threads, plain blocks (windows.h), in wall time */
    size_t windows, quiet_windows;
    bool noisy; /* too few quiet windows: the median is over all of them */
    struct histogram latency;
    struct timeline timeline;
    struct machine_noise noise;
    bool failed;
    char failure[256];
};

/* Fills `out`; false when a worker failed or could not be made (out->failure). */
bool measure_run(const struct job *job, struct measure_result *out);

/* The value at `fraction` of a sorted array, between two of them when need be; 0 of none. */
double sorted_at(const double *values, size_t count, double fraction);
int compare_doubles(const void *a, const void *b);

#endif
