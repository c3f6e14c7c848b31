/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The safe copies in C, for CPUs without routines of their own; x86-64 builds them too, so that
 * they are tested where the developers are.
 *
 * There is no table of instructions here: a copy announces itself in a thread-local frame, and the
 * SIGBUS handler jumps back to it. sigsetjmp does not save the signal mask (a system call, 170 ns);
 * the handler leaves in the frame the mask that the kernel saved in the ucontext, which is the true
 * one even inside a handler of the embedding program. Frames nest: a signal handler may interrupt
 * one copy and make another.
 *
 * Words are loaded before they are stored, and progress is counted after the store, both enforced
 * by compiler barriers: nothing is written beyond what could be read.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "mcsafe_impl.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <ucontext.h>

enum { LINE = 64, CHUNK = 32 };

/* Pool memory is raced on by design; the callers check what they copied. */
#define MC_RACY __attribute__((no_sanitize("thread")))

/* --- the write-back of a line ----------------------------------------------------------------- */

#if defined(__x86_64__)

void mc_portable_select(void)
{
}

static inline void line_write_back(const char *line)
{
    __asm__ volatile("clflush %0" ::"m"(*line) : "memory");
}

#elif defined(__aarch64__)

/* Clean to the point of persistence where the CPU has one, else to the point of coherency. */
static bool has_point_of_persistence;

void mc_portable_select(void)
{
    const unsigned long hwcap_dcpop = 1ul << 16;
    has_point_of_persistence = getauxval(AT_HWCAP) & hwcap_dcpop;
}

static inline void line_write_back(const char *line)
{
    if (has_point_of_persistence)
        __asm__ volatile("sys #3, c7, c12, #1, %0" ::"r"(line) : "memory"); /* dc cvap */
    else
        __asm__ volatile("dc cvac, %0" ::"r"(line) : "memory");
}

#else
#error "mcsafe_portable.c: how does this CPU write a line back? Not to know would break P1."
#endif

/* --- the frame -------------------------------------------------------------------------------- */

struct escape {
    sigjmp_buf place;
    sigset_t mask; /* of the interrupted copy */
    struct escape *outer;
};

/* initial-exec: the handler must not be the one that allocates the thread's copy. */
static _Thread_local struct escape *volatile innermost __attribute__((tls_model("initial-exec")));

typedef void (*step_fn)(char *dst, const char *src, size_t bytes, volatile size_t *done);

/* Runs step from `done` on; returns how far it came. */
static size_t guarded(step_fn step, void *dst, const void *src, size_t bytes, size_t from)
{
    struct escape here;
    volatile size_t done = from;
    const int errno_before = errno;
    here.outer = innermost;
    if (sigsetjmp(here.place, 0) == 0) {
        innermost = &here;
        __asm__ volatile("" ::: "memory");
        step(dst, src, bytes, &done);
    } else {
        /* Only here: a signal that waits for it must not pile up on the handler's frame. */
        pthread_sigmask(SIG_SETMASK, &here.mask, NULL);
        errno = errno_before; /* the handler did not end, so it did not put it back */
    }
    innermost = here.outer;
    return done;
}

bool mc_portable_escape(const void *ucontext)
{
    struct escape *frame = innermost;
    if (!frame)
        return false;
    const ucontext_t *uc = ucontext;
    frame->mask = uc->uc_sigmask;
    siglongjmp(frame->place, 1);
}

/* --- the steps -------------------------------------------------------------------------------- */

/* "+r": the value is in a register, that is loaded, before anything after this point is done. */
MC_RACY static inline uint64_t word_load(const char *from)
{
    uint64_t word;
    memcpy(&word, from, sizeof word);
    __asm__ volatile("" : "+r"(word)::"memory");
    return word;
}

MC_RACY static inline void chunk_move(char *dst, const char *src)
{
    uint64_t a = word_load(src);
    uint64_t b = word_load(src + 8);
    uint64_t c = word_load(src + 16);
    uint64_t d = word_load(src + 24);
    memcpy(dst, &a, 8);
    memcpy(dst + 8, &b, 8);
    memcpy(dst + 16, &c, 8);
    memcpy(dst + 24, &d, 8);
    __asm__ volatile("" ::: "memory");
}

MC_RACY static void step_chunks(char *dst, const char *src, size_t bytes, volatile size_t *done)
{
    for (size_t at = *done; bytes - at >= CHUNK; *done = at) {
        chunk_move(dst + at, src + at);
        at += CHUNK;
    }
}

MC_RACY static void step_bytes(char *dst, const char *src, size_t bytes, volatile size_t *done)
{
    for (size_t at = *done; at < bytes; *done = at) {
        unsigned byte = *(const volatile unsigned char *)(src + at);
        __asm__ volatile("" : "+r"(byte)::"memory");
        dst[at++] = (char)byte;
        __asm__ volatile("" ::: "memory");
    }
}

MC_RACY static void step_lines(char *dst, const char *src, size_t bytes, volatile size_t *done)
{
    for (size_t at = *done; bytes - at >= LINE; *done = at) {
        chunk_move(dst + at, src + at);
        chunk_move(dst + at + CHUNK, src + at + CHUNK);
        at += LINE;
    }
}

MC_RACY static void step_lines_flush(char *dst, const char *src, size_t bytes,
                                     volatile size_t *done)
{
    for (size_t at = *done; bytes - at >= LINE; *done = at) {
        chunk_move(dst + at, src + at);
        chunk_move(dst + at + CHUNK, src + at + CHUNK);
        line_write_back(dst + at);
        at += LINE;
    }
}

MC_RACY static void step_touch(char *unused, const char *src, size_t bytes, volatile size_t *done)
{
    volatile char sink = 0; /* valgrind drops a load whose value goes nowhere */
    (void)unused;
    for (size_t at = *done; at < bytes; *done = at < bytes ? at : bytes) {
        sink = *(const volatile char *)(src + at);
        at += LINE - (uintptr_t)(src + at) % LINE;
    }
    (void)sink;
}

/* --- the routines ----------------------------------------------------------------------------- */

size_t mc_portable_load(void *dst, const void *src, size_t bytes)
{
    size_t done = guarded(step_chunks, dst, src, bytes, 0);
    return done == bytes ? done : guarded(step_bytes, dst, src, bytes, done);
}

size_t mc_portable_store_plain(void *dst, const void *src, size_t bytes)
{
    return guarded(step_lines, dst, src, bytes, 0);
}

size_t mc_portable_store_flush(void *dst, const void *src, size_t bytes)
{
    return guarded(step_lines_flush, dst, src, bytes, 0);
}

size_t mc_portable_touch(const void *src, size_t bytes)
{
    return guarded(step_touch, NULL, src, bytes, 0);
}
