/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Shared memory in huge pages. Skipped where none are free (sysctl vm.nr_hugepages=8 gives some).
 */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "media_kit.h"
#include "recovery/errmsg.h"

TestSuite(hugetlb, .timeout = 60);

enum { HUGE_BYTES = 2 << 20, HUGE_POOL = 3 * HUGE_BYTES };

static bool pages_are_free(void)
{
    unsigned long long pages = 0, kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file)) {
        sscanf(line, "HugePages_Free: %llu", &pages);
        sscanf(line, "Hugepagesize: %llu", &kib);
    }
    if (file)
        fclose(file);
    return pages >= 4 && kib == HUGE_BYTES / 1024;
}

static struct media *huge_pool(void)
{
    if (!pages_are_free())
        cr_skip_test("no free huge pages of 2 MiB");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", memfd_create("huge", MFD_HUGETLB));
    struct media *m = NULL;
    struct media_args args = {.create_bytes = HUGE_POOL + 12345, .allow_inject = true};
    int rc = media_create(path, &args, &m);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    return m;
}

Test(hugetlb, the_loss_unit_is_the_huge_page)
{
    struct media *m = huge_pool();
    cr_assert_eq(m->backend, MEDIA_SHM);
    cr_assert_eq(m->loss_unit, HUGE_BYTES);
    cr_assert_eq(m->size, HUGE_POOL);
    media_close(&m);
}

Test(hugetlb, poison_takes_the_huge_page_and_repair_gives_it_back)
{
    struct media *m = huge_pool();
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    for (uint64_t off = 0; off < m->size; off += HUGE_BYTES / 2)
        kit_store(m, off, page, PAGE_BYTES);
    kit_poison(m, HUGE_BYTES + 5 * PAGE_BYTES);
    cr_assert_eq(media_touch(m, 0, m->size), HUGE_BYTES);
    cr_assert_eq(media_touch(m, 2 * HUGE_BYTES, HUGE_BYTES), HUGE_BYTES);
    uint64_t first;
    cr_assert_eq(kit_bad_bytes(m, &first), HUGE_BYTES);
    cr_assert_eq(first, HUGE_BYTES);
    kit_page(page, 2);
    int rc = media_recovery_write(media_recover(m, HUGE_BYTES + PAGE_BYTES), page);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    cr_assert(kit_page_is(m, HUGE_BYTES + PAGE_BYTES, 2));
    cr_assert_not(kit_page_is(m, HUGE_BYTES, 1), "its neighbours are lost");
    cr_assert(kit_page_is(m, 0, 1) && kit_page_is(m, 2 * HUGE_BYTES, 1));
    cr_assert_eq(kit_bad_bytes(m, NULL), 0);
    kit_store(m, HUGE_BYTES, page, PAGE_BYTES);
    rc = media_recovery_write(media_recover(m, HUGE_BYTES + PAGE_BYTES), page);
    cr_assert_eq(rc, 0);
    cr_assert(kit_page_is(m, HUGE_BYTES, 2), "a repair of a healthy page spares its neighbours");
    media_close(&m);
}

Test(hugetlb, silent_damage_changes_only_its_bytes)
{
    struct media *m = huge_pool();
    uint8_t page[PAGE_BYTES], got[PAGE_BYTES];
    kit_page(page, 3);
    kit_store(m, 0, page, PAGE_BYTES);
    memcpy(page + 60, "across", 6);
    cr_assert_eq(media_inject_bytes(m, 60, "across", 6), 0, "%s", err_message());
    cr_assert_eq(media_load(m, 0, got, PAGE_BYTES), PAGE_BYTES);
    cr_assert_arr_eq(got, page, PAGE_BYTES);
    media_close(&m);
}
