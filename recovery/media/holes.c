/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#define _GNU_SOURCE
#include "holes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "../errmsg.h"
#include "../media.h"

/* Small, so that ext4 does not gather the file in large folios: then a 4 KiB write would go to the
 * disk as up to 1 MiB. */
enum { ZERO_BYTES = 65536 };

static uint64_t bytes_free(const struct statfs *fs)
{
    return (uint64_t)fs->f_bavail * (uint64_t)fs->f_bsize;
}

static int no_space(int code, uint64_t left, uint64_t bytes)
{
    return err_fact(code, "cannot allocate %llu bytes (%llu bytes are free): %s",
                    (unsigned long long)bytes, (unsigned long long)left, strerror(-code));
}

/* Asked first, because fallocate takes all there is from everybody else before it fails. Reserved
 * blocks count: root may use them. File systems without a size of their own say 0 blocks. */
static bool cannot_fit(int fd, const struct statfs *fs, uint64_t bytes)
{
    struct stat st;
    if (fs->f_blocks == 0 || fstat(fd, &st) != 0)
        return false;
    return bytes > (uint64_t)fs->f_bfree * (uint64_t)fs->f_bsize + (uint64_t)st.st_blocks * 512;
}

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* Linux 6.1 */
#endif

enum { HUGE_PAGE_BYTES = 2 << 20 };

/* A mapping of the file in which its huge pages are aligned; MAP_FAILED. */
static char *map_aligned(int fd, uint64_t bytes)
{
    char *at = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return at;
    uint64_t skip = -(uintptr_t)at & (HUGE_PAGE_BYTES - 1);
    char *map = mmap(at + skip, bytes, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0);
    munmap(at, skip); /* nothing of it where it was aligned */
    munmap(at + skip + (map == MAP_FAILED ? 0 : bytes),
           HUGE_PAGE_BYTES - skip + (map == MAP_FAILED ? bytes : 0));
    return map;
}

/* Gives a new file on tmpfs huge pages, whatever the mount asks for: one page in each 2 MiB is
 * written, and the kernel told to make huge pages of them, which is also quicker than taking 512
 * small ones. The file keeps them for every later mapping; point reads are then about 1.5 times as
 * fast. Best effort: where it does not work the caller's fallocate takes small pages. */
static void fill_huge(int fd, uint64_t bytes)
{
    uint64_t whole = bytes / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
    if (whole == 0 || ftruncate(fd, (off_t)bytes) < 0)
        return;
    char *map = map_aligned(fd, whole);
    if (map == MAP_FAILED)
        return;
    bool written = true;
    for (uint64_t off = 0; off < whole && written; off += HUGE_PAGE_BYTES)
        written = pwrite(fd, "", 1, (off_t)off) == 1;
    if (written)
        (void)madvise(map, whole, MADV_COLLAPSE);
    munmap(map, whole);
}

static int reserve(int fd, uint64_t bytes, bool must, bool huge)
{
    struct statfs fs = {0};
    int rc = (int)TEMP_FAILURE_RETRY(fstatfs(fd, &fs));
    if (rc == 0 && cannot_fit(fd, &fs, bytes))
        return no_space(-ENOSPC, bytes_free(&fs), bytes);
    if (huge)
        fill_huge(fd, bytes);
    do {
        rc = fallocate(fd, 0, 0, (off_t)bytes) == 0 ? 0 : -errno;
    } while (rc == -EINTR);
    if (rc == -EOPNOTSUPP && !must)
        return 0; /* writing the zeros allocates as well, it only fails later */
    return rc < 0 ? no_space(rc, bytes_free(&fs), bytes) : 0;
}

static int write_zeros(int fd, uint64_t bytes)
{
    char *zeros = calloc(1, ZERO_BYTES);
    if (!zeros)
        return err_fact(-ENOMEM, "no memory for %d bytes", ZERO_BYTES);
    int rc = 0;
    for (uint64_t off = 0; off < bytes && rc == 0;) {
        size_t want = bytes - off < ZERO_BYTES ? (size_t)(bytes - off) : ZERO_BYTES;
        ssize_t n = pwrite(fd, zeros, want, (off_t)off);
        if (n > 0)
            off += (uint64_t)n;
        else if (n == 0 || errno != EINTR)
            rc = no_space(n == 0 ? -ENOSPC : -errno, off, bytes);
    }
    free(zeros);
    return rc;
}

static int refuse_hole(void *arg, uint64_t off, uint64_t bytes)
{
    (void)arg;
    return err_fact(
        -ENOTSUP,
        "the file system keeps no blocks for zeros (%llu bytes at %llu are a hole after "
        "writing them): it compresses or detects zeros, a pool cannot live on it",
        (unsigned long long)bytes, (unsigned long long)off);
}

int holes_fill(int fd, uint64_t bytes, bool zeros, bool huge)
{
    int rc = reserve(fd, bytes, !zeros, huge);
    if (rc < 0 || !zeros)
        return rc;
    rc = write_zeros(fd, bytes);
    if (rc < 0)
        return rc;
    if (TEMP_FAILURE_RETRY(fsync(fd)) < 0)
        return err_fact(-errno, "fsync of the new file: %s", strerror(errno));
    rc = holes_foreach(fd, bytes, refuse_hole, NULL);
    if (rc == -ENOTSUP && lseek(fd, 0, SEEK_HOLE) < 0)
        rc = 0; /* no list of holes here; the blocks are there all the same */
    if (rc == 0)
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    return rc;
}

int holes_foreach(int fd, uint64_t size, int (*fn)(void *arg, uint64_t off, uint64_t bytes),
                  void *arg)
{
    uint64_t next = 0; /* first offset not reported yet */
    while (next < size) {
        off_t hole = lseek(fd, (off_t)next, SEEK_HOLE);
        if (hole < 0)
            return errno == ENXIO ? 0 : err_fact(-ENOTSUP, "SEEK_HOLE: %s", strerror(errno));
        if ((uint64_t)hole >= size)
            return 0;
        off_t data = lseek(fd, hole, SEEK_DATA);
        if (data < 0 && errno != ENXIO)
            return err_fact(-ENOTSUP, "SEEK_DATA: %s", strerror(errno));
        uint64_t end = data < 0 || (uint64_t)data > size ? size : (uint64_t)data;
        uint64_t from = (uint64_t)hole / PAGE_BYTES * PAGE_BYTES;
        end = (end + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        if (from < end) { /* not filled since */
            int rc = fn(arg, from, end - from);
            if (rc != 0)
                return rc;
        }
        next = end;
    }
    return 0;
}

int holes_punch(int fd, uint64_t off, uint64_t bytes)
{
    int rc;
    do {
        rc =
            fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)off, (off_t)bytes) == 0
                ? 0
                : -errno;
    } while (rc == -EINTR);
    return rc < 0 ? err_fact(rc, "cannot punch %llu bytes at %llu out of the file: %s",
                             (unsigned long long)bytes, (unsigned long long)off, strerror(-rc))
                  : 0;
}
