/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Which cache lines travel between processors: counted, not timed.
 *
 * kv/ and recovery/ are compiled for this program with the instrumentation of the thread sanitizer
 * and without its run time: the compiler then calls a function for each access to memory, and these
 * functions keep, for each line of 64 B, who has it. A line travels when a thread reads what
 * another one has stored since it had the line, or stores to a line that another one has. Caches
 * without bound: nothing goes for want of room. Locks count as stores to the line they are in. The
 * pool's own lines, which only routines in assembly touch, are not seen: a record is stored once,
 * by one.
 */
#ifndef PMKV_TESTS_SHARING_LINES_H
#define PMKV_TESTS_SHARING_LINES_H

#include <stdint.h>

enum { LINES_THREADS = 64 };

/* The calling thread's number, below LINES_THREADS; -1: it is not watched. */
void lines_thread(int number);
/* Forgets what was counted, not who has which line. */
void lines_reset(void);
uint64_t lines_travelled(void);

/* Every line that travelled, and how often. */
void lines_foreach(void (*fn)(void *arg, uintptr_t address, uint64_t times), void *arg);

#endif
