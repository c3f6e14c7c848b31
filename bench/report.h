/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Figures for people (text) and for programs (JSON).
 */
#ifndef PMKV_BENCH_REPORT_H
#define PMKV_BENCH_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include <jansson.h>

#include "machine.h"
#include "options.h"
#include "results.h"

/* The text goes to the standard error when the JSON goes to the standard output. */
FILE *report_stream(const struct bench_options *opts);

void report_machine(FILE *out, const struct machine *machine);
void report_start(FILE *out, const struct bench_options *opts);
void report_row_heading(FILE *out);
void report_row(FILE *out, const struct row *row);
void report_summary(FILE *out, const struct results *results);

/* The object with what all reports have: version, time, machine. */
json_t *report_json_head(const struct machine *machine);
json_t *report_json(const struct bench_options *opts, const struct machine *machine,
                    const struct results *results);
/* Takes the object. False after printing why. */
bool report_json_write(const char *path, json_t *report);

#endif
