/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The text format of mdb_dump and db_dump, version 3: a header of name=value lines, then a line
 * for each key and each value, each line one space and the bytes.
 *
 * format=bytevalue: two hexadecimal digits a byte. format=print: printable ASCII as it is, every
 * other byte and the backslash as \ and two digits (both mdb_load and db_load read that form of
 * the backslash).
 */

#include "output.h"
#include "transfer.h"

#include <stdlib.h>

struct text_dump {
    FILE *out;
    bool print;
    struct tally *tally;
    uint64_t total_count, done_count;
};

static void write_byte(FILE *out, unsigned char byte)
{
    putc_unlocked("0123456789abcdef"[byte >> 4], out);
    putc_unlocked("0123456789abcdef"[byte & 15], out);
}

static void write_line(const struct text_dump *dump, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    putc_unlocked(' ', dump->out);
    for (size_t i = 0; i < size; i++) {
        bool is_printable = bytes[i] >= 0x20 && bytes[i] < 0x7f && bytes[i] != '\\';
        if (dump->print && is_printable) {
            putc_unlocked(bytes[i], dump->out);
            continue;
        }
        if (dump->print)
            putc_unlocked('\\', dump->out);
        write_byte(dump->out, bytes[i]);
    }
    putc_unlocked('\n', dump->out);
}

static void report_lost(struct text_dump *dump, const struct pmkv_item *item)
{
    char *key = out_escaped_string(item->key, item->key_bytes);

    tally_fail(dump->tally,
               cli_fail_text(CLI_LOST, "key \"%s\": %s", key, pmkv_strerror(item->status)));
    free(key);
}

static int dump_item(void *arg, const struct pmkv_item *item)
{
    struct text_dump *dump = arg;

    if (item->status != PMKV_OK) {
        report_lost(dump, item);
    } else {
        write_line(dump, item->key, item->key_bytes);
        write_line(dump, item->value, item->value_bytes);
        dump->tally->record_count++;
        dump->tally->byte_count += item->key_bytes + item->value_bytes;
    }
    bool stop = tally_show(dump->tally, "records", ++dump->done_count, dump->total_count);
    return stop || ferror(dump->out);
}

/* mdb_load makes a map of 1 MiB unless the header asks for more: four times the data is enough
 * for its pages. */
static enum pmkv_status write_mapsize(struct pmkv *kv, FILE *out)
{
    struct pmkv_stats stats;
    enum pmkv_status status = pmkv_stats(kv, &stats);

    if (status == PMKV_OK)
        fprintf(out, "mapsize=%llu\n",
                (unsigned long long)(stats.live_bytes * 4 / 4096 * 4096 + (16u << 20)));
    return status;
}

static enum pmkv_status write_header(struct pmkv *kv, FILE *out, const struct text_format *format)
{
    enum pmkv_status status = PMKV_OK;

    fprintf(out, "VERSION=3\nformat=%s\ntype=btree\n", format->print ? "print" : "bytevalue");
    if (format->lmdb)
        status = write_mapsize(kv, out);
    fputs("HEADER=END\n", out);
    return status;
}

void dump_text(struct pmkv *kv, FILE *out, const struct text_format *format, struct tally *tally)
{
    struct text_dump dump = {.out = out, .print = format->print, .tally = tally};
    enum pmkv_status status = write_header(kv, out, format);

    if (status == PMKV_OK)
        status = pmkv_count(kv, &dump.total_count);
    if (status == PMKV_OK)
        status = pmkv_foreach(kv, 0, dump_item, &dump);
    /* Without its last line a reader knows that the dump was cut. */
    if (status == PMKV_OK)
        fputs("DATA=END\n", out);
    else if (status != PMKV_E_STOPPED)
        tally_fail(tally, cli_fail(status));
    if (fflush(out) != 0 || ferror(out))
        tally_fail(tally, cli_fail_errno("write", out == stdout ? "standard output" : "the file"));
}
