/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/**
 * @file pmkv.h
 *
 * libpmkv: an embeddable key-value store for memory that can lose parts of itself.
 *
 * THE MODEL. A pool is one file or device. It holds records: a key of 1 to 65,535 bytes and a value
 * of 0 bytes to 1 GiB. A pool is opened by one process at a time for writing (an OFD lock enforces
 * it); within that process any number of threads may use one `struct pmkv` without registering.
 *
 * DURABILITY. When pmkv_put, pmkv_delete, pmkv_write or a conditional one returns PMKV_OK the
 * change survives what the pool's durability class (struct pmkv_info) says: `power loss` on DAX
 * file systems, device DAX and ordinary files, `process death` on shared memory. An operation is
 * there entirely or not at all after a crash; a batch as a whole. An operation that returned an
 * error is not there later either, except after PMKV_E_IO and PMKV_E_MEDIA, whose outcome is
 * unknown until the next open.
 *
 * MEMORY ERRORS. The library never lets poison in its pool kill the process. It owes that to a
 * SIGBUS handler which it installs at the first open and which passes every signal that is not ours
 * to the handler before it, unchanged. What an embedding program owes the library:
 *   - threads that call the library must not block SIGBUS (the kernel kills a thread that takes a
 *     synchronous SIGBUS while it is blocked; the library checks each thread once and unblocks it);
 *   - a program that installs a SIGBUS handler after the first open calls pmkv_sigbus_filter in it;
 *   - threads with less than 16 KiB of stack left should have an alternate signal stack.
 *
 * FORK. The pool's mapping is not inherited by a child process: calls in a child return
 * PMKV_E_FORKED. Open the pool again there, after the parent closed it.
 *
 * ERRORS. Every call returns an enum pmkv_status. pmkv_errormsg() gives the exact fact of the
 * calling thread's last failure. Outputs are untouched when a call fails, but for the bytes of a
 * buffer given to pmkv_get, which are undefined then.
 */
#ifndef PMKV_H
#define PMKV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#ifdef __GNUC__
#pragma GCC visibility push(default)
#endif

#define PMKV_VERSION_MAJOR 0
#define PMKV_VERSION_MINOR 1
#define PMKV_VERSION_PATCH 0

/** Longest key in bytes; pools with small rows may take less (struct pmkv_info, max_key_bytes). */
#define PMKV_MAX_KEY_BYTES 65535u
/** Longest value in bytes. */
#define PMKV_MAX_VALUE_BYTES (1ull << 30)

/** X(name, number, sentence): every status of the library. Numbers are never reused. */
#define PMKV_STATUS_MAP(X)                                                                         \
    X(OK, 0, "success")                                                                            \
    X(E_NOT_FOUND, 1, "the key is not in the store")                                               \
    X(E_EXISTS, 2, "the pool or the key exists already")                                           \
    X(E_INVALID, 3, "an argument is not valid")                                                    \
    X(E_TOO_LARGE, 4, "the key, value or batch is larger than the pool allows")                    \
    X(E_FULL, 5, "the pool is full: delete something, or use a larger pool")                       \
    X(E_BUSY, 6, "the pool is in use by another process or handle")                                \
    X(E_ACCESS, 7, "permission denied")                                                            \
    X(E_NO_POOL, 8, "there is no such file or device")                                             \
    X(E_NOT_POOL, 9, "the file is not a libpmkv pool")                                             \
    X(E_VERSION, 10, "the pool was written in another format version")                             \
    X(E_TRUNCATED, 11, "the file is shorter than the pool it holds")                               \
    X(E_CORRUPT, 12, "too much of the pool is damaged to open it")                                 \
    X(E_IO, 13, "the medium is unavailable; the outcome of a write is unknown")                    \
    X(E_MEDIA, 14, "every copy of the place faulted; the outcome of a write is unknown")           \
    X(E_LOST, 15, "the record was lost to damage beyond the redundancy of the pool")               \
    X(E_READONLY, 16, "the pool is open for reading only")                                         \
    X(E_UNSUPPORTED, 17, "not supported here")                                                     \
    X(E_NO_MEMORY, 18, "out of memory")                                                            \
    X(E_NO_SPACE, 19, "no space left on the file system")                                          \
    X(E_BUFFER, 20, "the buffer is too small for the value")                                       \
    X(E_FORKED, 21, "the handle belongs to the parent process")                                    \
    X(E_STOPPED, 22, "the work was stopped by a callback")                                         \
    X(E_BUG, 23, "internal error: please report it")                                               \
    X(E_CONFLICT, 24, "the key has another version")

