/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The fsdax backend's own code, on files that only pretend (PMEM2_FORCE_GRANULARITY). Real poison
 * and the kernel's recovery write are tested in the virtual machine.
 */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "media_kit.h"
#include "recovery/errmsg.h"
#include "recovery/fault_guard.h"

TestSuite(fsdax, .timeout = 60);

static char path[KIT_PATH_BYTES];

static struct media *pretend(int at, const char *granularity)
{
    setenv("PMEM2_FORCE_GRANULARITY", granularity, 1);
    kit_path(path, at ? kit_disk() : kit_memory(), granularity);
    struct media *m = kit_create(path);
    media_close(&m);
    struct media_args args = {.backend = MEDIA_FSDAX, .allow_inject = true};
    int rc = media_open(path, &args, &m);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    return m;
}

Test(fsdax, a_pretended_one_says_that_it_survives_no_power_loss)
{
    struct media *m = pretend(1, "CACHE_LINE");
    cr_assert_eq(m->backend, MEDIA_FSDAX);
    cr_assert_eq(m->durability, MEDIA_SURVIVES_PROCESS_DEATH);
    cr_assert(strstr(m->reason, "without DAX"), "%s", m->reason);
    cr_assert(m->store_lines == mc_store_nt);
    media_close(&m);
}

Test(fsdax, byte_granularity_needs_no_flush)
{
    struct media *m = pretend(0, "BYTE");
    cr_assert(m->store_lines == mc_store_plain);
    media_close(&m);
}

Test(fsdax, page_granularity_is_refused)
{
    setenv("PMEM2_FORCE_GRANULARITY", "PAGE", 1);
    kit_path(path, kit_memory(), "PAGE");
    struct media *m = kit_create(path);
    media_close(&m);
    struct media_args args = {.backend = MEDIA_FSDAX};
    cr_assert_eq(media_open(path, &args, &m), -ENOTSUP);
}

ParameterizedTestParameters(fsdax, a_page_is_stored_repaired_and_read_back)
{
    static int places[] = {0, 1};
    return cr_make_param_array(int, places, 2);
}
ParameterizedTest(int *at, fsdax, a_page_is_stored_repaired_and_read_back)
{
    struct media *m = pretend(*at, "CACHE_LINE");
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    kit_store(m, PAGE_BYTES, page, PAGE_BYTES);
    cr_assert(kit_page_is(m, PAGE_BYTES, 1));
    kit_page(page, 2);
    int rc = media_recovery_write(media_recover(m, PAGE_BYTES), page);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    cr_assert(kit_page_is(m, PAGE_BYTES, 2));
    memset(page + 100, 0, 200);
    uint8_t zeros[200] = {0}, got[PAGE_BYTES];
    cr_assert_eq(media_inject_bytes(m, PAGE_BYTES + 100, zeros, sizeof zeros), 0);
    cr_assert_eq(media_load(m, PAGE_BYTES, got, PAGE_BYTES), PAGE_BYTES);
    cr_assert_arr_eq(got, page, PAGE_BYTES);
    media_close(&m);
}

Test(fsdax, a_device_that_is_gone_gets_no_verdict)
{
    struct media *m = pretend(0, "CACHE_LINE");
    uint8_t page[PAGE_BYTES] = {0};
    cr_assert_eq(media_present(m), 0);
    cr_assert_eq(truncate(path, 0), 0);
    cr_assert_eq(media_present(m), -EIO);
    cr_assert_eq(media_recovery_write(media_recover(m, 0), page), -ENODEV);
    cr_assert_eq(kit_file_size(path), 0);
    media_close(&m);
}

Test(fsdax, bytes_are_not_injected_where_the_page_faults)
{
    struct media *m = pretend(0, "CACHE_LINE");
    cr_assert_eq(truncate(path, PAGE_BYTES), 0);
    cr_assert_eq(media_inject_bytes(m, PAGE_BYTES, "x", 1), -EIO);
    cr_assert(strstr(err_message(), "the line at 4096 faults"), "%s", err_message());
    cr_assert_eq(media_inject_bytes(m, 100, "x", 1), 0);
    media_close(&m);
}

/* The kernel signals the error before it lists the page; here it never does, and that is waited for
 * no longer than a second. */
Test(fsdax, an_asynchronous_error_is_taken_although_it_is_never_listed)
{
    struct media *m = pretend(0, "CACHE_LINE");
    uint64_t off = 0;
    siginfo_t info = {.si_signo = SIGBUS, .si_code = BUS_MCEERR_AO};
    info.si_addr = m->base + PAGE_BYTES;
    info.si_addr_lsb = 12;
    cr_assert(fault_guard_filter(&info, NULL));
    cr_assert(media_take_async(m, &off));
    cr_assert_eq(off, PAGE_BYTES);
    media_close(&m);
}

Test(fsdax, poison_cannot_be_injected_where_the_kernel_keeps_no_list)
{
    struct media *m = pretend(1, "CACHE_LINE");
    uint8_t page[PAGE_BYTES];
    kit_page(page, 3);
    kit_store(m, 0, page, PAGE_BYTES);
    int rc = media_inject_poison(m, 0);
    cr_assert_eq(rc, -ENOTSUP, "%d: %s", rc, err_message());
    cr_assert(kit_page_is(m, 0, 3), "and nothing was lost");
    media_close(&m);
}
