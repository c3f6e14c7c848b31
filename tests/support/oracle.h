/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The oracle of a set of keys that one writer owns and anyone reads.
 *
 * Each key has one slot. A version is (number << 1 | is a delete); numbers of a key only grow. The
 * writer stores the intent before the call and the acknowledgement after it, so a reader who looks
 * at the slot before and after its get knows which versions it may see: none older than the last
 * one acknowledged before, none newer than the last one intended after. Nothing else is right.
 */
#ifndef PMKV_TESTS_SUPPORT_ORACLE_H
#define PMKV_TESTS_SUPPORT_ORACLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pmkv.h"
#include "value.h"

struct test_slot {
    _Atomic uint64_t acked;       /* 0: never written */
    _Atomic uint64_t intent;      /* last version handed to the library */
    _Atomic uint64_t last_delete; /* last delete handed to the library */
    _Atomic uint32_t bytes;       /* length that was acknowledged */
    _Atomic bool unsure;          /* the last write's outcome is unknown: E_IO, E_MEDIA */
};

struct test_set {
    unsigned id; /* in the names of the keys */
    uint32_t count;
    struct test_slot *slots;
};

/* In memory that forked children share. */
struct test_set test_set_make(unsigned id, uint32_t count);

static inline bool test_version_is_delete(uint64_t version)
{
    return version == 0 || (version & 1) != 0;
}

/* The protocol, for tests that make their own calls (batches): intend, call, then one of the rest.
 */
uint64_t test_slot_intend(struct test_slot *slot, bool is_delete);
void test_slot_ack(struct test_slot *slot, uint64_t version, size_t value_bytes);
void test_slot_unsure(struct test_slot *slot);
bool test_slot_present(const struct test_slot *slot);

/* Puts a new version of `value_bytes` bytes; `buffer` holds at least as many. */
enum pmkv_status test_set_put(struct pmkv *kv, struct test_set *set, uint32_t index, void *buffer,
                              size_t value_bytes);
enum pmkv_status test_set_delete(struct pmkv *kv, struct test_set *set, uint32_t index);

enum test_verdict {
    TEST_RIGHT,
    TEST_LOST,    /* PMKV_E_LOST */
    TEST_MISSING, /* not found, and no delete could have done it */
    TEST_OLDER,   /* an older version than one acknowledged before the read */
    TEST_UNBORN,  /* a version that was not written */
    TEST_BROKEN,  /* not a whole value of this key */
    TEST_ERROR,   /* another status */
    TEST_VERDICTS,
};
const char *test_verdict_name(enum test_verdict verdict);

/* Reads a key while its writer may run. */
enum test_verdict test_set_read(struct pmkv *kv, const struct test_set *set, uint32_t index,
                                void *buffer, size_t buffer_bytes);
/* Reads a key while no writer runs: exactly the acknowledged version is right. */
enum test_verdict test_set_read_exact(struct pmkv *kv, const struct test_set *set, uint32_t index,
                                      void *buffer, size_t buffer_bytes);

/* Judges the outcome of a get by hand; `low` and `high` bound the version. */
enum test_verdict test_judge(const void *key, size_t key_bytes, enum pmkv_status status,
                             const void *value, size_t value_bytes, uint64_t low, uint64_t high,
                             bool delete_between);

struct test_tally {
    uint64_t of[TEST_VERDICTS];
};
/* Reads every key of the set exactly; every verdict but TEST_RIGHT, and TEST_LOST when
 * `lost_is_fine`, fails the test and names the key. */
struct test_tally test_set_verify(struct pmkv *kv, const struct test_set *set, void *buffer,
                                  size_t buffer_bytes, bool lost_is_fine);
/* pmkv_foreach shows exactly the keys that are there (lost ones not counted), each once, and
 * pmkv_count agrees. Keys of other sets fail the test. */
void test_sets_verify_names(struct pmkv *kv, const struct test_set *sets, unsigned count);

uint64_t test_set_present(const struct test_set *set);
uint64_t test_set_bytes(const struct test_set *set); /* of acknowledged values */

/* Makes the oracle expect another version of a key that is there; false when none is. */
bool test_set_corrupt(struct test_set *set);

#endif
