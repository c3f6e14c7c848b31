/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "bulk.h"

#include "bytes.h"
#include "output.h"

#include <stdlib.h>

enum { BATCH_BYTES = 1 << 20, BATCH_RECORDS = 1024, HEADER_BYTES = 128, NAME_BYTES = 200 };

/* Key and value stand in `data`, one after the other. */
struct bulk_item {
    struct bytes data;
    size_t key_bytes;
    bulk_line line;
};

bool bulk_start(struct bulk *bulk, struct pmkv *kv, struct tally *tally)
{
    struct pmkv_info info;

    *bulk = (struct bulk){.kv = kv, .tally = tally, .limit_bytes = BATCH_BYTES};
    enum pmkv_status status = pmkv_info(kv, &info);
    if (status == PMKV_OK)
        status = pmkv_batch_new(&bulk->batch);
    if (status != PMKV_OK) {
        tally_fail(tally, cli_fail(status));
        return false;
    }
    /* A batch must fit a segment; half of one leaves room for what the store adds. */
    uint64_t segment_bytes = 4096ull * info.row_pages * info.segment_rows;
    if (bulk->limit_bytes > segment_bytes / 2)
        bulk->limit_bytes = (size_t)(segment_bytes / 2);
    return true;
}

static enum cli_exit report(enum pmkv_status status, const void *key, size_t key_bytes,
                            bulk_line line)
{
    char where[1200], number[32] = "";
    bool is_long = key_bytes > NAME_BYTES;
    char *text = out_escaped_string(key, is_long ? NAME_BYTES : key_bytes);

    if (line)
        snprintf(number, sizeof(number), "line %llu: ", (unsigned long long)line);
    snprintf(where, sizeof(where), "%skey \"%s%s\": ", number, text, is_long ? "..." : "");
    free(text);
    return cli_fail_at(status, where);
}

static bool put_alone(struct bulk *bulk, const void *key, size_t key_bytes, const void *value,
                      size_t value_bytes, bulk_line line)
{
    enum pmkv_status status = pmkv_put(bulk->kv, key, key_bytes, value, value_bytes);

    if (status == PMKV_OK) {
        bulk->tally->record_count++;
        bulk->tally->byte_count += key_bytes + value_bytes;
        return true;
    }
    tally_fail(bulk->tally, report(status, key, key_bytes, line));
    /* These are about this one record. */
    return status == PMKV_E_TOO_LARGE || status == PMKV_E_INVALID;
}

static void drop_items(struct bulk *bulk)
{
    for (size_t i = 0; i < bulk->item_count; i++)
        bytes_free(&bulk->items[i].data);
    bulk->item_count = 0;
    bulk->held_bytes = 0;
    pmkv_batch_clear(bulk->batch);
}

static bool put_one_by_one(struct bulk *bulk)
{
    for (size_t i = 0; i < bulk->item_count; i++) {
        const struct bulk_item *item = &bulk->items[i];
        if (!put_alone(bulk, item->data.data, item->key_bytes, item->data.data + item->key_bytes,
                       item->data.size - item->key_bytes, item->line))
            return false;
    }
    return true;
}

static enum pmkv_status write_batch(struct bulk *bulk)
{
    for (size_t i = 0; i < bulk->item_count; i++) {
        const struct bulk_item *item = &bulk->items[i];
        enum pmkv_status status =
            pmkv_batch_put(bulk->batch, item->data.data, item->key_bytes,
                           item->data.data + item->key_bytes, item->data.size - item->key_bytes);
        if (status != PMKV_OK)
            return status;
    }
    return pmkv_write(bulk->kv, bulk->batch);
}

static bool flush(struct bulk *bulk)
{
    bool go_on = true;

    if (bulk->item_count == 0)
        return true;
    if (write_batch(bulk) == PMKV_OK) {
        bulk->tally->record_count += bulk->item_count;
        bulk->tally->byte_count += bulk->held_bytes - bulk->item_count * HEADER_BYTES;
    } else {
        go_on = put_one_by_one(bulk);
    }
    drop_items(bulk);
    return go_on;
}

static void hold(struct bulk *bulk, const void *key, size_t key_bytes, const void *value,
                 size_t value_bytes, bulk_line line)
{
    if (bulk->item_count == bulk->item_capacity) {
        bulk->item_capacity = bulk->item_capacity ? 2 * bulk->item_capacity : 64;
        bulk->items = realloc(bulk->items, bulk->item_capacity * sizeof(*bulk->items));
        if (!bulk->items)
            cli_out_of_memory();
    }
    struct bulk_item *item = &bulk->items[bulk->item_count++];
    *item = (struct bulk_item){.key_bytes = key_bytes, .line = line};
    bytes_reserve(&item->data, key_bytes + value_bytes);
    bytes_append(&item->data, key, key_bytes);
    bytes_append(&item->data, value, value_bytes);
    bulk->held_bytes += key_bytes + value_bytes + HEADER_BYTES;
}

bool bulk_put(struct bulk *bulk, const void *key, size_t key_bytes, const void *value,
              size_t value_bytes, bulk_line line)
{
    size_t bytes = key_bytes + value_bytes + HEADER_BYTES;

    if (bytes > bulk->limit_bytes / 4)
        return flush(bulk) && put_alone(bulk, key, key_bytes, value, value_bytes, line);
    if (bulk->held_bytes + bytes > bulk->limit_bytes || bulk->item_count == BATCH_RECORDS) {
        if (!flush(bulk))
            return false;
    }
    hold(bulk, key, key_bytes, value, value_bytes, line);
    return true;
}

void bulk_end(struct bulk *bulk, bool go_on)
{
    if (go_on)
        flush(bulk);
    drop_items(bulk);
    pmkv_batch_free(&bulk->batch);
    free(bulk->items);
    bulk->items = NULL;
}
