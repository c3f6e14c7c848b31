/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "lines.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* The compilers' prototypes of the functions they call differ in what does not matter. */
#pragma GCC diagnostic ignored "-Wmissing-prototypes"
#if defined(__clang__)
#pragma GCC diagnostic ignored "-Wunknown-warning-option"
#else
#pragma GCC diagnostic ignored "-Wbuiltin-declaration-mismatch"
#endif

enum { LINE = 64, TABLE_BITS = 22 };

/* --- who has which line ----------------------------------------------------------------------- */

struct line {
    uintptr_t number; /* address / 64; 0: unused */
    uint64_t holders; /* bit per thread that has it as it is now */
    uint64_t times;
    bool stored; /* by a thread that is watched */
};

/* One thread at a time has the turn (test_sharing.c): no lock. */
static struct line table[1u << TABLE_BITS];
static uint64_t travelled;
static _Thread_local int me = -1;

void lines_thread(int number)
{
    me = number;
}

void lines_reset(void)
{
    travelled = 0;
    for (size_t i = 0; i < 1u << TABLE_BITS; i++)
        table[i].times = 0;
}

uint64_t lines_travelled(void)
{
    return travelled;
}

void lines_foreach(void (*fn)(void *arg, uintptr_t address, uint64_t times), void *arg)
{
    for (size_t i = 0; i < 1u << TABLE_BITS; i++)
        if (table[i].times)
            fn(arg, table[i].number * LINE, table[i].times);
}

static struct line *line_of(uintptr_t number)
{
    size_t i = (size_t)(number * 0x9e3779b97f4a7c15u >> (64 - TABLE_BITS));
    for (size_t tries = 0; table[i].number != number; i = (i + 1) % (1u << TABLE_BITS), tries++) {
        if (table[i].number == 0) {
            table[i].number = number;
            break;
        }
        if (tries == 1u << (TABLE_BITS - 1))
            abort(); /* too small a table */
    }
    return &table[i];
}

static void touch(const volatile void *at, size_t bytes, bool store)
{
    if (me < 0)
        return;
    uint64_t mine = 1ull << me;
    uintptr_t last = ((uintptr_t)at + bytes - 1) / LINE;
    for (uintptr_t n = (uintptr_t)at / LINE; n <= last; n++) {
        struct line *line = line_of(n);
        bool others = line->holders & ~mine;
        if (others && (store || (line->stored && !(line->holders & mine)))) {
            line->times++;
            travelled++;
        }
        line->stored |= store;
        line->holders = store ? mine : line->holders | mine;
    }
}

/* --- what the compiler calls ------------------------------------------------------------------ */

#define READ_MODIFY_WRITE(bits, type, name)                                                        \
    type __tsan_atomic##bits##_##name(volatile type *at, type value, int order)                    \
    {                                                                                              \
        (void)order;                                                                               \
        touch(at, sizeof *at, true);                                                               \
        return __atomic_##name(at, value, __ATOMIC_SEQ_CST);                                       \
    }

#define ATOMICS(bits, type)                                                                        \
    type __tsan_atomic##bits##_load(const volatile type *at, int order)                            \
    {                                                                                              \
        (void)order;                                                                               \
        touch(at, sizeof *at, false);                                                              \
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                              \
    }                                                                                              \
    void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                     \
    {                                                                                              \
        (void)order;                                                                               \
        touch(at, sizeof *at, true);                                                               \
        __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                             \
    }                                                                                              \
    type __tsan_atomic##bits##_exchange(volatile type *at, type value, int order)                  \
    {                                                                                              \
        (void)order;                                                                               \
        touch(at, sizeof *at, true);                                                               \
        return __atomic_exchange_n(at, value, __ATOMIC_SEQ_CST);                                   \
    }                                                                                              \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile type *at, type *expected,           \
                                                      type value, int order, int failed)           \
    {                                                                                              \
        (void)order, (void)failed;                                                                 \
        touch(at, sizeof *at, true);                                                               \
        return __atomic_compare_exchange_n(at, expected, value, false, __ATOMIC_SEQ_CST,           \
                                           __ATOMIC_SEQ_CST);                                      \
    }                                                                                              \
    type __tsan_atomic##bits##_compare_exchange_val(volatile type *at, type expected, type value,  \
                                                    int order, int failed)                         \
    {                                                                                              \
        (void)order, (void)failed;                                                                 \
        touch(at, sizeof *at, true);                                                               \
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

#define PLAIN(name, size, store)                                                                   \
    void __tsan_##name##size(void *at)                                                             \
    {                                                                                              \
        touch(at, size, store);                                                                    \
    }
#define PLAIN_SIZES(name, store)                                                                   \
    PLAIN(name, 1, store)                                                                          \
    PLAIN(name, 2, store) PLAIN(name, 4, store) PLAIN(name, 8, store) PLAIN(name, 16, store)

PLAIN_SIZES(read, false)
PLAIN_SIZES(write, true)
PLAIN_SIZES(unaligned_read, false)
PLAIN_SIZES(unaligned_write, true)
PLAIN_SIZES(volatile_read, false)
PLAIN_SIZES(volatile_write, true)
PLAIN_SIZES(read_write, true)
PLAIN_SIZES(unaligned_read_write, true)

void __tsan_read_range(void *at, size_t bytes)
{
    if (bytes)
        touch(at, bytes, false);
}

void __tsan_write_range(void *at, size_t bytes)
{
    if (bytes)
        touch(at, bytes, true);
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

void __tsan_atomic_thread_fence(int order)
{
    (void)order;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void __tsan_atomic_signal_fence(int order)
{
    (void)order;
}

void __tsan_init(void)
{
}

void __tsan_func_entry(void *caller)
{
    (void)caller;
}

void __tsan_func_exit(void)
{
}

/* --- locks, by the linker --------------------------------------------------------------------- */

int __real_pthread_mutex_lock(pthread_mutex_t *lock);
int __real_pthread_mutex_trylock(pthread_mutex_t *lock);
int __real_pthread_mutex_unlock(pthread_mutex_t *lock);

int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
    touch(lock, sizeof *lock, true);
    return __real_pthread_mutex_lock(lock);
}

int __wrap_pthread_mutex_trylock(pthread_mutex_t *lock)
{
    touch(lock, sizeof *lock, true);
    return __real_pthread_mutex_trylock(lock);
}

int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock)
{
    touch(lock, sizeof *lock, true);
    return __real_pthread_mutex_unlock(lock);
}
