/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Runs the list of benchmarks.
 */
#ifndef PMKV_BENCH_RUN_H
#define PMKV_BENCH_RUN_H

#include <stdbool.h>

#include "options.h"

/* All rounds, the reports included. False when anything failed; it is printed by then. */
bool run_benchmarks(const struct bench_options *opts);

#endif
