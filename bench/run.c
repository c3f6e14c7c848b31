/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "run.h"

#include <stdlib.h>

#include "limit.h"
#include "pool.h"
#include "report.h"
#include "results.h"
#include "workload.h"

/*
 * A step finds the store in the state that it needs: a pass over keys that are not there gets a
 * fresh pool that is filled first, unmeasured. The reopen is measured where the list says it, or by
 * itself before the first deleterandom of a round, or at the round's end.
 */
struct run {
    const struct bench_options *opts;
    FILE *out;
    struct machine machine;
    struct bench_pool pool;
    struct results results;
    struct measure_result *result; /* of the step that runs; large */
    enum keys_there there;
    uint64_t version, passes;
    unsigned round;
    bool reopened, heading_shown;
};

static struct pass next_pass(struct run *run, const struct workload *load)
{
    const struct bench_options *opts = run->opts;
    if (load->writes)
        run->version++;
    struct pass pass = {.kv = run->pool.kv,
                        .version = run->version,
                        .num = opts->num,
                        .key_bytes = opts->key_bytes,
                        .value_bytes = opts->value_bytes};
    permutation_init(&pass.order, opts->num, opts->seed * 1000003 + ++run->passes);
    return pass;
}

static bool renew(struct run *run)
{
    bool first = run->pool.info.pool_bytes == 0;
    if (!pool_renew(&run->pool))
        return false;
    run->there = KEYS_NONE;
    if (first)
        report_pool(run->out, &run->pool);
    return true;
}

/* Brings the pool to what the workload needs. */
static bool prepare(struct run *run, const struct workload *load)
{
    bool fresh = load->before == KEYS_NONE;
    if (!fresh && run->there == KEYS_ALL)
        return true;
    if (!renew(run))
        return false;
    if (fresh)
        return true;
    const struct workload *fill = workload_of(STEP_FILLRANDOM);
    struct pass pass = next_pass(run, fill);
    if (!workload_run(fill, run->opts, &pass, run->result)) {
        fprintf(stderr, "pmkv-bench: fill before %s: %s\n", step_name(load->step),
                run->result->failure);
        return false;
    }
    run->there = KEYS_ALL;
    return true;
}

static void show_row(struct run *run, const struct row *row)
{
    if (!run->heading_shown)
        report_row_heading(run->out);
    run->heading_shown = true;
    report_row(run->out, row);
}

static bool run_workload(struct run *run, const struct workload *load)
{
    if (!prepare(run, load))
        return false;
    struct pass pass = next_pass(run, load);
    struct pmkv_stats before, after;
    if (pmkv_stats(run->pool.kv, &before) != PMKV_OK)
        return false;
    bool good = workload_run(load, run->opts, &pass, run->result);
    if (pmkv_stats(run->pool.kv, &after) != PMKV_OK)
        return false;
    struct store_figures figures =
        store_figures(&before, &after, run->opts->num, run->pool.info.pool_bytes,
                      run->opts->key_bytes + run->opts->value_bytes);
    show_row(run, results_add(&run->results, step_name(load->step), run->round, load->limits,
                              load->ops_per_call, run->result, &figures));
    if (load->after != KEYS_ANY)
        run->there = load->after;
    return good;
}

static void limit_done(void *arg, enum limit_kind kind, const struct measure_result *result)
{
    struct run *run = arg;
    show_row(run, results_add(&run->results, limit_name(kind), run->round, NULL,
                              limit_ops_per_call(kind), result, NULL));
}

static bool run_reopen(struct run *run)
{
    run->reopened = true;
    if (!run->pool.kv)
        return true;
    struct reopen reopen = {.round = run->round};
    if (!pool_reopen(&run->pool, &reopen.close_ns, &reopen.open_ns))
        return false;
    uint64_t wanted = run->there == KEYS_ALL ? run->opts->num : 0;
    enum pmkv_status status = pmkv_count(run->pool.kv, &reopen.keys);
    if (status != PMKV_OK || reopen.keys != wanted) {
        fprintf(stderr, "pmkv-bench: after the reopen: %s, %llu keys, not %llu\n",
                pmkv_status_name(status), (unsigned long long)reopen.keys,
                (unsigned long long)wanted);
        return false;
    }
    results_add_reopen(&run->results, reopen);
    report_reopen(run->out, &reopen);
    return true;
}

static bool run_step(struct run *run, enum step step)
{
    if (step == STEP_LIMIT)
        return limit_run(run->opts, limit_done, run);
    if (step == STEP_REOPEN)
        return run_reopen(run);
    if (step == STEP_DELETERANDOM && !run->reopened && run->there == KEYS_ALL && !run_reopen(run))
        return false;
    return run_workload(run, workload_of(step));
}

static bool lists(const struct bench_options *opts, enum step step)
{
    for (unsigned i = 0; i < opts->step_count; i++)
        if (opts->steps[i] == step)
            return true;
    return false;
}

static bool run_round(struct run *run)
{
    const struct bench_options *opts = run->opts;
    run->reopened = lists(opts, STEP_REOPEN);
    for (unsigned i = 0; i < opts->step_count; i++)
        if (!run_step(run, opts->steps[i]))
            return false;
    return run->reopened || run_reopen(run);
}

static bool run_report(struct run *run)
{
    const struct bench_options *opts = run->opts;
    results_finish(&run->results);
    report_summary(run->out, &run->results);
    if (!opts->json_path)
        return true;
    return report_json_write(opts->json_path,
                             report_json(opts, &run->machine, &run->pool, &run->results));
}

bool run_benchmarks(const struct bench_options *opts)
{
    struct run run = {.opts = opts, .out = report_stream(opts), .there = KEYS_NONE};
    run.result = malloc(sizeof *run.result);
    if (!run.result || !pool_init(&run.pool, opts)) {
        free(run.result);
        return false;
    }
    machine_describe(&run.machine);
    report_machine(run.out, &run.machine);
    report_start(run.out, opts);
    bool good = true;
    for (run.round = 1; good && run.round <= opts->rounds; run.round++)
        good = run_round(&run);
    good = pool_finish(&run.pool) && good;
    good = run_report(&run) && good;
    results_free(&run.results);
    free(run.result);
    return good;
}
