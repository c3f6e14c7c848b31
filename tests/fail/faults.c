/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "faults.h"

#include <errno.h>
#include <fcntl.h>
#include <libpmem2.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

enum { SHORT = -1, END = 0, AGAIN_TRANSIENT = 3 };

struct ndctl_ctx;

static struct {
    pthread_mutex_t lock; /* guards all of it */
    bool armed, hit;
    enum faults_class classes;
    const char *only; /* the one function whose calls count; NULL: all */
    unsigned nth, variant, count, again;
    int error;
    const char *call;
    struct faults_report report;
} state = {.lock = PTHREAD_MUTEX_INITIALIZER};

void faults_plan(enum faults_class classes, unsigned nth, unsigned variant)
{
    state.classes = classes;
    state.only = NULL;
    state.nth = nth;
    state.variant = variant;
}

void faults_plan_call(const char *call)
{
    faults_plan(FAULTS_ALL, 1, 0);
    state.only = call;
}

void faults_arm(void)
{
    pthread_mutex_lock(&state.lock);
    state.armed = true;
    state.hit = false;
    state.count = state.again = 0;
    state.error = 0;
    state.call = NULL;
    state.report = (struct faults_report){0};
    pthread_mutex_unlock(&state.lock);
}

void faults_disarm(void)
{
    pthread_mutex_lock(&state.lock);
    state.armed = false;
    pthread_mutex_unlock(&state.lock);
}

struct faults_report faults_report(void)
{
    return state.report;
}

const char *faults_text(void)
{
    static char text[160];
    snprintf(text, sizeof text, "call %u (%s) %s%s%s", state.nth, state.call ? state.call : "none",
             state.error == SHORT ? "is short" : "fails with ",
             state.error == SHORT ? "" : strerrorname_np(state.error),
             state.again ? " from then on" : "");
    return text;
}

static bool is_transient(int error)
{
    return error == EINTR || error == SHORT;
}

/* The Nth call was reached: takes the planned of its errors. */
static void hit(const char *call, const int *errors)
{
    unsigned count = 0;
    while (errors[count] != END)
        count++;
    state.hit = true;
    state.call = call;
    state.error = errors[state.variant % count];
    state.again = state.variant < count       ? 0
                  : is_transient(state.error) ? AGAIN_TRANSIENT
                                              : UINT32_MAX;
    state.report = (struct faults_report){.reached = true,
                                          .variants = 2 * count,
                                          .transient = is_transient(state.error),
                                          .lasting = state.again == UINT32_MAX,
                                          .sync = strstr(call, "sync") != NULL,
                                          .call = call};
}

/* The error that this call gets; 0: it works. */
static int injected(enum faults_class class, const char *call, const int *errors)
{
    int error = 0;
    pthread_mutex_lock(&state.lock);
    bool counts = (state.classes & class) && (!state.only || strcmp(call, state.only) == 0);
    if (state.armed && counts && ++state.count == state.nth) {
        hit(call, errors);
        error = state.error;
    } else if (state.armed && state.hit && state.again > 0 && strcmp(call, state.call) == 0) {
        if (state.again != UINT32_MAX)
            state.again--;
        error = state.error;
    }
    pthread_mutex_unlock(&state.lock);
    return error;
}

#define ERRORS(...) ((const int[]){__VA_ARGS__, END})

