/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Who may have a pool open together. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "media_kit.h"
#include "recovery/errmsg.h"

TestSuite(lock, .timeout = 60);

static char path[KIT_PATH_BYTES];
static const struct media_args writer = {0};
static const struct media_args reader = {.read_only = true};
static const struct media_args injector = {.read_only = true, .allow_inject = true};

static int try_open(const struct media_args *args)
{
    struct media *m = NULL;
    int rc = media_open(path, args, &m);
    media_close(&m);
    return rc;
}

static int try_open_elsewhere(const struct media_args *args)
{
    pid_t child = fork();
    if (child == 0)
        _exit(-try_open(args));
    int status;
    cr_assert_eq(waitpid(child, &status, 0), child);
    cr_assert(WIFEXITED(status));
    return -WEXITSTATUS(status);
}

/* A child that does not outlive a failed test. */
static pid_t fork_child(void)
{
    pid_t child = fork();
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    return child;
}

Test(lock, a_writer_is_alone)
{
    kit_path(path, kit_memory(), "writer");
    struct media *m = kit_create(path);
    cr_assert_eq(try_open(&writer), -EBUSY);
    cr_assert(strstr(err_message(), "open elsewhere"), "%s", err_message());
    cr_assert_eq(try_open(&reader), -EBUSY);
    cr_assert_eq(try_open_elsewhere(&writer), -EBUSY);
    cr_assert_eq(try_open_elsewhere(&reader), -EBUSY);
    media_close(&m);
    cr_assert_eq(try_open(&writer), 0);
    cr_assert_eq(try_open_elsewhere(&writer), 0);
}

Test(lock, readers_share_and_keep_writers_out)
{
    kit_path(path, kit_memory(), "reader");
    struct media *m = kit_create(path);
    media_close(&m);
    cr_assert_eq(media_open(path, &reader, &m), 0);
    cr_assert_eq(try_open(&reader), 0);
    cr_assert_eq(try_open(&injector), 0);
    cr_assert_eq(try_open_elsewhere(&reader), 0);
    cr_assert_eq(try_open(&writer), -EBUSY);
    cr_assert_eq(try_open_elsewhere(&writer), -EBUSY);
    media_close(&m);
    cr_assert_eq(try_open(&writer), 0);
}

Test(lock, a_failed_open_takes_nothing)
{
    kit_path(path, kit_memory(), "failed");
    struct media *m = kit_create(path);
    for (int i = 0; i < 100; i++)
        cr_assert_eq(try_open(&writer), -EBUSY);
    cr_assert_lt(dup(0), 20, "descriptors leak");
    cr_assert_eq(media_touch(m, 0, m->size), m->size);
    media_close(&m);
}

Test(lock, a_child_that_closes_does_not_free_the_parents_pool)
{
    kit_path(path, kit_memory(), "child");
    struct media *m = kit_create(path);
    pid_t child = fork_child();
    if (child == 0) {
        media_close(&m);
        _exit(0);
    }
    int status;
    waitpid(child, &status, 0);
    cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %x", (unsigned)status);
    cr_assert_eq(try_open_elsewhere(&writer), -EBUSY);
    media_close(&m);
}

Test(lock, a_living_child_does_not_keep_a_closed_pool_busy)
{
    kit_path(path, kit_memory(), "living");
    struct media *m = kit_create(path);
    pid_t child = fork_child();
    if (child == 0)
        for (;;)
            pause();
    media_close(&m);
    int rc = try_open(&writer);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
}

Test(lock, a_killed_process_leaves_no_lock)
{
    kit_path(path, kit_memory(), "killed");
    struct media *m = kit_create(path);
    media_close(&m);
    int ends[2];
    cr_assert_eq(pipe(ends), 0);
    pid_t child = fork_child();
    if (child == 0) {
        m = kit_open(path);
        if (write(ends[1], "!", 1) == 1)
            for (;;)
                pause();
    }
    char c;
    cr_assert_eq(read(ends[0], &c, 1), 1);
    cr_assert_eq(try_open(&writer), -EBUSY);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    cr_assert_eq(try_open(&writer), 0);
}

Test(lock, create_does_not_take_a_file_that_another_is_making)
{
    kit_path(path, kit_memory(), "making");
    int fd = open(path, O_CREAT | O_RDWR, 0600);
    struct flock held = {.l_type = F_WRLCK};
    cr_assert_eq(fcntl(fd, F_OFD_SETLK, &held), 0);
    struct media_args args = {.create_bytes = KIT_POOL_BYTES};
    struct media *m = NULL;
    cr_assert_eq(media_create(path, &args, &m), -EBUSY);
    cr_assert_eq(access(path, F_OK), 0, "the other's file was removed");
    close(fd);
}
