/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "progress.h"

#include "exit_code.h"
#include "output.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BAR_COLUMNS = 30, QUIET_SECONDS = 10 };

static volatile sig_atomic_t noted_signal;

static double seconds_between(const struct timespec *from, const struct timespec *to)
{
    return (double)(to->tv_sec - from->tv_sec) + (double)(to->tv_nsec - from->tv_nsec) / 1e9;
}

/* NO_COLOR and dumb terminals get no escape sequences. */
static bool wants_plain(void)
{
    const char *no_colour = getenv("NO_COLOR");
    const char *terminal = getenv("TERM");

    return (no_colour && no_colour[0]) || !terminal || strcmp(terminal, "dumb") == 0;
}

void progress_start(struct progress *p)
{
    *p = (struct progress){.next_percent = 10, .plain = wants_plain()};
    p->is_terminal = isatty(STDERR_FILENO) == 1;
    clock_gettime(CLOCK_MONOTONIC, &p->start);
    p->shown = p->start;
}

static void erase_bar(struct progress *p)
{
    if (!p->drawn)
        return;
    if (p->plain)
        fprintf(stderr, "\r%79s\r", "");
    else
        fputs("\r\033[K", stderr);
    p->drawn = false;
}

static void draw_bar(struct progress *p, uint64_t done, uint64_t total, double seconds)
{
    char bar[BAR_COLUMNS + 1];
    unsigned percent = out_percent(done, total);
    size_t filled = total == 0 ? 0 : (size_t)percent * BAR_COLUMNS / 100;

    if (filled > BAR_COLUMNS)
        filled = BAR_COLUMNS;
    memset(bar, ' ', BAR_COLUMNS);
    memset(bar, '=', filled);
    bar[BAR_COLUMNS] = '\0';
    erase_bar(p);
    if (total == 0)
        fprintf(stderr, "\r%s: %llu", p->what, (unsigned long long)done);
    else
        fprintf(stderr, "\r%-16.24s [%s] %3u%%", p->what, bar, percent);
    if (total && done && done < total && seconds > 1) {
        double left = seconds * (double)(total - done) / (double)done;
        fprintf(stderr, " %s to go", out_duration((uint64_t)left).text);
    }
    fflush(stderr);
    p->drawn = true;
}

static void print_tenths(struct progress *p, uint64_t done, uint64_t total, double seconds)
{
    unsigned percent = out_percent(done, total);

    if (percent < p->next_percent)
        return;
    p->next_percent = percent / 10 * 10 + 10;
    if (seconds >= QUIET_SECONDS)
        cli_warn("%s: %u %% done after %s", p->what, percent, out_duration((uint64_t)seconds).text);
}

static void start_pass(struct progress *p, const char *what)
{
    p->what = what;
    p->next_percent = 10;
    clock_gettime(CLOCK_MONOTONIC, &p->start);
}

int progress_show(void *arg, const char *what, uint64_t done, uint64_t total)
{
    struct progress *p = arg;
    struct timespec now;

    if (!p->what || strcmp(p->what, what) != 0)
        start_pass(p, what);
    clock_gettime(CLOCK_MONOTONIC, &now);
    double seconds = seconds_between(&p->start, &now);
    if (!p->is_terminal) {
        print_tenths(p, done, total, seconds);
    } else if (seconds_between(&p->shown, &now) >= 0.1) {
        draw_bar(p, done, total, seconds);
        p->shown = now;
    }
    return progress_interrupted() ? 1 : 0;
}

void progress_end(struct progress *p)
{
    erase_bar(p);
}

static void note_signal(int number)
{
    noted_signal = number;
}

void progress_catch_interrupts(void)
{
    /* SA_RESETHAND: a second Ctrl-C ends the process at once, which the pool survives. */
    struct sigaction action = {.sa_handler = note_signal, .sa_flags = (int)SA_RESETHAND};

    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool progress_interrupted(void)
{
    return noted_signal != 0;
}

void progress_die_if_interrupted(void)
{
    if (noted_signal == 0)
        return;
    fflush(NULL);
    signal(noted_signal, SIG_DFL);
    raise(noted_signal);
}
