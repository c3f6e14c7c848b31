/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Reads the text format of text_dump.c, byte by byte: a line is as long as its value, so no line
 * is ever held as text. Every error names its line. What stands before the error is loaded.
 */

#include "bulk.h"
#include "bytes.h"

#include <errno.h>
#include <string.h>

struct text_load {
    FILE *in;
    uint64_t line; /* of the input, from 1 */
    bool print;
    struct tally *tally;
    uint64_t in_bytes;
};

enum line_kind { LINE_RECORD, LINE_END, LINE_BAD };

/* Reports bad input at the line at hand; always false. */
static bool bad_line(struct text_load *load, const char *what)
{
    enum cli_exit code;

    if (ferror(load->in))
        code = cli_fail_errno("read", "the dump");
    else
        code = cli_fail_text(CLI_USAGE, "line %llu: %s", (unsigned long long)load->line, what);
    tally_fail(load->tally, code);
    return false;
}

/* --- header ----------------------------------------------------------------------------------- */

static bool take_format(struct text_load *load, const char *value)
{
    load->print = strcmp(value, "print") == 0;
    if (load->print || strcmp(value, "bytevalue") == 0)
        return true;
    return bad_line(load, "the format is neither bytevalue nor print");
}

/* Names that say nothing about the records (mapsize, db_pagesize, ...) are passed over. */
static bool take_header_line(struct text_load *load, const char *line)
{
    if (strncmp(line, "format=", 7) == 0)
        return take_format(load, line + 7);
    if (strncmp(line, "type=", 5) == 0 && strcmp(line + 5, "btree") != 0 &&
        strcmp(line + 5, "hash") != 0)
        return bad_line(load, "only dumps of type btree and hash have keys to load");
    if (strcmp(line, "duplicates=1") == 0 || strcmp(line, "dupsort=1") == 0)
        return bad_line(load, "the dump has several values under one key, a pool has one");
    if (!strchr(line, '='))
        return bad_line(load, "not a header line: expected NAME=VALUE or HEADER=END");
    return true;
}

static bool read_header_line(struct text_load *load, char *line, size_t size)
{
    load->line++;
    if (!fgets(line, (int)size, load->in))
        return bad_line(load, load->line == 1 ? "the input is empty"
                                              : "the input ends before HEADER=END");
    size_t length = strlen(line);
    if (length == 0 || line[length - 1] != '\n')
        return bad_line(load, "not a header line");
    line[length - 1] = '\0';
    return true;
}

static bool read_header(struct text_load *load)
{
    char line[1024];

    if (!read_header_line(load, line, sizeof(line)))
        return false;
    if (strcmp(line, "VERSION=3") != 0)
        return bad_line(load, "not a dump of version 3: expected VERSION=3");
    for (;;) {
        if (!read_header_line(load, line, sizeof(line)))
            return false;
        if (strcmp(line, "HEADER=END") == 0)
            return true;
        if (!take_header_line(load, line))
            return false;
    }
}

/* --- records ---------------------------------------------------------------------------------- */

static int read_hex_byte(struct text_load *load, int first)
{
    int high = hex_digit(first);
    int low = high < 0 ? -1 : hex_digit(getc_unlocked(load->in));

    return low < 0 ? -1 : high << 4 | low;
}

/* The byte that starts with `c`, or -1. */
static int decode_byte(struct text_load *load, int c)
{
    if (!load->print)
        return read_hex_byte(load, c);
    if (c != '\\')
        return c;
    c = getc_unlocked(load->in);
    return c == '\\' ? c : read_hex_byte(load, c);
}

/* One byte more than `limit` is kept: the library says then that it is too much. */
static bool read_bytes(struct text_load *load, struct bytes *out, size_t limit)
{
    for (;;) {
        int c = getc_unlocked(load->in);
        if (c == '\n')
            return true;
        if (c == EOF)
            return bad_line(load, "the input ends in the middle of a line");
        int byte = decode_byte(load, c);
        if (byte < 0)
            return bad_line(
                load, load->print ? "a backslash without two hexadecimal digits (mdb_dump -p of "
                                    "LMDB 0.9 writes such: dump without -p)"
                                  : "not pairs of hexadecimal digits");
        if (out->size <= limit)
            bytes_push(out, (unsigned char)byte);
    }
}

static enum line_kind read_end(struct text_load *load)
{
    char rest[16] = "";

    if (fgets(rest, sizeof(rest), load->in) &&
        (strcmp(rest, "ATA=END\n") == 0 || strcmp(rest, "ATA=END") == 0))
        return LINE_END;
    bad_line(load, "expected a line that starts with a space, or DATA=END");
    return LINE_BAD;
}

static enum line_kind read_line(struct text_load *load, struct bytes *out, size_t limit)
{
    int c = getc_unlocked(load->in);

    load->line++;
    out->size = 0;
    bytes_reserve(out, 1);
    if (c == ' ')
        return read_bytes(load, out, limit) ? LINE_RECORD : LINE_BAD;
    if (c == 'D')
        return read_end(load);
    bad_line(load, c == EOF ? "the input ends before DATA=END"
                            : "expected a line that starts with a space, or DATA=END");
    return LINE_BAD;
}

static bool read_value(struct text_load *load, struct bytes *value)
{
    enum line_kind kind = read_line(load, value, PMKV_MAX_VALUE_BYTES);

    if (kind == LINE_END)
        return bad_line(load, "the key before this line has no value");
    return kind == LINE_RECORD;
}

static bool show_progress(struct text_load *load)
{
    uint64_t done = load->in_bytes ? (uint64_t)ftello(load->in) : load->tally->record_count;

    return tally_show(load->tally, load->in_bytes ? "bytes" : "records", done, load->in_bytes);
}

/* False when the pool refused more. */
static bool read_records(struct text_load *load, struct bulk *bulk)
{
    struct bytes key = {0}, value = {0};
    uint64_t seen_count = 0;
    bool go_on = true;

    while (go_on && read_line(load, &key, PMKV_MAX_KEY_BYTES) == LINE_RECORD) {
        uint64_t key_line = load->line;
        if (!read_value(load, &value))
            break;
        go_on = bulk_put(bulk, key.data, key.size, value.data, value.size, key_line);
        if (++seen_count % 256 == 0 && show_progress(load))
            break;
    }
    bytes_free(&key);
    bytes_free(&value);
    return go_on;
}

/* mdb_dump -a and db_dump print several databases one after the other. */
static void expect_end(struct text_load *load)
{
    load->line++;
    if (getc(load->in) != EOF)
        bad_line(load, "more follows after DATA=END; load several databases one by one");
}

void load_text(struct pmkv *kv, FILE *in, uint64_t in_bytes, struct tally *tally)
{
    struct text_load load = {.in = in, .tally = tally, .in_bytes = in_bytes};
    struct bulk bulk;

    if (!read_header(&load) || !bulk_start(&bulk, kv, tally))
        return;
    bulk_end(&bulk, read_records(&load, &bulk));
    if (tally->code == CLI_OK && !progress_interrupted())
        expect_end(&load);
}
