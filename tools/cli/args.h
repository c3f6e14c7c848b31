/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What the arguments of all verbs have in common. Each verb has its own struct argp; its argument
 * struct starts with a struct cli_args, and its parser hands what it does not know to
 * args_parse_common.
 */
#ifndef PMKV_CLI_ARGS_H
#define PMKV_CLI_ARGS_H

#include "bytes.h"
#include "exit_code.h"

#include <argp.h>
#include <stdbool.h>

enum key_form { KEY_TEXT, KEY_HEX, KEY_BASE64 };

/* Positional arguments: POOL, then what the verb names. */
struct cli_args {
    int min_count, max_count; /* set by the verb before parsing */
    int count;
    const char *needed; /* for the message when some are missing */
    char *positional[3];
    bool json;
    enum key_form key_form;
};

#define CLI_OPTION_JSON                                                                            \
    {                                                                                              \
        "json", 'j', NULL, 0, "Print JSON instead of text", 0                                      \
    }
#define CLI_OPTION_HEX                                                                             \
    {                                                                                              \
        "hex", 'x', NULL, 0, "Keys are written in hexadecimal", 0                                  \
    }
#define CLI_OPTION_BASE64                                                                          \
    {                                                                                              \
        "base64", 'b', NULL, 0, "Keys are written in base64", 0                                    \
    }

/* Options without a short form. */
enum { CLI_LONG_OPTION = 256 };

error_t args_parse_common(struct cli_args *args, int key, char *arg, struct argp_state *state);

/* Of a verb that takes --json and no option of its own; its input is the struct cli_args. */
extern const struct argp_option args_json_alone[];
error_t args_parse_plain(int key, char *arg, struct argp_state *state);

/* Parses the command line of a verb into `input`, whose first member is the struct cli_args, and
 * notes the pool for messages. Ends the process on a usage error and after --help. */
void args_parse(const struct argp *argp, int argc, char **argv, void *input);

/* Decodes a key as --hex and --base64 say. Prints what is wrong with it and returns CLI_USAGE. */
enum cli_exit args_key(const struct cli_args *args, const char *text, struct bytes *key);

/* Parses a size or a count of an option; ends the process with a usage error that names it. */
uint64_t args_size(struct argp_state *state, const char *option, const char *text);
uint64_t args_u64(struct argp_state *state, const char *option, const char *text);
uint32_t args_u32(struct argp_state *state, const char *option, const char *text);

/* One name of a fixed list, by its number; ends the process with a usage error that lists them. */
int args_choice(struct argp_state *state, const char *option, const char *text,
                const char *const *names, int count);

#endif
