/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What a store owes: for each key the version that was acknowledged and what the operation in
 * flight would make of it; and every version there ever was, so that any answer can be judged. A
 * delete makes a version too, one that is not there.
 */
#ifndef PMKV_TESTS_PROVE_EXPECT_H
#define PMKV_TESTS_PROVE_EXPECT_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/pmkv.h"

enum { EXPECT_KEYS = 24, EXPECT_VERSIONS = 8192, EXPECT_MAX_BYTES = 192 << 10 };

#define EXPECT_GONE UINT32_MAX /* bytes of a version that is not there; version 0 never was */
struct expect_value {
    uint32_t version, bytes;
};

/* Where the record of what was acknowledged stands. */
struct expect_place {
    bool known;
    bool left; /* no writer's lane has the segment any more: it is known to have been fenced */
    uint32_t segment, row, offset;
};

struct expect {
    struct expect_place place[EXPECT_KEYS];
    struct expect_value now[EXPECT_KEYS], to[EXPECT_KEYS];
    uint32_t in_flight; /* bit per key: `to` is what the operation in flight makes of it */
    uint32_t last_version;
    uint64_t operations;
    struct {
        uint8_t key;
        uint32_t bytes;
    } history[EXPECT_VERSIONS];
};
_Static_assert(EXPECT_KEYS <= 32, "a bit per key");

const char *expect_key(uint32_t key, size_t *bytes);
/* Notes a version of the key as in flight, and fills `value`. false: there were too many. */
bool expect_put(struct expect *e, uint32_t key, uint32_t bytes, void *value);
bool expect_delete(struct expect *e, uint32_t key);
/* Is the key there? */
static inline bool expect_has(struct expect_value v)
{
    return v.version != 0 && v.bytes != EXPECT_GONE;
}
/* The operation in flight was acknowledged, or refused. */
void expect_settle(struct expect *e, bool happened);
uint64_t expect_hash(const struct expect *e);

enum expect_mode {
    EXPECT_ALL,    /* before or after, and nothing is lost */
    EXPECT_NAMED,  /* beyond the redundancy: what is missing is named, what is there is right */
    EXPECT_SAFETY, /* nothing but whole versions of the key asked for */
};

struct verdict {
    unsigned states;  /* bit 0: as before what was in flight, bit 1: as after */
    unsigned lost;    /* keys that answer PMKV_E_LOST */
    uint64_t answers; /* hash of all answers */
    bool is_wrong;    /* wrong bytes; else, with text, something is missing */
    char text[240];   /* what is the matter; empty: nothing */
};
void expect_judge(const struct expect *e, struct pmkv *kv, enum expect_mode mode,
                  struct verdict *v);

#endif
