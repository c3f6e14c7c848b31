/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "recovery/wait_word.h"

#include <criterion/criterion.h>
#include <pthread.h>

TestSuite(wait_word, .timeout = 30);

Test(wait_word, nobody_sleeps_when_the_word_has_changed)
{
    atomic_uint word = 5;
    cr_assert(!word_wait(&word, 4, -1));
    cr_assert(!word_wait(&word, 4, 1000000));
}

Test(wait_word, a_sleep_with_a_limit_ends)
{
    atomic_uint word = 5;
    cr_assert(word_wait(&word, 5, 1000000));
}

static atomic_uint shared;

static void *sleep_until_it_changes(void *arg)
{
    while (atomic_load(&shared) == 0)
        word_wait(&shared, 0, -1);
    return arg;
}

static void wakes(void (*wake)(atomic_uint *), int threads)
{
    pthread_t thread[4];
    atomic_store(&shared, 0);
    for (int i = 0; i < threads; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, sleep_until_it_changes, NULL), 0);
    word_wait(&shared, 0, 10000000);
    wake(&shared);
    for (int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
}

Test(wait_word, one_is_woken)
{
    wakes(word_wake_one, 1);
}

Test(wait_word, all_are_woken)
{
    wakes(word_wake_all, 4);
}
