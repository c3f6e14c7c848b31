/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The text format of dumps: any bytes are loaded; what was loaded is dumped, in the one format
 * or the other, and loaded again: that gives the same records. */
#include <stdio.h>
#include <stdlib.h>

#include "image.h"
#include "kv/open.h"
#include "recovery/media/sim.h"
#include "tools/cli/transfer.h"

/* An empty pool; made once. */
static struct pmkv *open_empty(void)
{
    static struct media *empty;
    struct pmkv_options o = image_options(PMKV_NONE);
    struct media *m;
    struct pmkv *kv = NULL;
    if (!empty) {
        uint64_t bytes = layout_min_bytes(PAGE_BYTES, 1, 0, o.row_pages, o.segment_rows);
        fuzz_that(sim_new(bytes, PAGE_BYTES, &empty) == 0, "sim_new");
        fuzz_that(store_format(empty, &o) == PMKV_OK, "format: %s", pmkv_errormsg());
    }
    fuzz_that(sim_crash_image(empty, sim_choose_all, NULL, &m) == 0, "image");
    fuzz_that(store_open(m, &o, &kv) == PMKV_OK, "open: %s", pmkv_errormsg());
    return kv;
}

static enum cli_exit load(struct pmkv *kv, const void *text, size_t bytes, uint64_t *records)
{
    struct tally tally = {.code = CLI_OK};
    FILE *in = fmemopen((void *)(uintptr_t)text, bytes, "r");
    if (!in)
        return CLI_USAGE;
    load_text(kv, in, 0, &tally);
    fclose(in);
    *records = tally.record_count;
    return tally.code;
}

/* The sum over all records, whatever their order. */
static int add_item(void *arg, const struct pmkv_item *item)
{
    uint64_t value = hash64(item->value, item->value_bytes);
    *(uint64_t *)arg += hash_mix(hash64(item->key, item->key_bytes) + hash_mix(value));
    return 0;
}

static uint64_t sum_of(struct pmkv *kv)
{
    uint64_t sum = 0;
    fuzz_that(pmkv_foreach(kv, 0, add_item, &sum) == PMKV_OK, "foreach: %s", pmkv_errormsg());
    return sum;
}

static void judge_round_trip(struct pmkv *kv, bool print)
{
    struct text_format format = {.print = print};
    struct tally tally = {.code = CLI_OK};
    char *text = NULL;
    size_t bytes = 0;
    uint64_t records = 0, count = 0;
    FILE *out = open_memstream(&text, &bytes);
    fuzz_that(out, "no memory");
    dump_text(kv, out, &format, &tally);
    fclose(out);
    fuzz_that(tally.code == CLI_OK, "dump: %d", (int)tally.code);
    struct pmkv *again = open_empty();
    fuzz_that(load(again, text, bytes, &records) == CLI_OK, "the dump is not taken: %s", text);
    pmkv_count(kv, &count);
    fuzz_that(records == count && sum_of(again) == sum_of(kv), "%llu records, %llu loaded",
              (unsigned long long)count, (unsigned long long)records);
    pmkv_close(&again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    uint64_t records;
    struct pmkv *kv = open_empty();
    cli_set_verb("load");
    load(kv, data, bytes, &records);
    judge_round_trip(kv, bytes % 2);
    pmkv_close(&kv);
    return 0;
}
