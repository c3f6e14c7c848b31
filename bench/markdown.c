/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include <stdio.h>
#include <string.h>

#include "gather.h"
#include "svg.h"

static void heading(FILE *out, const struct gather *g, const char *first)
{
    fprintf(out, "\n| %s |", first);
    for (size_t e = 0; e < g->engine_count; e++)
        fprintf(out, " %s |", g->engines[e]);
    fputs("\n|---|", out);
    for (size_t e = 0; e < g->engine_count; e++)
        fputs("---:|", out);
    fputc('\n', out);
}

static void rates(FILE *out, const struct gather *g)
{
    fprintf(out, "Thousands of operations a second, %d thread%s: median of the rounds.\n",
            g->threads, g->threads == 1 ? "" : "s");
    heading(out, g, "workload");
    for (size_t w = 0; w < g->workload_count; w++) {
        if (gather_is_time(g->workloads[w]))
            continue;
        fprintf(out, "| %s |", g->workloads[w]);
        for (size_t e = 0; e < g->engine_count; e++) {
            const json_t *s = gather_find(g, g->engines[e], g->workloads[w], g->threads);
            double rate = s ? gather_real(s, "ops_per_sec") / 1e3 : -1;
            fprintf(out, rate < 0 ? " - |" : rate < 100 ? " %.1f |" : " %.0f |", rate);
        }
        fputc('\n', out);
    }
}

static void percentile(FILE *out, const struct gather *g, const char *name, const char *field)
{
    char text[24];
    fprintf(out, "\n%s of one operation by itself, %d thread%s.\n", name, g->threads,
            g->threads == 1 ? "" : "s");
    heading(out, g, "workload");
    for (size_t w = 0; w < g->workload_count; w++) {
        fprintf(out, "| %s |", g->workloads[w]);
        for (size_t e = 0; e < g->engine_count; e++) {
            const json_t *s = gather_find(g, g->engines[e], g->workloads[w], g->threads);
            const json_t *p = json_object_get(json_object_get(s, "lat_ns"), "percentile");
            const json_t *value = json_object_get(p, field);
            fprintf(out, " %s |", value ? svg_time(json_number_value(value), text) : "-");
        }
        fputc('\n', out);
    }
}

static void space(FILE *out, const struct gather *g)
{
    static const char *const rows[][3] = {
        {"overwrite", "store.used_bytes_per_live_byte", "bytes used a live byte"},
        {"overwrite", "store.dram_bytes_per_key", "DRAM bytes a key"},
        {"overwrite", "store.write_amplification", "bytes written a byte put"},
        {"overwrite", "store.fences_per_op", "fences an overwrite"},
        {"overwrite", "store.media_bytes_per_op", "bytes written an overwrite"}};
    fputs("\nSpace and writes after `overwrite`; - is what an engine does not count.\n", out);
    heading(out, g, "");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        fprintf(out, "| %s |", rows[i][2]);
        for (size_t e = 0; e < g->engine_count; e++) {
            const json_t *s = gather_find(g, g->engines[e], rows[i][0], g->threads);
            double value = s ? gather_real(s, rows[i][1]) : -1;
            fprintf(out, value < 0 ? " - |" : " %.2f |", value);
        }
        fputc('\n', out);
    }
}

static void one_fault_row(FILE *out, const json_t *job)
{
    const json_t *f = json_object_get(job, "faults");
    if (!f)
        return;
    fprintf(out, "| %s %s | %.0f | %.0f | %.2f ms | %.2f ms | %.0f | %.0f | %.0f |\n",
            gather_text(job, "engine"), gather_text(job, "jobname"), gather_real(job, "threads"),
            gather_real(f, "injected"), gather_real(f, "first_good_read_median_ms"),
            gather_real(f, "first_good_read_max_ms"), gather_real(f, "stalled_ops"),
            gather_real(f, "pages_repaired"), gather_real(f, "records_lost"));
}

static void faults(FILE *out, const struct gather *g)
{
    bool first = true;
    for (unsigned i = 0; i < g->report_count; i++) {
        size_t k;
        json_t *job;
        json_array_foreach(json_object_get(g->reports[i], "jobs"), k, job)
        {
            if (first && json_object_get(job, "faults")) {
                fputs(
                    "\nFaults while it runs: the time from a fault to a good read of that place.\n"
                    "\n| workload | threads | faults | first good read | longest "
                    "| operations over 10 ms | pages repaired | records lost |\n"
                    "|---|---:|---:|---:|---:|---:|---:|---:|\n",
                    out);
                first = false;
            }
            one_fault_row(out, job);
        }
    }
}

void markdown_write(FILE *out, const struct gather *g)
{
    if (g->report_count > 0) {
        const json_t *r = g->reports[0], *o = json_object_get(r, "global options");
        fprintf(out,
                "Measured %s with libpmkv %s on %s (%d CPUs, %s); %.0f keys of %.0f B, values of "
                "%.0f B, %.0f rounds, geometry %s, flush %s.\n\n",
                gather_text(r, "timestamp"), gather_text(r, "pmkv_version"), gather_text(r, "cpu"),
                (int)gather_real(r, "cpus"), gather_text(r, "kernel"), gather_real(o, "num"),
                gather_real(o, "key_bytes"), gather_real(o, "value_bytes"),
                gather_real(o, "rounds"), gather_text(o, "geometry"), gather_text(o, "flush"));
    }
    if (g->series_count > 0) {
        rates(out, g);
        percentile(out, g, "Median time", "50");
        percentile(out, g, "99.9th percentile", "99.9");
        space(out, g);
    }
    faults(out, g);
}
