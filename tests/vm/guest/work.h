/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What a writer does, as a function of its number and of the operation's: so that who knows how
 * many operations were acknowledged knows what must be in the pool, without having seen them.
 *
 * Writer w owns the keys "w-0000" .. "w-(KEYS-1)" and is the only one to change them. Operation n
 * (from 1) puts or deletes one of them; a value says who wrote it and all of its bytes follow from
 * that.
 */
#ifndef PMKV_TESTS_VM_WORK_H
#define PMKV_TESTS_VM_WORK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WRITERS = 2, KEYS = 300, KEY_ROOM = 32, VALUE_ROOM = 64 * 1024 };

struct operation {
    uint32_t key;
    bool is_delete;
    size_t value_bytes;
};

struct operation work_operation(uint32_t writer, uint64_t n);
/* The key's text, and its length. */
size_t work_key(char *room, uint32_t writer, uint32_t key);
/* The value that operation n stores: its length. */
size_t work_value(uint8_t *room, uint32_t writer, uint64_t n);
/* Which operation stored this value? 0: no operation of this writer on this key did. */
uint64_t work_origin(const uint8_t *value, size_t bytes, uint32_t writer, uint32_t key);
/* The last operation on the key up to n; 0: none. */
uint64_t work_last(uint32_t writer, uint32_t key, uint64_t n);

#endif
