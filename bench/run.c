/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "run.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "limit.h"
#include "place.h"
#include "prefault.h"
#include "workload.h"

/*
 * A step finds the store in the state that it needs: a pass over keys that are not there gets a
 * fresh store; one that needs them gets a store that is filled first, unmeasured.
 */
struct run {
    struct bench_options opts; /* of this run: one engine, one number of threads */
    row_done_fn done;
    void *done_arg;
    struct bench_place place;
    struct row *row;   /* of the step that runs; large */
    struct pass *pass; /* the same */
    enum keys_there there;
    uint64_t low, high; /* versions of the keys that are there */
    uint64_t keys;      /* how many there are */
    uint64_t passes, memory_before;
    unsigned round;
};

static void next_pass(struct run *run, const struct workload *load)
{
    const struct bench_options *opts = &run->opts;
    struct pass *pass = run->pass;
    memset(pass, 0, sizeof *pass);
    pass->engine = run->place.engine;
    pass->db = run->place.db;
    pass->sequential = load->step == STEP_FILLSEQ;
    pass->version = run->high + 1;
    pass->low = run->low;
    pass->high = run->high + load->writes;
    pass->num = opts->num;
    pass->next_insert = run->keys > opts->num ? run->keys : opts->num;
    pass->insert_end = 2 * opts->num;
    for (unsigned i = 0; i < OPTIONS_MAX_THREADS; i++)
        pass->inserting[i] = UINT64_MAX;
    pass->key_bytes = opts->key_bytes;
    pass->value_bytes = opts->value_bytes;
    pass->batch = opts->batch;
    pass->threads = opts->threads;
    pass->seed = opts->seed * 1000003 + ++run->passes;
    permutation_init(&pass->order, opts->num, pass->seed);
}

/* What is there after a workload that went well. */
static void take_state(struct run *run, const struct workload *load)
{
    bool every_key = load->writes && load->batched + load->whole > 0;
    if (load->step == STEP_OVERWRITE || load->step == STEP_WRITEBATCH)
        every_key = run->opts.duration_s == 0;
    if (load->writes)
        run->high = run->pass->version;
    if (every_key && run->pass->next_insert == run->opts.num)
        run->low = run->high;
    if (load->after != KEYS_ANY)
        run->there = load->after;
    run->keys =
        load->after == KEYS_NONE ? run->pass->next_insert - run->opts.num : run->pass->next_insert;
}

static bool renew(struct run *run)
{
    if (!place_renew(&run->place))
        return false;
    run->there = KEYS_NONE;
    run->keys = 0;
    return true;
}

static bool run_pass(struct run *run, const struct workload *load, struct fault_run *faults)
{
    next_pass(run, load);
    faults->pass = run->pass;
    faults->seed = run->pass->seed;
    prefault(run->place.path, run->opts.fault_count == 0);
    bool good = workload_run(load, &run->opts, run->pass, faults, &run->row->m);
    if (good)
        take_state(run, load);
    return good;
}

/* Brings the store to what the workload needs. */
static bool prepare(struct run *run, enum step step, enum keys_there before)
{
    bool fresh = before == KEYS_NONE;
    if (!fresh && run->there == KEYS_ALL)
        return true;
    if (!renew(run))
        return false;
    if (fresh)
        return true;
    struct fault_run none = {0};
    if (run_pass(run, workload_of(STEP_FILLRANDOM), &none))
        return true;
    fprintf(stderr, "pmkv-bench: %s: fill before %s: %s\n", run->place.engine->name,
            step_name(step), run->row->m.failure);
    return false;
}

/* --- rows ------------------------------------------------------------------------------------- */

static void start_row(struct run *run, const char *name, unsigned ops_per_call,
                      const char *const limits[2])
{
    struct row *row = run->row;
    memset(row, 0, sizeof *row);
    snprintf(row->engine, sizeof row->engine, "%s", run->place.engine->name);
    snprintf(row->name, sizeof row->name, "%s", name);
    for (unsigned i = 0; limits && i < 2; i++)
        snprintf(row->limits[i], sizeof row->limits[i], "%s", limits[i] ? limits[i] : "");
    row->round = run->round;
    row->threads = run->opts.threads;
    row->ops_per_call = ops_per_call;
    row->store = (struct store_figures){-1, -1, -1, -1, -1, -1, -1, -1, 0};
}

static double per(uint64_t after, uint64_t before, double by)
{
    if (after == ENGINE_UNKNOWN || before == ENGINE_UNKNOWN || by <= 0)
        return -1;
    return (double)(after - before) / by;
}

