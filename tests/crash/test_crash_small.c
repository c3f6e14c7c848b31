/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Power is lost at every instant of a few operations (P1, P2; design 9a). */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "script.h"

TestSuite(crash_small, .timeout = 600);

static enum pmkv_geometry geometries[] = {PMKV_PARITY, PMKV_DOUBLE, PMKV_MIRROR, PMKV_NONE};

static struct criterion_test_params each_geometry(void)
{
    return cr_make_param_array(enum pmkv_geometry, geometries, 4, NULL);
}

#define SCRIPT_TEST(name, ...)                                                                     \
    ParameterizedTestParameters(crash_small, name)                                                 \
    {                                                                                              \
        return each_geometry();                                                                    \
    }                                                                                              \
    ParameterizedTest(enum pmkv_geometry *geometry, crash_small, name)                             \
    {                                                                                              \
        crash_script_run(*geometry, &(struct crash_plan){__VA_ARGS__});                            \
    }

SCRIPT_TEST(puts_overwrites_and_deletes, script_small, 1, 1, 9, 6, 8, FAULT_NONE)
SCRIPT_TEST(batches_are_whole, script_batches, 2, 1, 12, 6, 8, FAULT_NONE)
SCRIPT_TEST(long_values, script_long_values, 3, 1, 8, 6, 8, FAULT_NONE)
SCRIPT_TEST(conditional_puts, script_conditional, 5, 1, 8, 6, 8, FAULT_NONE)
SCRIPT_TEST(clean_closes_and_opens, script_reopen, 4, 1, 5, 6, 8, FAULT_NONE)
