/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The report of one or several runs as a page: report.html, which holds all it needs (plots are SVG
 * inside it), and table.md with the same figures.
 */
#ifndef PMKV_BENCH_PAGE_H
#define PMKV_BENCH_PAGE_H

#include <stdbool.h>

#include <jansson.h>

/* Makes the directory when it is not there. The reports are those of report.h. False after printing
 * why. */
bool page_write(const char *directory, json_t *const *reports, unsigned count);

#endif
