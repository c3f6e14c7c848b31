/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "check.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PRINTED_FAILURES = 20 };

static struct {
    const char *name;
    uint64_t seed;
    bool self_test;
    double start;
    struct {
        _Atomic uint64_t checks, failures;
    } * shared;
} test;

void *test_shared(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        perror("mmap");
        exit(TEST_FAILED);
    }
    return p;
}

void test_begin(const char *name, uint64_t seed, bool self_test)
{
    test.name = name;
    test.seed = seed;
    test.self_test = self_test;
    test.start = test_now();
    test.shared = test_shared(sizeof(*test.shared));
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static void fail_list(const char *format, va_list list)
{
    if (atomic_fetch_add(&test.shared->failures, 1) >= PRINTED_FAILURES)
        return;
    char text[1024];
    vsnprintf(text, sizeof(text), format, list);
    fprintf(stderr, "%s: %s: %s\n", test.name, test.self_test ? "noticed" : "FAILED", text);
}

void test_fail(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    fail_list(format, list);
    va_end(list);
}

bool test_that(bool condition, const char *format, ...)
{
    atomic_fetch_add_explicit(&test.shared->checks, 1, memory_order_relaxed);
    if (condition)
        return true;
    va_list list;
    va_start(list, format);
    fail_list(format, list);
    va_end(list);
    return false;
}

bool test_status(enum pmkv_status got, enum pmkv_status want, const char *what)
{
    return test_that(got == want, "%s: %s, expected %s (%s)", what, pmkv_status_name(got),
                     pmkv_status_name(want), got == PMKV_OK ? "" : pmkv_errormsg());
}

uint64_t test_failures(void)
{
    return atomic_load(&test.shared->failures);
}

int test_end(const char *format, ...)
{
    char text[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    uint64_t failures = test_failures();
    bool good = test.self_test ? failures > 0 : failures == 0;
    printf("%s: %s%s: %s; %llu checks, %llu failures, seed %llu, %.1f s\n", test.name,
           test.self_test ? "self-test " : "", good ? "ok" : "FAILED", text,
           (unsigned long long)atomic_load(&test.shared->checks), (unsigned long long)failures,
           (unsigned long long)test.seed, test_now() - test.start);
    return good ? TEST_OK : TEST_FAILED;
}

int test_skip(const char *format, ...)
{
    va_list list;
    va_start(list, format);
    printf("%s: skipped: ", test.name);
    vprintf(format, list);
    printf("\n");
    va_end(list);
    return test_failures() > 0 ? TEST_FAILED : TEST_SKIPPED;
}

static void deadline_passed(int signal_number)
{
    static const char text[] = "FAILED: hangs: the deadline of the test has passed\n";
    (void)signal_number;
    ssize_t n = write(STDERR_FILENO, text, sizeof(text) - 1);
    (void)n;
    _exit(TEST_FAILED);
}

void test_deadline(unsigned seconds)
{
    signal(SIGALRM, deadline_passed);
    alarm(seconds);
}

int test_wait(pid_t child)
{
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return -1;
    return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

pid_t test_fork(unsigned deadline_seconds)
{
    fflush(NULL);
    pid_t parent = getpid();
    pid_t child = fork();
    if (child < 0) {
        perror("fork");
        exit(TEST_FAILED);
    }
    if (child > 0)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(TEST_FAILED);
    test_deadline(deadline_seconds);
    return 0;
}

double test_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void test_sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

void test_pulse_watch(struct test_pulse *pulses, unsigned count, double seconds)
{
    double now = test_now();
    for (unsigned i = 0; i < count; i++) {
        uint64_t beats = atomic_load_explicit(&pulses[i].beats, memory_order_relaxed);
        if (beats != pulses[i].seen || pulses[i].since <= 0) {
            pulses[i].seen = beats;
            pulses[i].since = now;
        } else if (now - pulses[i].since > seconds) {
            test_fail("hang: worker %u has not moved for %.0f s (after %llu operations)", i,
                      seconds, (unsigned long long)beats);
            _exit(test_end("stopped"));
        }
    }
}
