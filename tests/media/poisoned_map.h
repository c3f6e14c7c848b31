/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A mapping with real poison in the middle: 64 KiB of good pages, a page of an empty memfd (past
 * its end, so touching it raises a true SIGBUS), as many good pages again. Works on any kernel and
 * under valgrind.
 */
#ifndef PMKV_TESTS_MEDIA_POISONED_MAP_H
#define PMKV_TESTS_MEDIA_POISONED_MAP_H

#include <criterion/criterion.h>

#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MAP_PAGE = 4096, EDGE = 64 << 10, AFTER = EDGE + MAP_PAGE, MAP_BYTES = AFTER + EDGE };

/* Never zero, and not the same in neighbouring lines or pages. */
static inline unsigned char pattern(size_t i)
{
    return (unsigned char)(1 + (i * 7 + i / 251) % 255);
}

static inline char *map_poisoned(void)
{
    int fd = memfd_create("pool", 0);
    cr_assert(fd >= 0 && ftruncate(fd, MAP_BYTES) == 0);
    char *base = mmap(NULL, MAP_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    cr_assert(base != MAP_FAILED);
    close(fd);
    for (size_t i = 0; i < MAP_BYTES; i++)
        base[i] = (char)pattern(i);
    int empty = memfd_create("poison", 0);
    cr_assert(empty >= 0);
    void *poison =
        mmap(base + EDGE, MAP_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, empty, 0);
    cr_assert(poison == base + EDGE);
    close(empty);
    return base;
}

/* The page is good again (and holds zeros): the instruction that faulted can go on. */
static inline void map_heal(char *base)
{
    void *page = mmap(base + EDGE, MAP_PAGE, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (page != base + EDGE)
        _exit(99);
}

#endif
