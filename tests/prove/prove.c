/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The program: workers, limits, the table. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "prove.h"

enum { MAX_WORKERS = 256, MAX_DEATHS = 20 };

struct program {
    struct limits limits;
    struct totals *totals;
    struct worker *workers;
    unsigned worker_count;
    int64_t only_job;
    struct timespec began;
    unsigned deaths;
};

static void *shared(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        abort();
    return p;
}

static double seconds_since(struct timespec began)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - began.tv_sec) + (double)(now.tv_nsec - began.tv_nsec) / 1e9;
}

/* --- workers ---------------------------------------------------------------------------------- */

static void work(struct program *p, struct worker *worker)
{
    static struct run run;
    struct totals *t = p->totals;
    while (!atomic_load(&t->stop)) {
        memset(&run, 0, sizeof run);
        run.totals = t;
        run.worker = worker;
        run.limits = &p->limits;
        uint64_t job = p->only_job >= 0 ? (uint64_t)p->only_job : atomic_fetch_add(&t->next_job, 1);
        job_run(&run, job);
        if (p->only_job >= 0)
            break;
    }
    _exit(0);
}

static pid_t start(struct program *p, unsigned i)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0)
        work(p, &p->workers[i]);
    if (pid < 0)
        abort();
    return pid;
}

static void note_death(struct program *p, unsigned i, int status)
{
    const struct worker *w = &p->workers[i];
    atomic_fetch_add(&p->totals->failures[FAIL_DIED], 1);
    p->deaths++;
    fprintf(stderr, "\nFAILED (worker %s, %d): %s\n  again: --seed %llu --job %llu --per-job %u\n",
            WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "hung" : "died", status, w->where,
            (unsigned long long)p->limits.seed, (unsigned long long)w->job, p->limits.per_job);
}

static bool enough(const struct program *p)
{
    const struct totals *t = p->totals;
    return atomic_load(&t->distinct) >= p->limits.images ||
           seconds_since(p->began) > p->limits.seconds ||
           p->deaths >= (p->limits.fail_fast ? 1 : MAX_DEATHS);
}

static void show_progress(const struct program *p)
{
    const struct totals *t = p->totals;
    fprintf(stderr, "%.0f s: %llu jobs, %llu distinct images, %llu with faults\n",
            seconds_since(p->began), (unsigned long long)t->jobs, (unsigned long long)t->distinct,
            (unsigned long long)t->faulted);
}

static void supervise(struct program *p)
{
    pid_t pids[MAX_WORKERS];
    unsigned alive = p->worker_count, ticks = 0;
    for (unsigned i = 0; i < p->worker_count; i++)
        pids[i] = start(p, i);
    while (alive > 0) {
        int status;
        pid_t pid = waitpid(-1, &status, WNOHANG);
        if (pid <= 0) {
            usleep(100000);
            if (enough(p))
                atomic_store(&p->totals->stop, true);
            if (++ticks % 600 == 0)
                show_progress(p);
            continue;
        }
        for (unsigned i = 0; i < p->worker_count; i++) {
            if (pids[i] != pid)
                continue;
            bool died = !WIFEXITED(status) || WEXITSTATUS(status) != 0;
            if (died)
                note_death(p, i, status);
            if (died && !enough(p) && p->only_job < 0)
                pids[i] = start(p, i);
            else
                alive--;
        }
    }
}

/* --- the table -------------------------------------------------------------------------------- */

static void row(const char *name, unsigned long long count)
{
    printf("%-52s %14llu\n", name, count);
}

static void print_table(const struct program *p)
{
    const struct totals *t = p->totals;
    unsigned long long faults = 0;
    for (unsigned i = 0; i < FAULTS; i++)
        faults += t->faults[i];
    printf("seed %llu, %u workers, %.0f s\n", (unsigned long long)p->limits.seed, p->worker_count,
           seconds_since(p->began));
    row("histories", t->jobs);
    row("operations acknowledged in them", t->operations);
    row("instants at which power was lost", t->instants);
    row("  of which every image was made", t->exhaustive);
    row("distinct crash images recovered", t->distinct);
    row("  torn within lines (or pages half written back)", t->torn);
    row("images of recoveries (lost power twice)", t->deep[2]);
    row("images of recoveries of those (three times)", t->deep[3]);
    row("recoveries judged, with faults and without", t->images);
    row("scrubbed and checked", t->healed);
    row("written to, crashed, closed", t->used);
    row("images with faults", t->faulted);
    row("  that came when it was open again", t->faulted_running);
    row("  within the redundancy", t->modes[FAULTS_WITHIN]);
    row("  beyond it", t->modes[FAULTS_BEYOND]);
    row("  unlimited", t->modes[FAULTS_UNLIMITED]);
    row("faults", faults);
    for (unsigned i = 0; i < FAULTS; i++) {
        char name[64];
        snprintf(name, sizeof name, "  %s", fault_names[i]);
        row(name, t->faults[i]);
    }
    row("pages repaired in images that were scrubbed", t->repaired);
    row("pages retired in them", t->retired);
    row("reads that named a key as lost, beyond", t->named);
    row("pools without a superblock copy, refused", t->refused_rightly);
    for (unsigned i = 0; i < FAILURES; i++)
        row(failure_names[i], t->failures[i]);
}

