/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* scan: lists records as they come, without holding them in memory. */

#include "args.h"
#include "bytes.h"
#include "output.h"
#include "pool.h"
#include "verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum scan_format { SCAN_TEXT, SCAN_NUL, SCAN_JSON, SCAN_JSONL };

struct scan_args {
    struct cli_args common;
    const char *prefix;
    uint64_t limit;
    bool values, limited, ordered, reverse;
    enum scan_format format;
};

struct scan {
    const struct scan_args *args;
    struct bytes prefix;
    uint64_t shown_count, lost_count;
    enum cli_exit code;
};

enum { OPTION_JSONL = CLI_LONG_OPTION };

static const struct argp_option scan_options[] = {
    {"values", 'v', NULL, 0, "Print values too, after a tab", 0},
    {"prefix", 'p', "PREFIX", 0, "Only keys that start so (written as --hex or --base64 say)", 0},
    {"sort", 's', NULL, 0, "In the order of their bytes, which takes memory for all keys", 0},
    {"reverse", 'r', NULL, 0, "The same, from the last to the first", 0},
    {"limit", 'l', "N", 0, "Stop after N keys", 0},
    {"null", '0', NULL, 0, "Keys as they are, each ended by a NUL byte, for xargs -0", 0},
    {"jsonl", OPTION_JSONL, NULL, 0, "One JSON object a line", 0},
    {"hex", 'x', NULL, 0, "Print keys and values in hexadecimal", 0},
    {"base64", 'b', NULL, 0, "Print keys and values in base64", 0},
    CLI_OPTION_JSON,
    {0},
};

static error_t parse_scan(int key, char *arg, struct argp_state *state)
{
    struct scan_args *args = state->input;

    switch (key) {
    case 'v':
        args->values = true;
        return 0;
    case 'p':
        args->prefix = arg;
        return 0;
    case 'r':
        args->reverse = true;
        /* fall through */
    case 's':
        args->ordered = true;
        return 0;
    case 'l':
        args->limit = args_size(state, "limit", arg);
        args->limited = true;
        return 0;
    case '0':
        args->format = SCAN_NUL;
        return 0;
    case 'j':
        args->format = SCAN_JSON;
        return 0;
    case OPTION_JSONL:
        args->format = SCAN_JSONL;
        return 0;
    case ARGP_KEY_END:
        if (args->values && args->format == SCAN_NUL)
            argp_error(state, "--null prints keys only; use --jsonl for values");
        return args_parse_common(&args->common, key, arg, state);
    default:
        return args_parse_common(&args->common, key, arg, state);
    }
}

static void print_bytes(const struct scan *scan, const void *data, size_t size)
{
    char *text;

    if (scan->args->common.key_form == KEY_TEXT) {
        out_escaped(stdout, data, size);
        return;
    }
    text = scan->args->common.key_form == KEY_HEX ? hex_of(data, size) : base64_of(data, size);
    fputs(text, stdout);
    free(text);
}

static void print_item_text(const struct scan *scan, const struct pmkv_item *item)
{
    print_bytes(scan, item->key, item->key_bytes);
    if (scan->args->values) {
        putchar('\t');
        if (item->value)
            print_bytes(scan, item->value, item->value_bytes);
    }
    putchar('\n');
}

static json_t *item_json(const struct scan *scan, const struct pmkv_item *item)
{
    json_t *object = json_object();

    out_set(object, "key", out_user_bytes(item->key, item->key_bytes));
    out_set_u64(object, "version", item->version);
    if (item->status != PMKV_OK) {
        out_set_bool(object, "lost", true);
        return object;
    }
    out_set_u64(object, "value_bytes", item->value_bytes);
    if (scan->args->values)
        out_set(object, "value", out_user_bytes(item->value, item->value_bytes));
    return object;
}

static void print_item_json(struct scan *scan, const struct pmkv_item *item)
{
    json_t *object = item_json(scan, item);

    if (scan->args->format == SCAN_JSONL) {
        out_set_u64(object, "pmkv_schema", 1);
        out_print_line(object);
        return;
    }
    printf("%s\n    ", scan->shown_count ? "," : "");
    json_dumpf(object, stdout, JSON_COMPACT);
    json_decref(object);
}

static void report_lost(struct scan *scan, const struct pmkv_item *item)
{
    char *key = out_escaped_string(item->key, item->key_bytes);

    scan->lost_count++;
    cli_warn("key \"%s\": %s", key, pmkv_strerror(item->status));
    free(key);
}

