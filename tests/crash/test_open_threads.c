/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A pool with so many records that its index is built by several threads: what they build is to the
 * bit what one thread builds, and what comes of entries in the opposite order. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kv/lost.h"
#include "kv/meta.h"
#include "kv/replay_merge.h"
#include "kv/store.h"
#include "support/rng.h"

enum { KEYS = 150000, ROUNDS = 3, LONG = 20, LONG_BYTES = 200 << 10, PATH_BYTES = 64 };

static char path[PATH_BYTES];

static void name_path(void)
{
    snprintf(path, sizeof path, "/dev/shm/pmkv-open-threads.%d", (int)getpid());
}

static void remove_pool(void)
{
    unlink(path);
}

TestSuite(open_threads, .init = name_path, .fini = remove_pool, .timeout = 600);

static uint64_t rounds_told; /* by the last open: each goes through all segments */

static int hear_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
    (void)arg;
    (void)done;
    if (strcmp(what, "index") == 0)
        rounds_told = total;
    return 0;
}

static bool ordered;
static uint64_t pool_bytes = 513 << 20; /* so that pages are touched ahead */

static struct pmkv *must_open(bool read_only, bool alone)
{
    struct pmkv *kv = NULL;
    struct pmkv_options o;
    pmkv_options_init(&o);
    o.pool_bytes = pool_bytes;
    o.progress = hear_progress;
    o.geometry = PMKV_NONE;
    o.create_if_missing = true;
    o.allow_inject = true;
    o.read_only = read_only;
    o.no_background = alone;
    o.ordered = ordered;
    cr_assert_eq(pmkv_open(path, &o, &kv), PMKV_OK, "%s", pmkv_errormsg());
    rounds_told /= kv->vol.layout.segments;
    return kv;
}

/* --- a pool with some of everything ----------------------------------------------------------- */

static size_t name_of(char key[32], unsigned i)
{
    return (size_t)snprintf(key, 32, "number %u", i);
}

static void put(struct pmkv *kv, unsigned i, unsigned round, size_t bytes)
{
    static char value[LONG_BYTES];
    char key[32];
    memset(value, (int)(i + round), bytes);
    cr_assert_eq(pmkv_put(kv, key, name_of(key, i), value, bytes), PMKV_OK, "%s", pmkv_errormsg());
}

static void take(struct pmkv *kv, unsigned i)
{
    char key[32];
    cr_assert_eq(pmkv_delete(kv, key, name_of(key, i)), PMKV_OK, "%s", pmkv_errormsg());
}

static void lose(struct pmkv *kv, unsigned i)
{
    char key[32], value[64];
    size_t bytes;
    if (pmkv_get(kv, key, name_of(key, i), value, sizeof value, &bytes) == PMKV_E_NOT_FOUND)
        return;
    struct pmkv_inject flip = {.size = sizeof flip,
                               .kind = PMKV_INJECT_FLIP,
                               .target = PMKV_INJECT_AT_KEY,
                               .unit_bytes = 1,
                               .key = key,
                               .key_bytes = name_of(key, i),
                               .count = 1};
    cr_assert_eq(pmkv_inject(kv, &flip, NULL), PMKV_OK, "%s", pmkv_errormsg());
    pmkv_get(kv, key, name_of(key, i), value, sizeof value, &bytes);
}

/* Every key is put; of some there are more versions, tombstones, and records after those. */
static void fill(struct pmkv *kv)
{
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned i = 0; i < KEYS; i++) {
            if (round == 0 || i % (round + 1) == 0)
                put(kv, i, round, 40);
            if ((i + round) % 11 == 0)
                take(kv, i);
        }
    for (unsigned i = 0; i < LONG; i++)
        put(kv, KEYS + i, 0, LONG_BYTES);
}

/* --- what an open made of it ------------------------------------------------------------------ */

struct sight {
    uint64_t *slots; /* of the whole index, in order */
    uint32_t *live;  /* by segment */
    uint32_t count, segments;
    uint64_t keys, lost;
    int64_t live_units;
};

