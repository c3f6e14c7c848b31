/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "bytes.h"

#include "exit_code.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char base64_alphabet[] =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void bytes_reserve(struct bytes *b, size_t capacity)
{
    if (b->data && capacity <= b->capacity)
        return;
    if (capacity < 2 * b->capacity)
        capacity = 2 * b->capacity;
    if (capacity < 256)
        capacity = 256;
    unsigned char *data = realloc(b->data, capacity);
    if (!data)
        cli_out_of_memory();
    b->data = data;
    b->capacity = capacity;
}

void bytes_append(struct bytes *b, const void *data, size_t size)
{
    bytes_reserve(b, b->size + size);
    if (size)
        memcpy(b->data + b->size, data, size);
    b->size += size;
}

void bytes_push(struct bytes *b, unsigned char byte)
{
    if (b->size == b->capacity)
        bytes_reserve(b, b->size + 1);
    b->data[b->size++] = byte;
}

void bytes_free(struct bytes *b)
{
    free(b->data);
    *b = (struct bytes){0};
}

bool bytes_read(struct bytes *b, int fd, size_t limit)
{
    bytes_reserve(b, 1);
    while (b->size < limit) {
        if (b->size == b->capacity)
            bytes_reserve(b, b->size + 65536);
        size_t room = b->capacity - b->size;
        if (room > limit - b->size)
            room = limit - b->size;
        ssize_t got = read(fd, b->data + b->size, room);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return false;
        if (got == 0)
            return true;
        b->size += (size_t)got;
    }
    return true;
}

bool write_all(int fd, const void *data, size_t size)
{
    const unsigned char *from = data;

    while (size > 0) {
        ssize_t put = write(fd, from, size);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        from += put;
        size -= (size_t)put;
    }
    return true;
}

int hex_digit(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

bool bytes_from_hex(struct bytes *b, const char *text)
{
    bytes_reserve(b, 1);
    for (; text[0]; text += 2) {
        int high = hex_digit(text[0]);
        int low = high < 0 ? -1 : hex_digit(text[1]);
        if (low < 0)
            return false;
        bytes_push(b, (unsigned char)(high << 4 | low));
    }
    return true;
}

bool bytes_from_base64(struct bytes *b, const char *text)
{
    size_t length = strlen(text);

    bytes_reserve(b, 1);
    if (length % 4 != 0)
        return false;
    for (size_t at = 0; at < length; at += 4) {
        uint32_t bits = 0;
        int padding = 0;
        for (size_t i = at; i < at + 4; i++) {
            const char *digit = strchr(base64_alphabet, text[i]);
            bool is_pad = text[i] == '=' && at + 4 == length && i >= at + 2;
            if (is_pad)
                padding++;
            else if (!digit || padding)
                return false;
            bits = bits << 6 | (is_pad ? 0 : (uint32_t)(digit - base64_alphabet));
        }
        for (int i = 0; i < 3 - padding; i++)
            bytes_push(b, (unsigned char)(bits >> (16 - 8 * i)));
    }
    return true;
}

char *hex_of(const void *data, size_t size)
{
    const unsigned char *from = data;
    char *text = malloc(2 * size + 1);

    if (!text)
        cli_out_of_memory();
    for (size_t i = 0; i < size; i++) {
        text[2 * i] = "0123456789abcdef"[from[i] >> 4];
        text[2 * i + 1] = "0123456789abcdef"[from[i] & 15];
    }
    text[2 * size] = '\0';
    return text;
}

char *base64_of(const void *data, size_t size)
{
    const unsigned char *from = data;
    char *text = malloc((size + 2) / 3 * 4 + 1);
    char *to = text;

    if (!text)
        cli_out_of_memory();
    for (size_t i = 0; i < size; i += 3) {
        size_t count = size - i < 3 ? size - i : 3;
        uint32_t bits = (uint32_t)from[i] << 16;
        if (count > 1)
            bits |= (uint32_t)from[i + 1] << 8;
        if (count > 2)
            bits |= from[i + 2];
        for (size_t digit = 0; digit < 4; digit++)
            *to++ = digit <= count ? base64_alphabet[bits >> (18 - 6 * digit) & 63] : '=';
    }
    *to = '\0';
    return text;
}

bool parse_size(const char *text, uint64_t *size)
{
    static const char suffixes[] = "KMGT";
    char *end;

    if (!isdigit((unsigned char)text[0]))
        return false;
    errno = 0;
    bool is_hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    unsigned long long number = strtoull(text, &end, is_hex ? 16 : 10);
    if (errno == ERANGE)
        return false;

    unsigned shift = 0;
    if (*end) {
        const char *suffix = strchr(suffixes, toupper((unsigned char)*end));
        if (!suffix)
            return false;
        shift = 10 * (unsigned)(suffix - suffixes + 1);
        end++;
        if (strcmp(end, "iB") == 0)
            end += 2;
    }
    if (*end || number << shift >> shift != number)
        return false;
    *size = number << shift;
    return true;
}
