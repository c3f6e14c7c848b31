/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The two things of the system that reach the bytes of a pool, from the seed: random numbers (the
 * pool's identity and secret) and the clock's seconds. The program's own definitions come before
 * those of the C library. */
#include <sys/random.h>
#include <time.h>

#include "prove.h"

static struct test_rng rng;

void seeded_start(uint64_t seed)
{
    rng = test_rng_make(seed, 0x73656372657400);
}

ssize_t getrandom(void *buffer, size_t bytes, unsigned flags)
{
    uint8_t *to = buffer;
    (void)flags;
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)test_rng_next(&rng);
    return (ssize_t)bytes;
}

time_t time(time_t *out)
{
    if (out)
        *out = 1700000000;
    return 1700000000;
}
