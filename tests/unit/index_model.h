/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * An index beside a model of what it must hold. The "medium" is an array that says which hash
 * stands at a position, as a record would say which key.
 */
#ifndef PMKV_TESTS_UNIT_INDEX_MODEL_H
#define PMKV_TESTS_UNIT_INDEX_MODEL_H

#include "kv/index_impl.h"

struct model {
    struct index *ix;
    uint64_t *medium; /* position -> hash */
    uint64_t next, limit;
};

/* splitmix64: one hash for each number, well mixed. */
static inline uint64_t model_hash(uint64_t number)
{
    number += 0x9e3779b97f4a7c15u;
    number = (number ^ number >> 30) * 0xbf58476d1ce4e5b9u;
    number = (number ^ number >> 27) * 0x94d049bb133111ebu;
    return number ^ number >> 31;
}

/* positions: how many times the test may insert or replace. */
void model_open(struct model *m, uint64_t expected, uint64_t max_slots, uint64_t positions);
void model_close(struct model *m);

/* The position of the hash, 0: a settled "not there". A search that can't be settled while nothing
 * else runs fails the test. */
uint64_t model_find(const struct model *m, uint64_t hash);
/* Like model_find, but returns where. */
bool model_find_ref(const struct model *m, uint64_t hash, struct slot_ref *out);
/* What the store does for a put and a delete, one index_grow_step included. Returns the new
 * position. */
uint64_t model_put(struct model *m, uint64_t hash);
int model_try_put(struct model *m, uint64_t hash);
bool model_delete(struct model *m, uint64_t hash);

#endif
