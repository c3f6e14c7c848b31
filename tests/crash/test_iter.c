/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Iterators, and the ordered index under them (O1 to O3): what they show of a store that changes,
 * is cleaned, closed, cut off, damaged. model_compare goes through such a store too. */
#include <criterion/criterion.h>
#include <string.h>

#include "kv/order.h"
#include "place.h"
#include "script.h"

TestSuite(iter, .timeout = 300);

static void begin(struct crash_run *r, enum pmkv_geometry geometry, uint64_t seed)
{
    crash_begin(r, geometry, seed);
    r->ordered = true;
    crash_reopen(r);
}

static struct pmkv_iter *iter_of(struct crash_run *r, unsigned flags)
{
    struct pmkv_iter *iter = NULL;
    cr_assert_eq(pmkv_iter_new(r->kv, flags, &iter), PMKV_OK, "%s", pmkv_errormsg());
    return iter;
}

static void put(struct crash_run *r, const char *key)
{
    cr_assert_eq(pmkv_put(r->kv, key, strlen(key), key, strlen(key)), PMKV_OK);
}

static void del(struct crash_run *r, const char *key)
{
    cr_assert_eq(pmkv_delete(r->kv, key, strlen(key)), PMKV_OK);
}

/* It is at this key, whose value is the same; NULL: at none. */
static void at(const struct pmkv_iter *iter, const char *key)
{
    const struct pmkv_item *item = pmkv_iter_item(iter);
    if (!key) {
        cr_assert_null(item, "at '%.*s'", (int)item->key_bytes, (const char *)item->key);
        return;
    }
    cr_assert_not_null(item, "at none, not at '%s'", key);
    cr_assert_eq(item->status, PMKV_OK);
    cr_assert(item->key_bytes == strlen(key) && memcmp(item->key, key, strlen(key)) == 0,
              "at '%.*s', not '%s'", (int)item->key_bytes, (const char *)item->key, key);
    cr_assert_eq(item->value_bytes, strlen(key));
    cr_assert_arr_eq(item->value, key, strlen(key));
    cr_assert_gt(item->version, 0);
}

static void seek(struct pmkv_iter *iter, const char *key, const char *there)
{
    cr_assert_eq(pmkv_iter_seek(iter, key, key ? strlen(key) : 0), PMKV_OK);
    at(iter, there);
}

static void next(struct pmkv_iter *iter, const char *there)
{
    cr_assert_eq(pmkv_iter_next(iter), PMKV_OK);
    at(iter, there);
}

static void prev(struct pmkv_iter *iter, const char *there)
{
    cr_assert_eq(pmkv_iter_prev(iter), PMKV_OK);
    at(iter, there);
}

Test(iter, goes_up_and_down_and_stops_at_the_ends)
{
    struct crash_run r;
    begin(&r, PMKV_PARITY, 1);
    struct pmkv_iter *iter = iter_of(&r, 0);
    at(iter, NULL);
    seek(iter, NULL, NULL);
    cr_assert_eq(pmkv_iter_seek_last(iter), PMKV_OK);
    at(iter, NULL);
    put(&r, "b"), put(&r, "d"), put(&r, "bb"), put(&r, "f");
    seek(iter, NULL, "b");
    next(iter, "bb"), next(iter, "d"), next(iter, "f"), next(iter, NULL), next(iter, NULL);
    prev(iter, "f"), prev(iter, "d"), next(iter, "f"), prev(iter, "d");
    prev(iter, "bb"), prev(iter, "b"), prev(iter, NULL), prev(iter, NULL);
    next(iter, "b");
    seek(iter, "a", "b"), seek(iter, "b", "b"), seek(iter, "ba", "bb"), seek(iter, "bb", "bb");
    seek(iter, "bbb", "d"), seek(iter, "f", "f"), seek(iter, "g", NULL);
    prev(iter, "f");
    cr_assert_eq(pmkv_iter_seek_last(iter), PMKV_OK);
    at(iter, "f");
    pmkv_iter_free(&iter);
    cr_assert_null(iter);
    iter = iter_of(&r, 0);
    prev(iter, NULL), next(iter, "b"); /* a new one is before the first */
    pmkv_iter_free(&iter);
    pmkv_iter_free(&iter);
    crash_close(&r.kv, "at the end");
}

Test(iter, shows_what_it_comes_to_as_it_is_then)
{
    struct crash_run r;
    begin(&r, PMKV_PARITY, 2);
    struct pmkv_iter *iter = iter_of(&r, 0);
    put(&r, "a"), put(&r, "c"), put(&r, "e"), put(&r, "g");
    seek(iter, NULL, "a"); /* it knows of some that follow */
    del(&r, "c");
    cr_assert_eq(pmkv_put(r.kv, "e", 1, "other", 5), PMKV_OK);
    cr_assert_eq(pmkv_iter_next(iter), PMKV_OK);
    cr_assert_eq(pmkv_iter_item(iter)->value_bytes, 5);
    cr_assert_arr_eq(pmkv_iter_item(iter)->value, "other", 5);
    del(&r, "e"); /* under it: the way goes on from there */
    next(iter, "g");
    put(&r, "i");
    next(iter, "i"), next(iter, NULL);
    put(&r, "f");
    prev(iter, "i"), prev(iter, "g"), prev(iter, "f"), prev(iter, "a");
    del(&r, "a"), del(&r, "f"), del(&r, "g"), del(&r, "i");
    next(iter, NULL);
    pmkv_iter_free(&iter);
    crash_end(&r);
}

