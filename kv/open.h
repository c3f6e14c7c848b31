/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Creating and opening on a medium that is open already: what pmkv_create and pmkv_open end in, and
 * what tests use to run a store on simulated media. */
#ifndef PMKV_KV_OPEN_H
#define PMKV_KV_OPEN_H

#include "../recovery/media.h"
#include "pmkv.h"

/* Checks the size of `given` (NULL: defaults) and copies it. */
enum pmkv_status options_take(const struct pmkv_options *given, struct pmkv_options *out);

/* Writes an empty pool to the medium; it stays the caller's. */
enum pmkv_status store_format(struct media *media, const struct pmkv_options *opts);

/* Opens the pool on the medium, which is the store's from here on, also on failure. */
enum pmkv_status store_open(struct media *media, const struct pmkv_options *opts,
                            struct pmkv **out);

#endif
