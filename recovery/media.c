/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Opening, making and closing a medium.
 *
 * Order at open: look at the path, choose the backend, open, lock, read the size (nobody can cut
 * or grow the file who takes the lock as we do), map. Order at create: the file is made exclusively
 * and locked before it gets its blocks, so that two creators never share one; on failure it is
 * removed while still locked.
 *
 * The lock is an open-file-description lock: it works across containers, ends with the process, and
 * is not lost when another descriptor of the file is closed. A child made by fork shares it, so it
 * is taken back explicitly, by the opener alone.
 */
#define _GNU_SOURCE
#include "media.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "errmsg.h"
#include "fault_guard.h"
#include "media/holes.h"
#include "media/map.h"

const char *media_backend_name(enum media_backend backend)
{
    static const char *const names[] = {"auto", "fsdax", "devdax", "shm", "file", "sim"};
    return (unsigned)backend < sizeof names / sizeof *names ? names[backend] : "unknown";
}

/* --- an empty file ---------------------------------------------------------------------------- */

static size_t empty_load(struct media *m, uint64_t off, void *dst, size_t bytes)
{
    (void)m, (void)off, (void)dst, (void)bytes;
    return 0;
}

static size_t empty_store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    (void)m, (void)off, (void)src, (void)bytes;
    return 0;
}

static int empty_drain(struct media *m)
{
    (void)m;
    return 0;
}

static void empty_close(struct media *m)
{
    (void)m;
}

static const struct media_ops empty_ops = {
    .load = empty_load,
    .store = empty_store,
    .drain = empty_drain,
    .present = file_long_enough,
    .close = empty_close,
};

/* --- open ------------------------------------------------------------------------------------- */

static bool needs_writing(const struct media_args *args)
{
    return !args->read_only || args->allow_inject;
}

static int lock_file(int fd, bool read_only)
{
    struct flock lock = {.l_type = read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};
    if (TEMP_FAILURE_RETRY(fcntl(fd, F_OFD_SETLK, &lock)) == 0)
        return 0;
    if (errno == EAGAIN || errno == EACCES)
        return err_fact(-EBUSY, "it is open elsewhere (locked)");
    return err_fact(-errno, "cannot lock it: %s", strerror(errno));
}

bool media_in_use(const struct media *m)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
    return TEMP_FAILURE_RETRY(fcntl(m->fd, F_OFD_GETLK, &lock)) == 0 && lock.l_type != F_UNLCK;
}

static void unlock_file(const struct media *m)
{
    struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};
    if (m->opener == getpid())
        fcntl(m->fd, F_OFD_SETLK, &lock);
}

static int read_size(struct media *m)
{
    struct pmem2_source *source = NULL;
    size_t bytes = 0;
    int rc = pmem2_source_from_fd(&source, m->fd);
    if (rc == 0) {
        rc = pmem2_source_size(source, &bytes);
        pmem2_source_delete(&source);
    }
    if (rc != 0)
        return pmem2_fact(rc, "cannot read its size");
    m->size = bytes / PAGE_BYTES * PAGE_BYTES;
    return 0;
}

static int attach(struct media *m, const struct path_facts *f)
{
    if (m->size == 0) {
        m->ops = &empty_ops;
        return 0;
    }
    switch (m->backend) { /* unreached: a device */
    case MEDIA_FSDAX:
        return fsdax_attach(m, f);
    /* unreached: it needs a device (tests/vm has one). */
    case MEDIA_DEVDAX:
        return devdax_attach(m, f);
    case MEDIA_SHM:
        return shm_attach(m, f);
    default:
        return file_attach(m, f);
    }
}

/* A medium that knows what it is, with nothing open yet. */
static int prepare(const char *path, const struct path_facts *f, const struct media_args *args,
                   struct media **out)
{
    enum media_backend backend;
    int rc = path_choose(f, args->backend, &backend);
    if (rc < 0)
        return rc;
    struct media *m = media_new();
    if (!m)
        return -ENOMEM;
    m->backend = backend;
    m->durability = path_durability(f, backend);
    m->loss_unit = f->unit;
    m->read_only = args->read_only;
    m->allow_inject = args->allow_inject;
    snprintf(m->path, sizeof m->path, "%s", path);
    path_reason(f, backend, m->reason, sizeof m->reason);
    *out = m;
    return 0;
}

static void discard(struct media *m)
{
    if (m->fd >= 0) {
        unlock_file(m);
        close(m->fd);
    }
    media_delete(m);
}

/* The locked file becomes a medium. */
static int start(struct media *m, const struct path_facts *f, const struct media_args *args)
{
    int rc = read_size(m);
    if (rc < 0)
        return rc;
    rc = fault_guard_install(args->filter_only);
    if (rc < 0)
        return err_fact(rc, "cannot install the SIGBUS handler: %s", strerror(-rc));
    fault_guard_thread();
    return attach(m, f);
}

