/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The crash driver: a small store on simulated media, with power lost at the instants that matter.
 *
 * Before each drain, clear and recovery write (or one in `every` of them) crash images are made
 * from the pending lines: all subsets when they are few, else none, all, single ones, all but one,
 * prefixes and random words (tearing). Each image is
 *   1. given faults, when the run asks for them (within the redundancy of the geometry)
 *   2. opened, some with power lost again while they recover, to a depth of 3
 *   3. compared with the model: before or after, nothing else; nothing is lost
 *   4. crashed and opened once more: the same answer
 *   5. scrubbed, checked: clean; written to, closed, opened: as it should be (a sample)
 * Everything follows from the seed.
 */
#ifndef PMKV_TESTS_CRASH_RUN_H
#define PMKV_TESTS_CRASH_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/store.h"
#include "model.h"
#include "recovery/media/sim.h"
#include "support/rng.h"

enum crash_fault {
    FAULT_NONE,
    FAULT_POISON,
    FAULT_FLIP,
    FAULT_ZERO,
    FAULT_STALE, /* the bytes the page held some time ago, or those of another page */
    FAULT_KINDS,
    FAULT_ANY = FAULT_KINDS,
};

struct crash_run {
    enum pmkv_geometry geometry;
    struct media *media;
    struct pmkv *kv;
    struct model model;
    struct test_rng rng;
    const char *what; /* the step of the script, for messages */
    bool armed;
    bool ordered;                /* open with the ordered index, the next time */
    unsigned every, per_instant; /* one instant in so many; images of each */
    unsigned again_one_in;       /* power is lost again while one image in so many recovers */
    unsigned thorough_one_in;    /* point 5 */
    enum crash_fault fault;
    bool keep_last;
    struct media *last; /* while the store closes: what it leaves */
    uint8_t *old_pages; /* the pool as it was at crash_remember */
    unsigned instants, images, doubles;
};

/* Formats and opens a pool. Watching is off until crash_watch. */
void crash_begin(struct crash_run *r, enum pmkv_geometry geometry, uint64_t seed);
void crash_watch(struct crash_run *r, bool on);
/* Watching off, closes cleanly, checks that some images were made. */
void crash_end(struct crash_run *r);
/* Clean close and open again. */
void crash_reopen(struct crash_run *r);
/* The power goes now: the chosen lines survive; goes on with the recovered store. */
void crash_now(struct crash_run *r, sim_chooser choose, void *arg);
/* What stale pages will hold. */
void crash_remember(struct crash_run *r);

struct pmkv_options crash_options(enum pmkv_geometry geometry);
uint64_t crash_pool_bytes(enum pmkv_geometry geometry);
const char *crash_geometry_name(enum pmkv_geometry geometry);
/* Faults of one page each that every row survives. */
unsigned crash_budget(enum pmkv_geometry geometry);
struct media *crash_format(enum pmkv_geometry geometry);
/* Opens; a failure fails the test. */
struct pmkv *crash_open(struct media *media, enum pmkv_geometry geometry, const char *where);
struct pmkv *crash_open_ordered(struct media *media, enum pmkv_geometry geometry,
                                const char *where);
/* As the run wants it. */
struct pmkv *crash_open_run(const struct crash_run *r, struct media *media, const char *where);
void crash_close(struct pmkv **kv, const char *where);
/* Scrubs, then demands that a check finds nothing and nothing is lost. */
void crash_heal(struct pmkv *kv, const char *where);
uint64_t crash_lost_count(struct pmkv *kv);
void crash_nothing_lost(struct pmkv *kv, const char *where);
/* An image of the medium at this instant. */
struct media *crash_image(struct media *m, sim_chooser choose, void *arg);
/* What survives of the pending lines: the `number`th choice of an instant. */
struct crash_choice {
    unsigned pattern;
    size_t at; /* the one, the end of the prefix, or a subset as bits */
    bool subset;
    struct test_rng rng;
};
struct crash_choice crash_make_choice(struct test_rng *rng, unsigned number, size_t pending);
/* A sim_chooser; arg is a crash_choice. */
uint8_t crash_choose(void *arg, size_t index, const struct sim_line *line);
/* Faults for an image of the run's store (crash_fault.c); says which in `text`. */
void crash_plant(struct crash_run *r, struct media *image, char *text, size_t room);

#endif
