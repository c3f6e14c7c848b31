/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const double percentile_percents[PERCENTILES] = {50, 99, 99.9, 99.99};

struct latency latency_of(const struct histogram *h)
{
    struct latency l = {.count = h->count,
                        .min_ns = h->count ? h->min_ns : 0,
                        .max_ns = h->max_ns,
                        .mean_ns = histogram_mean_ns(h),
                        .stddev_ns = histogram_stddev_ns(h)};
    for (unsigned i = 0; i < PERCENTILES; i++)
        l.percentile_ns[i] = histogram_percentile_ns(h, percentile_percents[i]);
    return l;
}

struct store_figures store_figures(const struct pmkv_stats *before, const struct pmkv_stats *after,
                                   uint64_t ops, uint64_t pool_bytes, uint64_t record_bytes)
{
    return (struct store_figures){
        .there = true,
        .fences_per_op = (double)(after->fences - before->fences) / (double)ops,
        .media_bytes_per_op =
            (double)(after->media_bytes_written - before->media_bytes_written) / (double)ops,
        .keys = after->keys,
        .pool_bytes = pool_bytes,
        .free_bytes = after->free_bytes,
        .dead_bytes = after->dead_bytes,
        .index_bytes = after->index_bytes,
        .user_bytes = after->keys * record_bytes,
        .segments_cleaned = after->segments_cleaned - before->segments_cleaned,
        .records_moved = after->records_moved - before->records_moved,
        .faults = after->faults - before->faults,
        .check_failures = after->check_failures - before->check_failures,
    };
}

static double divide(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (double)a / (double)b;
}

double store_space_ratio(const struct store_figures *s)
{
    return divide(s->pool_bytes, s->user_bytes);
}

double store_used_ratio(const struct store_figures *s)
{
    return divide(s->pool_bytes - s->free_bytes, s->user_bytes);
}

double store_index_bytes_per_key(const struct store_figures *s)
{
    return divide(s->index_bytes, s->keys);
}

/* The array with one more element, zeroed, at its end. */
static void *grow(void *array, size_t *count, size_t element_bytes)
{
    char *at = realloc(array, (*count + 1) * element_bytes);
    if (!at) {
        fputs("pmkv-bench: out of memory\n", stderr);
        exit(1);
    }
    memset(at + (*count)++ * element_bytes, 0, element_bytes);
    return at;
}

static struct series *series_find(const struct results *r, const char *name)
{
    for (size_t i = 0; i < r->series_count; i++)
        if (strcmp(r->series[i].name, name) == 0)
            return &r->series[i];
    return NULL;
}

static void series_add(struct results *r, const char *name, const char *const limits[2],
                       unsigned ops_per_call, const struct measure_result *result,
                       const struct store_figures *store)
{
    struct series *s = series_find(r, name);
    if (!s) {
        r->series = grow(r->series, &r->series_count, sizeof *s);
        s = &r->series[r->series_count - 1];
        s->name = name;
        s->limits[0] = limits ? limits[0] : NULL;
        s->limits[1] = limits ? limits[1] : NULL;
        s->ops_per_call = ops_per_call;
        histogram_reset(&s->latency);
    }
    s->rounds++;
    histogram_merge(&s->latency, &result->latency);
    if (store)
        s->store = *store;
}

struct row *results_add(struct results *r, const char *name, unsigned round,
                        const char *const limits[2], unsigned ops_per_call,
                        const struct measure_result *result, const struct store_figures *store)
{
    r->rows = grow(r->rows, &r->row_count, sizeof *r->rows);
    struct row *row = &r->rows[r->row_count - 1];
    row->name = name;
    row->round = round;
    row->threads = result->threads;
    row->ops_per_call = ops_per_call;
    row->ops = result->ops;
    row->elapsed_s = result->elapsed_s;
    row->wall_ns = result->wall_ns;
    row->wall_p10_ns = result->wall_p10_ns;
    row->wall_p90_ns = result->wall_p90_ns;
    row->cpu_ns = result->cpu_ns;
    row->process_cpu_ns = result->process_cpu_ns;
    row->mops = result->mops;
    row->windows = result->windows;
    row->quiet_windows = result->quiet_windows;
    row->noisy = result->noisy;
    row->failed = result->failed;
    memcpy(row->failure, result->failure, sizeof row->failure);
    row->latency = latency_of(&result->latency);
    row->noise = result->noise;
    if (store)
        row->store = *store;
    if (!result->failed)
        series_add(r, name, limits, ops_per_call, result, store);
    return row;
}

void results_add_reopen(struct results *r, struct reopen reopen)
{
    r->reopens = grow(r->reopens, &r->reopen_count, sizeof reopen);
    r->reopens[r->reopen_count - 1] = reopen;
}

enum column { COLUMN_WALL, COLUMN_CPU, COLUMN_MOPS };

/* Sorts one column of the rows of a name into `values`. */
static size_t take_column(const struct results *r, const char *name, enum column column,
                          double *values)
{
    size_t count = 0;
    for (size_t i = 0; i < r->row_count; i++) {
        const struct row *row = &r->rows[i];
        if (row->failed || strcmp(row->name, name) != 0)
            continue;
        values[count++] = column == COLUMN_WALL  ? row->wall_ns
                          : column == COLUMN_CPU ? row->cpu_ns
                                                 : row->mops;
    }
    qsort(values, count, sizeof *values, compare_doubles);
    return count;
}

void results_finish(struct results *r)
{
    double *values = calloc(r->row_count + 1, sizeof *values);
    if (!values)
        return;
    for (size_t i = 0; i < r->series_count; i++) {
        struct series *s = &r->series[i];
        size_t count = take_column(r, s->name, COLUMN_CPU, values);
        s->cpu_ns = sorted_at(values, count, 0.5);
        count = take_column(r, s->name, COLUMN_MOPS, values);
        s->mops = sorted_at(values, count, 0.5);
        count = take_column(r, s->name, COLUMN_WALL, values);
        s->wall_ns = sorted_at(values, count, 0.5);
        s->wall_min_ns = sorted_at(values, count, 0);
        s->wall_max_ns = sorted_at(values, count, 1);
    }
    free(values);
}

void results_free(struct results *r)
{
    free(r->rows);
    free(r->series);
    free(r->reopens);
    memset(r, 0, sizeof *r);
}

double series_ratio(const struct results *r, const struct series *s, unsigned limit)
{
    const struct series *of = s->limits[limit] ? series_find(r, s->limits[limit]) : NULL;
    return of && of->wall_ns > 0 ? s->wall_ns / of->wall_ns : 0;
}

double reopen_median_ms(const struct results *r)
{
    double *values = calloc(r->reopen_count + 1, sizeof *values);
    if (!values)
        return 0;
    for (size_t i = 0; i < r->reopen_count; i++)
        values[i] = (double)r->reopens[i].open_ns / 1e6;
    qsort(values, r->reopen_count, sizeof *values, compare_doubles);
    double median = sorted_at(values, r->reopen_count, 0.5);
    free(values);
    return median;
}
