/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * load --dir: a directory tree becomes records, a file's path its key.
 *
 * The walk goes from directory to directory by descriptors, so paths may be longer than PATH_MAX
 * and nobody can swing a symbolic link under it.
 */

#include "bulk.h"
#include "bytes.h"
#include "output.h"
#include "pool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct walk {
    struct bulk bulk;
    struct tally *tally;
    struct bytes path; /* of the entry at hand, relative to the root: the key */
    struct bytes file; /* its content */
};

/* Reports errno of the entry at hand; the walk goes on. */
static void fail_entry(struct walk *walk, const char *doing)
{
    int error = errno;
    char *path = out_escaped_string(walk->path.data, walk->path.size);

    errno = error;
    tally_fail(walk->tally, cli_fail_errno(doing, path));
    free(path);
}

/* A pool cannot contain itself: it grows while it is read. */
static bool is_pool(struct walk *walk, int fd)
{
    if (!pool_is_file(fd))
        return false;
    char *path = out_escaped_string(walk->path.data, walk->path.size);
    cli_warn("%s is the pool itself: skipped", path);
    free(path);
    walk->tally->skipped_count++;
    return true;
}

static void fail_too_large(struct walk *walk, uint64_t size)
{
    char *path = out_escaped_string(walk->path.data, walk->path.size);

    tally_fail(walk->tally,
               cli_fail_text(CLI_USAGE, "%s: %llu bytes; a value holds at most %llu bytes (1 GiB)",
                             path, (unsigned long long)size,
                             (unsigned long long)PMKV_MAX_VALUE_BYTES));
    free(path);
}

static bool put_file(struct walk *walk, int fd)
{
    struct stat st;

    if (fstat(fd, &st) != 0) {
        fail_entry(walk, "look at");
        return true;
    }
    if (is_pool(walk, fd))
        return true;
    if ((uint64_t)st.st_size > PMKV_MAX_VALUE_BYTES) {
        fail_too_large(walk, (uint64_t)st.st_size);
        return true;
    }
    walk->file.size = 0;
    bytes_reserve(&walk->file, (size_t)st.st_size + 1);
    if (!bytes_read(&walk->file, fd, PMKV_MAX_VALUE_BYTES + 1)) {
        fail_entry(walk, "read");
        return true;
    }
    return bulk_put(&walk->bulk, walk->path.data, walk->path.size, walk->file.data, walk->file.size,
                    0);
}

static bool load_file(struct walk *walk, int directory, const char *name)
{
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0) {
        fail_entry(walk, "open");
        return true;
    }
    bool go_on = put_file(walk, fd);
    close(fd);
    return go_on;
}

static bool walk_directory(struct walk *walk, int fd);

static bool load_subdirectory(struct walk *walk, int directory, const char *name)
{
    int fd = openat(directory, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd < 0) {
        fail_entry(walk, "open");
        return true;
    }
    return walk_directory(walk, fd);
}

static bool load_entry(struct walk *walk, int directory, const char *name)
{
    struct stat st;

    if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        fail_entry(walk, "look at");
        return true;
    }
    if (S_ISDIR(st.st_mode))
        return load_subdirectory(walk, directory, name);
    if (S_ISREG(st.st_mode))
        return load_file(walk, directory, name);
    walk->tally->skipped_count++;
    return true;
}

static bool load_named(struct walk *walk, int directory, const char *name)
{
    size_t parent_size = walk->path.size;

    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return true;
    if (parent_size)
        bytes_push(&walk->path, '/');
    bytes_append(&walk->path, name, strlen(name));
    bool go_on = load_entry(walk, directory, name) &&
                 !tally_show(walk->tally, "records", walk->tally->record_count, 0);
    walk->path.size = parent_size;
    return go_on;
}

/* Takes `fd` over. */
static bool walk_directory(struct walk *walk, int fd)
{
    DIR *directory = fdopendir(fd);
    bool go_on = true;

    if (!directory) {
        fail_entry(walk, "read");
        close(fd);
        return true;
    }
    while (go_on) {
        errno = 0;
        const struct dirent *entry = readdir(directory);
        if (!entry)
            break;
        go_on = load_named(walk, fd, entry->d_name);
    }
    if (go_on && errno != 0)
        fail_entry(walk, "read");
    closedir(directory);
    return go_on;
}

void load_directory(struct pmkv *kv, const char *directory, struct tally *tally)
{
    struct walk walk = {.tally = tally};
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0) {
        tally_fail(tally, cli_fail_errno("open the directory", directory));
        return;
    }
    if (bulk_start(&walk.bulk, kv, tally)) {
        bool go_on = walk_directory(&walk, fd);
        bulk_end(&walk.bulk, go_on || progress_interrupted());
    } else {
        close(fd);
    }
    bytes_free(&walk.path);
    bytes_free(&walk.file);
}
