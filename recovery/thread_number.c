/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "thread_number.h"

#include <stdatomic.h>

_Thread_local uint32_t thread_number_given __attribute__((tls_model("initial-exec")));

uint32_t thread_number_give(void)
{
    static atomic_uint next;
    thread_number_given = atomic_fetch_add_explicit(&next, 1, memory_order_relaxed) + 1;
    return thread_number_given;
}
