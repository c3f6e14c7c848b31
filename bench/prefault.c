/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "prefault.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include <linux/magic.h>

/* Since Linux 5.14; on an older one they fail, and pages are mapped as they are touched. */
enum { POPULATE_READ = 22, POPULATE_WRITE = 23 };

static bool is_memory(const char *path)
{
    struct statfs fs;
    return statfs(path, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == HUGETLBFS_MAGIC);
}

/* What has no page behind it (a map longer than its file) ends this, and needs none. */
static void map_pages(uint64_t from, uint64_t to, bool writable)
{
    madvise((void *)(uintptr_t)from, to - from, writable ? POPULATE_WRITE : POPULATE_READ);
}

void prefault(const char *path)
{
    char line[4096 + 128];
    if (!is_memory(path))
        return;
    FILE *maps = fopen("/proc/self/maps", "re");
    while (maps && fgets(line, sizeof line, maps)) {
        unsigned long long from, to;
        char rights[5];
        const char *name = strchr(line, '/');
        if (name && strncmp(name, path, strlen(path)) == 0 &&
            sscanf(line, "%llx-%llx %4s", &from, &to, rights) == 3 && rights[3] == 's')
            map_pages(from, to, rights[1] == 'w');
    }
    if (maps)
        fclose(maps);
}
