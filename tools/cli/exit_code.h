/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * How a verb ends: the exit codes of pmkv-cli and the messages that go with them.
 *
 * Every verb returns an enum cli_exit. Whoever finds a failure says so at once with one of the
 * cli_fail functions, which print
 *
 *     pmkv-cli: VERB: POOL: sentence (exact fact)
 *       what to do: ...
 *
 * to stderr and return the exit code, so that a caller writes `return cli_fail(status);`.
 */
#ifndef PMKV_CLI_EXIT_CODE_H
#define PMKV_CLI_EXIT_CODE_H

#include <pmkv.h>

/* X(name, number, meaning): every exit code. Scripts rely on them: never renumbered. */
#define CLI_EXIT_MAP(X)                                                                            \
    X(OK, 0, "all is well")                                                                        \
    X(NOT_FOUND, 1, "the key is not in the store, or not as --if-... demands")                     \
    X(USAGE, 2, "wrong arguments or input")                                                        \
    X(CANNOT_OPEN, 3, "cannot open: missing, permission, in use, medium unavailable")              \
    X(NOT_POOL, 4, "not a pool, another format, truncated, or damaged beyond opening")             \
    X(REPAIRED, 5, "damage was found; all of it is repaired or can be repaired")                   \
    X(LOST, 6, "data is lost")                                                                     \
    X(FULL, 7, "the pool or the file system is full")                                              \
    X(UNSUPPORTED, 8, "not supported here")                                                        \
    X(INTERNAL, 70, "internal error, or out of memory")

enum cli_exit {
#define CLI_EXIT_ENUM(name, number, meaning) CLI_##name = number,
    CLI_EXIT_MAP(CLI_EXIT_ENUM)
#undef CLI_EXIT_ENUM
};

/* What messages start with. The strings must live as long as the process; pool may be NULL. */
void cli_set_verb(const char *verb);
void cli_set_pool(const char *pool);
const char *cli_verb(void);
const char *cli_pool(void);

/* Reports the calling thread's last failed library call. */
enum cli_exit cli_fail(enum pmkv_status status);
/* As cli_fail, with words such as `key "a": ` or `line 7: ` between the pool and the sentence. */
enum cli_exit cli_fail_at(enum pmkv_status status, const char *where);
/* Reports errno for a file other than the pool. `doing` is a verb: "read", "create". */
enum cli_exit cli_fail_errno(const char *doing, const char *path);
/* Reports what the CLI itself found wrong. */
enum cli_exit cli_fail_text(enum cli_exit code, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Says something on stderr that does not end the verb. */
void cli_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Ends the process with CLI_INTERNAL: an allocation failed. */
_Noreturn void cli_out_of_memory(void);

/* The one that says more about what went wrong: for verbs that go on after an error. */
enum cli_exit cli_worse(enum cli_exit a, enum cli_exit b);

#endif
