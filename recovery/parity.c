/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "parity.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include <isa-l/erasure_code.h>

#include "errmsg.h"

/*
 * ISA-L takes plain pointers to what it only reads, and an int for the length.
 *
 * The lengths it takes: gf_vect_mad and gf_vect_dot_prod return without doing anything below 16, 32
 * or 64 bytes, by variant; ec_encode_data and ec_encode_data_update fall back to C there, so only
 * those two are called. test_parity runs every length from 1.
 */
enum { ISAL_TABLE_BYTES = 32 };

void parity_code_init(struct parity_code *code, uint32_t n, uint32_t m)
{
    assert(n >= 1 && m <= MAX_PARITY && n + m <= MAX_COLUMNS);
    memset(code, 0, sizeof *code);
    code->n = n;
    code->m = m;
    gf_gen_rs_matrix(code->matrix, (int)(n + m), (int)n);
    if (m > 0)
        ec_init_tables((int)n, (int)m, code->matrix + n * n, code->tables);
}

void parity_add(const struct parity_code *code, uint32_t column, const void *data, size_t bytes,
                uint8_t *const parity[])
{
    if (code->m == 0 || bytes == 0)
        return;
    parity_xor(parity[0], data, bytes);
    if (code->m == 1)
        return;
    uint8_t *q_table = (uint8_t *)code->tables + ISAL_TABLE_BYTES * code->n;
    uint8_t *q[1] = {parity[1]};
    ec_encode_data_update((int)bytes, (int)code->n, 1, (int)column, q_table, (uint8_t *)data, q);
}

static bool is_erased(uint32_t erased, uint32_t column)
{
    return erased >> column & 1;
}

/* One data column is gone and P is there: it is the sum of all others. */
static void decode_by_p(const struct parity_code *code, uint32_t lost, size_t bytes,
                        uint8_t *const columns[])
{
    memcpy(columns[lost], columns[code->n], bytes);
    for (uint32_t c = 0; c < code->n; c++)
        if (c != lost)
            parity_xor(columns[lost], columns[c], bytes);
}

/* Any erased data columns, from the first n that survive: the general way. */
static int decode_by_matrix(const struct parity_code *code, uint32_t erased, size_t bytes,
                            uint8_t *const columns[])
{
    uint8_t survivors_matrix[MAX_COLUMNS * MAX_COLUMNS], inverse[MAX_COLUMNS * MAX_COLUMNS];
    uint8_t rows[MAX_PARITY * MAX_COLUMNS], tables[ISAL_TABLE_BYTES * MAX_COLUMNS * MAX_PARITY];
    uint8_t *sources[MAX_COLUMNS], *targets[MAX_PARITY];
    uint32_t n = code->n, used = 0, lost = 0;

    for (uint32_t c = 0; used < n; c++)
        if (!is_erased(erased, c)) {
            memcpy(survivors_matrix + used * n, code->matrix + c * n, n);
            sources[used++] = columns[c];
        }
    /* unreached: every n columns of the code are independent; tests/unit/test_parity.c erases each
     * set that the redundancy covers. */
    if (gf_invert_matrix(survivors_matrix, inverse, (int)n) != 0)
        return err_fact(-EIO, "erasure code: columns %#x can't be solved", erased);
    for (uint32_t c = 0; c < n; c++)
        if (is_erased(erased, c)) {
            memcpy(rows + lost * n, inverse + c * n, n);
            targets[lost++] = columns[c];
        }
    ec_init_tables((int)n, (int)lost, rows, tables);
    ec_encode_data((int)bytes, (int)n, (int)lost, tables, sources, targets);
    return 0;
}

/* Computes the erased parity columns from complete data. */
static void encode_erased(const struct parity_code *code, uint32_t erased, size_t bytes,
                          uint8_t *const columns[])
{
    if (is_erased(erased, code->n)) {
        memcpy(columns[code->n], columns[0], bytes);
        for (uint32_t c = 1; c < code->n; c++)
            parity_xor(columns[code->n], columns[c], bytes);
    }
    if (code->m == 2 && is_erased(erased, code->n + 1)) {
        uint8_t *sources[MAX_COLUMNS], *q[1] = {columns[code->n + 1]};
        memcpy(sources, columns, code->n * sizeof *sources);
        uint8_t *q_table = (uint8_t *)code->tables + ISAL_TABLE_BYTES * code->n;
        ec_encode_data((int)bytes, (int)code->n, 1, q_table, sources, q);
    }
}

int parity_decode(const struct parity_code *code, uint32_t erased, size_t bytes,
                  uint8_t *const columns[])
{
    uint32_t all = (1u << (code->n + code->m)) - 1, data = (1u << code->n) - 1;
    uint32_t lost_data = erased & data;
    if ((uint32_t)__builtin_popcount(erased & all) > code->m)
        return err_fact(-EIO, "%d columns are lost, redundancy covers %u",
                        __builtin_popcount(erased & all), code->m);
    if (bytes == 0)
        return 0;
    if (__builtin_popcount(lost_data) == 1 && !is_erased(erased, code->n)) {
        decode_by_p(code, (uint32_t)__builtin_ctz(lost_data), bytes, columns);
    } else if (lost_data) {
        int rc = decode_by_matrix(code, erased, bytes, columns);
        if (rc) /* unreached: it always has a solution */
            return rc;
    }
    encode_erased(code, erased, bytes, columns);
    return 0;
}
