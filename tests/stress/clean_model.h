/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What a cleaner of segments may cost at best: a simulation of nothing but counts. Records of one
 * size are overwritten, each segment is filled in order, the victim is the best of all sealed ones
 * by a policy, and what is live in it goes to a segment of survivors.
 */
#ifndef PMKV_TESTS_STRESS_CLEAN_MODEL_H
#define PMKV_TESTS_STRESS_CLEAN_MODEL_H

#include <stdint.h>

enum clean_policy {
    CLEAN_EMPTIEST,     /* 1 - u: the best known under uniform overwrites */
    CLEAN_COST_BENEFIT, /* (1 - u) age / (1 + u): Rosenblum and Ousterhout, 1992 */
    CLEAN_ROOT_OF_AGE,  /* (1 - u) sqrt(age) / (1 + u): what the store does */
    CLEAN_POLICIES
};
const char *clean_policy_name(enum clean_policy policy);

struct clean_model {
    uint32_t segments, keep_free;
    uint32_t records, survivors; /* that a segment holds: as written, and packed by the cleaner */
    uint32_t keys;
    uint32_t (*pick)(void *arg); /* the key of the next overwrite */
    void *arg;
    uint64_t warm, counted; /* overwrites before counting begins, and counted */
};

/* Records stored for each overwrite: 1 and those that were moved. */
double clean_model_run(const struct clean_model *m, enum clean_policy policy);

#endif
