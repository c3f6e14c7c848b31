/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "workload.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct thread_scratch *scratch_new(const struct pass *pass, uint64_t seed)
{
    struct thread_scratch *s = calloc(1, sizeof *s);
    if (!s)
        return NULL;
    size_t value_bytes = (pass->value_bytes + 63) & ~(size_t)63;
    s->pass = pass;
    s->random = data_mix(seed + pass->seed);
    s->keys = malloc(pass->batch * pass->key_bytes);
    s->values = aligned_alloc(64, pass->batch * value_bytes);
    s->session = pass->engine->begin ? pass->engine->begin(pass->db) : pass->db;
    if (s->keys && s->values && s->session) {
        memset(s->values, 0xa5, pass->batch * value_bytes);
        return s;
    }
    scratch_free(s);
    return NULL;
}

void scratch_free(struct thread_scratch *s)
{
    if (s->session && s->pass->engine->end)
        s->pass->engine->end(s->session);
    free(s->keys);
    free(s->values);
    free(s);
}

static bool scratch_setup(struct worker *w)
{
    w->scratch = scratch_new(w->shared, w->id);
    return w->scratch != NULL;
}

static void scratch_teardown(struct worker *w)
{
    scratch_free(w->scratch);
    w->scratch = NULL;
}

static void status_failed(struct worker *w, const char *verb, uint64_t number,
                          enum engine_status status)
{
    worker_fail(w, "%s key %llu: %s", verb, (unsigned long long)number,
                status == ENGINE_FAILED    ? engine_failure()
                : status == ENGINE_MISSING ? "not found"
                                           : "found, but must be missing");
}

static uint64_t number_at(const struct pass *pass, uint64_t i)
{
    if (i >= pass->num)
        i %= pass->num;
    return pass->sequential ? i : permutation_at(&pass->order, i);
}

bool op_value_is_good(const struct pass *pass, const void *value, size_t bytes, uint64_t number,
                      bool full)
{
    if (bytes != pass->value_bytes)
        return false;
    uint64_t version = value_version(value, bytes);
    return version >= pass->low && version <= pass->high &&
           value_check(value, bytes, number, version, full);
}

void op_put(struct worker *w, const struct pass *pass, struct thread_scratch *s, uint64_t number)
{
    key_format(s->keys, pass->key_bytes, number);
    value_fill(s->values, pass->value_bytes, number, pass->version);
    enum engine_status status =
        pass->engine->put(s->session, s->keys, pass->key_bytes, s->values, pass->value_bytes);
    if (status != ENGINE_OK)
        status_failed(w, "put", number, status);
}

static void wrong_value(struct worker *w, const struct pass *pass, uint64_t number, size_t bytes)
{
    worker_fail(w, "get key %llu: WRONG VALUE (%zu bytes, versions %llu to %llu expected)",
                (unsigned long long)number, bytes, (unsigned long long)pass->low,
                (unsigned long long)pass->high);
}

void op_get(struct worker *w, const struct pass *pass, struct thread_scratch *s, uint64_t number)
{
    size_t bytes = pass->value_bytes;
    key_format(s->keys, pass->key_bytes, number);
    enum engine_status status =
        pass->engine->get(s->session, s->keys, pass->key_bytes, s->values, &bytes);
    if (status != ENGINE_OK)
        status_failed(w, "get", number, status);
    else if (!op_value_is_good(pass, s->values, bytes, number, w->full_check))
        wrong_value(w, pass, number, bytes);
}

static void run_put(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    for (uint64_t i = first; i < first + count && !w->failed; i++)
        op_put(w, pass, w->scratch, number_at(pass, i));
}

static void run_get(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    for (uint64_t i = first; i < first + count && !w->failed; i++)
        op_get(w, pass, w->scratch, number_at(pass, i));
}

/* Numbers of missing keys are beyond those of all that are ever inserted. */
static void run_get_missing(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    struct thread_scratch *s = w->scratch;
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t number = pass->insert_end + number_at(pass, i);
        size_t bytes = pass->value_bytes;
        key_format(s->keys, pass->key_bytes, number);
        enum engine_status status =
            pass->engine->get(s->session, s->keys, pass->key_bytes, s->values, &bytes);
        if (status != ENGINE_MISSING)
            return status_failed(w, "get of the missing", number, status);
    }
}

