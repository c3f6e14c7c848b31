/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "measure.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

enum { WINDOW_MIN_OPS = 16, WINDOW_MAX_OPS = 1024, WINDOWS_WANTED = 64, QUIET_MIN = 8 };

struct thread_start {
    pthread_t thread;
    const struct job *job;
    struct worker *worker;
    pthread_barrier_t *start;
};

void worker_fail(struct worker *w, const char *format, ...)
{
    if (w->failed)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(w->failure, sizeof w->failure, format, args);
    va_end(args);
    w->failed = true;
}

static void run_plain(const struct job *job, struct worker *w, uint64_t first, uint64_t count)
{
    w->full_check = false;
    uint64_t wall = clock_wall_ns();
    uint64_t cpu = clock_thread_ns();
    job->run(w, first, count);
    cpu = clock_thread_ns() - cpu;
    wall = clock_wall_ns() - wall;
    w->windows[w->window_count++] =
        (struct measure_window){(double)wall / (double)count, (double)cpu / (double)count};
    w->plain_ops += count;
    w->plain_wall_ns += wall;
    w->plain_cpu_ns += cpu;
}

static void run_timed(const struct job *job, struct worker *w, uint64_t first, uint64_t count)
{
    unsigned step = job->ops_per_call;
    w->full_check = true;
    for (uint64_t done = 0; done < count && !w->failed; done += step) {
        uint64_t n = count - done < step ? count - done : step;
        uint64_t from = clock_tick();
        job->run(w, first + done, n);
        histogram_add(&w->latency, clock_ticks_to_ns(clock_tick() - from));
    }
}

static void *thread_main(void *arg)
{
    struct thread_start *t = arg;
    struct worker *w = t->worker;
    pthread_barrier_wait(t->start);
    bool plain = true;
    for (uint64_t at = w->first; at < w->end && !w->failed; plain = !plain) {
        uint64_t count = w->end - at < w->window_ops ? w->end - at : w->window_ops;
        (plain ? run_plain : run_timed)(t->job, w, at, count);
        at += count;
    }
    return NULL;
}

static bool worker_init(struct worker *w, const struct job *job, unsigned id)
{
    uint64_t calls = (job->ops + job->ops_per_call - 1) / job->ops_per_call;
    w->id = id;
    w->shared = job->shared;
    w->first = calls * id / job->threads * job->ops_per_call;
    w->end = calls * (id + 1) / job->threads * job->ops_per_call;
    if (w->end > job->ops)
        w->end = job->ops;
    uint64_t ops = (w->end - w->first) / WINDOWS_WANTED;
    ops = ops < WINDOW_MIN_OPS ? WINDOW_MIN_OPS : ops > WINDOW_MAX_OPS ? WINDOW_MAX_OPS : ops;
    w->window_ops = (ops + job->ops_per_call - 1) / job->ops_per_call * job->ops_per_call;
    histogram_reset(&w->latency);
    size_t windows = (size_t)((w->end - w->first) / w->window_ops / 2 + 2);
    w->windows = calloc(windows, sizeof *w->windows);
    if (!w->windows || (job->setup && !job->setup(w))) {
        worker_fail(w, "thread %u: out of memory", id);
        return false;
    }
    return true;
}

static void collect(struct worker *workers, const struct job *job, struct measure_result *out)
{
    uint64_t plain_ops = 0, plain_cpu_ns = 0;
    for (unsigned i = 0; i < job->threads; i++) {
        struct worker *w = &workers[i];
        plain_ops += w->plain_ops;
        plain_cpu_ns += w->plain_cpu_ns;
        if (w->plain_wall_ns > 0)
            out->mops += (double)w->plain_ops * 1e3 / (double)w->plain_wall_ns;
        out->windows += w->window_count;
        histogram_merge(&out->latency, &w->latency);
        if (w->failed && !out->failed) {
            out->failed = true;
            memcpy(out->failure, w->failure, sizeof out->failure);
        }
    }
    if (plain_ops > 0)
        out->cpu_ns = (double)plain_cpu_ns / (double)plain_ops;
    out->process_cpu_ns = (double)out->noise.own_cpu_ns / (double)job->ops;
}

