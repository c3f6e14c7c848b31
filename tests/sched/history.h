/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What the operations of a run were told, and whether a store can have told it: is there an order
 * of them, each as one step between its call and its return, in which a plain map answers the same?
 * Operations that never returned (the power went) may be in that order or not. Histories are small
 * and the search is exhaustive.
 */
#ifndef PMKV_TESTS_SCHED_HISTORY_H
#define PMKV_TESTS_SCHED_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

enum { HISTORY_KEYS = 12, HISTORY_OPS = 56 };
enum { OP_PENDING = UINT32_MAX };

enum op_kind {
    OP_PUT,    /* version */
    OP_DELETE, /* found */
    OP_GET,    /* version that was read, 0: not there */
    OP_EXISTS, /* found */
    OP_BATCH,  /* keys [key, key + count): versions from `version` on, the last `deletes` deleted */
    OP_PUT_IF, /* version, if the key had `expected`; found: it had */
    OP_DELETE_IF, /* if the key had `expected`; found: it had */
};

struct op {
    enum op_kind kind;
    uint32_t key, version, count, deletes, expected;
    bool found;
    uint32_t begin, end; /* OP_PENDING: it has not returned */
};

/* Version 0: not there. */
struct map {
    uint32_t version[HISTORY_KEYS];
};

struct history {
    struct map initial;
    struct op ops[HISTORY_OPS];
    uint32_t count, clock;
};

/* Notes a call; ends it. */
struct op *history_begin(struct history *h, struct op op);
void history_end(struct history *h, struct op *op);
/* Is there such an order? */
bool history_holds(const struct history *h);
/* One line for each operation. */
void history_print(const struct history *h, char *text, uint32_t room);

#endif
