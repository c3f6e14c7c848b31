/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "histogram.h"

#include <math.h>
#include <string.h>

/*
 * Values below 2^SUB_BITS have a bucket each. Above, the top SUB_BITS + 1 bits of a value choose
 * the bucket: octave by octave, 2^SUB_BITS buckets in each.
 */
enum { SUB_COUNT = 1 << HISTOGRAM_SUB_BITS };

static size_t bucket_of(uint64_t ns)
{
    if (ns < SUB_COUNT)
        return (size_t)ns;
    if (ns >> HISTOGRAM_MAX_BITS)
        ns = 1ull << HISTOGRAM_MAX_BITS;
    unsigned top = 63u - (unsigned)__builtin_clzll(ns);
    unsigned shift = top - HISTOGRAM_SUB_BITS;
    return ((size_t)shift << HISTOGRAM_SUB_BITS) + (size_t)(ns >> shift);
}

uint64_t histogram_bucket_width_ns(size_t bucket)
{
    size_t octave = bucket >> HISTOGRAM_SUB_BITS;
    return octave == 0 ? 1 : 1ull << (octave - 1);
}

uint64_t histogram_bucket_low_ns(size_t bucket)
{
    size_t octave = bucket >> HISTOGRAM_SUB_BITS;
    if (octave == 0)
        return bucket;
    return (uint64_t)(SUB_COUNT + bucket % SUB_COUNT) << (octave - 1);
}

void histogram_reset(struct histogram *h)
{
    memset(h, 0, sizeof *h);
    h->min_ns = UINT64_MAX;
}

void histogram_add(struct histogram *h, uint64_t ns)
{
    h->count++;
    h->sum_ns += (double)ns;
    h->sum_squares += (double)ns * (double)ns;
    if (ns < h->min_ns)
        h->min_ns = ns;
    if (ns > h->max_ns)
        h->max_ns = ns;
    h->bucket[bucket_of(ns)]++;
}

void histogram_merge(struct histogram *into, const struct histogram *from)
{
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    into->sum_squares += from->sum_squares;
    if (from->min_ns < into->min_ns)
        into->min_ns = from->min_ns;
    if (from->max_ns > into->max_ns)
        into->max_ns = from->max_ns;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++)
        into->bucket[i] += from->bucket[i];
}

uint64_t histogram_percentile_ns(const struct histogram *h, double percent)
{
    if (h->count == 0)
        return 0;
    uint64_t rank = (uint64_t)ceil(percent / 100.0 * (double)h->count);
    if (rank >= h->count)
        return h->max_ns;
    uint64_t seen = 0;
    size_t i = 0;
    while (i + 1 < HISTOGRAM_BUCKETS && (seen += h->bucket[i]) < rank)
        i++;
    uint64_t ns = histogram_bucket_low_ns(i) + histogram_bucket_width_ns(i) / 2;
    return ns < h->max_ns ? ns : h->max_ns;
}

uint64_t histogram_over(const struct histogram *h, uint64_t ns)
{
    uint64_t count = 0;
    for (size_t i = HISTOGRAM_BUCKETS; i-- > 0 && histogram_bucket_low_ns(i) >= ns;)
        count += h->bucket[i];
    return count;
}

double histogram_mean_ns(const struct histogram *h)
{
    return h->count == 0 ? 0 : h->sum_ns / (double)h->count;
}

double histogram_stddev_ns(const struct histogram *h)
{
    if (h->count == 0)
        return 0;
    double mean = histogram_mean_ns(h);
    double variance = h->sum_squares / (double)h->count - mean * mean;
    return variance > 0 ? sqrt(variance) : 0;
}