int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double sorted_at(const double *values, size_t count, double fraction)
{
    if (count == 0)
        return 0;
    double place = fraction * (double)(count - 1);
    size_t low = (size_t)place;
    if (low + 1 >= count)
        return values[count - 1];
    return values[low] + (place - (double)low) * (values[low + 1] - values[low]);
}

static size_t take_windows(const struct worker *workers, unsigned threads, bool quiet_only,
                           double *out)
{
    size_t count = 0;
    for (unsigned i = 0; i < threads; i++)
        for (size_t k = 0; k < workers[i].window_count; k++) {
            const struct measure_window *window = &workers[i].windows[k];
            if (!quiet_only || window->wall_ns <= 1.1 * window->cpu_ns)
                out[count++] = window->wall_ns;
        }
    return count;
}

/* Operations that wait for a device have no quiet windows: then all of them count. */
static void rank_windows(const struct worker *workers, unsigned threads, struct measure_result *out)
{
    double *values = calloc(out->windows + 1, sizeof *values);
    if (!values)
        return;
    size_t count = take_windows(workers, threads, true, values);
    out->quiet_windows = count;
    out->noisy = count < QUIET_MIN && count < out->windows;
    if (out->noisy)
        count = take_windows(workers, threads, false, values);
    qsort(values, count, sizeof *values, compare_doubles);
    out->wall_ns = sorted_at(values, count, 0.5);
    out->wall_p10_ns = sorted_at(values, count, 0.1);
    out->wall_p90_ns = sorted_at(values, count, 0.9);
    free(values);
}

/* Starts the threads together and waits for them. */
static void run_threads(const struct job *job, struct thread_start *threads,
                        struct measure_result *out)
{
    struct machine_sample before, after;
    for (unsigned i = 0; i < job->threads; i++) {
        if (pthread_create(&threads[i].thread, NULL, thread_main, &threads[i]) == 0)
            continue;
        fprintf(stderr, "pmkv-bench: cannot start thread %u\n", i);
        abort(); /* the others wait at the barrier */
    }
    machine_sample(&before);
    uint64_t from = clock_wall_ns();
    pthread_barrier_wait(threads[0].start);
    for (unsigned i = 0; i < job->threads; i++)
        pthread_join(threads[i].thread, NULL);
    out->elapsed_s = (double)(clock_wall_ns() - from) / 1e9;
    machine_sample(&after);
    out->noise = machine_noise(&before, &after);
}

/* Makes the workers and runs them; what went wrong is in the workers. */
static void run_workers(const struct job *job, struct worker *workers, struct thread_start *threads,
                        struct measure_result *out)
{
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, job->threads + 1);
    bool good = true;
    for (unsigned i = 0; good && i < job->threads; i++) {
        threads[i] = (struct thread_start){.job = job, .worker = &workers[i], .start = &start};
        good = worker_init(&workers[i], job, i);
    }
    if (good)
        run_threads(job, threads, out);
    pthread_barrier_destroy(&start);
    collect(workers, job, out);
    rank_windows(workers, job->threads, out);
    for (unsigned i = 0; i < job->threads; i++) {
        if (job->teardown && workers[i].scratch)
            job->teardown(&workers[i]);
        free(workers[i].windows);
    }
}

bool measure_run(const struct job *asked, struct measure_result *out)
{
    struct job job = *asked;
    if (job.ops_per_call == 0)
        job.ops_per_call = 1;
    memset(out, 0, sizeof *out);
    out->ops = job.ops;
    out->threads = job.threads;
    histogram_reset(&out->latency);
    struct worker *workers = calloc(job.threads, sizeof *workers);
    struct thread_start *threads = calloc(job.threads, sizeof *threads);
    if (workers && threads) {
        run_workers(&job, workers, threads, out);
    } else {
        out->failed = true;
        snprintf(out->failure, sizeof out->failure, "out of memory");
    }
    free(threads);
    free(workers);
    return !out->failed;
}
