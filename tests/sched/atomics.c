/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Each atomic operation of kv/ is a point of the scheduler.
 *
 * kv/ is compiled for these programs with the instrumentation of the thread sanitizer and without
 * its run time: the compiler then calls a function for each atomic operation, and these are the
 * functions. Relaxed ones are counters and words under a lock: no points. Plain accesses, which
 * are instrumented as well, do nothing here.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "sched.h"

/* The compilers' prototypes of these differ in what does not matter. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#else
#pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"
#endif

static inline void point(int order, const void *site)
{
    if (order != __ATOMIC_RELAXED)
        sched_point(site);
}
#define POINT(order) point(order, __builtin_return_address(0))

#define READ_MODIFY_WRITE(bits, type, name)                                                        \
    type __tsan_atomic##bits##_##name(volatile type *at, type value, int order)                    \
    {                                                                                              \
        POINT(order);                                                                              \
        return __atomic_##name(at, value, __ATOMIC_SEQ_CST);                                       \
    }

#define ATOMICS(bits, type)                                                                        \
    type __tsan_atomic##bits##_load(const volatile type *at, int order)                            \
    {                                                                                              \
        POINT(order);                                                                              \
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                              \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                     \
    {                                                                                              \
        POINT(order);                                                                              \
        __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                             \
    }                                                                                              \
    type __tsan_atomic##bits##_exchange(volatile type *at, type value, int order)                  \
    {                                                                                              \
        POINT(order);                                                                              \
        return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);                                   \
    }                                                                                              \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *at, type *expected,           \
                                                      type value, int order, int failed)           \
    {                                                                                              \
        (void)failed;                                                                              \
        POINT(order);                                                                              \
        return __atomic_compare_exchange_n(at, expected, value, false, __ATOMIC_SEQ_CST,           \
                                           __ATOMIC_SEQ_CST);                                      \
    }                                                                                              \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expected, type value,  \
                                                    int order, int failed)                         \
    {                                                                                              \
        (void)failed;                                                                              \
        POINT(order);                                                                              \
        __atomic_compare_exchange_n(at, &expected, value, false, __ATOMIC_SEQ_CST,                 \
                                    __ATOMIC_SEQ_CST);                                             \
        return expected;                                                                           \
    }                                                                                              \
    READ_MODIFY_WRITE(bits, type, fetch_add)                                                       \
    READ_MODIFY_WRITE(bits, type, fetch_sub)                                                       \
    READ_MODIFY_WRITE(bits, type, fetch_and)                                                       \
    READ_MODIFY_WRITE(bits, type, fetch_or)

ATOMICS(8, uint8_t)
ATOMICS(16, uint16_t)
ATOMICS(32, uint32_t)
ATOMICS(64, uint64_t)

void __tsan_init(void)
{
}

#define PLAIN(name)                                                                                \
    void __tsan_##name(void *at)                                                                   \
    {                                                                                              \
        (void)at;                                                                                  \
    }
#define PLAIN_SIZES(name)                                                                          \
    PLAIN(name##1) PLAIN(name##2) PLAIN(name##4) PLAIN(name##8) PLAIN(name##16)

PLAIN_SIZES(read)
PLAIN_SIZES(write)
PLAIN_SIZES(unaligned_read)
PLAIN_SIZES(unaligned_write)
PLAIN_SIZES(read_write)
PLAIN_SIZES(unaligned_read_write)
PLAIN(func_entry)

void __tsan_func_exit(void)
{
}

void __tsan_read_range(void *at, size_t bytes)
{
    (void)at, (void)bytes;
}

void __tsan_write_range(void *at, size_t bytes)
{
    (void)at, (void)bytes;
}

void *__tsan_memcpy(void *to, const void *from, size_t bytes)
{
    return memcpy(to, from, bytes);
}

void *__tsan_memmove(void *to, const void *from, size_t bytes)
{
    return memmove(to, from, bytes);
}

void *__tsan_memset(void *to, int byte, size_t bytes)
{
    return memset(to, byte, bytes);
}
