/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Any other regular file. Loads read the page cache through the mapping; stores go by pwrite, which
 * writes 4 KiB where a store through the mapping may write a large folio, and which returns an
 * error where a store would raise a signal. A drain is a fdatasync that many threads share
 * (syncer.h).
 *
 * After a failed fdatasync the cache holds bytes that the disk does not. So nothing is called
 * durable any more until the file is opened again, and opening drops the cache: what is read then
 * is what is on the disk.
 *
 * Locks: gate is taken for reading by a store and for writing by the injection of poison, and only
 * when opened for injection: a pwrite under way would fill the hole that is being punched.
 */
#define _GNU_SOURCE
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../errmsg.h"
#include "map.h"
#include "syncer.h"

struct file {
    struct mapping map; /* first: planted_* take it */
    struct syncer syncer;
    pthread_rwlock_t gate;
    int direct_fd; /* O_DIRECT, -1: the file system has no such thing */
};

static size_t store_some(struct media *m, struct file *f, uint64_t off, const char *src,
                         size_t bytes)
{
    size_t want = planted_short(&f->map, off, bytes);
    size_t done = 0;
    if (want > 0 && file_long_enough(m) < 0) /* a pwrite would make it longer again */
        want = 0;
    while (done < want) {
        ssize_t n = pwrite(m->fd, src + done, want - done, (off_t)(off + done));
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || errno != EINTR)
            break;
    }
    syncer_note_write(&f->syncer);
    return done / LINE_BYTES * LINE_BYTES;
}

static size_t file_store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    assert(!m->read_only && off % LINE_BYTES == 0 && bytes % LINE_BYTES == 0);
    assert(range_inside(m, off, bytes));
    struct file *f = m->impl;
    count_store(m, bytes);
    if (!m->allow_inject)
        return store_some(m, f, off, src, bytes);
    pthread_rwlock_rdlock(&f->gate);
    size_t done = store_some(m, f, off, src, bytes);
    pthread_rwlock_unlock(&f->gate);
    return done;
}

static int file_drain(struct media *m)
{
    struct file *f = m->impl;
    count_fence(m);
    return syncer_wait(&f->syncer);
}

static int sync_data(void *arg)
{
    const struct media *m = arg;
    int rc;
    do {
        rc = fdatasync(m->fd) == 0 ? 0 : -errno;
    } while (rc == -EINTR);
    return rc;
}

static int file_bad_ranges(struct media *m, int (*fn)(void *arg, uint64_t off, uint64_t bytes),
                           void *arg)
{
    return planted_bad_ranges(m, m->impl, fn, arg);
}

/* From the disk, past the cache: a lost dirty page reads back old without any error. */
static int verify_direct(struct media *m, struct file *f, uint64_t off, const void *page)
{
    _Alignas(PAGE_BYTES) char back[PAGE_BYTES];
    ssize_t n = -1;
    if (f->direct_fd >= 0)
        n = TEMP_FAILURE_RETRY(pread(f->direct_fd, back, PAGE_BYTES, (off_t)off));
    if (n < 0 && (f->direct_fd < 0 || errno == EINVAL))
        return verify_by_load(m, off, page); /* no O_DIRECT here: it must do */
    if (n != PAGE_BYTES)
        return err_fact(-EIO, "the page at %llu cannot be read from the disk after its repair: %s",
                        (unsigned long long)off, n < 0 ? strerror(errno) : "short read");
    if (memcmp(back, page, PAGE_BYTES) != 0)
        return err_fact(-EIO, "the page at %llu reads back from the disk other than written",
                        (unsigned long long)off);
    return verify_by_load(m, off, page);
}

static int file_recovery_write(struct media *m, uint64_t off, const void *page)
{
    struct file *f = m->impl;
    int rc = file_write_at(m, off, page, PAGE_BYTES);
    if (rc < 0)
        return rc;
    syncer_note_write(&f->syncer);
    rc = syncer_wait(&f->syncer);
    if (rc < 0)
        return -ENODEV; /* says nothing about this page */
    if (planted_has(&f->map, off))
        rc = planted_remove(m, &f->map, off, PAGE_BYTES);
    return rc < 0 ? rc : verify_direct(m, f, off, page);
}

static int file_inject_poison(struct media *m, uint64_t off)
{
    struct file *f = m->impl;
    pthread_rwlock_wrlock(&f->gate);
    int rc = planted_inject(m, &f->map, off);
    syncer_note_write(&f->syncer);
    pthread_rwlock_unlock(&f->gate);
    return rc < 0 ? rc : syncer_wait(&f->syncer);
}

static int file_inject_bytes(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    struct file *f = m->impl;
    if (planted_short(&f->map, off, bytes) < bytes)
        return err_fact(-EIO, "the page at %llu is poisoned", (unsigned long long)off);
    int rc = file_write_at(m, off, src, bytes);
    syncer_note_write(&f->syncer);
    return rc < 0 ? rc : syncer_wait(&f->syncer);
}

static void file_close(struct media *m)
{
    struct file *f = m->impl;
    mapping_close(m, &f->map);
    if (f->direct_fd >= 0)
        close(f->direct_fd);
    syncer_fini(&f->syncer);
    pthread_rwlock_destroy(&f->gate);
    free(f);
}

static const struct media_ops file_ops = {
    .store = file_store,
    .drain = file_drain,
    .present = file_long_enough,
    .bad_ranges = file_bad_ranges,
    .recovery_write = file_recovery_write,
    .inject_poison = file_inject_poison,
    .inject_bytes = file_inject_bytes,
    .close = file_close,
};

/* An error here is one that nobody was told yet: those pages are clean in the cache by now and go
 * with it, so a second try says whether the disk works. */
static int start_from_the_disk(struct media *m)
{
    if (m->read_only)
        return 0;
    if (sync_data(m) < 0) {
        int rc = sync_data(m);
        if (rc < 0)
            return err_fact(rc, "fdatasync: %s", strerror(-rc));
    }
    posix_fadvise(m->fd, 0, 0, POSIX_FADV_DONTNEED);
    return 0;
}

static int open_direct(const struct media *m)
{
    char self[64];
    snprintf(self, sizeof self, "/proc/self/fd/%d", m->fd);
    return (int)TEMP_FAILURE_RETRY(open(self, O_RDONLY | O_DIRECT | O_CLOEXEC));
}

int file_attach(struct media *m, const struct path_facts *facts)
{
    (void)facts;
    struct file *f = calloc(1, sizeof *f);
    if (!f)
        return err_fact(-ENOMEM, "no memory for a file");
    int rc = start_from_the_disk(m);
    if (rc < 0)
        goto undo_alloc;
    rc = mapping_open(m, &f->map, PAGE_BYTES);
    if (rc < 0)
        goto undo_alloc;
    rc = planted_add_holes(m, &f->map);
    if (rc < 0)
        goto undo_map;
    f->direct_fd = m->read_only ? -1 : open_direct(m);
    syncer_init(&f->syncer, sync_data, m);
    pthread_rwlock_init(&f->gate, NULL);
    m->impl = f;
    m->store_lines = mc_store_plain; /* unused: stores go by pwrite */
    m->ops = &file_ops;
    m->drain_is_slow = true;
    return 0;
undo_map:
    mapping_close(m, &f->map);
undo_alloc:
    free(f);
    return rc;
}