enum pmkv_status {
#define PMKV_STATUS_ENUM(name, number, sentence) PMKV_##name = number,
    PMKV_STATUS_MAP(PMKV_STATUS_ENUM)
#undef PMKV_STATUS_ENUM
};

/** A store that is open. Opaque; all calls on one handle are thread safe unless said otherwise. */
struct pmkv;

/** Redundancy of a pool, fixed at create. */
enum pmkv_geometry {
    PMKV_PARITY = 0, /**< 8 data + 1 parity: any one loss unit per row. The default. */
    PMKV_DOUBLE = 1, /**< 8 data + 2 parity (P+Q): any two loss units per row. */
    PMKV_MIRROR = 2, /**< 1 + 1: every byte twice. */
    PMKV_NONE = 3,   /**< checksums only: damage is found and named, not rebuilt. */
};

/** Where a pool lives, as found by probing its path. */
enum pmkv_backend {
    PMKV_BACKEND_AUTO = 0,
    PMKV_BACKEND_FSDAX = 1,
    PMKV_BACKEND_DEVDAX = 2,
    PMKV_BACKEND_SHM = 3,
    PMKV_BACKEND_FILE = 4,
    PMKV_BACKEND_SIM = 5, /**< simulated memory of the test suite */
};

/** What an acknowledged write survives. */
enum pmkv_durability {
    PMKV_SURVIVES_PROCESS_DEATH = 1,
    PMKV_SURVIVES_POWER_LOSS = 2,
};

/** Who owns SIGBUS in the process. */
enum pmkv_sigbus_mode {
    PMKV_SIGBUS_OWN = 0,         /**< the library installs its chaining handler (default) */
    PMKV_SIGBUS_FILTER_ONLY = 1, /**< the program's own handler calls pmkv_sigbus_filter */
};

/** Called during long work: returns 0 to go on, other to stop (PMKV_E_STOPPED). `total` may be 0
 * while it is not known yet. `what` names the pass, a static string. */
typedef int (*pmkv_progress_fn)(void *arg, const char *what, uint64_t done, uint64_t total);

/** Options of create and open. Initialise with pmkv_options_init; the library checks `size`. */
struct pmkv_options {
    size_t size;                 /**< sizeof(struct pmkv_options), set by pmkv_options_init */
    uint64_t pool_bytes;         /**< create: size of the pool. Default 0 = 256 MiB */
    enum pmkv_geometry geometry; /**< create: default PMKV_PARITY */
    uint64_t loss_unit_bytes;    /**< create: 0 = what the medium says; a power of two >= 4096 */
    uint32_t row_pages;          /**< create: data pages a row, power of two, default 0 = 32 */
    uint32_t segment_rows;     /**< create: rows a segment, 2..64 (parity, double: 8..64, a multiple
                                    of 8); default 0 = by pool size */
    enum pmkv_backend backend; /**< default PMKV_BACKEND_AUTO: probe the path */
    bool read_only;            /**< open: nothing is written, not even recovery */
    bool create_if_missing;    /**< open: create the pool when the path does not exist */
    bool allow_inject;         /**< open: permit pmkv_inject, also on a read-only handle */
    bool no_background;        /**< open: no background threads; cleaning runs in writers */
    bool ordered;              /**< open: keep the keys in order too, for pmkv_iter_new */
    uint32_t lanes;            /**< open: open segments for writers; 0 = by CPUs and size */
    uint64_t
        scrub_bytes_per_second; /**< background scrub rate; 0 = no background scrub (default) */
    enum pmkv_sigbus_mode
        sigbus;                /**< default PMKV_SIGBUS_OWN; create and open, the first decides */
    pmkv_progress_fn progress; /**< progress of open; may be NULL */
    void *progress_arg;
};

/** Fills `opts` with the defaults. */
void pmkv_options_init(struct pmkv_options *opts);

/**
 * Creates a pool at `path`, allocating every block, and closes it again.
 * An existing file is refused (PMKV_E_EXISTS) unless it is empty or a DAX device without a pool.
 * Errors: E_EXISTS, E_INVALID (size, geometry: the message says which size would do), E_NO_SPACE,
 * E_ACCESS, E_UNSUPPORTED, E_NO_MEMORY, E_IO. A failed create removes the file it made.
 */
