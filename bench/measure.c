/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "measure.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "windows.h"

enum { WINDOWS_KEPT = 16384, QUIET_MIN = 8 };
static const double first_interval_s = 0.05;

/* The workers count themselves down; whoever starts them waits and looks at them now and then. */
struct crew {
    pthread_barrier_t start;
    pthread_mutex_t lock;
    pthread_cond_t ended;
    unsigned running;
    uint64_t end_ns; /* of the last one */
    struct windows windows;
};

struct thread_start {
    pthread_t thread;
    const struct job *job;
    struct worker *worker;
    struct crew *crew;
};

struct side_start {
    pthread_t thread;
    void (*run)(void *arg, const _Atomic bool *stop);
    void *arg;
    const _Atomic bool *stop;
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

/* The CPU clock is a system call, where a thread with no time left goes: it is outside. */
static void run_plain(const struct job *job, struct worker *w, uint64_t first, uint64_t count)
{
    w->full_check = false;
    uint64_t cpu = clock_thread_ns();
    uint64_t wall = clock_wall_ns();
    job->run(w, first, count);
    wall = clock_wall_ns() - wall;
    cpu = clock_thread_ns() - cpu;
    if (w->window_count < w->window_max)
        w->windows[w->window_count++] =
            (struct measure_window){(double)wall / (double)count, (double)cpu / (double)count};
    w->plain_ops += count;
    w->plain_cpu_ns += cpu;
    atomic_fetch_add_explicit(&w->done, count, memory_order_relaxed);
}

/* One call; `late_ns` is what it started too late. */
static void run_call(const struct job *job, struct worker *w, uint64_t first, uint64_t count,
                     uint64_t late_ns)
{
    uint64_t from = clock_tick();
    job->run(w, first, count);
    uint64_t ns = clock_ticks_to_ns(clock_tick() - from) + late_ns;
    histogram_add(&w->latency, ns);
    w->stalled += ns > STALL_NS;
    atomic_fetch_add_explicit(&w->done, count, memory_order_relaxed);
}

static void run_timed(const struct job *job, struct worker *w, uint64_t first, uint64_t count)
{
    unsigned step = job->ops_per_call;
    w->full_check = true;
    for (uint64_t done = 0; done < count && !w->failed; done += step)
        run_call(job, w, first + done, count - done < step ? count - done : step, 0);
}

static bool past_deadline(const struct worker *w)
{
    return w->deadline_ns != 0 && clock_wall_ns() >= w->deadline_ns;
}

static void run_windows(const struct job *job, struct worker *w, struct windows *windows)
{
    struct window window;
    while (!w->failed && !past_deadline(w) && windows_take(windows, &window))
        (window.plain ? run_plain : run_timed)(job, w, window.first, window.count);
}

/* Sleeps for most of the time until then, and spins for the rest. */
static uint64_t wait_until(uint64_t then_ns)
{
    uint64_t now = clock_wall_ns();
    while (now < then_ns) {
        if (then_ns - now > 200000) {
            uint64_t until = then_ns - 100000;
            struct timespec t = {.tv_sec = (time_t)(until / 1000000000u),
                                 .tv_nsec = (long)(until % 1000000000u)};
            clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
        }
        now = clock_wall_ns();
    }
    return now;
}

static void run_paced(const struct job *job, struct worker *w)
{
    unsigned step = job->ops_per_call;
    double gap_ns = 1e9 * job->threads * step / job->ops_per_s;
    uint64_t call = 0;
    w->full_check = true;
    for (uint64_t at = w->first; at < w->end && !w->failed && !past_deadline(w); call++) {
        uint64_t count = w->end - at < step ? w->end - at : step;
        uint64_t intended = w->start_ns + (uint64_t)((double)call * gap_ns);
        run_call(job, w, at, count, wait_until(intended) - intended);
        at += count;
    }
}

static void *thread_main(void *arg)
{
    struct thread_start *t = arg;
    struct worker *w = t->worker;
    const struct job *job = t->job;
    pthread_barrier_wait(&t->crew->start);
    w->start_ns = clock_wall_ns();
    if (job->duration_s > 0)
        w->deadline_ns = w->start_ns + (uint64_t)(job->duration_s * 1e9);
    if (job->ops_per_s > 0)
        run_paced(job, w);
    else
        run_windows(job, w, &t->crew->windows);
    pthread_mutex_lock(&t->crew->lock);
    t->crew->running--;
    t->crew->end_ns = clock_wall_ns();
    pthread_cond_signal(&t->crew->ended);
    pthread_mutex_unlock(&t->crew->lock);
    return NULL;
}

static void *side_main(void *arg)
{
    struct side_start *side = arg;
    side->run(side->arg, side->stop);
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
    if (job->duration_s > 0)
        w->end = WINDOWS_ENDLESS;
    histogram_reset(&w->latency);
    w->window_max = WINDOWS_KEPT;
    w->windows = calloc(w->window_max, sizeof *w->windows);
    if (!w->windows || (job->setup && !job->setup(w))) {
        worker_fail(w, "thread %u: out of memory", id);
        return false;
    }
    return true;
}

static void collect(struct worker *workers, const struct job *job, const struct windows *windows,
                    struct measure_result *out)
{
    uint64_t plain_ops = 0, plain_cpu_ns = 0;
    for (unsigned i = 0; i < job->threads; i++) {
        struct worker *w = &workers[i];
        plain_ops += w->plain_ops;
        plain_cpu_ns += w->plain_cpu_ns;
        out->ops += atomic_load(&w->done);
        out->stalled += w->stalled;
        out->windows += w->window_count;
        histogram_merge(&out->latency, &w->latency);
        if (w->failed && !out->failed) {
            out->failed = true;
            memcpy(out->failure, w->failure, sizeof out->failure);
        }
    }
    out->mops = windows_plain_rate(windows) / 1e6;
    if (out->mops == 0 && out->elapsed_s > 0)
        out->mops = (double)out->ops / out->elapsed_s / 1e6;
    if (plain_ops > 0)
        out->cpu_ns = (double)plain_cpu_ns / (double)plain_ops;
    if (plain_ops == 0 && out->elapsed_s > 0) { /* all operations were timed */
        out->wall_ns = histogram_mean_ns(&out->latency) / job->ops_per_call;
        out->cpu_ns = (double)out->noise.own_cpu_ns / (double)(out->ops + !out->ops);
    }
    if (out->ops > 0)
        out->process_cpu_ns = (double)out->noise.own_cpu_ns / (double)out->ops;
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
    if (count == 0) {
        free(values);
        return;
    }
    qsort(values, count, sizeof *values, compare_doubles);
    out->wall_ns = sorted_at(values, count, 0.5);
    out->wall_p10_ns = sorted_at(values, count, 0.1);
    out->wall_p90_ns = sorted_at(values, count, 0.9);
    free(values);
}

static uint64_t all_done(const struct worker *workers, unsigned threads)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < threads; i++)
        sum += atomic_load_explicit(&workers[i].done, memory_order_relaxed);
    return sum;
}

