/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A script under many schedules, each from the same pool, on simulated media.
 *
 * Every order of the threads without preemption, every single preemption (or as many as fit, evenly
 * spread), then random plans of two to four. After each run
 *   1. what its operations were told must be what a map can have told (history.h), with a read of
 *      each key at the end
 *   2. nothing is damaged that the script did not damage, nothing lost; counts are right (I5, I13,
 *      live units, keys); the store closes and, in a sample, is opened again and scrubbed
 *   3. of some runs crash images were taken on the way or at the end; of all, where a get has
 *      returned what a put or batch that has not returned wrote, without the pending lines (I2):
 * recovered, their history with the operations that had not returned holds as well; then two values
 * of equal size are put, the power goes once more and it still holds (I1)
 *
 * A failure names its plan: PMKV_SCHED_PLAN=PLAN with the test's --filter runs that one alone.
 * PMKV_SCHED_SEED is another seed; PMKV_SCHED_MORE=N makes N times as many schedules,
 * PMKV_SCHED_EVERY=N one of N; PMKV_SCHED_BOUND=2 tries every pair of preemptions, which takes
 * long.
 */
#ifndef PMKV_TESTS_SCHED_EXPLORE_H
#define PMKV_TESTS_SCHED_EXPLORE_H

#include "crash/crash_run.h"
#include "history.h"

enum { WORLD_INSTANTS = 2, WORLD_IMAGES = WORLD_INSTANTS + 3 };

struct world {
    const struct sched_script *script;
    struct media *media;
    struct pmkv *kv;
    struct history h;
    uint32_t last_version;
    uint32_t fillers; /* keys besides those of the history */
    uint64_t damage;  /* events of damage in this run */
    uint32_t segment; /* for the script: what arrange chose */
    char names[HISTORY_KEYS][24];
    /* Instants of this run, and at which of them images are taken. */
    struct test_rng rng;
    bool with_images;
    uint32_t instants, image_at[WORLD_INSTANTS], image_count;
    struct {
        uint32_t at;
        struct media *media;
        struct history h;
    } images[WORLD_IMAGES];
};

struct sched_script {
    const char *name;
    uint32_t threads, helpers; /* helpers: threads that those make */
    uint32_t keys, lanes;
    uint32_t schedules;   /* without PMKV_SCHED_MORE */
    uint32_t most_faults; /* pages the script may damage */
    bool background;      /* the script opens and closes the store itself */
    bool slow_drain;      /* of the medium: writers share commits (kv/join.h) */
    bool reopens;         /* every run ends with a close and an open */
    bool pairs;           /* pairs of preemptions */
    void (*names)(struct world *w);
    void (*prepare)(struct world *w); /* once: what is in the pool */
    void (*arrange)(struct world *w); /* before each run */
    void (*body)(struct world *w, unsigned thread);
    void (*after)(struct world *w); /* after each run: checks of its own */
};

void explore(const struct sched_script *script);

/* --- operations of scripts: noted, and judged afterwards; a status that may not be fails -------
 */

void do_put(struct world *w, uint32_t key, uint32_t bytes);
void do_delete(struct world *w, uint32_t key);
void do_get(struct world *w, uint32_t key);
void do_exists(struct world *w, uint32_t key);
/* Puts [first, first + puts), deletes the `deletes` keys behind them. */
void do_batch(struct world *w, uint32_t first, uint32_t puts, uint32_t deletes, uint32_t bytes);
/* Reads the key, then puts or deletes it if it still has the version that was read. */
void do_put_if(struct world *w, uint32_t key, uint32_t bytes);
void do_delete_if(struct world *w, uint32_t key);
/* Puts the key if it is not there. */
void do_create(struct world *w, uint32_t key, uint32_t bytes);
/* One observation of each key, as a scan made it: absent or there. */
void do_seen(struct world *w, uint32_t key, bool found, uint32_t begin);
/* Puts a key nobody looks at. */
void do_fill(struct world *w, uint32_t number, uint32_t bytes);
/* Moves what lives out of the segment and frees it. */
void do_clean(struct world *w, uint32_t segment);
void do_repair(struct world *w);
/* Repairs, then fails if a check finds bad pages: what a repair wrote where it may not is noticed
 * by no read, the redundancy hides it. */
void world_is_whole(struct world *w);
/* The lane's segment takes no more rows: the next write takes another one; or has taken it. */
void do_leave_segment(struct world *w);
void do_take_segment(struct world *w);

/* The power goes now; with `none` no line that is pending survives. Judged after the run. */
void world_image(struct world *w, bool none);

struct pmkv_options world_options(const struct world *w);
/* As if the index were as full as it may be: every step of growth splits. */
void world_index_is_full(struct world *w);
void world_open(struct world *w);
void world_close(struct world *w);
/* Fails the run, or outside of one the test. */
void world_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* --- where things are --------------------------------------------------------------------------
 */

/* Segment of a key's record. */
uint32_t world_segment_of(struct world *w, uint32_t key);
uint64_t world_page_of(struct world *w, uint32_t key);
/* Puts fillers until at most `rows` rows of the lane's segment are left. */
void world_fill_segment(struct world *w, uint32_t rows);

#endif