enum pmkv_status pmkv_create(const char *path, const struct pmkv_options *opts);

/**
 * Opens the pool at `path`, running recovery when it was not closed cleanly.
 * Takes DRAM for the index, some 16 B a key, and while it runs for what goes into it: about a
 * sixteenth of the pool's size, more only where 20 B and the key for each version of one key are.
 * With `ordered` it also reads every key, half a microsecond to one each, and takes some 25 B more
 * of DRAM a key and 1.2 times its bytes; while it runs as much again. None of that is on the
 * medium: the next open may do without. New keys and deletes then take twice as long, and other
 * puts a third longer, for they compare with the old key before they return.
 * Damage never makes open fail while one copy of the superblock is good: it is repaired, or
 * reported by pmkv_health and pmkv_lost_foreach. `opts` may be NULL for defaults.
 * Errors: E_NO_POOL, E_ACCESS, E_BUSY, E_NOT_POOL, E_VERSION, E_TRUNCATED, E_CORRUPT, E_NO_MEMORY,
 * E_UNSUPPORTED, E_INVALID, E_IO, E_STOPPED. Nothing was written when one of the first six returns.
 */
enum pmkv_status pmkv_open(const char *path, const struct pmkv_options *opts, struct pmkv **out);

/**
 * Closes the store, makes the close durable and frees the handle; `*kv` becomes NULL. No other call
 * may be running on the handle. NULL is fine. A returned error says that the pool will be recovered
 * at the next open; no acknowledged write is lost by that.
 */
enum pmkv_status pmkv_close(struct pmkv **kv);

/* --- records ---------------------------------------------------------------------------------- */

/**
 * Stores `value` under `key`, replacing what was there. Durable and visible on return.
 * Errors: E_INVALID (empty key), E_TOO_LARGE, E_FULL, E_READONLY, E_IO, E_MEDIA, E_NO_MEMORY.
 */
enum pmkv_status pmkv_put(struct pmkv *kv, const void *key, size_t key_bytes, const void *value,
                          size_t value_bytes);

/**
 * Copies the value of `key` to `buffer` and its length to `*value_bytes`. With a buffer that is too
 * small returns PMKV_E_BUFFER and sets `*value_bytes` alone. Takes no lock. A damaged record is
 * rebuilt before it is returned. Errors: E_NOT_FOUND, E_LOST, E_BUFFER, E_INVALID, E_IO.
 */
enum pmkv_status pmkv_get(struct pmkv *kv, const void *key, size_t key_bytes, void *buffer,
                          size_t buffer_bytes, size_t *value_bytes);

/**
 * As pmkv_get, and `*version` becomes the version of the value that was copied: what pmkv_put_if
 * and pmkv_delete_if compare. Every write of a key, put, batch or pmkv_put_if, gives it a version
 * of its own, higher than all before; 0 is none, and none is ever given twice, in the whole pool,
 * also after a crash or when the key is deleted and written again. A version stays what it is as
 * long as nobody writes the key: cleaning, repair and reopening do not change it.
 */
enum pmkv_status pmkv_get_version(struct pmkv *kv, const void *key, size_t key_bytes, void *buffer,
                                  size_t buffer_bytes, size_t *value_bytes, uint64_t *version);

/** As pmkv_get; `*value` is allocated for the caller, who frees it with pmkv_free. */
enum pmkv_status pmkv_get_alloc(struct pmkv *kv, const void *key, size_t key_bytes, void **value,
                                size_t *value_bytes);

/** One read of pmkv_get_many. Fill the first four; the call sets the last two. */
struct pmkv_read {
    const void *key;
    size_t key_bytes;
    void *buffer;
    size_t buffer_bytes;
    size_t value_bytes;      /**< as pmkv_get sets it: with PMKV_OK and PMKV_E_BUFFER, else 0 */
    enum pmkv_status status; /**< what pmkv_get would have returned */
};
/**
 * As pmkv_get for each of `count` reads, several times faster than one call after the other when
 * the records are not in the CPU's caches: their cache misses overlap. Each read stands alone (this
 * is no snapshot), and one that fails does not stop the others: look at each `status`. Returns
 * PMKV_OK when all were tried, whatever came of them; E_INVALID when `reads` is NULL. Keys may
 * repeat, buffers must not overlap. pmkv_errormsg() tells of the last one that failed.
 */
