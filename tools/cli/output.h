/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What verbs print: text for people, JSON for programs.
 *
 * JSON: one object with "pmkv_schema": 1 at its top; sizes are integers in bytes, times are
 * RFC 3339 in UTC, bytes that came from a user (keys, values) are {"text": ..} when they are valid
 * UTF-8 without NUL and {"base64": ..} otherwise. Members are added, never renamed.
 */
#ifndef PMKV_CLI_OUTPUT_H
#define PMKV_CLI_OUTPUT_H

#include "exit_code.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

enum { OUT_TEXT_SIZE = 48 };
/* Room for one formatted number, handed around by value so that calls nest in a printf. */
struct out_text {
    char text[OUT_TEXT_SIZE];
};

struct out_text out_size(uint64_t bytes);        /* 41.3GiB */
struct out_text out_duration(uint64_t seconds);  /* 00:02:11 */
struct out_text out_rfc3339(uint64_t unix_time); /* 2026-11-22T04:00:13Z */
struct out_text out_local_time(uint64_t unix_time);
/* a/b in percent, 0 when b is 0. */
unsigned out_percent(uint64_t a, uint64_t b);

/* Prints bytes of a user so that they stay on one line: UTF-8 as it is, \n \t \\ \xNN the rest. */
void out_escaped(FILE *to, const void *data, size_t size);
/* The same as an allocated string, to be freed. */
char *out_escaped_string(const void *data, size_t size);

/* Prints "  label: text", broken into lines of 80 columns under each other. */
void out_field(const char *label, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The escape sequences around a coloured word; empty unless stdout is a terminal without NO_COLOR.
 */
enum out_colour { OUT_GREEN, OUT_YELLOW, OUT_RED, OUT_PLAIN };
const char *out_colour(enum out_colour colour);

/* A new document with pmkv_schema and the pool. */
json_t *out_document(void);
/* Prints the document and frees it. */
enum cli_exit out_print(json_t *document);
/* Prints one object on one line (--jsonl) and frees it. */
enum cli_exit out_print_line(json_t *object);

/* Setters that own `value`; running out of memory ends the process. */
void out_set(json_t *object, const char *name, json_t *value);
void out_set_u64(json_t *object, const char *name, uint64_t value);
void out_set_bool(json_t *object, const char *name, bool value);
void out_set_text(json_t *object, const char *name, const char *text);
/* null when the time is 0. */
void out_set_time(json_t *object, const char *name, uint64_t unix_time);
/* {"text":..} or {"base64":..} */
json_t *out_user_bytes(const void *data, size_t size);

#endif
