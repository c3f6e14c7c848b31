/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* check, scrub, repair: looking for damage without and with mending it. */

#include "args.h"
#include "describe.h"
#include "heal.h"
#include "output.h"
#include "pool.h"
#include "progress.h"
#include "verbs.h"

#include <stdio.h>

/* --- check ------------------------------------------------------------------------------------ */

struct check {
    struct pmkv_info info;
    struct pmkv_health health;
    struct pmkv_scan scan;
    uint64_t lost_records; /* known before, or found now */
};

static enum pmkv_status check_pool(struct pmkv *kv, struct check *check)
{
    struct progress progress;
    enum pmkv_status status = pmkv_info(kv, &check->info);

    if (status != PMKV_OK)
        return status;
    progress_start(&progress);
    progress_catch_interrupts();
    status = pmkv_check(kv, &check->scan, progress_show, &progress);
    progress_end(&progress);
    if (status == PMKV_OK)
        status = pmkv_health(kv, &check->health);
    check->lost_records = check->health.records_lost > check->scan.lost_records
                              ? check->health.records_lost
                              : check->scan.lost_records;
    return status;
}

static void print_check_text(const struct check *check)
{
    const struct pmkv_scan *scan = &check->scan;

    describe_recovery_text(&check->info);
    out_field("check", "%s verified in %s", out_size(scan->done_bytes).text,
              out_duration(scan->end_time - scan->start_time).text);
    if (scan->bad_pages)
        out_field("pages", "%llu are bad; `pmkv-cli scrub %s` repairs what redundancy covers",
                  (unsigned long long)scan->bad_pages, cli_pool());
    else
        out_field("pages", "all good");
    if (check->lost_records)
        out_field("errors",
                  "%llu records or ranges lost; `pmkv-cli lost %s` lists those that are known",
                  (unsigned long long)check->lost_records, cli_pool());
    else
        out_field("errors", "No known data errors");
}

static enum cli_exit print_check_json(const struct check *check)
{
    json_t *document = out_document();

    out_set(document, "scan", describe_scan_json(&check->scan));
    out_set_u64(document, "bad_pages", check->scan.bad_pages);
    out_set_u64(document, "records_lost", check->lost_records);
    out_set_bool(document, "recovered", check->info.recovered);
    return out_print(document);
}

static enum cli_exit run_check(struct pmkv *kv, bool json)
{
    struct check check = {0};
    enum cli_exit code = CLI_OK;
    enum pmkv_status status = check_pool(kv, &check);

    if (status != PMKV_OK)
        return cli_fail(status);
    if (json)
        code = print_check_json(&check);
    else
        print_check_text(&check);
    if (check.lost_records)
        return cli_worse(code, CLI_LOST);
    return cli_worse(code, check.scan.bad_pages ? CLI_REPAIRED : CLI_OK);
}

enum cli_exit verb_check(int argc, char **argv)
{
    static const struct argp argp = {
        args_json_alone,
        args_parse_plain,
        "POOL",
        "Verifies every byte of the pool and changes none. Exit code 5 when damage was found that "
        "can be repaired, 6 when data is lost.",
        NULL,
        NULL,
        NULL};
    struct cli_args args = {.min_count = 1, .max_count = 1};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = pool_open(POOL_READ, &kv);
    return code == CLI_OK ? pool_close(&kv, run_check(kv, args.json)) : code;
}

/* --- scrub and repair ------------------------------------------------------------------------- */

struct scrub_args {
    struct cli_args common;
    uint64_t bytes_per_second;
};

static const struct argp_option scrub_options[] = {
    {"rate", 'r', "BYTES", 0, "Verify at most BYTES a second, such as 100M (default: full speed)",
     0},
    {"wait", 'w', NULL, 0, "Wait until it is done; this command always does", 0},
    CLI_OPTION_JSON,
    {0},
};

static error_t parse_scrub(int key, char *arg, struct argp_state *state)
{
    struct scrub_args *args = state->input;

    switch (key) {
    case 'r':
        args->bytes_per_second = args_size(state, "rate", arg);
        return 0;
    case 'w':
        return 0;
    default:
        return args_parse_common(&args->common, key, arg, state);
    }
}

static enum cli_exit print_heal(const struct heal *heal, bool json)
{
    enum cli_exit code = CLI_OK;

    if (json) {
        json_t *document = out_document();
        heal_json(document, heal);
        code = out_print(document);
    } else {
        heal_text(heal);
    }
    return cli_worse(code, heal_code(heal));
}

static enum cli_exit run_scrub(struct pmkv *kv, const struct scrub_args *args)
{
    struct heal heal;
    enum cli_exit code = heal_scrub(kv, args->bytes_per_second, &heal);

    return code == CLI_OK ? print_heal(&heal, args->common.json) : code;
}

enum cli_exit verb_scrub(int argc, char **argv)
{
    static const struct argp argp = {
        scrub_options,
        parse_scrub,
        "POOL",
        "Verifies every byte of the pool and repairs what is damaged. A scrub that was stopped "
        "goes on where it was. Exit code 5 when damage was found and repaired, 6 when records are "
        "lost.",
        NULL,
        NULL,
        NULL};
    struct scrub_args args = {.common = {.min_count = 1, .max_count = 1}};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = pool_open(POOL_WRITE, &kv);
    return code == CLI_OK ? pool_close(&kv, run_scrub(kv, &args)) : code;
}

static enum cli_exit run_repair(struct pmkv *kv, bool json)
{
    struct heal heal;
    enum cli_exit code = heal_repair(kv, &heal);

    return code == CLI_OK ? print_heal(&heal, json) : code;
}

enum cli_exit verb_repair(int argc, char **argv)
{
    static const struct argp argp = {
        args_json_alone,
        args_parse_plain,
        "POOL",
        "Repairs the pages that are known to be bad: from the kernel's list, and met while "
        "opening. To look for damage nobody knows of yet, use scrub. Exit codes as scrub.",
        NULL,
        NULL,
        NULL};
    struct cli_args args = {.min_count = 1, .max_count = 1};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = pool_open(POOL_WRITE, &kv);
    return code == CLI_OK ? pool_close(&kv, run_repair(kv, args.json)) : code;
}
