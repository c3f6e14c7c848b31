/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* A lost list of several parts: power is lost while it is saved again, and a part of it is hit
 * itself (P7, P8). */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "kv/lost.h"
#include "place.h"
#include "script.h"

TestSuite(lost_list, .timeout = 300);

enum { KEYS = 300, LOST = 250 };

static size_t name_of(char key[32], unsigned i)
{
    return (size_t)snprintf(key, 32, "one of many keys, number %u", i);
}

static enum pmkv_status get(struct pmkv *kv, unsigned i)
{
    char key[32];
    uint8_t value[64];
    size_t bytes;
    return pmkv_get(kv, key, name_of(key, i), value, sizeof value, &bytes);
}

/* A record beside the last one may have gone with it: they share a group. */
static void spoil(struct pmkv *kv, unsigned i)
{
    if (get(kv, i) == PMKV_E_LOST)
        return;
    char key[32];
    struct pmkv_inject flip = {.size = sizeof flip,
                               .kind = PMKV_INJECT_FLIP,
                               .target = PMKV_INJECT_AT_KEY,
                               .unit_bytes = 1,
                               .key = key,
                               .key_bytes = name_of(key, i),
                               .count = 1};
    cr_assert_eq(pmkv_inject(kv, &flip, NULL), PMKV_OK, "%s", pmkv_errormsg());
    cr_assert_eq(get(kv, i), PMKV_E_LOST, "key %u", i);
}

static int count_name(void *arg, const struct pmkv_lost *lost)
{
    *(uint64_t *)arg += lost->key != NULL;
    return 0;
}

static uint64_t named(struct pmkv *kv)
{
    uint64_t count = 0;
    cr_assert_eq(pmkv_lost_foreach(kv, count_name, &count), PMKV_OK);
    return count;
}

static bool is_lost[KEYS];

static uint64_t note_lost(struct pmkv *kv)
{
    for (unsigned i = 0; i < KEYS; i++)
        is_lost[i] = get(kv, i) == PMKV_E_LOST;
    return named(kv);
}

/* A pool without redundancy whose list has several parts and is durable. */
static struct pmkv *pool_with_losses(struct media **m)
{
    *m = crash_format(PMKV_NONE);
    struct pmkv *kv = crash_open(*m, PMKV_NONE, "new");
    for (unsigned i = 0; i < KEYS; i++) {
        char key[32];
        cr_assert_eq(pmkv_put(kv, key, name_of(key, i), key, 20), PMKV_OK);
    }
    struct media *image = crash_image(*m, sim_choose_none, NULL); /* the row is closed then */
    crash_close(&kv, "before");
    *m = image;
    kv = crash_open(image, PMKV_NONE, "filled");
    for (unsigned i = 0; i < LOST; i++)
        spoil(kv, i);
    cr_assert_eq(lost_save(kv), 0, "%s", pmkv_errormsg());
    cr_assert_gt(kv->lost_part_count, 1, "%u parts", kv->lost_part_count);
    return kv;
}

struct saving {
    uint64_t least, most;
    unsigned sure; /* keys below: their loss is on the list */
    unsigned images;
};

static void opened(struct media *image, const struct saving *v, const char *where)
{
    struct pmkv *kv = crash_open(image, PMKV_NONE, where);
    uint64_t listed = named(kv);
    cr_assert(listed >= v->least && listed <= v->most, "%s: %llu are named, not %llu to %llu",
              where, (unsigned long long)listed, (unsigned long long)v->least,
              (unsigned long long)v->most);
    for (unsigned i = 0; i < KEYS; i++) {
        enum pmkv_status s = get(kv, i), want = is_lost[i] ? PMKV_E_LOST : PMKV_OK;
        if (i >= v->sure && is_lost[i] && (s == PMKV_OK || s == PMKV_E_NOT_FOUND))
            want = s;
        cr_assert_eq(s, want, "%s: key %u: %s", where, i, pmkv_status_name(s));
    }
    crash_close(&kv, where);
}

static void while_saving(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct saving *v = arg;
    (void)op, (void)off, (void)bytes;
    for (int all = 0; all < 2; all++) {
        char where[32];
        snprintf(where, sizeof where, "image %u", v->images++);
        opened(crash_image(m, all ? sim_choose_all : sim_choose_none, NULL), v, where);
    }
}

Test(lost_list, a_save_that_is_cut_leaves_the_list_before_it)
{
    struct media *m;
    struct pmkv *kv = pool_with_losses(&m);
    struct saving v = {.least = note_lost(kv), .sure = KEYS - 6};
    for (unsigned i = KEYS - 6; i < KEYS; i++)
        is_lost[i] = true; /* some of them, with the last one */
    v.most = v.least + 6;
    sim_set_drain_hook(m, while_saving, &v);
    spoil(kv, KEYS - 1); /* the read saves the list */
    cr_assert_eq(lost_save(kv), 0, "%s", pmkv_errormsg());
    sim_set_drain_hook(m, NULL, NULL);
    v.least = note_lost(kv);
    cr_assert_gt(v.images, 2, "%u images", v.images);
    opened(crash_image(m, sim_choose_none, NULL), &v, "saved");
    crash_close(&kv, "at the end");
}