/* --- options ---------------------------------------------------------------------------------- */

static const char usage[] =
    "usage: prove [--images N] [--seconds N] [--seed N] [--workers N] [--per-job N]\n"
    "             [--faults N] [--job N] [--work NAME] [--fail-fast]\n"
    "Recovers crash images until N of them are distinct or the time is over, and prints a table.\n"
    "  --images N    default 100000\n"
    "  --seconds N   default 3600\n"
    "  --seed N      default 1; everything follows from it\n"
    "  --workers N   processes, default one for each processor\n"
    "  --per-job N   images of one history, about; 0: all of every instant; default 2000\n"
    "  --faults N    of 16 images so many are given faults too; default 6\n"
    "  --job N       this history alone, as a failure names it\n"
    "  --work NAME   only histories of this name\n"
    "  --fail-fast   stop at the first failure\n"
    "Exit code 1 when anything was lost, wrong, refused, different, sick or dead.\n";

static void take_options(struct program *p, int argc, char **argv)
{
    static const struct option options[] = {{"images", 1, 0, 'i'},
                                            {"seconds", 1, 0, 's'},
                                            {"seed", 1, 0, 'e'},
                                            {"workers", 1, 0, 'w'},
                                            {"per-job", 1, 0, 'p'},
                                            {"faults", 1, 0, 'f'},
                                            {"job", 1, 0, 'j'},
                                            {"help", 0, 0, 'h'},
                                            {"work", 1, 0, 'k'},
                                            {"fail-fast", 0, 0, 'x'},
                                            {0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        unsigned long long n = optarg ? strtoull(optarg, NULL, 0) : 0;
        if (c == 'i')
            p->limits.images = n;
        else if (c == 's')
            p->limits.seconds = (double)n;
        else if (c == 'e')
            p->limits.seed = n;
        else if (c == 'w')
            p->worker_count = n < 1 ? 1 : n > MAX_WORKERS ? MAX_WORKERS : (unsigned)n;
        else if (c == 'p')
            p->limits.per_job = (unsigned)n;
        else if (c == 'f')
            p->limits.fault_per = (unsigned)n;
        else if (c == 'k')
            p->limits.work = optarg;
        else if (c == 'x')
            p->limits.fail_fast = true;
        else if (c == 'j')
            p->only_job = (int64_t)n;
        else {
            fputs(usage, c == 'h' ? stdout : stderr);
            exit(c == 'h' ? 0 : 2);
        }
    }
}

int main(int argc, char **argv)
{
    static struct program p = {
        .limits = {.seed = 1, .images = 100000, .seconds = 3600, .per_job = 2000, .fault_per = 6},
        .only_job = -1};
    /* Each open would be given huge pages of zeros for an index of a few slots. */
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    p.worker_count = cpus < 1 ? 1 : cpus > MAX_WORKERS ? MAX_WORKERS : (unsigned)cpus;
    take_options(&p, argc, argv);
    if (p.only_job >= 0)
        p.worker_count = 1;
    p.totals = shared(sizeof *p.totals);
    p.workers = shared(p.worker_count * sizeof *p.workers);
    images_seen = distinct_new(p.limits.images * 2);
    images_judged = distinct_new(p.limits.images * 2);
    clock_gettime(CLOCK_MONOTONIC, &p.began);
    supervise(&p);
    print_table(&p);
    unsigned long long bad = 0;
    for (unsigned i = 0; i < FAILURES; i++)
        bad += p.totals->failures[i];
    printf("%s\n", bad ? "FAILED" : "all of it holds");
    return bad != 0;
}
