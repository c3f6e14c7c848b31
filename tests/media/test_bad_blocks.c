/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What libpmem2 says about a device, as it reaches the store. The functions of libpmem2 below are
 * the test's own: they stand before those of the library. */
#include <criterion/criterion.h>
#include <errno.h>
#include <libpmem2.h>
#include <string.h>

#include "media_kit.h"
#include "recovery/errmsg.h"
#include "recovery/media/map.h"

TestSuite(bad_blocks, .timeout = 60);

/* --- a libpmem2 that says what it is told ----------------------------------------------------- */

static struct {
    struct pmem2_badblock blocks[8];
    unsigned count, next, contexts;
    int new_code, end_code, usc_code;
} device;

int pmem2_badblock_context_new(struct pmem2_badblock_context **out,
                               const struct pmem2_source *source)
{
    (void)source;
    if (device.new_code)
        return device.new_code;
    device.next = 0;
    device.contexts++;
    *out = (struct pmem2_badblock_context *)&device;
    return 0;
}

int pmem2_badblock_next(struct pmem2_badblock_context *list, struct pmem2_badblock *bad)
{
    (void)list;
    if (device.next == device.count)
        return device.end_code;
    *bad = device.blocks[device.next++];
    return 0;
}

void pmem2_badblock_context_delete(struct pmem2_badblock_context **list)
{
    device.contexts--;
    *list = NULL;
}

int pmem2_source_device_usc(const struct pmem2_source *source, uint64_t *count)
{
    (void)source;
    *count = 17;
    return device.usc_code;
}

static void tell(unsigned count, const struct pmem2_badblock *blocks)
{
    memset(&device, 0, sizeof device);
    memcpy(device.blocks, blocks, count * sizeof *blocks);
    device.count = count;
    device.end_code = PMEM2_E_NO_BAD_BLOCK_FOUND;
}

/* --- the list --------------------------------------------------------------------------------- */

enum { SIZE = 16 * PAGE_BYTES };

struct ranges {
    uint64_t off[8], bytes[8];
    unsigned count, stop_at;
};

static int note_range(void *arg, uint64_t off, uint64_t bytes)
{
    struct ranges *r = arg;
    r->off[r->count] = off;
    r->bytes[r->count++] = bytes;
    return r->count == r->stop_at ? -ECANCELED : 0;
}

static const struct pmem2_badblock some[] = {
    {512, 512},                             /* a sector of page 0 */
    {2 * PAGE_BYTES - 512, 1024},           /* over the edge of pages 1 and 2 */
    {SIZE, PAGE_BYTES},                     /* behind the pool */
    {SIZE - PAGE_BYTES, 100 * PAGE_BYTES}}; /* from its last page on */

Test(bad_blocks, sectors_become_the_pages_they_are_in_and_no_range_leaves_the_pool)
{
    struct ranges r = {.count = 0};
    tell(4, some);
    cr_assert_eq(pmem2_bad_ranges(NULL, SIZE, note_range, &r), 0, "%s", err_message());
    static const uint64_t off[] = {0, PAGE_BYTES, SIZE - PAGE_BYTES};
    static const uint64_t bytes[] = {PAGE_BYTES, 2 * PAGE_BYTES, PAGE_BYTES};
    cr_assert_eq(r.count, 3, "%u ranges", r.count);
    cr_assert_arr_eq(r.off, off, sizeof off);
    cr_assert_arr_eq(r.bytes, bytes, sizeof bytes);
    cr_assert_eq(device.contexts, 0, "the list is still open");
}

Test(bad_blocks, who_is_told_may_stop)
{
    struct ranges r = {.stop_at = 2};
    tell(4, some);
    cr_assert_eq(pmem2_bad_ranges(NULL, SIZE, note_range, &r), -ECANCELED);
    cr_assert_eq(r.count, 2);
    cr_assert_eq(device.contexts, 0, "the list is still open");
}

