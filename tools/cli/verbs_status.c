/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* status: what an operator wants to know, in the manner of `zpool status`. */

#include "args.h"
#include "describe.h"
#include "output.h"
#include "pool.h"
#include "verbs.h"

#include <stdio.h>

struct status {
    struct pmkv_info info;
    struct pmkv_health health;
    struct pmkv_stats stats;
};

static enum cli_exit read_status(struct pmkv *kv, struct status *s)
{
    enum pmkv_status status = pmkv_info(kv, &s->info);

    if (status == PMKV_OK)
        status = pmkv_health(kv, &s->health);
    if (status == PMKV_OK)
        status = pmkv_stats(kv, &s->stats);
    return status == PMKV_OK ? CLI_OK : cli_fail(status);
}

/* What scripts act on: past repairs are no reason to call anybody, waiting ones are. */
static enum cli_exit code_of(const struct pmkv_health *health)
{
    if (health->state == PMKV_STATE_UNAVAILABLE)
        return CLI_CANNOT_OPEN;
    if (health->state == PMKV_STATE_LOST || health->records_lost > 0)
        return CLI_LOST;
    return health->pages_pending > 0 ? CLI_REPAIRED : CLI_OK;
}

/* --- text ------------------------------------------------------------------------------------- */

static void print_state(enum pmkv_state state)
{
    enum out_colour colour = state == PMKV_STATE_ONLINE || state == PMKV_STATE_REPAIRED ? OUT_GREEN
                             : state == PMKV_STATE_DEGRADED                             ? OUT_YELLOW
                                                                                        : OUT_RED;

    out_field("state", "%s%s%s", out_colour(colour), describe_state(state), out_colour(OUT_PLAIN));
}

static void print_finished_scan(const struct pmkv_scan *scan)
{
    uint64_t seconds = scan->end_time > scan->start_time ? scan->end_time - scan->start_time : 0;

    out_field("scan",
              "scrub repaired %llu of %llu bad pages in %s, retired %llu, with %llu "
              "records lost, on %s",
              (unsigned long long)scan->repaired_pages, (unsigned long long)scan->bad_pages,
              out_duration(seconds).text, (unsigned long long)scan->retired_pages,
              (unsigned long long)scan->lost_records, out_local_time(scan->end_time).text);
}

static void print_scan(const struct pmkv_scan *scan)
{
    switch (scan->state) {
    case PMKV_SCAN_NONE:
        out_field("scan", "none yet; `pmkv-cli scrub` verifies and repairs everything");
        break;
    case PMKV_SCAN_FINISHED:
        print_finished_scan(scan);
        break;
    case PMKV_SCAN_RUNNING:
    case PMKV_SCAN_STOPPED:
        out_field("scan", "scrub of %s stopped at %u %% (%s of %s); `pmkv-cli scrub` goes on there",
                  out_local_time(scan->start_time).text,
                  out_percent(scan->done_bytes, scan->total_bytes), out_size(scan->done_bytes).text,
                  out_size(scan->total_bytes).text);
        break;
    }
}

static void print_space(const struct status *s)
{
    out_field("space", "%s total, %s live (%u%% of %s), %s reclaimable, %s free",
              out_size(s->info.pool_bytes).text, out_size(s->stats.live_bytes).text,
              out_percent(s->stats.live_bytes, s->info.capacity_bytes),
              out_size(s->info.capacity_bytes).text, out_size(s->stats.dead_bytes).text,
              out_size(s->stats.free_bytes).text);
    out_field("keys", "%llu", (unsigned long long)s->stats.keys);
}

static void print_errors(const struct pmkv_health *health)
{
    if (health->records_lost)
        out_field("errors", "%llu records or ranges lost; `pmkv-cli lost %s` lists them",
                  (unsigned long long)health->records_lost, cli_pool());
    else
        out_field("errors", "No known data errors");
    out_field("media", "pages: %llu rebuilt, %llu repaired, %llu pending, %llu retired",
              (unsigned long long)health->pages_rebuilt, (unsigned long long)health->pages_repaired,
              (unsigned long long)health->pages_pending, (unsigned long long)health->pages_retired);
}

static void print_status(const struct status *s)
{
    describe_info_text(&s->info);
    print_state(s->health.state);
    if (s->health.status[0])
        out_field("status", "%s", s->health.status);
    if (s->health.action[0])
        out_field("action", "%s", s->health.action);
    describe_recovery_text(&s->info);
    if (s->health.loss_unit_coarser)
        out_field("warning", "the medium loses more at a time than the pool was made for: dump it "
                             "and load it into a new pool here");
    print_scan(&s->health.scan);
    print_space(s);
    print_errors(&s->health);
}

/* --- JSON ------------------------------------------------------------------------------------- */

static json_t *space_json(const struct status *s)
{
    json_t *space = json_object();

    out_set_u64(space, "total_bytes", s->info.pool_bytes);
    out_set_u64(space, "capacity_bytes", s->info.capacity_bytes);
    out_set_u64(space, "live_bytes", s->stats.live_bytes);
    out_set_u64(space, "reclaimable_bytes", s->stats.dead_bytes);
    out_set_u64(space, "free_bytes", s->stats.free_bytes);
    return space;
}

