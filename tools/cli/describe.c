/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "describe.h"

const char *describe_durability(enum pmkv_durability durability)
{
    return durability == PMKV_SURVIVES_POWER_LOSS ? "power loss" : "process death";
}

const char *describe_state(enum pmkv_state state)
{
    static const char *const names[] = {"ONLINE", "REPAIRED", "DEGRADED", "LOST", "UNAVAILABLE"};

    return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "UNKNOWN";
}

const char *describe_scan_state(enum pmkv_scan_state state)
{
    static const char *const names[] = {"none", "running", "finished", "stopped"};

    return (size_t)state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

void describe_info_text(const struct pmkv_info *info)
{
    out_field("pool", "%s", cli_pool());
    out_field("uuid", "%s", info->uuid);
    out_field("format", "%u, %s %u+%u, loss unit %s, rows of %u pages, %u segments of %u rows",
              info->format_version, pmkv_geometry_name(info->geometry), info->data_columns,
              info->parity_columns, out_size(info->loss_unit_bytes).text, info->row_pages,
              info->segment_count, info->segment_rows);
    out_field("backend", "%s, survives %s: %s", pmkv_backend_name(info->backend),
              describe_durability(info->durability), info->backend_reason);
}

static json_t *geometry_json(const struct pmkv_info *info)
{
    json_t *geometry = json_object();

    out_set_text(geometry, "name", pmkv_geometry_name(info->geometry));
    out_set_u64(geometry, "data_columns", info->data_columns);
    out_set_u64(geometry, "parity_columns", info->parity_columns);
    out_set_u64(geometry, "loss_unit_bytes", info->loss_unit_bytes);
    out_set_u64(geometry, "row_pages", info->row_pages);
    out_set_u64(geometry, "segment_rows", info->segment_rows);
    out_set_u64(geometry, "segment_count", info->segment_count);
    return geometry;
}

void describe_info_json(json_t *document, const struct pmkv_info *info)
{
    out_set_text(document, "uuid", info->uuid);
    out_set_u64(document, "format_version", info->format_version);
    out_set(document, "geometry", geometry_json(info));
    out_set_text(document, "backend", pmkv_backend_name(info->backend));
    out_set_text(document, "backend_reason", info->backend_reason);
    out_set_text(document, "durability", describe_durability(info->durability));
    out_set_u64(document, "pool_bytes", info->pool_bytes);
    out_set_u64(document, "capacity_bytes", info->capacity_bytes);
    out_set_u64(document, "max_key_bytes", info->max_key_bytes);
    out_set_u64(document, "max_value_bytes", info->max_value_bytes);
    out_set_bool(document, "recovered", info->recovered);
}

json_t *describe_scan_json(const struct pmkv_scan *scan)
{
    json_t *object = json_object();

    out_set_text(object, "state", describe_scan_state(scan->state));
    out_set_time(object, "start_time", scan->start_time);
    out_set_time(object, "end_time", scan->end_time);
    out_set_u64(object, "total_bytes", scan->total_bytes);
    out_set_u64(object, "done_bytes", scan->done_bytes);
    out_set_u64(object, "bad_pages", scan->bad_pages);
    out_set_u64(object, "repaired_pages", scan->repaired_pages);
    out_set_u64(object, "retired_pages", scan->retired_pages);
    out_set_u64(object, "lost_records", scan->lost_records);
    return object;
}

void describe_recovery_text(const struct pmkv_info *info)
{
    if (!info->recovered)
        return;
    out_field("note", "%s",
              info->read_only
                  ? "the pool was not closed cleanly and needs recovery; it was recovered in "
                    "memory for this command, the next program that opens it for writing does "
                    "it for good"
                  : "the pool was not closed cleanly; it was recovered by this command");
}
