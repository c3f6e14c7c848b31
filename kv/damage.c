/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "damage.h"
#include "segment.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "../recovery/fault_guard.h"
#include "../recovery/media.h"

/* Queues are kept sorted: they are searched at every fault and are short. */
static uint32_t queue_find(const struct work_queue *q, uint64_t page_off)
{
    uint32_t low = 0, high = q->count;
    while (low < high) {
        uint32_t mid = (low + high) / 2;
        if (q->pages[mid] < page_off)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

bool queue_has(const struct work_queue *q, uint64_t page_off)
{
    uint32_t i = queue_find(q, page_off);
    return i < q->count && q->pages[i] == page_off;
}

bool queue_add(struct work_queue *q, uint64_t page_off)
{
    uint32_t i = queue_find(q, page_off);
    if (i < q->count && q->pages[i] == page_off)
        return false;
    if (q->count == q->capacity) {
        uint32_t capacity = q->capacity ? q->capacity * 2 : 64;
        uint64_t *pages = realloc(q->pages, capacity * sizeof *pages);
        if (!pages)
            return false; /* it will be met again */
        q->pages = pages;
        q->capacity = capacity;
    }
    for (uint32_t k = q->count; k > i; k--)
        q->pages[k] = q->pages[k - 1];
    q->pages[i] = page_off;
    q->count++;
    return true;
}

bool queue_remove(struct work_queue *q, uint64_t page_off)
{
    uint32_t i = queue_find(q, page_off);
    if (i == q->count || q->pages[i] != page_off)
        return false;
    q->count--;
    for (; i < q->count; i++)
        q->pages[i] = q->pages[i + 1];
    return true;
}

void event_send(struct pmkv *kv, enum pmkv_event_kind kind, uint64_t off, uint64_t bytes,
                const char *format, ...)
{
    pthread_mutex_lock(&kv->event_lock);
    pmkv_event_fn fn = kv->event_fn;
    void *arg = kv->event_arg;
    pthread_mutex_unlock(&kv->event_lock);
    if (!fn)
        return;
    char text[256];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    fn(arg, &(struct pmkv_event){kind, off, bytes, text});
}

void damage_found(struct pmkv *kv, enum damage_kind kind, uint64_t off, const char *what)
{
    uint64_t page = off & ~(uint64_t)(PAGE_BYTES - 1);
    atomic_fetch_add_explicit(kind == DAMAGE_POISON ? &kv->n.faults : &kv->n.check_failures, 1,
                              memory_order_relaxed);
    struct place place = layout_locate(&kv->vol.layout, page);
    bool retired = place_retired(kv, &place); /* known, also from an earlier open */
    pthread_mutex_lock(&kv->work_lock);
    if (retired)
        queue_add(&kv->unfixable, page);
    if (kind == DAMAGE_POISON)
        queue_remove(&kv->given_up, page); /* clearing it is something to do */
    bool known = queue_has(&kv->unfixable, page) || queue_has(&kv->given_up, page);
    bool fresh = !known && queue_add(&kv->pending, page);
    if (fresh) {
        queue_remove(&kv->repaired, page);
        kv->life.media_errors++;
        kv->scan.bad_pages += kv->scan_running_now;
    }
    pthread_mutex_unlock(&kv->work_lock);
    if (!fresh)
        return;
    pthread_cond_signal(&kv->work_cond); /* not under the lock: the keeper would wait for it */
    event_send(kv, PMKV_EVENT_MEDIA_ERROR, page, PAGE_BYTES, "%s at pool offset 0x%llx (%s)",
               kind == DAMAGE_POISON ? "poison" : "failed check", (unsigned long long)off, what);
}

bool damage_waits(struct pmkv *kv, uint64_t off)
{
    pthread_mutex_lock(&kv->work_lock);
    bool waits = queue_has(&kv->pending, off & ~(uint64_t)(PAGE_BYTES - 1));
    pthread_mutex_unlock(&kv->work_lock);
    return waits;
}

void row_load_settled(struct pmkv *kv, struct row_ref ref, struct row_image *image)
{
    pthread_mutex_lock(&kv->verdict_lock);
    row_load(&kv->vol, ref, image);
    pthread_mutex_unlock(&kv->verdict_lock);
}

void damage_given_up(struct pmkv *kv, uint64_t page_off)
{
    pthread_mutex_lock(&kv->work_lock);
    queue_remove(&kv->pending, page_off);
    queue_add(&kv->given_up, page_off);
    pthread_mutex_unlock(&kv->work_lock);
}

void damage_forget_given_up(struct pmkv *kv, uint32_t segment)
{
    struct work_queue *q = &kv->given_up;
    uint32_t kept = 0;
    pthread_mutex_lock(&kv->work_lock);
    for (uint32_t i = 0; i < q->count; i++) { /* only pages of rows are ever given up */
        if (layout_locate(&kv->vol.layout, q->pages[i]).segment != segment)
            q->pages[kept++] = q->pages[i];
    }
    q->count = kept;
    pthread_mutex_unlock(&kv->work_lock);
}

void copy_behind(struct pmkv *kv, uint64_t off)
{
    if (kv->opts.read_only)
        return;
    pthread_mutex_lock(&kv->work_lock);
    queue_add(&kv->behind, off & ~(uint64_t)(PAGE_BYTES - 1));
    pthread_mutex_unlock(&kv->work_lock);
}

/* Is one superblock copy, found by its own check, still there? */
static bool superblock_seen(struct pmkv *kv)
{
    static _Thread_local uint8_t page[PAGE_BYTES];
    for (uint32_t i = 0; i < SUPERBLOCK_COPIES; i++) {
        uint64_t off = kv->vol.layout.superblock_off[i];
        if (media_load(kv->vol.media, off, page, PAGE_BYTES) == PAGE_BYTES &&
            superblock_valid(page, off, &kv->vol.layout))
            return true;
    }
    return false;
}

static bool neighbour_answers(struct pmkv *kv, uint64_t near_off)
{
    uint64_t page = near_off & ~(uint64_t)(PAGE_BYTES - 1);
    uint64_t unit = kv->vol.layout.loss_unit;
    for (uint64_t step = 1; step <= 8; step++) {
        uint64_t up = page + step * unit;
        if (up + PAGE_BYTES <= kv->vol.layout.pool_bytes &&
            media_touch(kv->vol.media, up, PAGE_BYTES) == PAGE_BYTES)
            return true;
        if (page >= step * unit &&
            media_touch(kv->vol.media, page - step * unit, PAGE_BYTES) == PAGE_BYTES)
            return true;
    }
    return false;
}

/* I14 */
bool medium_in_doubt(struct pmkv *kv, uint64_t near_off)
{
    bool doubt = media_present(kv->vol.media) != 0 || !superblock_seen(kv) ||
                 !neighbour_answers(kv, near_off);
    bool before = atomic_exchange(&kv->unavailable, doubt);
    if (doubt && !before)
        event_send(kv, PMKV_EVENT_UNAVAILABLE, 0, kv->vol.layout.pool_bytes,
                   "the medium of %s does not answer; nothing is written or given up",
                   kv->vol.media->path);
    if (!doubt && before)
        event_send(kv, PMKV_EVENT_AVAILABLE, 0, kv->vol.layout.pool_bytes,
                   "the medium of %s answers again", kv->vol.media->path);
    return doubt;
}

bool sigbus_taken(struct pmkv *kv)
{
    bool taken = !fault_guard_is_ours();
    bool before = atomic_exchange(&kv->sigbus_taken, taken);
    if (taken && !before)
        event_send(kv, PMKV_EVENT_SIGBUS_TAKEN, 0, 0,
                   "another SIGBUS handler was installed after %s was opened: a memory error would "
                   "kill the process",
                   kv->vol.media->path);
    return taken;
}

void write_failure(struct pmkv *kv)
{
    if (!atomic_exchange(&kv->write_failed, true))
        event_send(kv, PMKV_EVENT_UNAVAILABLE, 0, kv->vol.layout.pool_bytes,
                   "writes to %s could not be made durable; open the pool again to recover",
                   kv->vol.media->path);
}
