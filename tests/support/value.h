/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Values that describe themselves. Every byte follows from (key, version, length), so a wrong byte,
 * a stale version, a value of another key and two halves of different values are all noticed. A
 * value of 16 bytes or more also carries its version, so that it can be judged without knowing
 * which one to expect. No value that is not empty is all zeros.
 */
#ifndef PMKV_TESTS_SUPPORT_VALUE_H
#define PMKV_TESTS_SUPPORT_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEST_VALUE_PARSABLE_BYTES = 16, TEST_KEY_BYTES = 64 };

void test_value_fill(void *value, size_t value_bytes, const void *key, size_t key_bytes,
                     uint64_t version);

/* Is this exactly that version? */
bool test_value_is(const void *value, size_t value_bytes, const void *key, size_t key_bytes,
                   uint64_t version);

/* Is this a whole value of the key, and of which version? Needs TEST_VALUE_PARSABLE_BYTES. */
bool test_value_parse(const void *value, size_t value_bytes, const void *key, size_t key_bytes,
                      uint64_t *version);

/* One sentence on how a value is wrong, in a buffer of the calling thread. */
const char *test_value_explain(const void *value, size_t value_bytes, const void *key,
                               size_t key_bytes);

/* Key `index` of set `set`, TEST_KEY_BYTES at most; the length varies with both. Returns it. */
size_t test_key_make(char key[TEST_KEY_BYTES], unsigned set, uint32_t index);

/* The inverse; false when no such call made this key. */
bool test_key_parse(const void *key, size_t key_bytes, unsigned *set, uint32_t *index);

#endif
