/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Moving whole pools in and out: directories of files, and the text format of mdb_dump.
 *
 * Each of the four functions goes on after an error that concerns one record only, having said so
 * on stderr, and stops at an error that concerns all of them. What happened is in the tally.
 */
#ifndef PMKV_CLI_TRANSFER_H
#define PMKV_CLI_TRANSFER_H

#include "exit_code.h"
#include "progress.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct tally {
    uint64_t record_count;  /* moved */
    uint64_t byte_count;    /* of their keys and values */
    uint64_t skipped_count; /* entries of a directory that are no regular files */
    uint64_t failed_count;  /* named on stderr, not moved */
    enum cli_exit code;     /* the worst that happened */
    struct progress progress;
};

/* Notes a failure that was reported already. */
void tally_fail(struct tally *tally, enum cli_exit code);
/* Shows progress; true when the work shall stop. */
bool tally_show(struct tally *tally, const char *what, uint64_t done, uint64_t total);

/* Stores every regular file under `directory` under its path relative to it. */
void load_directory(struct pmkv *kv, const char *directory, struct tally *tally);
/* Writes every record to the file its key names, relative to `directory`. */
void dump_directory(struct pmkv *kv, const char *directory, struct tally *tally);
/* The text format; `in_bytes` is the length of the input, 0 when it is not known. */
void load_text(struct pmkv *kv, FILE *in, uint64_t in_bytes, struct tally *tally);

struct text_format {
    bool print; /* format=print instead of format=bytevalue */
    bool lmdb;  /* add a line mapsize=, which mdb_load wants and db_load refuses */
};
void dump_text(struct pmkv *kv, FILE *out, const struct text_format *format, struct tally *tally);

#endif