Test(iter, passes_over_what_went_among_others)
{
    struct crash_run r;
    char key[2] = "a";
    begin(&r, PMKV_PARITY, 9);
    for (; key[0] <= 'z'; key[0]++)
        put(&r, key);
    struct pmkv_iter *iter = iter_of(&r, 0);
    seek(iter, NULL, "a");
    for (key[0] = 'b'; key[0] <= 'g'; key[0]++)
        next(iter, key);
    del(&r, "h"), del(&r, "i");
    next(iter, "j"), next(iter, "k");
    prev(iter, "j"), prev(iter, "g"), prev(iter, "f");
    pmkv_iter_free(&iter);
    crash_close(&r.kv, "at the end");
}

/* Keys alone, as many as there are; each is asked for. */
static unsigned count_keys(struct crash_run *r, bool downwards)
{
    struct pmkv_iter *iter = iter_of(r, PMKV_ITER_KEYS_ONLY);
    unsigned count = 0;
    enum pmkv_status s = downwards ? pmkv_iter_seek_last(iter) : pmkv_iter_seek(iter, NULL, 0);
    while (s == PMKV_OK && pmkv_iter_item(iter)) {
        const struct pmkv_item *item = pmkv_iter_item(iter);
        cr_assert_null(item->value);
        cr_assert_eq(pmkv_exists(r->kv, item->key, item->key_bytes), item->status);
        count++;
        s = downwards ? pmkv_iter_prev(iter) : pmkv_iter_next(iter);
    }
    cr_assert_eq(s, PMKV_OK, "%s", pmkv_errormsg());
    pmkv_iter_free(&iter);
    return count;
}

Test(iter, every_way_to_write_counts)
{
    struct crash_run r;
    begin(&r, PMKV_PARITY, 3);
    for (uint32_t key = 0; key < 20; key++)
        model_put(&r.model, r.kv, key, key == 7 ? 20000 : key * 60);
    model_batch(&r.model, r.kv, 18, 6, 0, 100); /* two that are there, four that are not */
    model_batch(&r.model, r.kv, 30, 2, 3, 100); /* deletes of what is not there */
    model_batch(&r.model, r.kv, 40, 1, 0, 100);
    model_put_if(&r.model, r.kv, 41, 50);
    model_put_if(&r.model, r.kv, 41, 60);
    model_delete(&r.model, r.kv, 3);
    model_delete(&r.model, r.kv, 7);
    model_delete_if(&r.model, r.kv, 4);
    model_put(&r.model, r.kv, 3, 10); /* over a delete */
    model_batch(&r.model, r.kv, 8, 1, 2, 10);
    model_compare(&r.model, r.kv, 0, "written");
    uint64_t count;
    cr_assert_eq(pmkv_count(r.kv, &count), PMKV_OK);
    cr_assert_eq(count_keys(&r, false), count);
    cr_assert_eq(count_keys(&r, true), count);
    script_fill_segment(&r, 32, 8);
    place_clean(r.kv, place_segment_of(r.kv, 0));
    model_compare(&r.model, r.kv, 0, "cleaned");
    crash_reopen(&r);
    crash_now(&r, sim_choose_none, NULL);
    cr_assert_eq(pmkv_count(r.kv, &count), PMKV_OK);
    cr_assert_eq(count_keys(&r, false), count);
    crash_end(&r);
}

/* Two keys that share bucket and tag would be told apart late, but for O3. */
Test(iter, puts_are_compared_before_they_return)
{
    struct crash_run r;
    begin(&r, PMKV_PARITY, 4);
    for (uint32_t round = 0; round < 3; round++)
        for (uint32_t key = 0; key < 8; key++)
            model_put(&r.model, r.kv, key, 100);
    for (uint32_t stripe = 0; stripe < INDEX_STRIPES; stripe++)
        cr_assert_eq(index_deferral(r.kv->index, stripe), 0);
    crash_end(&r);
}

static enum pmkv_status status_of_key(struct crash_run *r, uint32_t key)
{
    size_t key_bytes;
    const char *name = model_key(key, &key_bytes);
    struct pmkv_iter *iter = iter_of(r, 0);
    enum pmkv_status status = PMKV_E_NOT_FOUND;
    cr_assert_eq(pmkv_iter_seek(iter, name, key_bytes), PMKV_OK);
    const struct pmkv_item *item = pmkv_iter_item(iter);
    if (item && item->key_bytes == key_bytes && memcmp(item->key, name, key_bytes) == 0)
        status = item->status;
    if (status == PMKV_E_LOST)
        cr_assert_null(item->value);
    pmkv_iter_free(&iter);
    return status;
}

