/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Faults while a workload runs: --inject. A thread beside the workers damages the record of a
 * random key at the moments asked for and reads that key at once, so that the damage is found: the
 * time from the injection to that good read is what a reader of the damaged place sees.
 *
 * The next fault waits until the store has repaired what it knows of, so that no two faults meet in
 * one row: within that budget nothing may be lost.
 */
#ifndef PMKV_BENCH_FAULT_H
#define PMKV_BENCH_FAULT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "histogram.h"
#include "pmkv.h"

enum { FAULTS_MAX = 16, FAULT_MARKS = 256 };

/* One entry of --inject. */
struct fault {
    enum pmkv_inject_kind kind;
    double per_second; /* 0: once, at_s after the start */
    double at_s;
};
/* Adds to the list. False after printing what is wrong. */
bool faults_parse(const char *text, struct fault *faults, unsigned *count);

/* What came of them. */
struct fault_figures {
    uint32_t injected, mark_count;
    float marks_s[FAULT_MARKS]; /* when, after the start of the workload; the first ones */
    double first_read_median_ms, first_read_max_ms;
    uint64_t faults, check_failures, rebuilt, repaired, lost, pending_at_end;
};

struct pass;
struct fault_run {
    const struct fault *faults;
    unsigned count;
    struct pass *pass;
    uint64_t seed;
    struct fault_figures figures;
    bool failed;
    char failure[256];
};
/* A side of a job: runs the injections until *stop. */
void faults_run(void *fault_run, const _Atomic bool *stop);

#endif
