/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * pmkv-demo: shows that memory errors and kill -9 cost nothing that was promised. It uses the
 * public header only. tools/quickstart.sh runs it.
 */
#include "demo.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PRINTED_FAILURES = 10 };

static atomic_ullong failures;

static const char usage[] =
    "usage: pmkv-demo heal POOL [--seconds S] [--readers N] [--writers N] [--rate "
    "PAGES_PER_SECOND]\n"
    "                           [--seed N]\n"
    "       pmkv-demo write POOL ORACLE [--seconds S] [--writers N]\n"
    "       pmkv-demo verify POOL ORACLE [--expect-recovery]\n"
    "\n"
    "heal    destroys random pages of the pool while threads read and write it, and checks each "
    "byte\n"
    "write   stores records, and notes each acknowledged operation in the file ORACLE; kill it\n"
    "verify  checks that the pool holds what ORACLE says\n"
    "\n"
    "exit: 0 all good, 1 a check failed, 2 usage, 3 cannot run\n";

void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("pmkv-demo: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _Exit(DEMO_CANNOT_RUN);
}

void die_status(enum pmkv_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fflush(stdout);
    fputs("pmkv-demo: ", stderr);
    vfprintf(stderr, format, args);
    fprintf(stderr, ": %s (%s: %s)\n", pmkv_strerror(status), pmkv_status_name(status),
            pmkv_errormsg());
    va_end(args);
    _Exit(DEMO_CANNOT_RUN);
}

void check_failed(const char *format, ...)
{
    if (atomic_fetch_add_explicit(&failures, 1, memory_order_relaxed) >= PRINTED_FAILURES)
        return;
    va_list args;
    va_start(args, format);
    fputs("CHECK FAILED: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
}

uint64_t checks_failed(void)
{
    return atomic_load_explicit(&failures, memory_order_relaxed);
}

double now_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

void sleep_seconds(double seconds)
{
    struct timespec t = {(time_t)seconds, (long)((seconds - floor(seconds)) * 1e9)};
    while (nanosleep(&t, &t) != 0)
        ;
}

static _Noreturn void usage_error(const char *what)
{
    fprintf(stderr, "pmkv-demo: %s\n%s", what, usage);
    exit(DEMO_USAGE);
}

static double number_of(const char *text, double most)
{
    char *end;
    double number = strtod(text, &end);
    if (end == text || *end || !(number >= 0) || number > most)
        usage_error("a number is malformed or out of range");
    return number;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seconds", required_argument, NULL, 's'}, {"readers", required_argument, NULL, 'r'},
        {"writers", required_argument, NULL, 'w'}, {"rate", required_argument, NULL, 'p'},
        {"seed", required_argument, NULL, 'e'},    {"expect-recovery", no_argument, NULL, 'x'},
        {"help", no_argument, NULL, 'h'},          {0},
    };
    struct heal_options heal = {.seconds = 5, .readers = 2, .writers = 2, .pages_per_second = 200};
    struct kill_options killed = {.seconds = 60, .writers = 3};
    heal.seed = (uint64_t)time(NULL);
    for (int c; (c = getopt_long(argc, argv, "h", options, NULL)) != -1;) {
        if (c == 's')
            heal.seconds = killed.seconds = number_of(optarg, 86400);
        else if (c == 'r')
            heal.readers = (unsigned)number_of(optarg, 64);
        else if (c == 'w')
            heal.writers = killed.writers = (unsigned)number_of(optarg, 64);
        else if (c == 'p')
            heal.pages_per_second = (unsigned)number_of(optarg, 1e6);
        else if (c == 'e')
            heal.seed = (uint64_t)number_of(optarg, 9e15);
        else if (c == 'x')
            killed.expect_recovery = true;
        else if (c == 'h')
            return fputs(usage, stdout) < 0 ? DEMO_FAILED : DEMO_OK;
        else
            usage_error("unknown option");
    }
    int words = argc - optind;
    if (words < 2)
        usage_error("a verb and a pool are needed");
    const char *verb = argv[optind];
    heal.path = killed.path = argv[optind + 1];
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (strcmp(verb, "heal") == 0 && words == 2)
        return (int)heal_run(&heal);
    if (words != 3)
        usage_error("unknown verb, or wrong number of arguments");
    killed.oracle = argv[optind + 2];
    if (strcmp(verb, "write") == 0)
        return (int)kill_write(&killed);
    if (strcmp(verb, "verify") == 0)
        return (int)kill_verify(&killed);
    usage_error("unknown verb");
}
