/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#define _GNU_SOURCE
#include "fork.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

struct guarded {
    void *base;
    size_t bytes;
    struct guarded *next;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards the list; held across fork */
static struct guarded *list;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_error;

static void before_fork(void)
{
    pthread_mutex_lock(&lock);
}

static void after_fork_in_parent(void)
{
    pthread_mutex_unlock(&lock);
}

/* unreached: what a child counts before fork returns is forgotten (tests/media/test_shm.c,
 * a_forked_child_does_not_have_the_mapping). */
static void after_fork_in_child(void)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
    for (struct guarded *g = list; g; g = g->next)
        mmap(g->base, g->bytes, PROT_NONE, flags, -1, 0);
    pthread_mutex_unlock(&lock);
}

static void install(void)
{
    once_error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

int fork_guard_add(void *base, size_t bytes)
{
    pthread_once(&once, install);
    struct guarded *g = malloc(sizeof *g);
    if (once_error || !g) {
        free(g);
        return -ENOMEM;
    }
    *g = (struct guarded){.base = base, .bytes = bytes};
    pthread_mutex_lock(&lock);
    g->next = list;
    list = g;
    pthread_mutex_unlock(&lock);
    return 0;
}

void fork_guard_remove(void *base)
{
    struct guarded *gone = NULL;
    pthread_mutex_lock(&lock);
    struct guarded **at = &list;
    while (*at && (*at)->base != base)
        at = &(*at)->next;
    if (*at) {
        gone = *at;
        *at = gone->next;
    }
    pthread_mutex_unlock(&lock);
    free(gone);
}
