/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Latencies as the percentile text of HdrHistogram, which its plotters read: microseconds, one
 * block for each series.
 */
#ifndef PMKV_BENCH_HDR_H
#define PMKV_BENCH_HDR_H

#include <stdbool.h>

#include "results.h"

/* False after printing why. */
bool hdr_write(const char *path, const struct results *results);

#endif
