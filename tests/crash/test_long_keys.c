/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Keys of which summaries and the lost list keep the beginning only: all of them begin alike, so
 * that nothing but the whole key, or its hash, tells them apart. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "kv/meta.h"
#include "place.h"

TestSuite(long_keys, .timeout = 120);

enum { KEYS = 12, KEY_ROOM = 12000, VALUE_BYTES = 1500 };

static const uint32_t key_bytes[KEYS] = {255,  256,  257,  300,  300,  300,
                                         1000, 1000, 4000, 4032, 4040, KEY_ROOM};

static const char *key_of(unsigned i)
{
    static char key[KEY_ROOM];
    memset(key, 'k', sizeof key);
    key[key_bytes[i] - 1] = (char)('A' + i);
    return key;
}

static unsigned versions[KEYS]; /* 0: deleted */

static void put(struct pmkv *kv, unsigned i)
{
    uint8_t value[VALUE_BYTES];
    memset(value, (int)(1 + ++versions[i] * 16 + i), sizeof value);
    enum pmkv_status s = pmkv_put(kv, key_of(i), key_bytes[i], value, sizeof value);
    cr_assert_eq(s, PMKV_OK, "key %u: %s: %s", i, pmkv_status_name(s), pmkv_errormsg());
}

static void all_right(struct pmkv *kv, const char *where)
{
    uint64_t count = 0, want_count = 0;
    for (unsigned i = 0; i < KEYS; i++) {
        uint8_t want[VALUE_BYTES], got[VALUE_BYTES];
        size_t bytes = 0;
        enum pmkv_status s = pmkv_get(kv, key_of(i), key_bytes[i], got, sizeof got, &bytes);
        enum pmkv_status right = versions[i] ? PMKV_OK : PMKV_E_NOT_FOUND;
        cr_assert_eq(s, right, "%s: key %u: %s", where, i, pmkv_status_name(s));
        memset(want, (int)(1 + versions[i] * 16 + i), sizeof want);
        if (s == PMKV_OK)
            cr_assert(bytes == sizeof want && !memcmp(got, want, bytes), "%s: key %u", where, i);
        want_count += versions[i] != 0;
    }
    cr_assert_eq(pmkv_count(kv, &count), PMKV_OK);
    cr_assert_eq(count, want_count, "%s: %llu keys", where, (unsigned long long)count);
}

/* Versions of each in several segments, sealed and open; one is gone. */
static void fill(struct pmkv *kv)
{
    memset(versions, 0, sizeof versions);
    for (unsigned round = 0; round < 14; round++) {
        for (unsigned i = 0; i < KEYS; i++)
            if (round == 0 || i < 8 || (round + i) % 5 == 0)
                put(kv, i);
        seal_waiting(kv);
    }
    cr_assert_eq(pmkv_delete(kv, key_of(4), key_bytes[4]), PMKV_OK);
    versions[4] = 0;
    all_right(kv, "filled");
}

/* What a crash leaves of the run's pool becomes the run's. */
static void crash(struct crash_run *r)
{
    struct media *image = crash_image(r->media, sim_choose_none, NULL);
    crash_close(&r->kv, "before the crash");
    r->media = image;
    r->kv = crash_open(image, r->geometry, "after the crash");
}

/* The same of a clean close: what is left at its last drain. */
static void keep(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct media **kept = arg;
    (void)off, (void)bytes;
    if (op != SIM_DRAIN)
        return;
    media_close(kept);
    *kept = crash_image(m, sim_choose_all, NULL);
}

static void reopen(struct crash_run *r)
{
    struct media *kept = NULL;
    sim_set_drain_hook(r->media, keep, &kept);
    crash_close(&r->kv, "clean");
    r->media = kept;
    r->kv = crash_open(kept, r->geometry, "after a clean close");
    cr_assert_not(r->kv->recovered, "it was not clean");
}

static void recovered(struct media *m, enum pmkv_geometry geometry, const char *where)
{
    struct pmkv *kv = crash_open(crash_image(m, sim_choose_none, NULL), geometry, where);
    all_right(kv, where);
    crash_nothing_lost(kv, where);
    crash_close(&kv, where);
}

Test(long_keys, are_told_apart_after_a_crash_and_after_a_clean_close)
{
    struct crash_run r;
    crash_begin(&r, PMKV_PARITY, 71);
    fill(r.kv);
    recovered(r.media, PMKV_PARITY, "after a crash");
    reopen(&r);
    all_right(r.kv, "after a clean close");
    put(r.kv, 4);
    put(r.kv, 5);
    crash(&r);
    all_right(r.kv, "after a crash of the next");
    crash_close(&r.kv, "at the end");
}

struct seen {
    unsigned count;
    struct pmkv_lost lost;
    char begins[8];
};

static int see(void *arg, const struct pmkv_lost *lost)
{
    struct seen *seen = arg;
    seen->count++;
    seen->lost = *lost;
    if (lost->key)
        memcpy(seen->begins, lost->key, sizeof seen->begins);
    return 0;
}

/* Found by recovery, the name is what the record's header and key still say. */
Test(long_keys, a_lost_one_is_named_by_its_beginning_and_its_hash)
{
    struct crash_run r;
    struct row_place place;
    struct seen seen = {0};
    size_t bytes;
    uint8_t got[VALUE_BYTES];
    crash_begin(&r, PMKV_NONE, 72);
    memset(versions, 0, sizeof versions);
    struct row_buf *buf;
    put(r.kv, 0);
    buf = place_open_row(r.kv);
    place = (struct row_place){buf->segment, buf->row, buf->fill};
    put(r.kv, 3);
    put(r.kv, 5);
    place.offset += RECORD_HEADER_BYTES + key_bytes[3] + 5;
    place_crash_flipped(&r, place);
    cr_assert_eq(pmkv_lost_foreach(r.kv, see, &seen), PMKV_OK);
    cr_assert_eq(seen.count, 1, "%u are lost", seen.count);
    cr_assert_eq(seen.lost.key_bytes < key_bytes[3], seen.lost.key_is_prefix);
    cr_assert(seen.lost.key_is_prefix && memcmp(seen.begins, "kkkkkkkk", 8) == 0);
    cr_assert_neq(seen.lost.key_hash, 0);
    cr_assert_eq(pmkv_get(r.kv, key_of(3), key_bytes[3], got, sizeof got, &bytes), PMKV_E_LOST);
    cr_assert_eq(pmkv_get(r.kv, key_of(4), key_bytes[4], got, sizeof got, &bytes), PMKV_E_NOT_FOUND,
                 "of the same length and beginning");
    put(r.kv, 3);
    all_right(r.kv, "written again");
    crash(&r);
    all_right(r.kv, "after another crash");
    crash_nothing_lost(r.kv, "the new version voids it");
    crash_close(&r.kv, "at the end");
}
