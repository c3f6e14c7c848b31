/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * usage: page extents FILE            where the file is on its device: "offset place bytes" a line
 *        page poison FILE OFFSET      MADV_HWPOISON: the kernel takes the page for broken
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum { PAGE = 4096, EXTENTS = 256 };

static sigjmp_buf escape;

static void on_sigbus(int sig)
{
    (void)sig;
    siglongjmp(escape, 1);
}

static int fail(const char *what)
{
    fprintf(stderr, "page: %s: %s\n", what, strerror(errno));
    return 1;
}

static int extents(int fd)
{
    struct fiemap *map = calloc(1, sizeof *map + EXTENTS * sizeof map->fm_extents[0]);
    map->fm_length = FIEMAP_MAX_OFFSET;
    map->fm_flags = FIEMAP_FLAG_SYNC;
    map->fm_extent_count = EXTENTS;
    if (ioctl(fd, FS_IOC_FIEMAP, map) != 0)
        return fail("FIEMAP");
    for (unsigned i = 0; i < map->fm_mapped_extents; i++)
        printf("%llu %llu %llu\n", (unsigned long long)map->fm_extents[i].fe_logical,
               (unsigned long long)map->fm_extents[i].fe_physical,
               (unsigned long long)map->fm_extents[i].fe_length);
    free(map);
    return 0;
}

static char *map_page(int fd, uint64_t offset)
{
    char *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)offset);
    return at == MAP_FAILED ? NULL : at;
}

static int poison(int fd, uint64_t offset)
{
    volatile char *at = map_page(fd, offset);
    if (!at)
        return fail("mmap");
    signal(SIGBUS, on_sigbus);
    if (sigsetjmp(escape, 1) == 0) { /* the signal may come inside madvise */
        (void)*at;
        if (madvise((void *)at, PAGE, MADV_HWPOISON) != 0 && errno != EBUSY)
            return fail("MADV_HWPOISON"); /* busy: held by somebody, poisoned all the same */
    }
    return 0;
}

int main(int argc, char **argv)
{
    uint64_t offset = argc > 3 ? strtoull(argv[3], NULL, 0) : 0;
    if (argc < 3) {
        fprintf(stderr, "usage: page extents|poison FILE [OFFSET]\n");
        return 2;
    }
    int fd = open(argv[2], O_RDWR);
    if (fd < 0)
        return fail(argv[2]);
    if (strcmp(argv[1], "extents") == 0)
        return extents(fd);
    if (strcmp(argv[1], "poison") == 0)
        return poison(fd, offset);
    return 2;
}
