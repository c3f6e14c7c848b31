/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Which backend and durability follow from the facts of a path: facts that this machine need not
 * have. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "recovery/errmsg.h"
#include "recovery/media/backend.h"

TestSuite(choose, .timeout = 60);

static const struct path_facts on_ext4 = {
    .kind = PATH_REGULAR, .unit = PAGE_BYTES, .fs = "ext4", .dax_tried = true};
static const struct path_facts on_dax = {
    .kind = PATH_REGULAR, .unit = PAGE_BYTES, .fs = "ext4", .dax = true, .dax_tried = true};
static const struct path_facts on_tmpfs = {
    .kind = PATH_REGULAR, .unit = PAGE_BYTES, .fs = "tmpfs", .tmpfs = true, .dax_tried = true};
static const struct path_facts on_hugetlbfs = {
    .kind = PATH_REGULAR, .unit = 2 << 20, .fs = "hugetlbfs", .hugetlbfs = true, .dax_tried = true};
static const struct path_facts on_nvdimm = {
    .kind = PATH_DEVDAX, .unit = 2 << 20, .fs = "device-dax", .dax = true, .persistent = true};
static const struct path_facts on_cxl = {
    .kind = PATH_DEVDAX, .unit = 2 << 20, .fs = "device-dax", .dax = true};

static enum media_backend natural(const struct path_facts *f)
{
    enum media_backend backend = MEDIA_SIM;
    cr_assert_eq(path_choose(f, MEDIA_AUTO, &backend), 0);
    return backend;
}

Test(choose, a_path_gets_the_backend_of_what_it_is)
{
    cr_assert_eq(natural(&on_ext4), MEDIA_FILE);
    cr_assert_eq(natural(&on_dax), MEDIA_FSDAX);
    cr_assert_eq(natural(&on_tmpfs), MEDIA_SHM);
    cr_assert_eq(natural(&on_hugetlbfs), MEDIA_SHM);
    cr_assert_eq(natural(&on_nvdimm), MEDIA_DEVDAX);
    cr_assert_eq(natural(&on_cxl), MEDIA_DEVDAX);
}

static void refused(const struct path_facts *f, enum media_backend wanted, const char *why)
{
    enum media_backend backend = MEDIA_AUTO;
    err_clear();
    int rc = path_choose(f, wanted, &backend);
    cr_expect_eq(rc, -ENOTSUP, "%s as %s: %d", f->fs, media_backend_name(wanted), rc);
    cr_expect(strstr(err_message(), why), "%s as %s: %s", f->fs, media_backend_name(wanted),
              err_message());
    cr_expect_eq(backend, MEDIA_AUTO);
}

static void taken(const struct path_facts *f, enum media_backend wanted)
{
    enum media_backend backend = MEDIA_AUTO;
    int rc = path_choose(f, wanted, &backend);
    cr_expect_eq(rc, 0, "%s as %s: %s", f->fs, media_backend_name(wanted), err_message());
    cr_expect_eq(backend, wanted);
}

Test(choose, a_backend_that_was_asked_for_must_suit_the_path)
{
    struct path_facts forced = on_ext4;
    forced.forced = "CACHE_LINE";
    refused(&on_ext4, MEDIA_DEVDAX, "not a device-dax device");
    taken(&on_cxl, MEDIA_DEVDAX);
    refused(&on_cxl, MEDIA_FSDAX, "not a file on a DAX file system");
    refused(&on_hugetlbfs, MEDIA_FSDAX, "not a file on a DAX file system");
    refused(&on_ext4, MEDIA_FSDAX, "MAP_SYNC does not work");
    taken(&forced, MEDIA_FSDAX);
    taken(&on_dax, MEDIA_FSDAX);
    refused(&on_nvdimm, MEDIA_SHM, "not shared memory");
    taken(&on_ext4, MEDIA_SHM);
    refused(&on_nvdimm, MEDIA_FILE, "not a file");
    refused(&on_hugetlbfs, MEDIA_FILE, "no pwrite");
    taken(&on_dax, MEDIA_FILE);
    refused(&on_ext4, MEDIA_SIM, "no path leads to that backend");
}

static void survives(const struct path_facts *f, enum media_backend backend, bool power_loss,
                     const char *reason)
{
    char text[256];
    enum media_durability want =
        power_loss ? MEDIA_SURVIVES_POWER_LOSS : MEDIA_SURVIVES_PROCESS_DEATH;
    path_reason(f, backend, text, sizeof text);
    cr_expect_eq(path_durability(f, backend), want, "%s as %s", f->fs, media_backend_name(backend));
    cr_expect(strstr(text, reason), "%s as %s: %s", f->fs, media_backend_name(backend), text);
    cr_expect_eq(strstr(text, "the death of the process") != NULL, !power_loss, "%s", text);
}

/* A durability that is claimed and not there loses what was acknowledged. */
Test(choose, the_durability_is_what_the_medium_has_and_the_reason_says_it)
{
    struct path_facts forced = on_ext4, untried = on_ext4, forced_memory = on_tmpfs;
    forced.forced = forced_memory.forced = "CACHE_LINE";
    untried.dax_tried = false;
    survives(&on_ext4, MEDIA_FILE, true, "no DAX here");
    survives(&untried, MEDIA_FILE, true, "could not be tried");
    survives(&on_dax, MEDIA_FILE, true, "told not to use DAX");
    survives(&forced, MEDIA_FILE, true, "is not heeded");
    survives(&on_tmpfs, MEDIA_FILE, false, "fdatasync");
    survives(&on_dax, MEDIA_FSDAX, true, "MAP_SYNC works");
    survives(&forced, MEDIA_FSDAX, false, "without DAX");
    survives(&forced_memory, MEDIA_FSDAX, false, "without DAX");
    survives(&on_tmpfs, MEDIA_SHM, false, "memory of this machine");
    survives(&forced_memory, MEDIA_SHM, false, "PMEM2_FORCE_GRANULARITY=CACHE_LINE");
    survives(&on_hugetlbfs, MEDIA_SHM, false, "memory of this machine");
    survives(&on_dax, MEDIA_SHM, false, "never synced");
    survives(&on_nvdimm, MEDIA_DEVDAX, true, "on an NVDIMM bus");
    survives(&on_cxl, MEDIA_DEVDAX, false, "not on an NVDIMM bus");
}
