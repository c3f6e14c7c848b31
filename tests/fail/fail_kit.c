/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "fail_kit.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "recovery/errmsg.h"
#include "support/environment.h"

enum { PAGE = 4096 };

/* --- what is in the store --------------------------------------------------------------------- */

size_t kit_key(char to[16], unsigned key)
{
    return (size_t)snprintf(to, 16, "key%u", key);
}

size_t kit_value(uint8_t to[MAX_VALUE], unsigned key, int version)
{
    size_t bytes = (key == LARGE_KEY ? 20000u : 100 * key + 1) + (unsigned)version;
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(i * 31 + key * 7 + (size_t)version * 13);
    to[0] = (uint8_t)version;
    return bytes;
}

enum pmkv_status kit_put(struct pmkv *kv, unsigned key, int version)
{
    static uint8_t value[MAX_VALUE];
    char name[16];
    size_t key_bytes = kit_key(name, key);
    return pmkv_put(kv, name, key_bytes, value, kit_value(value, key, version));
}

static int version_read(struct pmkv *kv, unsigned key)
{
    static uint8_t got[MAX_VALUE], want[MAX_VALUE];
    char name[16];
    size_t bytes = 0;
    enum pmkv_status s = pmkv_get(kv, name, kit_key(name, key), got, sizeof got, &bytes);
    if (s == PMKV_E_NOT_FOUND)
        return 0;
    if (s)
        return -(int)s;
    int version = bytes ? got[0] : 0;
    bool right = version > 0 && kit_value(want, key, version) == bytes;
    return right && memcmp(got, want, bytes) == 0 ? version : -1000;
}

struct contents kit_read(struct pmkv *kv)
{
    struct contents all;
    for (unsigned key = 0; key < KEYS; key++)
        all.version[key] = version_read(kv, key);
    return all;
}

bool kit_same(const struct contents *a, const struct contents *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static const char *difference(const struct contents *got, const struct contents *want)
{
    static char text[96];
    for (unsigned key = 0; key < KEYS; key++)
        if (got->version[key] != want->version[key]) {
            int version = got->version[key];
            snprintf(text, sizeof text, "key%u is version %d (%s), not %d", key, version,
                     version < 0 && version > -1000 ? pmkv_status_name((enum pmkv_status) - version)
                                                    : "",
                     want->version[key]);
            return text;
        }
    return "the same";
}

/* --- pools ------------------------------------------------------------------------------------ */

struct pmkv_options kit_options(const struct kit_pool *pool)
{
    struct pmkv_options o;
    pmkv_options_init(&o);
    o.pool_bytes = 5u << 20;
    o.geometry = pool->geometry;
    o.row_pages = 8;
    o.segment_rows = 8;
    o.no_background = true;
    o.lanes = 1;
    return o;
}

static void must(enum pmkv_status s, const char *what)
{
    cr_assert_eq(s, PMKV_OK, "%s: %s: %s", what, pmkv_status_name(s), pmkv_errormsg());
}

static void fill(struct pmkv *kv, struct contents *contents)
{
    for (int version = 1; version <= 2; version++)
        for (unsigned key = 0; key < SPARE_KEY; key++)
            if (key != SPARE_KEY - 1 && (version == 1 || key % 2)) {
                must(kit_put(kv, key, version), "put");
                contents->version[key] = version;
            }
}

static void damage(struct pmkv *kv)
{
    struct pmkv_inject lost = {.size = sizeof lost,
                               .kind = PMKV_INJECT_POISON,
                               .target = PMKV_INJECT_AT_KEY,
                               .unit_bytes = PAGE,
                               .key = "key3",
                               .key_bytes = 4,
                               .count = 1};
    struct pmkv_inject flipped = lost;
    flipped.kind = PMKV_INJECT_FLIP;
    flipped.unit_bytes = 1;
    flipped.key = "key2";
    struct pmkv_inject first = lost;
    first.target = PMKV_INJECT_AT_OFFSET;
    first.offset = 0;
    must(pmkv_inject(kv, &lost, NULL), "inject");
    must(pmkv_inject(kv, &flipped, NULL), "inject");
    must(pmkv_inject(kv, &first, NULL), "inject"); /* a copy of the superblock */
}

/* The file as it is, with its holes. */
static void remember(struct kit_pool *pool)
{
    free(pool->bytes);
    free(pool->holes);
    int fd = open(pool->path, O_RDONLY | O_CLOEXEC);
    cr_assert(fd >= 0);
    pool->size = (size_t)lseek(fd, 0, SEEK_END);
    pool->bytes = malloc(pool->size);
    pool->holes = calloc(pool->size / PAGE, 1);
    cr_assert(pool->bytes && pool->holes);
    cr_assert_eq(pread(fd, pool->bytes, pool->size, 0), (ssize_t)pool->size);
    for (off_t at = 0; (at = lseek(fd, at, SEEK_HOLE)) >= 0 && (size_t)at < pool->size; at += PAGE)
        pool->holes[at / PAGE] = 1;
    close(fd);
}

void kit_pool_restore(const struct kit_pool *pool)
{
    int fd = open(pool->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    cr_assert(fd >= 0);
    cr_assert_eq(ftruncate(fd, (off_t)pool->size), 0);
    cr_assert_eq(pwrite(fd, pool->bytes, pool->size, 0), (ssize_t)pool->size);
    for (size_t page = 0; page < pool->size / PAGE; page++)
        if (pool->holes[page])
            cr_assert_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                   (off_t)(page * PAGE), PAGE),
                         0);
    close(fd);
}

