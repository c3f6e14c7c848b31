/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "syncer.h"

#include <errno.h>
#include <string.h>

#include "../errmsg.h"

void syncer_init(struct syncer *s, int (*sync)(void *arg), void *arg)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->finished_one, NULL);
    s->sync = sync;
    s->arg = arg;
}

void syncer_fini(struct syncer *s)
{
    pthread_cond_destroy(&s->finished_one);
    pthread_mutex_destroy(&s->lock);
}

void syncer_note_write(struct syncer *s)
{
    atomic_fetch_add_explicit(&s->written, 1, memory_order_release);
}

/* Called with the lock held; lets it go during the sync. */
static void run_one(struct syncer *s)
{
    uint64_t number = ++s->started;
    uint64_t covered = atomic_load_explicit(&s->written, memory_order_acquire);
    s->running = true;
    pthread_mutex_unlock(&s->lock);
    int rc = s->sync(s->arg);
    pthread_mutex_lock(&s->lock);
    s->running = false;
    if (rc == 0) {
        s->finished = number;
        atomic_store_explicit(&s->written_synced, covered, memory_order_release);
    } else {
        s->error = rc;
    }
    pthread_cond_broadcast(&s->finished_one);
}

static int sticky_fact(int error)
{
    return err_fact(-EIO,
                    "fdatasync failed (%s): the page cache no longer tells what is on the disk; "
                    "close the pool and open it again, recovery then decides from what is there",
                    strerror(-error));
}

static bool nothing_written(struct syncer *s)
{
    return atomic_load_explicit(&s->written, memory_order_acquire) ==
           atomic_load_explicit(&s->written_synced, memory_order_acquire);
}

int syncer_wait(struct syncer *s)
{
    pthread_mutex_lock(&s->lock);
    uint64_t want = s->started + 1; /* S1: the next one to start */
    while (!s->error && s->finished < want && !nothing_written(s)) {
        if (s->running)
            pthread_cond_wait(&s->finished_one, &s->lock);
        else
            run_one(s);
    }
    int error = s->finished < want ? s->error : 0;
    pthread_mutex_unlock(&s->lock);
    return error ? sticky_fact(error) : 0;
}

bool syncer_failed(struct syncer *s)
{
    pthread_mutex_lock(&s->lock);
    bool failed = s->error != 0;
    pthread_mutex_unlock(&s->lock);
    return failed;
}