/* Writes of a workload, in operations: what write amplification is measured by. */
static double writes_of(const struct workload *load, double ops)
{
    const struct mix *mix = &load->mix;
    if (load->run == run_mix)
        return ops * (mix->update + mix->insert + mix->modify) / 100.0;
    return load->writes && load->step != STEP_READWHILEWRITING ? ops : 0;
}

static void take_space_figures(struct run *run, const struct engine_figures *now)
{
    struct store_figures *s = &run->row->store;
    double record = (double)(run->opts.key_bytes + run->opts.value_bytes);
    double live = (double)run->keys * record, keys = (double)run->keys;
    s->pool_per_live = per(now->pool_bytes, 0, live);
    s->used_per_live = per(now->used_bytes, 0, live);
    s->live_share = per(now->live_bytes, 0, (double)now->room_bytes);
    s->index_bytes_per_key = per(now->index_bytes, 0, keys);
    s->keys = run->keys;
}

static void take_store_figures(struct run *run, const struct workload *load,
                               const struct engine_figures *before)
{
    struct engine_figures after = place_figures_now(&run->place);
    struct store_figures *s = &run->row->store;
    double ops = (double)run->row->m.ops;
    double record = (double)(run->opts.key_bytes + run->opts.value_bytes);
    s->fences_per_op = per(after.fences, before->fences, ops);
    s->media_bytes_per_op = per(after.media_bytes, before->media_bytes, ops);
    s->write_amplification =
        per(after.media_bytes, before->media_bytes, writes_of(load, ops) * record);
    take_space_figures(run, &after);
    uint64_t memory = machine_own_memory_bytes();
    if (memory > run->memory_before)
        s->dram_bytes_per_key = per(memory, run->memory_before, (double)run->keys);
}

static bool skip(struct run *run, enum step step, const char *why)
{
    start_row(run, step_name(step), 1, NULL);
    run->row->skipped = true;
    snprintf(run->row->note, sizeof run->row->note, "%s", why);
    run->done(run->done_arg, run->row);
    return true;
}

/* --scrub: one that has ended begins anew with the next workload. */
static bool start_scrub(const struct run *run)
{
    if (run->opts.scrub_bytes_per_s == 0)
        return true;
    const struct engine *engine = run->place.engine;
    bool good = engine->scrub &&
                engine->scrub(run->place.db, run->opts.scrub_bytes_per_s, false) == ENGINE_OK;
    if (!good)
        fprintf(stderr, "pmkv-bench: %s: scrub: %s\n", engine->name,
                engine->scrub ? engine_failure() : "the engine has none");
    return good;
}

static bool run_workload(struct run *run, const struct workload *load)
{
    const char *misfit = workload_misfit(load, run->place.engine);
    if (misfit)
        return skip(run, load->step, misfit);
    if (!prepare(run, load->step, load->before))
        return false;
    start_row(run, step_name(load->step), load->batched ? run->opts.batch : 1, load->limits);
    if (load->step == STEP_MULTIREADRANDOM && !run->place.engine->get_many)
        snprintf(run->row->note, sizeof run->row->note, "no batched reads: gets one by one");
    struct fault_run faults = {.faults = run->opts.faults, .count = run->opts.fault_count};
    struct engine_figures before = place_figures_now(&run->place);
    bool good = start_scrub(run) && run_pass(run, load, &faults);
    run->row->faults = faults.figures;
    if (good)
        take_store_figures(run, load, &before);
    run->done(run->done_arg, run->row);
    return good;
}

static void limit_done(void *arg, enum limit_kind kind, const struct measure_result *result)
{
    struct run *run = arg;
    start_row(run, limit_name(kind), limit_ops_per_call(kind), NULL);
    run->row->m = *result;
    run->row->bytes_per_op = limit_bytes_per_op(&run->opts, kind);
    run->done(run->done_arg, run->row);
}

/* --- one long operation
 * ---------------------------------------------------------------------------- */

/* Reads every key that must be there, unmeasured. */
static bool verify(struct run *run)
{
    struct engine_figures f = place_figures_now(&run->place);
    if (f.keys != ENGINE_UNKNOWN && f.keys != run->keys) {
        fprintf(stderr, "pmkv-bench: %s: after an open: %llu keys, not %llu\n",
                run->place.engine->name, (unsigned long long)f.keys, (unsigned long long)run->keys);
        return false;
    }
    struct row *measured = run->row;
    struct fault_run none = {0};
    run->row = calloc(1, sizeof *run->row);
    bool good = run->row && run_pass(run, workload_of(STEP_READRANDOM), &none);
    if (!good)
        fprintf(stderr, "pmkv-bench: %s: after an open: %s\n", run->place.engine->name,
                run->row ? run->row->m.failure : "out of memory");
    free(run->row);
    run->row = measured;
    return good;
}

