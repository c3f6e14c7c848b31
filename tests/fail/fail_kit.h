/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Trials: a pool that is in a known state, an operation in which one planned call fails, and the
 * judgement of what it did.
 *
 *   J1  A failure comes with a message of its own.
 *   J2  An operation that succeeded has done what it does; one that failed has done nothing; after
 *       PMKV_E_IO and PMKV_E_MEDIA either, as a whole.
 *   J3  What was acknowledged before is there, in this handle and after a reopen without failures.
 *   J4  The handle goes on: the next put works, unless a failed sync has put the file in doubt, or
 * all writes failed for a while, so that no segment could be begun. After a reopen it works. J5  No
 * descriptor and no mapping of the pool is left behind. (Memory: LeakSanitizer.) J6  What is lost
 * is listed, once; in a pool without damage nothing is.
 */
#ifndef PMKV_TESTS_FAIL_KIT_H
#define PMKV_TESTS_FAIL_KIT_H

#include <stdint.h>

#include "faults.h"
#include "pmkv.h"

/* --- what is in the store --------------------------------------------------------------------- */

/* Keys are numbers; of each the store has a version, or none: 0. Values follow from both. */
enum { KEYS = 16, LARGE_KEY = 3, SPARE_KEY = KEYS - 1, MAX_VALUE = 24576 };
struct contents {
    int version[KEYS]; /* below 0: -status of the read; -1000: wrong bytes */
};
size_t kit_key(char to[16], unsigned key);
size_t kit_value(uint8_t to[MAX_VALUE], unsigned key, int version);
enum pmkv_status kit_put(struct pmkv *kv, unsigned key, int version);
struct contents kit_read(struct pmkv *kv);
bool kit_same(const struct contents *a, const struct contents *b);

/* --- pools ------------------------------------------------------------------------------------ */

enum kit_backend { ON_MEMORY, ON_DISK };
enum kit_state {
    CLEAN,           /* closed */
    CRASHED,         /* as the death of the process leaves it */
    DAMAGED,         /* closed; pages lost and a bit flipped: for parity within its redundancy */
    CRASHED_DAMAGED, /* both */
};

/* A pool of that kind and its contents; made once, put back for every trial. */
struct kit_pool {
    enum kit_backend backend;
    enum pmkv_geometry geometry;
    char path[256];
    uint8_t *bytes;
    uint8_t *holes; /* for each page: is it lost? */
    size_t size;
    struct contents contents;
    struct kit_lost {
        struct kit_loss {
            uint64_t offset, bytes, version;
        } loss[16];
        unsigned count;
    } lost; /* beyond the redundancy */
};
void kit_pool_make(struct kit_pool *pool, enum kit_backend backend, enum pmkv_geometry geometry,
                   enum kit_state state);
/* Reads all of it and closes it: what is lost is on the pool's own list from here on. */
void kit_pool_note_losses(struct kit_pool *pool);
void kit_pool_restore(const struct kit_pool *pool);
void kit_pool_free(struct kit_pool *pool);
struct pmkv_options kit_options(const struct kit_pool *pool);

/* --- trials ----------------------------------------------------------------------------------- */

struct trial {
    const char *name;
    enum faults_class classes;
    const struct kit_pool *pool;
    struct pmkv_options options; /* of the handle that `run` gets */
    /* The operation. NULL with `opens`: opening is. */
    enum pmkv_status (*run)(struct pmkv *kv);
    void (*apply)(struct contents *contents); /* what it does; NULL: nothing */
    bool opens, closes;                       /* opening, closing is what fails */
    bool steps; /* `run` does much, and `apply` knows how far it came */
};

/* Every call that can fail, one by one, until none is left. Fails the Criterion test. */
void kit_every_failure(const struct trial *trial);

/* The same for an operation without a pool that is open: `run` makes, calls faults_arm and
 * faults_disarm, judges with kit_that. */
void kit_every_failure_of(const char *name, enum faults_class classes, void (*run)(void *arg),
                          void *arg);
bool kit_that(bool condition, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* J1: call before and after. */
void kit_forget_message(void);
void kit_judge_message(enum pmkv_status s);
/* J5: call before and after. */
struct kit_left {
    unsigned descriptors, mappings;
};
struct kit_left kit_left(const char *path);
void kit_judge_left(const struct kit_left *before, const char *path);

#endif
