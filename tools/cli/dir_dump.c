/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * dump --dir: records become files, a key its path.
 *
 * A key is bytes that someone else chose, so no key may lead out of the directory: absolute paths,
 * empty, "." and ".." components and NUL bytes are refused, and every component is opened without
 * following symbolic links, starting from a descriptor of the directory.
 */

#include "bytes.h"
#include "output.h"
#include "pool.h"
#include "transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct unload {
    struct tally *tally;
    uint64_t total_count, done_count;
    int root;
    /* The directory of the last file, so that neighbours need no walk: "" is the root. */
    int parent;
    struct bytes parent_path;
};

/* Why the key cannot be a path below the directory, or NULL. */
static const char *path_refusal(const unsigned char *key, size_t size)
{
    if (memchr(key, 0, size))
        return "it has a NUL byte";
    if (key[0] == '/')
        return "it is an absolute path";
    for (size_t start = 0; start <= size;) {
        const unsigned char *slash = memchr(key + start, '/', size - start);
        size_t length = (slash ? (size_t)(slash - key) : size) - start;
        if (length == 0)
            return "it has an empty path component";
        if (length == 1 && key[start] == '.')
            return "it has a path component \".\"";
        if (length == 2 && key[start] == '.' && key[start + 1] == '.')
            return "it has a path component \"..\"";
        start += length + 1;
    }
    return NULL;
}

static void fail_item(struct unload *unload, const struct pmkv_item *item, const char *doing)
{
    int error = errno;
    char *key = out_escaped_string(item->key, item->key_bytes);

    errno = error;
    tally_fail(unload->tally, cli_fail_errno(doing, key));
    free(key);
}

static void refuse_item(struct unload *unload, const struct pmkv_item *item, enum cli_exit code,
                        const char *why)
{
    char *key = out_escaped_string(item->key, item->key_bytes);

    tally_fail(unload->tally, cli_fail_text(code, "key \"%s\": %s", key, why));
    free(key);
}

static void refuse_path(struct unload *unload, const struct pmkv_item *item, const char *reason)
{
    char why[200];

    snprintf(why, sizeof(why), "not written, %s; `pmkv-cli dump` without --dir takes every key",
             reason);
    refuse_item(unload, item, CLI_UNSUPPORTED, why);
}

static void leave_parent(struct unload *unload)
{
    if (unload->parent != unload->root)
        close(unload->parent);
    unload->parent = unload->root;
    unload->parent_path.size = 0;
}

/* Goes one directory down, making it if needed. */
static bool enter(struct unload *unload, const char *name)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd;

    if (mkdirat(unload->parent, name, 0777) != 0 && errno != EEXIST)
        return false;
    fd = openat(unload->parent, name, flags);
    if (fd < 0)
        return false;
    if (unload->parent != unload->root)
        close(unload->parent);
    unload->parent = fd;
    return true;
}

/* Makes `path`, which ends before its last slash, the parent; false with errno. */
static bool enter_path(struct unload *unload, const char *path, size_t size)
{
    if (unload->parent_path.size == size &&
        (size == 0 || memcmp(unload->parent_path.data, path, size) == 0))
        return true;
    leave_parent(unload);
    char *copy = strndup(path, size);
    char *rest = copy;
    bool entered = copy != NULL;
    for (char *name = strtok_r(copy, "/", &rest); entered && name;
         name = strtok_r(NULL, "/", &rest))
        entered = enter(unload, name);
    int error = errno;
    free(copy);
    if (entered)
        bytes_append(&unload->parent_path, path, size);
    else
        leave_parent(unload);
    errno = error;
    return entered;
}

/* Writes the value to an open file; what was in it before goes. */
static bool fill_file(int fd, const struct pmkv_item *item)
{
    struct stat st;

    if (fstat(fd, &st) != 0)
        return false;
    if (!S_ISREG(st.st_mode) || pool_is_file(fd)) {
        errno = EEXIST;
        return false;
    }
    return ftruncate(fd, 0) == 0 && write_all(fd, item->value, item->value_bytes);
}

static void write_file(struct unload *unload, const struct pmkv_item *item, const char *name)
{
    /* No O_TRUNC yet: first look at what is there. O_NONBLOCK: it may be a FIFO. */
    int flags = O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    int fd = openat(unload->parent, name, flags, 0666);

    if (fd < 0) {
        fail_item(unload, item, "create");
        return;
    }
    bool is_written = fill_file(fd, item);
    int error = errno;
    if (close(fd) != 0 && is_written) {
        is_written = false;
        error = errno;
    }
    errno = error;
    if (!is_written) {
        fail_item(unload, item, "write");
        return;
    }
    unload->tally->record_count++;
    unload->tally->byte_count += item->key_bytes + item->value_bytes;
}

static void dump_path(struct unload *unload, const struct pmkv_item *item)
{
    char *path = strndup(item->key, item->key_bytes);

    if (!path)
        cli_out_of_memory();
    const char *slash = strrchr(path, '/');
    if (enter_path(unload, path, slash ? (size_t)(slash - path) : 0))
        write_file(unload, item, slash ? slash + 1 : path);
    else
        fail_item(unload, item, "make the directory of");
    free(path);
}

static int dump_item(void *arg, const struct pmkv_item *item)
{
    struct unload *unload = arg;
    const char *reason = path_refusal(item->key, item->key_bytes);

    if (item->status != PMKV_OK)
        refuse_item(unload, item, CLI_LOST, pmkv_strerror(item->status));
    else if (reason)
        refuse_path(unload, item, reason);
    else
        dump_path(unload, item);
    bool is_full = unload->tally->code == CLI_FULL;
    return is_full || tally_show(unload->tally, "files", ++unload->done_count, unload->total_count);
}

static int open_root(const char *directory)
{
    if (mkdir(directory, 0777) != 0 && errno != EEXIST)
        return -1;
    return open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

void dump_directory(struct pmkv *kv, const char *directory, struct tally *tally)
{
    struct unload unload = {.tally = tally, .root = open_root(directory)};

    if (unload.root < 0) {
        tally_fail(tally, cli_fail_errno("make the directory", directory));
        return;
    }
    unload.parent = unload.root;
    enum pmkv_status status = pmkv_count(kv, &unload.total_count);
    if (status == PMKV_OK)
        status = pmkv_foreach(kv, 0, dump_item, &unload);
    if (status != PMKV_OK && status != PMKV_E_STOPPED)
        tally_fail(tally, cli_fail(status));
    leave_parent(&unload);
    close(unload.root);
    bytes_free(&unload.parent_path);
}
