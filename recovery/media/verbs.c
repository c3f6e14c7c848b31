/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The small verbs that every backend uses (backend.h). */
#define _GNU_SOURCE
#include "backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../errmsg.h"

struct media *media_new(void)
{
    struct media *m = aligned_alloc(_Alignof(struct media), sizeof *m);
    if (!m) {
        err_fact(-ENOMEM, "no memory for a medium");
        return NULL;
    }
    memset(m, 0, sizeof *m);
    m->fd = -1;
    m->opener = getpid();
    pthread_mutex_init(&m->clear_fails_lock, NULL);
    return m;
}

void media_delete(struct media *m)
{
    pthread_mutex_destroy(&m->clear_fails_lock);
    free(m->clear_fails);
    free(m);
}

uint64_t media_bytes_stored(const struct media *m)
{
    uint64_t sum = 0;
    for (int i = 0; i < MEDIA_COUNTERS; i++)
        sum += atomic_load_explicit(&m->counters[i].bytes, memory_order_relaxed);
    return sum;
}

uint64_t media_fences(const struct media *m)
{
    uint64_t sum = 0;
    for (int i = 0; i < MEDIA_COUNTERS; i++)
        sum += atomic_load_explicit(&m->counters[i].fences, memory_order_relaxed);
    return sum;
}

/* Not by fstat, which asks for the times as well: a time that was asked for changes with the next
 * write (Linux 6.13), where else it does once a tick, and the next fdatasync may have the inode to
 * write too. */
int file_long_enough(struct media *m)
{
    struct statx st;
    if (statx(m->fd, "", AT_EMPTY_PATH, STATX_SIZE, &st) < 0)
        return err_fact(-EIO, "the medium does not answer: statx: %s", strerror(errno));
    if (st.stx_size < m->size)
        return err_fact(-EIO, "the file was cut from %llu to %llu bytes while open",
                        (unsigned long long)m->size, (unsigned long long)st.stx_size);
    return 0;
}

int file_write_at(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    if (file_long_enough(m) < 0)
        return -ENODEV;
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pwrite(m->fd, (const char *)src + done, bytes - done, (off_t)(off + done));
        if (n < 0 && errno == EINTR)
            continue;
        int code = n < 0 ? -errno : -EIO;
        if (n <= 0)
            return err_fact(code, "pwrite of %zu bytes at %llu: %s", bytes - done,
                            (unsigned long long)(off + done), strerror(-code));
        done += (size_t)n;
    }
    return 0;
}

int verify_by_load(struct media *m, uint64_t off, const void *page)
{
    _Alignas(64) char back[PAGE_BYTES];
    size_t n = media_load(m, off, back, PAGE_BYTES);
    if (n < PAGE_BYTES)
        return err_fact(-EIO, "the page at %llu faults after its repair at byte %zu",
                        (unsigned long long)off, n);
    if (memcmp(back, page, PAGE_BYTES) != 0)
        return err_fact(-EIO, "the page at %llu reads back other than it was written",
                        (unsigned long long)off);
    return 0;
}

int patch_by_store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    const char *from = src;
    while (bytes > 0) {
        _Alignas(64) char line[LINE_BYTES];
        uint64_t start = off / LINE_BYTES * LINE_BYTES;
        size_t skip = (size_t)(off - start);
        size_t n = LINE_BYTES - skip < bytes ? LINE_BYTES - skip : bytes;
        bool ok = mc_load(line, m->base + start, LINE_BYTES) == LINE_BYTES;
        memcpy(line + skip, from, n);
        /* unreached: a line that has just been read is lost before it is stored. */
        if (!ok || mc_store_nt(m->base + start, line, LINE_BYTES) < LINE_BYTES)
            return err_fact(-EIO, "the line at %llu faults", (unsigned long long)start);
        off += n;
        from += n;
        bytes -= n;
    }
    mc_fence();
    return 0;
}

int mapping_answers(struct media *m)
{
    enum { SAMPLES = 8 };
    uint64_t pages = m->size / PAGE_BYTES;
    for (uint64_t i = 0; i < SAMPLES; i++) {
        uint64_t off = pages * i / SAMPLES * PAGE_BYTES;
        if (mc_touch(m->base + off, LINE_BYTES) == LINE_BYTES)
            return 0;
    }
    return err_fact(-EIO, "none of %d pages all over the medium answers: it is gone as a whole",
                    (int)SAMPLES);
}
