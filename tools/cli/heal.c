/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "heal.h"

#include "describe.h"
#include "progress.h"

#include <stdio.h>
#include <time.h>

enum { PAGE_BYTES = 4096 };

/* Health before, so that what this run did is the difference. */
struct before {
    struct pmkv_health health;
    struct timespec time;
};

static int count_repaired(void *arg, const struct pmkv_range *range)
{
    uint64_t *pages = arg;

    if (range->state == PMKV_RANGE_REPAIRED)
        *pages += range->bytes / PAGE_BYTES;
    return 0;
}

/* What opening met may be repaired in the background by now: that belongs to this run. */
static enum pmkv_status health_at_open(struct pmkv *kv, struct pmkv_health *health)
{
    struct pmkv_stats stats;
    uint64_t repaired, counted;
    enum pmkv_status status = pmkv_stats(kv, &stats);

    if (status == PMKV_OK)
        status = pmkv_health(kv, health);
    if (status != PMKV_OK || stats.faults + stats.check_failures == 0)
        return status;
    do { /* until no repair came between the two */
        counted = health->pages_repaired;
        repaired = 0;
        status = pmkv_map_foreach(kv, count_repaired, &repaired);
        if (status == PMKV_OK)
            status = pmkv_health(kv, health);
    } while (status == PMKV_OK && health->pages_repaired != counted);
    health->pages_repaired -= repaired < counted ? repaired : counted;
    return status;
}

static enum pmkv_status begin(struct pmkv *kv, struct before *before, struct heal *heal,
                              const char *verb)
{
    *heal = (struct heal){.verb = verb};
    clock_gettime(CLOCK_MONOTONIC, &before->time);
    enum pmkv_status status = pmkv_info(kv, &heal->info);
    return status == PMKV_OK ? health_at_open(kv, &before->health) : status;
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
    heal->found_pages = heal->repaired_pages + heal->retired_pages + heal->left_pages;
    if (heal->found_pages < heal->scan.bad_pages)
        heal->found_pages = heal->scan.bad_pages; /* some hold lost records: beyond repair */
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
    out_set_u64(document, "found_pages", heal->found_pages);
    out_set_u64(document, "repaired_pages", heal->repaired_pages);
    out_set_u64(document, "retired_pages", heal->retired_pages);
    out_set_u64(document, "left_pages", heal->left_pages);
    out_set_u64(document, "records_lost", heal->lost_records);
    out_set_bool(document, "recovered", heal->info.recovered);
    out_set(document, "seconds", json_real(heal->seconds));
}

static void print_pages(const struct heal *heal)
{
    uint64_t settled = heal->repaired_pages + heal->retired_pages + heal->left_pages;
    char beyond[64] = "";

    if (heal->found_pages > settled)
        snprintf(beyond, sizeof(beyond), ", %llu beyond repair",
                 (unsigned long long)(heal->found_pages - settled));
    out_field("pages", "%llu repaired, %llu retired, %llu still bad%s",
              (unsigned long long)heal->repaired_pages, (unsigned long long)heal->retired_pages,
              (unsigned long long)heal->left_pages, beyond);
}

void heal_text(const struct heal *heal)
{
    describe_recovery_text(&heal->info);
    if (heal->scan.state != PMKV_SCAN_NONE)
        out_field(heal->verb, "%s verified in %s, %llu bad page%s found",
                  out_size(heal->scan.done_bytes).text, out_duration((uint64_t)heal->seconds).text,
                  (unsigned long long)heal->found_pages, heal->found_pages == 1 ? "" : "s");
    print_pages(heal);
    if (heal->lost_records)
        out_field("errors", "%llu records or ranges lost; `pmkv-cli lost %s` lists them",
                  (unsigned long long)heal->lost_records, cli_pool());
    else
        out_field("errors", "No known data errors");
}

enum cli_exit heal_code(const struct heal *heal)
{
    if (heal->lost_records)
        return CLI_LOST;
    return heal->found_pages || heal->scan.lost_records ? CLI_REPAIRED : CLI_OK;
}