static int compare_slots(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static struct sight look(struct pmkv *kv)
{
    struct sight s = {.segments = kv->vol.layout.segments,
                      .keys = index_keys(kv->index),
                      .lost = kv->lost_count,
                      .live_units = atomic_load(&kv->live_units)};
    struct index_scan scan;
    s.slots = malloc((index_slot_count(kv->index) + 1) * sizeof *s.slots);
    s.live = malloc(s.segments * sizeof *s.live);
    cr_assert_eq(index_scan_begin(kv->index, &scan), 0);
    while (index_scan_step(&scan) == 1)
        for (uint32_t i = 0; i < scan.count; i++)
            s.slots[s.count++] = scan.slots[i].v;
    index_scan_end(&scan);
    qsort(s.slots, s.count, sizeof *s.slots, compare_slots);
    for (uint32_t i = 0; i < s.segments; i++)
        s.live[i] = atomic_load(&kv->segments[i].live_units);
    return s;
}

static void must_be_alike(const struct sight *a, const struct sight *b, const char *what)
{
    cr_assert_eq(a->count, b->count, "%s: %u slots, %u", what, a->count, b->count);
    for (uint32_t i = 0; i < a->count; i++)
        cr_assert_eq(a->slots[i], b->slots[i], "%s: slot %u: %llx, %llx", what, i,
                     (unsigned long long)a->slots[i], (unsigned long long)b->slots[i]);
    for (uint32_t i = 0; i < a->segments; i++)
        cr_assert_eq(a->live[i], b->live[i], "%s: segment %u: live %u, %u", what, i, a->live[i],
                     b->live[i]);
    cr_assert_eq(a->keys, b->keys, "%s: keys", what);
    cr_assert_eq(a->lost, b->lost, "%s: lost", what);
    cr_assert_eq(a->live_units, b->live_units, "%s: live units", what);
}

static void forget(struct sight *s)
{
    free(s->slots);
    free(s->live);
}

/* The ordered index has each key that the index has, once, and in order. */
static void must_be_in_order(struct pmkv *kv, const struct sight *s, const char *what)
{
    struct pmkv_iter *iter = NULL;
    const struct pmkv_item *item;
    uint64_t there = 0, lost = 0;
    char before[32] = "";
    cr_assert_eq(pmkv_iter_new(kv, PMKV_ITER_KEYS_ONLY, &iter), PMKV_OK);
    cr_assert_eq(pmkv_iter_seek(iter, NULL, 0), PMKV_OK);
    while ((item = pmkv_iter_item(iter)) != NULL) {
        char key[32] = "";
        memcpy(key, item->key, item->key_bytes < 31 ? item->key_bytes : 31);
        cr_assert_lt(strcmp(before, key), 0, "%s: '%s', then '%s'", what, before, key);
        memcpy(before, key, sizeof before);
        there += item->status == PMKV_OK;
        lost += item->status == PMKV_E_LOST;
        cr_assert_eq(pmkv_iter_next(iter), PMKV_OK, "%s", pmkv_errormsg());
    }
    cr_assert_eq(there, s->keys, "%s", what);
    cr_assert_leq(lost, s->lost, "%s", what);
    cr_assert((lost > 0) == (s->lost > 0), "%s: no lost key is shown", what);
    pmkv_iter_free(&iter);
}

/* Nothing is written by these opens: they all find the same pool. */
static void compare_opens(const char *what)
{
    struct pmkv *kv = must_open(true, true);
    struct sight alone = look(kv);
    cr_assert_gt(alone.count, KEYS / 2);
    pmkv_close(&kv);
    for (int i = 0; i < 5; i++) {
        ordered = i == 3;
        kv = must_open(true, false);
        struct sight together = look(kv);
        must_be_alike(&alone, &together, what);
        if (ordered)
            must_be_in_order(kv, &together, what);
        ordered = false;
        forget(&together);
        pmkv_close(&kv);
    }
    forget(&alone);
}

Test(open_threads, after_a_clean_close_they_build_what_one_thread_builds)
{
    struct pmkv *kv = must_open(false, false);
    fill(kv);
    pmkv_close(&kv);
    compare_opens("closed");
    kv = must_open(false, false);
    for (unsigned i = 0; i < KEYS; i += 997)
        lose(kv, i);
    cr_assert_gt(kv->lost_count, 20);
    pmkv_close(&kv);
    compare_opens("closed, with losses");
}

Test(open_threads, after_a_kill_they_build_what_one_thread_builds)
{
    pid_t child = fork();
    if (child == 0) {
        fill(must_open(false, false));
        _exit(0);
    }
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert_eq(status, 0);
    compare_opens("killed");
}

/* --- little memory --------------------------------------------------------------------------- */

Test(open_threads, where_entries_would_take_too_much_of_a_small_pool_they_come_in_rounds)
{
    pool_bytes = 32 << 20;
    struct pmkv *kv = must_open(false, false);
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < KEYS; i += 1 + round)
            put(kv, i, round, 1);
    pmkv_close(&kv);
    compare_opens("in rounds");
    kv = must_open(true, false);
    cr_assert_gt(rounds_told, 1);
    for (unsigned i = 0; i < KEYS; i++) {
        char key[32], value;
        size_t bytes;
        cr_assert_eq(pmkv_get(kv, key, name_of(key, i), &value, 1, &bytes), PMKV_OK, "key %u", i);
        cr_assert_eq((uint8_t)value, (uint8_t)(i + (i % 2 == 0)), "key %u", i);
    }
    pmkv_close(&kv);
}