/* What one long operation took. */
struct stopwatch {
    struct machine_sample sample;
    uint64_t wall_ns, cpu_ns;
};

static struct stopwatch stopwatch_start(void)
{
    struct stopwatch s;
    machine_sample(&s.sample);
    s.cpu_ns = clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
    s.wall_ns = clock_wall_ns();
    return s;
}

static void stopwatch_stop(const struct stopwatch *s, struct measure_result *m)
{
    uint64_t took = clock_wall_ns() - s->wall_ns;
    struct machine_sample after;
    machine_sample(&after);
    m->noise = machine_noise(&s->sample, &after);
    m->ops = m->threads = 1;
    m->elapsed_s = (double)took / 1e9;
    m->wall_ns = m->wall_p10_ns = m->wall_p90_ns = (double)took;
    m->cpu_ns = m->process_cpu_ns = (double)(clock_read_ns(CLOCK_PROCESS_CPUTIME_ID) - s->cpu_ns);
    m->mops = 1e3 / (double)took;
    histogram_reset(&m->latency);
    histogram_add(&m->latency, took);
}

/* Opens the closed store and makes the row of it. */
static bool timed_open(struct run *run, enum step step, double close_ms)
{
    start_row(run, step_name(step), 1, NULL);
    struct stopwatch watch = stopwatch_start();
    if (!place_open(&run->place))
        return false;
    stopwatch_stop(&watch, &run->row->m);
    run->row->close_ms = close_ms;
    run->row->store.keys = run->keys;
    bool good = verify(run);
    run->done(run->done_arg, run->row);
    return good;
}

/* A scrub or a pack, once. The bytes of a scrub are those of the pool: what is free is read as
 * well, a word of each line. */
static bool run_whole(struct run *run, enum step step)
{
    const struct engine *engine = run->place.engine;
    bool scrubs = step == STEP_SCRUB;
    if (scrubs ? !engine->scrub : !engine->pack)
        return skip(run, step, scrubs ? "the engine has no scrub" : "the engine does not pack");
    if (!prepare(run, step, KEYS_ALL))
        return false;
    start_row(run, step_name(step), 1, NULL);
    struct stopwatch watch = stopwatch_start();
    void *db = run->place.db;
    bool good = (scrubs ? engine->scrub(db, 0, true) : engine->pack(db)) == ENGINE_OK;
    stopwatch_stop(&watch, &run->row->m);
    struct engine_figures now = place_figures_now(&run->place);
    take_space_figures(run, &now);
    if (scrubs)
        run->row->bytes_per_op = now.pool_bytes;
    if (!good) {
        run->row->m.failed = true;
        snprintf(run->row->m.failure, sizeof run->row->m.failure, "%s", engine_failure());
    }
    run->done(run->done_arg, run->row);
    return good;
}

static bool run_open(struct run *run)
{
    if (run->place.engine == &engine_limit)
        return skip(run, STEP_OPEN, "nothing to find the records by");
    if (!prepare(run, STEP_OPEN, KEYS_ALL))
        return false;
    uint64_t from = clock_wall_ns();
    if (!place_close(&run->place))
        return false;
    return timed_open(run, STEP_OPEN, (double)(clock_wall_ns() - from) / 1e6);
}

/* In a process of its own: overwrites records until it is killed. */
static void exec_writer(const struct run *run, int opened_fd)
{
    const struct bench_options *opts = &run->opts;
    char arguments[8][128];
    snprintf(arguments[0], 128, "--engine=%s", run->place.engine->name);
    snprintf(arguments[1], 128, "--num=%llu", (unsigned long long)opts->num);
    snprintf(arguments[2], 128, "--key-size=%zu", opts->key_bytes);
    snprintf(arguments[3], 128, "--value-size=%zu", opts->value_bytes);
    snprintf(arguments[4], 128, "--threads=%u", opts->threads);
    snprintf(arguments[5], 128, "--flush=%s", opts->flush_line ? "line" : "auto");
    snprintf(arguments[6], 128, "--pool=%.120s", opts->pool_path);
    snprintf(arguments[7], 128, "--opened-fd=%d", opened_fd);
    if (freopen("/dev/null", "w", stdout))
        execl("/proc/self/exe", "pmkv-bench", "--use-existing", "--keep", "--benchmarks=overwrite",
              "--duration=600", arguments[0], arguments[1], arguments[2], arguments[3],
              arguments[4], arguments[5], arguments[6], arguments[7], (char *)NULL);
    _exit(127);
}

