/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The internal namespace: records of the store about itself, in segments of their own (KIND_META),
 * which open always reads whole. Summary parts, the lost list, the state of the scrub. Each has one
 * place in memory that says which record counts; the others are dead.
 */
#ifndef PMKV_KV_META_H
#define PMKV_KV_META_H

#include "store.h"

/* On the medium: never renumbered. */
enum meta_kind { META_SUMMARY = 1, META_LOST = 2, META_SCAN = 3 };

struct meta_key {
    uint32_t kind;
    uint32_t segment;     /* summary: of which segment */
    uint64_t generation;  /* summary: of it; lost list: version of the snapshot */
    uint32_t part, parts; /* parts: lost list only */
};
_Static_assert(sizeof(struct meta_key) == 24, "meta key");

/* A summary part starts with what its entries are coded against. */
struct summary_base {
    struct entry_base before;
    uint32_t count, reserved;
};
_Static_assert(sizeof(struct summary_base) == 48, "head of a part of a summary");

/* Largest value a meta record may have: a quarter of a row. */
uint32_t meta_max_bytes(const struct pmkv *kv);

/* Appends a meta record, durably. 0, -ENOSPC, -EIO, -ENOMEM. */
int meta_append(struct pmkv *kv, const struct meta_key *key, const void *value, uint32_t bytes,
                struct log_pos *pos);

/* Cleaner: does the record at `pos` count? */
bool meta_is_live(struct pmkv *kv, const struct meta_key *key, struct log_pos pos);
/* Cleaner: it was copied to `to`. */
/* false: it had stopped counting meanwhile. */
bool meta_moved(struct pmkv *kv, const struct meta_key *key, struct log_pos from,
                struct log_pos to);
/* Its record does not count any more: takes it from the live bytes. */
void meta_drop(struct pmkv *kv, struct meta_ref ref);

/* Writes the pending entries of a segment as summary parts. 0 or an error: they stay pending. */
int summary_flush(struct pmkv *kv, uint32_t segment);
/* A SEALED segment: flushes its summary and writes its headers as sealed. seal_lock is taken. */
int segment_seal(struct pmkv *kv, uint32_t segment);
/* Seals every segment that waits for it. */
void seal_waiting(struct pmkv *kv);
/* Does one still wait? (its summary could not be written) */
bool seal_unfinished(struct pmkv *kv);

/* Calls fn for every entry of one part; -EIO when the bytes are not a part. */
int summary_part_foreach(const uint8_t *bytes, uint32_t used,
                         int (*fn)(void *arg, const struct entry *e), void *arg);

/* Replay: notes part `part` of a segment's summary at `pos`. 0 or -ENOMEM. */
int summary_note_part(struct pmkv *kv, const struct meta_key *key, struct meta_ref ref);
/* The segment is about to be freed: its summary does not count any more. */
void summary_drop(struct pmkv *kv, uint32_t segment);

/* Calls fn for every entry of the segment, from its parts and what is pending; fn returns 0 to go
 * on. 0; -EIO: a part could not be read; -ENOMEM. Takes seal_lock and the lane's lock. */
int summary_foreach(struct pmkv *kv, uint32_t segment, int (*fn)(void *arg, const struct entry *e),
                    void *arg);

/* A part of a summary as it was stored; its entries are read from `entries`. */
struct summary_part {
    uint8_t *record; /* owned: malloc; keys of entries point into it */
    struct entries_reader entries;
};
/* All parts of a segment that is sealed and summed up, for who has no use for a walk under its
 * locks. 0, and *parts to be freed by summary_parts_free; else as summary_foreach. */
int summary_parts_read(struct pmkv *kv, uint32_t segment, struct summary_part **parts,
                       uint32_t *count);
void summary_parts_free(struct summary_part *parts, uint32_t count);

/* Saves the scan state. */
int scan_save(struct pmkv *kv);

#endif
