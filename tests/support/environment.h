/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* How much a test does, by variables of the environment (docs/testing.md). */
#ifndef PMKV_TESTS_SUPPORT_ENVIRONMENT_H
#define PMKV_TESTS_SUPPORT_ENVIRONMENT_H

#include <stdint.h>
#include <stdlib.h>

/* Without the variable, or where it is no number above zero: otherwise. */
static inline uint32_t test_from_environment(const char *name, uint32_t otherwise)
{
    const char *text = getenv(name);
    uint32_t number = text ? (uint32_t)strtoul(text, NULL, 10) : 0;
    return number ? number : otherwise;
}

#endif
