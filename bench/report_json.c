/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "report.h"

#include <string.h>
#include <time.h>

#include "clock.h"

enum { REPORT_SCHEMA = 1 };

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
    set_count(o, "threads", opts->threads);
    set_count(o, "rounds", opts->rounds);
    set_count(o, "key_bytes", opts->key_bytes);
    set_count(o, "value_bytes", opts->value_bytes);
    set_text(o, "flush", opts->flush_line ? "line" : "auto");
    set_count(o, "seed", opts->seed);
    return o;
}

static json_t *pool_json(const struct pmkv_info *info)
{
    json_t *o = json_object();
    set_text(o, "path", info->path);
    set_text(o, "backend", pmkv_backend_name(info->backend));
    set_text(o, "backend_reason", info->backend_reason);
    set_text(o, "geometry", pmkv_geometry_name(info->geometry));
    set_text(o, "survives",
             info->durability == PMKV_SURVIVES_POWER_LOSS ? "power loss" : "process death");
    set_count(o, "pool_bytes", info->pool_bytes);
    set_count(o, "capacity_bytes", info->capacity_bytes);
    set_count(o, "loss_unit_bytes", info->loss_unit_bytes);
    set_count(o, "lanes", info->lanes);
    set_count(o, "segments", info->segment_count);
    return o;
}

static json_t *latency_json(const struct latency *l)
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
    return o;
}

static json_t *store_json(const struct store_figures *s)
{
    json_t *o = json_object();
    set(o, "fences_per_op", json_real(s->fences_per_op));
    set(o, "media_bytes_per_op", json_real(s->media_bytes_per_op));
    set_count(o, "keys", s->keys);
    set_count(o, "free_bytes", s->free_bytes);
    set_count(o, "dead_bytes", s->dead_bytes);
    set_count(o, "index_bytes", s->index_bytes);
    set_count(o, "segments_cleaned", s->segments_cleaned);
    set_count(o, "records_moved", s->records_moved);
    set_count(o, "faults", s->faults);
    set_count(o, "check_failures", s->check_failures);
    if (s->keys > 0) {
        set(o, "pool_bytes_per_live_byte", json_real(store_space_ratio(s)));
        set(o, "used_bytes_per_live_byte", json_real(store_used_ratio(s)));
        set(o, "index_bytes_per_key", json_real(store_index_bytes_per_key(s)));
    }
    return o;
}

static json_t *noise_json(const struct row *row)
{
    json_t *o = json_object();
    set(o, "load1", json_real(row->noise.load1));
    set(o, "steal_percent", json_real(row->noise.steal_percent));
    set(o, "other_percent", json_real(row->noise.other_percent));
    set_count(o, "windows", row->windows);
    set_count(o, "quiet_windows", row->quiet_windows);
    set(o, "median_of_all_windows", json_boolean(row->noisy));
    return o;
}

static json_t *row_json(const struct row *row)
{
    json_t *o = json_object();
    set_text(o, "jobname", row->name);
    set_count(o, "round", row->round);
    set_count(o, "threads", row->threads);
    set_count(o, "ops", row->ops);
    set_count(o, "ops_per_call", row->ops_per_call);
    set(o, "elapsed_s", json_real(row->elapsed_s));
    set(o, "ops_per_sec", json_real(row->mops * 1e6));
    set(o, "wall_ns_per_op", json_real(row->wall_ns));
    set(o, "wall_p10_ns_per_op", json_real(row->wall_p10_ns));
    set(o, "wall_p90_ns_per_op", json_real(row->wall_p90_ns));
    set(o, "cpu_ns_per_op", json_real(row->cpu_ns));
    set(o, "process_cpu_ns_per_op", json_real(row->process_cpu_ns));
    set(o, "lat_ns", latency_json(&row->latency));
    set(o, "noise", noise_json(row));
    if (row->store.there)
        set(o, "store", store_json(&row->store));
    set(o, "failure", row->failed ? json_string_nocheck(row->failure) : json_null());
    return o;
}

static json_t *series_json(const struct results *r, const struct series *s)
{
    json_t *o = json_object(), *ratios = json_object();
    struct latency l = latency_of(&s->latency);
    set_text(o, "jobname", s->name);
    set_count(o, "rounds", s->rounds);
    set(o, "wall_ns_per_op", json_real(s->wall_ns));
    set(o, "wall_min_ns_per_op", json_real(s->wall_min_ns));
    set(o, "wall_max_ns_per_op", json_real(s->wall_max_ns));
    set(o, "cpu_ns_per_op", json_real(s->cpu_ns));
    set(o, "ops_per_sec", json_real(s->mops * 1e6));
    set(o, "lat_ns", latency_json(&l));
    for (unsigned i = 0; i < 2; i++)
        if (series_ratio(r, s, i) > 0)
            set(ratios, s->limits[i], json_real(series_ratio(r, s, i)));
    set(o, "time_over_limit", ratios);
    return o;
}

static json_t *reopen_json(const struct reopen *reopen)
{
    json_t *o = json_object();
    set_count(o, "round", reopen->round);
    set_count(o, "keys", reopen->keys);
    set_count(o, "close_ns", reopen->close_ns);
    set_count(o, "open_ns", reopen->open_ns);
    return o;
}

json_t *report_json(const struct bench_options *opts, const struct machine *machine,
                    const struct bench_pool *pool, const struct results *results)
{
    json_t *report = report_json_head(machine);
    json_t *jobs = json_array(), *summary = json_array(), *reopens = json_array();
    for (size_t i = 0; i < results->row_count; i++)
        json_array_append_new(jobs, row_json(&results->rows[i]));
    for (size_t i = 0; i < results->series_count; i++)
        json_array_append_new(summary, series_json(results, &results->series[i]));
    for (size_t i = 0; i < results->reopen_count; i++)
        json_array_append_new(reopens, reopen_json(&results->reopens[i]));
    set(report, "global options", options_json(opts));
    set(report, "pool", pool->info.pool_bytes ? pool_json(&pool->info) : json_null());
    set(report, "jobs", jobs);
    set(report, "reopens", reopens);
    set(report, "summary", summary);
    return report;
}

bool report_json_write(const char *path, json_t *report)
{
    FILE *out = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    bool good = out && json_dumpf(report, out, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) == 0 &&
                fputc('\n', out) != EOF;
    if (out && (out == stdout ? fflush(out) : fclose(out)) != 0)
        good = false;
    if (!good)
        fprintf(stderr, "pmkv-bench: cannot write %s\n", path);
    json_decref(report);
    return good;
}
