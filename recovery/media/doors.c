/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The doors of media.h that are the same for every backend. */
#include <sys/mman.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "../errmsg.h"
#include "../fault_guard.h"
#include "backend.h"

/* --- the normal door -------------------------------------------------------------------------- */

void media_populate(struct media *m, uint64_t off, size_t bytes)
{
    /* A file's stores go by pwrite; mapping its pages for writing would only make them dirty. */
    int advice =
        m->backend == MEDIA_FILE || m->read_only ? MADV_POPULATE_READ : MADV_POPULATE_WRITE;
    if (m->base && off < m->size && bytes <= m->size - off)
        (void)madvise(m->base + off, bytes, advice);
}

size_t media_touch(struct media *m, uint64_t off, size_t bytes)
{
    assert(range_inside(m, off, bytes));
    if (!m->ops->load)
        return mc_touch(m->base + off, bytes);
    char line[LINE_BYTES];
    for (size_t done = 0; done < bytes;) {
        size_t n = bytes - done < LINE_BYTES ? bytes - done : LINE_BYTES;
        size_t got = media_load(m, off + done, line, n);
        done += got;
        if (got < n)
            return done;
    }
    return bytes;
}

int media_present(struct media *m)
{
    return m->ops->present(m);
}

int media_bad_ranges(struct media *m, int (*fn)(void *arg, uint64_t off, uint64_t bytes), void *arg)
{
    return m->ops->bad_ranges ? m->ops->bad_ranges(m, fn, arg) : -ENOTSUP;
}

bool media_take_async(struct media *m, uint64_t *off)
{
    uintptr_t addr;
    if (!m->base || !fault_guard_take_async(m->base, m->size, &addr))
        return false;
    *off = (addr - (uintptr_t)m->base) / PAGE_BYTES * PAGE_BYTES;
    if (m->ops->await_listed)
        m->ops->await_listed(m, *off);
    return true;
}

int media_unsafe_shutdowns(struct media *m, uint64_t *count)
{
    return m->ops->unsafe_shutdowns ? m->ops->unsafe_shutdowns(m, count) : -ENOTSUP;
}

/* --- the recovery door ------------------------------------------------------------------------ */

struct media_recovery media_recover(struct media *m, uint64_t off)
{
    assert(off % PAGE_BYTES == 0 && range_inside(m, off, PAGE_BYTES));
    fault_guard_thread();
    return (struct media_recovery){.media = m, .off = off};
}

static bool told_to_fail(struct media *m, uint64_t off)
{
    bool found = false;
    pthread_mutex_lock(&m->clear_fails_lock);
    for (size_t i = 0; i < m->clear_fails_count && !found; i++)
        found = m->clear_fails[i] == off;
    pthread_mutex_unlock(&m->clear_fails_lock);
    return found;
}

/* The backends speak of the kernel's errors; only these say that there is no verdict. */
static int verdict(int rc)
{
    switch (rc) {
    case 0:
    case -ENODEV:
    case -ENOMEM:
    case -ENOSPC:
        return rc;
    default:
        return -EIO;
    }
}

int media_recovery_write(struct media_recovery h, const void *page)
{
    struct media *m = h.media;
    unsigned long long off = h.off;
    if (m->read_only)
        return err_fact(-EROFS, "page at %llu: the pool is open read-only", off);
    if (media_present(m) < 0)
        return err_phrase(-ENODEV, "page at %llu is not repaired", off);
    if (told_to_fail(m, h.off))
        return err_fact(-EIO, "recovery write of the page at %llu was told to fail", off);
    int rc = m->ops->recovery_write(m, h.off, page);
    if (rc < 0 && media_present(m) < 0) /* it went meanwhile: that failure says nothing */
        return err_phrase(-ENODEV, "page at %llu is not repaired", off);
    return rc < 0 ? err_phrase(verdict(rc), "recovery write of the page at %llu", off) : 0;
}

/* --- fault injection -------------------------------------------------------------------------- */

static int may_inject(struct media *m, uint64_t off, uint64_t bytes)
{
    if (!m->allow_inject)
        return err_fact(-EPERM, "the pool was not opened for fault injection");
    if (!range_inside(m, off, bytes))
        return err_fact(-EINVAL, "%llu bytes at %llu are outside the pool of %llu bytes",
                        (unsigned long long)bytes, (unsigned long long)off,
                        (unsigned long long)m->size);
    return 0;
}

static int may_inject_page(struct media *m, uint64_t off)
{
    if (off % PAGE_BYTES != 0)
        return err_fact(-EINVAL, "%llu is not the offset of a page", (unsigned long long)off);
    return may_inject(m, off, PAGE_BYTES);
}

int media_inject_poison(struct media *m, uint64_t off)
{
    int rc = may_inject_page(m, off);
    return rc < 0 ? rc : m->ops->inject_poison(m, off);
}

int media_inject_bytes(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    int rc = may_inject(m, off, bytes);
    return rc < 0 ? rc : m->ops->inject_bytes(m, off, src, bytes);
}

int media_inject_clear_fails(struct media *m, uint64_t off)
{
    int rc = may_inject_page(m, off);
    if (rc < 0 || told_to_fail(m, off))
        return rc;
    pthread_mutex_lock(&m->clear_fails_lock);
    size_t room = m->clear_fails_count + 1;
    uint64_t *grown = realloc(m->clear_fails, room * sizeof *grown);
    if (grown) {
        grown[m->clear_fails_count++] = off;
        m->clear_fails = grown;
    } else {
        rc = err_fact(-ENOMEM, "no memory for the list of pages");
    }
    pthread_mutex_unlock(&m->clear_fails_lock);
    return rc;
}
