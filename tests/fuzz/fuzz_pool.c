/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Damaged and forged pools. The first byte chooses the pool, the rest are edits (image.h). Then the
 * pool is opened, read, checked, scrubbed, written to, closed and opened again.
 *
 * Never a crash or a hang, and never an access outside of the medium (the simulated one asserts
 * it). Where no checks were forged, what is read was put (P3), and what is put then is there
 * afterwards.
 */
#include <stdio.h>
#include <stdlib.h>

#include "image.h"
#include "kv/open.h"
#include "recovery/media/sim.h"

static void judge_value(unsigned key, const uint8_t *got, size_t bytes)
{
    static uint8_t want[IMAGE_VALUE_MAX];
    unsigned version = bytes > 1 ? got[1] : 0;
    fuzz_that(version >= 1 && version <= 9 && image_value(want, key, version) == bytes &&
                  memcmp(want, got, bytes) == 0,
              "k%u: %zu bytes that were never put", key, bytes);
}

static int pass_item(void *arg, const struct pmkv_item *item)
{
    unsigned key;
    char name[16] = "";
    if (*(bool *)arg || item->status != PMKV_OK)
        return 0;
    memcpy(name, item->key, item->key_bytes < 15 ? item->key_bytes : 15);
    fuzz_that(sscanf(name, "k%u", &key) == 1, "a key that was never put");
    judge_value(key, item->value, item->value_bytes);
    return 0;
}

static int pass_lost(void *arg, const struct pmkv_lost *lost)
{
    (void)arg;
    return lost->key_bytes > 65535;
}

static int pass_range(void *arg, const struct pmkv_range *range)
{
    uint64_t *end = arg;
    fuzz_that(range->offset == *end && range->bytes > 0, "the map has a gap at %llu",
              (unsigned long long)*end);
    *end = range->offset + range->bytes;
    return 0;
}

static void read_everything(struct pmkv *kv, bool forged)
{
    char name[16];
    for (unsigned key = 0; key < IMAGE_KEYS; key++) {
        void *value = NULL;
        size_t bytes = 0;
        enum pmkv_status s = pmkv_get_alloc(kv, name, image_key(name, key), &value, &bytes);
        fuzz_that(s != PMKV_E_NO_MEMORY, "k%u: %s", key, pmkv_errormsg()); /* of forged lengths */
        if (s == PMKV_OK && !forged)
            judge_value(key, value, bytes);
        pmkv_free(value);
    }
    struct pmkv_info info;
    struct pmkv_stats stats;
    struct pmkv_health health;
    struct pmkv_scan scan;
    uint64_t end = 0;
    pmkv_foreach(kv, 0, pass_item, &forged);
    pmkv_info(kv, &info);
    pmkv_stats(kv, &stats);
    pmkv_health(kv, &health);
    pmkv_lost_foreach(kv, pass_lost, NULL);
    pmkv_map_foreach(kv, pass_range, &end);
    fuzz_that(end == info.pool_bytes, "the map ends at %llu", (unsigned long long)end);
    pmkv_check(kv, &scan, NULL, NULL);
}

/* Returns whether the put was acknowledged. */
static bool write_something(struct pmkv *kv)
{
    static uint8_t value[IMAGE_VALUE_MAX];
    struct pmkv_batch *batch = NULL;
    pmkv_scrub_start(kv, 0);
    pmkv_repair(kv, NULL);
    pmkv_delete(kv, "k2", 2);
    if (pmkv_batch_new(&batch) == PMKV_OK) {
        pmkv_batch_put(batch, "k7", 2, value, image_value(value, 7, 8));
        pmkv_batch_put(batch, "k8", 2, value, image_value(value, 8, 8));
        pmkv_write(kv, batch);
        pmkv_batch_free(&batch);
    }
    return pmkv_put(kv, "k9", 2, value, image_value(value, 9, 9)) == PMKV_OK;
}

static struct media *copy_of(struct media *m)
{
    struct media *copy;
    fuzz_that(sim_crash_image(m, sim_choose_all, NULL, &copy) == 0, "copy");
    return copy;
}

static struct pmkv *open_pool(struct media *m, enum pmkv_geometry geometry, bool read_only)
{
    struct pmkv *kv = NULL;
    struct pmkv_options o = image_options(geometry);
    o.read_only = read_only;
    m->read_only = read_only;
    enum pmkv_status s = store_open(m, &o, &kv);
    fuzz_that(s != PMKV_E_BUG && s != PMKV_E_NO_MEMORY && (s == PMKV_OK || pmkv_errormsg()[0]),
              "open: status %d, %s", (int)s, pmkv_errormsg());
    return kv;
}

static void judge_reopened(struct media *m, enum pmkv_geometry geometry, bool put, bool forged)
{
    uint8_t got[IMAGE_VALUE_MAX];
    size_t bytes = 0;
    struct pmkv *kv = open_pool(m, geometry, false);
    fuzz_that(kv || forged || !put, "reopen: %s", pmkv_errormsg());
    if (!kv)
        return;
    enum pmkv_status s = pmkv_get(kv, "k9", 2, got, sizeof got, &bytes);
    if (put && !forged) {
        fuzz_that(s == PMKV_OK && bytes > 1 && got[1] == 9, "what was put is %s",
                  pmkv_status_name(s));
        judge_value(9, got, bytes);
    }
    pmkv_close(&kv);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    struct input in = {data, data + bytes};
    uint8_t choice = input_byte(&in);
    enum pmkv_geometry geometry = (enum pmkv_geometry)(choice & 3);
    const struct image *image = image_of(geometry, choice >> 2 & 1);
    bool read_only = choice >> 3 & 1, forged = false, put = false;
    struct media *m = copy_of(image->medium);
    for (int edits = 0; edits < 12 && in.at < in.end; edits++)
        forged |= image_edit(image, m, &in);
    struct pmkv *kv = open_pool(m, geometry, read_only);
    if (!kv)
        return 0;
    read_everything(kv, forged);
    if (!read_only)
        put = write_something(kv);
    struct media *later = copy_of(m); /* as a crash here leaves it */
    if (choice >> 4 & 1)
        read_everything(kv, forged);
    pmkv_close(&kv);
    judge_reopened(later, geometry, put, forged);
    return 0;
}
