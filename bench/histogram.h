/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A log-linear histogram of nanoseconds: 128 buckets an octave, so a percentile is off by less than
 * 0.8 %. Our own because Debian has no HdrHistogram_c. Values above 2^40 ns count as 2^40.
 */
#ifndef PMKV_BENCH_HISTOGRAM_H
#define PMKV_BENCH_HISTOGRAM_H

#include <stddef.h>
#include <stdint.h>

enum {
    HISTOGRAM_SUB_BITS = 7,
    HISTOGRAM_MAX_BITS = 40,
    HISTOGRAM_BUCKETS = (HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 2) << HISTOGRAM_SUB_BITS
};

struct histogram {
    uint64_t count, min_ns, max_ns;
    double sum_ns, sum_squares;
    uint64_t bucket[HISTOGRAM_BUCKETS];
};

void histogram_reset(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *into, const struct histogram *from);

/* The value below which `percent` of the counted values are; 0 when nothing was counted. */
uint64_t histogram_percentile_ns(const struct histogram *h, double percent);
/* How many were longer, but for the width of a bucket. */
uint64_t histogram_over(const struct histogram *h, uint64_t ns);
double histogram_mean_ns(const struct histogram *h);
double histogram_stddev_ns(const struct histogram *h);

/* Lowest value of a bucket, and its width: for dumps. */
uint64_t histogram_bucket_low_ns(size_t bucket);
uint64_t histogram_bucket_width_ns(size_t bucket);

#endif
