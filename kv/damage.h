/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Where corruption and media errors are born: one function records, counts and reports each, queues
 * the page for repair, and is the place for a breakpoint. One vocabulary of damage to the report.
 */
#ifndef PMKV_KV_DAMAGE_H
#define PMKV_KV_DAMAGE_H

#include "store.h"

enum damage_kind {
    DAMAGE_POISON, /* a load or store met poison */
    DAMAGE_CHECK,  /* a check failed */
};

/* The page at pool offset `off` (any offset in it) is bad. */
void damage_found(struct pmkv *kv, enum damage_kind kind, uint64_t off, const char *what);

/* Is the page bad, and not repaired yet? */
bool damage_waits(struct pmkv *kv, uint64_t off);

/* Loads a closed row while none of its pages is being repaired: in between a repair leaves zeros
 * where the page was, and who reads one page before it and the next one after it sees two that are
 * bad. Only by such an image may anything be taken for lost. */
void row_load_settled(struct pmkv *kv, struct row_ref ref, struct row_image *image);

/* No repair can bring back what stood in this page, and that is told: its failed checks are not
 * reported again, poison that hits it is. Its segment is pinned, so that it is not freed before. */
void damage_given_up(struct pmkv *kv, uint64_t page_off);

/* The segment's generation ended, and with it all that was given up in it. */
void damage_forget_given_up(struct pmkv *kv, uint32_t segment);

/* A copy of something kept in copies is behind or torn, as a crash leaves it: no damage, it is
 * written again without a word. */
void copy_behind(struct pmkv *kv, uint64_t off);

/* Sends an event; `off` and `bytes` say where. */
void event_send(struct pmkv *kv, enum pmkv_event_kind kind, uint64_t off, uint64_t bytes,
                const char *format, ...) __attribute__((format(printf, 5, 6)));

/* I14: is the medium as a whole in doubt? True sets kv->unavailable; false clears it. */
bool medium_in_doubt(struct pmkv *kv, uint64_t near_off);

/* Has another SIGBUS handler taken the place of ours? Says so once each time (P4). */
bool sigbus_taken(struct pmkv *kv);

/* A drain failed: nothing is written any more until the pool is opened again. */
void write_failure(struct pmkv *kv);

/* Page queues, under work_lock. */
bool queue_add(struct work_queue *q, uint64_t page_off); /* false: was there, or no memory */
bool queue_remove(struct work_queue *q, uint64_t page_off);
bool queue_has(const struct work_queue *q, uint64_t page_off);

#endif
