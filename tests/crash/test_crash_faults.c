/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Crash images that also lost a page, or hold a flipped bit, zeros or stale bytes in one: within
 * the redundancy all data is right (P3, P5, P7; design 9b). Without redundancy what is hit is named
 * as lost, and never wrong. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "script.h"

TestSuite(crash_faults, .timeout = 600);

static enum pmkv_geometry geometries[] = {PMKV_PARITY, PMKV_DOUBLE, PMKV_MIRROR};

static struct criterion_test_params each_geometry(void)
{
    return cr_make_param_array(enum pmkv_geometry, geometries, 3, NULL);
}

#define SCRIPT_TEST(name, ...)                                                                     \
    ParameterizedTestParameters(crash_faults, name)                                                \
    {                                                                                              \
        return each_geometry();                                                                    \
    }                                                                                              \
    ParameterizedTest(enum pmkv_geometry *geometry, crash_faults, name)                            \
    {                                                                                              \
        crash_script_run(*geometry, &(struct crash_plan){__VA_ARGS__});                            \
    }

SCRIPT_TEST(small_operations, script_small, 21, 1, 9, 8, 8, FAULT_ANY)
SCRIPT_TEST(batches, script_batches, 22, 1, 12, 8, 8, FAULT_ANY)
SCRIPT_TEST(long_values, script_long_values, 23, 1, 8, 8, 8, FAULT_ANY)
SCRIPT_TEST(rows_and_seals, script_rows, 24, 3, 6, 8, 8, FAULT_ANY)
SCRIPT_TEST(cleaning, script_cleaning, 25, 5, 5, 8, 8, FAULT_ANY)
SCRIPT_TEST(clean_closes_and_opens, script_reopen, 26, 1, 5, 8, 8, FAULT_ANY)
