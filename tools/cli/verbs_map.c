/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * map: the pool as rows of 64 characters. A cell shows the worst state in its part of the pool;
 * where all is well, a superblock or table, which are small, else the kind that has most bytes.
 */

#include "args.h"
#include "bytes.h"
#include "output.h"
#include "pool.h"
#include "verbs.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAP_COLUMNS = 64, MAP_DEFAULT_ROWS = 8, MAP_MOST_ROWS = 4096 };
enum { KIND_COUNT = PMKV_RANGE_UNUSED + 1, STATE_COUNT = PMKV_RANGE_IS_LOST + 1 };

struct legend {
    char letter;
    const char *name;
};

static const struct legend kinds[KIND_COUNT] = {
    [PMKV_RANGE_SUPERBLOCK] = {'S', "superblock"},
    [PMKV_RANGE_TABLE] = {'T', "table"},
    [PMKV_RANGE_HEADER] = {'h', "header"},
    [PMKV_RANGE_DATA] = {'d', "data"},
    [PMKV_RANGE_PARITY] = {'p', "parity"},
    [PMKV_RANGE_TWIN] = {'t', "twin"},
    [PMKV_RANGE_FREE] = {'.', "free"},
    [PMKV_RANGE_UNUSED] = {'-', "unused"},
};

/* Worst last, as in the header; `ok` has no letter of its own. */
static const struct legend states[STATE_COUNT] = {
    [PMKV_RANGE_OK] = {0, "ok"},
    [PMKV_RANGE_PENDING] = {'B', "pending"},
    [PMKV_RANGE_REPAIRED] = {'R', "repaired"},
    [PMKV_RANGE_RETIRED] = {'X', "retired"},
    [PMKV_RANGE_IS_LOST] = {'L', "lost"},
};

static const int badness[STATE_COUNT] = {
    [PMKV_RANGE_OK] = 0,      [PMKV_RANGE_REPAIRED] = 1, [PMKV_RANGE_RETIRED] = 2,
    [PMKV_RANGE_PENDING] = 3, [PMKV_RANGE_IS_LOST] = 4,
};

struct cell {
    uint64_t bytes[KIND_COUNT];
    enum pmkv_range_state worst;
};

struct map {
    struct pmkv_info info;
    struct cell *cells;
    uint64_t cell_bytes;
    size_t cell_count;
    uint64_t kind_bytes[KIND_COUNT], state_bytes[STATE_COUNT];
    struct pmkv_range *listed; /* ranges to list one by one */
    size_t listed_count, listed_capacity;
    bool list_all;
};

/* --- gathering -------------------------------------------------------------------------------- */

static void list_range(struct map *map, const struct pmkv_range *range)
{
    if (map->listed_count == map->listed_capacity) {
        map->listed_capacity = map->listed_capacity ? 2 * map->listed_capacity : 64;
        map->listed = realloc(map->listed, map->listed_capacity * sizeof(*map->listed));
        if (!map->listed)
            cli_out_of_memory();
    }
    map->listed[map->listed_count++] = *range;
}

static void add_to_cell(struct cell *cell, const struct pmkv_range *range, uint64_t bytes)
{
    cell->bytes[range->kind] += bytes;
    if (badness[range->state] > badness[cell->worst])
        cell->worst = range->state;
}

static int add_range(void *arg, const struct pmkv_range *range)
{
    struct map *map = arg;
    uint64_t end = range->offset + range->bytes;

    if ((int)range->kind >= KIND_COUNT || (int)range->state >= STATE_COUNT)
        return 0; /* of a newer library */
    map->kind_bytes[range->kind] += range->bytes;
    map->state_bytes[range->state] += range->bytes;
    if (map->list_all || range->state != PMKV_RANGE_OK)
        list_range(map, range);
    for (uint64_t at = range->offset; at < end;) {
        size_t index = (size_t)(at / map->cell_bytes);
        uint64_t next = (index + 1) * map->cell_bytes;
        if (index >= map->cell_count)
            break;
        if (next > end)
            next = end;
        add_to_cell(&map->cells[index], range, next - at);
        at = next;
    }
    return 0;
}

static enum cli_exit gather(struct pmkv *kv, uint32_t rows, struct map *map)
{
    enum pmkv_status status = pmkv_info(kv, &map->info);

    if (status != PMKV_OK)
        return cli_fail(status);
    map->cell_count = (size_t)rows * MAP_COLUMNS;
    map->cell_bytes = (map->info.pool_bytes + map->cell_count - 1) / map->cell_count;
    if (map->cell_bytes == 0)
        map->cell_bytes = 1;
    map->cells = calloc(map->cell_count, sizeof(*map->cells));
    if (!map->cells)
        cli_out_of_memory();
    status = pmkv_map_foreach(kv, add_range, map);
    return status == PMKV_OK ? CLI_OK : cli_fail(status);
}

/* --- text ------------------------------------------------------------------------------------- */

static int cell_kind(const struct cell *cell)
{
    int most = -1;

    if (cell->bytes[PMKV_RANGE_SUPERBLOCK])
        return PMKV_RANGE_SUPERBLOCK;
    if (cell->bytes[PMKV_RANGE_TABLE])
        return PMKV_RANGE_TABLE;
    for (int kind = 0; kind < KIND_COUNT; kind++) {
        if (cell->bytes[kind] && (most < 0 || cell->bytes[kind] > cell->bytes[most]))
            most = kind;
    }
    return most;
}

