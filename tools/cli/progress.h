/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Progress of long work on stderr: a bar when stderr is a terminal, otherwise nothing for the
 * first ten seconds and then a line for every tenth of the work. Also where an interrupt (Ctrl-C)
 * becomes a polite stop: the pool is closed properly, then the signal takes its course.
 */
#ifndef PMKV_CLI_PROGRESS_H
#define PMKV_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct progress {
    const char *what; /* the pass that is shown now */
    struct timespec start, shown;
    unsigned next_percent; /* without a terminal: when the next line is due */
    bool is_terminal, plain, drawn;
};

void progress_start(struct progress *p);
/* A pmkv_progress_fn; `arg` is the struct progress. Asks to stop after an interrupt. */
int progress_show(void *arg, const char *what, uint64_t done, uint64_t total);
/* Removes the bar. */
void progress_end(struct progress *p);

/* From now on SIGINT and SIGTERM are noted instead of ending the process. */
void progress_catch_interrupts(void);
bool progress_interrupted(void);
/* Ends the process by the noted signal; returns when there was none. */
void progress_die_if_interrupted(void);

#endif