static int list_one(void *arg, const struct pmkv_lost *lost)
{
    struct kit_lost *list = arg;
    if (list->count < sizeof list->loss / sizeof *list->loss)
        list->loss[list->count] = (struct kit_loss){lost->pool_offset, lost->bytes, lost->version};
    list->count++;
    return 0;
}

/* What is lost for good: that of a pool without redundancy. */
static void look(struct kit_pool *pool)
{
    struct pmkv *kv = NULL;
    struct pmkv_options options = kit_options(pool);
    kit_pool_restore(pool);
    must(pmkv_open(pool->path, &options, &kv), "open");
    struct contents now = kit_read(kv);
    must(pmkv_lost_foreach(kv, list_one, &pool->lost), "lost");
    cr_assert(pool->geometry == PMKV_NONE || kit_same(&now, &pool->contents), "%s",
              difference(&now, &pool->contents));
    pool->contents = now;
    must(pmkv_close(&kv), "close");
}

void kit_pool_make(struct kit_pool *pool, enum kit_backend backend, enum pmkv_geometry geometry,
                   enum kit_state state)
{
    memset(pool, 0, sizeof *pool);
    pool->backend = backend;
    pool->geometry = geometry;
    const char *variable = getenv("PMKV_TEST_DIR");
    const char *disk = variable && *variable ? variable : "/var/tmp";
    snprintf(pool->path, sizeof pool->path, "%s/pmkv-fail-%d",
             backend == ON_MEMORY ? "/dev/shm" : disk, (int)getpid());
    unlink(pool->path);
    struct pmkv_options options = kit_options(pool);
    options.allow_inject = true;
    struct pmkv *kv = NULL;
    must(pmkv_create(pool->path, &options), "create");
    must(pmkv_open(pool->path, &options, &kv), "open");
    fill(kv, &pool->contents);
    if (state == CRASHED_DAMAGED)
        damage(kv);
    if (state == CLEAN || state == DAMAGED)
        must(pmkv_close(&kv), "close");
    if (state == DAMAGED) { /* by a handle that writes nothing, so that the pool stays clean */
        options.read_only = true;
        must(pmkv_open(pool->path, &options, &kv), "open to damage");
        damage(kv);
    }
    remember(pool);
    if (kv)
        must(pmkv_close(&kv), "close");
    look(pool);
}

void kit_pool_note_losses(struct kit_pool *pool)
{
    struct pmkv *kv = NULL;
    struct pmkv_options options = kit_options(pool);
    kit_pool_restore(pool);
    must(pmkv_open(pool->path, &options, &kv), "open");
    kit_read(kv);
    must(pmkv_close(&kv), "close");
    remember(pool);
}

void kit_pool_free(struct kit_pool *pool)
{
    unlink(pool->path);
    free(pool->bytes);
    free(pool->holes);
}

/* --- judging ---------------------------------------------------------------------------------- */

