/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A thread that poisons random live pages of an open pool. */
#ifndef PMKV_DEMO_INJECT_H
#define PMKV_DEMO_INJECT_H

#include "demo.h"

struct injector {
    struct pmkv *kv;
    unsigned pages_per_second;
    uint64_t random;
    atomic_bool stop;
    atomic_ullong injected, scrubs;
};

/* Runs until `stop`; `arg` is the struct injector. */
void *injector_run(void *arg);

#endif
