/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A number for the calling thread, 1 and up, in the order of their first calls: what is kept by
 * thread (counters, shares, the lane it begins with) is found by it. */
#ifndef PMKV_RECOVERY_THREAD_NUMBER_H
#define PMKV_RECOVERY_THREAD_NUMBER_H

#include <stdint.h>

/* 0: not given yet. */
extern _Thread_local uint32_t thread_number_given __attribute__((tls_model("initial-exec")));
uint32_t thread_number_give(void);

static inline uint32_t thread_number(void)
{
    uint32_t given = thread_number_given;
    return __builtin_expect(given != 0, 1) ? given : thread_number_give();
}

#endif
