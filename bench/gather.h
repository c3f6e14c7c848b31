/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What the page and the table draw: the series of all reports, and questions to ask of them.
 */
#ifndef PMKV_BENCH_GATHER_H
#define PMKV_BENCH_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include <jansson.h>

enum { GATHER_MAX = 1024, GATHER_NAMES = 40 };

struct gather {
    json_t *const *reports;
    unsigned report_count;
    const json_t *series[GATHER_MAX]; /* without those of faults and the limits' rows */
    size_t series_count;
    const char *engines[GATHER_NAMES], *workloads[GATHER_NAMES];
    size_t engine_count, workload_count;
    int threads; /* the least that is there: of bars, latencies and the table */
};

void gather(struct gather *g, json_t *const *reports, unsigned count);

/* The series of an engine; threads -1: any; NULL when it was not run. */
const json_t *gather_find(const struct gather *g, const char *engine, const char *workload,
                          int threads);
const char *gather_text(const json_t *object, const char *name);
/* -1 when it is not there; "a.b" goes down. */
double gather_real(const json_t *object, const char *path);
/* open and openkilled: what counts is their time, not their rate. */
bool gather_is_time(const char *workload);

/* The same figures as the page, as tables in Markdown. */
void markdown_write(FILE *out, const struct gather *g);

#endif