static void run_delete(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    struct thread_scratch *s = w->scratch;
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t number = number_at(pass, i);
        key_format(s->keys, pass->key_bytes, number);
        enum engine_status status = pass->engine->del(s->session, s->keys, pass->key_bytes);
        if (status != ENGINE_OK)
            return status_failed(w, "delete", number, status);
    }
}

static void write_one_batch(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    struct thread_scratch *s = w->scratch;
    size_t stride = (pass->value_bytes + 63) & ~(size_t)63;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number = number_at(pass, first + i);
        char *key = s->keys + i * pass->key_bytes, *value = s->values + i * stride;
        key_format(key, pass->key_bytes, number);
        value_fill(value, pass->value_bytes, number, pass->version);
        s->writes[i] = (struct engine_write){key, value};
    }
    enum engine_status status = pass->engine->write(s->session, s->writes, (unsigned)count,
                                                    pass->key_bytes, pass->value_bytes);
    if (status != ENGINE_OK)
        status_failed(w, "write of the batch with", number_at(pass, first), status);
}

static void run_batches(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    for (uint64_t done = 0; done < count && !w->failed; done += pass->batch)
        write_one_batch(w, first + done, count - done < pass->batch ? count - done : pass->batch);
}

static void read_one_batch(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    struct thread_scratch *s = w->scratch;
    size_t stride = (pass->value_bytes + 63) & ~(size_t)63;
    for (uint64_t i = 0; i < count; i++) {
        char *key = s->keys + i * pass->key_bytes;
        key_format(key, pass->key_bytes, number_at(pass, first + i));
        s->reads[i] = (struct engine_read){
            .key = key, .value = s->values + i * stride, .value_bytes = pass->value_bytes};
    }
    enum engine_status status =
        pass->engine->get_many(s->session, s->reads, (unsigned)count, pass->key_bytes);
    if (status != ENGINE_OK)
        return status_failed(w, "read of the batch with", number_at(pass, first), status);
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number = number_at(pass, first + i);
        const struct engine_read *read = &s->reads[i];
        if (read->status != ENGINE_OK)
            return status_failed(w, "get in a batch of", number, read->status);
        if (!op_value_is_good(pass, read->value, read->value_bytes, number, w->full_check))
            return wrong_value(w, pass, number, read->value_bytes);
    }
}

static void run_read_batches(struct worker *w, uint64_t first, uint64_t count)
{
    const struct pass *pass = w->shared;
    if (!pass->engine->get_many)
        return run_get(w, first, count);
    for (uint64_t done = 0; done < count && !w->failed; done += pass->batch)
        read_one_batch(w, first + done, count - done < pass->batch ? count - done : pass->batch);
}