static bool is_wanted(const struct scan *scan, const struct pmkv_item *item)
{
    return item->key_bytes >= scan->prefix.size &&
           (scan->prefix.size == 0 || memcmp(item->key, scan->prefix.data, scan->prefix.size) == 0);
}

static int show_item(void *arg, const struct pmkv_item *item)
{
    struct scan *scan = arg;

    if (!is_wanted(scan, item))
        return 0;
    if (scan->args->limited && scan->shown_count == scan->args->limit)
        return 1;
    if (item->status != PMKV_OK)
        report_lost(scan, item);

    if (scan->args->format == SCAN_TEXT)
        print_item_text(scan, item);
    else if (scan->args->format == SCAN_NUL)
        fwrite(item->key, 1, item->key_bytes, stdout), putchar('\0');
    else
        print_item_json(scan, item);
    scan->shown_count++;
    return ferror(stdout);
}

/* The one document that is not built in memory: a scan may be larger than that. */
static void print_head(void)
{
    json_t *pool = json_object();

    out_set_text(pool, "pool", cli_pool());
    printf("{\n  \"pmkv_schema\": 1,\n  \"pool\": ");
    json_dumpf(json_object_get(pool, "pool"), stdout, JSON_ENCODE_ANY);
    printf(",\n  \"items\": [");
    json_decref(pool);
}

/* To the last key that begins with the prefix, or, when there is none, to one before it. Right
 * behind all that do stand those that begin with the prefix plus one in its last byte that is not
 * 0xff. */
static enum pmkv_status seek_behind(struct pmkv_iter *iter, const struct bytes *prefix)
{
    unsigned char *behind = prefix->data;
    size_t size = prefix->size;

    while (size > 0 && behind[size - 1] == 0xff)
        size--;
    if (size == 0)
        return pmkv_iter_seek_last(iter);
    behind[size - 1]++;
    enum pmkv_status status = pmkv_iter_seek(iter, behind, size);
    behind[size - 1]--;
    return status == PMKV_OK ? pmkv_iter_prev(iter) : status;
}

static enum pmkv_status show_in_order(struct pmkv *kv, struct scan *scan)
{
    struct pmkv_iter *iter = NULL;
    bool reverse = scan->args->reverse;
    const struct pmkv_item *item;
    enum pmkv_status status = pmkv_iter_new(kv, 0, &iter);

    if (status == PMKV_OK)
        status = reverse ? seek_behind(iter, &scan->prefix)
                         : pmkv_iter_seek(iter, scan->prefix.data, scan->prefix.size);
    while (status == PMKV_OK && (item = pmkv_iter_item(iter)) != NULL && is_wanted(scan, item) &&
           show_item(scan, item) == 0)
        status = reverse ? pmkv_iter_prev(iter) : pmkv_iter_next(iter);
    pmkv_iter_free(&iter);
    return status;
}

static enum pmkv_status show_all(struct pmkv *kv, struct scan *scan)
{
    if (scan->args->ordered)
        return show_in_order(kv, scan);
    return pmkv_foreach(kv, scan->args->values ? 0 : PMKV_FOREACH_KEYS_ONLY, show_item, scan);
}

static enum cli_exit run_scan(struct pmkv *kv, struct scan *scan)
{
    bool is_document = scan->args->format == SCAN_JSON;

    if (is_document)
        print_head();
    enum pmkv_status status = show_all(kv, scan);
    if (is_document)
        printf("\n  ],\n  \"count\": %llu\n}\n", (unsigned long long)scan->shown_count);
    if (ferror(stdout))
        return cli_fail_errno("write", "standard output");
    if (status != PMKV_OK && status != PMKV_E_STOPPED)
        return cli_fail(status);
    return scan->lost_count ? CLI_LOST : CLI_OK;
}

enum cli_exit verb_scan(int argc, char **argv)
{
    static const struct argp argp = {
        scan_options,
        parse_scan,
        "POOL",
        "Lists the keys of the pool, one a line, in no order unless --sort is given. Bytes that "
        "are not printable "
        "UTF-8 are shown as \\n, \\t, \\\\ or \\xNN; --hex, --base64, --null and JSON are exact.",
        NULL,
        NULL,
        NULL};
    struct scan_args args = {.common = {.min_count = 1, .max_count = 1}};
    struct scan scan = {.args = &args};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = CLI_OK;
    if (args.prefix)
        code = args_key(&args.common, args.prefix, &scan.prefix);
    if (code == CLI_OK)
        code = pool_open(args.ordered ? POOL_READ_ORDERED : POOL_READ, &kv);
    if (code == CLI_OK)
        code = pool_close(&kv, run_scan(kv, &scan));
    bytes_free(&scan.prefix);
    return code;
}
