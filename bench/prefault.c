/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "prefault.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <linux/magic.h>

/* Since Linux 5.14; on an older one they fail, and pages are mapped as they are touched. */
enum { POPULATE_READ = 22, POPULATE_WRITE = 23 };

static bool is_memory(const char *path)
{
    struct statfs fs;
    return statfs(path, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC);
}

/*
 * A virtual machine may have page tables of its own below those of its guest, which are filled when
 * the processor touches a page: the call maps it and touches nothing. The second touch costs less
 * than a line of memory.
 */
static void touch_pages(const char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 4096)
        (void)*(const volatile char *)(at + i);
}

static void map_pages(uint64_t from, size_t bytes, bool writable, bool touch)
{
    void *at = (void *)(uintptr_t)from;
    if (madvise(at, bytes, writable ? POPULATE_WRITE : POPULATE_READ) == 0 && touch)
        touch_pages(at, bytes);
}

/* Of a map that begins there in the file. Beyond the end of the file there are no pages. */
static size_t bytes_there(char *name, uint64_t map_bytes, uint64_t off)
{
    struct stat st;
    name[strcspn(name, "\n")] = 0;
    if (stat(name, &st) != 0 || (uint64_t)st.st_size <= off)
        return 0;
    uint64_t left = (uint64_t)st.st_size - off;
    return (size_t)(left < map_bytes ? left : map_bytes) & ~(size_t)4095;
}

void prefault(const char *path, bool touch)
{
    char line[4096 + 128];
    if (!is_memory(path))
        return;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long long from, to, off;
        char rights[5], *name = strchr(line, '/');
        if (name && strncmp(name, path, strlen(path)) == 0 &&
            sscanf(line, "%llx-%llx %4s %llx", &from, &to, rights, &off) == 4 && rights[3] == 's')
            map_pages(from, bytes_there(name, to - from, off), rights[1] == 'w', touch);
    }
    if (maps)
        fclose(maps);
}
