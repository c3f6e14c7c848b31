/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The medium as a first-class object: one interface for everything that touches pool memory.
 *
 * Two doors. `struct media` is the normal door: safe copies out, whole-line stores, drain. When a
 * copy comes back short, the same page is exchanged for a `struct media_recovery` handle, and that
 * handle alone can write so that the poison is gone. They are two types so that neither is used for
 * the other by mistake.
 *
 * No code above this interface reads or writes pool memory itself, issues a fence or calls
 * fdatasync: every byte that moves and every fence passes here, which is what makes crash
 * enumeration on the sim backend possible.
 *
 * Errors are negative errno values; err_fact() (errmsg.h) carries the exact fact.
 */
#ifndef PMKV_RECOVERY_MEDIA_H
#define PMKV_RECOVERY_MEDIA_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "mcsafe.h"

enum { LINE_BYTES = 64, GROUP_BYTES = 256, PAGE_BYTES = 4096 };

enum media_backend {
    MEDIA_AUTO = 0,
    MEDIA_FSDAX = 1,
    MEDIA_DEVDAX = 2,
    MEDIA_SHM = 3,
    MEDIA_FILE = 4,
    MEDIA_SIM = 5,
};

enum media_durability {
    MEDIA_SURVIVES_PROCESS_DEATH = 1,
    MEDIA_SURVIVES_POWER_LOSS = 2,
};

struct media;

struct media_ops {
    /* NULL: pool memory is mapped at media->base and mc_load serves (all but sim and empty files).
     * Never NULL: store, drain, present, recovery_write, inject_poison, inject_bytes, close (an
     * empty file does without three of them: no page is inside of it). Of the others NULL says that
     * the medium has no such thing. */
    size_t (*load)(struct media *m, uint64_t off, void *dst, size_t bytes);
    size_t (*store)(struct media *m, uint64_t off, const void *src, size_t bytes);
    int (*drain)(struct media *m);
    /* 0 when the medium as a whole answers (I14), else -EIO with a fact. */
    int (*present)(struct media *m);
    int (*bad_ranges)(struct media *m, int (*fn)(void *arg, uint64_t off, uint64_t bytes),
                      void *arg);
    /* The recovery door; see media_recovery_write. */
    int (*recovery_write)(struct media *m, uint64_t off, const void *page);
    /* Fault injection: poison (bytes lost, SIGBUS on touch) and silent change of bytes. */
    int (*inject_poison)(struct media *m, uint64_t off);
    int (*inject_bytes)(struct media *m, uint64_t off, const void *src, size_t bytes);
    int (*unsafe_shutdowns)(struct media *m, uint64_t *count);
    /* Waits, for a second at most, until the kernel lists the page as bad. */
    void (*await_listed)(struct media *m, uint64_t off);
    void (*close)(struct media *m);
};

enum { MEDIA_COUNTERS = 64 };

/* What a few threads stored; each counter has a line of its own (false sharing). */
struct media_counter {
    _Alignas(64) atomic_ullong bytes;
    atomic_ullong fences;
};

struct media {
    const struct media_ops *ops;
    char *base;    /* the mapping; only media files and the inline doors below use it */
    uint64_t size; /* multiple of 4096; 0: an empty file, where every load and store is short */
    uint64_t loss_unit; /* bytes the kernel takes away at a time */
    enum media_backend backend;
    enum media_durability durability;
    bool read_only;
    bool allow_inject;
    bool drain_is_slow;      /* it costs more than a switch of threads: share it */
    int fd;                  /* -1 for sim */
    mc_store_fn store_lines; /* the routine that suits the medium: plain, non-temporal, clwb */
    char path[4096];
    char reason[256]; /* one sentence: why this backend and durability */
    void *impl;       /* state of the backend */
    pid_t opener;     /* a forked child must not give the parent's lock away */
    pthread_mutex_t clear_fails_lock;
    uint64_t *clear_fails; /* pages whose recovery write is told to fail (injection) */
    size_t clear_fails_count;
    struct media_counter counters[MEDIA_COUNTERS];
};

struct media_args {
    enum media_backend backend; /* MEDIA_AUTO probes */
    bool read_only;             /* shared lock, nothing is written */
    bool allow_inject;          /* with read_only: still opened for writing underneath */
    bool filter_only;           /* the program owns SIGBUS */
    bool unlocked;              /* with read_only: beside whoever has it open */
    uint64_t create_bytes; /* media_create: size, rounded down to pages; ignored for a device */
};

/* Does another process or handle have it open for writing? (of a medium opened `unlocked`) */
bool media_in_use(const struct media *m);

/* What a path would get. */
struct media_probe {
    enum media_backend backend;
    enum media_durability durability;
    uint64_t loss_unit;
    uint64_t available_bytes; /* of the file or device when it exists, else of the file system */
    int bad_block_support;    /* does media_bad_ranges work: 1 yes, 0 not here, -1 not readable */
    int numa_node;            /* -1: unknown */
    char reason[512];
    char advice[512];
};

/* Writes nothing. The path may be a file, a device, a directory or a file that is yet to be made in
 * an existing directory. 0, or -errno with a fact. */
