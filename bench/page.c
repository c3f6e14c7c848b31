/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "page.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "gather.h"
#include "svg.h"

enum { POINTS_MAX = 512 };

static const char style[] =
    "body{font:15px/1.5 system-ui,'DejaVu Sans',sans-serif;color:#1c1f23;background:#fff;"
    "max-width:1120px;margin:32px auto;padding:0 20px}"
    "h1{font-size:26px;margin:0 0 4px}h2{font-size:19px;margin:36px 0 4px}"
    "p{margin:4px 0 12px;color:#50565e;max-width:860px}"
    ".grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(320px,1fr));gap:22px 28px}"
    "svg{width:100%;height:auto;font:11px 'DejaVu Sans',system-ui,sans-serif}"
    "svg text{fill:#1c1f23}svg .title{font-size:13px;font-weight:600}"
    "svg .name{text-anchor:end;fill:#50565e}svg .x{text-anchor:middle;fill:#50565e;font-size:10px}"
    "svg .none{fill:#a0a5ab;font-style:italic}"
    "svg .spread{stroke:#1c1f23;stroke-width:1.2;opacity:.55}"
    "svg .grid{stroke:#e3e6e9;stroke-width:1}svg .line{fill:none;stroke-width:1.7}"
    "svg .mark{stroke:#c1121f;stroke-width:2}svg .fault{stroke:#c1121f;stroke-width:.6;opacity:.45}"
    ".legend span{display:inline-block;margin:0 16px 6px 0;white-space:nowrap}"
    ".legend i{display:inline-block;width:11px;height:11px;border-radius:2px;margin-right:6px}"
    "table{border-collapse:collapse;font-size:13px;margin:8px 0}"
    "td,th{padding:3px 14px 3px 0;text-align:left;vertical-align:top;border-bottom:1px solid "
    "#eceef0}"
    "th{font-weight:600}";

static void section(FILE *out, const char *title, const char *text)
{
    fprintf(out, "<h2>%s</h2><p>%s</p>\n", title, text);
}

static void legend(FILE *out, const struct gather *g)
{
    fputs("<p class='legend'>", out);
    for (size_t e = 0; e < g->engine_count; e++)
        fprintf(out, "<span><i style='background:%s'></i>%s</span>", svg_colour(g->engines[e]),
                g->engines[e]);
    fputs("</p>\n", out);
}

static void head(FILE *out, const struct gather *g)
{
    fprintf(out,
            "<!doctype html><html lang='en'><head><meta charset='utf-8'><title>libpmkv: measured"
            "</title><style>%s</style></head><body><h1>libpmkv, measured</h1>\n",
            style);
    for (unsigned i = 0; i < g->report_count; i++) {
        const json_t *r = g->reports[i], *o = json_object_get(r, "global options");
        fputs("<p>", out);
        svg_text(out, gather_text(r, "timestamp"));
        fputs(": ", out);
        svg_text(out, gather_text(r, "cpu"));
        fprintf(out,
                ", %.0f CPUs, %s. %.0f keys of %.0f B, values of %.0f B, %.0f rounds, geometry %s, "
                "flush %s.</p>\n",
                gather_real(r, "cpus"), gather_text(r, "kernel"), gather_real(o, "num"),
                gather_real(o, "key_bytes"), gather_real(o, "value_bytes"),
                gather_real(o, "rounds"), gather_text(o, "geometry"), gather_text(o, "flush"));
    }
}

static void engines(FILE *out, const struct gather *g)
{
    const json_t *seen[GATHER_NAMES];
    size_t count = 0;
    section(out, "Engines", "What is durable when an update returns, and by which setting.");
    fputs("<table><tr><th>engine</th><th>version</th><th>durable on return</th></tr>\n", out);
    for (unsigned i = 0; i < g->report_count; i++) {
        size_t k;
        json_t *engine;
        json_array_foreach(json_object_get(g->reports[i], "engines"), k, engine)
        {
            bool known = count == GATHER_NAMES;
            for (size_t s = 0; s < count; s++)
                known |= strcmp(gather_text(seen[s], "name"), gather_text(engine, "name")) == 0;
            if (known)
                continue;
            seen[count++] = engine;
            fprintf(out, "<tr><td>%s</td><td>%s</td><td>", gather_text(engine, "name"),
                    gather_text(engine, "version"));
            svg_text(out, gather_text(engine, "durable"));
            fputs("</td></tr>\n", out);
        }
    }
    fputs("</table>\n", out);
}

/* Bars of one field for all engines; `by` divides it. */
static void bars(FILE *out, const struct gather *g, const char *title, const char *workload,
                 const char *const fields[3], double by)
{
    struct svg_bar list[GATHER_NAMES];
    bool any = false;
    for (size_t e = 0; e < g->engine_count; e++) {
        const json_t *s = gather_find(g, g->engines[e], workload, g->threads);
        double value = s ? gather_real(s, fields[0]) : -1;
        double low = s && fields[1] ? gather_real(s, fields[1]) / by : 0;
        double high = s && fields[2] ? gather_real(s, fields[2]) / by : 0;
        list[e] = (struct svg_bar){g->engines[e], svg_colour(g->engines[e]),
                                   value < 0 ? -1 : value / by, low, high};
        any |= value >= 0;
    }
    if (any)
        svg_bars(out, title, list, g->engine_count, "-");
}

