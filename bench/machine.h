/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The machine a run was made on, and what else used it meanwhile: a figure without that is worth
 * little.
 */
#ifndef PMKV_BENCH_MACHINE_H
#define PMKV_BENCH_MACHINE_H

#include <stdint.h>

struct machine {
    char host[65], kernel[130], cpu[128], huge_pages[64], shmem_huge_pages[64];
    unsigned cpu_count;
    uint64_t memory_bytes;
};
void machine_describe(struct machine *m);

/* Of this process: bytes given to write() and its kin so far, and anonymous memory now. */
uint64_t machine_written_bytes(void);
uint64_t machine_own_memory_bytes(void);

/* Counters at one moment. */
struct machine_sample {
    double load1;
    uint64_t busy_ticks, steal_ticks, all_ticks; /* of all CPUs, since boot */
    uint64_t own_cpu_ns;                         /* of this process */
};
void machine_sample(struct machine_sample *s);

/* Between two samples, in percent of all CPUs: stolen by the host, used by other processes. The
 * kernel counts in ticks of 10 ms, so short phases give rough numbers. */
struct machine_noise {
    double load1, steal_percent, other_percent;
    uint64_t own_cpu_ns;
};
struct machine_noise machine_noise(const struct machine_sample *from,
                                   const struct machine_sample *to);

#endif
