/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The erasure code: N data columns, M = 0, 1 (XOR) or 2 (P+Q over GF(2^8), by ISA-L) parity
 * columns. With N = 1, M = 1 parity is a copy: a mirror. Works on private memory only.
 *
 *   P = D0 + D1 + ... + D7          Q = 1 D0 + 2 D1 + 4 D2 + ... + 128 D7     (polynomial 0x11d)
 */
#ifndef PMKV_RECOVERY_PARITY_H
#define PMKV_RECOVERY_PARITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"

struct parity_code {
    uint32_t n, m;
    uint8_t matrix[MAX_COLUMNS * MAX_COLUMNS];     /* encode matrix, rows n..n+m-1 are parity */
    uint8_t tables[32 * MAX_COLUMNS * MAX_PARITY]; /* ISA-L tables of the parity rows */
};

void parity_code_init(struct parity_code *code, uint32_t n, uint32_t m);

/* Adds `bytes` of data column `column` to the m accumulators, which start as zeros: what a row's
 * parity is at these places when every column was added once. Any alignment, any length. */
void parity_add(const struct parity_code *code, uint32_t column, const void *data, size_t bytes,
                uint8_t *const parity[]);

/* to ^= from; any alignment, any length. Also what parity_add does for M = 1. */
void parity_xor(uint8_t *to, const uint8_t *from, size_t bytes);

/* Rebuilds the erased columns (bit per column, data and parity) of one range of `bytes`: columns[i]
 * is column i's bytes, erased ones are written. 0, or -EIO when more than m are erased. With all
 * parity columns "erased" it encodes. */
int parity_decode(const struct parity_code *code, uint32_t erased, size_t bytes,
                  uint8_t *const columns[]);

#endif
