/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A scheduler of our own: of the threads of a script exactly one runs at a time, and at each point
 * that others could notice the scheduler says who goes on.
 *
 * Points are calls for a mutex, its release, calls of the medium (door.h) and, where the build has
 * them (atomics.c), atomic operations. At each the ready thread of highest priority goes on. A plan
 * says how priorities begin (`order`, a permutation) and at which points the thread that runs falls
 * to the lowest (`at`). With no such change threads run one after the other and leave only where
 * they block; with k changes a plan is a schedule with k preemptions. A run follows from its plan
 * alone, so a plan is how a failure is reproduced.
 *
 * A thread that waits for a time waits until nobody else can run. A thread that spins (sched_yield,
 * or many points in a row) falls to the lowest priority. Deadlock: nobody can run. Livelock: more
 * points than any script needs.
 *
 * What is not covered: memory is sequentially consistent here, and what a compiler may do to plain
 * accesses is not seen. The thread sanitizer and tests/stress are for that.
 */
#ifndef PMKV_TESTS_SCHED_SCHED_H
#define PMKV_TESTS_SCHED_SCHED_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum { SCHED_THREADS = 6, SCHED_CHANGES = 6 };

struct sched_plan {
    uint32_t order; /* number of the permutation of the threads, helpers included */
    uint32_t changes;
    uint32_t at[SCHED_CHANGES]; /* points, ascending, from 1 */
};

struct sched_outcome {
    bool failed;
    char text[1024]; /* what failed, and what every thread was doing */
    uint32_t points, switches;
};

typedef void (*sched_body)(void *arg, unsigned thread);

/* Runs body(arg, 0 .. threads - 1) by the plan. `helpers` is how many more threads those make. The
 * caller is no part of it. A run that failed leaves its threads behind for good: end the process.
 */
void sched_run(const struct sched_plan *plan, unsigned threads, unsigned helpers, sched_body body,
               void *arg, struct sched_outcome *out);
uint32_t sched_orders(unsigned threads);
/* "ORDER:AT,AT,.." and back; false: it is none. */
void sched_plan_print(const struct sched_plan *plan, char *text, size_t room);
bool sched_plan_parse(const char *text, struct sched_plan *plan);

/* --- for the threads of a run; no effect in others -------------------------------------------- */

bool sched_is_running(void);
/* A point; `site` tells points apart: loops over many words are one point, not many. */
void sched_point(const void *site);
/* The thread gets nowhere until another does something. */
void sched_spin(void);
/* No points of this thread until it is off again; it still waits for locks. */
void sched_quiet(bool on);
bool sched_has_points(void);
/* What it does, for the report: a static string. */
void sched_note(const char *what);
/* Ends the run as failed; does not return. */
void sched_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));

/* --- for wraps.c ------------------------------------------------------------------------------ */

void sched_wait_mutex(pthread_mutex_t *mutex);
void sched_took(pthread_mutex_t *mutex);
void sched_gave(pthread_mutex_t *mutex);
/* The mutex is given back already. */
void sched_wait_cond(const void *cond, bool timed);
void sched_signal(const void *cond, bool all);
/* Makes a thread a part of the run: it begins when the scheduler says so. */
struct sched_thread *sched_adopt(void);
void sched_enter(struct sched_thread *t);
void sched_leave(void);
void sched_bind(struct sched_thread *t, pthread_t handle);
void sched_wait_end(pthread_t handle);

#endif