static void timeline_add(struct timeline *t, uint32_t ops)
{
    if (t->count == TIMELINE_MAX) {
        for (unsigned i = 0; i < TIMELINE_MAX / 2; i++)
            t->ops[i] = t->ops[2 * i] + t->ops[2 * i + 1];
        t->count = TIMELINE_MAX / 2;
        t->interval_s *= 2;
    }
    t->ops[t->count++] = ops;
}

/* Waits for the workers and keeps the timeline; its last interval is not whole and left out. */
static void wait_for_crew(struct crew *crew, const struct worker *workers, unsigned threads,
                          uint64_t from_ns, struct timeline *timeline)
{
    timeline->interval_s = first_interval_s;
    uint64_t next = from_ns, before = 0;
    pthread_mutex_lock(&crew->lock);
    while (crew->running > 0) {
        next += (uint64_t)(timeline->interval_s * 1e9);
        struct timespec t = {.tv_sec = (time_t)(next / 1000000000u),
                             .tv_nsec = (long)(next % 1000000000u)};
        while (crew->running > 0 && pthread_cond_timedwait(&crew->ended, &crew->lock, &t) == 0)
            ;
        if (crew->running == 0)
            break;
        uint64_t now = all_done(workers, threads);
        timeline_add(timeline, (uint32_t)(now - before));
        before = now;
    }
    pthread_mutex_unlock(&crew->lock);
}

static void start_thread(pthread_t *thread, void *(*main)(void *), void *arg)
{
    if (pthread_create(thread, NULL, main, arg) == 0)
        return;
    fputs("pmkv-bench: cannot start a thread\n", stderr);
    abort(); /* the others wait at the barrier */
}

static void crew_init(struct crew *crew, const struct job *job)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_barrier_init(&crew->start, NULL, job->threads + 1);
    pthread_mutex_init(&crew->lock, NULL);
    pthread_cond_init(&crew->ended, &attributes);
    pthread_condattr_destroy(&attributes);
    crew->running = job->threads;
    windows_init(&crew->windows, job->duration_s > 0 ? WINDOWS_ENDLESS : job->ops, job->threads,
                 job->ops_per_call, job->all_timed);
}

static void crew_free(struct crew *crew)
{
    pthread_barrier_destroy(&crew->start);
    pthread_mutex_destroy(&crew->lock);
    pthread_cond_destroy(&crew->ended);
    windows_free(&crew->windows);
}

/* Starts the threads together and waits for them. */
static void run_threads(const struct job *job, struct worker *workers, struct thread_start *threads,
                        struct measure_result *out)
{
    struct machine_sample before, after;
    struct crew *crew = threads[0].crew;
    struct side_start sides[2];
    _Atomic bool stop = false;
    for (unsigned i = 0; i < job->threads; i++)
        start_thread(&threads[i].thread, thread_main, &threads[i]);
    machine_sample(&before);
    uint64_t from = clock_wall_ns();
    pthread_barrier_wait(&crew->start);
    for (unsigned i = 0; i < 2; i++) {
        sides[i] = (struct side_start){.run = job->side[i], .arg = job->side_arg[i], .stop = &stop};
        if (job->side[i])
            start_thread(&sides[i].thread, side_main, &sides[i]);
    }
    wait_for_crew(crew, workers, job->threads, from, &out->timeline);
    out->elapsed_s = (double)(crew->end_ns - from) / 1e9;
    machine_sample(&after);
    atomic_store(&stop, true);
    for (unsigned i = 0; i < 2; i++)
        if (job->side[i])
            pthread_join(sides[i].thread, NULL);
    for (unsigned i = 0; i < job->threads; i++)
        pthread_join(threads[i].thread, NULL);
    out->noise = machine_noise(&before, &after);
}

/* Makes the workers and runs them; what went wrong is in the workers. */
static void run_workers(const struct job *job, struct worker *workers, struct thread_start *threads,
                        struct measure_result *out)
{
    struct crew crew;
    crew_init(&crew, job);
    bool good = true;
    for (unsigned i = 0; good && i < job->threads; i++) {
        threads[i] = (struct thread_start){.job = job, .worker = &workers[i], .crew = &crew};
        good = worker_init(&workers[i], job, i);
    }
    if (good)
        run_threads(job, workers, threads, out);
    collect(workers, job, &crew.windows, out);
    crew_free(&crew);
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
