/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A word that threads sleep on: a futex. Who is woken holds no lock and waits for none, as it would
 * behind a condition variable; with many threads that is most of what a wake costs. */
#ifndef PMKV_RECOVERY_WAIT_WORD_H
#define PMKV_RECOVERY_WAIT_WORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Sleeps while *word is `seen`, at most for `most_ns` (< 0: without end); may return early for no
 * reason. Returns whether the time is over. */
bool word_wait(const atomic_uint *word, unsigned seen, int64_t most_ns);
/* Changes the word and wakes one of those who sleep on it, or all. */
void word_wake_one(atomic_uint *word);
void word_wake_all(atomic_uint *word);

#endif
