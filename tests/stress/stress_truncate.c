/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The medium as a whole goes away (I14): the pool's file is truncated while it is open. That is not
 * damage. Reads and writes give PMKV_E_IO, no page is retired, no record is lost, nobody dies; when
 * the content is back everything is good again.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../support/check.h"
#include "../support/options.h"
#include "../support/oracle.h"
#include "../support/pool.h"
#include "../support/rng.h"

enum { KEYS = 2000, VALUE_LOW = 16, VALUE_HIGH = 6 << 10, SAMPLES = 300 };

static struct test_options options = {.rounds = 2, .pool_mib = 32};

static struct test_set set;
static unsigned char buffer[VALUE_HIGH];
static struct test_rng rng;
static uint64_t refused, answered;

/* The file's content, to put it back. */
struct content {
    int fd;
    size_t bytes;
    unsigned char *copy;
};

static bool content_save(struct content *content, const char *path)
{
    struct stat st;
    content->fd = open(path, O_RDWR | O_CLOEXEC);
    if (content->fd < 0 || fstat(content->fd, &st) != 0)
        return false;
    content->bytes = (size_t)st.st_size;
    content->copy = malloc(content->bytes);
    for (size_t at = 0; content->copy != NULL && at < content->bytes;) {
        ssize_t n = pread(content->fd, content->copy + at, content->bytes - at, (off_t)at);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return content->copy != NULL;
}

/* Only what is missing: the rest may have taken stores meanwhile. */
static bool content_restore(struct content *content, size_t from)
{
    for (size_t at = from; at < content->bytes;) {
        ssize_t n = pwrite(content->fd, content->copy + at, content->bytes - at, (off_t)at);
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

static void content_free(struct content *content)
{
    close(content->fd);
    free(content->copy);
}

/* A read meanwhile: the right value where the bytes still are, else PMKV_E_IO. */
static void outage_get(struct pmkv *kv, uint32_t index, bool nothing_left)
{
    char key[TEST_KEY_BYTES];
    size_t key_bytes = test_key_make(key, set.id, index), n = 0;
    uint64_t version = 0;
    enum pmkv_status status = pmkv_get(kv, key, key_bytes, buffer, VALUE_HIGH, &n);
    if (status == PMKV_OK && !nothing_left) {
        test_that(test_value_parse(buffer, n, key, key_bytes, &version) &&
                      version == atomic_load(&set.slots[index].acked),
                  "%.*s is wrong while the file is truncated", (int)key_bytes, key);
        answered++;
        return;
    }
    test_status(status, PMKV_E_IO, "pmkv_get while the file is truncated");
    refused++;
}

static void outage_run(struct pmkv *kv, bool nothing_left)
{
    for (int i = 0; i < SAMPLES && test_failures() < 5; i++) {
        outage_get(kv, (uint32_t)test_rng_below(&rng, KEYS), nothing_left);
        if (i % 50 != 0)
            continue;
        /* The half that is left still takes stores, as long as nothing met the missing one. */
        enum pmkv_status status = pmkv_put(kv, "outage", 6, buffer, 100);
        test_that(status == PMKV_E_IO || (status == PMKV_OK && !nothing_left),
                  "pmkv_put while the file is truncated: %s", pmkv_status_name(status));
    }
    struct pmkv_health health = test_pool_health(kv);
    test_that(health.state == PMKV_STATE_UNAVAILABLE, "the state is %d, not unavailable: %s",
              health.state, health.status);
}

static void no_verdicts(struct pmkv *kv, const char *when)
{
    struct pmkv_health health = test_pool_health(kv);
    test_that(health.pages_retired == 0 && health.records_lost == 0,
              "%s: %llu pages retired, %llu records lost: an outage is not damage", when,
              (unsigned long long)health.pages_retired, (unsigned long long)health.records_lost);
}

static void recovered_verify(struct pmkv *kv)
{
    test_set_verify(kv, &set, buffer, VALUE_HIGH, false);
    no_verdicts(kv, "after the outage");
    test_that(test_pool_health(kv).state != PMKV_STATE_UNAVAILABLE,
              "all is read, but the state still is unavailable");
    for (int i = 0; i < SAMPLES && test_failures() == 0; i++)
        test_status(test_set_put(kv, &set, (uint32_t)test_rng_below(&rng, KEYS), buffer,
                                 test_rng_size(&rng, VALUE_LOW, VALUE_HIGH)),
                    PMKV_OK, "pmkv_put after the outage");
}

/* Opens without background threads: nothing may be written between the copy and the outage. */
static void round_run(const char *path, bool to_nothing)
{
    struct content content = {-1, 0, NULL};
    struct pmkv *kv = test_pool_open(path, TEST_OPEN_NO_BACKGROUND);
    if (kv == NULL)
        return;
    for (uint32_t i = 0; i < KEYS; i++)
        test_status(test_set_put(kv, &set, i, buffer, test_rng_size(&rng, VALUE_LOW, VALUE_HIGH)),
                    PMKV_OK, "pmkv_put");
    if (test_that(content_save(&content, path), "cannot copy %s", path)) {
        off_t left = to_nothing ? 0 : (off_t)(content.bytes / 2 & ~4095ull);
        test_that(ftruncate(content.fd, left) == 0, "cannot truncate %s", path);
        outage_run(kv, to_nothing);
        no_verdicts(kv, "during the outage");
        test_that(content_restore(&content, (size_t)left), "cannot restore %s", path);
        recovered_verify(kv);
    }
    content_free(&content);
    test_pool_close(&kv);
    kv = test_pool_open(path, 0);
    if (kv == NULL)
        return;
    if (options.self_test)
        test_set_corrupt(&set);
    test_set_verify(kv, &set, buffer, VALUE_HIGH, false);
    test_pool_check(kv);
    no_verdicts(kv, "after reopening");
    test_pool_close(&kv);
}

static void dir_run(const char *dir)
{
    char path[TEST_PATH_BYTES];
    test_pool_path(path, dir, "truncate");
    set = test_set_make(0, KEYS);
    if (test_pool_create(path, &options))
        for (uint64_t round = 0; round < options.rounds && test_failures() == 0; round++)
            round_run(path, round % 2 == 0);
    test_pool_remove(path, &options);
}

int main(int argc, char **argv)
{
    test_options_parse(&options, NULL, argc, argv);
    test_begin("stress_truncate", options.seed, options.self_test);
    test_deadline((unsigned)options.rounds * 30 + 120);
    rng = test_rng_make(options.seed, 0);
    dir_run(options.dir != NULL ? options.dir : test_dir_memory());
    if (options.dir == NULL)
        dir_run(test_dir_disk());
    return test_end("%llu gets refused, %llu answered right meanwhile", (unsigned long long)refused,
                    (unsigned long long)answered);
}
