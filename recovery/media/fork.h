/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Mappings and fork. A child does not inherit a mapping (MADV_DONTFORK), but it does inherit
 * libpmem2's belief that one is there: when the kernel puts something new at the free address, the
 * child cannot open any pool (EEXIST). So the child's address stays taken, by memory that faults.
 */
#ifndef PMKV_RECOVERY_MEDIA_FORK_H
#define PMKV_RECOVERY_MEDIA_FORK_H

#include <stddef.h>

/* 0, or -ENOMEM. */
int fork_guard_add(void *base, size_t bytes);
void fork_guard_remove(void *base);

#endif
