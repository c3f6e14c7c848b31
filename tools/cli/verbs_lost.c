/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* lost: each lost record by the best name there is: its key, its key's hash, or its place. */

#include "args.h"
#include "output.h"
#include "pool.h"
#include "verbs.h"

#include <inttypes.h>
#include <stdio.h>

static const struct argp_option lost_options[] = {
    CLI_OPTION_JSON,
    {"acknowledge", 'a', NULL, 0,
     "Take ranges without a name off the list: they were seen. Records with a name stay until they "
     "are put again or deleted",
     0},
    {0}};

struct lost_args {
    struct cli_args common;
    bool acknowledge;
};

static error_t parse_lost(int key, char *arg, struct argp_state *state)
{
    struct lost_args *args = state->input;

    if (key != 'a')
        return args_parse_common(&args->common, key, arg, state);
    args->acknowledge = true;
    return 0;
}

static enum cli_exit acknowledge(struct pmkv *kv)
{
    uint64_t cleared = 0;
    enum pmkv_status status = pmkv_lost_acknowledge(kv, &cleared);

    if (status != PMKV_OK)
        return cli_fail(status);
    fprintf(stderr, "%" PRIu64 " ranges without a name taken off the list\n", cleared);
    return CLI_OK;
}

struct listing {
    json_t *items; /* NULL: text */
    uint64_t count;
};

static void print_name(const struct pmkv_lost *lost)
{
    if (lost->key) {
        fputs("key   ", stdout);
        out_escaped(stdout, lost->key, lost->key_bytes);
        fputs(lost->key_is_prefix ? "..." : "", stdout);
    } else if (lost->key_hash) {
        printf("hash  0x%016" PRIx64, lost->key_hash);
    } else {
        fputs("range", stdout);
    }
}

static void print_lost(const struct pmkv_lost *lost)
{
    print_name(lost);
    printf("  at 0x%" PRIx64 ", %" PRIu64 " bytes", lost->pool_offset, lost->bytes);
    if (lost->version)
        printf(", version %" PRIu64, lost->version);
    putchar('\n');
}

static json_t *lost_json(const struct pmkv_lost *lost)
{
    json_t *object = json_object();
    char hash[24];

    if (lost->key) {
        out_set(object, "key", out_user_bytes(lost->key, lost->key_bytes));
        out_set_bool(object, "key_is_prefix", lost->key_is_prefix);
    }
    if (lost->key_hash) {
        snprintf(hash, sizeof(hash), "0x%016" PRIx64, lost->key_hash);
        out_set_text(object, "key_hash", hash);
    }
    if (lost->version)
        out_set_u64(object, "version", lost->version);
    out_set_u64(object, "pool_offset", lost->pool_offset);
    out_set_u64(object, "bytes", lost->bytes);
    return object;
}

static int list_lost(void *arg, const struct pmkv_lost *lost)
{
    struct listing *listing = arg;

    listing->count++;
    if (!listing->items)
        print_lost(lost);
    else if (json_array_append_new(listing->items, lost_json(lost)) != 0)
        cli_out_of_memory();
    return 0;
}

static enum cli_exit run_lost(struct pmkv *kv, bool json)
{
    struct listing listing = {.items = json ? json_array() : NULL};
    enum cli_exit code = CLI_OK;
    enum pmkv_status status = pmkv_lost_foreach(kv, list_lost, &listing);

    if (status != PMKV_OK) {
        json_decref(listing.items);
        return cli_fail(status);
    }
    if (json) {
        json_t *document = out_document();
        out_set(document, "lost", listing.items);
        out_set_u64(document, "count", listing.count);
        code = out_print(document);
    } else if (listing.count == 0) {
        printf("nothing is lost\n");
    }
    return listing.count ? CLI_LOST : code;
}

enum cli_exit verb_lost(int argc, char **argv)
{
    static const struct argp argp = {
        lost_options,
        parse_lost,
        "POOL",
        "Lists each record that is lost and was not written or deleted since: its key, else the "
        "hash of its key, else the range it was in. Exit code 6 when there is any.",
        NULL,
        NULL,
        NULL};
    struct lost_args args = {.common = {.min_count = 1, .max_count = 1}};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = pool_open(args.acknowledge ? POOL_WRITE : POOL_READ, &kv);
    if (code != CLI_OK)
        return code;
    if (args.acknowledge)
        code = acknowledge(kv);
    return pool_close(&kv, code == CLI_OK ? run_lost(kv, args.common.json) : code);
}
