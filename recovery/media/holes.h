/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The blocks of a pool file. Every block is allocated and written when the pool is made, so a hole
 * is a page whose bytes are gone: the file itself is the list of its bad pages, and it survives the
 * process. Zeros are written because a block that is only reserved counts as a hole (tmpfs: a page
 * that was never filled; ext4, xfs: an unwritten extent).
 */
#ifndef PMKV_RECOVERY_MEDIA_HOLES_H
#define PMKV_RECOVERY_MEDIA_HOLES_H

#include <stdbool.h>
#include <stdint.h>

/* Allocates every block of an empty file and makes it durable. 0, or -errno with a fact; what was
 * allocated until then is the caller's to give back. `zeros` false: fallocate is enough
 * (hugetlbfs). `huge`: in huge pages where the kernel gives them (tmpfs). */
int holes_fill(int fd, uint64_t bytes, bool zeros, bool huge);

/* Calls fn for every hole below `size`, widened to whole pages, until it returns other than 0,
 * which is returned. -ENOTSUP when the file system cannot tell. */
int holes_foreach(int fd, uint64_t size, int (*fn)(void *arg, uint64_t off, uint64_t bytes),
                  void *arg);

/* Gives the bytes back to the file system: they are lost. 0, or -errno with a fact. */
int holes_punch(int fd, uint64_t off, uint64_t bytes);

#endif