enum pmkv_status pmkv_get_many(struct pmkv *kv, struct pmkv_read *reads, size_t count);

/** Frees what the library allocated for the caller. NULL is fine. */
void pmkv_free(void *p);

/** PMKV_OK when `key` is there, PMKV_E_NOT_FOUND when not, PMKV_E_LOST when it was lost. */
enum pmkv_status pmkv_exists(struct pmkv *kv, const void *key, size_t key_bytes);

/**
 * Removes `key`. PMKV_E_NOT_FOUND when it is not there (nothing is written then). Works on a full
 * pool. A lost key can be deleted: it is then simply not found. Errors as pmkv_put.
 */
enum pmkv_status pmkv_delete(struct pmkv *kv, const void *key, size_t key_bytes);

/** The version of a key that is not there. */
#define PMKV_ABSENT 0ull

/**
 * Stores `value` under `key` if the key still has the version `version`; with PMKV_ABSENT, if the
 * key is not there (created, never replaced). Condition and write are one step: of several writers
 * that ask for the same version exactly one succeeds, and no pmkv_put, pmkv_delete or pmkv_write of
 * the key comes between. `*version_now` becomes the version it has now, for the next pmkv_put_if;
 * NULL is fine. Durable, visible and atomic as pmkv_put. What to do when it does not hold (nothing
 * of this call is there then, now or after a crash):
 *   - E_EXISTS    PMKV_ABSENT was asked for, and the key is there
 *   - E_CONFLICT  the key has another version: read it again with pmkv_get_version
 *   - E_NOT_FOUND the key is not there, or not any more: nothing has the version asked for
 *   - E_LOST      the record was lost, so nobody can say: pmkv_put or pmkv_delete makes it good
 * Other errors as pmkv_put. E_FULL may come before the condition was looked at, and says nothing of
 * it. After E_IO and E_MEDIA the outcome is unknown, as of any write. A long value is stored ahead
 * of the look, and its space given back when the condition does not hold.
 */
enum pmkv_status pmkv_put_if(struct pmkv *kv, const void *key, size_t key_bytes, const void *value,
                             size_t value_bytes, uint64_t version, uint64_t *version_now);

/**
 * Removes `key` if it still has the version `version`. Answers as pmkv_put_if when it has not;
 * works on a full pool as pmkv_delete. E_INVALID for PMKV_ABSENT: there would be nothing to remove.
 */
enum pmkv_status pmkv_delete_if(struct pmkv *kv, const void *key, size_t key_bytes,
                                uint64_t version);

/** Number of keys in the store, lost ones not counted. Exact when no writer is running. */
enum pmkv_status pmkv_count(struct pmkv *kv, uint64_t *count);

/** One record as pmkv_foreach and pmkv_iter_item show it. */
struct pmkv_item {
    const void *key;
    size_t key_bytes;
    const void *value; /**< NULL when only keys were asked for, or status is not PMKV_OK */
    size_t value_bytes;
    uint64_t version;        /**< as of pmkv_get_version; of a lost one 0 if not known */
    enum pmkv_status status; /**< PMKV_OK, or PMKV_E_LOST for a record that is lost */
};

/** Returns 0 to go on, other to stop: pmkv_foreach then returns PMKV_E_STOPPED. */
typedef int (*pmkv_item_fn)(void *arg, const struct pmkv_item *item);

enum pmkv_foreach_flags { PMKV_FOREACH_KEYS_ONLY = 1 };

/**
 * Calls `fn` for every record, in no order; the item is valid during the call only. A key that is
 * there during the whole call is shown exactly once; one that is written or deleted meanwhile may
 * be shown or not. `fn` may call the library. Errors: E_STOPPED, E_NO_MEMORY, E_IO.
 */
enum pmkv_status pmkv_foreach(struct pmkv *kv, unsigned flags, pmkv_item_fn fn, void *arg);

/* --- in order --------------------------------------------------------------------------------- */

/**
 * A place among the keys in their order: that of memcmp, a key before those that begin with it. The
 * handle was opened with `ordered`. Not thread safe by itself; any number may be used beside each
 * other and beside all other calls.
 *
 * No snapshot: it goes over the store as it is. A key that is there the whole time is met exactly
 * once on the way up or down; one that comes or goes meanwhile may be met or not. Its value is one
 * that the key had during the call that arrived there, whole and checked, as pmkv_get returns it.
 */
