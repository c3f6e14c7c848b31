/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "work.h"

#include <stdio.h>
#include <string.h>

/* splitmix64 (Steele, Lea and Flood, 2014) of one number. */
static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

struct operation work_operation(uint32_t writer, uint64_t n)
{
    uint64_t r = mix(n * WRITERS + writer);
    bool is_long = r % 61 == 0; /* longer than a quarter of a row: stored in pieces */
    return (struct operation){
        .key = (uint32_t)(r >> 32) % KEYS,
        .is_delete = r % 11 == 1,
        .value_bytes = is_long ? 36 * 1024 + (r >> 16) % 8192 : 16 + (r >> 16) % 2000,
    };
}

size_t work_key(char *room, uint32_t writer, uint32_t key)
{
    return (size_t)snprintf(room, KEY_ROOM, "%u-%04u", writer, key);
}

/* Word 0 is n; word i follows from writer, n and i. The last word may be cut. */
size_t work_value(uint8_t *room, uint32_t writer, uint64_t n)
{
    size_t bytes = work_operation(writer, n).value_bytes;
    uint64_t base = mix(n * WRITERS + writer + (1ull << 40));
    for (size_t at = 0, i = 0; at < bytes; at += 8, i++) {
        uint64_t word = i == 0 ? n : base + i * 0x9e3779b97f4a7c15ull;
        memcpy(room + at, &word, bytes - at < 8 ? bytes - at : 8);
    }
    return bytes;
}

uint64_t work_origin(const uint8_t *value, size_t bytes, uint32_t writer, uint32_t key)
{
    static _Thread_local uint8_t expected[VALUE_ROOM];
    uint64_t n;
    if (bytes < sizeof n || bytes > VALUE_ROOM)
        return 0;
    memcpy(&n, value, sizeof n);
    struct operation op = work_operation(writer, n);
    if (n == 0 || op.is_delete || op.key != key || op.value_bytes != bytes)
        return 0;
    work_value(expected, writer, n);
    return memcmp(value, expected, bytes) == 0 ? n : 0;
}

uint64_t work_last(uint32_t writer, uint32_t key, uint64_t n)
{
    while (n > 0 && work_operation(writer, n).key != key)
        n--;
    return n;
}
