/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "demo.h"

#include <string.h>

struct value_header {
    uint64_t key, version, bytes;
};

uint64_t mix64(uint64_t x)
{
    x ^= x >> 30;
    x *= 0xbf58476d1ce4e5b9ull;
    x ^= x >> 27;
    x *= 0x94d049bb133111ebull;
    x ^= x >> 31;
    return x;
}

uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull;
    return mix64(*state);
}

bool version_is_delete(uint64_t version)
{
    return version % 8 == 7;
}

/* Mostly small; one in sixteen spans several pages. */
static size_t value_bytes_of(uint64_t key, uint64_t version)
{
    uint64_t r = mix64(mix64(key) + version);
    uint64_t most = r % 16 == 0 ? VALUE_MAX_BYTES : 3000;
    return sizeof(struct value_header) + (r >> 8) % (most - sizeof(struct value_header));
}

static uint64_t stream_start(uint64_t key, uint64_t version)
{
    return mix64(key * 0x9e3779b97f4a7c15ull) ^ mix64(version + 0x2545f4914f6cdd1dull);
}

size_t value_make(unsigned char *value, uint64_t key, uint64_t version)
{
    struct value_header header = {key, version, value_bytes_of(key, version)};
    memcpy(value, &header, sizeof header);
    uint64_t state = stream_start(key, version);
    for (size_t at = sizeof header; at < header.bytes; at += 8) {
        uint64_t word = next_random(&state);
        size_t left = header.bytes - at;
        memcpy(value + at, &word, left < 8 ? left : 8);
    }
    return header.bytes;
}

bool value_check(const unsigned char *value, size_t value_bytes, uint64_t key, uint64_t *version)
{
    struct value_header header;
    if (value_bytes < sizeof header)
        return false;
    memcpy(&header, value, sizeof header);
    if (header.key != key || version_is_delete(header.version) || header.version == 0 ||
        header.bytes != value_bytes || value_bytes != value_bytes_of(key, header.version))
        return false;
    uint64_t state = stream_start(key, header.version);
    for (size_t at = sizeof header; at < value_bytes; at += 8) {
        uint64_t word = next_random(&state);
        size_t left = value_bytes - at;
        if (memcmp(value + at, &word, left < 8 ? left : 8) != 0)
            return false;
    }
    *version = header.version;
    return true;
}
