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

/* `bytes` with one more at its end; there is no going on without it. */
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

struct row *results_add(struct results *r, const struct row *row)
{
    size_t unused = 0;
    r->rows = grow(r->rows, &r->row_count, sizeof *r->rows);
    struct row *copy = grow(NULL, &unused, sizeof *copy);
    *copy = *row;
    return r->rows[r->row_count - 1] = copy;
}

static bool is_of(const struct row *row, const struct row *other)
{
    return strcmp(row->engine, other->engine) == 0 && strcmp(row->name, other->name) == 0 &&
           row->threads == other->threads;
}

static struct series *series_of(struct results *r, const struct row *row)
{
    for (size_t i = 0; i < r->series_count; i++)
        if (is_of(r->series[i].last, row))
            return &r->series[i];
    r->series = grow(r->series, &r->series_count, sizeof *r->series);
    struct series *s = &r->series[r->series_count - 1];
    histogram_reset(&s->latency);
    return s;
}

enum column { COLUMN_WALL, COLUMN_CPU, COLUMN_MOPS, COLUMN_OTHER };

static double column_of(const struct row *row, enum column column)
{
    return column == COLUMN_WALL   ? row->m.wall_ns
           : column == COLUMN_CPU  ? row->m.cpu_ns
           : column == COLUMN_MOPS ? row->m.mops
                                   : row->m.noise.other_percent + row->m.noise.steal_percent;
}

/* Sorts one column of the rows of a series into `values`. */
static size_t take_column(const struct results *r, const struct series *s, enum column column,
                          double *values)
{
    size_t count = 0;
    for (size_t i = 0; i < r->row_count; i++)
        if (!r->rows[i]->m.failed && !r->rows[i]->skipped && is_of(r->rows[i], s->last))
            values[count++] = column_of(r->rows[i], column);
    qsort(values, count, sizeof *values, compare_doubles);
    return count;
}

void results_finish(struct results *r)
{
    double *values = calloc(r->row_count + 1, sizeof *values);
    for (size_t i = 0; values && i < r->row_count; i++) {
        if (r->rows[i]->m.failed || r->rows[i]->skipped)
            continue;
        struct series *s = series_of(r, r->rows[i]);
        s->last = r->rows[i];
        s->rounds++;
        histogram_merge(&s->latency, &r->rows[i]->m.latency);
    }
    for (size_t i = 0; values && i < r->series_count; i++) {
        struct series *s = &r->series[i];
        size_t count = take_column(r, s, COLUMN_CPU, values);
        s->cpu_ns = sorted_at(values, count, 0.5);
        count = take_column(r, s, COLUMN_OTHER, values);
        s->other_percent = sorted_at(values, count, 0.5);
        count = take_column(r, s, COLUMN_MOPS, values);
        s->mops = sorted_at(values, count, 0.5);
        s->mops_min = sorted_at(values, count, 0);
        s->mops_max = sorted_at(values, count, 1);
        count = take_column(r, s, COLUMN_WALL, values);
        s->wall_ns = sorted_at(values, count, 0.5);
        s->wall_min_ns = sorted_at(values, count, 0);
        s->wall_max_ns = sorted_at(values, count, 1);
    }
    free(values);
}

void results_free(struct results *r)
{
    for (size_t i = 0; i < r->row_count; i++)
        free(r->rows[i]);
    free(r->rows);
    free(r->series);
    memset(r, 0, sizeof *r);
}

/* The limits are rows of whichever engine was asked to run them. */
double series_ratio(const struct results *r, const struct series *s, unsigned limit)
{
    const char *name = s->last->limits[limit];
    for (size_t i = 0; name[0] && i < r->series_count; i++) {
        const struct series *of = &r->series[i];
        if (strcmp(of->last->name, name) == 0 && of->last->threads == s->last->threads &&
            of->wall_ns > 0)
            return s->wall_ns / of->wall_ns;
    }
    return 0;
}
