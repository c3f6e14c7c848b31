/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What a store must hold: a few keys, the version of each that was acknowledged, and what the
 * operation in flight would make of them. A store that was recovered is compared with it:
 * everything in flight is there or nothing of it, and all else exactly as acknowledged (P1, P2,
 * P3).
 */
#ifndef PMKV_TESTS_CRASH_MODEL_H
#define PMKV_TESTS_CRASH_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/pmkv.h"

enum { MODEL_KEYS = 48, MODEL_CHANGES = MODEL_KEYS, MODEL_MAX_BYTES = 160 << 10 };

/* Version 0: the key is not there. */
struct model_value {
    uint64_t version;
    uint32_t bytes;
};

struct model {
    struct model_value now[MODEL_KEYS];
    struct {
        uint32_t key;
        struct model_value to;
    } flight[MODEL_CHANGES];
    uint32_t flight_count;
    uint64_t last_version;
};

/* Operations on both; a status other than PMKV_OK fails the test. */
void model_put(struct model *m, struct pmkv *kv, uint32_t key, uint32_t bytes);
void model_delete(struct model *m, struct pmkv *kv, uint32_t key);
/* On the version that the key has; before that on others, which must be refused. */
void model_put_if(struct model *m, struct pmkv *kv, uint32_t key, uint32_t bytes);
void model_delete_if(struct model *m, struct pmkv *kv, uint32_t key);
/* PMKV_ABSENT when the key is not there. */
uint64_t model_version(struct pmkv *kv, uint32_t key);
/* Puts keys [first, first + puts) and deletes the `deletes` keys behind them, as one batch. */
void model_batch(struct model *m, struct pmkv *kv, uint32_t first, uint32_t puts, uint32_t deletes,
                 uint32_t bytes);
/* The put alone, for those who expect another status. Then model_settle. */
enum pmkv_status model_try_put(struct model *m, struct pmkv *kv, uint32_t key, uint32_t bytes);
void model_settle(struct model *m, bool happened);

enum model_state { MODEL_BEFORE = 1, MODEL_AFTER = 2 };
enum model_flags {
    MODEL_LOST_IS_FINE = 1, /* beyond the budget: a key may be lost, never wrong */
};
/* As which of the two states does the store answer? Bits of model_state; neither fails the test,
 * and says what was going on in `where`. What a store with an ordered index goes through must be
 * what it has. */
unsigned model_compare(const struct model *m, struct pmkv *kv, unsigned flags, const char *where);

/* Key `index` of the model. */
const char *model_key(uint32_t index, size_t *bytes);

#endif
