/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Runs the list of benchmarks on one engine, once.
 */
#ifndef PMKV_BENCH_RUN_H
#define PMKV_BENCH_RUN_H

#include <stdbool.h>

#include "options.h"
#include "results.h"

/* Versions that a run on an existing store starts from: above all that a fresh one comes to. */
enum { EXISTING_VERSION = 1 << 20 };

/* Called for each row as it is known. */
typedef void (*row_done_fn)(void *arg, const struct row *row);

/* False when anything failed; it is printed, or in the row, by then. */
bool run_engine(const struct bench_options *opts, const struct engine *engine, unsigned threads,
                unsigned round, row_done_fn done, void *arg);

#endif
