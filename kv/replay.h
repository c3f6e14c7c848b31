/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Opening a pool: recovery as a table of named passes (replay.c). Every pass may be cut by a crash
 * or meet new damage and is simply run again at the next open (P7): it reads what is there, and
 * what it writes is what it would write again.
 */
#ifndef PMKV_KV_REPLAY_H
#define PMKV_KV_REPLAY_H

#include "scan.h"
#include "store.h"

/* A twin page found on the medium; one whose mark cannot be read is of segment TWIN_UNREADABLE. */
#define TWIN_UNREADABLE UINT32_MAX
struct twin_page {
    uint64_t generation, off;
    uint32_t segment, row, page, number;
};

/* A record of a long value, or a tombstone, met while the index was built. */
struct noted {
    uint64_t hash, value_id;
    struct log_pos pos;
    uint32_t units;
};
struct notes {
    struct noted *list;
    uint32_t count, capacity;
};
struct all_notes {
    struct notes extents, manifests, tombstones;
};

struct replay {
    struct pmkv *kv;
    bool clean; /* closed cleanly, table and tails hold */
    struct row_image image;
    uint8_t *payload, *candidate, *merged; /* of one row each */
    struct twin_page *twins;
    uint32_t twin_count, twin_capacity;
    struct all_notes notes;
};

/* Runs all passes; `clean`: the superblock said so. 0 or -errno. */
int replay_run(struct pmkv *kv, bool clean);

/* --- pages touched ahead (replay_warm.c) ------------------------------------------------------ */

enum warm_what { WARM_HEADERS, WARM_OWN };
enum { WARM_HELPERS = 4 };
struct warm {
    struct pmkv *kv;
    enum warm_what what;
    _Atomic uint32_t reached; /* the pass is at this segment */
    uint32_t count;
    struct warm_helper {
        struct warm *warm;
        int64_t first;
        pthread_t thread;
        bool started;
    } helpers[WARM_HELPERS];
};
/* In a large pool starts helpers for a pass over all segments; without them it is only slower. */
void warm_begin(struct warm *w, struct pmkv *kv, enum warm_what what);
void warm_end(struct warm *w);

/* --- summaries (replay_summary.c) ------------------------------------------------------------- */

/* Fills the index: from summaries, else from the records themselves. 0, -ENOMEM, -ECANCELED. */
int replay_fill_index(struct replay *r);

/* --- rows (replay_row.c) ---------------------------------------------------------------------- */

/* Reads the marks of every twin page. */
int replay_find_twins(struct replay *r);
/* Recovers all rows of a segment no summary covers; its entries become pending. */
int replay_segment_rows(struct replay *r, uint32_t segment);
/* Fills `buf` with the row up to `fill` payload bytes after a clean close; false: damage, or it
 * does not hold what it should (then recover it as after a crash). */
bool replay_tail(struct replay *r, uint32_t segment, uint32_t row, uint32_t fill,
                 struct row_buf *buf);
/* Writes rows that were recovered with losses, once those are durable. */
int replay_complete_damaged(struct replay *r);
/* Keeps a recovered row in memory for readers (read-only open, or until its losses are durable). */
int replay_keep_ghost(struct replay *r, struct row_buf *buf);

int row_buf_alloc(const struct pmkv *kv, struct row_buf *buf);
void row_buf_free(struct row_buf *buf);

/* --- index (replay_index.c) ------------------------------------------------------------------- */

int note(struct notes *n, struct noted noted); /* 0 or -ENOMEM */
/* Moves the notes of a thread to the others. 0 or -ENOMEM. */
int notes_join(struct all_notes *to, const struct all_notes *from);
void notes_free(struct all_notes *n);
/* Drops pieces whose manifest does not count. */
int replay_drop_orphans(struct replay *r);
/* Marks the slots of lost records; drops entries that a newer record voids. */
int replay_apply_lost(struct replay *r);
/* Drops tombstones that nothing older needs. */
void replay_drop_tombstones(struct replay *r);

#endif
