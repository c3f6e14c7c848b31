/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "pick.h"

#include <math.h>
#include <string.h>

/*
 * Zipfian ranks as in Gray, Sundaresan, Englert, Baclawski, Weinberger: "Quickly generating
 * billion-record synthetic databases" (SIGMOD 1994), the method that YCSB uses too.
 */
static const double theta = 0.99;

static const char *const names[] = {[PICK_DEFAULT] = "default",
                                    [PICK_UNIFORM] = "uniform",
                                    [PICK_ZIPFIAN] = "zipfian",
                                    [PICK_LATEST] = "latest"};

enum distribution distribution_of(const char *name)
{
    for (unsigned i = PICK_UNIFORM; i <= PICK_LATEST; i++)
        if (strcmp(names[i], name) == 0)
            return (enum distribution)i;
    return PICK_DEFAULT;
}

const char *distribution_name(enum distribution distribution)
{
    return names[distribution];
}

/* Sum of 1 / i^theta, exact for the first million and an integral for the rest. */
static double zeta(uint64_t count)
{
    uint64_t exact = count < 1000000 ? count : 1000000;
    double sum = 0;
    for (uint64_t i = 1; i <= exact; i++)
        sum += pow((double)i, -theta);
    if (count > exact)
        sum += (pow((double)count, 1 - theta) - pow((double)exact, 1 - theta)) / (1 - theta);
    return sum;
}

void pick_init(struct pick *p, enum distribution distribution, uint64_t count, uint64_t seed)
{
    p->distribution = distribution;
    p->count = count;
    permutation_init(&p->spread, count, seed);
    if (distribution == PICK_UNIFORM)
        return;
    p->zeta = zeta(count);
    p->zeta2 = zeta(2);
    p->alpha = 1 / (1 - theta);
    p->eta = (1 - pow(2.0 / (double)count, 1 - theta)) / (1 - p->zeta2 / p->zeta);
}

static uint64_t zipfian_rank(const struct pick *p, uint64_t random)
{
    double u = (double)(random >> 11) / 9007199254740992.0; /* 2^53 */
    double uz = u * p->zeta;
    if (uz < 1)
        return 0;
    if (uz < p->zeta2)
        return p->count > 1;
    uint64_t rank = (uint64_t)((double)p->count * pow(p->eta * u - p->eta + 1, p->alpha));
    return rank < p->count ? rank : p->count - 1;
}

uint64_t pick_next(const struct pick *p, uint64_t *state, uint64_t there)
{
    uint64_t random = pick_random(state);
    switch (p->distribution) {
    case PICK_ZIPFIAN:
        return permutation_at(&p->spread, zipfian_rank(p, random));
    case PICK_LATEST: {
        uint64_t back = zipfian_rank(p, random);
        return back < there ? there - 1 - back : 0;
    }
    default:
        return random % there;
    }
}
