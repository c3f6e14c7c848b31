/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Self-describing values: see value.h. The first word of a parsable value is its version under a
 * mask, the second checks key, version and length, the rest is a stream seeded by all three. */
#include "value.h"

#include <stdio.h>
#include <string.h>

#include "rng.h"

static uint64_t key_hash(const void *key, size_t key_bytes)
{
    const unsigned char *p = key;
    uint64_t h = 0xcbf29ce484222325ull ^ key_bytes;
    for (size_t i = 0; i < key_bytes; i++)
        h = (h ^ p[i]) * 0x100000001b3ull;
    return test_mix(h);
}

static uint64_t version_mask(uint64_t hash, size_t value_bytes)
{
    return test_mix(hash ^ 0x6d61736b ^ (uint64_t)value_bytes << 20);
}

static uint64_t stream_seed(uint64_t hash, uint64_t version, size_t value_bytes)
{
    return test_mix(hash + test_mix(version ^ test_mix(value_bytes + 0x7365656400)));
}

/* Word `i` of the value; never zero, so that no line or page of it is. */
static uint64_t value_word(uint64_t hash, uint64_t seed, uint64_t version, size_t value_bytes,
                           size_t i)
{
    if (value_bytes >= TEST_VALUE_PARSABLE_BYTES && i == 0)
        return version ^ version_mask(hash, value_bytes);
    uint64_t word = test_mix(seed + (i + 1) * 0x9e3779b97f4a7c15ull);
    return word | 1;
}

void test_value_fill(void *value, size_t value_bytes, const void *key, size_t key_bytes,
                     uint64_t version)
{
    unsigned char *p = value;
    uint64_t hash = key_hash(key, key_bytes);
    uint64_t seed = stream_seed(hash, version, value_bytes);
    for (size_t at = 0; at < value_bytes; at += 8) {
        uint64_t word = value_word(hash, seed, version, value_bytes, at / 8);
        memcpy(p + at, &word, value_bytes - at < 8 ? value_bytes - at : 8);
    }
}

/* Offset of the first byte that differs, or value_bytes. */
static size_t first_difference(const unsigned char *p, size_t value_bytes, uint64_t hash,
                               uint64_t version)
{
    uint64_t seed = stream_seed(hash, version, value_bytes);
    for (size_t at = 0; at < value_bytes; at += 8) {
        uint64_t word = value_word(hash, seed, version, value_bytes, at / 8);
        size_t n = value_bytes - at < 8 ? value_bytes - at : 8;
        if (memcmp(p + at, &word, n) != 0)
            return at;
    }
    return value_bytes;
}

bool test_value_is(const void *value, size_t value_bytes, const void *key, size_t key_bytes,
                   uint64_t version)
{
    return first_difference(value, value_bytes, key_hash(key, key_bytes), version) == value_bytes;
}

static uint64_t claimed_version(const void *value, size_t value_bytes, uint64_t hash)
{
    uint64_t word;
    memcpy(&word, value, 8);
    return word ^ version_mask(hash, value_bytes);
}

bool test_value_parse(const void *value, size_t value_bytes, const void *key, size_t key_bytes,
                      uint64_t *version)
{
    if (value_bytes < TEST_VALUE_PARSABLE_BYTES)
        return false;
    uint64_t hash = key_hash(key, key_bytes);
    uint64_t claimed = claimed_version(value, value_bytes, hash);
    if (first_difference(value, value_bytes, hash, claimed) != value_bytes)
        return false;
    *version = claimed;
    return true;
}

const char *test_value_explain(const void *value, size_t value_bytes, const void *key,
                               size_t key_bytes)
{
    static _Thread_local char text[200];
    if (value_bytes < TEST_VALUE_PARSABLE_BYTES) {
        snprintf(text, sizeof(text), "%zu bytes, too short to carry a version", value_bytes);
        return text;
    }
    const unsigned char *p = value;
    uint64_t hash = key_hash(key, key_bytes);
    uint64_t claimed = claimed_version(value, value_bytes, hash);
    size_t at = first_difference(p, value_bytes, hash, claimed);
    size_t zeros = 0;
    for (size_t i = 0; i < value_bytes; i++)
        zeros += p[i] == 0;
    snprintf(text, sizeof(text),
             "%zu bytes, claims version %llu, first wrong word at %zu, %zu zeros", value_bytes,
             (unsigned long long)claimed, at, zeros);
    return text;
}

size_t test_key_make(char key[TEST_KEY_BYTES], unsigned set, uint32_t index)
{
    size_t n = (size_t)snprintf(key, TEST_KEY_BYTES, "s%u-%06u-", set, index);
    size_t padding = test_mix((uint64_t)set << 32 | index) % 24;
    memset(key + n, 'a' + (int)(index % 26), padding);
    return n + padding;
}

bool test_key_parse(const void *key, size_t key_bytes, unsigned *set, uint32_t *index)
{
    char text[TEST_KEY_BYTES + 1], again[TEST_KEY_BYTES];
    unsigned s, i;
    if (key_bytes > TEST_KEY_BYTES)
        return false;
    memcpy(text, key, key_bytes);
    text[key_bytes] = 0;
    if (sscanf(text, "s%u-%u-", &s, &i) != 2)
        return false;
    if (test_key_make(again, s, i) != key_bytes || memcmp(again, key, key_bytes) != 0)
        return false;
    *set = s;
    *index = i;
    return true;
}