/* Kills the writer when its store has been open for a while; how long an open takes is not known.
 */
static bool kill_a_writer(struct run *run)
{
    int fds[2], status = 0;
    char byte;
    if (pipe(fds) != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        exec_writer(run, fds[1]);
    }
    close(fds[1]);
    bool opened = pid > 0 && read(fds[0], &byte, 1) == 1;
    close(fds[0]);
    struct timespec t = {.tv_sec = run->opts.num >= 100000 ? 2 : 0, .tv_nsec = 500 * 1000 * 1000};
    if (opened)
        nanosleep(&t, NULL);
    bool killed = pid > 0 && kill(pid, SIGKILL) == 0 && waitpid(pid, &status, 0) == pid &&
                  WIFSIGNALED(status);
    if (!opened || !killed)
        fprintf(stderr, "pmkv-bench: %s: the writer that was to be killed had ended by itself\n",
                run->place.engine->name);
    return opened && killed;
}

/* A record of the killed writer is there: else the kill has shown nothing. */
static bool left_a_record(struct run *run)
{
    struct pass *pass = run->pass;
    next_pass(run, workload_of(STEP_READRANDOM));
    struct thread_scratch *s = scratch_new(pass, 0);
    bool found = false;
    for (uint64_t i = 0; s && !found && i < pass->num; i++) {
        size_t bytes = pass->value_bytes;
        key_format(s->keys, pass->key_bytes, i);
        found = pass->engine->get(s->session, s->keys, pass->key_bytes, s->values, &bytes) ==
                    ENGINE_OK &&
                value_version(s->values, bytes) > EXISTING_VERSION;
    }
    if (s)
        scratch_free(s);
    if (!found)
        fprintf(stderr, "pmkv-bench: %s: nothing of the killed writer is there\n",
                run->place.engine->name);
    return found;
}

static bool run_open_killed(struct run *run)
{
    if (!run->place.engine->survives_kill)
        return skip(run, STEP_OPENKILLED, "nothing outlives the process");
    if (!prepare(run, STEP_OPENKILLED, KEYS_ALL) || !place_close(&run->place) ||
        !kill_a_writer(run))
        return false;
    if (run->high < EXISTING_VERSION + 1)
        run->high = EXISTING_VERSION + 1;
    return timed_open(run, STEP_OPENKILLED, 0) && left_a_record(run);
}

/* --- the list --------------------------------------------------------------------------------- */

static bool run_step(struct run *run, enum step step)
{
    switch (step) {
    case STEP_LIMIT:
        return limit_run(&run->opts, limit_done, run);
    case STEP_OPEN:
        return run_open(run);
    case STEP_OPENKILLED:
        return run_open_killed(run);
    case STEP_SCRUB:
    case STEP_PACK:
        return run_whole(run, step);
    default:
        return run_workload(run, workload_of(step));
    }
}

/* Keys of a store that another run has left: any version may be there. */
static bool use_existing(struct run *run)
{
    run->there = KEYS_ALL;
    run->keys = run->opts.num;
    run->low = 0;
    run->high = EXISTING_VERSION;
    if (!place_open(&run->place))
        return false;
    prefault(run->place.path, run->opts.fault_count == 0); /* who kills us waits only briefly */
    int fd = run->opts.opened_fd;
    return fd < 0 || (write(fd, "", 1) == 1 && close(fd) == 0);
}

bool run_engine(const struct bench_options *opts, const struct engine *engine, unsigned threads,
                unsigned round, row_done_fn done, void *arg)
{
    struct run run = {.opts = *opts,
                      .done = done,
                      .done_arg = arg,
                      .there = KEYS_NONE,
                      .round = round,
                      .memory_before = machine_own_memory_bytes()};
    run.opts.threads = threads;
    run.row = calloc(1, sizeof *run.row);
    run.pass = calloc(1, sizeof *run.pass);
    bool good = run.row && run.pass && place_init(&run.place, &run.opts, engine) &&
                (!opts->use_existing || use_existing(&run));
    for (unsigned i = 0; good && i < opts->step_count; i++)
        good = run_step(&run, opts->steps[i]);
    good = place_finish(&run.place) && good;
    free(run.row);
    free(run.pass);
    return good;
}