/* --- without a summary ------------------------------------------------------------------------ */

static void spoil(struct pmkv *kv, uint64_t off)
{
    struct pmkv_inject garbage = {.size = sizeof garbage,
                                  .kind = PMKV_INJECT_GARBAGE,
                                  .target = PMKV_INJECT_AT_OFFSET,
                                  .offset = off,
                                  .unit_bytes = 4096,
                                  .count = 1};
    cr_assert_eq(pmkv_inject(kv, &garbage, NULL), PMKV_OK, "%s", pmkv_errormsg());
}

static bool is_range_of(const struct lost_entry *lost, uint64_t off)
{
    return lost->key_bytes == 0 && lost->pool_off <= off && off < lost->pool_off + lost->bytes;
}

Test(open_threads, what_is_lost_where_the_summary_is_lost_too_is_listed_as_a_range)
{
    struct pmkv *kv = must_open(false, true);
    for (unsigned i = 0; i < 5000; i++)
        put(kv, i, 0, 40);
    pmkv_close(&kv);
    kv = must_open(true, true);
    uint32_t segment = 0;
    while (!kind_is_log(kv->segments[segment].kind) || kv->segments[segment].part_count == 0)
        segment++;
    const struct layout *l = &kv->vol.layout;
    struct row_place part = pos_place(&kv->shape, kv->segments[segment].parts[0].pos);
    uint64_t row = layout_data_page_off(l, segment, 0, 0);
    spoil(kv, layout_data_page_off(l, part.segment, part.row, part.offset / PAGE_PAYLOAD_BYTES));
    spoil(kv, row);
    pmkv_close(&kv);
    kv = must_open(true, true);
    bool listed = false;
    for (uint32_t i = 0; i < kv->lost_count; i++)
        listed |= is_range_of(kv->lost[i], row);
    cr_assert(listed, "%u are lost, no range of them holds 0x%llx", kv->lost_count,
              (unsigned long long)row);
    pmkv_close(&kv);
}

/* The parts before the one that is lost were gathered already: they must not count twice. */
Test(open_threads, a_segment_whose_second_part_is_lost_counts_once)
{
    struct pmkv *kv = must_open(false, false);
    fill(kv);
    pmkv_close(&kv);
    kv = must_open(true, false);
    struct sight whole = look(kv);
    uint32_t spoiled = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        const struct segment *s = &kv->segments[i];
        if (!kind_is_log(s->kind) || s->part_count < 2)
            continue;
        struct row_place part = pos_place(&kv->shape, s->parts[1].pos);
        uint32_t end = (part.offset + s->parts[1].bytes) / PAGE_PAYLOAD_BYTES;
        spoil(kv, layout_data_page_off(&kv->vol.layout, part.segment, part.row, end));
        spoiled++;
        break;
    }
    cr_assert_gt(spoiled, 0);
    pmkv_close(&kv);
    kv = must_open(true, false);
    struct sight scanned = look(kv);
    for (uint32_t i = 0; i < whole.segments; i++)
        if (!kind_is_log(kv->segments[i].kind)) /* the part that is lost was in one of these */
            whole.live[i] = scanned.live[i];
    whole.live_units = scanned.live_units;
    must_be_alike(&whole, &scanned, "scanned");
    forget(&whole);
    forget(&scanned);
    pmkv_close(&kv);
}

/* --- the order of entries --------------------------------------------------------------------- */

