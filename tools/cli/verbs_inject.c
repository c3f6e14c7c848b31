/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* inject: damages a pool on purpose, below the store, so that its healing can be watched. */

#include "args.h"
#include "heal.h"
#include "output.h"
#include "pool.h"
#include "verbs.h"

#include <stdio.h>
#include <string.h>

struct inject_args {
    struct cli_args common;
    struct pmkv_inject spec;
    const char *key;
    bool has_target, repair;
};

static const char *const kind_names[] = {"poison", "flip", "zero", "stale", "garbage"};
static const char *const unit_names[] = {"page", "line", "byte"};
static const uint64_t unit_sizes[] = {4096, 64, 1};
enum { KIND_COUNT = 5, UNIT_COUNT = 3 };

enum {
    OPTION_AT = CLI_LONG_OPTION,
    OPTION_KEY,
    OPTION_RANDOM,
    OPTION_SEED,
    OPTION_COUNT,
    OPTION_LIVE,
    OPTION_CLEAR_FAILS,
    OPTION_REPAIR,
};

static const struct argp_option inject_options[] = {
    {NULL, 0, NULL, 0, "What:", 1},
    {"kind", 'k', "KIND", 0,
     "poison (default; the memory is gone, touching it raises a real SIGBUS), or silently: flip "
     "(a bit a unit), zero, stale (another segment's bytes), garbage",
     1},
    {"unit", 'u', "UNIT", 0, "page (default), line or byte; poison takes pages", 1},
    {"clear-fails", OPTION_CLEAR_FAILS, NULL, 0,
     "Poison that a repair cannot clear, while this command runs: use with --repair", 1},
    {NULL, 0, NULL, 0, "Where (one of the first three):", 2},
    {"at", OPTION_AT, "OFFSET", 0, "At this offset of the pool", 2},
    {"key", OPTION_KEY, "KEY", 0, "The page with the first byte of this key's record", 2},
    {"random", OPTION_RANDOM, NULL, 0, "At places that follow from the seed alone", 2},
    {"seed", OPTION_SEED, "N", 0, "For --random (default 1)", 2},
    {"count", OPTION_COUNT, "N", 0, "Places with --random, units in a row with --at (default 1)",
     2},
    {"live", OPTION_LIVE, NULL, 0, "With --random: only segments that hold data", 2},
    {NULL, 0, NULL, 0, "Then:", 3},
    {"repair", OPTION_REPAIR, NULL, 0, "Scrub and repair at once, in the same process", 3},
    {"hex", 'x', NULL, 0, "The key is written in hexadecimal", 3},
    {"base64", 'b', NULL, 0, "The key is written in base64", 3},
    {"json", 'j', NULL, 0, "Print JSON instead of text", 3},
    {0},
};

static void take_target(struct inject_args *args, enum pmkv_inject_target target,
                        struct argp_state *state)
{
    if (args->has_target)
        argp_error(state, "one of --at, --key and --random, not two");
    args->has_target = true;
    args->spec.target = target;
}

static error_t parse_place(int key, char *arg, struct argp_state *state)
{
    struct inject_args *args = state->input;

    switch (key) {
    case OPTION_AT:
        take_target(args, PMKV_INJECT_AT_OFFSET, state);
        args->spec.offset = args_size(state, "at", arg);
        return 0;
    case OPTION_KEY:
        take_target(args, PMKV_INJECT_AT_KEY, state);
        args->key = arg;
        return 0;
    case OPTION_RANDOM:
        take_target(args, PMKV_INJECT_AT_RANDOM, state);
        return 0;
    case OPTION_SEED:
        args->spec.seed = args_size(state, "seed", arg);
        return 0;
    case OPTION_COUNT:
        args->spec.count = args_u32(state, "count", arg);
        return 0;
    case OPTION_LIVE:
        args->spec.live_only = true;
        return 0;
    default:
        return args_parse_common(&args->common, key, arg, state);
    }
}