struct pmkv_iter;

enum pmkv_iter_flags { PMKV_ITER_KEYS_ONLY = 1 };

/**
 * A new iterator, at no key yet. The handle must stay open as long as it is used. Errors:
 * E_UNSUPPORTED (the handle was opened without `ordered`), E_INVALID, E_NO_MEMORY.
 */
enum pmkv_status pmkv_iter_new(struct pmkv *kv, unsigned flags, struct pmkv_iter **out);

/**
 * Goes to the first key that is `key` or comes after it; NULL with length 0: to the first of all.
 * When there is none the iterator is past the last one. That is no error: look at pmkv_iter_item.
 * Errors, here and of the other three: E_INVALID, E_IO, E_NO_MEMORY. After one it is at no key, but
 * between the one it could not come to and the one before: the next call goes on from there.
 * E_NO_MEMORY comes also, from then on, when there was none for a key that was put: the order is
 * complete again with the next open.
 */
enum pmkv_status pmkv_iter_seek(struct pmkv_iter *iter, const void *key, size_t key_bytes);
/** Goes to the last key. */
enum pmkv_status pmkv_iter_seek_last(struct pmkv_iter *iter);
/** Goes to the key after this one; from before the first, or a new iterator, to the first. */
enum pmkv_status pmkv_iter_next(struct pmkv_iter *iter);
/** Goes to the key before this one; from past the last to the last. */
enum pmkv_status pmkv_iter_prev(struct pmkv_iter *iter);

/**
 * Where it is: key, value and version; with PMKV_ITER_KEYS_ONLY the key alone, the rest being 0.
 * `status` is PMKV_E_LOST for a record that was lost, of which there is the key alone as well;
 * those whose key is not known are not met (pmkv_lost_foreach has them). NULL: at no key. The
 * pointers are good until the iterator is moved or freed.
 */
const struct pmkv_item *pmkv_iter_item(const struct pmkv_iter *iter);

/** Frees the iterator; `*iter` becomes NULL. NULL is fine. */
void pmkv_iter_free(struct pmkv_iter **iter);

/* --- batches ---------------------------------------------------------------------------------- */

/** A list of puts and deletes that pmkv_write applies as one. Not thread safe by itself. */
struct pmkv_batch;

enum pmkv_status pmkv_batch_new(struct pmkv_batch **out);
/** Adds a put; key and value are copied. Later entries win over earlier ones of the same key. */
enum pmkv_status pmkv_batch_put(struct pmkv_batch *batch, const void *key, size_t key_bytes,
                                const void *value, size_t value_bytes);
/** Adds a delete. Deleting a key that is not there is fine. */
enum pmkv_status pmkv_batch_delete(struct pmkv_batch *batch, const void *key, size_t key_bytes);
/** Empties the batch for another use. */
void pmkv_batch_clear(struct pmkv_batch *batch);
/** Number of entries. */
size_t pmkv_batch_count(const struct pmkv_batch *batch);
/** Frees the batch; `*batch` becomes NULL. NULL is fine. */
void pmkv_batch_free(struct pmkv_batch **batch);

/**
 * Applies the batch: after a crash all of it is there or nothing, and no reader that starts after
 * the call returned sees less than all. Durable on return. The batch stays the caller's.
 * Values beyond a quarter of a row are stored ahead as long values and do not count for the limit.
 * Errors: as pmkv_put; E_TOO_LARGE when the rest is larger than a segment.
 */
enum pmkv_status pmkv_write(struct pmkv *kv, const struct pmkv_batch *batch);

/* --- what the store is and how it is ---------------------------------------------------------- */

/** Facts that do not change while the pool is open. */
struct pmkv_info {
    char uuid[37];
    char path[4096];
    uint32_t format_version;
    enum pmkv_geometry geometry;
    enum pmkv_backend backend;
    enum pmkv_durability durability;
    char backend_reason[256]; /**< one sentence: why this path got this backend and durability */
    uint64_t pool_bytes;
    uint64_t capacity_bytes; /**< bytes of packed records the pool takes before E_FULL, within a
                                  thousandth */
    uint64_t loss_unit_bytes;
    uint32_t data_columns, parity_columns;
    uint32_t row_pages, segment_rows;
    uint32_t segment_count, lanes;
    uint64_t max_key_bytes, max_value_bytes;
    bool read_only;
    bool recovered; /**< this open ran crash recovery */
};
enum pmkv_status pmkv_info(struct pmkv *kv, struct pmkv_info *info);

