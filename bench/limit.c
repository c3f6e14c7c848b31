/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#define _GNU_SOURCE /* mkostemp */
#include "limit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <emmintrin.h>
#endif

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "data.h"

/*
 * The index: one line of eight words for five keys, about the load of a hash index that grows. The
 * key's place in it is a second permutation, so no search is needed: word = number of the record,
 * plus one.
 */
enum { LINE_BYTES = 64, LINE_WORDS = 8, LINE_KEYS = 5, GROUP_RECORDS = 16, AHEAD = 16 };

/* A record: checksum of all after it, two words that stand for a header, key, value. */
enum { CHECK_BYTES = 8, HEADER_BYTES = 24 };

struct limit {
    const struct bench_options *opts;
    struct permutation fill_order, read_order, index_order;
    size_t record_bytes, stride_bytes; /* the stride is whole lines */
    char *records;
    uint64_t *lines;
    size_t records_bytes, lines_bytes;
    uint64_t line_count;
    uint64_t zero; /* the program does not know that: makes one read wait for the one before */
};

static const char *const limit_names[LIMIT_KINDS] = {
    [LIMIT_APPEND1] = "lim_append1",   [LIMIT_APPEND16] = "lim_append16",
    [LIMIT_GET_LOOP] = "lim_get_loop", [LIMIT_GET_SERIAL] = "lim_get_serial",
    [LIMIT_LINE] = "lim_line",         [LIMIT_COPY] = "lim_copy",
    [LIMIT_READ] = "lim_read",         [LIMIT_HARNESS] = "harness",
    [LIMIT_OPEN] = "lim_open",
};

const char *limit_name(enum limit_kind kind)
{
    return limit_names[kind];
}

unsigned limit_ops_per_call(enum limit_kind kind)
{
    return kind == LIMIT_APPEND16 ? GROUP_RECORDS : 1;
}

static size_t stride_of(size_t record_bytes)
{
    return (record_bytes + LINE_BYTES - 1) & ~(size_t)(LINE_BYTES - 1);
}

uint64_t limit_bytes_per_op(const struct bench_options *opts, enum limit_kind kind)
{
    size_t record = HEADER_BYTES + opts->key_bytes + opts->value_bytes;
    return kind == LIMIT_COPY ? opts->value_bytes : kind == LIMIT_READ ? stride_of(record) : 0;
}

void limit_store_lines(char *to, const char *from, size_t bytes)
{
#if defined(__x86_64__)
    for (size_t i = 0; i < bytes; i += 16)
        _mm_stream_si128((__m128i *)(void *)(to + i),
                         _mm_load_si128((const __m128i *)(const void *)(from + i)));
#else
    memcpy(to, from, bytes);
#endif
}

void limit_store_fence(void)
{
#if defined(__x86_64__)
    _mm_sfence();
#else
    __sync_synchronize();
#endif
}

static void record_build(const struct limit *lim, char *out, uint64_t number, uint64_t sequence)
{
    const struct bench_options *opts = lim->opts;
    uint64_t lengths = (uint64_t)opts->key_bytes << 32 | opts->value_bytes;
    memcpy(out + CHECK_BYTES, &sequence, 8);
    memcpy(out + CHECK_BYTES + 8, &lengths, 8);
    key_format(out + HEADER_BYTES, opts->key_bytes, number);
    value_fill(out + HEADER_BYTES + opts->key_bytes, opts->value_bytes, number, 1);
    uint64_t check = XXH3_64bits(out + CHECK_BYTES, lim->record_bytes - CHECK_BYTES);
    memcpy(out, &check, CHECK_BYTES);
}

static void append(struct worker *w, uint64_t first, uint64_t count, unsigned records_per_fence)
{
    const struct limit *lim = w->shared;
    for (uint64_t i = first; i < first + count; i++) {
        record_build(lim, w->scratch, permutation_at(&lim->fill_order, i), i + 1);
        limit_store_lines(lim->records + i * lim->stride_bytes, w->scratch, lim->stride_bytes);
        if ((i - first + 1) % records_per_fence == 0)
            limit_store_fence();
    }
    limit_store_fence();
}

