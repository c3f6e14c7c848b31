/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* get, put, del, exists, count: one record at a time. */

#include "args.h"
#include "bytes.h"
#include "output.h"
#include "pool.h"
#include "verbs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct record_args {
    struct cli_args common;
    bool newline;
    bool conditional; /* only when the key has `version` */
    uint64_t version;
};

enum { OPTION_IF_ABSENT = CLI_LONG_OPTION, OPTION_IF_VERSION };
#define CLI_OPTION_IF_VERSION                                                                      \
    {                                                                                              \
        "if-version", OPTION_IF_VERSION, "N", 0,                                                   \
            "Only when the key has version N, as get --json and scan --json show it; else exit "   \
            "code 1",                                                                              \
            0                                                                                      \
    }

static const struct argp_option report_options[] = {
    CLI_OPTION_HEX, CLI_OPTION_BASE64, CLI_OPTION_JSON, {0}};

static error_t parse_record(int key, char *arg, struct argp_state *state)
{
    struct record_args *args = state->input;

    switch (key) {
    case 'n':
        args->newline = true;
        return 0;
    case OPTION_IF_ABSENT:
    case OPTION_IF_VERSION:
        if (args->conditional)
            argp_error(state, "one condition only");
        args->conditional = true;
        args->version = key == OPTION_IF_ABSENT ? PMKV_ABSENT : args_u64(state, "if-version", arg);
        return 0;
    default:
        return args_parse_common(&args->common, key, arg, state);
    }
}

/* Decodes the key first, so that a typing error does not even open the pool. */
static enum cli_exit open_for_key(enum pool_mode mode, const struct cli_args *args,
                                  struct bytes *key, struct pmkv **kv)
{
    enum cli_exit code = args_key(args, args->positional[1], key);

    return code == CLI_OK ? pool_open(mode, kv) : code;
}

static enum cli_exit fail_key(enum pmkv_status status, const struct bytes *key)
{
    char *text = out_escaped_string(key->data, key->size < 200 ? key->size : 200);
    char where[1024];

    snprintf(where, sizeof(where), "key \"%s%s\": ", text, key->size < 200 ? "" : "...");
    free(text);
    return cli_fail_at(status, where);
}

/* --- get -------------------------------------------------------------------------------------- */

/* As pmkv_get_alloc, with the version of that value. The value may grow between two reads. */
static enum pmkv_status get_version(struct pmkv *kv, const struct bytes *key, void **value,
                                    size_t *size, uint64_t *version)
{
    size_t room = 4096;

    for (;;) {
        void *buffer = malloc(room);
        if (!buffer)
            cli_out_of_memory();
        enum pmkv_status status =
            pmkv_get_version(kv, key->data, key->size, buffer, room, size, version);
        if (status == PMKV_OK) {
            *value = buffer;
            return status;
        }
        free(buffer);
        if (status != PMKV_E_BUFFER)
            return status;
        room = *size;
    }
}

static enum cli_exit print_value_json(const struct bytes *key, const void *value, size_t size,
                                      uint64_t version)
{
    json_t *document = out_document();

    out_set(document, "key", out_user_bytes(key->data, key->size));
    out_set_u64(document, "version", version);
    out_set(document, "value", out_user_bytes(value, size));
    out_set_u64(document, "value_bytes", size);
    return out_print(document);
}

static enum cli_exit print_value(const void *value, size_t size, bool newline)
{
    if (fwrite(value, 1, size, stdout) != size)
        return cli_fail_errno("write", "standard output");
    if (newline && putchar('\n') == EOF)
        return cli_fail_errno("write", "standard output");
    return CLI_OK;
}

static enum cli_exit get_key(struct pmkv *kv, const struct bytes *key,
                             const struct record_args *args)
{
    void *value = NULL;
    size_t size = 0;
    uint64_t version = 0;
    enum pmkv_status status = get_version(kv, key, &value, &size, &version);

    if (status != PMKV_OK)
        return fail_key(status, key);
    enum cli_exit code = args->common.json ? print_value_json(key, value, size, version)
                                           : print_value(value, size, args->newline);
    free(value);
    return code;
}

enum cli_exit verb_get(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"newline", 'n', NULL, 0, "End with a newline (default on a terminal)", 0},
        CLI_OPTION_HEX,
        CLI_OPTION_BASE64,
        CLI_OPTION_JSON,
        {0},
    };
    static const struct argp argp = {
        options, parse_record, "POOL KEY", "Writes the bytes of the value to standard output.",
        NULL,    NULL,         NULL};
    struct record_args args = {.common = {.min_count = 2, .max_count = 2}};
    struct bytes key = {0};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    args.newline = args.newline || isatty(STDOUT_FILENO) == 1;
    enum cli_exit code = open_for_key(POOL_READ, &args.common, &key, &kv);
    if (code == CLI_OK)
        code = pool_close(&kv, get_key(kv, &key, &args));
    bytes_free(&key);
    return code;
}

/* --- put -------------------------------------------------------------------------------------- */

/* One byte more than any pool takes is enough to know that it is too much. */
static enum cli_exit read_value(const char *argument, struct bytes *value)
{
    if (strcmp(argument, "-") != 0) {
        bytes_append(value, argument, strlen(argument));
        return CLI_OK;
    }
    if (!bytes_read(value, STDIN_FILENO, PMKV_MAX_VALUE_BYTES + 1))
        return cli_fail_errno("read", "standard input");
    return CLI_OK;
}