/** Counters since open, except those that say otherwise. */
struct pmkv_stats {
    uint64_t puts, gets, deletes, batches, misses;
    uint64_t keys;
    uint64_t live_bytes;          /**< packed bytes of live records, headers included */
    uint64_t dead_bytes;          /**< reclaimable bytes in segments */
    uint64_t free_bytes;          /**< bytes of free segments */
    uint64_t user_bytes_written;  /**< bytes of keys and values put */
    uint64_t media_bytes_written; /**< bytes stored to the pool, redundancy included */
    uint64_t fences;
    uint64_t segments_free, segments_open, segments_sealed;
    uint64_t segments_cleaned, records_moved;
    uint64_t index_bytes;    /**< DRAM of the index, and of the keys in order */
    uint64_t faults;         /**< loads or stores that met poison */
    uint64_t check_failures; /**< group or record checks that failed */
    uint64_t reads_rebuilt;  /**< reads answered from redundancy */
};
enum pmkv_status pmkv_stats(struct pmkv *kv, struct pmkv_stats *stats);

enum pmkv_state {
    PMKV_STATE_ONLINE = 0,      /**< all good */
    PMKV_STATE_REPAIRED = 1,    /**< damage was found and all repaired, since the pool was made */
    PMKV_STATE_DEGRADED = 2,    /**< data is good; some pages are retired or wait for repair */
    PMKV_STATE_LOST = 3,        /**< some records are lost */
    PMKV_STATE_UNAVAILABLE = 4, /**< the medium as a whole does not answer */
};

enum pmkv_scan_state { PMKV_SCAN_NONE, PMKV_SCAN_RUNNING, PMKV_SCAN_FINISHED, PMKV_SCAN_STOPPED };

/** The scrub that runs or ran last; kept in the pool. Times are seconds since 1970. */
struct pmkv_scan {
    enum pmkv_scan_state state;
    uint64_t start_time, end_time;
    uint64_t total_bytes, done_bytes;
    uint64_t repaired_pages, retired_pages, lost_records;
    uint64_t bad_pages; /**< pages found bad, repaired ones included */
};

/** Health in the manner of `zpool status`. Counts are since the pool was made. */
struct pmkv_health {
    enum pmkv_state state;
    char status[512]; /**< one or two sentences: what happened */
    char action[512]; /**< what the operator should do; empty when nothing */
    struct pmkv_scan scan;
    uint64_t pages_rebuilt, pages_repaired, pages_retired, pages_pending;
    uint64_t records_lost;  /**< lost now: entries of pmkv_lost_foreach */
    bool sigbus_ours;       /**< the process's SIGBUS handler still is the library's */
    bool loss_unit_coarser; /**< the pool was moved to a medium that loses more at a time */
};
enum pmkv_status pmkv_health(struct pmkv *kv, struct pmkv_health *health);

/** What the superblock of a pool says, whoever has the pool open. */
struct pmkv_peek {
    char uuid[37];
    uint32_t format_version;
    enum pmkv_geometry geometry;
    enum pmkv_backend backend;
    enum pmkv_durability durability;
    uint64_t pool_bytes;
    bool in_use; /**< a process has it open for writing now */
    bool clean;  /**< it was closed cleanly */
    /** Since the pool was made; of a pool in use a few seconds old at most. */
    uint64_t media_errors, pages_rebuilt, pages_repaired, pages_retired;
    uint64_t records_lost; /**< some may have been written again since */
};
/** For operators and monitoring: takes no lock, writes nothing, and disturbs nobody who has the
 * pool open. Errors as pmkv_open, but never E_BUSY. */
enum pmkv_status pmkv_peek(const char *path, struct pmkv_peek *peek);

/** One record, or one range, that is lost. */
struct pmkv_lost {
    const void *key; /**< NULL when the name is not known */
    size_t key_bytes;
    bool key_is_prefix;          /**< the key is longer than what is known of it */
    uint64_t key_hash;           /**< 0 when not known */
    uint64_t version;            /**< sequence number, 0 when not known */
    uint64_t pool_offset, bytes; /**< where it was */
};
/** Returns 0 to go on. */
typedef int (*pmkv_lost_fn)(void *arg, const struct pmkv_lost *lost);
/** Calls `fn` for every record that is lost and was not written or deleted since. */
enum pmkv_status pmkv_lost_foreach(struct pmkv *kv, pmkv_lost_fn fn, void *arg);

