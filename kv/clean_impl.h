/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The parts of the cleaner: clean.c walks through victims and ends them, clean_move.c copies what
 * counts and publishes it, clean_count.c counts versions, clean_pick.c chooses.
 *
 * Victims form a queue: a victim is ended as soon as the row with the last of its survivors is
 * closed and published, so that room comes in pieces of one segment and no row is closed before it
 * is full, unless the queue is.
 */
#ifndef PMKV_KV_CLEAN_IMPL_H
#define PMKV_KV_CLEAN_IMPL_H

#include "entries.h"
#include "store.h"

enum { VICTIMS_AT_ONCE = 8 };

/* Entries, moves and counts are looked at this far ahead: what the cleaner waits for is memory. */
enum { CLEAN_AHEAD = 16 };

/* A record on its way; its key is in the arena. Kept until its victim was freed: if it is not, what
 * was moved out of it is one more older version of its key. */
struct move {
    uint64_t hash;
    struct log_pos from, to;
    uint32_t units, key_bytes;
    size_t key_at;
    uint8_t type;
    bool current; /* its slot points to the copy */
};

/* A dead put whose key's count of older versions goes down once its segment is freed. */
struct gone {
    uint64_t hash;
    uint32_t key_bytes;
    size_t key_at;
};

struct victim {
    uint32_t segment;
    uint64_t generation;
    bool emptied; /* all that counted was copied: to be ended when that is published */
    bool scanned; /* its entries were read from rows: what is lost there has none */
    struct move *moves;
    struct gone *gone;
    uint32_t move_count, move_room, gone_count, gone_room;
    uint32_t published; /* of the moves */
    uint8_t *arena;
    size_t arena_used, arena_room;
};

struct cleaning {
    struct pmkv *kv;
    struct victim victims[VICTIMS_AT_ONCE]; /* in order; the last one may be in work */
    uint32_t victim_count;
    uint8_t *record; /* room for one */
    uint32_t freed;
    int rc;
};

/* --- clean_move.c ----------------------------------------------------------------------------- */

/* Room in a list for one more; NULL: no memory, the list stands. */
void *list_grow(void *list, uint32_t count, uint32_t *room, size_t each);
/* Keeps a key; where it is in the arena to *at. */
bool arena_keep(struct victim *v, const void *key, uint32_t bytes, size_t *at);

/* Step 2: appends the record to the cleaner's row; `khash` is hash64 of its key. */
int copy_record(struct cleaning *c, struct victim *v, const struct entry *e, const uint8_t *record,
                uint64_t khash, struct log_pos from);
/* Steps 3 and 4, for all that was copied. */
int publish_moves(struct cleaning *c);
void victim_free(struct victim *v);

/* --- clean_count.c ---------------------------------------------------------------------------- */

/* Remembers a dead put, for step 6. 0 or -ENOMEM. */
int note_gone(struct cleaning *c, struct victim *v, const struct entry *e, struct log_pos pos);
/* I8: adds to the older count of the key's slot; a tombstone without older versions goes. */
void older_adjust(struct pmkv *kv, const uint8_t *key, uint32_t key_bytes, uint64_t hash, int by);
/* Step 6, or leaves it to clean_help. */
void count_versions(struct pmkv *kv, struct victim *v);

/* --- clean_pick.c ----------------------------------------------------------------------------- */

/* The segment to empty next; -1: none is worth it. `hurry`: the emptiest. */
int64_t pick_victim(struct pmkv *kv, bool hurry);
/* May it be a victim at all? */
bool segment_eligible(const struct segment *s);
/* Would its records take less room in a segment of the cleaner? */
bool segment_is_loose(const struct pmkv *kv, uint32_t segment);

#endif
