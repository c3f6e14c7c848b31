/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The linker gives the library these in place of the system's (--wrap, see sched.cmake). Threads
 * outside of a run, and the medium's own lock, get the system's. */
#include <errno.h>
#include <sched.h>
#include <stdlib.h>

#include "door.h"
#include "recovery/wait_word.h"
#include "sched.h"

int __real_pthread_mutex_lock(pthread_mutex_t *mutex);
int __real_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __real_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __real_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __real_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __real_pthread_cond_signal(pthread_cond_t *cond);
int __real_pthread_cond_broadcast(pthread_cond_t *cond);
int __real_pthread_create(pthread_t *handle, const pthread_attr_t *attr, void *(*body)(void *),
                          void *arg);
int __real_pthread_join(pthread_t handle, void **result);
int __real_sched_yield(void);
bool __real_word_wait(const atomic_uint *word, unsigned seen, int64_t most_ns);
void __real_word_wake_one(atomic_uint *word);
void __real_word_wake_all(atomic_uint *word);

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex);
int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex);
int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until);
int __wrap_pthread_cond_signal(pthread_cond_t *cond);
int __wrap_pthread_cond_broadcast(pthread_cond_t *cond);
int __wrap_pthread_create(pthread_t *handle, const pthread_attr_t *attr, void *(*body)(void *),
                          void *arg);
int __wrap_pthread_join(pthread_t handle, void **result);
int __wrap_sched_yield(void);
bool __wrap_word_wait(const atomic_uint *word, unsigned seen, int64_t most_ns);
void __wrap_word_wake_one(atomic_uint *word);
void __wrap_word_wake_all(atomic_uint *word);

static bool ours(void)
{
    return sched_is_running() && !door_is_inside();
}

static int take(pthread_mutex_t *mutex)
{
    int rc;
    while ((rc = __real_pthread_mutex_trylock(mutex)) == EBUSY)
        sched_wait_mutex(mutex);
    if (rc == 0)
        sched_took(mutex);
    return rc;
}

int __wrap_pthread_mutex_lock(pthread_mutex_t *mutex)
{
    if (!ours())
        return __real_pthread_mutex_lock(mutex);
    sched_point(NULL);
    return take(mutex);
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *mutex)
{
    if (!ours())
        return __real_pthread_mutex_trylock(mutex);
    sched_point(NULL);
    int rc = __real_pthread_mutex_trylock(mutex);
    if (rc == 0)
        sched_took(mutex);
    return rc;
}

static int give(pthread_mutex_t *mutex)
{
    int rc = __real_pthread_mutex_unlock(mutex);
    sched_gave(mutex);
    return rc;
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    if (!ours())
        return __real_pthread_mutex_unlock(mutex);
    int rc = give(mutex);
    sched_point(NULL);
    return rc;
}

int __wrap_pthread_cond_wait(pthread_cond_t *cond, pthread_mutex_t *mutex)
{
    if (!ours())
        return __real_pthread_cond_wait(cond, mutex);
    give(mutex);
    sched_wait_cond(cond, false);
    return take(mutex);
}

int __wrap_pthread_cond_timedwait(pthread_cond_t *cond, pthread_mutex_t *mutex,
                                  const struct timespec *until)
{
    if (!ours())
        return __real_pthread_cond_timedwait(cond, mutex, until);
    give(mutex);
    sched_wait_cond(cond, true);
    return take(mutex);
}

int __wrap_pthread_cond_signal(pthread_cond_t *cond)
{
    if (!ours())
        return __real_pthread_cond_signal(cond);
    sched_signal(cond, false);
    return 0;
}

int __wrap_pthread_cond_broadcast(pthread_cond_t *cond)
{
    if (!ours())
        return __real_pthread_cond_broadcast(cond);
    sched_signal(cond, true);
    return 0;
}

struct start {
    struct sched_thread *thread;
    void *(*body)(void *);
    void *arg;
};

static void *trampoline(void *arg)
{
    struct start s = *(struct start *)arg;
    free(arg);
    sched_enter(s.thread);
    void *result = s.body(s.arg);
    sched_leave();
    return result;
}

int __wrap_pthread_create(pthread_t *handle, const pthread_attr_t *attr, void *(*body)(void *),
                          void *arg)
{
    if (!ours())
        return __real_pthread_create(handle, attr, body, arg);
    struct start *s = malloc(sizeof *s);
    if (!s)
        return EAGAIN;
    struct sched_thread *thread = sched_adopt();
    *s = (struct start){thread, body, arg};
    int rc = __real_pthread_create(handle, attr, trampoline, s);
    if (rc)
        abort(); /* it is in the run already */
    sched_bind(thread, *handle);
    return 0;
}

int __wrap_pthread_join(pthread_t handle, void **result)
{
    if (ours())
        sched_wait_end(handle);
    return __real_pthread_join(handle, result);
}

int __wrap_sched_yield(void)
{
    if (!ours())
        return __real_sched_yield();
    sched_spin();
    return 0;
}

bool __wrap_word_wait(const atomic_uint *word, unsigned seen, int64_t most_ns)
{
    if (!ours())
        return __real_word_wait(word, seen, most_ns);
    sched_point(NULL);
    if (atomic_load(word) != seen)
        return false;
    sched_wait_cond(word, most_ns >= 0);
    return most_ns >= 0 && atomic_load(word) == seen;
}

static void change(atomic_uint *word, bool all)
{
    sched_point(NULL);
    atomic_fetch_add(word, 1);
    sched_signal(word, all);
}

void __wrap_word_wake_one(atomic_uint *word)
{
    if (!ours())
        __real_word_wake_one(word);
    else
        change(word, false);
}

void __wrap_word_wake_all(atomic_uint *word)
{
    if (!ours())
        __real_word_wake_all(word);
    else
        change(word, true);
}
