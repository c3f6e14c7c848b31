/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "exit_code.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *current_verb = "";
static const char *current_pool;

/* What a status means to a shell: its exit code, and what its user can do about it. */
struct verdict {
    enum cli_exit code;
    const char *what_to_do;
};

static const struct verdict verdicts[] = {
    [PMKV_OK] = {CLI_OK, NULL},
    [PMKV_E_NOT_FOUND] = {CLI_NOT_FOUND, NULL},
    [PMKV_E_EXISTS] = {CLI_CANNOT_OPEN,
                       "choose another path or key, or remove what is there if nobody needs it"},
    [PMKV_E_INVALID] = {CLI_USAGE, NULL},
    [PMKV_E_TOO_LARGE] = {CLI_USAGE, "see `pmkv-cli status` for the limits of this pool"},
    [PMKV_E_FULL] = {CLI_FULL, "delete keys, or dump the pool and load it into a larger one"},
    [PMKV_E_BUSY] = {CLI_CANNOT_OPEN,
                     "close the program that has the pool open and try again; meanwhile "
                     "`pmkv-cli status` works"},
    [PMKV_E_ACCESS] = {CLI_CANNOT_OPEN, "check owner and mode of the file and its directory"},
    [PMKV_E_NO_POOL] = {CLI_CANNOT_OPEN, "check the path, or make a pool with `pmkv-cli create`"},
    [PMKV_E_NOT_POOL] = {CLI_NOT_POOL, "check the path; nothing was written to the file"},
    [PMKV_E_VERSION] = {CLI_NOT_POOL, "use a newer libpmkv; nothing was written to the file"},
    [PMKV_E_TRUNCATED] = {CLI_NOT_POOL,
                          "restore the file to its full length; nothing was written to it"},
    [PMKV_E_CORRUPT] = {CLI_NOT_POOL, "keep the file for analysis and restore a backup"},
    [PMKV_E_IO] = {CLI_CANNOT_OPEN,
                   "check the device and the kernel log, then open the pool again"},
    [PMKV_E_MEDIA] = {CLI_LOST, "run `pmkv-cli scrub`, then look whether the write is there"},
    [PMKV_E_LOST] = {CLI_LOST,
                     "write the key again or delete it; `pmkv-cli lost` lists all losses"},
    [PMKV_E_READONLY] = {CLI_CANNOT_OPEN, "check mode and mount options of the pool"},
    [PMKV_E_UNSUPPORTED] = {CLI_UNSUPPORTED, "`pmkv-cli probe` says what this path can do"},
    [PMKV_E_NO_MEMORY] = {CLI_INTERNAL, "free memory or raise the limit of the process"},
    [PMKV_E_NO_SPACE] = {CLI_FULL, "free space on the file system, or ask for a smaller pool"},
    [PMKV_E_BUFFER] = {CLI_INTERNAL, "please report this"},
    [PMKV_E_FORKED] = {CLI_INTERNAL, "please report this"},
    [PMKV_E_STOPPED] = {CLI_INTERNAL, NULL},
    [PMKV_E_BUG] = {CLI_INTERNAL, "please report this, with the message above"},
    [PMKV_E_CONFLICT] = {CLI_NOT_FOUND,
                         "read the key again; `pmkv-cli get --json` shows its version"},
};

void cli_set_verb(const char *verb)
{
    current_verb = verb;
}

void cli_set_pool(const char *pool)
{
    current_pool = pool;
}

const char *cli_verb(void)
{
    return current_verb;
}

const char *cli_pool(void)
{
    return current_pool;
}

static struct verdict verdict_of(enum pmkv_status status)
{
    if ((size_t)status < sizeof(verdicts) / sizeof(verdicts[0]))
        return verdicts[status];
    return (struct verdict){CLI_INTERNAL, "please report this"};
}

/* Results that were printed already come before the message when both go to one place. */
static void print_prefix(void)
{
    fflush(stdout);
    fprintf(stderr, "pmkv-cli: %s: ", current_verb);
    if (current_pool)
        fprintf(stderr, "%s: ", current_pool);
}

enum cli_exit cli_fail_at(enum pmkv_status status, const char *where)
{
    const struct verdict verdict = verdict_of(status);
    const char *fact = pmkv_errormsg();

    print_prefix();
    fprintf(stderr, "%s%s", where, pmkv_strerror(status));
    if (fact && fact[0])
        fprintf(stderr, " (%s)", fact);
    fputc('\n', stderr);
    if (verdict.what_to_do)
        fprintf(stderr, "  what to do: %s\n", verdict.what_to_do);
    return verdict.code;
}

enum cli_exit cli_fail(enum pmkv_status status)
{
    return cli_fail_at(status, "");
}

static enum cli_exit exit_of_errno(int error)
{
    switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return CLI_FULL;
    case ENOMEM:
        return CLI_INTERNAL;
    case EOPNOTSUPP:
    case ENOSYS:
        return CLI_UNSUPPORTED;
    default:
        return CLI_CANNOT_OPEN;
    }
}

enum cli_exit cli_fail_errno(const char *doing, const char *path)
{
    int error = errno;

    print_prefix();
    fprintf(stderr, "cannot %s %s: %s\n", doing, path, strerror(error));
    return exit_of_errno(error);
}

enum cli_exit cli_fail_text(enum cli_exit code, const char *format, ...)
{
    va_list args;

    print_prefix();
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    return code;
}

void cli_warn(const char *format, ...)
{
    va_list args;

    print_prefix();
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
}

void cli_out_of_memory(void)
{
    print_prefix();
    fputs("out of memory\n", stderr);
    exit(CLI_INTERNAL);
}

/* Mild first. Damage that is repaired is news, not a failure; lost data outranks all but a bug. */
static int severity(enum cli_exit code)
{
    static const enum cli_exit order[] = {
        CLI_OK,          CLI_REPAIRED, CLI_NOT_FOUND, CLI_USAGE, CLI_UNSUPPORTED,
        CLI_CANNOT_OPEN, CLI_NOT_POOL, CLI_FULL,      CLI_LOST,  CLI_INTERNAL};
    int rank = 0;

    while (rank < (int)(sizeof(order) / sizeof(order[0])) && order[rank] != code)
        rank++;
    return rank;
}

enum cli_exit cli_worse(enum cli_exit a, enum cli_exit b)
{
    return severity(b) > severity(a) ? b : a;
}
