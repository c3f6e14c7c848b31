/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Statuses: names, sentences, and where the errno values of the medium become them. */
#ifndef PMKV_KV_ERROR_H
#define PMKV_KV_ERROR_H

#include "../recovery/errmsg.h"
#include "pmkv.h"

enum pmkv_status status_of(int negative_errno);

/* Writes the exact fact and returns `status`. */
#define fail(status, ...) ((void)err_fact(0, __VA_ARGS__), (status))

#endif
