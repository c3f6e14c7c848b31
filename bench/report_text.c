/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "report.h"

#include <string.h>

#include "clock.h"

FILE *report_stream(const struct bench_options *opts)
{
    return opts->json_path && strcmp(opts->json_path, "-") == 0 ? stderr : stdout;
}

void report_machine(FILE *out, const struct machine *m)
{
    struct machine_sample now;
    machine_sample(&now);
    fprintf(out, "machine   %s, %u CPUs, %.1f GiB, %s\n", m->cpu, m->cpu_count,
            (double)m->memory_bytes / (1 << 30), m->kernel);
    fprintf(out, "          load %.2f, huge pages %s, on shared memory %s\n", now.load1,
            m->huge_pages, m->shmem_huge_pages);
    fprintf(out, "          a reading of the clock costs a timed operation %.0f ns\n",
            clock_pair_ns());
}

void report_start(FILE *out, const struct bench_options *opts)
{
    fprintf(out,
            "workload  %llu keys of %zu B, values of %zu B, %u threads, %u rounds, seed %llu\n",
            (unsigned long long)opts->num, opts->key_bytes, opts->value_bytes, opts->threads,
            opts->rounds, (unsigned long long)opts->seed);
}

void report_pool(FILE *out, const struct bench_pool *pool)
{
    const struct pmkv_info *info = &pool->info;
    fprintf(out, "pool      %s, %s, %s, %.1f MiB, survives %s, flush %s\n", info->path,
            pmkv_backend_name(info->backend), pmkv_geometry_name(info->geometry),
            (double)info->pool_bytes / (1 << 20),
            info->durability == PMKV_SURVIVES_POWER_LOSS ? "power loss" : "process death",
            pool->opts->flush_line ? "line (forced)" : "auto");
}

void report_row_heading(FILE *out)
{
    fprintf(out, "\n%-14s %3s %8s %17s %8s %8s %8s %8s %8s %9s %6s %7s %6s %5s %6s\n", "row", "rnd",
            "ns/op", "[p10 .. p90]", "cpu ns", "Mops/s", "p50", "p99", "p99.9", "p99.99", "fence",
            "media B", "quiet%", "load", "other%");
}

/* Time of an operation by itself; `n/a` when nothing was timed. */
static void print_latency(FILE *out, const struct latency *l)
{
    for (unsigned i = 0; i < PERCENTILES; i++)
        fprintf(out, i + 1 < PERCENTILES ? " %8llu" : " %9llu",
                (unsigned long long)l->percentile_ns[i]);
}

void report_row(FILE *out, const struct row *row)
{
    fprintf(out, "%-14s %3u %8.1f [%7.1f..%7.1f] %8.1f %8.3f", row->name, row->round, row->wall_ns,
            row->wall_p10_ns, row->wall_p90_ns, row->cpu_ns, row->mops);
    print_latency(out, &row->latency);
    if (row->store.there)
        fprintf(out, " %6.3f %7.1f", row->store.fences_per_op, row->store.media_bytes_per_op);
    else
        fprintf(out, " %6s %7s", "-", "-");
    fprintf(out, " %6.0f %5.2f %6.1f%s\n",
            row->windows ? 100.0 * (double)row->quiet_windows / (double)row->windows : 0,
            row->noise.load1, row->noise.steal_percent + row->noise.other_percent,
            row->noisy ? "  (waits or noise: median of all windows)" : "");
    if (row->failed)
        fprintf(out, "  FAILED: %s\n", row->failure);
    fflush(out);
}

void report_reopen(FILE *out, const struct reopen *reopen)
{
    fprintf(out, "%-14s %3u %8.1f ms to close, %.1f ms to open again, %llu keys\n", "reopen",
            reopen->round, (double)reopen->close_ns / 1e6, (double)reopen->open_ns / 1e6,
            (unsigned long long)reopen->keys);
    fflush(out);
}

static void summary_line(FILE *out, const struct results *r, const struct series *s)
{
    fprintf(out, "%-14s %8.1f [%7.1f..%7.1f] %8.1f %8.3f", s->name, s->wall_ns, s->wall_min_ns,
            s->wall_max_ns, s->cpu_ns, s->mops);
    struct latency l = latency_of(&s->latency);
    print_latency(out, &l);
    for (unsigned i = 0; i < 2; i++)
        if (series_ratio(r, s, i) > 0)
            fprintf(out, "  %.2fx %s", series_ratio(r, s, i), s->limits[i]);
    fputs(s->ops_per_call > 1 ? "  (latency: of a call)\n" : "\n", out);
}

static void summary_space(FILE *out, const struct results *r)
{
    const struct store_figures *best = NULL;
    for (size_t i = 0; i < r->series_count; i++)
        if (r->series[i].store.there && (!best || r->series[i].store.keys >= best->keys))
            best = &r->series[i].store;
    if (best && best->keys > 0)
        fprintf(out,
                "\nspace     %.2f pool bytes a live byte (%.2f without free segments), "
                "%.1f B of index a key\n",
                store_space_ratio(best), store_used_ratio(best), store_index_bytes_per_key(best));
    if (r->reopen_count > 0)
        fprintf(out, "reopen    %.1f ms (median) after a clean close, %llu keys\n",
                reopen_median_ms(r), (unsigned long long)r->reopens[0].keys);
}

void report_summary(FILE *out, const struct results *r)
{
    fprintf(out, "\n%-14s %8s %17s %8s %8s %8s %8s %8s %9s  %s\n", "median", "ns/op",
            "[min .. max]", "cpu ns", "Mops/s", "p50", "p99", "p99.9", "p99.99",
            "time over that of the limit");
    for (size_t i = 0; i < r->series_count; i++)
        summary_line(out, r, &r->series[i]);
    summary_space(out, r);
}
