/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Three clocks: wall time, CPU time of the calling thread, and a cheap tick for single operations
 * (the invariant TSC where there is one, CLOCK_MONOTONIC elsewhere).
 */
#ifndef PMKV_BENCH_CLOCK_H
#define PMKV_BENCH_CLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>
#if defined(__x86_64__)
#include <x86intrin.h>
#endif

/* Set by clock_init. */
extern double clock_ns_per_tick;
extern bool clock_has_tsc;

/* Calibrates the tick; takes about 20 ms. Call it once, before any thread. */
void clock_init(void);
/* Ticks that an empty pair of clock_tick calls reads, the floor of every latency: in ns. */
double clock_pair_ns(void);

static inline uint64_t clock_read_ns(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static inline uint64_t clock_wall_ns(void)
{
    return clock_read_ns(CLOCK_MONOTONIC);
}
static inline uint64_t clock_thread_ns(void)
{
    return clock_read_ns(CLOCK_THREAD_CPUTIME_ID);
}

/* Waits for the loads before it, so that one operation does not hide in the next. */
static inline uint64_t clock_tick(void)
{
#if defined(__x86_64__)
    if (clock_has_tsc) {
        unsigned cpu;
        uint64_t t = __rdtscp(&cpu);
        _mm_lfence();
        return t;
    }
#endif
    return clock_wall_ns();
}
static inline uint64_t clock_ticks_to_ns(uint64_t ticks)
{
    return (uint64_t)((double)ticks * clock_ns_per_tick + 0.5);
}

#endif
