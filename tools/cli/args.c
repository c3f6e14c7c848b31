/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "args.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static error_t take_positional(struct cli_args *args, char *arg, struct argp_state *state)
{
    if (args->count >= args->max_count)
        argp_error(state, "one argument too many: %s", arg);
    args->positional[args->count++] = arg;
    return 0;
}

error_t args_parse_common(struct cli_args *args, int key, char *arg, struct argp_state *state)
{
    switch (key) {
    case 'j':
        args->json = true;
        return 0;
    case 'x':
        args->key_form = KEY_HEX;
        return 0;
    case 'b':
        args->key_form = KEY_BASE64;
        return 0;
    case ARGP_KEY_ARG:
        return take_positional(args, arg, state);
    case ARGP_KEY_END:
        if (args->count < args->min_count)
            argp_error(state, "needed: %s", args->needed);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

const struct argp_option args_json_alone[] = {CLI_OPTION_JSON, {0}};

error_t args_parse_plain(int key, char *arg, struct argp_state *state)
{
    return args_parse_common(state->input, key, arg, state);
}

void args_parse(const struct argp *argp, int argc, char **argv, void *input)
{
    struct cli_args *args = input;

    args->needed = argp->args_doc;
    argp_parse(argp, argc, argv, 0, NULL, input);
    cli_set_pool(args->positional[0]);
}

enum cli_exit args_key(const struct cli_args *args, const char *text, struct bytes *key)
{
    bool good = true;

    switch (args->key_form) {
    case KEY_TEXT:
        bytes_append(key, text, strlen(text));
        break;
    case KEY_HEX:
        good = bytes_from_hex(key, text);
        break;
    case KEY_BASE64:
        good = bytes_from_base64(key, text);
        break;
    }
    if (good)
        return CLI_OK;
    return cli_fail_text(CLI_USAGE, "the key is not %s: %s",
                         args->key_form == KEY_HEX ? "hexadecimal" : "base64", text);
}

uint64_t args_size(struct argp_state *state, const char *option, const char *text)
{
    uint64_t size = 0;

    if (!parse_size(text, &size))
        argp_error(state, "--%s: not a number of bytes such as 4096, 64M or 2G: %s", option, text);
    return size;
}

uint64_t args_u64(struct argp_state *state, const char *option, const char *text)
{
    char *end;

    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno)
        argp_error(state, "--%s: not a number below 2^64: %s", option, text);
    return number;
}

uint32_t args_u32(struct argp_state *state, const char *option, const char *text)
{
    uint64_t number = 0;

    if (!parse_size(text, &number) || number > UINT32_MAX)
        argp_error(state, "--%s: not a number below 2^32: %s", option, text);
    return (uint32_t)number;
}

int args_choice(struct argp_state *state, const char *option, const char *text,
                const char *const *names, int count)
{
    char list[128] = "";

    for (int i = 0; i < count; i++) {
        if (strcmp(text, names[i]) == 0)
            return i;
        size_t used = strlen(list);
        snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "", names[i]);
    }
    argp_error(state, "--%s: one of %s, not %s", option, list, text);
    return 0;
}
