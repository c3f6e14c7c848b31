/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Ways to open a pool: with other lanes than it was closed with, stopped in the middle by the
 * caller, from a file that is longer than its pool; and an error that comes by itself. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/meta.h"
#include "kv/store.h"
#include "recovery/fault_guard.h"
#include "recovery/media.h"

enum { LANES = 4, PER_LANE = 12, PATH_BYTES = 64 };

static char path[PATH_BYTES], left_path[PATH_BYTES];

static void name_paths(void)
{
    snprintf(path, sizeof path, "/dev/shm/pmkv-open-paths.%d", (int)getpid());
    snprintf(left_path, sizeof left_path, "%s.left", path);
}

static void remove_pools(void)
{
    unlink(path);
    unlink(left_path);
}

TestSuite(open_paths, .init = name_paths, .fini = remove_pools, .timeout = 300);

static struct pmkv_options options(uint32_t lanes)
{
    struct pmkv_options o;
    pmkv_options_init(&o);
    o.pool_bytes = 32 << 20;
    o.row_pages = 8;
    o.segment_rows = 8;
    o.lanes = lanes;
    o.no_background = true;
    return o;
}

static struct pmkv *must_open(const char *at, const struct pmkv_options *o, const char *where)
{
    struct pmkv *kv = NULL;
    enum pmkv_status s = pmkv_open(at, o, &kv);
    cr_assert_eq(s, PMKV_OK, "%s: %s: %s", where, pmkv_status_name(s), pmkv_errormsg());
    return kv;
}

static void must_close(struct pmkv **kv, const char *where)
{
    enum pmkv_status s = pmkv_close(kv);
    cr_assert_eq(s, PMKV_OK, "%s: %s: %s", where, pmkv_status_name(s), pmkv_errormsg());
}

/* --- records ---------------------------------------------------------------------------------- */

struct record {
    char key[16], value[700];
};

static struct record record_of(unsigned writer, unsigned i)
{
    struct record r;
    snprintf(r.key, sizeof r.key, "%u of %u", i, writer);
    memset(r.value, (int)(1 + 16 * writer + i), sizeof r.value);
    return r;
}

struct putter {
    struct pmkv *kv;
    unsigned number;
    pthread_barrier_t *together;
};

static void *put_some(void *arg)
{
    const struct putter *p = arg;
    for (unsigned i = 0; i < PER_LANE; i++) {
        struct record r = record_of(p->number, i);
        pthread_barrier_wait(p->together);
        cr_assert_eq(pmkv_put(p->kv, r.key, strlen(r.key), r.value, sizeof r.value), PMKV_OK);
    }
    return NULL;
}

static void all_are_there(struct pmkv *kv, const char *where)
{
    uint64_t count = 0;
    for (unsigned writer = 0; writer < LANES; writer++)
        for (unsigned i = 0; i < PER_LANE; i++) {
            struct record want = record_of(writer, i);
            char got[sizeof want.value];
            size_t bytes = 0;
            enum pmkv_status s = pmkv_get(kv, want.key, strlen(want.key), got, sizeof got, &bytes);
            cr_assert_eq(s, PMKV_OK, "%s: %s: %s", where, want.key, pmkv_status_name(s));
            cr_assert(bytes == sizeof got && !memcmp(got, want.value, bytes), "%s: %s", where,
                      want.key);
        }
    cr_assert_eq(pmkv_count(kv, &count), PMKV_OK);
    cr_assert_eq(count, LANES * PER_LANE, "%s: %llu keys", where, (unsigned long long)count);
}

/* An open pool with an open row in every lane. */
static struct pmkv *pool_with_open_rows(void)
{
    struct pmkv_options o = options(LANES);
    pthread_barrier_t together;
    pthread_t threads[LANES];
    struct putter putters[LANES];
    cr_assert_eq(pmkv_create(path, &o), PMKV_OK, "%s", pmkv_errormsg());
    struct pmkv *kv = must_open(path, &o, "new");
    pthread_barrier_init(&together, NULL, LANES);
    for (unsigned i = 0; i < LANES; i++) {
        putters[i] = (struct putter){kv, i, &together};
        cr_assert_eq(pthread_create(&threads[i], NULL, put_some, &putters[i]), 0);
    }
    for (unsigned i = 0; i < LANES; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&together);
    unsigned used = 0;
    for (unsigned i = 0; i < kv->lane_count; i++)
        used += kv->lanes[i].segment >= 0;
    cr_assert_gt(used, 1, "%u lanes were used", used);
    return kv;
}

/* --- lanes ------------------------------------------------------------------------------------ */

