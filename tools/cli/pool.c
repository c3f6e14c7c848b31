/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "pool.h"

#include "progress.h"

#include <sys/stat.h>

enum cli_exit pool_open(enum pool_mode mode, struct pmkv **kv)
{
    struct progress progress;
    struct pmkv_options options;

    pmkv_options_init(&options);
    options.read_only = mode == POOL_READ || mode == POOL_READ_ORDERED || mode == POOL_INJECT;
    options.ordered = mode == POOL_READ_ORDERED;
    options.allow_inject = mode == POOL_INJECT || mode == POOL_INJECT_WRITE;
    options.no_background = options.read_only;
    options.progress = progress_show;
    options.progress_arg = &progress;

    progress_start(&progress);
    enum pmkv_status status = pmkv_open(cli_pool(), &options, kv);
    progress_end(&progress);
    return status == PMKV_OK ? CLI_OK : cli_fail(status);
}

enum cli_exit pool_close(struct pmkv **kv, enum cli_exit code)
{
    enum pmkv_status status = pmkv_close(kv);

    if (status == PMKV_OK)
        return code;
    return cli_worse(code, cli_fail_at(status, "close: "));
}

bool pool_is_file(int fd)
{
    struct stat file, pool;

    return fstat(fd, &file) == 0 && stat(cli_pool(), &pool) == 0 && file.st_dev == pool.st_dev &&
           file.st_ino == pool.st_ino;
}
