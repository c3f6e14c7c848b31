/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Group commit (syncer.h, S1 to S4), with a sync that the test owns. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "recovery/media/syncer.h"

TestSuite(syncer, .timeout = 60);

enum { THREADS = 8, COMMITS = 50 };

/* A disk: `stored` counts writes; a sync makes durable what was stored when it started. */
struct disk {
    struct syncer syncer;
    atomic_ullong stored, durable, syncs;
    atomic_int running, overlaps;
    int error; /* what the next sync returns */
};

static int disk_sync(void *arg)
{
    struct disk *d = arg;
    if (atomic_fetch_add(&d->running, 1) != 0)
        atomic_fetch_add(&d->overlaps, 1);
    unsigned long long seen = atomic_load(&d->stored);
    usleep(500);
    atomic_fetch_add(&d->syncs, 1);
    if (d->error == 0)
        atomic_store(&d->durable, seen);
    atomic_fetch_sub(&d->running, 1);
    return d->error;
}

static unsigned long long disk_store(struct disk *d)
{
    unsigned long long mine = atomic_fetch_add(&d->stored, 1) + 1;
    syncer_note_write(&d->syncer);
    return mine;
}

static void *commit_often(void *arg)
{
    struct disk *d = arg;
    uintptr_t early = 0;
    for (int i = 0; i < COMMITS; i++) {
        unsigned long long mine = disk_store(d);
        if (syncer_wait(&d->syncer) != 0 || atomic_load(&d->durable) < mine)
            early++;
    }
    return (void *)early;
}

Test(syncer, a_commit_returns_only_after_a_sync_that_covers_it_and_many_share_one)
{
    struct disk d = {0};
    pthread_t threads[THREADS];
    syncer_init(&d.syncer, disk_sync, &d);
    for (int i = 0; i < THREADS; i++)
        pthread_create(&threads[i], NULL, commit_often, &d);
    for (int i = 0; i < THREADS; i++) {
        void *early;
        pthread_join(threads[i], &early);
        cr_assert_null(early, "thread %d: %zu commits returned too early", i, (size_t)early);
    }
    cr_assert_eq(d.overlaps, 0, "two syncs ran at once");
    cr_assert_lt(d.syncs, THREADS * COMMITS / 2, "%llu syncs for %d commits", d.syncs,
                 THREADS * COMMITS);
    syncer_fini(&d.syncer);
}

Test(syncer, one_error_fails_everything_after_it)
{
    struct disk d = {.error = -EIO};
    syncer_init(&d.syncer, disk_sync, &d);
    disk_store(&d);
    cr_assert_eq(syncer_wait(&d.syncer), -EIO);
    cr_assert(syncer_failed(&d.syncer));
    d.error = 0;
    cr_assert_eq(syncer_wait(&d.syncer), -EIO, "the same bytes");
    disk_store(&d);
    cr_assert_eq(syncer_wait(&d.syncer), -EIO, "new bytes");
    cr_assert_eq(d.syncs, 1, "it was tried again: %llu syncs", d.syncs);
    syncer_fini(&d.syncer);
}

Test(syncer, nothing_written_needs_no_sync)
{
    struct disk d = {0};
    syncer_init(&d.syncer, disk_sync, &d);
    cr_assert_eq(syncer_wait(&d.syncer), 0);
    cr_assert_eq(d.syncs, 0);
    disk_store(&d);
    cr_assert_eq(syncer_wait(&d.syncer), 0);
    cr_assert_eq(syncer_wait(&d.syncer), 0);
    cr_assert_eq(d.syncs, 1);
    syncer_fini(&d.syncer);
}