struct kept {
    struct entry e;
    uint32_t segment;
    bool unreadable; /* a copy that was made up: there is no record */
    uint8_t key[ENTRY_KEY_MAX];
};
struct all_kept {
    struct kept *list;
    uint32_t count, capacity, segment;
};

static struct kept *kept_new(struct all_kept *all)
{
    if (all->count == all->capacity) {
        all->capacity = all->capacity * 2 + 1024;
        all->list = realloc(all->list, all->capacity * sizeof *all->list);
    }
    return &all->list[all->count++];
}

static int keep(void *arg, const struct entry *e)
{
    struct all_kept *all = arg;
    struct kept *k = kept_new(all);
    *k = (struct kept){.e = *e, .segment = all->segment};
    memcpy(k->key, e->key, e->kept_bytes);
    return 0;
}

/* As a crash of the cleaner leaves them, but that nothing can be read there: below the record in
 * the log, or above it. */
static void make_up_copies(struct pmkv *kv, struct all_kept *all)
{
    uint32_t first = all->list[0].segment, last = all->list[all->count - 1].segment;
    for (uint32_t i = 0, count = all->count; i < count; i += 501)
        for (uint32_t copy = 0; copy < 3; copy++) {
            struct kept *k = kept_new(all);
            *k = all->list[i];
            k->unreadable = true;
            k->segment = copy == 1 ? last : first;
            k->e.start = (copy == 2 ? row_payload(kv) : 0) + 8 + i % 8 * 64; /* inside a line */
        }
}

struct way {
    bool backwards;
    uint32_t writers;    /* that take turns */
    uint64_t entries;    /* that are expected: as many partitions */
    uint64_t bytes_most; /* at a time */
};

static void enter_round(struct pmkv *kv, struct all_kept *all, const struct way *way,
                        const struct partitions *p, struct merger *m)
{
    struct met_writer writers[3], *of[3];
    for (uint32_t i = 0; i < way->writers; i++) {
        of[i] = &writers[i];
        cr_assert_eq(met_writer_init(of[i], p, 1 << 20), 0);
    }
    for (uint32_t i = 0; i < all->count; i++) {
        struct kept *k = &all->list[way->backwards ? all->count - 1 - i : i];
        k->e.key = k->key;
        cr_assert_eq(met_add(of[i % way->writers], p, kv, k->segment, &k->e), 0);
    }
    for (uint32_t i = 0; i < p->count; i++) {
        cr_assert_eq(merge_partition(m, of, way->writers, i), 0);
        cr_assert_eq(merge_enter(m), 0);
    }
    for (uint32_t i = 0; i < way->writers; i++)
        met_writer_free(of[i]);
}

/* As the passes do it, but for pieces of long values and what was lost. */
static struct sight entered(struct pmkv *kv, struct all_kept *all, const struct way *way)
{
    struct replay r = {.kv = kv};
    struct merger m;
    struct partitions p;
    index_free(&kv->index);
    cr_assert_eq(index_new(&kv->index, 0, 1 << 20), 0);
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++)
        atomic_store(&kv->segments[i].live_units, 0);
    atomic_store(&kv->live_units, 0);
    cr_assert_eq(merger_init(&m, kv), 0);
    partitions_plan(&p, kv->index, way->entries, way->entries * 40, way->bytes_most);
    for (uint32_t round = 0; round < p.rounds; round++) {
        partitions_round(&p, round);
        enter_round(kv, all, way, &p, &m);
    }
    cr_assert_eq(merger_end(&m, &r.notes), 0);
    replay_drop_tombstones(&r);
    notes_free(&r.notes);
    return look(kv);
}

/* Two threads never put slots into one bucket, though partitions may be of more bits than buckets
 * are of. */
Test(open_threads, hashes_of_one_bucket_are_of_one_group)
{
    struct test_rng rng = test_rng_make(11, 0);
    for (uint64_t entries = 1; entries < 1ull << 28; entries *= 4)
        for (uint32_t level = 16; level <= 26; level++) {
            struct index *ix = NULL;
            struct partitions p;
            cr_assert_eq(index_new(&ix, 0, 1ull << 28), 0);
            partitions_plan(&p, ix, entries, entries * 40, 64 << 20);
            uint32_t most = index_level(ix, entries), groups;
            index_free(&ix);
            if (level > most)
                continue;
            groups = partitions_groups(&p, level);
            cr_assert_leq(groups, 1u << p.bits);
            for (int i = 0; i < 1000; i++) {
                uint64_t hash = test_rng_next(&rng);
                uint64_t other = test_rng_next(&rng) << level | (hash & ((1ull << level) - 1));
                cr_assert_eq(partition_of(&p, hash) % groups, partition_of(&p, other) % groups,
                             "%llx and %llx, level %u", (unsigned long long)hash,
                             (unsigned long long)other, level);
            }
        }
}

