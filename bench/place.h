/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The store that the workloads run in: an engine and its place, made, reopened and removed by the
 * bench. pmkv has the pool of --pool; a peer has a directory beside it, PATH.NAME.
 */
#ifndef PMKV_BENCH_PLACE_H
#define PMKV_BENCH_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "engine.h"
#include "options.h"

struct bench_place {
    const struct bench_options *opts;
    const struct engine *engine;
    unsigned threads;
    char path[4096];
    void *db;  /* NULL while closed */
    bool made; /* by us: may be removed */
};

/* All return false after printing why. */
bool place_init(struct bench_place *place, const struct bench_options *opts,
                const struct engine *engine);
/* A new, empty, open store in place of the one there is. */
bool place_renew(struct bench_place *place);
bool place_open(struct bench_place *place);
bool place_close(struct bench_place *place);
/* Closes the store and, unless --keep, removes it. */
bool place_finish(struct bench_place *place);

/* What the engine counts, and what the file system does. */
struct engine_figures place_figures_now(const struct bench_place *place);

#endif
