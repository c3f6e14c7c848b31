/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "heal.h"

#include "describe.h"
#include "progress.h"

#include <time.h>

/* Health before, so that what this run did is the difference. */
struct before {
    struct pmkv_health health;
    struct timespec time;
};

static enum pmkv_status begin(struct pmkv *kv, struct before *before, struct heal *heal,
                              const char *verb)
{
    *heal = (struct heal){.verb = verb};
    clock_gettime(CLOCK_MONOTONIC, &before->time);
    enum pmkv_status status = pmkv_info(kv, &heal->info);
    return status == PMKV_OK ? pmkv_health(kv, &before->health) : status;
}

static enum pmkv_status finish(struct pmkv *kv, const struct before *before, struct heal *heal)
{
    struct pmkv_health health;
    struct timespec now;
    enum pmkv_status status = pmkv_health(kv, &health);

    if (status != PMKV_OK)
        return status;
    clock_gettime(CLOCK_MONOTONIC, &now);
    heal->seconds = (double)(now.tv_sec - before->time.tv_sec) +
                    (double)(now.tv_nsec - before->time.tv_nsec) / 1e9;
    heal->repaired_pages = health.pages_repaired - before->health.pages_repaired;
    heal->retired_pages = health.pages_retired - before->health.pages_retired;
    heal->lost_records = health.records_lost;
    return PMKV_OK;
}

static enum pmkv_status scrub_to_end(struct pmkv *kv, uint64_t bytes_per_second)
{
    struct progress progress;
    enum pmkv_status status = pmkv_scrub_start(kv, bytes_per_second);

    if (status != PMKV_OK)
        return status;
    progress_start(&progress);
    progress_catch_interrupts();
    status = pmkv_scrub_wait(kv, progress_show, &progress);
    progress_end(&progress);
    if (status == PMKV_E_STOPPED)
        pmkv_scrub_stop(kv);
    return status;
}

enum cli_exit heal_scrub(struct pmkv *kv, uint64_t bytes_per_second, struct heal *heal)
{
    struct before before;
    enum pmkv_status status = begin(kv, &before, heal, "scrub");

    if (status == PMKV_OK)
        status = scrub_to_end(kv, bytes_per_second);
    if (status == PMKV_E_STOPPED) {
        cli_warn("stopped; the next scrub goes on where this one was");
        return CLI_INTERNAL;
    }
    if (status == PMKV_OK)
        status = pmkv_repair(kv, &heal->left_pages);
    if (status == PMKV_OK)
        status = pmkv_scrub_status(kv, &heal->scan);
    if (status == PMKV_OK)
        status = finish(kv, &before, heal);
    return status == PMKV_OK ? CLI_OK : cli_fail(status);
}

enum cli_exit heal_repair(struct pmkv *kv, struct heal *heal)
{
    struct before before;
    enum pmkv_status status = begin(kv, &before, heal, "repair");

    if (status == PMKV_OK)
        status = pmkv_repair(kv, &heal->left_pages);
    if (status == PMKV_OK)
        status = finish(kv, &before, heal);
    return status == PMKV_OK ? CLI_OK : cli_fail(status);
}

void heal_json(json_t *document, const struct heal *heal)
{
    if (heal->scan.state != PMKV_SCAN_NONE)
        out_set(document, "scan", describe_scan_json(&heal->scan));
    out_set_u64(document, "repaired_pages", heal->repaired_pages);
    out_set_u64(document, "retired_pages", heal->retired_pages);
    out_set_u64(document, "left_pages", heal->left_pages);
    out_set_u64(document, "records_lost", heal->lost_records);
    out_set_bool(document, "recovered", heal->info.recovered);
    out_set(document, "seconds", json_real(heal->seconds));
}

void heal_text(const struct heal *heal)
{
    describe_recovery_text(&heal->info);
    if (heal->scan.state != PMKV_SCAN_NONE)
        out_field(heal->verb, "%s verified in %s, %llu bad pages found",
                  out_size(heal->scan.done_bytes).text, out_duration((uint64_t)heal->seconds).text,
                  (unsigned long long)heal->scan.bad_pages);
    out_field("pages", "%llu repaired, %llu retired, %llu still bad",
              (unsigned long long)heal->repaired_pages, (unsigned long long)heal->retired_pages,
              (unsigned long long)heal->left_pages);
    if (heal->lost_records)
        out_field("errors", "%llu records lost; `pmkv-cli lost %s` lists them",
                  (unsigned long long)heal->lost_records, cli_pool());
    else
        out_field("errors", "No known data errors");
}

enum cli_exit heal_code(const struct heal *heal)
{
    if (heal->lost_records)
        return CLI_LOST;
    bool found = heal->repaired_pages || heal->retired_pages || heal->left_pages ||
                 heal->scan.bad_pages || heal->scan.lost_records;
    return found ? CLI_REPAIRED : CLI_OK;
}
