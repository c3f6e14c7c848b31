/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Maps what an engine has mapped of its store: all pages, before anything is timed. Without it the
 * first touch of each page is a fault of about a microsecond, which some engines meet in their
 * first pass, some in threads of their own on a processor that is idle only while there is one
 * worker, and some never. Memory file systems only: on others a page that is mapped for writing is
 * one to write back.
 */
#ifndef PMKV_BENCH_PREFAULT_H
#define PMKV_BENCH_PREFAULT_H

#include <stdbool.h>

/* Everything of this process whose file's path begins so. touch: no page of it is bad. */
void prefault(const char *path, bool touch);

#endif
