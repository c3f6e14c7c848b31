/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What superblock.c (bytes and checks) and superblock_find.c (the search) share. */
#ifndef PMKV_RECOVERY_SUPERBLOCK_IMPL_H
#define PMKV_RECOVERY_SUPERBLOCK_IMPL_H

#include "superblock.h"

/* What one page is as a superblock copy, in the order in which the rules are checked. */
enum copy_verdict {
    COPY_VALID = 0,
    COPY_NO_MAGIC, /* rule 1 */
    COPY_TORN,     /* rule 2 */
    COPY_NEWER,    /* rule 3, or older; rules 1 and 2 hold */
    COPY_BROKEN,   /* rules 3 to 5 */
};

/* Judges a private copy of the page at `off`. Fills *layout from it when valid. The fact says why
 * it is not. */
enum copy_verdict superblock_judge(const struct superblock *sb, uint64_t off,
                                   struct layout *layout);

#endif