int media_open(const char *path, const struct media_args *args, struct media **out)
{
    struct path_facts f;
    int rc = path_look(path, &f);
    if (rc < 0)
        return rc;
    if (f.kind == PATH_ABSENT)
        return err_fact(-ENOENT, "there is no such file");
    struct media *m;
    rc = prepare(path, &f, args, &m);
    if (rc < 0)
        return rc;
    int flags = (needs_writing(args) ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY;
    m->fd = (int)TEMP_FAILURE_RETRY(open(path, flags));
    if (m->fd < 0) {
        rc = err_fact(-errno, "open: %s", strerror(errno));
        goto undo;
    }
    rc = args->unlocked ? 0 : lock_file(m->fd, args->read_only);
    if (rc == 0)
        rc = start(m, &f, args);
    if (rc < 0)
        goto undo;
    *out = m;
    return 0;
undo:
    discard(m);
    return rc;
}

void media_close(struct media **mp)
{
    struct media *m = *mp;
    if (!m)
        return;
    *mp = NULL;
    m->ops->close(m);
    discard(m);
}

/* --- create ----------------------------------------------------------------------------------- */

static int sync_directory_of(const struct media *m)
{
    char copy[sizeof m->path];
    memcpy(copy, m->path, sizeof copy);
    const char *directory = dirname(copy);
    int fd = (int)TEMP_FAILURE_RETRY(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd < 0)
        return err_fact(-errno, "cannot open its directory: %s", strerror(errno));
    int rc = TEMP_FAILURE_RETRY(fsync(fd)) < 0 && errno != EINVAL
                 ? err_fact(-errno, "fsync of its directory: %s", strerror(errno))
                 : 0;
    close(fd);
    return rc;
}

/* May a pool be made at this path? */
static int check_new(const struct path_facts *f)
{
    if (f->kind == PATH_REGULAR && f->size > 0)
        return err_fact(-EEXIST, "the file is there already, with %llu bytes",
                        (unsigned long long)f->size);
    if (f->kind == PATH_DIRECTORY)
        return err_fact(-EISDIR, "it is a directory");
    return 0;
}

/* Opens the file that will be the pool; *made when it was not there before and nobody else has
 * taken it since. */
static int open_new(struct media *m, const struct path_facts *f, bool *made)
{
    *made = f->kind == PATH_ABSENT;
    int flags = O_RDWR | O_CLOEXEC | O_NOCTTY | (*made ? O_CREAT | O_EXCL : 0);
    m->fd = (int)TEMP_FAILURE_RETRY(open(m->path, flags, 0600));
    if (m->fd < 0) {
        *made = false;
        return err_fact(-errno, "%s: %s", f->kind == PATH_ABSENT ? "cannot make it" : "open",
                        strerror(errno));
    }
    int rc = lock_file(m->fd, false);
    struct stat st;
    if (rc == 0 && f->kind != PATH_DEVDAX && fstat(m->fd, &st) == 0 && st.st_size > 0)
        rc = err_fact(-EEXIST, "another process has just made it");
    if (rc == -EBUSY || rc == -EEXIST) /* then it is theirs */
        *made = false;
    return rc;
}

static int fill_new(const struct media *m, const struct path_facts *f,
                    const struct media_args *args)
{
    uint64_t bytes = args->create_bytes / f->unit * f->unit;
    if (bytes == 0)
        return err_fact(-EINVAL, "a pool of %llu bytes is smaller than one unit of %llu bytes",
                        (unsigned long long)args->create_bytes, (unsigned long long)f->unit);
    if (bytes > INT64_MAX)
        return err_fact(-EFBIG, "%llu bytes are more than a file can have",
                        (unsigned long long)bytes);
    int rc = holes_fill(m->fd, bytes, !f->hugetlbfs, f->tmpfs);
    return rc < 0 ? rc : sync_directory_of(m);
}

/* Gives everything back that create took; while still locked. */
static void undo_new(struct media *m, bool made, bool filled)
{
    if (made)
        unlink(m->path);
    else if (filled && ftruncate(m->fd, 0) < 0)
        err_phrase(0, "the file could not be emptied again");
}

int media_create(const char *path, const struct media_args *args, struct media **out)
{
    struct path_facts f;
    int rc = path_look(path, &f);
    if (rc < 0)
        return rc;
    rc = check_new(&f);
    if (rc < 0)
        return rc;
    struct media *m;
    rc = prepare(path, &f, args, &m);
    if (rc < 0)
        return rc;
    bool made = false, filled = false;
    rc = open_new(m, &f, &made);
    if (rc == 0 && m->backend != MEDIA_DEVDAX) {
        filled = true;
        rc = fill_new(m, &f, args);
    }
    if (rc == 0)
        rc = start(m, &f, args);
    if (rc < 0) {
        undo_new(m, made, filled);
        discard(m);
        return rc;
    }
    *out = m;
    return 0;
}
