/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "workload.h"

#include <stdlib.h>

struct thread_scratch {
    struct pmkv_batch *batch;
    char key[1024];
    _Alignas(64) char value[];
};

static bool scratch_setup(struct worker *w)
{
    const struct pass *pass = w->shared;
    size_t bytes = sizeof(struct thread_scratch) + pass->value_bytes + 127;
    struct thread_scratch *s = aligned_alloc(64, bytes & ~(size_t)63);
    if (!s)
        return false;
    s->batch = NULL;
    if (pmkv_batch_new(&s->batch) != PMKV_OK) {
        free(s);
        return false;
    }
    w->scratch = s;
    return true;
}

static void scratch_teardown(struct worker *w)
{
    struct thread_scratch *s = w->scratch;
    pmkv_batch_free(&s->batch);
    free(s);
    w->scratch = NULL;
}

static void status_failed(struct worker *w, const char *verb, uint64_t number,
                          enum pmkv_status status)
{
    worker_fail(w, "%s key %llu: %s: %s", verb, (unsigned long long)number,
                pmkv_status_name(status), status == PMKV_OK ? "expected another" : pmkv_errormsg());
}

static void run_put(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    struct thread_scratch *s = w->scratch;
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t number = permutation_at(&pass->order, i);
        key_format(s->key, pass->key_bytes, number);
        value_fill(s->value, pass->value_bytes, number, pass->version);
        enum pmkv_status status =
            pmkv_put(pass->kv, s->key, pass->key_bytes, s->value, pass->value_bytes);
        if (status != PMKV_OK)
            return status_failed(w, "put", number, status);
    }
}

static void run_get(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    struct thread_scratch *s = w->scratch;
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t number = permutation_at(&pass->order, i);
        size_t bytes = 0;
        key_format(s->key, pass->key_bytes, number);
        enum pmkv_status status =
            pmkv_get(pass->kv, s->key, pass->key_bytes, s->value, pass->value_bytes, &bytes);
        if (status != PMKV_OK)
            return status_failed(w, "get", number, status);
        if (bytes != pass->value_bytes ||
            !value_check(s->value, bytes, number, pass->version, w->full_check))
            return worker_fail(w, "get key %llu: WRONG VALUE (%zu bytes, version %llu expected)",
                               (unsigned long long)number, bytes,
                               (unsigned long long)pass->version);
    }
}

static void run_get_missing(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    struct thread_scratch *s = w->scratch;
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t number = pass->num + permutation_at(&pass->order, i);
        size_t bytes = 0;
        key_format(s->key, pass->key_bytes, number);
        enum pmkv_status status =
            pmkv_get(pass->kv, s->key, pass->key_bytes, s->value, pass->value_bytes, &bytes);
        if (status != PMKV_E_NOT_FOUND)
            return status_failed(w, "get of the missing", number, status);
    }
}

static void run_delete(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    struct thread_scratch *s = w->scratch;
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t number = permutation_at(&pass->order, i);
        key_format(s->key, pass->key_bytes, number);
        enum pmkv_status status = pmkv_delete(pass->kv, s->key, pass->key_bytes);
        if (status != PMKV_OK)
            return status_failed(w, "delete", number, status);
    }
}

/* One batch of `count` (16, the last one of a thread may have less). */
static void run_one_batch(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    struct thread_scratch *s = w->scratch;
    pmkv_batch_clear(s->batch);
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t number = permutation_at(&pass->order, i);
        key_format(s->key, pass->key_bytes, number);
        value_fill(s->value, pass->value_bytes, number, pass->version);
        enum pmkv_status status =
            pmkv_batch_put(s->batch, s->key, pass->key_bytes, s->value, pass->value_bytes);
        if (status != PMKV_OK)
            return status_failed(w, "batch put", number, status);
    }
    enum pmkv_status status = pmkv_write(pass->kv, s->batch);
    if (status != PMKV_OK)
        status_failed(w, "write of the batch with", permutation_at(&pass->order, first), status);
}

static void run_batches(struct worker *w, uint64_t first, uint64_t count)
{
    for (uint64_t done = 0; done < count && !w->failed; done += BATCH_OPS)
        run_one_batch(w, first + done, count - done < BATCH_OPS ? count - done : BATCH_OPS);
}

static const struct workload workloads[] = {
    {STEP_FILLRANDOM, run_put, KEYS_NONE, KEYS_ALL, true, 1, {"lim_append1", NULL}},
    {STEP_READRANDOM, run_get, KEYS_ALL, KEYS_ANY, false, 1, {"lim_get_loop", "lim_get_serial"}},
    {STEP_OVERWRITE, run_put, KEYS_ALL, KEYS_ANY, true, 1, {"lim_append1", NULL}},
    {STEP_READMISSING, run_get_missing, KEYS_ALL, KEYS_ANY, false, 1, {NULL, NULL}},
    {STEP_DELETERANDOM, run_delete, KEYS_ALL, KEYS_NONE, false, 1, {NULL, NULL}},
    {STEP_BATCH16, run_batches, KEYS_ALL, KEYS_ANY, true, BATCH_OPS, {"lim_append16", NULL}},
};

const struct workload *workload_of(enum step step)
{
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
        if (workloads[i].step == step)
            return &workloads[i];
    return NULL;
}

bool workload_run(const struct workload *load, const struct bench_options *opts, struct pass *pass,
                  struct measure_result *out)
{
    struct job job = {.run = load->run,
                      .setup = scratch_setup,
                      .teardown = scratch_teardown,
                      .shared = pass,
                      .ops = opts->num,
                      .ops_per_call = load->ops_per_call,
                      .threads = opts->threads};
    return measure_run(&job, out);
}
