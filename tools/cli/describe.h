/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What several verbs say about a pool, in the same words: facts, names of states, scans. */
#ifndef PMKV_CLI_DESCRIBE_H
#define PMKV_CLI_DESCRIBE_H

#include "output.h"

const char *describe_durability(enum pmkv_durability durability);
const char *describe_state(enum pmkv_state state);
const char *describe_scan_state(enum pmkv_scan_state state);

/* Fields pool, uuid, format, backend. */
void describe_info_text(const struct pmkv_info *info);
void describe_info_json(json_t *document, const struct pmkv_info *info);
/* The members of a scan, as an object. */
json_t *describe_scan_json(const struct pmkv_scan *scan);
/* A note when the last writer did not close the pool: what this open did about it. */
void describe_recovery_text(const struct pmkv_info *info);

#endif