static void throughput(FILE *out, const struct gather *g)
{
    static const char *const rate[3] = {"ops_per_sec", "ops_per_sec_min", "ops_per_sec_max"};
    static const char *const time[3] = {"wall_ns_per_op", "wall_min_ns_per_op",
                                        "wall_max_ns_per_op"};
    char text[200];
    snprintf(
        text, sizeof text,
        "Thousands of operations a second, %d thread%s; median of the rounds, the thin line is "
        "their spread. <b>limit</b> is the bare machine.",
        g->threads, g->threads == 1 ? "" : "s");
    section(out, "Throughput", text);
    fputs("<div class='grid'>\n", out);
    for (size_t w = 0; w < g->workload_count; w++)
        if (!gather_is_time(g->workloads[w]))
            bars(out, g, g->workloads[w], g->workloads[w], rate, 1e3);
    fputs("</div>\n", out);
    section(out, "Opening",
            "Milliseconds to open the store: after a clean close, and after a kill "
            "in the middle of writes.");
    fputs("<div class='grid'>\n", out);
    bars(out, g, "open", "open", time, 1e6);
    bars(out, g, "open after a kill", "openkilled", time, 1e6);
    fputs("</div>\n", out);
}

static void space(FILE *out, const struct gather *g)
{
    static const char *const used[3] = {"store.used_bytes_per_live_byte", NULL, NULL};
    static const char *const dram[3] = {"store.dram_bytes_per_key", NULL, NULL};
    static const char *const written[3] = {"store.write_amplification", NULL, NULL};
    section(out, "Space and writes",
            "After the overwrites. An engine that does not count "
            "something has a dash.");
    fputs("<div class='grid'>\n", out);
    bars(out, g, "bytes used a live byte", "overwrite", used, 1);
    bars(out, g, "DRAM bytes a key", "overwrite", dram, 1);
    bars(out, g, "bytes written a byte put", "overwrite", written, 1);
    fputs("</div>\n", out);
}

/* --- latencies -------------------------------------------------------------------------------- */

static size_t cdf_points(const json_t *series, double (*points)[2])
{
    size_t i, count = 0;
    json_t *point;
    json_array_foreach(json_object_get(series, "cdf"), i, point) if (count < POINTS_MAX)
    {
        points[count][0] = fmax(1, json_number_value(json_array_get(point, 0)));
        points[count++][1] = json_number_value(json_array_get(point, 1));
    }
    return count;
}

static void one_cdf(FILE *out, const struct gather *g, const char *workload)
{
    static double points[POINTS_MAX][2];
    double low = 1e18, high = 0;
    for (size_t e = 0; e < g->engine_count; e++) {
        size_t n = cdf_points(gather_find(g, g->engines[e], workload, g->threads), points);
        for (size_t i = 0; i < n; i++) {
            low = fmin(low, points[i][0]);
            high = fmax(high, points[i][0]);
        }
    }
    if (high == 0)
        return;
    struct svg_frame f = {.out = out,
                          .x = {pow(10, floor(log10(low))), pow(10, ceil(log10(high + 1))), true,
                                "time of one operation"},
                          .y = {1, 1e-5, true, ""}};
    svg_begin(&f, workload, true, true);
    for (size_t e = 0; e < g->engine_count; e++) {
        size_t n = cdf_points(gather_find(g, g->engines[e], workload, g->threads), points);
        if (n > 1)
            svg_line(&f, (const double(*)[2])points, n, svg_colour(g->engines[e]), false);
    }
    svg_end(&f);
}

static void latencies(FILE *out, const struct gather *g)
{
    section(out, "Latency",
            "Percentile (upwards, ever finer) against the time of one operation by "
            "itself; further left is better.");
    legend(out, g);
    fputs("<div class='grid'>\n", out);
    for (size_t w = 0; w < g->workload_count; w++)
        if (!gather_is_time(g->workloads[w]))
            one_cdf(out, g, g->workloads[w]);
    fputs("</div>\n", out);
}

/* --- threads ---------------------------------------------------------------------------------- */

/* Points (threads, rate) of an engine, by threads. */
static size_t scaling_points(const struct gather *g, const char *engine, const char *workload,
                             double (*points)[2])
{
    size_t count = 0;
    for (int threads = 1; threads <= 256 && count < POINTS_MAX; threads++) {
        const json_t *s = gather_find(g, engine, workload, threads);
        if (!s)
            continue;
        points[count][0] = threads;
        points[count++][1] = gather_real(s, "ops_per_sec") / 1e3;
    }
    return count;
}