static void run_append1(struct worker *w, uint64_t first, uint64_t count)
{
    append(w, first, count, 1);
}

static void run_append16(struct worker *w, uint64_t first, uint64_t count)
{
    append(w, first, count, GROUP_RECORDS);
}

static void run_harness(struct worker *w, uint64_t first, uint64_t count)
{
    const struct limit *lim = w->shared;
    char *key = w->scratch, *value = key + lim->opts->key_bytes;
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t number = permutation_at(&lim->fill_order, i);
        key_format(key, lim->opts->key_bytes, number);
        value_fill(value, lim->opts->value_bytes, number, 1);
        __asm__ volatile("" : : "r"(key) : "memory"); /* the stores are wanted */
    }
}

/* Reads one key; the result is the checksum of what was read, 0 when it is wrong. */
static inline uint64_t get_one(const struct limit *lim, struct worker *w, uint64_t number)
{
    const struct bench_options *opts = lim->opts;
    char *copy = w->scratch;
    uint64_t place = permutation_at(&lim->index_order, number);
    uint64_t record = lim->lines[place / LINE_KEYS * LINE_WORDS + place % LINE_KEYS] - 1;
    memcpy(copy, lim->records + record * lim->stride_bytes, lim->record_bytes);
    uint64_t stored;
    memcpy(&stored, copy, CHECK_BYTES);
    uint64_t check = XXH3_64bits(copy + CHECK_BYTES, lim->record_bytes - CHECK_BYTES);
    if (check != stored || !value_check(copy + HEADER_BYTES + opts->key_bytes, opts->value_bytes,
                                        number, 1, w->full_check)) {
        worker_fail(w, "the limit read a wrong record for key %llu", (unsigned long long)number);
        return 0;
    }
    return check;
}

static void run_get_loop(struct worker *w, uint64_t first, uint64_t count)
{
    const struct limit *lim = w->shared;
    for (uint64_t i = first; i < first + count; i++)
        get_one(lim, w, permutation_at(&lim->read_order, i));
}

static void run_get_serial(struct worker *w, uint64_t first, uint64_t count)
{
    const struct limit *lim = w->shared;
    uint64_t zero = lim->zero, last = 0;
    for (uint64_t i = first; i < first + count; i++)
        last = get_one(lim, w, permutation_at(&lim->read_order, i + (last & zero)));
}

/* Word of the index that names the record of a key. */
static inline uint64_t index_word(const struct limit *lim, uint64_t number)
{
    uint64_t place = permutation_at(&lim->index_order, number);
    return lim->lines[place / LINE_KEYS * LINE_WORDS + place % LINE_KEYS];
}

static void run_line(struct worker *w, uint64_t first, uint64_t count)
{
    const struct limit *lim = w->shared;
    uint64_t last = 0;
    for (uint64_t i = first; i < first + count; i++) {
        last = index_word(lim, permutation_at(&lim->read_order, i + (last & lim->zero)));
        if (last == 0)
            worker_fail(w, "the limit found an empty word of the index");
    }
}

static void run_copy(struct worker *w, uint64_t first, uint64_t count)
{
    const struct limit *lim = w->shared;
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t record = permutation_at(&lim->read_order, i);
        memcpy(w->scratch,
               lim->records + record * lim->stride_bytes + HEADER_BYTES + lim->opts->key_bytes,
               lim->opts->value_bytes);
        __asm__ volatile("" : : "r"(w->scratch) : "memory"); /* the copy is wanted */
    }
}

static void run_read(struct worker *w, uint64_t first, uint64_t count)
{
    const struct limit *lim = w->shared;
    const char *at = lim->records + first * lim->stride_bytes;
    uint64_t sum[4] = {0}, words[8];
    for (const char *end = at + count * lim->stride_bytes; at < end; at += LINE_BYTES) {
        memcpy(words, at, LINE_BYTES);
        for (unsigned i = 0; i < 4; i++)
            sum[i] += words[i] ^ words[i + 4];
    }
    __asm__ volatile("" : : "r"(sum[0] + sum[1] + sum[2] + sum[3])); /* the sum is wanted */
}

