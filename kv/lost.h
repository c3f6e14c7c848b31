/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * What redundancy could not cover (P8). A lost record keeps its slot, which then carries a lost
 * mark with the entry's id, so that no older version is ever returned (P3). The list is kept in the
 * pool as a snapshot in meta records: the highest complete version counts.
 */
#ifndef PMKV_KV_LOST_H
#define PMKV_KV_LOST_H

#include "store.h"

/* Finds which current records of the row are lost now and enters them, durably. Takes stripe locks:
 * call with no lock held. Returns true when the index changed (search again). */
bool lost_discover(struct pmkv *kv, struct row_ref ref);

enum lost_match { LOST_SAME, LOST_OTHER, LOST_UNKNOWN };
/* Is lost entry `id` the key's? LOST_UNKNOWN: there is no such entry any more. An entry whose name
 * is not known matches by hash. */
enum lost_match lost_match_id(struct pmkv *kv, uint64_t id, const void *key, uint32_t key_bytes,
                              uint64_t hash);
/* Is the record at `pos`, which cannot be read, the key's? LOST_UNKNOWN: nothing names it. */
enum lost_match lost_match_place(struct pmkv *kv, struct log_pos pos, const void *key,
                                 uint32_t key_bytes, uint64_t hash);

/* Is the unreadable record at `pos` the key's tombstone? Key and number are all a tombstone says,
 * and its summary entry has both: *h is filled as if it had been read. */
bool lost_tombstone(struct pmkv *kv, struct log_pos pos, const void *key, uint32_t key_bytes,
                    struct record_header *h);

/* The key was written or deleted: the entry is void. Durable with the next snapshot; until then the
 * newer sequence number voids it. */
void lost_forget(struct pmkv *kv, uint64_t id);

/* Adds an entry without slot or with one; returns its id, 0 when out of memory. */
uint64_t lost_add(struct pmkv *kv, const struct lost_entry *entry, const uint8_t *key,
                  bool in_index);

/* Adds a range that nothing names, unless it is in the list already. */
void lost_add_range(struct pmkv *kv, uint64_t pool_off, uint32_t bytes);

/* Replay: puts an entry that lost_add made before the list was read behind it. 0 or -ENOMEM
 * (freed). */
int lost_append(struct pmkv *kv, struct lost_entry *e);

/* Writes the snapshot when it changed. 0 or -EIO, -ENOSPC, -ENOMEM. */
int lost_save(struct pmkv *kv);
/* Reads one snapshot part (replay); parts of the highest version only. */
int lost_load_part(struct pmkv *kv, const uint8_t *bytes, uint32_t count);

/* Seq and name of the record at a place, from summary or pending entries. */
bool entry_at(struct pmkv *kv, struct log_pos pos, struct entry *out, uint8_t key[ENTRY_KEY_MAX]);

#endif
