/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Group commit of a file: one thread syncs for all.
 *
 *   S1  syncer_wait returns 0 only after a sync that started after the call did; so it covers every
 *       write that the caller finished before.
 *   S2  At most one sync runs. Those who arrive meanwhile wait for the next one; the first of them
 *       to wake runs it, for all of them.
 *   S3  A failed sync fails its waiters and every later call. The kernel drops the dirty pages of a
 *       failed sync and reports the error once: a second try would succeed and lie.
 *   S4  Where nothing was written since a sync that succeeded started, there is nothing to wait
 * for.
 */
#ifndef PMKV_RECOVERY_MEDIA_SYNCER_H
#define PMKV_RECOVERY_MEDIA_SYNCER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct syncer {
    pthread_mutex_t lock;
    pthread_cond_t finished_one;
    bool running;
    int error;                    /* sticky: -errno of the first failure */
    uint64_t started, finished;   /* syncs; guarded by lock */
    atomic_ullong written;        /* writes finished */
    atomic_ullong written_synced; /* of them, how many a good sync covers */
    int (*sync)(void *arg);       /* 0 or -errno */
    void *arg;
};

void syncer_init(struct syncer *s, int (*sync)(void *arg), void *arg);
void syncer_fini(struct syncer *s);
/* Call after each write. */
void syncer_note_write(struct syncer *s);
/* 0, or -EIO with a fact. */
int syncer_wait(struct syncer *s);
bool syncer_failed(struct syncer *s);

#endif
