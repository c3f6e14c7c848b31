/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Small pools on simulated media. */
#include <criterion/criterion.h>

#include <stdio.h>

#include "crash_run.h"
#include "kv/open.h"

/* Sixteen segments of eight rows of eight data pages: 252 KiB of payload each. */
static const struct {
    const char *name;
    uint64_t pool_bytes;
    unsigned budget;
} pools[] = {
    [PMKV_PARITY] = {"parity", 5600 << 10, 1},
    [PMKV_DOUBLE] = {"double", 6200 << 10, 2},
    [PMKV_MIRROR] = {"mirror", 8600 << 10, 1},
    [PMKV_NONE] = {"none", 4480 << 10, 0},
};

struct pmkv_options crash_options(enum pmkv_geometry geometry)
{
    struct pmkv_options o;
    pmkv_options_init(&o);
    o.geometry = geometry;
    o.row_pages = 8;
    o.segment_rows = 8;
    o.lanes = 1;
    o.no_background = true;
    o.allow_inject = true;
    return o;
}

uint64_t crash_pool_bytes(enum pmkv_geometry geometry)
{
    return pools[geometry].pool_bytes;
}

const char *crash_geometry_name(enum pmkv_geometry geometry)
{
    return pools[geometry].name;
}

unsigned crash_budget(enum pmkv_geometry geometry)
{
    return pools[geometry].budget;
}

struct media *crash_format(enum pmkv_geometry geometry)
{
    struct media *m;
    struct pmkv_options o = crash_options(geometry);
    cr_assert_eq(sim_new(pools[geometry].pool_bytes, PAGE_BYTES, &m), 0);
    cr_assert_eq(store_format(m, &o), PMKV_OK, "%s", pmkv_errormsg());
    return m;
}

static struct pmkv *open_as(struct media *media, const struct pmkv_options *o, const char *where)
{
    struct pmkv *kv = NULL;
    enum pmkv_status s = store_open(media, o, &kv);
    cr_assert_eq(s, PMKV_OK, "%s: open: %s (%s)", where, pmkv_status_name(s), pmkv_errormsg());
    return kv;
}

struct pmkv *crash_open(struct media *media, enum pmkv_geometry geometry, const char *where)
{
    struct pmkv_options o = crash_options(geometry);
    return open_as(media, &o, where);
}

struct pmkv *crash_open_ordered(struct media *media, enum pmkv_geometry geometry, const char *where)
{
    struct pmkv_options o = crash_options(geometry);
    o.ordered = true;
    return open_as(media, &o, where);
}

void crash_close(struct pmkv **kv, const char *where)
{
    enum pmkv_status s = pmkv_close(kv);
    cr_assert_eq(s, PMKV_OK, "%s: close: %s (%s)", where, pmkv_status_name(s), pmkv_errormsg());
}

struct lost_seen {
    uint64_t count;
    char first[160];
};

static int count_lost(void *arg, const struct pmkv_lost *lost)
{
    struct lost_seen *seen = arg;
    if (seen->count++ == 0)
        snprintf(seen->first, sizeof seen->first, "'%.*s'%s, version %llu, 0x%llx and %llu bytes",
                 (int)lost->key_bytes, lost->key ? (const char *)lost->key : "",
                 lost->key_is_prefix ? "..." : "", (unsigned long long)lost->version,
                 (unsigned long long)lost->pool_offset, (unsigned long long)lost->bytes);
    return 0;
}

void crash_nothing_lost(struct pmkv *kv, const char *where)
{
    struct lost_seen seen = {0};
    cr_assert_eq(pmkv_lost_foreach(kv, count_lost, &seen), PMKV_OK);
    cr_assert_eq(seen.count, 0, "%s: %llu lost, first %s", where, (unsigned long long)seen.count,
                 seen.first);
}

uint64_t crash_lost_count(struct pmkv *kv)
{
    struct lost_seen seen = {0};
    cr_assert_eq(pmkv_lost_foreach(kv, count_lost, &seen), PMKV_OK);
    return seen.count;
}

void crash_heal(struct pmkv *kv, const char *where)
{
    struct pmkv_scan scan;
    uint64_t left = 0;
    cr_assert_eq(pmkv_scrub_start(kv, 0), PMKV_OK); /* no keeper: it runs here */
    cr_assert_eq(pmkv_repair(kv, &left), PMKV_OK);
    cr_assert_eq(left, 0, "%s: %llu pages wait for repair", where, (unsigned long long)left);
    cr_assert_eq(pmkv_check(kv, &scan, NULL, NULL), PMKV_OK);
    cr_assert_eq(scan.bad_pages, 0, "%s: %llu bad pages after a scrub", where,
                 (unsigned long long)scan.bad_pages);
    cr_assert_eq(scan.lost_records, 0, "%s: %llu records lost", where,
                 (unsigned long long)scan.lost_records);
}

struct media *crash_image(struct media *m, sim_chooser choose, void *arg)
{
    struct media *image;
    cr_assert_eq(sim_crash_image(m, choose, arg, &image), 0);
    return image;
}