/* The position before the key. */
static size_t entry_bytes(const struct limit *lim)
{
    return 8 + lim->opts->key_bytes;
}

/* Takes the first free word of the key's line or of those after it, or the word of that key: equal
 * tags stand for it here. */
static void index_insert(struct limit *lim, uint64_t hash, uint64_t position)
{
    uint64_t line = (hash >> 32) * lim->line_count >> 32;
    for (;; line = line + 1 == lim->line_count ? 0 : line + 1)
        for (unsigned i = 0; i < LINE_WORDS; i++) {
            uint64_t *word = &lim->lines[line * LINE_WORDS + i];
            if (*word != 0 && *word >> 48 != (hash & 0xffff))
                continue;
            *word = (hash & 0xffff) << 48 | position;
            return;
        }
}

static void run_open(struct worker *w, uint64_t first, uint64_t count)
{
    struct limit *lim = w->shared;
    size_t bytes = entry_bytes(lim);
    uint64_t hash[AHEAD];
    for (uint64_t i = first, here; i < first + count; i += here) {
        const char *entry = lim->records + i * bytes;
        here = first + count - i < AHEAD ? first + count - i : AHEAD;
        for (uint64_t k = 0; k < here; k++) {
            hash[k] = XXH3_64bits(entry + k * bytes + 8, bytes - 8);
            uint64_t line = (hash[k] >> 32) * lim->line_count >> 32;
            __builtin_prefetch(&lim->lines[line * LINE_WORDS], 1);
        }
        for (uint64_t k = 0; k < here; k++) {
            uint64_t position;
            memcpy(&position, entry + k * bytes, 8);
            index_insert(lim, hash[k], position);
        }
    }
}

static bool scratch_setup(struct worker *w)
{
    const struct limit *lim = w->shared;
    w->scratch = aligned_alloc(LINE_BYTES, lim->stride_bytes);
    if (w->scratch)
        memset(w->scratch, 0xa5, lim->stride_bytes);
    return w->scratch != NULL;
}

static void scratch_teardown(struct worker *w)
{
    free(w->scratch);
    w->scratch = NULL;
}

