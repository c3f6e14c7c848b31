/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The verbs of pmkv-cli: one function each. argv[0] is "pmkv-cli VERB"; the rest are its arguments.
 * main.c has the table.
 */
#ifndef PMKV_CLI_VERBS_H
#define PMKV_CLI_VERBS_H

#include "exit_code.h"

/* verbs_create.c */
enum cli_exit verb_create(int argc, char **argv);
enum cli_exit verb_probe(int argc, char **argv);
/* verbs_record.c */
enum cli_exit verb_get(int argc, char **argv);
enum cli_exit verb_put(int argc, char **argv);
enum cli_exit verb_del(int argc, char **argv);
enum cli_exit verb_exists(int argc, char **argv);
enum cli_exit verb_count(int argc, char **argv);
/* verbs_scan.c */
enum cli_exit verb_scan(int argc, char **argv);
/* verbs_transfer.c */
enum cli_exit verb_load(int argc, char **argv);
enum cli_exit verb_dump(int argc, char **argv);
/* verbs_status.c, verbs_stats.c */
enum cli_exit verb_status(int argc, char **argv);
enum cli_exit verb_stats(int argc, char **argv);
/* verbs_check.c */
enum cli_exit verb_check(int argc, char **argv);
enum cli_exit verb_scrub(int argc, char **argv);
enum cli_exit verb_repair(int argc, char **argv);
/* verbs_pack.c */
enum cli_exit verb_pack(int argc, char **argv);
/* verbs_map.c, verbs_lost.c */
enum cli_exit verb_map(int argc, char **argv);
enum cli_exit verb_lost(int argc, char **argv);
/* verbs_inject.c */
enum cli_exit verb_inject(int argc, char **argv);

#endif
