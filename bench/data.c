/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "data.h"

#include <string.h>

uint64_t data_mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    x ^= x >> 33;
    return x;
}

void permutation_init(struct permutation *p, uint64_t count, uint64_t seed)
{
    unsigned bits = count <= 1 ? 1 : 64u - (unsigned)__builtin_clzll(count - 1);
    p->count = count;
    p->mask = bits == 64 ? UINT64_MAX : (1ull << bits) - 1;
    p->shift = (bits + 1) / 2;
    p->add = data_mix(seed + 1);
    p->multiply[0] = data_mix(seed + 2) | 1;
    p->multiply[1] = data_mix(seed + 3) | 1;
}

void key_format(char *key, size_t key_bytes, uint64_t number)
{
    static const char digits[] = "0123456789abcdef";
    size_t count = key_bytes < KEY_DIGITS ? key_bytes : KEY_DIGITS;
    memset(key, 'k', key_bytes - count);
    char *end = key + key_bytes;
    for (size_t i = 0; i < count; i++, number >>= 4)
        *--end = digits[number & 15];
}

uint64_t key_number(const char *key, size_t key_bytes)
{
    uint64_t number = 0;
    for (size_t i = key_bytes < KEY_DIGITS ? 0 : key_bytes - KEY_DIGITS; i < key_bytes; i++)
        number = number << 4 | (uint64_t)(key[i] <= '9' ? key[i] - '0' : key[i] - 'a' + 10);
    return number;
}

static const uint64_t word_step = 0x9e3779b97f4a7c15ull;

static uint64_t value_seed(uint64_t number, uint64_t version)
{
    return data_mix(number * 0xd6e8feb86659fd93ull + version);
}

static uint64_t value_tag(size_t value_bytes, uint64_t version)
{
    return version << 32 | (uint32_t)value_bytes;
}

enum { WHOLE_TAG_BYTES = 16, SHORT_VERSION_BITS = 24 };

/* Of a value without room for two words; the rest follows from it. */
static uint64_t short_word(uint64_t number, uint64_t version)
{
    return number << SHORT_VERSION_BITS | (version & ((1u << SHORT_VERSION_BITS) - 1));
}

static void short_fill(char *at, size_t value_bytes, uint64_t number, uint64_t version)
{
    uint64_t word = short_word(number, version), rest = value_seed(number, version);
    memcpy(at, &word, 8);
    memcpy(at + 8, &rest, value_bytes - 8);
}

static bool short_check(const char *at, size_t value_bytes, uint64_t number, uint64_t version)
{
    char wanted[WHOLE_TAG_BYTES];
    short_fill(wanted, value_bytes, number, version);
    return memcmp(at, wanted, value_bytes) == 0;
}

void value_fill(void *value, size_t value_bytes, uint64_t number, uint64_t version)
{
    char *at = value;
    if (value_bytes < WHOLE_TAG_BYTES)
        return short_fill(at, value_bytes, number, version);
    uint64_t tag = value_tag(value_bytes, version);
    memcpy(at, &number, 8);
    memcpy(at + 8, &tag, 8);
    uint64_t word = value_seed(number, version);
    size_t i = 16;
    for (; i + 8 <= value_bytes; i += 8, word += word_step)
        memcpy(at + i, &word, 8);
    memcpy(at + i, &word, value_bytes - i);
}

/* The word at `offset` (a multiple of 8, 16 or more), or what of it is inside, is as it should be.
 */
static bool word_is_good(const char *at, size_t value_bytes, size_t offset, uint64_t seed)
{
    uint64_t word = seed + word_step * ((offset - 16) / 8);
    size_t count = value_bytes - offset < 8 ? value_bytes - offset : 8;
    return memcmp(at + offset, &word, count) == 0;
}

bool value_check(const void *value, size_t value_bytes, uint64_t number, uint64_t version,
                 bool full)
{
    const char *at = value;
    if (value_bytes < WHOLE_TAG_BYTES)
        return short_check(at, value_bytes, number, version);
    uint64_t stored[2];
    memcpy(stored, at, sizeof stored);
    if (stored[0] != number || stored[1] != value_tag(value_bytes, version))
        return false;
    if (value_bytes == WHOLE_TAG_BYTES)
        return true;
    uint64_t seed = value_seed(number, version);
    if (!full)
        return word_is_good(at, value_bytes, (value_bytes - 1) & ~(size_t)7, seed);
    for (size_t i = 16; i < value_bytes; i += 8)
        if (!word_is_good(at, value_bytes, i, seed))
            return false;
    return true;
}

uint64_t value_version(const void *value, size_t value_bytes)
{
    uint64_t tag;
    bool whole = value_bytes >= WHOLE_TAG_BYTES;
    memcpy(&tag, (const char *)value + (whole ? 8 : 0), 8);
    return whole ? tag >> 32 : tag & ((1u << SHORT_VERSION_BITS) - 1);
}
