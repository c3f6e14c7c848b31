/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What fuzz targets share. A target is LLVMFuzzerTestOneInput in a file of its own; libFuzzer calls
 * it with inputs that it makes (tools/fuzz.sh), replay.c with those of the corpus (the test suite).
 */
#ifndef PMKV_TESTS_FUZZ_TARGET_H
#define PMKV_TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

/* Input that is taken apart from the front; zeros behind its end. */
struct input {
    const uint8_t *at, *end;
};

static inline void input_copy(struct input *in, void *to, size_t bytes)
{
    size_t left = (size_t)(in->end - in->at), n = bytes < left ? bytes : left;
    memset(to, 0, bytes);
    if (n)
        memcpy(to, in->at, n);
    in->at += n;
}

static inline uint8_t input_byte(struct input *in)
{
    uint8_t b;
    input_copy(in, &b, 1);
    return b;
}

static inline uint32_t input_number(struct input *in, uint32_t below)
{
    uint32_t n;
    input_copy(in, &n, sizeof n);
    return below ? n % below : 0;
}

/* Ends the process, which is how a fuzzer learns of it. */
#define fuzz_that(condition, ...)                                                                  \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "%s:%d: ", __FILE__, __LINE__);                                        \
            fprintf(stderr, __VA_ARGS__);                                                          \
            fputc('\n', stderr);                                                                   \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

#endif
