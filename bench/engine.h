/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A store behind the driver: libpmkv, a peer, or the bare machine.
 *
 * Rules for an engine: a put, a delete and a batch are durable when they return, as far as the
 * store has a way to (`durable` says what that is); nothing is cached or skipped on its behalf; the
 * driver makes each value and checks each value that it reads.
 */
#ifndef PMKV_BENCH_ENGINE_H
#define PMKV_BENCH_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pmkv.h"

enum engine_status { ENGINE_OK, ENGINE_MISSING, ENGINE_FAILED };

struct engine_setup {
    const char *path; /* a file, or a directory for engines with `directory` */
    bool create;      /* nothing is at the path: make it */
    bool flush_line;  /* flush the lines of shared memory as those of persistent memory */
    bool inject;      /* faults will be injected */
    uint64_t num;     /* keys that will come, about */
    size_t key_bytes, value_bytes;
    unsigned threads;
    uint64_t pool_bytes; /* for engines of fixed size */
    enum pmkv_geometry geometry;
    enum pmkv_backend backend;
};

struct engine_read {
    const void *key;
    void *value;
    size_t value_bytes; /* in: room; out: length */
    enum engine_status status;
};

struct engine_write {
    const void *key, *value;
};

/* Called for each record of a scan, in order; the pointers are good during the call. */
typedef void (*engine_visit_fn)(void *arg, const void *key, size_t key_bytes, const void *value,
                                size_t value_bytes);

/* Counters since open; what an engine does not count stays ENGINE_UNKNOWN. */
#define ENGINE_UNKNOWN UINT64_MAX
struct engine_figures {
    uint64_t media_bytes, fences; /* flushed lines are media_bytes / 64 where lines are flushed */
    uint64_t index_bytes;         /* DRAM of the index */
    uint64_t pool_bytes;          /* all the store has taken of the medium */
    uint64_t used_bytes;          /* of that, not free for new records */
    uint64_t keys;
    uint64_t live_bytes, room_bytes; /* packed records, and the room for records in all segments */
    uint64_t faults, check_failures, rebuilt, repaired, pending, lost; /* since open */
};

struct engine {
    const char *name;
    const char *durable;  /* what is durable on return, and by which setting */
    bool directory;       /* `path` is a directory that is there */
    bool writes_by_calls; /* all it stores goes through write(): the kernel counts it */
    bool survives_kill;   /* what it acknowledged is there after the process died */
    const char *(*version)(void);
    void *(*open)(const struct engine_setup *setup); /* NULL after engine_fail */
    bool (*close)(void *db);
    /* What a thread uses; NULL functions: the database itself. */
    void *(*begin)(void *db);
    void (*end)(void *session);
    enum engine_status (*put)(void *session, const void *key, size_t key_bytes, const void *value,
                              size_t value_bytes);
    enum engine_status (*get)(void *session, const void *key, size_t key_bytes, void *value,
                              size_t *value_bytes); /* in: room, out: length */
    enum engine_status (*del)(void *session, const void *key, size_t key_bytes);
    /* All keys and values of a call have the same lengths. NULL: gets, one after the other. */
    enum engine_status (*get_many)(void *session, struct engine_read *reads, unsigned count,
                                   size_t key_bytes);
    /* All or nothing; NULL: the engine has no batches. */
    enum engine_status (*write)(void *session, const struct engine_write *puts, unsigned count,
                                size_t key_bytes, size_t value_bytes);
    /* Visits up to `count` records from `key` on; the number of them goes to *seen. */
    enum engine_status (*seek)(void *session, const void *key, size_t key_bytes, unsigned count,
                               engine_visit_fn visit, void *arg, unsigned *seen);
    /* Starts a scrub at a rate, 0: full speed, and waits for its end if asked. NULL: the engine has
     * none. */
    enum engine_status (*scrub)(void *db, uint64_t bytes_per_s, bool wait);
    /* Moves the records together. NULL: the engine does not. */
    enum engine_status (*pack)(void *db);
    void (*figures)(void *db, struct engine_figures *out); /* fields are ENGINE_UNKNOWN before */
    /* Damages the record of a key. NULL: the engine cannot. */
    enum engine_status (*inject)(void *db, enum pmkv_inject_kind kind, const void *key,
                                 size_t key_bytes, uint64_t seed);
};

extern const struct engine engine_pmkv, engine_pmkv_ordered, engine_limit;
extern const struct engine peer_lmdb, peer_rocksdb, peer_leveldb, peer_tkrzw, peer_sqlite,
    peer_pmemobj;

/* NULL when there is no engine of that name; *missing says that it exists and is not built in. */
const struct engine *engine_find(const char *name, bool *missing);
/* Names that are built in, in the order of the reports; NULL after the last. */
const char *engine_name(unsigned i);

/* Remembers what went wrong, for this thread. Returns ENGINE_FAILED. */
enum engine_status engine_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *engine_failure(void);
/* Copies a value out as `get` must; fails when there is no room. */
enum engine_status engine_copy_out(void *to, size_t *bytes, const void *from, size_t from_bytes);

#endif
