/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "clock.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

double clock_ns_per_tick = 1.0;
bool clock_has_tsc;

static bool tsc_is_invariant(void)
{
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (!__get_cpuid(0x80000001u, &a, &b, &c, &d) || !(d & 1u << 27)) /* rdtscp */
        return false;
    return __get_cpuid(0x80000007u, &a, &b, &c, &d) && (d & 1u << 8);
#else
    return false;
#endif
}

void clock_init(void)
{
    clock_has_tsc = tsc_is_invariant();
    if (!clock_has_tsc)
        return;
    uint64_t wall = clock_wall_ns();
    uint64_t tick = clock_tick();
    struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    nanosleep(&pause, NULL);
    uint64_t ticks = clock_tick() - tick;
    clock_ns_per_tick = (double)(clock_wall_ns() - wall) / (double)ticks;
}

double clock_pair_ns(void)
{
    uint64_t best = UINT64_MAX;
    for (int i = 0; i < 1000; i++) {
        uint64_t from = clock_tick();
        uint64_t ticks = clock_tick() - from;
        if (ticks < best)
            best = ticks;
    }
    return (double)best * clock_ns_per_tick;
}
