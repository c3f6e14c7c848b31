/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Scrub and repair of an open pool, as the verbs scrub, repair and inject --repair run them. */
#ifndef PMKV_CLI_HEAL_H
#define PMKV_CLI_HEAL_H

#include "output.h"

/* What was found and mended; printed by heal_print. */
struct heal {
    const char *verb; /* "scrub", "repair" */
    struct pmkv_info info;
    struct pmkv_scan scan; /* of the scrub; all 0 after a plain repair */
    uint64_t found_pages;  /* bad ones, those that opening met included */
    uint64_t repaired_pages, retired_pages;
    uint64_t left_pages;   /* still bad */
    uint64_t lost_records; /* in all, not only by this run */
    double seconds;
};

/* Scrubs to the end at `bytes_per_second` (0 = full speed), then repairs what still waits. */
enum cli_exit heal_scrub(struct pmkv *kv, uint64_t bytes_per_second, struct heal *heal);
/* Repairs what is known to be bad. */
enum cli_exit heal_repair(struct pmkv *kv, struct heal *heal);

/* Members of `document`. */
void heal_json(json_t *document, const struct heal *heal);
void heal_text(const struct heal *heal);
/* CLI_OK, CLI_REPAIRED or CLI_LOST. */
enum cli_exit heal_code(const struct heal *heal);

#endif
