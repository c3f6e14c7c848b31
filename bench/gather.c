/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "gather.h"

#include <string.h>

const char *gather_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    return text ? text : "";
}

double gather_real(const json_t *object, const char *path)
{
    char name[64];
    const char *dot;
    while ((dot = strchr(path, '.')) != NULL) {
        snprintf(name, sizeof name, "%.*s", (int)(dot - path), path);
        object = json_object_get(object, name);
        path = dot + 1;
    }
    const json_t *value = json_object_get(object, path);
    return json_is_number(value) ? json_number_value(value) : -1;
}

bool gather_is_time(const char *workload)
{
    return strncmp(workload, "open", 4) == 0;
}

static void add_name(const char **names, size_t *count, const char *name)
{
    for (size_t i = 0; i < *count; i++)
        if (strcmp(names[i], name) == 0)
            return;
    if (*count < GATHER_NAMES)
        names[(*count)++] = name;
}

/* Rows that are no workload of the engine, but the machine's. */
static bool is_of_the_machine(const char *name)
{
    return strncmp(name, "lim_", 4) == 0 || strcmp(name, "harness") == 0;
}

/* A run with faults is a plot of its own and no figure of the store at rest. */
static bool has_faults(const json_t *report)
{
    size_t i;
    json_t *job;
    json_array_foreach(json_object_get(report, "jobs"), i,
                       job) if (json_object_get(job, "faults")) return true;
    return false;
}

void gather(struct gather *g, json_t *const *reports, unsigned count)
{
    memset(g, 0, sizeof *g);
    g->reports = reports;
    g->report_count = count;
    for (unsigned i = 0; i < count; i++) {
        size_t k;
        json_t *series;
        if (has_faults(reports[i]))
            continue;
        json_array_foreach(json_object_get(reports[i], "summary"), k, series)
        {
            const char *name = gather_text(series, "jobname");
            int threads = (int)gather_real(series, "threads");
            if (is_of_the_machine(name) || g->series_count == GATHER_MAX)
                continue;
            g->series[g->series_count++] = series;
            add_name(g->engines, &g->engine_count, gather_text(series, "engine"));
            add_name(g->workloads, &g->workload_count, name);
            if (g->threads == 0 || threads < g->threads)
                g->threads = threads;
        }
    }
}

const json_t *gather_find(const struct gather *g, const char *engine, const char *workload,
                          int threads)
{
    for (size_t i = 0; i < g->series_count; i++)
        if (strcmp(gather_text(g->series[i], "engine"), engine) == 0 &&
            strcmp(gather_text(g->series[i], "jobname"), workload) == 0 &&
            (threads < 0 || (int)gather_real(g->series[i], "threads") == threads))
            return g->series[i];
    return NULL;
}
