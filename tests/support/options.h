/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The command line that all stress programs share. */
#ifndef PMKV_TESTS_SUPPORT_OPTIONS_H
#define PMKV_TESTS_SUPPORT_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "pmkv.h"

struct test_options {
    uint64_t seconds;  /* how long the timed part runs */
    uint64_t rounds;   /* how many rounds the counted part takes */
    uint64_t seed;     /* default: the clock, or PMKV_TEST_SEED */
    uint64_t pool_mib; /* size of the pool */
    enum pmkv_geometry geometry;
    bool filter_only; /* the program owns SIGBUS */
    const char *dir;  /* NULL: what the program thinks best, /dev/shm or PMKV_TEST_DIR */
    bool self_test;   /* corrupt the oracle: the checker must notice */
    bool keep;        /* keep the pool file */
};

enum test_option_kind { TEST_OPTION_FLAG, TEST_OPTION_NUMBER, TEST_OPTION_TEXT };

/* An option of one program. `value` is a bool *, uint64_t * or const char **. */
struct test_option {
    const char *name; /* NULL ends the table */
    enum test_option_kind kind;
    void *value;
    const char *help;
};

/* Parses the command line; `options` holds the defaults. Prints usage and exits with 2 on a
 * mistake, with 0 on --help. `extra` may be NULL. */
void test_options_parse(struct test_options *options, const struct test_option *extra, int argc,
                        char **argv);

#endif
