/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Which segment the cleaner empties next. */
#include "clean_impl.h"
#include "segment.h"

/* Above this utilisation moving a segment gains nothing worth its cost. */
enum { HOPELESS_PERCENT = 97 };

/* Of a segment that the cleaner filled only what died there is to be gained: its rows cannot be
 * packed any better, and moving them for the room their records leave would go on for ever. */
static double segment_use(const struct pmkv *kv, uint32_t i)
{
    const struct segment *s = &kv->segments[i];
    double live = (double)atomic_load_explicit(&s->live_units, memory_order_relaxed);
    if (!s->packed)
        return live * 8 / (double)segment_payload(kv);
    uint32_t stored = atomic_load_explicit(&s->stored_units, memory_order_relaxed);
    return stored ? live / stored : 0;
}

/* Cost and benefit (Rosenblum and Ousterhout, 1992), with the root of the age in the place of the
 * age: design.md, section 8, has what that is worth. Squared, for the order is the same. When space
 * is short, the emptiest. */
static double segment_score(const struct pmkv *kv, uint32_t i, bool hurry)
{
    const struct segment *s = &kv->segments[i];
    if (atomic_load_explicit(&s->evacuate, memory_order_relaxed))
        return 1e30;
    double u = segment_use(kv, i);
    if (u * 100 > HOPELESS_PERCENT)
        return 0;
    uint64_t now = atomic_load_explicit(&kv->counter, memory_order_relaxed);
    double age = (double)(now - s->sealed_seq) + 1, gain = (1 - u) / (1 + u);
    return hurry ? 1 - u : gain * gain * age;
}

bool segment_eligible(const struct segment *s)
{
    return atomic_load_explicit(&s->state, memory_order_acquire) == SEGMENT_SEALED &&
           s->summarised && !s->stuck && (kind_is_log(s->kind) || s->kind == KIND_META) &&
           segment_published(s); /* I5 */
}

bool segment_is_loose(const struct pmkv *kv, uint32_t i)
{
    const struct segment *s = &kv->segments[i];
    return segment_eligible(s) && segment_use(kv, i) * 100 <= HOPELESS_PERCENT;
}

int64_t pick_victim(struct pmkv *kv, bool hurry)
{
    int64_t best = -1;
    double best_score = 0;
    for (uint32_t i = 0; i < kv->vol.layout.segments; i++) {
        if (!segment_eligible(&kv->segments[i]))
            continue;
        double score = segment_score(kv, i, hurry);
        if (score > best_score) {
            best_score = score;
            best = i;
        }
    }
    return best;
}
