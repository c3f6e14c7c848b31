/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "space.h"

#include "../recovery/errmsg.h"
#include "clean.h"
#include "damage.h"

/* What cleaning can pack a pool to. Above it the cost of making room grows without bound: at a
 * utilisation u the greedy cleaner moves about u/(1-u) bytes for each it frees. */
enum { CAPACITY_PERCENT = 88 };

void space_init(struct pmkv *kv)
{
    uint32_t segments = kv->vol.layout.segments, twins = 0;
    segments_note_twins(kv);
    for (uint32_t i = 0; i < segments; i++) /* what only the cleaner can fill is no promise */
        twins += kv->segments[i].kind == KIND_TWIN || kv->segments[i].beside_twins;
    kv->reserve_segments = 4;
    if (kv->reserve_segments > segments / 4)
        kv->reserve_segments = segments / 4;
    /* Besides the reserve, each lane's open segment is never full. */
    uint32_t unusable = twins + kv->reserve_segments + kv->lane_count + 1;
    uint64_t usable = segments > unusable + 1 ? segments - unusable : 1;
    kv->capacity_units = usable * segment_payload(kv) / 8 / 100 * CAPACITY_PERCENT;
}

static enum pmkv_status full(struct pmkv *kv, uint64_t bytes)
{
    err_fact(0, "no room for %llu bytes: %lld of %llu bytes are live", (unsigned long long)bytes,
             (long long)atomic_load(&kv->live_units) * 8,
             (unsigned long long)kv->capacity_units * 8);
    return PMKV_E_FULL;
}

/* Two whole rounds of the cleaner without a segment freed: there is nothing to be had. */
static enum pmkv_status wait_for_room(struct pmkv *kv, uint64_t bytes, enum space_class class)
{
    pthread_mutex_lock(&kv->segments_lock);
    uint64_t failures = kv->clean_failures;
    while (segment_room(kv, class) <= 0 && kv->clean_failures < failures + 2 &&
           !atomic_load(&kv->write_failed) && !atomic_load(&kv->stopping)) {
        kv->cleaner_wanted = true;
        pthread_cond_signal(&kv->cleaner_cond);
        if (kv->cleaner_started) {
            pthread_cond_wait(&kv->space_cond, &kv->segments_lock);
            continue;
        }
        pthread_mutex_unlock(&kv->segments_lock);
        clean_round(kv);
        pthread_mutex_lock(&kv->segments_lock);
    }
    bool room = segment_room(kv, class) > 0;
    pthread_mutex_unlock(&kv->segments_lock);
    return room ? PMKV_OK : full(kv, bytes);
}

enum pmkv_status space_admit(struct pmkv *kv, uint64_t bytes, enum space_class class)
{
    if (__builtin_expect(atomic_load_explicit(&kv->write_failed, memory_order_relaxed), 0)) {
        err_fact(0, "an earlier write could not be made durable; open the pool again");
        return PMKV_E_IO;
    }
    if (__builtin_expect(atomic_load_explicit(&kv->unavailable, memory_order_relaxed), 0) &&
        medium_in_doubt(kv, 0)) {
        err_fact(0, "the medium does not answer; nothing is written until it does");
        return PMKV_E_IO;
    }
    int64_t live = atomic_load_explicit(&kv->live_units, memory_order_relaxed);
    if (class == SPACE_PUT && live + (int64_t)units_of(bytes) > (int64_t)kv->capacity_units)
        return full(kv, bytes);
    if (segment_room(kv, class) > 0)
        return PMKV_OK;
    return wait_for_room(kv, bytes, class);
}
