/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "super.h"

#include <time.h>

#include "../recovery/media.h"
#include "damage.h"
#include "segment.h"

static uint64_t counts_sum(const struct pmkv *kv)
{
    return kv->life.media_errors + kv->life.pages_rebuilt + kv->life.pages_repaired +
           kv->life.pages_retired + kv->life.records_lost;
}

static int super_store_locked(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->work_lock);
    kv->counts_stored = counts_sum(kv);
    kv->counts_time = time(NULL);
    kv->super.media_errors = kv->life.media_errors;
    kv->super.pages_rebuilt = kv->life.pages_rebuilt;
    kv->super.pages_repaired = kv->life.pages_repaired;
    kv->super.pages_retired = kv->life.pages_retired;
    kv->super.records_lost = kv->life.records_lost;
    pthread_mutex_unlock(&kv->work_lock);
    kv->super.version++;
    return superblock_write(kv->vol.media, &kv->vol.layout, &kv->super);
}

/* An outage may have begun in the middle (I14): the copies are as they were, and a sync that failed
 * fails again. */
static void superblock_failed(struct pmkv *kv)
{
    if (!medium_in_doubt(kv, 0))
        write_failure(kv);
}

int super_store(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->super_lock);
    int rc = super_store_locked(kv);
    pthread_mutex_unlock(&kv->super_lock);
    return rc;
}

void super_store_counts(struct pmkv *kv)
{
    pthread_mutex_lock(&kv->work_lock);
    bool due = counts_sum(kv) != kv->counts_stored && time(NULL) != kv->counts_time;
    pthread_mutex_unlock(&kv->work_lock);
    if (due && !atomic_load(&kv->write_failed) && !medium_in_doubt(kv, 0) && super_store(kv))
        superblock_failed(kv);
}

/* What was found where the superblock should be. */
enum pmkv_status super_judge(enum superblock_found found)
{
    switch (found) {
    case SUPERBLOCK_FOUND:
        return PMKV_OK;
    case SUPERBLOCK_FOREIGN:
        return PMKV_E_NOT_POOL;
    case SUPERBLOCK_NEWER:
        return PMKV_E_VERSION;
    case SUPERBLOCK_TRUNCATED:
        return PMKV_E_TRUNCATED;
    default:
        return PMKV_E_CORRUPT;
    }
}

/* I3: a number is given out only below a ceiling that is durable in the superblock. */
static int counter_reserve(struct pmkv *kv, uint64_t up_to)
{
    pthread_mutex_lock(&kv->super_lock);
    int rc = 0;
    if (atomic_load(&kv->counter_ceiling) < up_to) {
        kv->super.counter_ceiling = up_to + COUNTER_BLOCK;
        rc = super_store_locked(kv);
        if (rc == 0)
            atomic_store(&kv->counter_ceiling, kv->super.counter_ceiling);
    }
    pthread_mutex_unlock(&kv->super_lock);
    if (rc)
        superblock_failed(kv);
    return rc;
}

uint64_t counter_next(struct pmkv *kv, uint32_t count)
{
    uint64_t first = atomic_fetch_add_explicit(&kv->counter, count, memory_order_relaxed);
    uint64_t ceiling = atomic_load_explicit(&kv->counter_ceiling, memory_order_acquire);
    if (__builtin_expect(first + count > ceiling, 0) && counter_reserve(kv, first + count))
        return 0;
    return first;
}
