/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "clock.h"
#include "workload.h"

static const struct {
    const char *name;
    enum pmkv_inject_kind kind;
} kinds[] = {{"poison", PMKV_INJECT_POISON},
             {"flip", PMKV_INJECT_FLIP},
             {"zero", PMKV_INJECT_ZERO},
             {"stale", PMKV_INJECT_STALE},
             {"garbage", PMKV_INJECT_GARBAGE}};

static bool parse_one(const char *text, struct fault *out)
{
    size_t count = strcspn(text, ":");
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strlen(kinds[i].name) == count && strncmp(kinds[i].name, text, count) == 0)
            out->kind = kinds[i].kind;
    if (out->kind == 0 || text[count] == 0)
        return false;
    text += count + 1;
    bool rate = strncmp(text, "rate=", 5) == 0;
    if (!rate && strncmp(text, "at=", 3) != 0)
        return false;
    char *end;
    const char *number = strchr(text, '=') + 1;
    double value = strtod(number, &end);
    if (end == number || *end || value < 0 || value > 1e6 || (rate && value == 0))
        return false;
    *(rate ? &out->per_second : &out->at_s) = value;
    return true;
}

bool faults_parse(const char *text, struct fault *faults, unsigned *count)
{
    while (*text) {
        char one[64];
        size_t bytes = strcspn(text, ",");
        snprintf(one, sizeof one, "%.*s", (int)bytes, text);
        if (*count == FAULTS_MAX || bytes >= sizeof one || !parse_one(one, &faults[*count])) {
            fprintf(stderr, "pmkv-bench: --inject: \"%s\" is not KIND:rate=N or KIND:at=SECONDS\n",
                    one);
            return false;
        }
        ++*count;
        text += bytes;
        text += *text == ',';
    }
    return true;
}

/* The moment of the next fault, and which; the list is short. */
static double next_moment(const struct fault_run *run, const double *due_s, unsigned *which)
{
    double first = 1e18;
    for (unsigned i = 0; i < run->count; i++)
        if (due_s[i] < first) {
            first = due_s[i];
            *which = i;
        }
    return first;
}

static double since_s(uint64_t start_ns)
{
    return (double)(clock_wall_ns() - start_ns) / 1e9;
}

static void nap(void)
{
    struct timespec t = {.tv_nsec = 100 * 1000};
    nanosleep(&t, NULL);
}

/* Until the moment has come and the store has nothing to repair. False: stopped before. */
static bool wait_for(struct fault_run *run, double moment_s, uint64_t start_ns,
                     const _Atomic bool *stop)
{
    while (!atomic_load(stop)) {
        struct engine_figures f = {0};
        if (since_s(start_ns) >= moment_s) {
            run->pass->engine->figures(run->pass->db, &f);
            if (f.pending == 0)
                return true;
        }
        nap();
    }
    return false;
}

/* Damages a record and reads it. */
static double inject_and_read(struct fault_run *run, struct worker *w, struct thread_scratch *s,
                              enum pmkv_inject_kind kind)
{
    struct pass *pass = run->pass;
    uint64_t number = pick_random(&s->random) % pass->num;
    key_format(s->keys, pass->key_bytes, number);
    enum engine_status status =
        pass->engine->inject(pass->db, kind, s->keys, pass->key_bytes, s->random);
    if (status == ENGINE_MISSING && pass->deletes)
        return -1;
    if (status != ENGINE_OK) {
        worker_fail(w, "inject at key %llu: %s", (unsigned long long)number,
                    status == ENGINE_MISSING ? "not found" : engine_failure());
        return -1;
    }
    uint64_t from = clock_wall_ns();
    if (!pass->deletes)
        op_get(w, pass, s, number);
    return (double)(clock_wall_ns() - from) / 1e6;
}

static void first_reads(struct fault_figures *f, double *ms, size_t count)
{
    qsort(ms, count, sizeof *ms, compare_doubles);
    f->first_read_median_ms = sorted_at(ms, count, 0.5);
    f->first_read_max_ms = sorted_at(ms, count, 1);
}

static void inject_all(struct fault_run *run, struct worker *w, struct thread_scratch *s,
                       const _Atomic bool *stop)
{
    static double ms[FAULT_MARKS]; /* of the last ones; one injector runs at a time */
    double due_s[FAULTS_MAX];
    uint64_t start_ns = clock_wall_ns();
    unsigned which = 0;
    struct fault_figures *f = &run->figures;
    for (unsigned i = 0; i < run->count; i++)
        due_s[i] =
            run->faults[i].per_second > 0 ? 1 / run->faults[i].per_second : run->faults[i].at_s;
    for (double moment; !w->failed && (moment = next_moment(run, due_s, &which)) < 1e17;) {
        if (!wait_for(run, moment, start_ns, stop))
            break;
        const struct fault *fault = &run->faults[which];
        double at_s = since_s(start_ns);
        due_s[which] = fault->per_second > 0 ? moment + 1 / fault->per_second : 1e18;
        double took_ms = inject_and_read(run, w, s, fault->kind);
        if (took_ms < 0)
            continue;
        ms[f->injected++ % FAULT_MARKS] = took_ms;
        if (f->mark_count < FAULT_MARKS)
            f->marks_s[f->mark_count++] = (float)at_s;
    }
    first_reads(f, ms, f->injected < FAULT_MARKS ? f->injected : FAULT_MARKS);
}

/* The store works on after the last fault: what it found is counted when it has settled. */
static void settle(struct fault_run *run)
{
    struct engine_figures f = {0};
    uint64_t start_ns = clock_wall_ns();
    do {
        nap();
        run->pass->engine->figures(run->pass->db, &f);
    } while (f.pending > 0 && since_s(start_ns) < 10);
    run->figures.pending_at_end = f.pending;
}

void faults_run(void *fault_run, const _Atomic bool *stop)
{
    struct fault_run *run = fault_run;
    struct worker w = {.shared = run->pass, .full_check = true};
    struct thread_scratch *s = scratch_new(run->pass, run->seed);
    struct engine_figures before = {0}, after = {0};
    run->pass->engine->figures(run->pass->db, &before);
    if (s)
        inject_all(run, &w, s, stop);
    else
        worker_fail(&w, "the injector: no memory");
    settle(run);
    run->pass->engine->figures(run->pass->db, &after);
    struct fault_figures *f = &run->figures;
    f->faults = after.faults - before.faults;
    f->check_failures = after.check_failures - before.check_failures;
    f->rebuilt = after.rebuilt - before.rebuilt;
    f->repaired = after.repaired - before.repaired;
    f->lost = after.lost - before.lost;
    if (s)
        scratch_free(s);
    if (f->lost > 0)
        worker_fail(&w, "%llu records were lost to %u faults", (unsigned long long)f->lost,
                    f->injected);
    run->failed = w.failed;
    memcpy(run->failure, w.failure, sizeof run->failure);
}