static bool one_scaling(FILE *out, const struct gather *g, const char *workload, bool draw)
{
    static double points[POINTS_MAX][2];
    double most = 0, threads = 1;
    for (size_t e = 0; e < g->engine_count; e++) {
        size_t n = scaling_points(g, g->engines[e], workload, points);
        for (size_t i = 0; i < n; i++) {
            most = fmax(most, points[i][1]);
            threads = fmax(threads, points[i][0]);
        }
    }
    if (threads == 1 || most <= 0 || !draw)
        return threads > 1;
    struct svg_frame f = {
        .out = out, .x = {1, threads, false, "threads"}, .y = {0, most * 1.05, false, ""}};
    svg_begin(&f, workload, false, false);
    for (size_t e = 0; e < g->engine_count; e++) {
        size_t n = scaling_points(g, g->engines[e], workload, points);
        if (n > 1)
            svg_line(&f, (const double(*)[2])points, n, svg_colour(g->engines[e]), true);
    }
    svg_end(&f);
    return true;
}

static void scaling(FILE *out, const struct gather *g)
{
    bool any = false;
    for (size_t w = 0; w < g->workload_count; w++)
        any |= !gather_is_time(g->workloads[w]) && one_scaling(out, g, g->workloads[w], false);
    if (!any)
        return;
    section(out, "Threads", "Thousands of operations a second against the number of threads.");
    legend(out, g);
    fputs("<div class='grid'>\n", out);
    for (size_t w = 0; w < g->workload_count; w++)
        if (!gather_is_time(g->workloads[w]))
            one_scaling(out, g, g->workloads[w], true);
    fputs("</div>\n", out);
}

/* --- faults ----------------------------------------------------------------------------------- */

static void one_fault_plot(FILE *out, const json_t *job)
{
    static double points[POINTS_MAX][2];
    const json_t *timeline = json_object_get(job, "timeline");
    const json_t *f = json_object_get(job, "faults");
    double interval = gather_real(timeline, "interval_s"), most = 0;
    size_t i, count = 0;
    json_t *value;
    char title[160];
    json_array_foreach(json_object_get(timeline, "ops"), i, value) if (count < POINTS_MAX)
    {
        points[count][0] = ((double)i + 0.5) * interval;
        points[count][1] = json_number_value(value) / interval / 1e3;
        most = fmax(most, points[count++][1]);
    }
    if (count < 2 || most <= 0)
        return;
    snprintf(title, sizeof title, "%s, %s, %.0f threads: %.0f faults, %.0f lost",
             gather_text(job, "engine"), gather_text(job, "jobname"), gather_real(job, "threads"),
             gather_real(f, "injected"), gather_real(f, "records_lost"));
    struct svg_frame frame = {.out = out,
                              .x = {0, (double)count * interval, false, "seconds"},
                              .y = {0, most * 1.05, false, ""}};
    svg_begin(&frame, title, false, false);
    json_array_foreach(json_object_get(f, "at_s"), i,
                       value) if (json_number_value(value) <= frame.x.high)
        svg_mark(&frame, json_number_value(value));
    svg_line(&frame, (const double(*)[2])points, count, svg_colour(gather_text(job, "engine")),
             false);
    svg_end(&frame);
}

static void fault_plots(FILE *out, const struct gather *g)
{
    bool first = true;
    for (unsigned i = 0; i < g->report_count; i++) {
        size_t k;
        json_t *job;
        json_array_foreach(json_object_get(g->reports[i], "jobs"), k, job)
        {
            if (!json_object_get(job, "faults"))
                continue;
            if (first) {
                section(out, "Faults while it runs",
                        "Thousands of operations a second over time. Each red line is the moment "
                        "when a page was poisoned or bits were changed; every value is checked.");
                fputs("<div class='grid'>\n", out);
            }
            first = false;
            one_fault_plot(out, job);
        }
    }
    if (!first)
        fputs("</div>\n", out);
}

/* --- the page --------------------------------------------------------------------------------- */

static void page(FILE *out, const struct gather *g)
{
    head(out, g);
    if (g->series_count > 0) {
        throughput(out, g);
        latencies(out, g);
    }
    fault_plots(out, g);
    scaling(out, g);
    if (g->series_count > 0)
        space(out, g);
    engines(out, g);
    fputs("</body></html>\n", out);
}

static bool write_file(const char *directory, const char *name, const struct gather *g,
                       void (*print)(FILE *out, const struct gather *g))
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *out = fopen(path, "we");
    if (out)
        print(out, g);
    bool good = out && !ferror(out);
    if (out && fclose(out) != 0)
        good = false;
    if (!good)
        fprintf(stderr, "pmkv-bench: cannot write %s\n", path);
    return good;
}

bool page_write(const char *directory, json_t *const *reports, unsigned count)
{
    static struct gather g;
    if (mkdir(directory, 0777) != 0 && errno != EEXIST) {
        fprintf(stderr, "pmkv-bench: make %s: %s\n", directory, strerror(errno));
        return false;
    }
    gather(&g, reports, count);
    return write_file(directory, "report.html", &g, page) &&
           write_file(directory, "table.md", &g, markdown_write);
}
