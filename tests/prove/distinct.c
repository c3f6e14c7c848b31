/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A set of 64-bit hashes in memory that processes share: open addressing, no lock. A set that is
 * full takes everything for known, so that it never counts too many. */
#include <stdlib.h>
#include <sys/mman.h>

#include "prove.h"

struct distinct {
    uint64_t slots; /* a power of two */
    atomic_ullong slot[];
};

struct distinct *images_seen, *images_judged;

struct distinct *distinct_new(uint64_t expected)
{
    uint64_t slots = 1 << 16;
    while (slots < expected * 2)
        slots *= 2;
    struct distinct *d = mmap(NULL, sizeof *d + slots * sizeof *d->slot, PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (d == MAP_FAILED)
        abort();
    d->slots = slots;
    return d;
}

bool distinct_add(struct distinct *d, uint64_t hash)
{
    unsigned long long mine = hash ? hash : 1;
    for (uint64_t i = 0; i < 256; i++) {
        atomic_ullong *slot = &d->slot[(hash + i) & (d->slots - 1)];
        unsigned long long there = 0;
        if (atomic_compare_exchange_strong_explicit(slot, &there, mine, memory_order_relaxed,
                                                    memory_order_relaxed))
            return true;
        if (there == mine)
            return false;
    }
    return false;
}
