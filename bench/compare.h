/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The whole of a run: engines, numbers of threads and rounds, then the reports.
 *
 * Several engines take turns, round by round, so that a slow minute of the machine is one for all;
 * each turn is a process of its own, so that none inherits the memory or the threads of another. It
 * is this program again, which sends its rows through a pipe.
 */
#ifndef PMKV_BENCH_COMPARE_H
#define PMKV_BENCH_COMPARE_H

#include <stdbool.h>

#include "options.h"

/* False when anything failed; it is printed by then. */
bool run_benchmarks(const struct bench_options *opts, int argc, char **argv);

#endif
