/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* create and probe: what a pool will be, before it is one. */

#include "args.h"
#include "describe.h"
#include "output.h"
#include "pool.h"
#include "verbs.h"

/* --- create ----------------------------------------------------------------------------------- */

struct create_args {
    struct cli_args common;
    struct pmkv_options options;
};

enum { OPTION_LOSS_UNIT = CLI_LONG_OPTION, OPTION_ROW_PAGES, OPTION_SEGMENT_ROWS };

static const struct argp_option create_options[] = {
    {"size", 's', "BYTES", 0, "Size of the pool: K M G T are powers of 1024 (default 256M)", 0},
    {"geometry", 'g', "NAME", 0,
     "Redundancy: parity (8+1, default), double (8+2), mirror (1+1) or none (checks only)", 0},
    {"loss-unit", OPTION_LOSS_UNIT, "BYTES", 0,
     "How much memory is lost at a time (default: what the medium says)", 0},
    {"row-pages", OPTION_ROW_PAGES, "N", 0, "Data pages in a row, a power of two (default 32)", 0},
    {"segment-rows", OPTION_SEGMENT_ROWS, "N", 0,
     "Rows in a segment, 2 to 64; parity and double: 8 to 64, a multiple of 8 (default: by size)",
     0},
    CLI_OPTION_JSON,
    {0},
};

static error_t parse_create(int key, char *arg, struct argp_state *state)
{
    static const char *const geometries[] = {"parity", "double", "mirror", "none"};
    struct create_args *args = state->input;
    struct pmkv_options *options = &args->options;

    switch (key) {
    case 's':
        options->pool_bytes = args_size(state, "size", arg);
        return 0;
    case 'g':
        options->geometry = (enum pmkv_geometry)args_choice(state, "geometry", arg, geometries, 4);
        return 0;
    case OPTION_LOSS_UNIT:
        options->loss_unit_bytes = args_size(state, "loss-unit", arg);
        return 0;
    case OPTION_ROW_PAGES:
        options->row_pages = args_u32(state, "row-pages", arg);
        return 0;
    case OPTION_SEGMENT_ROWS:
        options->segment_rows = args_u32(state, "segment-rows", arg);
        return 0;
    default:
        return args_parse_common(&args->common, key, arg, state);
    }
}

/* What was made is read back from the pool, not repeated from the options. */
static enum cli_exit print_created(bool json)
{
    struct pmkv *kv = NULL;
    struct pmkv_info info;
    enum cli_exit code = pool_open(POOL_READ, &kv);

    if (code != CLI_OK)
        return code;
    enum pmkv_status status = pmkv_info(kv, &info);
    if (status != PMKV_OK) {
        code = cli_fail(status);
    } else if (json) {
        json_t *document = out_document();
        describe_info_json(document, &info);
        code = out_print(document);
    } else {
        describe_info_text(&info);
        out_field("space", "%s total, %s for records", out_size(info.pool_bytes).text,
                  out_size(info.capacity_bytes).text);
    }
    return pool_close(&kv, code);
}

enum cli_exit verb_create(int argc, char **argv)
{
    static const struct argp argp = {
        create_options,
        parse_create,
        "POOL",
        "Makes a pool at POOL, allocating all of its space, and prints what was made. POOL must "
        "not exist, be empty, or be a device DAX node without a pool.",
        NULL,
        NULL,
        NULL};
    struct create_args args = {.common = {.min_count = 1, .max_count = 1}};

    pmkv_options_init(&args.options);
    args_parse(&argp, argc, argv, &args);
    enum pmkv_status status = pmkv_create(cli_pool(), &args.options);
    if (status != PMKV_OK)
        return cli_fail(status);
    return print_created(args.common.json);
}

/* --- probe ------------------------------------------------------------------------------------ */

static const char *bad_blocks_text(int support)
{
    return support == 1   ? "listed"
           : support == 0 ? "not listed for this medium"
                          : "could not be read";
}

static enum cli_exit print_probe_json(const struct pmkv_probe *probe)
{
    json_t *document = out_document();

    out_set_text(document, "backend", pmkv_backend_name(probe->backend));
    out_set_text(document, "durability", describe_durability(probe->durability));
    out_set_text(document, "reason", probe->reason);
    out_set_text(document, "advice", probe->advice);
    out_set_u64(document, "loss_unit_bytes", probe->loss_unit_bytes);
    out_set_u64(document, "available_bytes", probe->available_bytes);
    out_set(document, "bad_block_support",
            probe->bad_block_support < 0 ? json_null() : json_boolean(probe->bad_block_support));
    out_set(document, "numa_node",
            probe->numa_node < 0 ? json_null() : json_integer(probe->numa_node));
    return out_print(document);
}

static enum cli_exit print_probe_text(const struct pmkv_probe *probe)
{
    out_field("path", "%s", cli_pool());
    out_field("backend", "%s, survives %s: %s", pmkv_backend_name(probe->backend),
              describe_durability(probe->durability), probe->reason);
    out_field("unit", "%s lost at a time", out_size(probe->loss_unit_bytes).text);
    out_field("space", "%s available", out_size(probe->available_bytes).text);
    out_field("bad", "blocks that the kernel knows to be bad: %s",
              bad_blocks_text(probe->bad_block_support));
    if (probe->numa_node >= 0)
        out_field("numa", "node %d", probe->numa_node);
    if (probe->advice[0])
        out_field("advice", "%s", probe->advice);
    return CLI_OK;
}

enum cli_exit verb_probe(int argc, char **argv)
{
    static const struct argp argp = {
        args_json_alone,
        args_parse_plain,
        "PATH",
        "Says which medium a pool at PATH would get, what its writes survive, and how to get a "
        "faster or safer one. PATH is a file, a directory or a device; it is not changed.",
        NULL,
        NULL,
        NULL};
    struct cli_args args = {.min_count = 1, .max_count = 1};
    struct pmkv_probe probe;

    args_parse(&argp, argc, argv, &args);
    enum pmkv_status status = pmkv_probe(cli_pool(), &probe);
    if (status != PMKV_OK)
        return cli_fail(status);
    return args.json ? print_probe_json(&probe) : print_probe_text(&probe);
}