int media_probe(const char *path, struct media_probe *out);
/* Creates and allocates the file (-EEXIST when it is there and not empty; a device must exist) and
 * leaves it open. Every block is allocated and holds zeros, so that a full file system is -ENOSPC
 * here and never a SIGBUS later. On failure a file it made is removed. */
int media_create(const char *path, const struct media_args *args, struct media **out);
/* Opens, locks (-EBUSY when in use), maps, plants known bad ranges so that touching them faults.
 * Writes nothing. -ENOENT, -EACCES, -EISDIR ... as the kernel says; -EINVAL for what is neither a
 * file nor a DAX device; -ENOTSUP for a backend that the path cannot have. An empty file opens with
 * size 0. */
int media_open(const char *path, const struct media_args *args, struct media **out);
/* Ends everything and gives the lock back. *m becomes NULL; NULL is fine. */
void media_close(struct media **m);
const char *media_backend_name(enum media_backend backend);
/* Since open: bytes stored through the normal door, and drains. */
uint64_t media_bytes_stored(const struct media *m);
uint64_t media_fences(const struct media *m);

/* --- the normal door -------------------------------------------------------------------------- */

/* Copies `bytes` from the pool; returns how many moved before poison (== bytes: all good). */
static inline size_t media_load(struct media *m, uint64_t off, void *dst, size_t bytes)
{
    if (m->ops->load)
        return m->ops->load(m, off, dst, bytes);
    return mc_load(dst, m->base + off, bytes);
}

/* Stores whole lines (off and bytes are multiples of 64) and flushes them: durable after the next
 * media_drain of this thread. Returns how many bytes moved before poison. */
static inline size_t media_store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    return m->ops->store(m, off, src, bytes);
}

/* Makes durable what this thread stored before: the fence, or fdatasync. 0, or -EIO: then the
 * outcome of everything since the last good drain is unknown. */
static inline int media_drain(struct media *m)
{
    return m->ops->drain(m);
}

/* Reads one byte of each line without keeping it; returns bytes touched before poison. */
size_t media_touch(struct media *m, uint64_t off, size_t bytes);

/* Maps the range's pages ahead of their use, so that no store pays for a page fault (about 1.2 us a
 * page). Best effort: pages that cannot be mapped fault when they are used. */
void media_populate(struct media *m, uint64_t off, size_t bytes);

/* unreached: each file that has it in line takes its own way. */
static inline void media_prefetch(const struct media *m, uint64_t off, size_t bytes)
{
    if (m->base)
        for (size_t i = 0; i < bytes; i += LINE_BYTES)
            __builtin_prefetch(m->base + off + i, 0, 3);
}

/* I14: is the medium as a whole there? 0, or -EIO with a fact. Call before any durable verdict. */
int media_present(struct media *m);

/* Calls fn for every range the kernel (or the file system's holes) lists as bad, page aligned.
 * 0; -ENOTSUP: no such list on this medium; other: it could not be read. */
int media_bad_ranges(struct media *m, int (*fn)(void *arg, uint64_t off, uint64_t bytes),
                     void *arg);

/* Takes the page offset of one asynchronous error (found by patrol scrub) reported for this medium;
 * false: none. May wait a second for the kernel to list it: a recovery write before that does
 * not clear. */
bool media_take_async(struct media *m, uint64_t *off);

/* The device's count of power losses that lost stores: 0, or -ENOTSUP when it has none. */
int media_unsafe_shutdowns(struct media *m, uint64_t *count);

/* --- the recovery door ------------------------------------------------------------------------ */

/* A page that was exchanged for its recovery handle. */
struct media_recovery {
    struct media *media;
    uint64_t off; /* page aligned */
};

/* Exchanges the page at `off` (page aligned) for its recovery handle. */
struct media_recovery media_recover(struct media *m, uint64_t off);

/* Writes the whole page so that the poison is gone, makes it durable and verifies it by reading
 * back through the normal door. 0 when it held; -EIO when it cannot be cleared (retire it). No
 * verdict, try again later: -ENODEV when the medium as a whole is in doubt (I14), -ENOMEM or
 * -ENOSPC when the system could not give what the repair needs; -EROFS when opened read-only. Works
 * on healthy pages too. A loss unit larger than a page (hugetlbfs, devdax) loses its other pages'
 * poison with the first one written: they then hold arbitrary bytes, which fail their checks. */
int media_recovery_write(struct media_recovery h, const void *page);

/* --- fault injection -------------------------------------------------------------------------- */

/* All return 0 or -errno: -EPERM without allow_inject, -ENOTSUP where the medium has no such way.
 */

/* The bytes of the page at `off` (page aligned), or of the loss unit it is in, are really lost and
 * touching them raises SIGBUS, also after a reopen. Other threads may load and store meanwhile. */
int media_inject_poison(struct media *m, uint64_t off);
/* Changes bytes under the store's nose: no check, no flush order. */
int media_inject_bytes(struct media *m, uint64_t off, const void *src, size_t bytes);
/* From now on recovery writes of the page at `off` fail (until media_close). */
int media_inject_clear_fails(struct media *m, uint64_t off);

#endif