static const char *trial_name;
static unsigned complaints;

bool kit_that(bool condition, const char *format, ...)
{
    if (condition)
        return true;
    char text[1024];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    if (++complaints <= 20)
        cr_expect(false, "%s: %s: %s", trial_name, faults_text(), text);
    return false;
}

static const char old_message[] = "of another failure";

void kit_forget_message(void)
{
    err_fact(0, old_message);
}

void kit_judge_message(enum pmkv_status s)
{
    const char *text = pmkv_errormsg();
    if (s != PMKV_OK)
        kit_that(text[0] && !strstr(text, old_message), "%s without a message, but \"%s\"",
                 pmkv_status_name(s), text);
    kit_that(s != PMKV_E_BUG && (unsigned)s < PMKV_E_BUG, "status %d", (int)s);
}

struct kit_left kit_left(const char *path)
{
    struct kit_left left = {0};
    DIR *dir = opendir("/proc/self/fd");
    while (dir && readdir(dir))
        left.descriptors++;
    closedir(dir);
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[1024];
    while (maps && fgets(line, sizeof line, maps))
        left.mappings += strstr(line, path) != NULL;
    fclose(maps);
    return left;
}

void kit_judge_left(const struct kit_left *before, const char *path)
{
    struct kit_left now = kit_left(path);
    kit_that(now.descriptors == before->descriptors, "%u descriptors are open, %u before",
             now.descriptors, before->descriptors);
    kit_that(now.mappings == before->mappings, "%u mappings of the pool, %u before", now.mappings,
             before->mappings);
}

static bool unknown_outcome(enum pmkv_status s)
{
    return s == PMKV_E_IO || s == PMKV_E_MEDIA;
}

/* J2, J3: what the store holds now becomes what it must hold from here on. */
static void judge_contents(const struct trial *t, struct pmkv *kv, enum pmkv_status s,
                           const struct contents *contents, const char *where)
{
    struct contents now = kit_read(kv), after = *contents;
    if (t->apply)
        t->apply(&after);
    const struct contents *want = s == PMKV_OK || t->steps ? &after : contents;
    if (unknown_outcome(s) && kit_same(&now, &after))
        want = &after;
    kit_that(kit_same(&now, want), "%s: %s: %s", pmkv_status_name(s), where,
             difference(&now, want));
    uint64_t count = 0, keys = 0;
    for (unsigned key = 0; key < KEYS; key++)
        keys += now.version[key] > 0;
    kit_that(pmkv_count(kv, &count) == PMKV_OK && count == keys, "%s: %llu keys, %llu found", where,
             (unsigned long long)count, (unsigned long long)keys);
}

/* J4 */
static bool judge_goes_on(struct pmkv *kv)
{
    bool sync = faults_report().sync && !faults_report().transient;
    bool no_writes = faults_report().lasting && strcmp(faults_report().call, "pwrite") == 0;
    enum pmkv_status s = kit_put(kv, SPARE_KEY, 9);
    kit_that(s == PMKV_OK || ((sync || no_writes) && s == PMKV_E_IO), "the next put: %s: %s",
             pmkv_status_name(s), pmkv_errormsg());
    return s == PMKV_OK;
}

/* J6 */
static void judge_lost(const struct kit_pool *pool, struct pmkv *kv)
{
    struct kit_lost now = {.count = 0};
    const struct kit_loss *a, *b;
    enum pmkv_status s = pmkv_lost_foreach(kv, list_one, &now);
    kit_that(s == PMKV_OK, "the lost list: %s", pmkv_status_name(s));
    kit_that(now.count <= (pool->lost.count ? 16 : 0), "%u are lost, %u before", now.count,
             pool->lost.count);
    for (unsigned i = 0; i < pool->lost.count; i++) {
        bool listed = false;
        a = &pool->lost.loss[i];
        for (b = now.loss; b < now.loss + now.count; b++)
            listed |= a->offset >= b->offset && a->offset < b->offset + b->bytes;
        kit_that(listed, "what is lost at %llu is not on the list", (unsigned long long)a->offset);
    }
    for (a = now.loss; a < now.loss + now.count; a++)
        for (b = a + 1; b < now.loss + now.count; b++)
            kit_that(memcmp(a, b, sizeof *a) != 0, "what is lost at %llu is on the list twice",
                     (unsigned long long)a->offset);
}

