/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What the files behind media.h share: the facts of a path, how an opened file is handed to its
 * backend, and the small verbs that every backend uses. Nothing outside recovery/media* includes
 * it.
 */
#ifndef PMKV_RECOVERY_MEDIA_BACKEND_H
#define PMKV_RECOVERY_MEDIA_BACKEND_H

#include <sys/stat.h>

#include "../media.h"
#include "../thread_number.h"

enum path_kind { PATH_ABSENT, PATH_REGULAR, PATH_DIRECTORY, PATH_DEVDAX, PATH_OTHER };

/* What the kernel says about a path. Of an absent one: about the directory it would be made in. */
struct path_facts {
    enum path_kind kind;
    struct stat st;
    bool tmpfs, hugetlbfs;
    bool dax;            /* a mapping with MAP_SYNC works */
    bool dax_tried;      /* false: it could not be tried (permission) */
    bool persistent;     /* devdax: below an NVDIMM bus, so it keeps its bytes without power */
    const char *forced;  /* PMEM2_FORCE_GRANULARITY, NULL when not set */
    uint64_t unit;       /* huge page or device alignment; else 4096 */
    uint64_t size;       /* of the file or device */
    uint64_t free_bytes; /* of the file system */
    char fs[32];         /* its name: "ext4" */
    char options[256];   /* its mount options */
};

/* 0, or -errno with a fact. Writes nothing. */
int path_look(const char *path, struct path_facts *f);
/* Which backend a path gets, with what it wants checked against what it can have. */
int path_choose(const struct path_facts *f, enum media_backend wanted, enum media_backend *out);
enum media_durability path_durability(const struct path_facts *f, enum media_backend backend);
/* One sentence: why this backend and durability. */
void path_reason(const struct path_facts *f, enum media_backend backend, char *to, size_t bytes);

/* Maps m->fd and fills ops, store_lines and impl. On failure nothing is left behind. */
int shm_attach(struct media *m, const struct path_facts *f);
int file_attach(struct media *m, const struct path_facts *f);
int fsdax_attach(struct media *m, const struct path_facts *f);
int devdax_attach(struct media *m, const struct path_facts *f);

/* A medium with nothing behind it yet; NULL with a fact when there is no memory. */
struct media *media_new(void);
void media_delete(struct media *m);

/* How long await_listed waits: the kernel signals a machine check first and lists the page after.
 */
enum { AWAIT_TRIES = 100, AWAIT_PAUSE_US = 10 * 1000 };

/* The calling thread's counter: a few threads never share one. */
static inline struct media_counter *media_counter(struct media *m)
{
    return &m->counters[thread_number() % MEDIA_COUNTERS];
}

/* Not a locked add: that would drain the write-combining buffers between the stores of one commit,
 * which costs as much as a second fence (100 ns). Two threads that share a counter may lose a
 * count.
 */
static inline void count_add(atomic_ullong *counter, size_t by)
{
    unsigned long long now = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, now + by, memory_order_relaxed);
}
static inline void count_store(struct media *m, size_t bytes)
{
    count_add(&media_counter(m)->bytes, bytes);
}
static inline void count_fence(struct media *m)
{
    count_add(&media_counter(m)->fences, 1); /* unreached: as thread_number, once a thread */
}

/* Is the whole range inside the medium? Never wraps. */
static inline bool range_inside(const struct media *m, uint64_t off, uint64_t bytes)
{
    return bytes <= m->size && off <= m->size - bytes; /* unreached: in asserts it holds */
}

/* 0 when the file is at least as long as it was at open, else -EIO with a fact (I14). */
int file_long_enough(struct media *m);
/* Writes all of it at `off` of the file: 0, or -errno. Never makes a shortened file longer. */
int file_write_at(struct media *m, uint64_t off, const void *src, size_t bytes);
/* Do the bytes read back through the normal door as `page`? 0, or -EIO with a fact. */
int verify_by_load(struct media *m, uint64_t off, const void *page);
/* Stores through the mapping, in the middle of lines too. Returns 0, or -EIO with a fact. */
int patch_by_store(struct media *m, uint64_t off, const void *src, size_t bytes);
/* Does at least one of a few pages all over the mapping answer? 0, or -EIO with a fact (I14). */
int mapping_answers(struct media *m);

#endif
