/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Error injection on NVDIMM buses, through libndctl and libdaxctl. Needs root. */
#ifndef PMKV_RECOVERY_MEDIA_ND_H
#define PMKV_RECOVERY_MEDIA_ND_H

#include <stdint.h>
#include <sys/types.h>

/* Asks the bus to make `bytes` at `off` of the device-dax device bad. 0, or -ENOTSUP with a fact.
 */
int nd_inject_error(dev_t device, uint64_t off, uint64_t bytes);

#endif
