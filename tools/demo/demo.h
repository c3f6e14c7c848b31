/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What the parts of the demo share: how it reports, and values that describe themselves.
 *
 * Every operation on a key has a version, counted from 1; version v is a delete when v % 8 is 7,
 * else a put. The value is a header (key, version, size) and a stream of bytes that follows from
 * key and version, so that whoever reads it can tell every wrong byte and every old value without a
 * copy.
 */
#ifndef PMKV_DEMO_H
#define PMKV_DEMO_H

#include <pmkv.h>

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum demo_exit { DEMO_OK = 0, DEMO_FAILED = 1, DEMO_USAGE = 2, DEMO_CANNOT_RUN = 3 };

enum { VALUE_MAX_BYTES = 48 * 1024 };

/* Prints and ends the process: the demo cannot go on. With a status: adds its exact fact. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void die_status(enum pmkv_status status, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* A check failed: counts it, and prints the first few. */
void check_failed(const char *format, ...) __attribute__((format(printf, 1, 2)));
uint64_t checks_failed(void);

double now_seconds(void);
void sleep_seconds(double seconds);

/* Mixes 64 bits (the finalizer of SplitMix64). */
uint64_t mix64(uint64_t x);
/* The next of a sequence of random numbers. */
uint64_t next_random(uint64_t *state);

bool version_is_delete(uint64_t version);
/* Writes the value of (key, version), returns its size: at most VALUE_MAX_BYTES. */
size_t value_make(unsigned char *value, uint64_t key, uint64_t version);
/* True when every byte is that of some version of `key`, which goes to *version. */
bool value_check(const unsigned char *value, size_t value_bytes, uint64_t key, uint64_t *version);

/* Memory errors met with readers and writers running; see heal.c. */
struct heal_options {
    const char *path;
    double seconds;
    unsigned readers, writers;
    unsigned pages_per_second;
    uint64_t seed;
};
enum demo_exit heal_run(const struct heal_options *options);

/* Writers that are killed, and what must be there afterwards; see kill.c. */
struct kill_options {
    const char *path;
    const char *oracle;
    double seconds;
    unsigned writers;
    bool expect_recovery;
};
enum demo_exit kill_write(const struct kill_options *options);
enum demo_exit kill_verify(const struct kill_options *options);

#endif
