/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What row.c and row_decode.c share. */
#ifndef PMKV_RECOVERY_ROW_IMPL_H
#define PMKV_RECOVERY_ROW_IMPL_H

#include "row.h"

enum { ALL_GROUPS = 0xffff };

static inline uint8_t *row_page_at(const struct row_image *image, uint32_t page_index)
{
    return image->pages + (size_t)page_index * 4096;
}

/* The secret of a page of the row in the row's generation. */
uint64_t row_page_secret(const struct volume *v, struct row_ref ref, uint32_t page_index);

#endif
