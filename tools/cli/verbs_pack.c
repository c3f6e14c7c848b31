/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* pack: room that records leave between each other, given back. */

#include "args.h"
#include "output.h"
#include "pool.h"
#include "progress.h"
#include "verbs.h"

struct pack {
    struct pmkv_info info;
    struct pmkv_stats before, after;
};

static enum pmkv_status pack_pool(struct pmkv *kv, struct pack *pack)
{
    struct progress progress;
    enum pmkv_status status = pmkv_info(kv, &pack->info);

    if (status == PMKV_OK)
        status = pmkv_stats(kv, &pack->before);
    if (status != PMKV_OK)
        return status;
    progress_start(&progress);
    progress_catch_interrupts();
    status = pmkv_pack(kv, progress_show, &progress);
    progress_end(&progress);
    return status == PMKV_OK ? pmkv_stats(kv, &pack->after) : status;
}

/* Bytes of the pool that segments in use take. */
static uint64_t used_bytes(const struct pack *pack, const struct pmkv_stats *stats)
{
    uint64_t segment = pack->info.pool_bytes / pack->info.segment_count;
    return pack->info.pool_bytes - segment * stats->segments_free;
}

static enum cli_exit print_pack(const struct pack *pack, bool json)
{
    uint64_t before = used_bytes(pack, &pack->before), after = used_bytes(pack, &pack->after);

    if (json) {
        json_t *document = out_document();
        out_set_u64(document, "used_bytes_before", before);
        out_set_u64(document, "used_bytes", after);
        out_set_u64(document, "live_bytes", pack->after.live_bytes);
        out_set_u64(document, "free_bytes", pack->after.free_bytes);
        return out_print(document);
    }
    out_field("pool", "%s", cli_pool());
    out_field("space", "%s in use, %s before; %s live, %s free", out_size(after).text,
              out_size(before).text, out_size(pack->after.live_bytes).text,
              out_size(pack->after.free_bytes).text);
    return CLI_OK;
}

static enum cli_exit run_pack(struct pmkv *kv, bool json)
{
    struct pack pack;
    enum pmkv_status status = pack_pool(kv, &pack);

    if (status == PMKV_E_STOPPED) {
        cli_warn("stopped; the next pack goes on where this one was");
        return CLI_INTERNAL;
    }
    return status == PMKV_OK ? print_pack(&pack, json) : cli_fail(status);
}

enum cli_exit verb_pack(int argc, char **argv)
{
    static const struct argp argp = {
        args_json_alone,
        args_parse_plain,
        "POOL",
        "Moves records together and gives the room back that they leave between each other and "
        "that dead ones take. The store's cleaner does the same as far as it is in need of room.",
        NULL,
        NULL,
        NULL};
    struct cli_args args = {.min_count = 1, .max_count = 1};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = pool_open(POOL_WRITE, &kv);
    return code == CLI_OK ? pool_close(&kv, run_pack(kv, args.json)) : code;
}