/** Takes ranges without a name off the list: they were seen, and no put can make them good. Records
 * with a name stay until they are written or deleted. `*cleared` counts them and may be NULL.
 * Durable. */
enum pmkv_status pmkv_lost_acknowledge(struct pmkv *kv, uint64_t *cleared);

/** What a range of the pool is and how it is, for maps and for tests. */
enum pmkv_range_kind {
    PMKV_RANGE_SUPERBLOCK,
    PMKV_RANGE_TABLE,
    PMKV_RANGE_HEADER,
    PMKV_RANGE_DATA,
    PMKV_RANGE_PARITY,
    PMKV_RANGE_TWIN,
    PMKV_RANGE_FREE,
    PMKV_RANGE_UNUSED,
};
enum pmkv_range_state {
    PMKV_RANGE_OK,
    PMKV_RANGE_PENDING,  /**< known bad, repair waits */
    PMKV_RANGE_REPAIRED, /**< repaired since open */
    PMKV_RANGE_RETIRED,
    PMKV_RANGE_IS_LOST,
};
struct pmkv_range {
    uint64_t offset, bytes;
    enum pmkv_range_kind kind;
    enum pmkv_range_state state;
    uint32_t segment, row, column; /**< of header, data, parity and twin ranges */
};
typedef int (*pmkv_range_fn)(void *arg, const struct pmkv_range *range);
/** Calls `fn` for every range of the pool in offset order; ranges do not overlap. */
enum pmkv_status pmkv_map_foreach(struct pmkv *kv, pmkv_range_fn fn, void *arg);

/* --- scrub and repair ------------------------------------------------------------------------- */

/** Starts a scrub at `bytes_per_second` (0 = full speed) in the background, resuming a stopped one.
 * Already running: sets the rate. */
enum pmkv_status pmkv_scrub_start(struct pmkv *kv, uint64_t bytes_per_second);
/** Waits until the scrub ends, which is when what lives was moved out of damaged places too; calls
 * `progress` about ten times a second when it is not NULL. */
enum pmkv_status pmkv_scrub_wait(struct pmkv *kv, pmkv_progress_fn progress, void *arg);
/** Stops the scrub; its cursor is kept, so that the next start goes on there. */
enum pmkv_status pmkv_scrub_stop(struct pmkv *kv);
enum pmkv_status pmkv_scrub_status(struct pmkv *kv, struct pmkv_scan *scan);

/** Verifies everything without changing the pool: fills `scan`. Works on a read-only handle. */
enum pmkv_status pmkv_check(struct pmkv *kv, struct pmkv_scan *scan, pmkv_progress_fn progress,
                            void *arg);

/** Repairs all pages known to be bad now and moves what lives out of damaged places; waits for
 * both.
 * `*left` counts the pages that still wait. */
enum pmkv_status pmkv_repair(struct pmkv *kv, uint64_t *left);

/* --- space ------------------------------------------------------------------------------------ */

/** Moves records together until each segment is full of live ones, and frees what that empties.
 * Puts pad commits to lines of 64 bytes and the cleaner waits until room is short: a pool that is
 * kept as it is for long, or is copied elsewhere, is smaller for this. Changes no key, value or
 * version. Waits until it is done, beside readers and writers, who share the medium with it; what
 * they write meanwhile may stay as it is. Every segment it frees is durable by itself: after a
 * crash or PMKV_E_STOPPED nothing is lost, and the next call goes on. PMKV_E_READONLY; PMKV_E_IO
 * when the medium takes no writes. `progress` may be NULL. */
enum pmkv_status pmkv_pack(struct pmkv *kv, pmkv_progress_fn progress, void *arg);

/* --- events ----------------------------------------------------------------------------------- */