static void judge_reopened(const struct trial *t, enum pmkv_status s, bool spare)
{
    struct pmkv *kv = NULL;
    struct pmkv_options options = kit_options(t->pool);
    struct contents contents = t->pool->contents;
    enum pmkv_status opened = pmkv_open(t->pool->path, &options, &kv);
    if (!kit_that(opened == PMKV_OK, "reopen: %s: %s", pmkv_status_name(opened), pmkv_errormsg()))
        return;
    struct contents now = kit_read(kv);
    if (spare || now.version[SPARE_KEY] == 9) /* a put whose outcome was unknown may be there */
        contents.version[SPARE_KEY] = 9;
    judge_contents(t, kv, s, &contents, "after the reopen");
    judge_lost(t->pool, kv);
    enum pmkv_status put = kit_put(kv, SPARE_KEY, 10);
    kit_that(put == PMKV_OK, "a put after the reopen: %s: %s", pmkv_status_name(put),
             pmkv_errormsg());
    enum pmkv_status closed = pmkv_close(&kv);
    kit_that(closed == PMKV_OK, "the close after it: %s: %s", pmkv_status_name(closed),
             pmkv_errormsg());
}

/* --- trials ----------------------------------------------------------------------------------- */

/* The operation with its failure: *kv is what is open after it. */
static enum pmkv_status run_armed(const struct trial *t, struct pmkv **kv)
{
    kit_forget_message();
    faults_arm();
    enum pmkv_status s = t->opens    ? pmkv_open(t->pool->path, &t->options, kv)
                         : t->closes ? pmkv_close(kv)
                                     : t->run(*kv);
    faults_disarm();
    return s;
}

static void run_trial(void *arg)
{
    const struct trial *t = arg;
    struct pmkv *kv = NULL;
    kit_pool_restore(t->pool);
    struct kit_left left = kit_left(t->pool->path);
    if (!t->opens)
        must(pmkv_open(t->pool->path, &t->options, &kv), t->name);
    if (t->closes) /* an open row, and a summary to write */
        for (int version = 3; version < 6; version++)
            must(kit_put(kv, 1, version), t->name);
    enum pmkv_status s = run_armed(t, &kv);
    kit_judge_message(s);
    kit_that(!faults_report().transient || s == PMKV_OK, "%s: %s", pmkv_status_name(s),
             pmkv_errormsg());
    kit_that(!t->closes || !kv, "the handle is still there");
    bool spare = false;
    if (kv) {
        struct contents contents = t->pool->contents;
        judge_contents(t, kv, s, &contents, "in this handle");
        spare = !t->options.read_only && judge_goes_on(kv);
        bool sync = faults_report().sync ||
                    (faults_report().lasting && strcmp(faults_report().call, "pwrite") == 0);
        enum pmkv_status closed = pmkv_close(&kv);
        kit_that(closed == PMKV_OK || sync, "close: %s: %s", pmkv_status_name(closed),
                 pmkv_errormsg());
    }
    kit_judge_left(&left, t->pool->path);
    judge_reopened(t, t->closes ? PMKV_OK : s, spare);
}

void kit_every_failure_of(const char *name, enum faults_class classes, void (*run)(void *arg),
                          void *arg)
{
    trial_name = name;
    complaints = 0;
    unsigned trials = 0, calls = 0, number = 1;
    unsigned every = test_from_environment("PMKV_FAIL_EVERY", 1);
    for (bool reached = true; reached; calls += reached, number += every) {
        unsigned variants = 1;
        for (unsigned variant = 0; variant < variants && reached; variant++, trials++) {
            faults_plan(classes, number, variant);
            run(arg);
            reached = faults_report().reached;
            variants = reached ? faults_report().variants : 0;
        }
    }
    cr_log_info("%s: %u calls failed, %u trials", name, calls, trials);
    cr_expect_eq(complaints, 0, "%s: %u complaints", name, complaints);
    cr_expect_gt(calls, 0, "%s makes no call that can fail", name);
}

void kit_every_failure(const struct trial *trial)
{
    kit_every_failure_of(trial->name, trial->classes, run_trial, (void *)(uintptr_t)trial);
}