static const struct workload workloads[] = {
    {STEP_FILLSEQ, run_put, KEYS_NONE, KEYS_ALL, true, true, false, {"lim_append1", NULL}, {0}},
    {STEP_FILLRANDOM, run_put, KEYS_NONE, KEYS_ALL, true, true, false, {"lim_append1", NULL}, {0}},
    {STEP_OVERWRITE, run_put, KEYS_ALL, KEYS_ANY, true, false, false, {"lim_append1", NULL}, {0}},
    {STEP_WRITEBATCH, run_batches, KEYS_ALL, KEYS_ANY, true, false, true, {"lim_append16"}, {0}},
    {.step = STEP_READRANDOM,
     .run = run_get,
     .before = KEYS_ALL,
     .limits = {"lim_get_loop", "lim_get_serial"}},
    {.step = STEP_READMISSING, .run = run_get_missing, .before = KEYS_ALL},
    {.step = STEP_MULTIREADRANDOM,
     .run = run_read_batches,
     .before = KEYS_ALL,
     .batched = true,
     .limits = {"lim_get_loop"}},
    {.step = STEP_READWHILEWRITING, .run = run_get, .before = KEYS_ALL, .writes = true},
    {.step = STEP_SEEKRANDOM, .run = run_seek, .before = KEYS_ALL},
    {.step = STEP_DELETERANDOM,
     .run = run_delete,
     .before = KEYS_ALL,
     .after = KEYS_NONE,
     .whole = true},
#define MIX(name, ...)                                                                             \
    {                                                                                              \
        .step = name, .run = run_mix, .before = KEYS_ALL, .writes = true, .mix = { __VA_ARGS__ }   \
    }
    MIX(STEP_UPDATE, .update = 100, .distribution = PICK_UNIFORM),
    MIX(STEP_YCSBA, .read = 50, .update = 50, .distribution = PICK_ZIPFIAN),
    MIX(STEP_YCSBB, .read = 95, .update = 5, .distribution = PICK_ZIPFIAN),
    MIX(STEP_YCSBC, .read = 100, .distribution = PICK_ZIPFIAN),
    MIX(STEP_YCSBD, .read = 95, .insert = 5, .distribution = PICK_LATEST),
    MIX(STEP_YCSBE, .scan = 95, .insert = 5, .distribution = PICK_ZIPFIAN),
    MIX(STEP_YCSBF, .read = 50, .modify = 50, .distribution = PICK_ZIPFIAN),
#undef MIX
};

const struct workload *workload_of(enum step step)
{
    for (size_t i = 0; i < sizeof workloads / sizeof *workloads; i++)
        if (workloads[i].step == step)
            return &workloads[i];
    return NULL;
}

const char *workload_misfit(const struct workload *load, const struct engine *engine)
{
    if ((load->run == run_seek || load->mix.scan > 0) && !engine->seek)
        return "the engine keeps no order";
    if (load->run == run_batches && !engine->write)
        return "the engine has no batches";
    return NULL;
}

/* readwhilewriting: one writer that goes round through all keys. */
static void run_side_writer(void *arg, const _Atomic bool *stop)
{
    struct pass *pass = arg;
    struct worker w = {.shared = pass};
    struct thread_scratch *s = scratch_new(pass, 777);
    if (!s)
        worker_fail(&w, "the writer: no memory");
    while (s && !w.failed && !atomic_load_explicit(stop, memory_order_relaxed))
        op_put(&w, pass, s, pick_random(&s->random) % pass->num);
    if (s)
        scratch_free(s);
    pass->side_failed = w.failed;
    memcpy(pass->side_failure, w.failure, sizeof pass->side_failure);
}

/* What went wrong beside the workers fails the workload too. */
static bool sides_good(const struct pass *pass, const struct fault_run *faults,
                       struct measure_result *out)
{
    if (!pass->side_failed && !faults->failed)
        return true;
    out->failed = true;
    memcpy(out->failure, pass->side_failed ? pass->side_failure : faults->failure,
           sizeof out->failure);
    return false;
}

bool workload_run(const struct workload *load, const struct bench_options *opts, struct pass *pass,
                  struct fault_run *faults, struct measure_result *out)
{
    struct job job = {.run = load->run,
                      .setup = scratch_setup,
                      .teardown = scratch_teardown,
                      .shared = pass,
                      .ops = pass->num,
                      .duration_s = load->whole ? 0 : opts->duration_s,
                      .ops_per_s = opts->ops_per_s,
                      .ops_per_call = load->batched ? opts->batch : 1,
                      .threads = opts->threads};
    pass->deletes = load->after == KEYS_NONE;
    if (load->mix.distribution != PICK_DEFAULT) {
        pass->mix = &load->mix;
        pick_init(&pass->pick, opts->distribution ? opts->distribution : load->mix.distribution,
                  pass->num, pass->seed);
    }
    if (load->step == STEP_READWHILEWRITING) {
        job.side[0] = run_side_writer;
        job.side_arg[0] = pass;
    }
    if (faults->count > 0) {
        job.all_timed = true;
        job.side[1] = faults_run;
        job.side_arg[1] = faults;
    }
    bool good = measure_run(&job, out);
    return sides_good(pass, faults, out) && good;
}
