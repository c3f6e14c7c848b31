/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Damage to a closed pool, written straight into its file (P3, P5, P6, P8; I11).
 *
 *   rows        a page of garbage in every row (data or parity), a header of every segment
 *   twins       every page that holds twins
 *   tops        all but one of the superblock copies, and both tables
 *   zero        a whole column of an array is zeroed
 *   stale       a whole column of an array is replaced by the same column of another array
 *   shifted     one page of every row is replaced by its neighbour in the same chunk
 *
 * All that is within the redundancy: every key reads right, one scrub repairs all, and a second one
 * finds nothing.
 *
 *   beyond      more bad pages at one place of a row than it has parity
 *
 * Some keys are lost, say so and are listed, also after reopening; they never give an older
 * version; all others are right; a key that is put again is good again.
 *
 * Which keys had bytes in the bad pages can't be told from outside, so the expectation is
 * agreement: lost if and only if PMKV_E_LOST if and only if listed, few, but some.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../support/check.h"
#include "../support/options.h"
#include "../support/oracle.h"
#include "../support/pool.h"
#include "../support/rng.h"

enum { KEYS = 9000, LARGE_KEYS = 8, VALUE_LOW = 16, VALUE_HIGH = 6 << 10, LARGE_HIGH = 1 << 20 };
enum { BEYOND_TRIES = 30, MOST_LOST = 600 };

static struct test_options options = {.rounds = 1, .pool_mib = 64};
static const char *only;

static char path[TEST_PATH_BYTES];
static struct test_set set;
static unsigned char *buffer;
static struct test_rng rng;
static struct test_map map;
static uint64_t pages_damaged, pages_found, keys_lost, names_listed, nameless_listed;
static uint32_t parity_columns, columns;

static size_t value_size(uint32_t key)
{
    return key < LARGE_KEYS ? test_rng_size(&rng, 64 << 10, LARGE_HIGH)
                            : test_rng_size(&rng, VALUE_LOW, VALUE_HIGH);
}

/* Every key gets a new version, a few are deleted: so older versions are on the medium. */
static void rewrite(struct pmkv *kv)
{
    for (uint32_t key = 0; key < set.count; key++) {
        if (test_rng_one_in(&rng, 20))
            test_status(test_set_delete(kv, &set, key), PMKV_OK, "pmkv_delete");
        else
            test_status(test_set_put(kv, &set, key, buffer, value_size(key)), PMKV_OK, "pmkv_put");
        if (test_failures() > 0)
            return;
    }
}

static void rewrite_some(struct pmkv *kv, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        uint32_t key = (uint32_t)test_rng_below(&rng, set.count);
        test_status(test_set_put(kv, &set, key, buffer, value_size(key)), PMKV_OK, "pmkv_put");
    }
}

/* Learns the map of the closed pool; writes nothing. */
static bool map_learn(void)
{
    static struct pmkv_info info;
    struct pmkv *kv = test_pool_open(path, TEST_OPEN_READ_ONLY);
    if (kv == NULL)
        return false;
    bool good = test_map_read(kv, &map);
    test_status(pmkv_info(kv, &info), PMKV_OK, "pmkv_info");
    parity_columns = info.parity_columns;
    columns = info.data_columns + info.parity_columns;
    test_pool_close(&kv);
    return test_that(good && map.count > 0, "the map is empty");
}

static void page_damage(const struct test_page *page)
{
    test_damage_garbage(path, page->offset, TEST_PAGE_BYTES, &rng);
    pages_damaged++;
}

static bool is_row_page(const struct test_page *page)
{
    return page->kind == PMKV_RANGE_DATA || page->kind == PMKV_RANGE_PARITY;
}

/* --- within the redundancy -------------------------------------------------------------------- */

/* Which column of a row (or segment) is hit follows from its name, so each is hit once. */
static bool is_chosen(const struct test_page *page, uint64_t salt)
{
    bool header = page->kind == PMKV_RANGE_HEADER;
    uint64_t name = (uint64_t)page->segment << 32 | (header ? 0xffffffff : page->row);
    uint64_t draw = test_mix(name ^ salt);
    return page->column == draw % columns &&
           (header || page->page == (draw >> 32) % map.chunk_pages);
}

static void damage_rows(void)
{
    uint64_t salt = test_rng_next(&rng);
    for (size_t i = 0; i < map.count; i++) {
        const struct test_page *page = &map.pages[i];
        if ((is_row_page(page) || page->kind == PMKV_RANGE_HEADER) && is_chosen(page, salt))
            page_damage(page);
    }
}