static enum cli_exit put_key(struct pmkv *kv, const struct bytes *key, const struct bytes *value,
                             const struct record_args *args)
{
    enum pmkv_status status =
        args->conditional
            ? pmkv_put_if(kv, key->data, key->size, value->data, value->size, args->version, NULL)
            : pmkv_put(kv, key->data, key->size, value->data, value->size);

    if (status == PMKV_OK)
        return CLI_OK;
    enum cli_exit code = fail_key(status, key);
    return status == PMKV_E_EXISTS ? CLI_NOT_FOUND : code; /* the key does, not the pool */
}

enum cli_exit verb_put(int argc, char **argv)
{
    static const struct argp_option options[] = {
        {"if-absent", OPTION_IF_ABSENT, NULL, 0, "Only when the key is not there; else exit code 1",
         0},
        CLI_OPTION_IF_VERSION,
        CLI_OPTION_HEX,
        CLI_OPTION_BASE64,
        {0},
    };
    static const struct argp argp = {
        options,
        parse_record,
        "POOL KEY VALUE|-",
        "Stores VALUE, or what standard input has when VALUE is -, under KEY. It is durable when "
        "the command ends with 0.",
        NULL,
        NULL,
        NULL};
    struct record_args args = {.common = {.min_count = 3, .max_count = 3}};
    struct bytes key = {0}, value = {0};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = read_value(args.common.positional[2], &value);
    if (code == CLI_OK)
        code = open_for_key(POOL_WRITE, &args.common, &key, &kv);
    if (code == CLI_OK)
        code = pool_close(&kv, put_key(kv, &key, &value, &args));
    bytes_free(&key);
    bytes_free(&value);
    return code;
}

/* --- del, exists, count ----------------------------------------------------------------------- */

static enum cli_exit delete_key(struct pmkv *kv, const struct bytes *key,
                                const struct record_args *args)
{
    enum pmkv_status status = args->conditional
                                  ? pmkv_delete_if(kv, key->data, key->size, args->version)
                                  : pmkv_delete(kv, key->data, key->size);

    return status == PMKV_OK ? CLI_OK : fail_key(status, key);
}

enum cli_exit verb_del(int argc, char **argv)
{
    static const struct argp_option options[] = {
        CLI_OPTION_IF_VERSION, CLI_OPTION_HEX, CLI_OPTION_BASE64, {0}};
    static const struct argp argp = {
        options,
        parse_record,
        "POOL KEY",
        "Removes KEY; exit code 1 when it was not there. A lost key can be removed too.",
        NULL,
        NULL,
        NULL};
    struct record_args args = {.common = {.min_count = 2, .max_count = 2}};
    struct bytes key = {0};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = open_for_key(POOL_WRITE, &args.common, &key, &kv);
    if (code == CLI_OK)
        code = pool_close(&kv, delete_key(kv, &key, &args));
    bytes_free(&key);
    return code;
}

static enum cli_exit exists_key(struct pmkv *kv, const struct bytes *key, bool json)
{
    enum pmkv_status status = pmkv_exists(kv, key->data, key->size);

    if (status != PMKV_OK && status != PMKV_E_NOT_FOUND && status != PMKV_E_LOST)
        return fail_key(status, key);
    if (json) {
        json_t *document = out_document();
        out_set(document, "key", out_user_bytes(key->data, key->size));
        out_set_bool(document, "exists", status == PMKV_OK);
        out_set_bool(document, "lost", status == PMKV_E_LOST);
        out_print(document);
    }
    if (status == PMKV_E_LOST)
        return fail_key(status, key);
    return status == PMKV_OK ? CLI_OK : CLI_NOT_FOUND;
}

enum cli_exit verb_exists(int argc, char **argv)
{
    static const struct argp argp = {
        report_options,
        parse_record,
        "POOL KEY",
        "Exit code 0 when KEY is there, 1 when not, 6 when it was lost. Prints nothing unless "
        "--json.",
        NULL,
        NULL,
        NULL};
    struct record_args args = {.common = {.min_count = 2, .max_count = 2}};
    struct bytes key = {0};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = open_for_key(POOL_READ, &args.common, &key, &kv);
    if (code == CLI_OK)
        code = pool_close(&kv, exists_key(kv, &key, args.common.json));
    bytes_free(&key);
    return code;
}

static enum cli_exit print_count(struct pmkv *kv, bool json)
{
    uint64_t count = 0;
    enum pmkv_status status = pmkv_count(kv, &count);

    if (status != PMKV_OK)
        return cli_fail(status);
    if (json) {
        json_t *document = out_document();
        out_set_u64(document, "count", count);
        return out_print(document);
    }
    printf("%llu\n", (unsigned long long)count);
    return CLI_OK;
}

enum cli_exit verb_count(int argc, char **argv)
{
    static const struct argp_option options[] = {CLI_OPTION_JSON, {0}};
    static const struct argp argp = {
        options, parse_record, "POOL", "Prints the number of keys, lost ones not counted.",
        NULL,    NULL,         NULL};
    struct record_args args = {.common = {.min_count = 1, .max_count = 1}};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = pool_open(POOL_READ, &kv);
    return code == CLI_OK ? pool_close(&kv, print_count(kv, args.common.json)) : code;
}
