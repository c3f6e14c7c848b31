/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "sched.h"

#include <assert.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_POINTS = 4000000, MAX_STREAK = 20000, HELD = 16, RECENT = 2 };

enum state { ABSENT, READY, FOR_MUTEX, FOR_COND, FOR_TIME, FOR_END, DONE };

struct sched_thread {
    sem_t turn;
    enum state state;
    int priority;
    bool quiet;
    uint32_t streak; /* points in a row */
    const void *waits_for, *recent[RECENT];
    pthread_t handle;
    const char *doing;
    pthread_mutex_t *held[HELD];
    unsigned held_count;
};

/* One run at a time. All of it belongs to the thread that runs; the semaphores pass it on. */
static struct {
    struct sched_thread threads[SCHED_THREADS];
    unsigned workers, count; /* made so far; in this run */
    const struct sched_plan *plan;
    struct sched_outcome *out;
    sched_body body;
    void *arg;
    uint32_t next_change;
    int lowest;
    sem_t over;
} run;

static _Thread_local struct sched_thread *me;

/* --- plans ------------------------------------------------------------------------------------ */

uint32_t sched_orders(unsigned threads)
{
    return threads < 2 ? 1 : threads * sched_orders(threads - 1);
}

/* Priorities of the `number`th permutation: threads get what is left, one after the other. */
static void set_priorities(uint32_t number, unsigned threads)
{
    bool taken[SCHED_THREADS] = {false};
    for (unsigned i = 0; i < threads; i++) {
        uint32_t nth = number % (threads - i), p = threads;
        number /= threads - i;
        do
            p--;
        while (taken[p] || nth-- > 0);
        taken[p] = true;
        run.threads[i].priority = (int)p + 1;
    }
}

void sched_plan_print(const struct sched_plan *plan, char *text, size_t room)
{
    int used = snprintf(text, room, "%u:", plan->order);
    for (uint32_t i = 0; i < plan->changes && (size_t)used < room; i++)
        used += snprintf(text + used, room - (size_t)used, "%s%u", i ? "," : "", plan->at[i]);
}

bool sched_plan_parse(const char *text, struct sched_plan *plan)
{
    char *end;
    *plan = (struct sched_plan){.order = (uint32_t)strtoul(text, &end, 10)};
    if (end == text || *end != ':')
        return false;
    while (end[1] && plan->changes < SCHED_CHANGES) {
        const char *from = end + 1;
        plan->at[plan->changes++] = (uint32_t)strtoul(from, &end, 10);
        if (end == from || (*end && *end != ','))
            return false;
        if (!*end)
            break;
    }
    return true;
}

/* --- who goes on ------------------------------------------------------------------------------ */

static struct sched_thread *best_of(enum state state)
{
    struct sched_thread *best = NULL;
    for (unsigned i = 0; i < run.count; i++) {
        struct sched_thread *t = &run.threads[i];
        if (t->state == state && (!best || t->priority > best->priority))
            best = t;
    }
    return best;
}

static const struct sched_thread *owner_of(const void *mutex)
{
    for (unsigned i = 0; i < run.count; i++)
        for (unsigned k = 0; k < run.threads[i].held_count; k++)
            if (run.threads[i].held[k] == mutex)
                return &run.threads[i];
    return NULL;
}

static void describe(char *text, size_t room)
{
    static const char *const states[] = {
        "absent", "ready", "waits for a mutex", "waits", "a moment", "a join", "is done"};
    int used = 0;
    for (unsigned i = 0; i < run.count && (size_t)used < room; i++) {
        const struct sched_thread *t = &run.threads[i];
        used += snprintf(text + used, room - (size_t)used, "; thread %u (%s) %s", i, t->doing,
                         states[t->state]);
        const struct sched_thread *owner = t->state == FOR_MUTEX ? owner_of(t->waits_for) : NULL;
        if (owner && (size_t)used < room)
            used += snprintf(text + used, room - (size_t)used, " of thread %d",
                             (int)(owner - run.threads));
    }
}

void sched_fail(const char *format, ...)
{
    char what[600], threads[400];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    describe(threads, sizeof threads);
    snprintf(run.out->text, sizeof run.out->text, "%s%s", what, threads);
    run.out->failed = true;
    sem_post(&run.over);
    for (;;)
        sem_wait(&me->turn); /* for good */
}

static struct sched_thread *choose(void)
{
    struct sched_thread *t = best_of(READY);
    if (!t)
        t = best_of(FOR_TIME); /* nobody else can run: its time is over */
    if (t)
        t->state = READY;
    return t;
}

/* The calling thread stops or goes on, as the priorities say. */
static void pass_on(void)
{
    struct sched_thread *next = choose(), *self = me;
    if (!next)
        sched_fail("deadlock");
    if (next == self)
        return;
    run.out->switches++;
    next->streak = 0;
    sem_post(&next->turn);
    while (sem_wait(&self->turn) != 0)
        ;
}

bool sched_is_running(void)
{
    return me != NULL;
}

static bool seen_just_now(const void *site)
{
    for (int i = 0; i < RECENT; i++)
        if (site && me->recent[i] == site)
            return true;
    me->recent[1] = me->recent[0];
    me->recent[0] = site;
    return false;
}