/* Rows that no lane goes on with are completed; with more lanes again the others are new. */
Test(open_paths, fewer_lanes_than_the_close_left_rows_open)
{
    struct pmkv *kv = pool_with_open_rows();
    must_close(&kv, "with open rows");
    struct pmkv_options o = options(1), reading = options(1);
    reading.read_only = true;
    kv = must_open(path, &reading, "for reading");
    all_are_there(kv, "for reading");
    must_close(&kv, "for reading");
    static const uint32_t lanes[] = {1, LANES, 1};
    for (int i = 0; i < 3; i++) {
        o.lanes = lanes[i];
        kv = must_open(path, &o, "lanes");
        all_are_there(kv, "lanes");
        struct pmkv_scan scan;
        cr_assert_eq(pmkv_check(kv, &scan, NULL, NULL), PMKV_OK);
        cr_assert_eq(scan.bad_pages, 0, "%llu bad pages", (unsigned long long)scan.bad_pages);
        cr_assert_eq(scan.lost_records, 0);
        must_close(&kv, "lanes");
    }
}

/* --- an open that the caller stops ------------------------------------------------------------ */

/* The pool as a process that dies now leaves it. */
static void copy_pool(void)
{
    int from = open(path, O_RDONLY), to = open(left_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    struct stat st;
    ssize_t moved = 1;
    cr_assert(from >= 0 && to >= 0 && fstat(from, &st) == 0);
    for (off_t at = 0; at < st.st_size && moved > 0;)
        moved = sendfile(to, from, &at, (size_t)(st.st_size - at));
    close(from);
    close(to);
}

static int stop_at(void *arg, const char *what, uint64_t done, uint64_t total)
{
    (void)what, (void)done, (void)total;
    unsigned *left = arg;
    return --*left == 0;
}

/* Each call of the callback is a place to stop; what was done until then is done again. */
static void stop_everywhere(const char *where)
{
    unsigned at = 1;
    for (bool stopped = true; stopped; at++) {
        unsigned left = at;
        struct pmkv_options o = options(LANES);
        o.progress = stop_at;
        o.progress_arg = &left;
        copy_pool();
        struct pmkv *kv = NULL;
        enum pmkv_status s = pmkv_open(left_path, &o, &kv);
        stopped = left == 0;
        cr_assert_eq(s, stopped ? PMKV_E_STOPPED : PMKV_OK, "%s: stop %u: %s: %s", where, at,
                     pmkv_status_name(s), pmkv_errormsg());
        cr_assert_eq(stopped, kv == NULL);
        o.progress = NULL;
        if (stopped)
            kv = must_open(left_path, &o, where);
        all_are_there(kv, where);
        must_close(&kv, where);
    }
    cr_assert_gt(at, 8, "%s: the callback was called %u times", where, at);
}

Test(open_paths, an_open_that_is_stopped_loses_nothing)
{
    struct pmkv *kv = pool_with_open_rows();
    stop_everywhere("after a crash");
    must_close(&kv, "clean");
    stop_everywhere("after a clean close");
}

/* --- wide rows -------------------------------------------------------------------------------- */

enum { SMALL = 2500, DELETED = 600 };

static void small_ones_are_there(struct pmkv *kv, const char *where)
{
    uint64_t count = 0;
    for (uint32_t i = 0; i < SMALL; i++) {
        uint32_t got = 0;
        size_t bytes = 0;
        enum pmkv_status s = pmkv_get(kv, &i, sizeof i, &got, sizeof got, &bytes);
        enum pmkv_status want = i < DELETED ? PMKV_E_NOT_FOUND : PMKV_OK;
        cr_assert_eq(s, want, "%s: %u: %s", where, i, pmkv_status_name(s));
        cr_assert(s != PMKV_OK || got == ~i, "%s: %u", where, i);
    }
    cr_assert_eq(pmkv_count(kv, &count), PMKV_OK);
    cr_assert_eq(count, SMALL - DELETED, "%s: %llu", where, (unsigned long long)count);
}

Test(open_paths, a_row_of_thousands_of_records_is_recovered)
{
    struct pmkv_options o = options(LANES);
    o.pool_bytes = 128 << 20;
    o.row_pages = 64;
    cr_assert_eq(pmkv_create(path, &o), PMKV_OK, "%s", pmkv_errormsg());
    struct pmkv *kv = must_open(path, &o, "new");
    for (uint32_t i = 0; i < SMALL; i++) {
        uint32_t value = ~i;
        cr_assert_eq(pmkv_put(kv, &i, sizeof i, &value, sizeof value), PMKV_OK);
    }
    for (uint32_t i = 0; i < DELETED; i++)
        cr_assert_eq(pmkv_delete(kv, &i, sizeof i), PMKV_OK);
    copy_pool();
    must_close(&kv, "after the copy");
    kv = must_open(left_path, &o, "after a crash");
    small_ones_are_there(kv, "after a crash");
    must_close(&kv, "after a crash");
    kv = must_open(left_path, &o, "after a clean close");
    small_ones_are_there(kv, "after a clean close");
    must_close(&kv, "at the end");
}

/* Both rows of a lane have two twins each, of all pages; and the store's own lane has some. */
Test(open_paths, twins_of_hundreds_of_pages_are_found)
{
    enum { BIG = 200, BYTES = 3000 };
    struct pmkv_options o = options(1);
    static char want[BYTES], got[BYTES];
    o.pool_bytes = 128 << 20;
    o.geometry = PMKV_DOUBLE;
    o.row_pages = 64;
    cr_assert_eq(pmkv_create(path, &o), PMKV_OK, "%s", pmkv_errormsg());
    struct pmkv *kv = must_open(path, &o, "new");
    for (uint32_t i = 0; i < BIG; i++) {
        memset(want, (int)i, sizeof want);
        cr_assert_eq(pmkv_put(kv, &i, sizeof i, want, sizeof want), PMKV_OK);
    }
    cr_assert_eq(scan_save(kv), 0, "%s", pmkv_errormsg());
    copy_pool();
    must_close(&kv, "after the copy");
    kv = must_open(left_path, &o, "after a crash");
    for (uint32_t i = 0; i < BIG; i++) {
        size_t bytes = 0;
        memset(want, (int)i, sizeof want);
        cr_assert_eq(pmkv_get(kv, &i, sizeof i, got, sizeof got, &bytes), PMKV_OK, "%u", i);
        cr_assert(bytes == sizeof want && memcmp(got, want, bytes) == 0, "%u", i);
    }
    must_close(&kv, "at the end");
}

/* --- bad pages -------------------------------------------------------------------------------- */

/* What a scrub saves on its way says that it runs: after a crash it does not, and the next one goes
 * on from there. */
Test(open_paths, a_scrub_cut_by_a_crash_goes_on)
{
    enum { CURSOR = 3, BAD_PAGES = 7 };
    struct pmkv *kv = pool_with_open_rows();
    struct pmkv_options o = options(1);
    struct pmkv_health health;
    kv->scan = (struct scan_record){
        .state = PMKV_SCAN_RUNNING, .cursor = CURSOR, .bad_pages = BAD_PAGES, .start_time = 1};
    cr_assert_eq(scan_save(kv), 0, "%s", pmkv_errormsg());
    copy_pool();
    must_close(&kv, "after the copy");
    kv = must_open(left_path, &o, "after a crash");
    cr_assert_eq(pmkv_health(kv, &health), PMKV_OK);
    cr_assert_eq(health.scan.state, PMKV_SCAN_STOPPED);
    cr_assert_eq(kv->scan.cursor, CURSOR);
    cr_assert_eq(pmkv_scrub_start(kv, 0), PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_eq(pmkv_health(kv, &health), PMKV_OK);
    cr_assert_eq(health.scan.state, PMKV_SCAN_FINISHED);
    cr_assert_eq(health.scan.start_time, 1, "it began anew");
    cr_assert_eq(health.scan.bad_pages, BAD_PAGES);
    must_close(&kv, "at the end");
}

/* Somebody made the file longer: what is behind the pool is no concern of it. */
Test(open_paths, a_hole_behind_the_pool_is_no_damage)
{
    struct pmkv *kv = pool_with_open_rows();
    struct pmkv_info info;
    struct pmkv_health health;
    cr_assert_eq(pmkv_info(kv, &info), PMKV_OK);
    must_close(&kv, "before");
    cr_assert_eq(truncate(path, (off_t)info.pool_bytes + (1 << 20)), 0);
    struct pmkv_options o = options(1);
    kv = must_open(path, &o, "longer");
    all_are_there(kv, "longer");
    cr_assert_eq(pmkv_health(kv, &health), PMKV_OK);
    cr_assert_eq(health.state, PMKV_STATE_ONLINE, "%s", health.status);
    must_close(&kv, "longer");
}

Test(open_paths, an_asynchronous_error_is_repaired_before_anybody_reads_it)
{
    struct pmkv *kv = pool_with_open_rows();
    struct pmkv_health health;
    uint64_t left = 1;
    siginfo_t info = {.si_signo = SIGBUS, .si_code = BUS_MCEERR_AO};
    info.si_addr = kv->vol.media->base + kv->vol.layout.superblock_off[1];
    info.si_addr_lsb = 12;
    cr_assert(fault_guard_filter(&info, NULL));
    cr_assert_eq(pmkv_repair(kv, &left), PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_eq(left, 0);
    cr_assert_eq(pmkv_health(kv, &health), PMKV_OK);
    cr_assert_eq(health.pages_repaired, 1, "%llu", (unsigned long long)health.pages_repaired);
    must_close(&kv, "after it");
}