static void damage_shifted(void)
{
    uint64_t salt = test_rng_next(&rng);
    for (size_t i = 1; i < map.count; i++) {
        const struct test_page *page = &map.pages[i], *other = page - 1;
        if (is_row_page(page) && other->kind == page->kind && is_chosen(page, salt)) {
            test_damage_copy(path, page->offset, other->offset, TEST_PAGE_BYTES);
            pages_damaged++;
        }
    }
}

static void damage_twins(void)
{
    for (size_t i = 0; i < map.count; i++)
        if (map.pages[i].kind == PMKV_RANGE_TWIN)
            page_damage(&map.pages[i]);
}

/* Copies of the superblock are the runs of its pages; one, drawn at random, stays good. */
static void damage_tops(void)
{
    unsigned copy = 0, spared = (unsigned)test_rng_below(&rng, 3);
    for (size_t i = 0; i < map.count; i++) {
        const struct test_page *page = &map.pages[i];
        bool starts = i == 0 || page[-1].kind != page->kind ||
                      page[-1].offset + TEST_PAGE_BYTES != page->offset || page->page == 0;
        if (page->kind == PMKV_RANGE_SUPERBLOCK) {
            copy += starts && i > 0;
            if (copy != spared)
                page_damage(page);
        } else if (page->kind == PMKV_RANGE_TABLE) {
            page_damage(page);
        }
    }
}

/* A column of an array: a run of slices with one column number, in offset order. */
struct column_run {
    uint64_t start, end;
    uint32_t column;
};

static bool has_column(const struct test_page *page)
{
    return is_row_page(page) || page->kind == PMKV_RANGE_HEADER;
}

static size_t columns_find(struct column_run *runs, size_t room)
{
    size_t count = 0;
    for (size_t i = 0; i < map.count; i++) {
        const struct test_page *page = &map.pages[i];
        if (!has_column(page))
            continue;
        if (count == 0 || runs[count - 1].column != page->column) {
            if (count == room)
                break;
            runs[count++] = (struct column_run){page->offset, page->offset, page->column};
        }
        runs[count - 1].end = page->offset + TEST_PAGE_BYTES;
    }
    return count;
}

/* Does the run hold twins? Those protect open rows of other arrays: left alone. */
static bool run_has_twin(const struct column_run *run)
{
    for (size_t i = 0; i < map.count; i++)
        if (map.pages[i].kind == PMKV_RANGE_TWIN && map.pages[i].offset >= run->start &&
            map.pages[i].offset < run->end)
            return true;
    return false;
}

static const struct column_run *column_draw(const struct column_run *runs, size_t count)
{
    for (int tries = 0; tries < 1000; tries++) {
        const struct column_run *run = &runs[test_rng_below(&rng, count)];
        if (!run_has_twin(run))
            return run;
    }
    return NULL;
}

static void damage_column(bool stale)
{
    enum { MOST_RUNS = 65536 };
    struct column_run *runs = calloc(MOST_RUNS, sizeof(*runs));
    size_t count = columns_find(runs, MOST_RUNS);
    const struct column_run *to = count > 0 ? column_draw(runs, count) : NULL, *from = to;
    for (int tries = 0; to != NULL && tries < 10000; tries++) {
        from = &runs[test_rng_below(&rng, count)];
        if (from != to && from->column == to->column &&
            from->end - from->start == to->end - to->start)
            break;
        from = NULL;
    }
    if (to == NULL || (stale && from == NULL)) {
        printf("stress_closed: no column to damage here\n");
    } else {
        size_t bytes = (size_t)(to->end - to->start);
        if (stale)
            test_damage_copy(path, to->start, from->start, bytes);
        else
            test_damage_zero(path, to->start, bytes);
        pages_damaged += bytes / TEST_PAGE_BYTES;
    }
    free(runs);
}

static void damage_zero(void)
{
    damage_column(false);
}

static void damage_stale(void)
{
    damage_column(true);
}

/* All is right, one scrub repairs all, a second one finds nothing, and it stays so. */
static void all_good(const char *name)
{
    uint64_t before = test_failures();
    struct pmkv *kv = test_pool_open(path, 0);
    if (kv == NULL)
        return;
    test_set_verify(kv, &set, buffer, LARGE_HIGH, false);
    test_sets_verify_names(kv, &set, 1);
    pages_found += test_pool_heal(kv);
    test_pool_check(kv);
    struct pmkv_health health = test_pool_health(kv);
    test_that(health.records_lost == 0, "%llu records are lost: %s",
              (unsigned long long)health.records_lost, health.status);
    rewrite_some(kv, 200);
    test_pool_close(&kv);
    kv = test_pool_open(path, 0);
    if (kv == NULL)
        return;
    test_set_verify(kv, &set, buffer, LARGE_HIGH, false);
    test_pool_close(&kv);
    if (test_failures() > before)
        fprintf(stderr, "  (case %s)\n", name);
}

