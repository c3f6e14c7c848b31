/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#define _GNU_SOURCE
#include "output.h"

#include "bytes.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_COLUMNS = 80, LABEL_COLUMNS = 9 };

struct out_text out_size(uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    struct out_text out;
    double number = (double)bytes;
    size_t unit = 0;

    while (number >= 1000 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        number /= 1024;
        unit++;
    }
    int digits = unit == 0 ? 0 : number < 10 ? 2 : number < 100 ? 1 : 0;
    snprintf(out.text, sizeof(out.text), "%.*f%s", digits, number, units[unit]);
    return out;
}

struct out_text out_duration(uint64_t seconds)
{
    struct out_text out;
    unsigned long long days = seconds / 86400;
    unsigned in_day = (unsigned)(seconds % 86400);

    if (days)
        snprintf(out.text, sizeof(out.text), "%llu day%s %02u:%02u:%02u", days, days > 1 ? "s" : "",
                 in_day / 3600, in_day / 60 % 60, in_day % 60);
    else
        snprintf(out.text, sizeof(out.text), "%02u:%02u:%02u", in_day / 3600, in_day / 60 % 60,
                 in_day % 60);
    return out;
}

struct out_text out_rfc3339(uint64_t unix_time)
{
    struct out_text out;
    time_t seconds = (time_t)unix_time;
    struct tm tm;

    if (!gmtime_r(&seconds, &tm) || !strftime(out.text, sizeof(out.text), "%FT%TZ", &tm))
        snprintf(out.text, sizeof(out.text), "1970-01-01T00:00:00Z");
    return out;
}

struct out_text out_local_time(uint64_t unix_time)
{
    struct out_text out;
    time_t seconds = (time_t)unix_time;
    struct tm tm;

    if (!localtime_r(&seconds, &tm) || !strftime(out.text, sizeof(out.text), "%F %T", &tm))
        snprintf(out.text, sizeof(out.text), "unknown time");
    return out;
}

unsigned out_percent(uint64_t a, uint64_t b)
{
    return b == 0 ? 0 : (unsigned)((double)a * 100 / (double)b);
}

/* Length of the UTF-8 sequence at `s`, 0 when there is none (overlong forms, surrogates and what
 * lies beyond U+10FFFF are none: jansson refuses them too). */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;

    if (length == 1)
        return 1;
    if (s[0] < 0xc2 || s[0] > 0xf4 || length > left)
        return 0;
    uint32_t point = s[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        point = point << 6 | (s[i] & 0x3f);
    }
    bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < smallest[length] || point > 0x10ffff || is_surrogate ? 0 : length;
}

static void escape_byte(FILE *to, unsigned char byte)
{
    switch (byte) {
    case '\n':
        fputs("\\n", to);
        break;
    case '\t':
        fputs("\\t", to);
        break;
    case '\\':
        fputs("\\\\", to);
        break;
    default:
        fprintf(to, "\\x%02x", byte);
    }
}

/* C0, DEL and C1 controls: a terminal must not act on what a key says. */
static bool is_control(const unsigned char *s, size_t length)
{
    return (length == 1 && (s[0] < 0x20 || s[0] == 0x7f)) ||
           (length == 2 && s[0] == 0xc2 && s[1] < 0xa0);
}

void out_escaped(FILE *to, const void *data, size_t size)
{
    const unsigned char *s = data;

    for (size_t at = 0; at < size;) {
        size_t length = utf8_length(s + at, size - at);
        if (length == 0 || s[at] == '\\' || is_control(s + at, length))
            escape_byte(to, s[at++]);
        else
            at += fwrite(s + at, 1, length, to) == length ? length : size;
    }
}

char *out_escaped_string(const void *data, size_t size)
{
    char *text = NULL;
    size_t length = 0;
    FILE *to = open_memstream(&text, &length);

    if (!to)
        cli_out_of_memory();
    out_escaped(to, data, size);
    if (fclose(to) != 0)
        cli_out_of_memory();
    return text;
}

/* Prints words of `text`, starting new lines under its first column. */
static void print_wrapped(const char *text)
{
    int column = LABEL_COLUMNS;

    while (*text) {
        int spaces = (int)strspn(text, " \n");
        int word = (int)strcspn(text + spaces, " \n");
        bool breaks = column > LABEL_COLUMNS && column + spaces + word > LINE_COLUMNS;
        if (breaks) {
            printf("\n%*s", LABEL_COLUMNS, "");
            column = LABEL_COLUMNS;
        }
        printf("%*s%.*s", breaks ? 0 : spaces, "", word, text + spaces);
        column += (breaks ? 0 : spaces) + word;
        text += spaces + word;
    }
    putchar('\n');
}

void out_field(const char *label, const char *format, ...)
{
    char *text;
    va_list args;

    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        cli_out_of_memory();
    printf("%*s: ", LABEL_COLUMNS - 2, label);
    print_wrapped(text);
    free(text);
}

const char *out_colour(enum out_colour colour)
{
    static const char *const sequences[] = {"\033[32m", "\033[33m", "\033[1;31m", "\033[0m"};
    const char *no_colour = getenv("NO_COLOR");

    if ((no_colour && no_colour[0]) || !isatty(STDOUT_FILENO))
        return "";
    return sequences[colour];
}

json_t *out_document(void)
{
    json_t *document = json_object();

    out_set_u64(document, "pmkv_schema", 1);
    if (cli_pool())
        out_set_text(document, "pool", cli_pool());
    return document;
}

static enum cli_exit print_json(json_t *value, size_t flags)
{
    int failed = json_dumpf(value, stdout, flags);

    json_decref(value);
    if (failed || putchar('\n') == EOF)
        return cli_fail_errno("write", "standard output");
    return CLI_OK;
}

enum cli_exit out_print(json_t *document)
{
    return print_json(document, JSON_INDENT(2));
}

enum cli_exit out_print_line(json_t *object)
{
    return print_json(object, JSON_COMPACT);
}

void out_set(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value) != 0)
        cli_out_of_memory();
}

void out_set_u64(json_t *object, const char *name, uint64_t value)
{
    out_set(object, name, json_integer((json_int_t)value));
}

void out_set_bool(json_t *object, const char *name, bool value)
{
    out_set(object, name, json_boolean(value));
}

/* Paths need not be UTF-8: then they are shown escaped. */
void out_set_text(json_t *object, const char *name, const char *text)
{
    json_t *value = json_string(text);

    if (!value) {
        char *escaped = out_escaped_string(text, strlen(text));
        value = json_string(escaped);
        free(escaped);
    }
    out_set(object, name, value);
}

void out_set_time(json_t *object, const char *name, uint64_t unix_time)
{
    if (unix_time == 0)
        out_set(object, name, json_null());
    else
        out_set_text(object, name, out_rfc3339(unix_time).text);
}

json_t *out_user_bytes(const void *data, size_t size)
{
    json_t *object = json_object();
    json_t *text = NULL;

    if (size == 0)
        text = json_string("");
    else if (!memchr(data, 0, size))
        text = json_stringn(data, size);
    if (text) {
        out_set(object, "text", text);
        return object;
    }
    char *encoded = base64_of(data, size);
    out_set_text(object, "base64", encoded);
    free(encoded);
    return object;
}