static char cell_letter(const struct cell *cell)
{
    if (cell->worst != PMKV_RANGE_OK)
        return states[cell->worst].letter;
    int kind = cell_kind(cell);
    return kind < 0 ? ' ' : kinds[kind].letter;
}

static void print_cells(const struct map *map)
{
    for (size_t at = 0; at < map->cell_count; at += MAP_COLUMNS) {
        uint64_t offset = at * map->cell_bytes;
        if (offset >= map->info.pool_bytes)
            break;
        printf("%#14llx ", (unsigned long long)offset);
        for (size_t i = at; i < at + MAP_COLUMNS; i++)
            putchar(cell_letter(&map->cells[i]));
        putchar('\n');
    }
}

static void print_legend(const struct map *map)
{
    printf("\none character is %s\n", out_size(map->cell_bytes).text);
    for (int kind = 0; kind < KIND_COUNT; kind++)
        printf("  %c %-10s %10s\n", kinds[kind].letter, kinds[kind].name,
               out_size(map->kind_bytes[kind]).text);
    for (int state = PMKV_RANGE_PENDING; state < STATE_COUNT; state++)
        printf("  %c %-10s %10s\n", states[state].letter, states[state].name,
               out_size(map->state_bytes[state]).text);
}

static bool has_place(const struct pmkv_range *range)
{
    return range->kind == PMKV_RANGE_HEADER || range->kind == PMKV_RANGE_DATA ||
           range->kind == PMKV_RANGE_PARITY || range->kind == PMKV_RANGE_TWIN;
}

static void print_listed(const struct map *map)
{
    if (map->listed_count == 0) {
        printf("\nall ranges are ok\n");
        return;
    }
    printf("\n%14s %10s  %-8s  %-10s  place\n", "offset", "bytes", "state", "kind");
    for (size_t i = 0; i < map->listed_count; i++) {
        const struct pmkv_range *range = &map->listed[i];
        printf("%#14llx %10llu  %-8s  %-10s", (unsigned long long)range->offset,
               (unsigned long long)range->bytes, states[range->state].name,
               kinds[range->kind].name);
        if (has_place(range))
            printf("  segment %u row %u column %u", range->segment, range->row, range->column);
        putchar('\n');
    }
}

/* --- JSON ------------------------------------------------------------------------------------- */

static json_t *range_json(const struct pmkv_range *range)
{
    json_t *object = json_object();

    out_set_u64(object, "offset", range->offset);
    out_set_u64(object, "bytes", range->bytes);
    out_set_text(object, "kind", kinds[range->kind].name);
    out_set_text(object, "state", states[range->state].name);
    if (has_place(range)) {
        out_set_u64(object, "segment", range->segment);
        out_set_u64(object, "row", range->row);
        out_set_u64(object, "column", range->column);
    }
    return object;
}

static json_t *sums_json(const struct legend *names, const uint64_t *bytes, int count)
{
    json_t *object = json_object();

    for (int i = 0; i < count; i++)
        out_set_u64(object, names[i].name, bytes[i]);
    return object;
}

static enum cli_exit print_map_json(const struct map *map)
{
    json_t *document = out_document();
    json_t *ranges = json_array();

    for (size_t i = 0; i < map->listed_count; i++) {
        if (json_array_append_new(ranges, range_json(&map->listed[i])) != 0)
            cli_out_of_memory();
    }
    out_set_u64(document, "pool_bytes", map->info.pool_bytes);
    out_set(document, "kind_bytes", sums_json(kinds, map->kind_bytes, KIND_COUNT));
    out_set(document, "state_bytes", sums_json(states, map->state_bytes, STATE_COUNT));
    out_set(document, "ranges", ranges);
    return out_print(document);
}

/* --- the verb --------------------------------------------------------------------------------- */

struct map_args {
    struct cli_args common;
    uint32_t rows;
    bool all;
};

static const struct argp_option map_options[] = {
    {"rows", 'r', "N", 0, "Rows of 64 characters (default 8)", 0},
    {"all", 'a', NULL, 0, "List every range, not only those that are not ok", 0},
    CLI_OPTION_JSON,
    {0},
};

static error_t parse_map(int key, char *arg, struct argp_state *state)
{
    struct map_args *args = state->input;

    switch (key) {
    case 'r':
        args->rows = args_u32(state, "rows", arg);
        if (args->rows == 0 || args->rows > MAP_MOST_ROWS)
            argp_error(state, "--rows: from 1 to %d", MAP_MOST_ROWS);
        return 0;
    case 'a':
        args->all = true;
        return 0;
    default:
        return args_parse_common(&args->common, key, arg, state);
    }
}

static enum cli_exit run_map(struct pmkv *kv, const struct map_args *args)
{
    struct map map = {.list_all = args->all};
    enum cli_exit code = gather(kv, args->rows, &map);

    if (code == CLI_OK && args->common.json) {
        code = print_map_json(&map);
    } else if (code == CLI_OK) {
        print_cells(&map);
        print_legend(&map);
        print_listed(&map);
    }
    free(map.cells);
    free(map.listed);
    return code;
}

enum cli_exit verb_map(int argc, char **argv)
{
    static const struct argp argp = {
        map_options,
        parse_map,
        "POOL",
        "Draws what is where in the pool and lists the ranges that are not ok. It shows what is "
        "known; check looks for more.",
        NULL,
        NULL,
        NULL};
    struct map_args args = {.common = {.min_count = 1, .max_count = 1}, .rows = MAP_DEFAULT_ROWS};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = pool_open(POOL_READ, &kv);
    return code == CLI_OK ? pool_close(&kv, run_map(kv, &args)) : code;
}