/* --- beyond it -------------------------------------------------------------------------------- */

/* Bad pages at one place of a random row: a data page and as many more as the row has parity. */
static void damage_beyond(void)
{
    const struct test_page *target;
    do
        target = &map.pages[test_rng_below(&rng, map.count)];
    while (target->kind != PMKV_RANGE_DATA);
    page_damage(target);
    uint32_t more = parity_columns;
    for (size_t i = 0; i < map.count && more > 0; i++) {
        const struct test_page *page = &map.pages[i];
        if (page != target && is_row_page(page) && page->segment == target->segment &&
            page->row == target->row && page->page == target->page) {
            page_damage(page);
            more--;
        }
    }
}

struct lost_list {
    unsigned char *listed; /* by key index */
    uint64_t named, nameless, foreign;
};

static int lost_seen(void *arg, const struct pmkv_lost *lost)
{
    struct lost_list *list = arg;
    unsigned id;
    uint32_t index;
    if (lost->key == NULL || lost->key_is_prefix) {
        list->nameless++;
    } else if (test_key_parse(lost->key, lost->key_bytes, &id, &index) && id == set.id &&
               index < set.count) {
        list->named++;
        list->listed[index]++;
    } else {
        list->foreign++;
    }
    return 0;
}

static struct lost_list lost_read(struct pmkv *kv)
{
    struct lost_list list = {calloc(set.count, 1), 0, 0, 0};
    test_status(pmkv_lost_foreach(kv, lost_seen, &list), PMKV_OK, "pmkv_lost_foreach");
    test_that(list.foreign == 0, "pmkv_lost_foreach names %llu keys that nobody put",
              (unsigned long long)list.foreign);
    return list;
}

/* Reads every key and compares with the list. `is_lost` gets the verdicts; returns how many. */
static uint64_t agreement(struct pmkv *kv, unsigned char *is_lost, const char *when)
{
    uint64_t lost = 0, unlisted = 0;
    for (uint32_t key = 0; key < set.count; key++) {
        is_lost[key] = test_set_read_exact(kv, &set, key, buffer, LARGE_HIGH) == TEST_LOST;
        lost += is_lost[key];
    }
    struct lost_list list = lost_read(kv);
    for (uint32_t key = 0; key < set.count; key++) {
        test_that(list.listed[key] <= 1, "%s: s0-%06u is listed %u times", when, key,
                  list.listed[key]);
        test_that(is_lost[key] || list.listed[key] == 0,
                  "%s: s0-%06u is listed as lost, but was read right", when, key);
        unlisted += is_lost[key] && list.listed[key] == 0;
    }
    test_that(unlisted <= list.nameless,
              "%s: %llu keys are lost and not listed by name; %llu "
              "entries have no name",
              when, (unsigned long long)unlisted, (unsigned long long)list.nameless);
    uint64_t reported = test_pool_health(kv).records_lost;
    test_that(reported == list.named + list.nameless,
              "%s: health says %llu records are lost, the list has %llu", when,
              (unsigned long long)reported, (unsigned long long)(list.named + list.nameless));
    names_listed = list.named;
    nameless_listed = list.nameless;
    free(list.listed);
    return lost;
}

/* Damages row after row until something live was hit. Returns the open pool. */
static struct pmkv *lose_something(unsigned char *is_lost)
{
    for (int tries = 0; tries < BEYOND_TRIES && test_failures() == 0; tries++) {
        if (!map_learn())
            return NULL;
        damage_beyond();
        struct pmkv *kv = test_pool_open(path, 0);
        if (kv == NULL)
            return NULL;
        keys_lost = agreement(kv, is_lost, "after the damage");
        if (keys_lost > 0)
            return kv;
        test_pool_heal(kv);
        test_pool_close(&kv);
    }
    test_fail("%d rows were damaged beyond repair and no key is lost", BEYOND_TRIES);
    return NULL;
}

