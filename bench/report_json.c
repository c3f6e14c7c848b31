/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "report.h"

#include <math.h>
#include <string.h>
#include <time.h>

#include "clock.h"

enum { REPORT_SCHEMA = 2, CDF_POINTS = 60 };

static void set(json_t *object, const char *name, json_t *value)
{
    json_object_set_new(object, name, value);
}
static void set_count(json_t *object, const char *name, uint64_t value)
{
    set(object, name, json_integer((json_int_t)value));
}
static void set_text(json_t *object, const char *name, const char *text)
{
    set(object, name, json_string_nocheck(text));
}

json_t *report_json_head(const struct machine *m)
{
    char when[32];
    time_t now = time(NULL);
    struct tm utc;
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    json_t *head = json_object();
    set_count(head, "pmkv_bench_schema", REPORT_SCHEMA);
    set_text(head, "pmkv_version", pmkv_version());
    set_text(head, "timestamp", when);
    set_text(head, "host", m->host);
    set_text(head, "kernel", m->kernel);
    set_text(head, "cpu", m->cpu);
    set_count(head, "cpus", m->cpu_count);
    set_count(head, "memory_bytes", m->memory_bytes);
    set_text(head, "huge_pages", m->huge_pages);
    set_text(head, "shmem_huge_pages", m->shmem_huge_pages);
    set(head, "clock_pair_ns", json_real(clock_pair_ns()));
    return head;
}

static json_t *options_json(const struct bench_options *opts)
{
    json_t *o = json_object(), *steps = json_array();
    for (unsigned i = 0; i < opts->step_count; i++)
        json_array_append_new(steps, json_string(step_name(opts->steps[i])));
    set(o, "benchmarks", steps);
    set_count(o, "num", opts->num);
    set_count(o, "batch", opts->batch);
    set(o, "duration_s", json_real(opts->duration_s));
    set(o, "ops_per_sec_asked", json_real(opts->ops_per_s));
    set_text(o, "geometry", pmkv_geometry_name(opts->geometry));
    set_text(o, "backend", pmkv_backend_name(opts->backend));
    set_count(o, "rounds", opts->rounds);
    set_count(o, "key_bytes", opts->key_bytes);
    set_count(o, "value_bytes", opts->value_bytes);
    set(o, "fill_percent", json_real(opts->fill_percent));
    set_count(o, "scrub_bytes_per_s", opts->scrub_bytes_per_s);
    set_text(o, "flush", opts->flush_line ? "line" : "auto");
    set_count(o, "seed", opts->seed);
    return o;
}

static json_t *engines_json(const struct bench_options *opts)
{
    json_t *engines = json_array();
    for (unsigned i = 0; i < opts->engine_count; i++) {
        json_t *o = json_object();
        set_text(o, "name", opts->engines[i]->name);
        set_text(o, "version", opts->engines[i]->version());
        set_text(o, "durable", opts->engines[i]->durable);
        json_array_append_new(engines, o);
    }
    return engines;
}

static json_t *latency_json(const struct latency *l, const struct histogram *h)
{
    static const char *const names[PERCENTILES] = {"50", "99", "99.9", "99.99"};
    json_t *o = json_object(), *percentiles = json_object();
    set_count(o, "N", l->count);
    set_count(o, "min", l->min_ns);
    set_count(o, "max", l->max_ns);
    set(o, "mean", json_real(l->mean_ns));
    set(o, "stddev", json_real(l->stddev_ns));
    for (unsigned i = 0; i < PERCENTILES; i++)
        set_count(percentiles, names[i], l->percentile_ns[i]);
    set(o, "percentile", percentiles);
    set_count(o, "over_1ms", histogram_over(h, 1000 * 1000));
    return o;
}

static void set_known(json_t *o, const char *name, double value)
{
    set(o, name, value >= 0 ? json_real(value) : json_null());
}

static json_t *store_json(const struct store_figures *s)
{
    json_t *o = json_object();
    set_known(o, "fences_per_op", s->fences_per_op);
    set_known(o, "media_bytes_per_op", s->media_bytes_per_op);
    set_known(o, "write_amplification", s->write_amplification);
    set_known(o, "pool_bytes_per_live_byte", s->pool_per_live);
    set_known(o, "used_bytes_per_live_byte", s->used_per_live);
    set_known(o, "live_share", s->live_share);
    set_known(o, "index_bytes_per_key", s->index_bytes_per_key);
    set_known(o, "dram_bytes_per_key", s->dram_bytes_per_key);
    set_count(o, "keys", s->keys);
    return o;
}

static json_t *noise_json(const struct measure_result *m)
{
    json_t *o = json_object();
    set(o, "load1", json_real(m->noise.load1));
    set(o, "steal_percent", json_real(m->noise.steal_percent));
    set(o, "other_percent", json_real(m->noise.other_percent));
    set_count(o, "windows", m->windows);
    set_count(o, "quiet_windows", m->quiet_windows);
    set(o, "median_of_all_windows", json_boolean(m->noisy));
    return o;
}

static json_t *timeline_json(const struct timeline *t)
{
    json_t *o = json_object(), *ops = json_array();
    for (unsigned i = 0; i < t->count; i++)
        json_array_append_new(ops, json_integer(t->ops[i]));
    set(o, "interval_s", json_real(t->interval_s));
    set(o, "ops", ops);
    return o;
}

