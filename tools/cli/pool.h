/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Opening and closing the pool that a verb names, with messages and exit codes. */
#ifndef PMKV_CLI_POOL_H
#define PMKV_CLI_POOL_H

#include "exit_code.h"

#include <stdbool.h>

enum pool_mode {
    POOL_READ,         /* nothing is written; recovery happens in memory */
    POOL_READ_ORDERED, /* the same, and keys can be had in order */
    POOL_WRITE,        /* recovery is written, and so is what the verb does */
    POOL_INJECT,       /* reads, and injects faults below the store */
    POOL_INJECT_WRITE, /* injects faults and repairs them */
};

/* Opens the pool of the command line. */
enum cli_exit pool_open(enum pool_mode mode, struct pmkv **kv);
/* Closes it and returns `code`, or what went wrong with the close when that is worse. */
enum cli_exit pool_close(struct pmkv **kv, enum cli_exit code);

/* Whether the open file `fd` is the pool itself, under whatever name. */
bool pool_is_file(int fd);

#endif