static error_t parse_inject(int key, char *arg, struct argp_state *state)
{
    struct inject_args *args = state->input;

    switch (key) {
    case 'k':
        args->spec.kind =
            (enum pmkv_inject_kind)(1 + args_choice(state, "kind", arg, kind_names, KIND_COUNT));
        return 0;
    case 'u':
        args->spec.unit_bytes = unit_sizes[args_choice(state, "unit", arg, unit_names, UNIT_COUNT)];
        return 0;
    case OPTION_CLEAR_FAILS:
        args->spec.clear_fails = true;
        return 0;
    case OPTION_REPAIR:
        args->repair = true;
        return 0;
    case ARGP_KEY_END:
        if (!args->has_target)
            argp_error(state, "say where: --at OFFSET, --key KEY or --random");
        return args_parse_common(&args->common, key, arg, state);
    default:
        return parse_place(key, arg, state);
    }
}

static void print_injected(const struct inject_args *args, uint32_t injected)
{
    printf("injected %u fault%s of kind %s, %llu bytes each\n", injected, injected == 1 ? "" : "s",
           kind_names[args->spec.kind - 1], (unsigned long long)args->spec.unit_bytes);
}

static json_t *injected_json(const struct inject_args *args, uint32_t injected)
{
    json_t *document = out_document();

    out_set_u64(document, "injected", injected);
    out_set_text(document, "kind", kind_names[args->spec.kind - 1]);
    out_set_u64(document, "unit_bytes", args->spec.unit_bytes);
    if (args->spec.target == PMKV_INJECT_AT_RANDOM)
        out_set_u64(document, "seed", args->spec.seed);
    return document;
}

/* With --repair also what became of it. */
static enum cli_exit report(struct pmkv *kv, const struct inject_args *args, uint32_t injected)
{
    struct heal heal;
    enum cli_exit code = CLI_OK;

    if (!args->common.json)
        print_injected(args, injected);
    if (args->repair)
        code = heal_scrub(kv, 0, &heal);
    if (code != CLI_OK)
        return code;
    if (args->common.json) {
        json_t *document = injected_json(args, injected);
        if (args->repair)
            heal_json(document, &heal);
        code = out_print(document);
    } else if (args->repair) {
        heal_text(&heal);
    }
    return args->repair ? cli_worse(code, heal_code(&heal)) : code;
}

static enum cli_exit run_inject(struct pmkv *kv, const struct inject_args *args)
{
    uint32_t injected = 0;
    enum pmkv_status status = pmkv_inject(kv, &args->spec, &injected);

    return status == PMKV_OK ? report(kv, args, injected) : cli_fail(status);
}

enum cli_exit verb_inject(int argc, char **argv)
{
    static const struct argp argp = {
        inject_options,
        parse_inject,
        "POOL",
        "DAMAGES THE POOL, to see that it heals. What redundancy covers is rebuilt and repaired "
        "by reads and by scrub; more than that is lost for good, as it would be in earnest.",
        NULL,
        NULL,
        NULL};
    struct inject_args args = {
        .common = {.min_count = 1, .max_count = 1},
        .spec = {.size = sizeof(struct pmkv_inject),
                 .kind = PMKV_INJECT_POISON,
                 .unit_bytes = 4096,
                 .seed = 1,
                 .count = 1},
    };
    struct bytes key = {0};
    struct pmkv *kv = NULL;
    enum cli_exit code = CLI_OK;

    args_parse(&argp, argc, argv, &args);
    if (args.key)
        code = args_key(&args.common, args.key, &key);
    args.spec.key = key.data;
    args.spec.key_bytes = key.size;
    if (code == CLI_OK)
        code = pool_open(args.repair ? POOL_INJECT_WRITE : POOL_INJECT, &kv);
    if (code == CLI_OK)
        code = pool_close(&kv, run_inject(kv, &args));
    bytes_free(&key);
    return code;
}