static json_t *faults_json(const struct row *row)
{
    const struct fault_figures *f = &row->faults;
    json_t *o = json_object(), *marks = json_array();
    for (unsigned i = 0; i < f->mark_count; i++)
        json_array_append_new(marks, json_real(f->marks_s[i]));
    set_count(o, "injected", f->injected);
    set(o, "at_s", marks);
    set(o, "first_good_read_median_ms", json_real(f->first_read_median_ms));
    set(o, "first_good_read_max_ms", json_real(f->first_read_max_ms));
    set_count(o, "stalled_ops", row->m.stalled);
    set_count(o, "faults", f->faults);
    set_count(o, "check_failures", f->check_failures);
    set_count(o, "reads_rebuilt", f->rebuilt);
    set_count(o, "pages_repaired", f->repaired);
    set_count(o, "pages_pending", f->pending_at_end);
    set_count(o, "records_lost", f->lost);
    return o;
}

static json_t *row_json(const struct row *row)
{
    const struct measure_result *m = &row->m;
    struct latency l = latency_of(&m->latency);
    json_t *o = json_object();
    set_text(o, "engine", row->engine);
    set_text(o, "jobname", row->name);
    set_count(o, "round", row->round);
    set_count(o, "threads", row->threads);
    if (row->skipped) {
        set_text(o, "not_run", row->note);
        return o;
    }
    set_count(o, "ops", m->ops);
    set_count(o, "ops_per_call", row->ops_per_call);
    set(o, "elapsed_s", json_real(m->elapsed_s));
    set(o, "ops_per_sec", json_real(m->mops * 1e6));
    set(o, "wall_ns_per_op", json_real(m->wall_ns));
    set(o, "wall_p10_ns_per_op", json_real(m->wall_p10_ns));
    set(o, "wall_p90_ns_per_op", json_real(m->wall_p90_ns));
    set(o, "cpu_ns_per_op", json_real(m->cpu_ns));
    set(o, "process_cpu_ns_per_op", json_real(m->process_cpu_ns));
    if (row->bytes_per_op > 0)
        set_count(o, "bytes_per_op", row->bytes_per_op);
    if (row->close_ms > 0)
        set(o, "close_ms", json_real(row->close_ms));
    set(o, "lat_ns", latency_json(&l, &m->latency));
    set(o, "noise", noise_json(m));
    set(o, "store", store_json(&row->store));
    if (row->faults.injected > 0) {
        set(o, "faults", faults_json(row));
        set(o, "timeline", timeline_json(&m->timeline));
    }
    if (row->note[0])
        set_text(o, "note", row->note);
    set(o, "failure", m->failed ? json_string_nocheck(m->failure) : json_null());
    return o;
}

/* Points [ns, share of operations that are slower], log-spaced in the share. */
static json_t *cdf_json(const struct histogram *h)
{
    json_t *points = json_array();
    uint64_t last = 0;
    for (unsigned i = 0; i < CDF_POINTS && h->count > 0; i++) {
        double slower = pow(10, -5.0 * i / (CDF_POINTS - 1));
        if (slower * (double)h->count < 1)
            break;
        uint64_t ns = histogram_percentile_ns(h, 100 * (1 - slower));
        if (ns != last)
            json_array_append_new(points, json_pack("[I, f]", (json_int_t)ns, slower));
        last = ns;
    }
    return points;
}

static json_t *series_json(const struct results *r, const struct series *s)
{
    json_t *o = json_object(), *ratios = json_object();
    struct latency l = latency_of(&s->latency);
    set_text(o, "engine", s->last->engine);
    set_text(o, "jobname", s->last->name);
    set_count(o, "threads", s->last->threads);
    set_count(o, "rounds", s->rounds);
    set(o, "wall_ns_per_op", json_real(s->wall_ns));
    set(o, "wall_min_ns_per_op", json_real(s->wall_min_ns));
    set(o, "wall_max_ns_per_op", json_real(s->wall_max_ns));
    set(o, "cpu_ns_per_op", json_real(s->cpu_ns));
    set(o, "ops_per_sec", json_real(s->mops * 1e6));
    set(o, "ops_per_sec_min", json_real(s->mops_min * 1e6));
    set(o, "ops_per_sec_max", json_real(s->mops_max * 1e6));
    set(o, "other_cpu_percent", json_real(s->other_percent));
    set(o, "lat_ns", latency_json(&l, &s->latency));
    set(o, "cdf", cdf_json(&s->latency));
    set(o, "store", store_json(&s->last->store));
    for (unsigned i = 0; i < 2; i++)
        if (series_ratio(r, s, i) > 0)
            set(ratios, s->last->limits[i], json_real(series_ratio(r, s, i)));
    set(o, "time_over_limit", ratios);
    return o;
}

json_t *report_json(const struct bench_options *opts, const struct machine *machine,
                    const struct results *results)
{
    json_t *report = report_json_head(machine);
    json_t *jobs = json_array(), *summary = json_array();
    for (size_t i = 0; i < results->row_count; i++)
        json_array_append_new(jobs, row_json(results->rows[i]));
    for (size_t i = 0; i < results->series_count; i++)
        json_array_append_new(summary, series_json(results, &results->series[i]));
    set(report, "global options", options_json(opts));
    set(report, "engines", engines_json(opts));
    set(report, "jobs", jobs);
    set(report, "summary", summary);
    return report;
}

bool report_json_write(const char *path, json_t *report)
{
    FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    bool good = out && json_dumpf(report, out, JSON_COMPACT | JSON_REAL_PRECISION(6)) == 0 &&
                fputc('\n', out) != EOF;
    if (out && (out == stdout ? fflush(out) : fclose(out)) != 0)
        good = false;
    if (!good)
        fprintf(stderr, "pmkv-bench: cannot write %s\n", path);
    json_decref(report);
    return good;
}
