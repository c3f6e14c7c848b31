/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The last row the cleaner stored, damaged and not to be told from a torn one: each of its records
 * stands alone, and those that are good count (I6, P8). */
#include <criterion/criterion.h>

#include "kv/open.h"
#include "kv/segment.h"
#include "place.h"
#include "script.h"

TestSuite(cleaner_row, .timeout = 600);

/* Of the keys in the last row of the cleaner the one that stands first; and how many there are. */
static uint32_t first_moved(struct crash_run *r, uint32_t *moved)
{
    uint32_t first = MODEL_KEYS, last_row = 0, lowest = UINT32_MAX;
    for (unsigned pass = 0; pass < 2; pass++)
        for (uint32_t key = 0; key < MODEL_KEYS; key++) {
            struct row_place p;
            if (!place_of_key(r->kv, key, &p) || (int64_t)p.segment != r->kv->cleaner->segment)
                continue;
            last_row = p.row > last_row ? p.row : last_row;
            *moved += pass && p.row == last_row;
            if (pass && p.row == last_row && p.offset < lowest) {
                lowest = p.offset;
                first = key;
            }
        }
    return first;
}

/* Before format version 3 only its first record says that the cleaner stored it. */
static void make_older(struct pmkv *kv, struct segment *s)
{
    s->kind = KIND_LOG;
    cr_assert_eq(segment_write_headers(kv, (uint32_t)(s - kv->segments)), 0);
}

static void loses_one_record(bool in_header, bool older)
{
    struct crash_run r;
    uint32_t moved = 0;
    crash_begin(&r, PMKV_NONE, 43);
    for (uint32_t key = 40; key < 46; key++)
        model_put(&r.model, r.kv, key, 300);
    script_fill_segment(&r, 0, 3);
    place_clean(r.kv, place_segment_of(r.kv, 40));
    uint32_t hit = first_moved(&r, &moved);
    cr_assert_gt(moved, 2, "%u keys are in the cleaner's last row", moved);
    if (older)
        make_older(r.kv, &r.kv->segments[r.kv->cleaner->segment]);
    place_crash_changed(&r, hit, in_header);
    for (uint32_t key = 0; key < MODEL_KEYS; key++)
        if (key != hit && r.model.now[key].version != 0)
            cr_assert_eq(place_get(r.kv, key), PMKV_OK, "key %u, beside key %u", key, hit);
    crash_close(&r.kv, "at the end");
}

Test(cleaner_row, with_a_damaged_header_loses_that_record_alone)
{
    loses_one_record(true, false);
    loses_one_record(true, true);
}

Test(cleaner_row, with_a_damaged_value_loses_that_record_alone)
{
    loses_one_record(false, false);
    loses_one_record(false, true);
}

struct kept {
    struct media *last;
};

static void keep_last(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct kept *k = arg;
    (void)op, (void)off, (void)bytes;
    media_close(&k->last);
    k->last = crash_image(m, sim_choose_all, NULL);
}

/* The cleaner leaves no row open: a close says of its segment only how far it went. A reader has no
 * lane that goes on there. */
Test(cleaner_row, is_read_after_a_clean_close_by_who_only_reads)
{
    struct crash_run r;
    struct kept k = {0};
    struct pmkv_options o = crash_options(PMKV_PARITY);
    crash_begin(&r, PMKV_PARITY, 44);
    for (uint32_t key = 40; key < 46; key++)
        model_put(&r.model, r.kv, key, 300);
    script_fill_segment(&r, 0, 3);
    place_clean(r.kv, place_segment_of(r.kv, 40));
    sim_set_drain_hook(r.media, keep_last, &k);
    crash_close(&r.kv, "a clean close");
    k.last->read_only = o.read_only = true;
    cr_assert_eq(store_open(k.last, &o, &r.kv), PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_not(r.kv->recovered, "it was no clean close");
    model_compare(&r.model, r.kv, 0, "for reading");
    crash_close(&r.kv, "for reading");
}