Test(bad_blocks, a_list_that_is_not_there_and_one_that_cannot_be_read_differ)
{
    struct ranges r = {.count = 0};
    tell(0, some);
    device.new_code = PMEM2_E_NOSUPP;
    cr_assert_eq(pmem2_bad_ranges(NULL, SIZE, note_range, &r), -ENOTSUP);
    device.new_code = PMEM2_E_DAX_REGION_NOT_FOUND;
    cr_assert_eq(pmem2_bad_ranges(NULL, SIZE, note_range, &r), -ENOTSUP);
    device.new_code = -EACCES;
    cr_assert_eq(pmem2_bad_ranges(NULL, SIZE, note_range, &r), -EACCES);
    device.new_code = 0;
    device.end_code = -EIO;
    cr_assert_eq(pmem2_bad_ranges(NULL, SIZE, note_range, &r), -EIO, "it ends in an error");
    cr_assert_eq(device.contexts, 0);
}

Test(bad_blocks, the_first_bad_page_of_a_range_is_found)
{
    uint64_t page = 0;
    tell(4, some);
    cr_assert(pmem2_first_bad(NULL, 0, SIZE, &page));
    cr_assert_eq(page, 0);
    cr_assert(pmem2_first_bad(NULL, 2 * PAGE_BYTES, SIZE, &page), "a range that began before");
    cr_assert_eq(page, 2 * PAGE_BYTES);
    cr_assert(pmem2_first_bad(NULL, 3 * PAGE_BYTES, SIZE - 3 * PAGE_BYTES, &page));
    cr_assert_eq(page, SIZE - PAGE_BYTES);
    cr_assert_not(pmem2_first_bad(NULL, 3 * PAGE_BYTES, PAGE_BYTES, &page));
}

/* --- codes ------------------------------------------------------------------------------------ */

Test(bad_blocks, the_count_of_unsafe_shutdowns_is_told_or_why_not)
{
    uint64_t count = 0;
    cr_assert_eq(pmem2_unsafe_shutdowns(NULL, &count), 0);
    cr_assert_eq(count, 17);
    device.usc_code = PMEM2_E_NOSUPP;
    cr_assert_eq(pmem2_unsafe_shutdowns(NULL, &count), -ENOTSUP);
    device.usc_code = -EIO;
    cr_assert_eq(pmem2_unsafe_shutdowns(NULL, &count), -EIO);
}

Test(bad_blocks, codes_of_libpmem2_become_errors_of_the_system)
{
    cr_assert_eq(pmem2_fact(-ENOMEM, "it"), -ENOMEM);
    cr_assert_eq(pmem2_fact(PMEM2_E_NOSUPP, "it"), -ENOTSUP);
    cr_assert_eq(pmem2_fact(PMEM2_E_NO_ACCESS, "it"), -EACCES);
    cr_assert_eq(pmem2_fact(PMEM2_E_IO_FAIL, "it"), -EIO);
    cr_assert_eq(pmem2_fact(PMEM2_E_LENGTH_UNALIGNED, "it"), -EINVAL);
    cr_assert_eq(strncmp(err_message(), "it: ", 4), 0, "%s", err_message());
}

/* The pretended device of test_fsdax.c, with a device that can tell. */
Test(bad_blocks, the_doors_ask_the_device)
{
    char path[KIT_PATH_BYTES];
    kit_path(path, kit_memory(), "asked");
    setenv("PMEM2_FORCE_GRANULARITY", "CACHE_LINE", 1);
    struct media *m = kit_create(path);
    media_close(&m);
    struct media_args args = {.backend = MEDIA_FSDAX};
    cr_assert_eq(media_open(path, &args, &m), 0, "%s", err_message());
    uint64_t count = 0, first = 0;
    tell(2, some);
    cr_assert_eq(media_unsafe_shutdowns(m, &count), 0);
    cr_assert_eq(count, 17);
    cr_assert_eq(kit_bad_bytes(m, &first), 3 * PAGE_BYTES);
    cr_assert_eq(first, 0);
    media_close(&m);
}
