/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * How a test counts, fails and ends. Counters live in memory that forked children share, so a child
 * that fails makes the test fail. With --self-test the oracle is corrupted on purpose and the test
 * passes only when its checker notices.
 */
#ifndef PMKV_TESTS_SUPPORT_CHECK_H
#define PMKV_TESTS_SUPPORT_CHECK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "pmkv.h"

enum { TEST_OK = 0, TEST_FAILED = 1, TEST_SKIPPED = 77 };

/* Call once, before any thread or child. */
void test_begin(const char *name, uint64_t seed, bool self_test);

/* Counts a failure and prints it; after twenty they are only counted. */
void test_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Counts a check; prints the sentence when the condition does not hold. Returns the condition. */
bool test_that(bool condition, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The status must be this one; `what` names the call. Prints the library's message when not. */
bool test_status(enum pmkv_status got, enum pmkv_status want, const char *what);

uint64_t test_failures(void);

/* Prints the summary line with the seed; returns what main returns. */
int test_end(const char *format, ...) __attribute__((format(printf, 1, 2)));
int test_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on this process fails the test when it lives longer than that: nothing may hang. */
void test_deadline(unsigned seconds);

/* Waits for a child: its exit code, or 256 + the signal that ended it. */
int test_wait(pid_t child);
/* Forks; the child dies with its parent and has its own deadline. */
pid_t test_fork(unsigned deadline_seconds);

/* Memory that children forked later share, zeroed. Never freed. */
void *test_shared(size_t bytes);

double test_now(void); /* seconds, monotonic */
void test_sleep_ms(unsigned ms);

/* One worker's sign of life. */
struct test_pulse {
    _Alignas(64) _Atomic uint64_t beats;
    uint64_t seen;
    double since;
};
/* Fails and ends the process when a worker has not moved for `seconds`. Call now and then. */
void test_pulse_watch(struct test_pulse *pulses, unsigned count, double seconds);

#endif
