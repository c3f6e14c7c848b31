/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "windows.h"

#include <string.h>

#include "clock.h"

enum {
    WINDOW_MIN_OPS = 4,
    WINDOW_MAX_OPS = 1024,
    WINDOWS_WANTED = 64, /* a thread */
    BLOCKS_WANTED = 32,
    BLOCKS_MIN = 4,
    THREAD_WINDOWS = 8 /* in a block at least, so that the ones cut by its ends do not matter */
};
static const uint64_t block_max_ns = 25 * 1000 * 1000;

static uint64_t window_ops_of(uint64_t ops, unsigned threads, unsigned step)
{
    uint64_t wanted = ops / WINDOWS_WANTED / threads;
    wanted = wanted < WINDOW_MIN_OPS   ? WINDOW_MIN_OPS
             : wanted > WINDOW_MAX_OPS ? WINDOW_MAX_OPS
                                       : wanted;
    return (wanted + step - 1) / step * step;
}

void windows_init(struct windows *s, uint64_t ops, unsigned threads, unsigned step, bool all_timed)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    s->end = ops;
    s->window_ops = window_ops_of(ops, threads, step);
    s->all_timed = all_timed;
    s->plain = !all_timed;
    uint64_t windows = ops / s->window_ops, block = windows / BLOCKS_WANTED;
    if (block < (uint64_t)THREAD_WINDOWS * threads)
        block = (uint64_t)THREAD_WINDOWS * threads;
    s->block_ops = block * s->window_ops;
    s->block_max_ns = ops == WINDOWS_ENDLESS ? block_max_ns : 0;
    s->alternate = windows < BLOCKS_MIN * block;
}

void windows_free(struct windows *s)
{
    pthread_mutex_destroy(&s->lock);
}

static bool block_is_over(const struct windows *s, uint64_t now)
{
    return s->next == s->end || s->next - s->block_first >= s->block_ops ||
           (s->block_max_ns > 0 && now - s->block_start_ns >= s->block_max_ns);
}

static void end_block(struct windows *s, uint64_t now)
{
    if (s->plain && !s->alternate) {
        s->plain_ops += s->next - s->block_first;
        s->plain_ns += now - s->block_start_ns;
    }
    s->plain = !s->plain && !s->all_timed;
    s->block_first = s->next;
    s->block_start_ns = now;
}

/* The block that runs, for the next window. */
static void look_at_block(struct windows *s)
{
    uint64_t now = clock_wall_ns();
    if (s->block_start_ns == 0)
        s->block_start_ns = now;
    else if (s->alternate)
        s->plain = !s->plain && !s->all_timed;
    else if (s->next > s->block_first && block_is_over(s, now))
        end_block(s, now);
}

bool windows_take(struct windows *s, struct window *out)
{
    pthread_mutex_lock(&s->lock);
    look_at_block(s);
    uint64_t left = s->end - s->next;
    *out = (struct window){s->next, left < s->window_ops ? left : s->window_ops, s->plain};
    s->next += out->count;
    pthread_mutex_unlock(&s->lock);
    return out->count > 0;
}

double windows_plain_rate(const struct windows *s)
{
    return s->plain_ns > 0 ? (double)s->plain_ops * 1e9 / (double)s->plain_ns : 0;
}
