/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What this machine allows, in the same process and minute, on the same amount of data: the bare
 * memory work of a put and of a get without a store around it.
 *
 *   lim_append1     build the record (key, value, checksum), non-temporal stores, one fence
 *   lim_append16    the same with a fence every 16 records
 *   lim_get_loop    one index line, then the record it names: copy, checksum; unrelated keys
 *   lim_get_serial  the same, each key known only after the read before it
 *   lim_line        one index line, each known only after the line before it: one cache miss
 *   lim_copy        the value of a record of unrelated keys, by memcpy: large ones are what counts
 *   lim_read        all bytes of the records in order, read and added up: read bandwidth
 *   lim_open        an open: entries (key, position) in order, each key hashed, its line of an
 * empty index prefetched and filled; always one thread harness         making the key and the value
 * and nothing else: it is part of every other row
 *
 * The records stand in a file beside the pool (removed at once), so on the same kind of memory, in
 * huge pages where the store has them; the index lines stand in anonymous memory with huge pages,
 * as the index of the store does.
 *
 * On shared memory the store flushes nothing unless --flush=line: only then are lim_append1 and a
 * put the same kind of work. The checksum is XXH3 as compiled for any x86-64: from 241 bytes on,
 * faster ones exist, so with values over about 200 bytes these limits are not the lowest possible.
 */
#ifndef PMKV_BENCH_LIMIT_H
#define PMKV_BENCH_LIMIT_H

#include <stdbool.h>

#include "measure.h"
#include "options.h"

enum limit_kind {
    LIMIT_APPEND1,
    LIMIT_APPEND16,
    LIMIT_GET_LOOP,
    LIMIT_GET_SERIAL,
    LIMIT_LINE,
    LIMIT_COPY,
    LIMIT_READ,
    LIMIT_HARNESS,
    LIMIT_OPEN, /* last: its entries take the place of the records */
    LIMIT_KINDS
};
const char *limit_name(enum limit_kind kind);
unsigned limit_ops_per_call(enum limit_kind kind);
/* What an operation reads, where bandwidth is what counts; else 0. */
uint64_t limit_bytes_per_op(const struct bench_options *opts, enum limit_kind kind);

/* Whole lines of an aligned buffer, past the caches; and what orders them. */
void limit_store_lines(char *to, const char *from, size_t bytes);
void limit_store_fence(void);

/* Maps a file of zeros whole, for reading and writing, in the pages that a pool beside it gets:
 * huge ones on shared memory, where the kernel gives them. NULL with errno. */
char *limit_map_file(int fd, size_t bytes);

/* Called for each limit as it is known. */
typedef void (*limit_done_fn)(void *arg, enum limit_kind kind, const struct measure_result *result);

/* False after printing why. */
bool limit_run(const struct bench_options *opts, limit_done_fn done, void *arg);

#endif