static void same_again(struct pmkv *kv, const unsigned char *was_lost, const char *when)
{
    unsigned char *is_lost = calloc(set.count, 1);
    agreement(kv, is_lost, when);
    for (uint32_t key = 0; key < set.count; key++)
        test_that(is_lost[key] == was_lost[key], "%s: s0-%06u was %s and is %s", when, key,
                  was_lost[key] ? "lost" : "right", is_lost[key] ? "lost" : "right");
    free(is_lost);
}

/* Half of the lost keys are put again, the others deleted: both make them good. */
static void make_good(struct pmkv *kv, const unsigned char *was_lost)
{
    for (uint32_t key = 0; key < set.count; key++) {
        if (!was_lost[key])
            continue;
        enum pmkv_status status = key % 2 == 0
                                      ? test_set_put(kv, &set, key, buffer, value_size(key))
                                      : test_set_delete(kv, &set, key);
        test_status(status, PMKV_OK, "writing a lost key again");
    }
    test_set_verify(kv, &set, buffer, LARGE_HIGH, false);
    struct lost_list list = lost_read(kv);
    test_that(list.named == 0, "%llu keys were written again and still are listed as lost",
              (unsigned long long)list.named);
    free(list.listed);
}

static void beyond_run(void)
{
    unsigned char *was_lost = calloc(set.count, 1);
    struct pmkv *kv = test_pool_open(path, 0);
    if (kv == NULL)
        return;
    rewrite(kv);
    test_pool_close(&kv);
    kv = lose_something(was_lost);
    if (kv != NULL) {
        test_that(keys_lost <= MOST_LOST, "%llu keys are lost to %u bad pages",
                  (unsigned long long)keys_lost, parity_columns + 1);
        struct pmkv_health health = test_pool_health(kv);
        test_that(health.state == PMKV_STATE_LOST, "the state is %d: %s", health.state,
                  health.status);
        test_pool_heal(kv);
        same_again(kv, was_lost, "after the scrub");
        test_pool_close(&kv);
        kv = test_pool_open(path, 0);
    }
    if (kv != NULL) {
        same_again(kv, was_lost, "after reopening");
        if (options.self_test)
            test_set_corrupt(&set);
        make_good(kv, was_lost);
        test_pool_close(&kv);
        kv = test_pool_open(path, 0);
    }
    if (kv != NULL) {
        test_set_verify(kv, &set, buffer, LARGE_HIGH, false);
        test_pool_check(kv);
        test_pool_close(&kv);
    }
    free(was_lost);
}

/* --- the cases -------------------------------------------------------------------------------- */

static const struct damage_case {
    const char *name;
    void (*damage)(void);
} cases[] = {
    {"rows", damage_rows}, {"twins", damage_twins}, {"tops", damage_tops},
    {"zero", damage_zero}, {"stale", damage_stale}, {"shifted", damage_shifted},
};

static bool is_wanted(const char *name)
{
    return only == NULL || strcmp(only, name) == 0;
}

static void round_run(void)
{
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && test_failures() == 0; i++) {
        if (!is_wanted(cases[i].name) || options.geometry == PMKV_NONE || !map_learn())
            continue;
        cases[i].damage();
        all_good(cases[i].name);
    }
    if (is_wanted("beyond") && test_failures() == 0)
        beyond_run();
}

int main(int argc, char **argv)
{
    const struct test_option extra[] = {
        {"case", TEST_OPTION_TEXT, &only, "rows, twins, tops, zero, stale, shifted or beyond"},
        {NULL, TEST_OPTION_FLAG, NULL, NULL},
    };
    test_options_parse(&options, extra, argc, argv);
    test_begin("stress_closed", options.seed, options.self_test);
    test_deadline((unsigned)options.rounds * 60 + 240);
    rng = test_rng_make(options.seed, 0);
    buffer = malloc(LARGE_HIGH);
    test_pool_path(path, options.dir != NULL ? options.dir : test_dir_memory(), "closed");
    set = test_set_make(0, KEYS);
    struct pmkv *kv = NULL;
    if (test_pool_create(path, &options))
        kv = test_pool_open(path, 0);
    if (kv != NULL) {
        rewrite(kv);
        test_pool_close(&kv);
        for (uint64_t round = 0; round < options.rounds && test_failures() == 0; round++)
            round_run();
    }
    test_map_free(&map);
    free(buffer);
    test_pool_remove(path, &options);
    return test_end("%llu pages damaged, %llu found by scrubs, %llu keys lost beyond the "
                    "redundancy (%llu listed by name, %llu without)",
                    (unsigned long long)pages_damaged, (unsigned long long)pages_found,
                    (unsigned long long)keys_lost, (unsigned long long)names_listed,
                    (unsigned long long)nameless_listed);
}
