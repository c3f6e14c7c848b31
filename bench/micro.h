/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The safe copies of the library beside memcpy.
 */
#ifndef PMKV_BENCH_MICRO_H
#define PMKV_BENCH_MICRO_H

#include <stdbool.h>

#include "options.h"

/* Measures, prints and writes the JSON report when one is asked for. False after printing why. */
bool micro_run(const struct bench_options *opts);

#endif
