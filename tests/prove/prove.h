/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The prover: every crash image of many small histories, recovered and judged.
 *
 * A job is one history (a workload) on one pool (a setting), with the media's power cut at each of
 * its instants: before every drain, clear and recovery write, in creation, open, writing, cleaning,
 * repair, scrub and close. For each instant images are made of what may have become durable
 * (choice.h), and each is recovered in this process, on simulated media:
 *
 *   1. opened; some with power lost again at the instants of the recovery, to a depth of 3
 *   2. compared with what was acknowledged (expect.h): before or after what was in flight
 *   3. what is durable then is opened again: the same answer, and no byte of a row has changed
 *   4. some: scrubbed and checked, written to, closed, opened
 *
 * Some images are given faults (fault.h), before they are opened or when they are open, and judged
 * again. Everything follows from the seed, also
 * the secrets of the pools and the clock (seeded.c), so that one job can be run again alone.
 *
 * Images are told apart by the hash of all their bytes; one that was recovered with the same
 * expectation is not recovered again. Workers are processes; they share totals and the set of
 * hashes and nothing else.
 */
#ifndef PMKV_TESTS_PROVE_H
#define PMKV_TESTS_PROVE_H

#include <setjmp.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "choice.h"
#include "expect.h"
#include "fault.h"
#include "kv/store.h"
#include "recovery/media/sim.h"
#include "support/rng.h"

/* --- what a job is ---------------------------------------------------------------------------- */

struct setting {
    const char *name;
    enum pmkv_geometry geometry;
    uint64_t pool_bytes, loss_unit;
    uint32_t segment_rows;
    unsigned budget; /* lost pages a row that all data survives */
    bool pages;      /* whole pages reach the medium, in any order, as those of a file do */
};
extern const struct setting settings[];
extern const unsigned setting_count;

struct run;
struct workload {
    const char *name;
    void (*play)(struct run *r);
    bool creates; /* power is lost while the pool is made, too */
};
extern const struct workload workloads[];
extern const unsigned workload_count;

/* --- what all workers count ------------------------------------------------------------------- */

enum failure {
    FAIL_LOST,    /* an acknowledged operation is gone, or half of one is there */
    FAIL_WRONG,   /* wrong bytes, or an older version nothing speaks of */
    FAIL_REFUSED, /* a pool that could be opened was refused */
    FAIL_CHANGED, /* recovering twice gives something else */
    FAIL_SICK,    /* a scrub leaves damage, or what was recovered cannot be used */
    FAIL_DIED,    /* the process died or hung */
    FAILURES
};
extern const char *const failure_names[FAILURES];

struct totals {
    atomic_ullong next_job;
    atomic_ullong jobs, operations, instants, pending_lines;
    atomic_ullong images, distinct, recovered_again, deep[4]; /* by depth of the cut, from 1 */
    atomic_ullong exhaustive; /* instants of which every subset was recovered */
    atomic_ullong torn, healed, used;
    atomic_ullong faulted, faulted_running, faults[FAULTS], modes[FAULT_MODES];
    atomic_ullong repaired, retired, named, refused_rightly;
    atomic_ullong failures[FAILURES];
    atomic_bool stop;
};

/* What a worker is doing: the parent prints it when the worker dies. */
struct worker {
    atomic_ullong job;
    char where[900];
};

struct limits {
    uint64_t seed;
    uint64_t images; /* distinct ones; then it stops */
    double seconds;
    unsigned per_job;   /* images of one job, about; 0: all of every instant */
    unsigned fault_per; /* of 16 images so many are given faults as well */
    bool fail_fast;
    const char *work; /* only workloads whose name has this in it */
};

/* --- one job at work -------------------------------------------------------------------------- */

struct run {
    const struct setting *setting;
    const struct workload *work;
    struct totals *totals;
    struct worker *worker;
    const struct limits *limits;
    uint64_t job, seed;
    struct test_rng rng; /* of the workload, and of nothing else: images do not move it */

    struct media *media;
    struct pmkv *kv; /* NULL while it is created, opened or closed */
    struct layout layout;
    struct expect expect;
    const char *what; /* the step of the workload */
    bool armed;       /* instants count */
    bool creating;    /* no pool is owed yet */
    bool ill;         /* the workload's own poison is on the medium */
    bool counting;    /* the first time through: instants are counted, no image is made */
    bool keep_last;
    struct media *last; /* while the store closes: what it leaves */
    struct media *old;  /* the medium some time ago: what stale pages hold */
    uint64_t instant, instants_ahead;
    jmp_buf give_up; /* the workload cannot go on */
};

struct pmkv_options setting_options(const struct setting *s);

/* Runs job number `job`: everything follows from it and the seed. */
void job_run(struct run *r, uint64_t job);
/* Where the keys' records stand. Kept for the instants at which there is no store to ask, so it is
 * called before it closes or is abandoned: nothing moves then. */
void note_places(struct run *r);
/* The hook of the medium under test. */
void instant_hook(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes);

/* Reports, counts, and prints how to run the job again. */
void prove_fail(struct run *r, enum failure kind, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Recovers an image, which is gone then (recover.c). */
struct cut {
    unsigned depth;          /* of power cuts: 1 for an image of the workload */
    uint64_t salt;           /* what is chosen about this image follows from it */
    bool pivot;              /* cut its recovery at every instant */
    enum fault_mode running; /* faults that come when it is open; plan is theirs from then on */
    struct fault_plan plan;
    char where[900];
};
void recover_image(struct run *r, struct media *image, struct cut *cut);
/* Frees a store without closing it: the power went. */
void store_abandon(struct pmkv **kv);

/* The pool's secret and the clock, from a seed (seeded.c). */
void seeded_start(uint64_t seed);

/* --- the set of hashes (distinct.c) ----------------------------------------------------------- */

struct distinct;
struct distinct *distinct_new(uint64_t expected);
/* True when it was not there. */
bool distinct_add(struct distinct *d, uint64_t hash);
extern struct distinct *images_seen, *images_judged;

#endif