enum pmkv_event_kind {
    PMKV_EVENT_MEDIA_ERROR = 1, /**< a load or store met poison, or a check failed */
    PMKV_EVENT_REBUILT = 2,     /**< data was rebuilt from redundancy */
    PMKV_EVENT_REPAIRED = 3,    /**< the page is good again, in place */
    PMKV_EVENT_RETIRED = 4,     /**< the page cannot be cleared; its row is out of use for good */
    PMKV_EVENT_LOST = 5,        /**< a record is lost */
    PMKV_EVENT_UNAVAILABLE = 6, /**< the medium as a whole does not answer */
    PMKV_EVENT_AVAILABLE = 7,   /**< it answers again */
    PMKV_EVENT_SIGBUS_TAKEN =
        8, /**< another SIGBUS handler replaced the library's: a memory error would kill the
              process. Told once each time, by the background thread or by pmkv_health */
};
struct pmkv_event {
    enum pmkv_event_kind kind;
    uint64_t pool_offset, bytes;
    const char *text; /**< one sentence */
};
typedef void (*pmkv_event_fn)(void *arg, const struct pmkv_event *event);
/** Sets the callback; it runs in whichever thread met the event, must be quick and must not call
 * the library. NULL switches it off. */
enum pmkv_status pmkv_set_event_fn(struct pmkv *kv, pmkv_event_fn fn, void *arg);

/* --- fault injection -------------------------------------------------------------------------- */

enum pmkv_inject_kind {
    PMKV_INJECT_POISON = 1,  /**< the page's bytes are gone and touching it raises a real SIGBUS */
    PMKV_INJECT_FLIP = 2,    /**< one bit a unit is flipped, silently */
    PMKV_INJECT_ZERO = 3,    /**< zeros, silently */
    PMKV_INJECT_STALE = 4,   /**< the same place of another segment is copied there, silently */
    PMKV_INJECT_GARBAGE = 5, /**< random bytes, silently */
};
enum pmkv_inject_target { PMKV_INJECT_AT_OFFSET, PMKV_INJECT_AT_KEY, PMKV_INJECT_AT_RANDOM };

struct pmkv_inject {
    size_t size; /**< sizeof(struct pmkv_inject) */
    enum pmkv_inject_kind kind;
    enum pmkv_inject_target target;
    uint64_t unit_bytes; /**< 1, 64 or 4096; poison is always 4096 (the loss unit of the medium) */
    uint64_t offset;     /**< AT_OFFSET: pool offset; rounded down to the unit */
    const void *key;     /**< AT_KEY: the page with the record's first byte */
    size_t key_bytes;
    uint64_t seed;    /**< AT_RANDOM: places and bits follow from it alone */
    uint32_t count;   /**< AT_RANDOM: how many places; AT_OFFSET: how many units in a row */
    bool live_only;   /**< AT_RANDOM: only pages of segments that hold data */
    bool clear_fails; /**< poison: recovery writes to the page fail from now on (this handle) */
};
/** Injects faults; the handle must have been opened with allow_inject. `*injected` counts them and
 * may be NULL. Errors: E_UNSUPPORTED when the medium cannot take the fault, E_INVALID. */
enum pmkv_status pmkv_inject(struct pmkv *kv, const struct pmkv_inject *spec, uint32_t *injected);

/* --- the process ------------------------------------------------------------------------------ */

/**
 * For a program that owns SIGBUS: call it first in the handler (SA_SIGINFO) with its arguments.
 * Returns true when the signal was for a pool and is dealt with: return from the handler then.
 * Async-signal-safe. `siginfo` is a siginfo_t *, `ucontext` a ucontext_t *.
 */
bool pmkv_sigbus_filter(void *siginfo, void *ucontext);

/** What a path would get, without changing it: see `pmkv-cli probe`. */
struct pmkv_probe {
    enum pmkv_backend backend;
    enum pmkv_durability durability;
    uint64_t loss_unit_bytes, available_bytes;
    int bad_block_support; /**< 1 yes, 0 not on this medium, -1 could not be read */
    int numa_node;         /**< -1 when not known */
    char reason[512];
    char advice[512]; /**< how to get a faster or safer medium; may be empty */
};
enum pmkv_status pmkv_probe(const char *path, struct pmkv_probe *probe);

/** One sentence for a status; never NULL. */
const char *pmkv_strerror(enum pmkv_status status);
/** The name of a status, such as "PMKV_E_FULL"; never NULL. */
const char *pmkv_status_name(enum pmkv_status status);
/** The exact fact of the calling thread's last failed call; valid until its next failed call. */
const char *pmkv_errormsg(void);
/** Version of the library that runs, "major.minor.patch". */
const char *pmkv_version(void);
const char *pmkv_geometry_name(enum pmkv_geometry geometry);
const char *pmkv_backend_name(enum pmkv_backend backend);

#ifdef __GNUC__
#pragma GCC visibility pop
#endif
#ifdef __cplusplus
}
#endif
#endif
