/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The medium's own doors, where the store does not lead to them often, while any one call fails. */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail_kit.h"
#include "recovery/errmsg.h"
#include "recovery/media.h"

TestSuite(fail_medium, .timeout = 120);

enum { POOL = 64 * PAGE_BYTES };

static char path[128];

static void set_path(bool disk)
{
    snprintf(path, sizeof path, "%s/pmkv-fail-medium-%d", disk ? "/var/tmp" : "/dev/shm",
             (int)getpid());
    unlink(path);
}

static struct media *make(void)
{
    struct media *m = NULL;
    struct media_args args = {.create_bytes = POOL, .allow_inject = true};
    cr_assert_eq(media_create(path, &args, &m), 0, "%s", err_message());
    return m;
}

/* --- who has it open -------------------------------------------------------------------------- */

/* A lock that cannot be asked about is taken for none; who then tries to open it is told. */
static void ask(void *arg)
{
    const struct media *m = arg;
    faults_arm();
    bool in_use = media_in_use(m);
    faults_disarm();
    kit_that(in_use || !faults_report().transient, "the owner is overlooked");
}

Test(fail_medium, asking_who_has_it_open_gets_over_an_interruption)
{
    set_path(false);
    struct media *owner = make(), *other = NULL;
    struct media_args args = {.read_only = true, .unlocked = true};
    cr_assert_eq(media_open(path, &args, &other), 0, "%s", err_message());
    kit_every_failure_of("media_in_use", FAULTS_ALL, ask, other);
    media_close(&owner);
    cr_assert_not(media_in_use(other));
    media_close(&other);
    unlink(path);
}

/* --- injection -------------------------------------------------------------------------------- */

static void tell_to_fail(void *arg)
{
    (void)arg;
    struct media *m = make();
    uint8_t page[PAGE_BYTES] = {1};
    kit_forget_message();
    faults_arm();
    int rc = media_inject_clear_fails(m, PAGE_BYTES);
    faults_disarm();
    kit_judge_message(rc < 0 ? PMKV_E_NO_MEMORY : PMKV_OK);
    kit_that(rc == 0 || rc == -ENOMEM, "%d", rc);
    int written = media_recovery_write(media_recover(m, PAGE_BYTES), page);
    kit_that((rc == 0) == (written == -EIO), "told: %d, written: %d", rc, written);
    media_close(&m);
    unlink(path);
}

Test(fail_medium, a_page_is_told_to_fail_or_not)
{
    set_path(false);
    kit_every_failure_of("media_inject_clear_fails", FAULTS_ALL, tell_to_fail, NULL);
}

/* --- making a pool of an empty file ----------------------------------------------------------- */

/* It was there before: what is given back on failure is an empty file. */
static void fill_empty(void *arg)
{
    (void)arg;
    struct media *m = NULL;
    struct media_args args = {.create_bytes = POOL};
    struct stat st;
    close(open(path, O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600));
    struct kit_left left = kit_left(path);
    kit_forget_message();
    faults_arm();
    int rc = media_create(path, &args, &m);
    faults_disarm();
    kit_judge_message(rc < 0 ? PMKV_E_IO : PMKV_OK);
    kit_that(!faults_report().transient || rc == 0, "%d: %s", rc, err_message());
    media_close(&m);
    kit_judge_left(&left, path);
    kit_that(stat(path, &st) == 0, "the file is gone");
    kit_that(st.st_size == (rc == 0 ? POOL : 0), "%lld bytes after %d", (long long)st.st_size, rc);
}

Test(fail_medium, an_empty_file_becomes_a_pool_or_stays_empty)
{
    for (int disk = 0; disk < 2; disk++) {
        set_path(disk);
        kit_every_failure_of(disk ? "fill on disk" : "fill in memory", FAULTS_ALL, fill_empty,
                             NULL);
        unlink(path);
    }
}

/* --- forking ---------------------------------------------------------------------------------- */

/* What is to be done at a fork is said once in a process. */
Test(fail_medium, where_forks_cannot_be_guarded_nothing_is_mapped)
{
    struct media *m = NULL;
    struct media_args args = {.create_bytes = POOL};
    set_path(false);
    struct kit_left left = kit_left(path);
    faults_plan_call("pthread_atfork");
    faults_arm();
    int rc = media_create(path, &args, &m);
    faults_disarm();
    cr_assert(faults_report().reached);
    cr_assert_eq(rc, -ENOMEM, "%d: %s", rc, err_message());
    cr_assert_eq(media_create(path, &args, &m), -ENOMEM, "it is forgotten");
    cr_assert_neq(access(path, F_OK), 0, "a file is left behind");
    kit_judge_left(&left, path);
}

/* --- devices ---------------------------------------------------------------------------------- */

static void probe_device(void *arg)
{
    struct media_probe p;
    kit_forget_message();
    faults_arm();
    int rc = media_probe(arg, &p);
    faults_disarm();
    kit_judge_message(PMKV_E_UNSUPPORTED);
    kit_that(rc < 0, "it was taken for a medium");
}

Test(fail_medium, a_device_of_another_kind_is_refused)
{
    static char null[] = "/dev/null";
    kit_every_failure_of("probe of /dev/null", FAULTS_ALL, probe_device, null);
}