void sched_point(const void *site)
{
    if (!me || me->quiet || seen_just_now(site))
        return;
    if (++run.out->points > MAX_POINTS)
        sched_fail("livelock");
    bool change =
        run.next_change < run.plan->changes && run.plan->at[run.next_change] <= run.out->points;
    if (change || ++me->streak > MAX_STREAK) {
        run.next_change += change;
        me->priority = --run.lowest;
        me->streak = 0;
    }
    pass_on();
}

void sched_spin(void)
{
    if (!me)
        return;
    if (++run.out->points > MAX_POINTS)
        sched_fail("livelock");
    me->priority = --run.lowest;
    me->recent[0] = me->recent[1] = NULL;
    pass_on();
}

void sched_quiet(bool on)
{
    if (me)
        me->quiet = on;
}

bool sched_has_points(void)
{
    return me && !me->quiet;
}

void sched_note(const char *what)
{
    if (me)
        me->doing = what;
}

/* --- waiting ---------------------------------------------------------------------------------- */

static void wait_as(enum state state, const void *what)
{
    me->state = state;
    me->waits_for = what;
    me->recent[0] = me->recent[1] = NULL;
    pass_on();
}

static void wake(enum state state, const void *what, bool all)
{
    for (unsigned i = 0; i < run.count; i++) {
        struct sched_thread *t = &run.threads[i];
        if (t->state != state || t->waits_for != what)
            continue;
        t->state = READY;
        if (!all)
            return;
    }
}

void sched_wait_mutex(pthread_mutex_t *mutex)
{
    wait_as(FOR_MUTEX, mutex);
}

void sched_took(pthread_mutex_t *mutex)
{
    if (me->held_count < HELD)
        me->held[me->held_count++] = mutex;
}

void sched_gave(pthread_mutex_t *mutex)
{
    for (unsigned i = me->held_count; i > 0; i--)
        if (me->held[i - 1] == mutex) {
            me->held[i - 1] = me->held[--me->held_count];
            break;
        }
    wake(FOR_MUTEX, mutex, true);
}

void sched_wait_cond(const void *cond, bool timed)
{
    wait_as(timed ? FOR_TIME : FOR_COND, cond);
}

void sched_signal(const void *cond, bool all)
{
    wake(FOR_COND, cond, all);
    wake(FOR_TIME, cond, all);
}

/* --- threads ---------------------------------------------------------------------------------- */

static void thread_begin(struct sched_thread *t)
{
    int priority = t->priority;
    sem_t turn = t->turn;
    *t = (struct sched_thread){.turn = turn, .priority = priority, .state = READY, .doing = "new"};
}

struct sched_thread *sched_adopt(void)
{
    assert(run.count < SCHED_THREADS);
    struct sched_thread *t = &run.threads[run.count];
    thread_begin(t);
    run.count++;
    return t;
}

void sched_enter(struct sched_thread *t)
{
    me = t;
    while (sem_wait(&t->turn) != 0)
        ;
}

void sched_bind(struct sched_thread *t, pthread_t handle)
{
    t->handle = handle;
}

static bool all_done(void)
{
    for (unsigned i = 0; i < run.count; i++)
        if (run.threads[i].state != DONE)
            return false;
    return true;
}

/* The thread's part in the run is over. */
void sched_leave(void)
{
    me->state = DONE;
    for (unsigned i = 0; i < run.count; i++)
        if (run.threads[i].state == FOR_END && run.threads[i].waits_for == me)
            run.threads[i].state = READY;
    struct sched_thread *next = choose();
    if (!next && !all_done())
        sched_fail("deadlock");
    me = NULL;
    sem_post(next ? &next->turn : &run.over);
}

void sched_wait_end(pthread_t handle)
{
    for (unsigned i = 0; i < run.count; i++)
        if (pthread_equal(run.threads[i].handle, handle) && run.threads[i].state != DONE &&
            &run.threads[i] != me)
            wait_as(FOR_END, &run.threads[i]);
}

/* --- a run ------------------------------------------------------------------------------------ */

static void *worker(void *arg)
{
    struct sched_thread *t = arg;
    for (;;) {
        sched_enter(t);
        run.body(run.arg, (unsigned)(t - run.threads));
        sched_leave();
    }
    return NULL;
}

/* Workers stay: the library numbers threads in the order of their first use. */
static void make_workers(unsigned threads)
{
    for (; run.workers < threads; run.workers++) {
        pthread_t handle;
        int rc = pthread_create(&handle, NULL, worker, &run.threads[run.workers]);
        assert(rc == 0);
        (void)rc;
    }
}

void sched_run(const struct sched_plan *plan, unsigned threads, unsigned helpers, sched_body body,
               void *arg, struct sched_outcome *out)
{
    assert(threads + helpers <= SCHED_THREADS && !me);
    static bool prepared;
    for (unsigned i = 0; i < SCHED_THREADS && !prepared; i++)
        sem_init(&run.threads[i].turn, 0, 0);
    if (!prepared)
        sem_init(&run.over, 0, 0);
    prepared = true;
    *out = (struct sched_outcome){.failed = false};
    run.plan = plan;
    run.out = out;
    run.body = body;
    run.arg = arg;
    run.next_change = 0;
    run.lowest = 0;
    make_workers(threads);
    set_priorities(plan->order, threads + helpers);
    for (run.count = 0; run.count < threads;)
        sched_adopt();
    sem_post(&choose()->turn);
    while (sem_wait(&run.over) != 0)
        ;
}