static json_t *errors_json(const struct pmkv_health *health)
{
    json_t *errors = json_object();

    out_set_u64(errors, "records_lost", health->records_lost);
    out_set_u64(errors, "pages_rebuilt", health->pages_rebuilt);
    out_set_u64(errors, "pages_repaired", health->pages_repaired);
    out_set_u64(errors, "pages_pending", health->pages_pending);
    out_set_u64(errors, "pages_retired", health->pages_retired);
    return errors;
}

static enum cli_exit print_status_json(const struct status *s)
{
    json_t *document = out_document();

    describe_info_json(document, &s->info);
    out_set_text(document, "state", describe_state(s->health.state));
    out_set_text(document, "status", s->health.status);
    out_set_text(document, "action", s->health.action);
    out_set(document, "scan", describe_scan_json(&s->health.scan));
    out_set(document, "space", space_json(s));
    out_set_u64(document, "keys", s->stats.keys);
    out_set(document, "errors", errors_json(&s->health));
    out_set_bool(document, "loss_unit_coarser", s->health.loss_unit_coarser);
    return out_print(document);
}

/* --- a pool in use ---------------------------------------------------------------------------- */

/* Who has it open knows more; what its superblock says is what can be had without disturbing. */
static const char in_use_status[] = "The pool is open in another process; this is what its "
                                    "superblock says, a few seconds old at most.";

static const char *in_use_action(const struct pmkv_peek *peek)
{
    if (peek->records_lost)
        return "Records were lost. That process can name them (pmkv_lost_foreach), and `pmkv-cli "
               "lost` when it has closed the pool; writing a lost key again makes it good.";
    if (peek->pages_retired)
        return "None for the data. Pages could not be cleared: plan to replace the module.";
    return "None. That process knows more: pmkv_health and pmkv_stats.";
}

static void print_peek(const struct pmkv_peek *peek)
{
    out_field("pool", "%s", cli_pool());
    out_field("uuid", "%s", peek->uuid);
    out_field("format", "%u, %s, %s", peek->format_version, pmkv_geometry_name(peek->geometry),
              out_size(peek->pool_bytes).text);
    out_field("state", "%sIN USE%s", out_colour(peek->records_lost ? OUT_RED : OUT_GREEN),
              out_colour(OUT_PLAIN));
    out_field("status", "%s", in_use_status);
    out_field("action", "%s", in_use_action(peek));
    if (peek->records_lost)
        out_field("errors", "%llu records or ranges lost since the pool was made",
                  (unsigned long long)peek->records_lost);
    else
        out_field("errors", "No known data errors");
    out_field("media", "%llu errors met; pages: %llu rebuilt, %llu repaired, %llu retired",
              (unsigned long long)peek->media_errors, (unsigned long long)peek->pages_rebuilt,
              (unsigned long long)peek->pages_repaired, (unsigned long long)peek->pages_retired);
}

static enum cli_exit print_peek_json(const struct pmkv_peek *peek)
{
    json_t *document = out_document(), *errors = json_object();

    out_set_text(document, "pool", cli_pool());
    out_set_text(document, "uuid", peek->uuid);
    out_set_text(document, "geometry", pmkv_geometry_name(peek->geometry));
    out_set_u64(document, "pool_bytes", peek->pool_bytes);
    out_set_text(document, "state", "IN USE");
    out_set_text(document, "status", in_use_status);
    out_set_text(document, "action", in_use_action(peek));
    out_set_u64(errors, "records_lost_since_made", peek->records_lost);
    out_set_u64(errors, "media_errors", peek->media_errors);
    out_set_u64(errors, "pages_rebuilt", peek->pages_rebuilt);
    out_set_u64(errors, "pages_repaired", peek->pages_repaired);
    out_set_u64(errors, "pages_retired", peek->pages_retired);
    out_set(document, "errors", errors);
    return out_print(document);
}

static enum cli_exit show_in_use(const struct pmkv_peek *peek, bool json)
{
    enum cli_exit code = peek->records_lost ? CLI_LOST : CLI_OK;

    if (json)
        return cli_worse(code, print_peek_json(peek));
    print_peek(peek);
    return code;
}

/* --- the verb --------------------------------------------------------------------------------- */

static enum cli_exit run_status(struct pmkv *kv, bool json)
{
    struct status s;
    enum cli_exit code = read_status(kv, &s);

    if (code != CLI_OK)
        return code;
    if (json)
        code = print_status_json(&s);
    else
        print_status(&s);
    return cli_worse(code, code_of(&s.health));
}

enum cli_exit verb_status(int argc, char **argv)
{
    static const struct argp argp = {
        args_json_alone,
        args_parse_plain,
        "POOL",
        "Prints what the pool is, its health, the last scrub, space and errors; of a pool that "
        "another process has open what its superblock says. Exit code 0 when all is well, 5 when "
        "pages wait for repair, 6 when records are lost.",
        NULL,
        NULL,
        NULL};
    struct cli_args args = {.min_count = 1, .max_count = 1};
    struct pmkv *kv = NULL;

    struct pmkv_peek peek;

    args_parse(&argp, argc, argv, &args);
    if (pmkv_peek(cli_pool(), &peek) == PMKV_OK && peek.in_use)
        return show_in_use(&peek, args.json);
    enum cli_exit code = pool_open(POOL_READ, &kv);
    return code == CLI_OK ? pool_close(&kv, run_status(kv, args.json)) : code;
}
