/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Gives the operations of a job to its threads, window by window, so that all of them end together,
 * and takes the rate of the plain ones in wall time.
 *
 * Plain and timed operations come in blocks of many windows that all threads share. A plain block
 * lasts from its first window to the first of the next block: its operations by that time are what
 * the threads achieved together, with all that kept them waiting. What one thread reads from a
 * clock around its own windows is not: with more threads than processors it is put off the
 * processor mostly where it enters the kernel, and that is where it reads its CPU clock.
 */
#ifndef PMKV_BENCH_WINDOWS_H
#define PMKV_BENCH_WINDOWS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Operations of a job that ends by time. */
#define WINDOWS_ENDLESS (UINT64_MAX / 2)

struct window {
    uint64_t first, count;
    bool plain;
};

struct windows {
    pthread_mutex_t lock;
    uint64_t next, end, window_ops, block_ops;
    uint64_t block_max_ns; /* a block is over then too; 0: only by its operations */
    bool alternate;        /* too few for blocks: plain and timed windows in turns */
    bool all_timed, plain; /* the block that runs */
    uint64_t block_first, block_start_ns;
    uint64_t plain_ops, plain_ns; /* of the plain blocks that are over */
};

/* A window is a multiple of `step`. */
void windows_init(struct windows *s, uint64_t ops, unsigned threads, unsigned step, bool all_timed);
void windows_free(struct windows *s);
/* False when there are no more. */
bool windows_take(struct windows *s, struct window *out);
/* Operations a second in plain blocks; 0: there was none, the whole has to do. */
double windows_plain_rate(const struct windows *s);

#endif