/* What it named is found again in the rows: by name, or where the header was hit by range; what was
 * lost for standing beside it is back. Nothing else is lost, nothing is wrong. */
Test(lost_list, a_part_that_is_hit_itself_takes_no_loss_back)
{
    struct media *m;
    struct pmkv *kv = pool_with_losses(&m);
    struct saving v = {.least = 1, .most = KEYS};
    note_lost(kv);
    struct row_place place = pos_place(&kv->shape, kv->lost_parts[0].pos);
    struct media *image = crash_image(m, sim_choose_none, NULL);
    for (uint32_t at = 100; at < 108; at++) {
        struct row_place byte = {place.segment, place.row, place.offset + at};
        place_flip(image, place_offset(kv, byte, 0));
    }
    opened(image, &v, "without a part of the list");
    crash_close(&kv, "at the end");
}

/* A key that is lost is put again, and power goes before the list says so; that record is lost as
 * well. It is one loss, of the later version. */
Test(lost_list, a_key_that_is_lost_twice_is_listed_once)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 9);
    for (uint32_t key = 0; key < 8; key++)
        model_put(&r.model, r.kv, key, 300);
    place_crash_changed(&r, 3, false);
    cr_assert_eq(place_get(r.kv, 3), PMKV_E_LOST);
    cr_assert_eq(crash_lost_count(r.kv), 1);
    uint64_t before = r.kv->lost[0]->seq;
    model_put(&r.model, r.kv, 3, 301);
    model_put(&r.model, r.kv, 4, 300);
    place_crash_changed(&r, 3, false);
    cr_assert_eq(place_get(r.kv, 3), PMKV_E_LOST);
    cr_assert_eq(crash_lost_count(r.kv), 1);
    cr_assert_gt(r.kv->lost[0]->seq, before);
    crash_close(&r.kv, "at the end");
}

static uint32_t segment_of_list(const struct pmkv *kv)
{
    return pos_place(&kv->shape, kv->lost_parts[0].pos).segment;
}

/* A segment in front of the one that has the list becomes free, and the next list goes there: open
 * meets the newer one first. */
Test(lost_list, the_newest_counts_wherever_it_stands)
{
    struct crash_run r;
    crash_begin(&r, PMKV_NONE, 12);
    for (uint32_t key = 40; key < 46; key++)
        model_put(&r.model, r.kv, key, 300);
    uint32_t first = place_segment_of(r.kv, 40);
    script_fill_segment(&r, 0, 20);
    place_crash_changed(&r, 3, false);
    uint32_t before = segment_of_list(r.kv);
    cr_assert_eq(crash_lost_count(r.kv), 1);
    cr_assert_gt(before, first);
    model_put(&r.model, r.kv, 4, 300); /* the lane has its segment */
    model_put(&r.model, r.kv, 5, 300);
    place_clean(r.kv, first);
    place_crash_changed(&r, 4, false);
    cr_assert_eq(crash_lost_count(r.kv), 2);
    cr_assert_lt(segment_of_list(r.kv), before);
    struct pmkv *kv = crash_open(crash_image(r.media, sim_choose_none, NULL), PMKV_NONE, "again");
    cr_assert_eq(crash_lost_count(kv), 2, "the list of before counts");
    cr_assert_eq(segment_of_list(kv), segment_of_list(r.kv));
    crash_close(&kv, "again");
    crash_close(&r.kv, "at the end");
}

/* An older version of a key that is lost is no loss of its own, found at once or when it is hit
 * later; nor do more versions than a slot counts make a difference. */
Test(lost_list, older_versions_of_a_lost_key_are_not_listed)
{
    struct crash_run r;
    struct row_place oldest;
    crash_begin(&r, PMKV_NONE, 13);
    model_put(&r.model, r.kv, 3, 300);
    cr_assert(place_of_key(r.kv, 3, &oldest));
    for (uint32_t i = 0; i < SLOT_OLDER_MAX + 1; i++)
        model_put(&r.model, r.kv, 3, 301 + i);
    model_put(&r.model, r.kv, 4, 300);
    place_crash_changed(&r, 3, false);
    cr_assert_eq(crash_lost_count(r.kv), 1);
    uint64_t seq = r.kv->lost[0]->seq;
    oldest.offset += place_value_at(3) + 5;
    place_crash_flipped(&r, oldest);
    cr_assert_eq(place_get(r.kv, 3), PMKV_E_LOST);
    cr_assert_eq(crash_lost_count(r.kv), 1);
    cr_assert_eq(r.kv->lost[0]->seq, seq);
    model_put(&r.model, r.kv, 3, 302);
    crash_now(&r, sim_choose_none, NULL);
    cr_assert_eq(place_get(r.kv, 3), PMKV_OK);
    crash_nothing_lost(r.kv, "put again");
    crash_close(&r.kv, "at the end");
}
