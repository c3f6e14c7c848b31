/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "space.h"

#include <sched.h>
#include <time.h>

#include "../recovery/errmsg.h"
#include "clean.h"
#include "damage.h"
#include "defer.h"
#include "handle.h"
#include "wait.h"

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
    /* Besides the reserve, each lane's open segment is never full; that of long values is given up
     * when room is short. */
    uint32_t unusable = twins + kv->reserve_segments + kv->lane_count + 1;
    uint64_t usable = segments > unusable + 1 ? segments - unusable : 1;
    kv->capacity_units = usable * segment_payload(kv) / 8 / 100 * CAPACITY_PERCENT;
}

int64_t space_live_units(const struct pmkv *kv)
{
    int64_t sum = atomic_load_explicit(&kv->live_units, memory_order_relaxed);
    for (uint32_t i = 0; i < OP_SHARDS; i++)
        sum += atomic_load_explicit(&kv->ops[i].live_units, memory_order_relaxed);
    return sum;
}

/* What a thread keeps to itself, so that not every put stores to, or reads, the line of the sum.
 * All together it is a thousandth of the capacity. */
static int64_t thread_share(const struct pmkv *kv)
{
    return (int64_t)(kv->capacity_units >> 16);
}

void space_live_add(struct pmkv *kv, int64_t units)
{
    atomic_llong *mine = &op_shard(kv)->live_units;
    int64_t most = thread_share(kv);
    int64_t sum = atomic_fetch_add_explicit(mine, units, memory_order_relaxed) + units;
    if (sum > most || sum < -most)
        atomic_fetch_add_explicit(&kv->live_units,
                                  atomic_exchange_explicit(mine, 0, memory_order_relaxed),
                                  memory_order_relaxed);
}

static enum pmkv_status full(struct pmkv *kv, uint64_t bytes)
{
    err_fact(0, "no room for %llu bytes: %lld of %llu bytes are live", (unsigned long long)bytes,
             (long long)space_live_units(kv) * 8, (unsigned long long)kv->capacity_units * 8);
    return PMKV_E_FULL;
}

int64_t space_target(const struct pmkv *kv)
{
    return kv->reserve_segments + kv->lane_count + 2 + kv->vol.layout.segments / 64;
}

bool space_is_low(const struct pmkv *kv)
{
    return (int64_t)kv->free_count + kv->ready_count - kv->free_beside_twins < space_target(kv);
}

/* --- pacing ----------------------------------------------------------------------------------- */

/* A put of PACE_BYTES waits PACE_NS when half of the room that the cleaner keeps is used up: about
 * what the cleaner needs to make as much room. A thread that owes OWED_NS helps the cleaner, and
 * when it has left nothing to others offers its processor to them, until the time is up. One that
 * was left without for CROWDED_NS has too few of them around: it sleeps, when it owes what is worth
 * the two switches of threads, and tries again after some sleeps, twice as many each time. */
enum {
    PACE_NS = 1000,
    PACE_BYTES = 256,
    OWED_NS = 500,
    CROWDED_NS = 1000 * 1000,
    SLEEPS_LEAST = 16,
    SLEEPS_MOST = 4096,
    SLEEP_NS = 50 * 1000,
    PAUSE_MOST_NS = 500 * 1000
};

/* What this thread owes; what a pause took too long is to its credit. */
struct debt {
    int64_t ns;
    uint32_t sleeps; /* to come, before it offers its processor again */
    uint32_t next;   /* as many, if that ends as it did before */
    uint32_t offers; /* since */
};

static void offer(struct debt *debt, int64_t until)
{
    int64_t now = clock_ns(), before = now;
    do {
        before = now;
        sched_yield();
        now = clock_ns();
    } while (now < until && now - before < CROWDED_NS);
    if (now - before >= CROWDED_NS) {
        debt->sleeps = debt->next > SLEEPS_LEAST ? debt->next : SLEEPS_LEAST;
        debt->next = debt->sleeps < SLEEPS_MOST ? debt->sleeps * 2 : SLEEPS_MOST;
        debt->offers = 0;
    } else if (++debt->offers == SLEEPS_MOST) {
        debt->next = 0;
    }
}

static __attribute__((noinline)) void pay(struct pmkv *kv, struct debt *debt)
{
    int64_t ns = debt->ns < PAUSE_MOST_NS ? debt->ns : PAUSE_MOST_NS;
    int64_t from = clock_ns(), until = from + ns, left = ns;
    while (left > 0 && clean_help(kv))
        left = until - clock_ns();
    if (left > 0 && debt->sleeps > 0) {
        nanosleep(&(struct timespec){.tv_nsec = (long)left}, NULL);
        debt->sleeps--;
    } else if (left > 0) {
        offer(debt, until);
    }
    debt->ns -= clock_ns() - from;
    if (debt->ns < -PAUSE_MOST_NS)
        debt->ns = -PAUSE_MOST_NS;
}

static void pace(struct pmkv *kv, uint64_t bytes, int64_t room)
{
    static _Thread_local struct debt debt;
    int64_t most = space_target(kv) - kv->reserve_segments;
    if (room >= most || !kv->cleaner_started)
        return;
    double x = (double)(most - room) / (double)room;
    debt.ns += (int64_t)(x * x * PACE_NS / PACE_BYTES * (double)bytes);
    if (debt.ns >= (debt.sleeps > 0 ? SLEEP_NS : OWED_NS))
        pay(kv, &debt);
}

/* --- waiting ---------------------------------------------------------------------------------- */

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

/* Do all records that count still fit with `units` more? */
static bool live_fits(struct pmkv *kv, int64_t units)
{
    atomic_llong *room = &op_shard(kv)->room;
    int64_t left = atomic_load_explicit(room, memory_order_relaxed) - units;
    if (left < 0) {
        int64_t live = atomic_load_explicit(&kv->live_units, memory_order_relaxed);
        left = (int64_t)kv->capacity_units - live - units;
        if (left < 0)
            return false;
        left = left < thread_share(kv) ? 0 : thread_share(kv);
    }
    atomic_store_explicit(room, left, memory_order_relaxed);
    return true;
}

enum pmkv_status space_takes_writes(struct pmkv *kv)
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
    return PMKV_OK;
}

enum pmkv_status space_admit(struct pmkv *kv, uint64_t bytes, enum space_class class)
{
    if (space_takes_writes(kv))
        return PMKV_E_IO;
    int64_t units = (int64_t)units_of(bytes);
    /* What was replaced may count still. */
    if (class == SPACE_PUT && !live_fits(kv, units) &&
        !(defer_settle_all(kv) && live_fits(kv, units)))
        return full(kv, bytes);
    int64_t room = segment_room(kv, class);
    if (room > 0) {
        if (class == SPACE_PUT)
            pace(kv, bytes, room);
        return PMKV_OK;
    }
    (void)defer_settle_all(kv); /* so that the cleaner finds all that is dead */
    return wait_for_room(kv, bytes, class);
}