/* A file beside the pool that has no name any more; -1 with errno. */
static int nameless_file(const char *pool_path, size_t bytes)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s.limit.XXXXXX", pool_path) >= (int)sizeof path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return -1;
    unlink(path);
    int error = posix_fallocate(fd, 0, (off_t)bytes);
    if (error != 0) {
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

char *limit_map_file(int fd, size_t bytes)
{
    size_t huge = 2u << 20;
    char *room = mmap(NULL, bytes + huge, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED)
        return NULL;
    char *at = room + (-(uintptr_t)room & (huge - 1));
    if (mmap(at, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        return NULL;
    for (size_t i = 0; i < bytes; i += 4096)
        at[i] = 1;
    (void)madvise(at, bytes & ~(huge - 1), MADV_COLLAPSE);
    return at;
}

static bool map_records(struct limit *lim)
{
    lim->records_bytes = (lim->opts->num * lim->stride_bytes + 4095) & ~(size_t)4095;
    int fd = nameless_file(lim->opts->pool_path, lim->records_bytes);
    if (fd < 0)
        return false;
    lim->records = limit_map_file(fd, lim->records_bytes);
    int error = errno;
    close(fd);
    errno = error;
    if (!lim->records)
        return false;
    for (size_t i = 0; i < lim->records_bytes; i += 4096) /* map every page, for writing */
        lim->records[i] = 1;
    return true;
}

static bool map_lines(struct limit *lim)
{
    size_t huge = 2u << 20;
    lim->line_count = (lim->opts->num + LINE_KEYS - 1) / LINE_KEYS;
    lim->lines_bytes = (lim->line_count * LINE_BYTES + huge - 1) & ~(huge - 1);
    void *at =
        mmap(NULL, lim->lines_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return false;
    madvise(at, lim->lines_bytes, MADV_HUGEPAGE);
    lim->lines = at;
    return true;
}

static void fill_lines(struct limit *lim)
{
    for (uint64_t i = 0; i < lim->opts->num; i++) {
        uint64_t place = permutation_at(&lim->index_order, permutation_at(&lim->fill_order, i));
        lim->lines[place / LINE_KEYS * LINE_WORDS + place % LINE_KEYS] = i + 1;
    }
}

/* Entries of all keys where the records were, and an index that nobody has touched. */
static bool begin_open(struct limit *lim)
{
    for (uint64_t i = 0; i < lim->opts->num; i++) {
        char *entry = lim->records + i * entry_bytes(lim);
        uint64_t position = i + 1;
        memcpy(entry, &position, 8);
        key_format(entry + 8, lim->opts->key_bytes, permutation_at(&lim->fill_order, i));
    }
    munmap(lim->lines, lim->lines_bytes);
    lim->lines = NULL;
    if (map_lines(lim))
        return true;
    fprintf(stderr, "pmkv-bench: the limits: no memory for an index: %s\n", strerror(errno));
    return false;
}

static bool limit_init(struct limit *lim, const struct bench_options *opts)
{
    static volatile uint64_t zero;
    memset(lim, 0, sizeof *lim);
    lim->opts = opts;
    lim->zero = zero;
    lim->record_bytes = HEADER_BYTES + opts->key_bytes + opts->value_bytes;
    lim->stride_bytes = stride_of(lim->record_bytes);
    permutation_init(&lim->fill_order, opts->num, opts->seed + 101);
    permutation_init(&lim->read_order, opts->num, opts->seed + 202);
    permutation_init(&lim->index_order, opts->num, opts->seed + 303);
    if (map_records(lim) && map_lines(lim)) {
        fill_lines(lim);
        return true;
    }
    fprintf(stderr, "pmkv-bench: the limits: no memory for %llu records: %s\n",
            (unsigned long long)opts->num, strerror(errno));
    return false;
}

static void limit_free(struct limit *lim)
{
    if (lim->records)
        munmap(lim->records, lim->records_bytes);
    if (lim->lines)
        munmap(lim->lines, lim->lines_bytes);
}

bool limit_run(const struct bench_options *opts, limit_done_fn done, void *arg)
{
    static void (*const runs[LIMIT_KINDS])(struct worker *, uint64_t, uint64_t) = {
        [LIMIT_APPEND1] = run_append1,   [LIMIT_APPEND16] = run_append16,
        [LIMIT_GET_LOOP] = run_get_loop, [LIMIT_GET_SERIAL] = run_get_serial,
        [LIMIT_LINE] = run_line,         [LIMIT_COPY] = run_copy,
        [LIMIT_READ] = run_read,         [LIMIT_HARNESS] = run_harness,
        [LIMIT_OPEN] = run_open,
    };
    struct limit lim;
    struct measure_result *result = malloc(sizeof *result);
    bool good = result && limit_init(&lim, opts);
    for (unsigned kind = 0; good && kind < LIMIT_KINDS; kind++) {
        if (kind == LIMIT_OPEN && !begin_open(&lim)) {
            good = false;
            break;
        }
        struct job job = {.run = runs[kind],
                          .setup = scratch_setup,
                          .teardown = scratch_teardown,
                          .shared = &lim,
                          .ops = opts->num,
                          .ops_per_call = limit_ops_per_call((enum limit_kind)kind),
                          .threads = kind == LIMIT_OPEN ? 1 : opts->threads};
        good = measure_run(&job, result);
        done(arg, (enum limit_kind)kind, result);
    }
    if (result)
        limit_free(&lim);
    free(result);
    return good;
}
