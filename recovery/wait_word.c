/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#define _GNU_SOURCE
#include "wait_word.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

bool word_wait(const atomic_uint *word, unsigned seen, int64_t most_ns)
{
    struct timespec t = {.tv_sec = most_ns / 1000000000, .tv_nsec = most_ns % 1000000000};
    return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, most_ns < 0 ? NULL : &t) != 0 &&
           errno == ETIMEDOUT;
}

static void wake(atomic_uint *word, int most)
{
    atomic_fetch_add_explicit(word, 1, memory_order_release);
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, most);
}

void word_wake_one(atomic_uint *word)
{
    wake(word, 1);
}

void word_wake_all(atomic_uint *word)
{
    wake(word, INT_MAX);
}
