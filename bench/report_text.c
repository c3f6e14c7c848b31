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
    fprintf(out, "workload  %llu keys of %zu B, values of %zu B, %u rounds, seed %llu, flush %s\n",
            (unsigned long long)opts->num, opts->key_bytes, opts->value_bytes, opts->rounds,
            (unsigned long long)opts->seed, opts->flush_line ? "line (forced)" : "auto");
    fprintf(out, "place     %s, geometry %s", opts->pool_path, pmkv_geometry_name(opts->geometry));
    if (opts->duration_s > 0)
        fprintf(out, ", %g s each", opts->duration_s);
    if (opts->ops_per_s > 0)
        fprintf(out, ", %g operations/s laid down (latency from the intended start)",
                opts->ops_per_s);
    fputc('\n', out);
    for (unsigned i = 0; i < opts->engine_count; i++)
        fprintf(out, "engine    %-12s %-7s %s\n", opts->engines[i]->name,
                opts->engines[i]->version(), opts->engines[i]->durable);
}

void report_row_heading(FILE *out)
{
    fprintf(out, "\n%-12s %-16s %3s %2s %9s %19s %9s %8s %8s %8s %9s %9s %6s %7s %5s %6s\n",
            "engine", "row", "rnd", "T", "ns/op", "[p10 .. p90]", "cpu ns", "Mops/s", "p50", "p99",
            "p99.9", "p99.99", "fence", "media B", "load", "other%");
}

/* Time of an operation by itself. */
static void print_latency(FILE *out, const struct histogram *h)
{
    struct latency l = latency_of(h);
    for (unsigned i = 0; i < PERCENTILES; i++)
        fprintf(out, i < 2 ? " %8llu" : " %9llu", (unsigned long long)l.percentile_ns[i]);
}

static void print_known(FILE *out, const char *format, int width, double value)
{
    if (value >= 0)
        fprintf(out, format, value);
    else
        fprintf(out, " %*s", width, "-");
}

static void report_faults(FILE *out, const struct row *row)
{
    const struct fault_figures *f = &row->faults;
    if (f->injected == 0)
        return;
    fprintf(out,
            "  faults: %u injected, first good read after %.2f ms (median; longest %.2f), "
            "%llu operations over %d ms, %llu reads rebuilt, %llu pages repaired, %llu pending, "
            "%llu lost\n",
            f->injected, f->first_read_median_ms, f->first_read_max_ms,
            (unsigned long long)row->m.stalled, STALL_NS / 1000000, (unsigned long long)f->rebuilt,
            (unsigned long long)f->repaired, (unsigned long long)f->pending_at_end,
            (unsigned long long)f->lost);
}

void report_row(FILE *out, const struct row *row)
{
    const struct measure_result *m = &row->m;
    fprintf(out, "%-12s %-16s %3u %2u", row->engine, row->name, row->round, row->threads);
    if (row->skipped) {
        fprintf(out, "  not run: %s\n", row->note);
        return;
    }
    fprintf(out, " %9.1f [%8.1f..%8.1f] %9.1f %8.4f", m->wall_ns, m->wall_p10_ns, m->wall_p90_ns,
            m->cpu_ns, m->mops);
    print_latency(out, &m->latency);
    print_known(out, " %6.3f", 6, row->store.fences_per_op);
    print_known(out, " %7.1f", 7, row->store.media_bytes_per_op);
    fprintf(out, " %5.2f %6.1f%s%s%s\n", m->noise.load1,
            m->noise.steal_percent + m->noise.other_percent,
            m->noisy ? "  (waits or noise: median of all windows)" : "", row->note[0] ? "  " : "",
            row->note);
    report_faults(out, row);
    if (m->failed)
        fprintf(out, "  FAILED: %s\n", m->failure);
    fflush(out);
}

static void summary_line(FILE *out, const struct results *r, const struct series *s)
{
    fprintf(out, "%-12s %-16s %2u %9.1f [%8.1f..%8.1f] %9.1f %8.4f", s->last->engine, s->last->name,
            s->last->threads, s->wall_ns, s->wall_min_ns, s->wall_max_ns, s->cpu_ns, s->mops);
    print_latency(out, &s->latency);
    for (unsigned i = 0; i < 2; i++)
        if (series_ratio(r, s, i) > 0)
            fprintf(out, "  %.2fx %s", series_ratio(r, s, i), s->last->limits[i]);
    fputs(s->last->ops_per_call > 1 ? "  (latency: of a call)\n" : "\n", out);
}

/* Space of an engine where it holds most: after its last workload with all keys. */
static void summary_space(FILE *out, const struct results *r)
{
    fprintf(out, "\n%-12s %12s %12s %12s %12s %12s\n", "space", "used/live", "pool/live",
            "index B/key", "DRAM B/key", "written/put");
    for (size_t i = 0; i < r->series_count; i++) {
        const struct store_figures *s = &r->series[i].last->store;
        if (strcmp(r->series[i].last->name, "overwrite") != 0)
            continue;
        fprintf(out, "%-12s", r->series[i].last->engine);
        print_known(out, " %12.2f", 12, s->used_per_live);
        print_known(out, " %12.2f", 12, s->pool_per_live);
        print_known(out, " %12.1f", 12, s->index_bytes_per_key);
        print_known(out, " %12.1f", 12, s->dram_bytes_per_key);
        print_known(out, " %12.2f", 12, s->write_amplification);
        fputc('\n', out);
    }
}

void report_summary(FILE *out, const struct results *r)
{
    fprintf(out, "\n%-12s %-16s %2s %9s %19s %9s %8s %8s %8s %9s %9s  %s\n", "engine", "median",
            "T", "ns/op", "[min .. max]", "cpu ns", "Mops/s", "p50", "p99", "p99.9", "p99.99",
            "time over that of the limit");
    for (size_t i = 0; i < r->series_count; i++)
        summary_line(out, r, &r->series[i]);
    summary_space(out, r);
}
