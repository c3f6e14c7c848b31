/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "hdr.h"

#include <math.h>
#include <stdio.h>

/* Percentiles at 5 steps for each halving of what is left, as HdrHistogram prints them. */
enum { STEPS_PER_HALVING = 5 };

static uint64_t count_to(const struct histogram *h, double percent)
{
    uint64_t count = (uint64_t)ceil(percent / 100 * (double)h->count);
    return count < h->count ? count : h->count;
}

static void print_series(FILE *out, const struct series *s)
{
    const struct histogram *h = &s->latency;
    fprintf(out, "#[Engine: %s, Workload: %s, Threads: %u]\n", s->last->engine, s->last->name,
            s->last->threads);
    fprintf(out, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
            "1/(1-Percentile)");
    double percent = 0;
    for (unsigned halving = 0; count_to(h, percent) < h->count; halving++)
        for (unsigned i = 0; i < STEPS_PER_HALVING && count_to(h, percent) < h->count; i++) {
            double left = (100 - percent) / 100;
            fprintf(out, "%12.3f %2.12f %10llu %14.2f\n",
                    (double)histogram_percentile_ns(h, percent) / 1e3, percent / 100,
                    (unsigned long long)count_to(h, percent), 1 / left);
            percent += 100 / pow(2, halving + 1) / STEPS_PER_HALVING;
        }
    fprintf(out, "%12.3f %2.12f %10llu\n", (double)h->max_ns / 1e3, 1.0,
            (unsigned long long)h->count);
    fprintf(out, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", histogram_mean_ns(h) / 1e3,
            histogram_stddev_ns(h) / 1e3);
    fprintf(out, "#[Max     = %12.3f, Total count    = %12llu]\n", (double)h->max_ns / 1e3,
            (unsigned long long)h->count);
    fprintf(out, "#[Buckets = %12d, SubBuckets     = %12d]\n\n",
            HISTOGRAM_MAX_BITS - HISTOGRAM_SUB_BITS + 2, 1 << HISTOGRAM_SUB_BITS);
}

bool hdr_write(const char *path, const struct results *results)
{
    FILE *out = fopen(path, "we");
    for (size_t i = 0; out && i < results->series_count; i++)
        if (results->series[i].latency.count > 0)
            print_series(out, &results->series[i]);
    bool good = out && !ferror(out);
    if (out && fclose(out) != 0)
        good = false;
    if (!good)
        fprintf(stderr, "pmkv-bench: cannot write %s\n", path);
    return good;
}