/* --- what they should come to ----------------------------------------------------------------- */

static int compare_kept(const void *a, const void *b)
{
    const struct kept *x = a, *y = b;
    bool piece = x->e.type == RECORD_EXTENT, other = y->e.type == RECORD_EXTENT;
    if (piece != other)
        return piece - other;
    if (x->e.key_bytes != y->e.key_bytes)
        return x->e.key_bytes < y->e.key_bytes ? -1 : 1;
    int keys = memcmp(x->key, y->key, x->e.key_bytes);
    if (keys || x->e.seq != y->e.seq)
        return keys ? keys : x->e.seq < y->e.seq ? 1 : -1;
    return x->unreadable - y->unreadable;
}

static uint64_t slot_of(const struct pmkv *kv, const struct kept *k, uint32_t older)
{
    struct row_place place = {k->segment, (uint32_t)(k->e.start / row_payload(kv)),
                              (uint32_t)(k->e.start % row_payload(kv))};
    return slot_make(pos_make(&kv->shape, place).v, older, k->e.hash).v;
}

/* By sorting: of each key the record with the highest number that can be read, and how many others
 * are versions. */
static struct sight worked_out(struct pmkv *kv, const struct all_kept *all)
{
    struct kept *list = malloc(all->count * sizeof *list);
    struct sight s = {.segments = kv->vol.layout.segments, .lost = kv->lost_count};
    s.slots = malloc(all->count * sizeof *s.slots);
    s.live = calloc(s.segments, sizeof *s.live);
    memcpy(list, all->list, all->count * sizeof *list);
    qsort(list, all->count, sizeof *list, compare_kept);
    for (uint32_t i = 0, next; i < all->count; i = next) {
        const struct kept *best = &list[i];
        uint32_t older = 0;
        for (next = i + 1;
             next < all->count && list[next].e.key_bytes == best->e.key_bytes &&
             (list[next].e.type == RECORD_EXTENT) == (best->e.type == RECORD_EXTENT) &&
             memcmp(list[next].key, best->key, best->e.key_bytes) == 0;
             next++)
            older += record_is_version(list[next].e.type);
        if (best->e.type == RECORD_TOMBSTONE && older == 0)
            continue;
        uint32_t units = (uint32_t)units_of(record_packed(best->e.key_bytes, best->e.value_bytes));
        s.slots[s.count++] = slot_of(kv, best, older);
        s.live[best->segment] += units;
        s.live_units += units;
        s.keys += record_is_version(best->e.type);
    }
    qsort(s.slots, s.count, sizeof *s.slots, compare_slots);
    free(list);
    return s;
}

Test(open_threads, entries_may_come_in_any_order)
{
    struct pmkv *kv = must_open(false, true);
    fill(kv);
    pmkv_close(&kv);
    kv = must_open(true, true);
    struct all_kept all = {0};
    for (; all.segment < kv->vol.layout.segments; all.segment++)
        if (kind_is_log(kv->segments[all.segment].kind))
            cr_assert_eq(summary_foreach(kv, all.segment, keep, &all), 0);
    make_up_copies(kv, &all);
    struct sight right = worked_out(kv, &all);
    cr_assert_gt(right.count, KEYS / 2);
    const uint64_t much = 1ull << 30;
    const struct way ways[] = {
        {false, 1, 1, much},      {true, 1, 1, much},          {false, 2, 1 << 20, much},
        {true, 3, 1 << 20, much}, {true, 2, 1 << 20, 5 << 20}, {false, 3, 1 << 18, 1 << 16},
    };
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char what[32];
        snprintf(what, sizeof what, "way %zu", i);
        struct sight got = entered(kv, &all, &ways[i]);
        must_be_alike(&right, &got, what);
        forget(&got);
    }
    forget(&right);
    free(all.list);
    pmkv_close(&kv);
}