/* Defines the wrapper of a call that tells its errors by errno. */
#define FAILS(class, result, failed, name, parameters, arguments, errors)                          \
    result __real_##name parameters;                                                               \
    result __wrap_##name parameters;                                                               \
    result __wrap_##name parameters                                                                \
    {                                                                                              \
        int error = injected(class, #name, errors);                                                \
        if (error) {                                                                               \
            errno = error;                                                                         \
            return failed;                                                                         \
        }                                                                                          \
        return __real_##name arguments;                                                            \
    }

/* The same of one that returns its error, times `sign`. */
#define RETURNS(class, sign, name, parameters, arguments, errors)                                  \
    int __real_##name parameters;                                                                  \
    int __wrap_##name parameters;                                                                  \
    int __wrap_##name parameters                                                                   \
    {                                                                                              \
        int error = injected(class, #name, errors);                                                \
        return error ? sign * error : __real_##name arguments;                                     \
    }

/* --- memory ----------------------------------------------------------------------------------- */

#define NO_MEMORY ERRORS(ENOMEM)
FAILS(FAULTS_MEMORY, void *, NULL, malloc, (size_t bytes), (bytes), NO_MEMORY)
FAILS(FAULTS_MEMORY, void *, NULL, calloc, (size_t count, size_t each), (count, each), NO_MEMORY)
FAILS(FAULTS_MEMORY, void *, NULL, realloc, (void *old, size_t bytes), (old, bytes), NO_MEMORY)
FAILS(FAULTS_MEMORY, void *, NULL, aligned_alloc, (size_t align, size_t bytes), (align, bytes),
      NO_MEMORY)
RETURNS(FAULTS_MEMORY, 1, posix_memalign, (void **out, size_t align, size_t bytes),
        (out, align, bytes), NO_MEMORY)
FAILS(FAULTS_MEMORY, void *, MAP_FAILED, mmap,
      (void *at, size_t bytes, int protection, int flags, int fd, off_t off),
      (at, bytes, protection, flags, fd, off), NO_MEMORY)
FAILS(FAULTS_MEMORY, int, -1, madvise, (void *at, size_t bytes, int advice), (at, bytes, advice),
      ERRORS(ENOMEM, EAGAIN))
FAILS(FAULTS_MEMORY, ssize_t, -1, __getdelim, (char **line, size_t *room, int end, FILE *file),
      (line, room, end, file), NO_MEMORY)
FAILS(FAULTS_MEMORY, char *, NULL, realpath, (const char *path, char *to), (path, to),
      ERRORS(ENOMEM, EIO))

/* --- files ------------------------------------------------------------------------------------ */

FAILS(FAULTS_SYSTEM, int, -1, access, (const char *path, int mode), (path, mode), ERRORS(EIO))
FAILS(FAULTS_SYSTEM, int, -1, stat, (const char *path, struct stat *to), (path, to),
      ERRORS(EIO, EACCES, ENOMEM))
FAILS(FAULTS_SYSTEM, int, -1, fstat, (int fd, struct stat *to), (fd, to), ERRORS(EIO))
FAILS(FAULTS_SYSTEM, int, -1, statx,
      (int fd, const char *path, int flags, unsigned mask, struct statx *to),
      (fd, path, flags, mask, to), ERRORS(EIO))
FAILS(FAULTS_SYSTEM, int, -1, statfs, (const char *path, struct statfs *to), (path, to),
      ERRORS(EIO, EINTR))
FAILS(FAULTS_SYSTEM, int, -1, fstatfs, (int fd, struct statfs *to), (fd, to), ERRORS(EIO, EINTR))
FAILS(FAULTS_SYSTEM, FILE *, NULL, fopen, (const char *path, const char *mode), (path, mode),
      ERRORS(EMFILE))
FAILS(FAULTS_SYSTEM, int, -1, unlink, (const char *path), (path), ERRORS(EIO))
FAILS(FAULTS_SYSTEM, int, -1, fallocate, (int fd, int mode, off_t off, off_t bytes),
      (fd, mode, off, bytes), ERRORS(ENOSPC, EIO, EINTR))
FAILS(FAULTS_SYSTEM, int, -1, ftruncate, (int fd, off_t bytes), (fd, bytes), ERRORS(EIO, EINTR))
FAILS(FAULTS_SYSTEM, off_t, -1, lseek, (int fd, off_t off, int whence), (fd, off, whence),
      ERRORS(EIO, EINVAL))
FAILS(FAULTS_SYSTEM, int, -1, memfd_create, (const char *name, unsigned flags), (name, flags),
      ERRORS(EMFILE, ENOMEM))
RETURNS(FAULTS_SYSTEM, 1, posix_fadvise, (int fd, off_t off, off_t bytes, int advice),
        (fd, off, bytes, advice), ERRORS(EINVAL))

/* A close that fails has closed all the same. */
int __real_close(int fd);
int __wrap_close(int fd);
int __wrap_close(int fd)
{
    int error = injected(FAULTS_SYSTEM, "close", ERRORS(EIO));
    int rc = __real_close(fd);
    if (error)
        errno = error;
    return error ? -1 : rc;
}

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    int error = injected(FAULTS_SYSTEM, "open", ERRORS(EMFILE, EACCES, EIO, EINTR));
    if (error)
        errno = error;
    return error ? -1 : __real_open(path, flags, mode);
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list ap;
    va_start(ap, command);
    void *argument = va_arg(ap, void *); /* the library gives locks only */
    va_end(ap);
    int error = injected(FAULTS_SYSTEM, "fcntl", ERRORS(ENOLCK, EAGAIN, EINTR));
    if (error)
        errno = error;
    return error ? -1 : __real_fcntl(fd, command, argument);
}

static int sync_or_fail(const char *call, const int *errors)
{
    int error = injected(FAULTS_SYSTEM, call, errors);
    if (error)
        errno = error;
    return error ? -1 : 0;
}

int __wrap_fsync(int fd);
int __wrap_fsync(int fd)
{
    (void)fd;
    return sync_or_fail("fsync", ERRORS(EIO, ENOSPC, EINTR, EINVAL));
}

int __wrap_fdatasync(int fd);
int __wrap_fdatasync(int fd)
{
    (void)fd;
    return sync_or_fail("fdatasync", ERRORS(EIO, ENOSPC, EINTR));
}

/* How many bytes a call moves: half when it is to be short; 0 with errno when it fails. */
static size_t allowed(const char *call, size_t bytes, const int *errors)
{
    int error = injected(FAULTS_SYSTEM, call, errors);
    if (error == SHORT)
        return (bytes + 1) / 2;
    errno = error;
    return error ? 0 : bytes;
}

ssize_t __real_pwrite(int fd, const void *from, size_t bytes, off_t off);
ssize_t __wrap_pwrite(int fd, const void *from, size_t bytes, off_t off);
ssize_t __wrap_pwrite(int fd, const void *from, size_t bytes, off_t off)
{
    size_t n = allowed("pwrite", bytes, ERRORS(ENOSPC, EIO, EINTR, SHORT));
    return n ? __real_pwrite(fd, from, n, off) : -1;
}

ssize_t __real_pread(int fd, void *to, size_t bytes, off_t off);
ssize_t __wrap_pread(int fd, void *to, size_t bytes, off_t off);
ssize_t __wrap_pread(int fd, void *to, size_t bytes, off_t off)
{
    size_t n = allowed("pread", bytes, ERRORS(EIO, EINTR, SHORT));
    return n ? __real_pread(fd, to, n, off) : -1;
}

ssize_t __real_read(int fd, void *to, size_t bytes);
ssize_t __wrap_read(int fd, void *to, size_t bytes);
ssize_t __wrap_read(int fd, void *to, size_t bytes)
{
    size_t n = allowed("read", bytes, ERRORS(EIO, EINTR));
    return n ? __real_read(fd, to, n) : -1;
}

ssize_t __real_getrandom(void *to, size_t bytes, unsigned flags);
ssize_t __wrap_getrandom(void *to, size_t bytes, unsigned flags);
ssize_t __wrap_getrandom(void *to, size_t bytes, unsigned flags)
{
    size_t n = allowed("getrandom", bytes, ERRORS(ENOSYS, EINTR));
    return n ? __real_getrandom(to, n, flags) : -1;
}

/* --- the process and other libraries ---------------------------------------------------------- */

FAILS(FAULTS_SYSTEM, long, -1, sysconf, (int name), (name), ERRORS(EINVAL))
RETURNS(FAULTS_SYSTEM, 1, pthread_create,
        (pthread_t * thread, const pthread_attr_t *attr, void *(*main)(void *), void *arg),
        (thread, attr, main, arg), ERRORS(EAGAIN))
RETURNS(FAULTS_SYSTEM, 1, pthread_atfork,
        (void (*before)(void), void (*up)(void), void (*down)(void)), (before, up, down),
        ERRORS(ENOMEM))
RETURNS(FAULTS_SYSTEM, -1, pmem2_source_from_fd, (struct pmem2_source * *out, int fd), (out, fd),
        ERRORS(ENOMEM, EIO))
RETURNS(FAULTS_SYSTEM, -1, pmem2_source_size, (const struct pmem2_source *source, size_t *bytes),
        (source, bytes), ERRORS(EIO))
RETURNS(FAULTS_SYSTEM, -1, pmem2_source_device_usc, (struct pmem2_source * source, uint64_t *count),
        (source, count), ERRORS(EIO, ENOMEM))
RETURNS(FAULTS_SYSTEM, -1, pmem2_source_numa_node, (struct pmem2_source * source, int *node),
        (source, node), ERRORS(EIO, ENOMEM))
RETURNS(FAULTS_SYSTEM, -1, pmem2_config_new, (struct pmem2_config * *out), (out), ERRORS(ENOMEM))
RETURNS(FAULTS_SYSTEM, -1, pmem2_map_new,
        (struct pmem2_map * *out, const struct pmem2_config *config, struct pmem2_source *source),
        (out, config, source), ERRORS(ENOMEM, EAGAIN, EACCES))
RETURNS(FAULTS_SYSTEM, -1, ndctl_new, (struct ndctl_ctx * *out), (out), ERRORS(ENOMEM))
