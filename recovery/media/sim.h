/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * A medium in private memory for the test suite: it records every store and drain, and can lose
 * power at any instant.
 *
 * The fault model. There are two images: what the CPU sees, and what is durable. A store changes
 * the first and adds its 64 B lines to the pending ones; a drain makes the pending lines of the
 * calling thread durable, of that thread alone, as a fence does. When power goes, any subset of the
 * pending lines may have become durable, and of each line any of its eight words of 8 B: whoever
 * makes the crash image chooses. A line that was stored twice is pending twice.
 *
 * Poison is a property of the medium: loads and stores stop short of the page, in crash images too.
 * A recovery write of a poisoned page clears its whole loss unit first, which leaves what
 * sim_set_clear_leaves says, and then stores the page: a crash between the two is a crash of its
 * own.
 *
 * Every call is thread safe (one lock for each medium, held while a hook runs; a hook may call any
 * function here and any door of media.h on the same medium). Memory is copy on write, so images and
 * snapshots are cheap and may be used by other threads. When memory runs out the process aborts.
 * media_close frees a sim.
 */
#ifndef PMKV_RECOVERY_MEDIA_SIM_H
#define PMKV_RECOVERY_MEDIA_SIM_H

#include <stddef.h>
#include <stdint.h>

#include "../media.h"

/* --- making ----------------------------------------------------------------------------------- */

/* All zeros, all durable. size is a multiple of loss_unit, loss_unit a power of two >= 4096; else
 * -EINVAL. Opened for writing and injection. */
int sim_new(uint64_t size, uint64_t loss_unit, struct media **out);
/* The same with these bytes. */
int sim_from_image(const void *image, uint64_t size, uint64_t loss_unit, struct media **out);

/* --- losing power ----------------------------------------------------------------------------- */

/* A stored line that is not durable yet. */
struct sim_line {
    uint64_t off;
    uint64_t seq;    /* of its store: the order in which they were made */
    unsigned thread; /* which thread stored it: 1, 2, ... in order of first use */
    uint8_t bytes[LINE_BYTES];
};

size_t sim_pending_count(struct media *m);
/* In the order of the stores; the pointer holds until the next store, drain or restore. */
const struct sim_line *sim_pending(struct media *m, size_t index);

/* Which words of the line became durable: bit i for bytes 8i to 8i+7. */
typedef uint8_t (*sim_chooser)(void *arg, size_t index, const struct sim_line *line);
uint8_t sim_choose_none(void *arg, size_t index, const struct sim_line *line);
/* All lines: what the death of the process alone leaves. */
uint8_t sim_choose_all(void *arg, size_t index, const struct sim_line *line);
/* arg is uint64_t[]: line i whole when bit i % 64 of word i / 64 is set. */
uint8_t sim_choose_bits(void *arg, size_t index, const struct sim_line *line);

/* A new medium that holds what is durable now and the chosen words of the pending lines, in the
 * order of their stores. Poison is kept; hooks, log and injected failures are not. The medium
 * itself goes on unchanged. */
int sim_crash_image(struct media *m, sim_chooser choose, void *arg, struct media **out);

/* Everything at one instant. */
struct sim_snapshot;
struct sim_snapshot *sim_snapshot(struct media *m);
/* Images, poison and pending lines go back; hooks, log, counters and settings stay. */
void sim_restore(struct media *m, const struct sim_snapshot *snapshot);
void sim_snapshot_free(struct sim_snapshot **snapshot);

/* --- watching --------------------------------------------------------------------------------- */

enum sim_op {
    SIM_LOAD = 1,
    SIM_STORE = 2,
    SIM_DRAIN = 3,
    SIM_CLEAR = 4,         /* a recovery write clears poison */
    SIM_RECOVERY_DATA = 5, /* a recovery write makes its page durable: it is pending until then */
};

/* Called before a drain, a clear or a recovery write takes effect: the instants to lose power at.
 * NULL ends it. Not called for the doors that a hook itself uses. */
typedef void (*sim_hook)(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes);
void sim_set_drain_hook(struct media *m, sim_hook hook, void *arg);
/* Called before every load and store: a place to put new poison at any instant. */
void sim_set_access_hook(struct media *m, sim_hook hook, void *arg);

struct sim_event {
    enum sim_op op;
    unsigned thread;
    uint64_t off, bytes; /* as asked for; 0 for a drain */
    uint64_t seq;        /* counts everything but loads, from 1 */
};

/* The log holds stores, drains, clears and recovery writes; off at first. Loads are never in it. */
void sim_log(struct media *m, bool on);
void sim_log_clear(struct media *m);
/* The pointer holds until the next operation. */
const struct sim_event *sim_events(struct media *m, size_t *count);

struct sim_counters {
    uint64_t loads, stores, lines_stored, drains, clears, recovery_writes;
    uint64_t short_loads, short_stores; /* met poison */
};
struct sim_counters sim_counters(struct media *m);

/* What is on the medium, without hooks and whether poisoned or not. */
void sim_peek(struct media *m, uint64_t off, void *dst, size_t bytes);
void sim_peek_durable(struct media *m, uint64_t off, void *dst, size_t bytes);
/* Of what is durable in these pages, and which of them are poisoned. */
uint64_t sim_hash(struct media *m, uint64_t off, uint64_t bytes);

/* --- faults ----------------------------------------------------------------------------------- */

/* The loss units that hold the range. media_inject_poison does the same for one page. */
void sim_poison(struct media *m, uint64_t off, uint64_t bytes);
bool sim_is_poisoned(struct media *m, uint64_t off);
/* The kernel's list misses everything: media_bad_ranges finds nothing, touching still faults. */
void sim_hide_bad_ranges(struct media *m, bool hide);

enum sim_clear_leaves { SIM_CLEAR_ZEROS = 0, SIM_CLEAR_OLD = 1, SIM_CLEAR_GARBAGE = 2 };
void sim_set_clear_leaves(struct media *m, enum sim_clear_leaves leaves);
/* Every recovery write of a poisoned page fails; media_inject_clear_fails is for single pages. */
void sim_set_clears_fail(struct media *m, bool fail);

/* The device is gone as a whole: present fails, loads and stores move nothing, drains fail. */
void sim_set_gone(struct media *m, bool gone);
/* What drains return from now on (0: they work); a failed one makes nothing durable. */
void sim_set_drain_error(struct media *m, int error);

#endif
