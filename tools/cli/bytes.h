/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A growing run of bytes, and the ways bytes are written as arguments: text, hex, base64, sizes.
 * Allocation failure ends the process (cli_out_of_memory): the pool is safe against that.
 */
#ifndef PMKV_CLI_BYTES_H
#define PMKV_CLI_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Starts as {0}. `data` is NULL or owned, and is freed by bytes_free. */
struct bytes {
    unsigned char *data;
    size_t size;
    size_t capacity;
};

void bytes_reserve(struct bytes *b, size_t capacity);
void bytes_append(struct bytes *b, const void *data, size_t size);
void bytes_push(struct bytes *b, unsigned char byte);
void bytes_free(struct bytes *b);

/* Reads to the end of `fd`, at most `limit` bytes; false with errno when a read fails. */
bool bytes_read(struct bytes *b, int fd, size_t limit);
/* Writes all to `fd`; false with errno when it cannot. */
bool write_all(int fd, const void *data, size_t size);

/* Append the decoded form of `text`; false when it is malformed. */
bool bytes_from_hex(struct bytes *b, const char *text);
bool bytes_from_base64(struct bytes *b, const char *text);

/* Value of a hex digit, or -1. */
int hex_digit(int c);
/* Return an allocated string, to be freed. */
char *hex_of(const void *data, size_t size);
char *base64_of(const void *data, size_t size);

/* "64M", "0x1000", "4096": K M G T are powers of 1024. False when malformed or beyond 64 bits. */
bool parse_size(const char *text, uint64_t *size);

#endif
