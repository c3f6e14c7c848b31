/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The pool that the workloads run in: made, reopened and removed by the bench.
 */
#ifndef PMKV_BENCH_POOL_H
#define PMKV_BENCH_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "options.h"

struct bench_pool {
    const struct bench_options *opts;
    struct pmkv *kv; /* NULL while closed */
    struct pmkv_info info;
    bool made; /* by us: may be removed */
};

/* All return false after printing why. */
bool pool_init(struct bench_pool *pool, const struct bench_options *opts);
/* A new, empty, open pool in place of the one there is. */
bool pool_renew(struct bench_pool *pool);
/* Closes and opens; the times go to the two outputs. */
bool pool_reopen(struct bench_pool *pool, uint64_t *close_ns, uint64_t *open_ns);
/* Closes the pool and, unless --keep, removes it. */
bool pool_finish(struct bench_pool *pool);

#endif