Test(iter, a_lost_record_is_shown_as_lost)
{
    struct crash_run r;
    struct row_place place;
    begin(&r, PMKV_NONE, 5);
    for (uint32_t key = 0; key < 6; key++)
        model_put(&r.model, r.kv, key, 900);
    place_crash_changed(&r, 3, false); /* recovery finds it lost, before the keys are read */
    cr_assert_eq(status_of_key(&r, 3), PMKV_E_LOST);
    cr_assert_eq(status_of_key(&r, 2), PMKV_OK);
    cr_assert_eq(count_keys(&r, false), 6);
    cr_assert(place_of_key(r.kv, 1, &place));
    place_flip(r.media, place_offset(r.kv, place, 0) + place_value_at(1) + 5); /* in use */
    cr_assert_eq(status_of_key(&r, 1), PMKV_E_LOST);
    size_t key_bytes;
    const char *name = model_key(3, &key_bytes);
    cr_assert_eq(pmkv_delete(r.kv, name, key_bytes), PMKV_OK);
    cr_assert_eq(status_of_key(&r, 3), PMKV_E_NOT_FOUND);
    name = model_key(1, &key_bytes);
    cr_assert_eq(pmkv_put(r.kv, name, key_bytes, "x", 1), PMKV_OK);
    cr_assert_eq(status_of_key(&r, 1), PMKV_OK);
    cr_assert_eq(count_keys(&r, false), 5);
    crash_close(&r.kv, "at the end");
}

/* A header is damaged while the pool is closed: whoever reads the keys for their order is the first
 * to see it. Its name is in the segment's summary. And so is that of a record of the same row of
 * which the value is damaged, and which was read: it is shown once. */
Test(iter, what_is_lost_while_the_keys_are_read)
{
    struct crash_run r;
    struct row_place place;
    crash_begin(&r, PMKV_NONE, 6);
    for (uint32_t key = 0; key < 6; key++)
        model_put(&r.model, r.kv, key, 900);
    script_fill_segment(&r, 20, 8);
    cr_assert(place_of_key(r.kv, 3, &place));
    uint64_t off = place_offset(r.kv, place, 0);
    cr_assert(place_of_key(r.kv, 5, &place));
    uint64_t value_off = place_offset(r.kv, place, 0) + place_value_at(5) + 5;
    crash_reopen(&r);
    struct media *image = crash_image(r.media, sim_choose_all, NULL);
    place_flip(image, off + 12);
    place_flip(image, value_off);
    crash_close(&r.kv, "before");
    r.media = image;
    r.kv = crash_open_ordered(image, r.geometry, "ordered");
    cr_assert_eq(status_of_key(&r, 3), PMKV_E_LOST);
    cr_assert_eq(status_of_key(&r, 5), PMKV_E_LOST);
    cr_assert_eq(status_of_key(&r, 1), PMKV_OK);
    cr_assert_eq(count_keys(&r, false), 14);
    cr_assert_eq(count_keys(&r, true), 14);
    crash_close(&r.kv, "at the end");
}

Test(iter, a_bad_page_is_rebuilt_under_it)
{
    struct crash_run r;
    struct row_place place;
    begin(&r, PMKV_PARITY, 7);
    script_fill_segment(&r, 0, MODEL_KEYS);
    cr_assert(place_of_key(r.kv, 0, &place));
    uint64_t page = place_offset(r.kv, place, 0) & ~(uint64_t)(PAGE_BYTES - 1);
    cr_assert_eq(media_inject_poison(r.media, page), 0);
    struct media *image = crash_image(r.media, sim_choose_none, NULL);
    cr_assert_eq(count_keys(&r, false), count_keys(&r, true));
    model_compare(&r.model, r.kv, 0, "poisoned");
    crash_close(&r.kv, "before");
    r.media = image;
    r.kv = crash_open_ordered(image, r.geometry, "poisoned"); /* the keys are read from it too */
    model_compare(&r.model, r.kv, 0, "poisoned before it was opened");
    crash_end(&r);
}

Test(iter, is_refused)
{
    struct crash_run r;
    struct pmkv_iter *iter = NULL;
    crash_begin(&r, PMKV_PARITY, 8);
    cr_assert_eq(pmkv_iter_new(r.kv, 0, &iter), PMKV_E_UNSUPPORTED);
    cr_assert_not_null(strstr(pmkv_errormsg(), "ordered"));
    r.ordered = true;
    crash_reopen(&r);
    cr_assert_eq(pmkv_iter_new(NULL, 0, &iter), PMKV_E_INVALID);
    cr_assert_eq(pmkv_iter_new(r.kv, 2, &iter), PMKV_E_INVALID);
    cr_assert_eq(pmkv_iter_new(r.kv, 0, NULL), PMKV_E_INVALID);
    cr_assert_eq(pmkv_iter_next(NULL), PMKV_E_INVALID);
    cr_assert_null(pmkv_iter_item(NULL));
    iter = iter_of(&r, 0);
    cr_assert_eq(pmkv_iter_seek(iter, NULL, 3), PMKV_E_INVALID);
    cr_assert_eq(pmkv_iter_seek(iter, "k", PMKV_MAX_KEY_BYTES + 1), PMKV_E_INVALID);
    pmkv_iter_free(&iter);
    crash_end(&r);
}
