/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Lanes: where records become durable.
 *
 * The write protocol of a commit (all under the lane's lock), and what a crash at each step leaves:
 *
 *   1. build   the records in the row's DRAM image
 *              leaves nothing
 *   2. store   their whole lines to the row and to M twins
 *              leaves torn lines: no copy of the commit checks, recovery ends the row there
 *   3. close?  when a row is full: parity, checks, absent checks for the rest
 *              leaves a row that does not decode yet: the twins still have it
 *   4. drain   the one fence
 *              from here on the commit is durable, and so is the close of the row before
 *
 * The next row uses the other twin set, so that 3 needs no fence of its own: the drain of the first
 * commit in the next row completes it (I12: only then is the twin set used again).
 *
 * I1: a position gets one content per generation. The fill only grows; a commit whose every copy
 * faulted closes the row and is written again in the next (I15).
 */
#ifndef PMKV_KV_LANE_H
#define PMKV_KV_LANE_H

#include "../recovery/media.h"
#include "segment.h"
#include "store.h"

/* One record to be appended. */
struct draft {
    uint8_t type, flags;
    uint32_t key_bytes, value_bytes;
    const void *key, *value;
    uint64_t key_hash; /* hash64 of the key bytes */
    bool hash_value;   /* value_hash is computed as the value is copied, not by the caller */
    uint64_t value_hash;
    uint64_t seq;
    uint64_t check_epoch; /* out: the header's first word, for a batch's chain */
};

/* Set-up: allocates the rows' DRAM. 0 or -ENOMEM. */
int lane_init(struct pmkv *kv, struct lane *lane, enum lane_kind kind);
void lane_fini(struct lane *lane);

/* Gives out twin slots to every lane from twin segments (taking such segments as needed). Open rows
 * keep the slots whose marks name them. */
int lanes_assign_twins(struct pmkv *kv);

/* The lane this thread should use, locked. */
struct lane *lane_pick(struct pmkv *kv);
void lane_lock(struct lane *lane);
bool lane_try_lock(struct lane *lane);
/* For who looks at all lanes: a writer does not wake a thread that sleeps on its lock, which takes
 * as long as 50 puts. */
void lane_lock_beside(struct lane *lane);
void lane_unlock(struct lane *lane);

/* Makes room for a commit of `bytes` packed bytes; `rows` is 1 when it fits in one row, else how
 * many fresh rows hold it: all of them in one segment, for a batch never spans segments. Starts the
 * epoch. 0; -ENOSPC when the class may not take a segment; -EIO. */
int lane_begin(struct pmkv *kv, struct lane *lane, uint64_t bytes, uint32_t rows,
               enum space_class class);

/* Appends one record to the open commit and returns where. 0, -EIO, -EFAULT or -ENOMEM: then call
 * lane_abandon. The caller says record_published when it is in the index (I5). */
int lane_add(struct pmkv *kv, struct lane *lane, struct draft *d, struct log_pos *pos);

/* The two halves of lane_commit: step 2, and step 4. A writer may look for the old record between
 * them, while its stores are on their way. Errors as lane_commit. */
int lane_store(struct pmkv *kv, struct lane *lane);
int lane_fence(struct pmkv *kv, struct lane *lane);

/* Pads and stores what was added, and drains: durable on 0. -EIO: a drain failed, or -EFAULT: every
 * copy of some page faulted; the row was closed without it and the caller may begin again. On
 * failure the commit was abandoned. */
int lane_commit(struct pmkv *kv, struct lane *lane);

/* Gives the open commit up after lane_add failed: what it added never counted. */
void lane_abandon(struct pmkv *kv, struct lane *lane);

/* Closes the current row early (absent checks for the rest), drains and completes it. */
int lane_close_row(struct pmkv *kv, struct lane *lane);
/* Closes the current row and gives the segment up for sealing. */
int lane_finish_segment(struct pmkv *kv, struct lane *lane);

/* Lanes give up segments that are to be evacuated, so that the cleaner can have them, and that of
 * long values its own when room is short: puts can do without. */
void lanes_leave_evacuated(struct pmkv *kv);

/* After a clean open: brings checks and parity of a resumed row up to date and stores its twins
 * anew, for a slot may have gone out of use. */
int lane_resume_row(struct pmkv *kv, struct lane *lane);

/* Room left in the current row, in payload bytes (0: no open row). */
uint32_t lane_room(const struct pmkv *kv, const struct lane *lane);

/* The lane that has this row in DRAM, locked, and the buffer; NULL when none has. */
struct lane *lane_holding(struct pmkv *kv, struct row_ref ref, struct row_buf **buf);

/* The lane that writes this segment now, locked; NULL when none does. */
struct lane *lane_writing(struct pmkv *kv, uint32_t segment);

/* --- rows of a lane (lane_row.c) -------------------------------------------------------------- */

int row_open_next(struct pmkv *kv, struct lane *lane, enum space_class class);
/* Stores payload [buf->stored, buf->fill) to the row and its twins; counts faults in buf->bad.
 * false: some page has no copy left. */
bool row_store(struct pmkv *kv, struct lane *lane, struct row_buf *buf);
/* Step 2 of a commit, of a row with twins: row_store, and row_progress for the groups it fills,
 * page by page: the stores are on their way while checks and parity are computed. */
bool row_commit(struct pmkv *kv, struct row_buf *buf);
/* Undoes row_progress beyond this payload offset; the image still has what it was made from. */
void row_regress(struct pmkv *kv, struct row_buf *buf, uint32_t end);
/* Stores all of the row's payload to its twins, not to the row. false: as row_store. */
bool row_store_twins(struct pmkv *kv, struct row_buf *buf);
/* Brings checks and parity up to date for groups that are full. */
void row_progress(struct pmkv *kv, struct row_buf *buf);
/* Stores parity and checks; the row becomes CLOSING and 0 is returned. -EIO: the medium as a whole
 * is in doubt (I14): the row stays open in DRAM, to be closed when it answers again. */
int row_close_store(struct pmkv *kv, struct lane *lane, struct row_buf *buf);
/* After a drain: rows that were CLOSING are CLOSED. */
void row_closed(struct pmkv *kv, struct lane *lane);
/* Pool offset of data page `page` in copy `copy`: 0 the row, 1.. its twins. */
uint64_t row_copy_off(const struct pmkv *kv, const struct row_buf *buf, uint32_t copy,
                      uint32_t page);
/* Copies of an open row: the row and M twins. */
static inline uint32_t row_copies(const struct pmkv *kv)
{
    return 1 + kv->vol.layout.parity_columns;
}
static inline bool twins_are_parity(const struct pmkv *kv)
{
    return kv->vol.layout.data_columns == 1; /* mirror: the parity column is the twin */
}
/* Copies payload bytes out of a row's DRAM image. */
void row_buf_read(const struct row_buf *buf, uint32_t offset, void *dst, uint32_t bytes);
void row_buf_write(struct row_buf *buf, uint32_t offset, const void *src, uint32_t bytes);
/* The same, in one pass with the hash64 of the bytes. */
uint64_t row_buf_write_hashed(struct row_buf *buf, uint32_t offset, const void *src,
                              uint32_t bytes);
/* The same of a value that fills the row: what is behind the first page is stored as it comes, with
 * its checks. The first page waits for the close, because the record's header has the hash. */
uint64_t row_fill_hashed(struct pmkv *kv, struct row_buf *buf, uint32_t offset, const void *src,
                         uint32_t bytes);
/* Behind the fill the image holds what an earlier row left there; padding is zeroed as it is taken.
 */
void row_buf_zero(struct row_buf *buf, uint32_t offset, uint32_t bytes);

/* --- twins (twin.c) --------------------------------------------------------------------------- */

/* Line 63 of a twin page says whose twin it is. */
struct twin_mark {
    uint64_t check;
    uint64_t generation; /* of the row's segment */
    uint32_t segment, row, page, number;
    uint8_t reserved[32];
};
_Static_assert(sizeof(struct twin_mark) == 64, "a twin mark is a line");
void twin_mark_encode(const struct pmkv *kv, const struct row_buf *buf, uint32_t page,
                      uint32_t number, uint64_t page_off, struct twin_mark *out);
bool twin_mark_valid(const struct pmkv *kv, const struct twin_mark *m, uint64_t page_off);
/* Pool offset of twin slot `slot` of a twin segment. */
uint64_t twin_slot_off(const struct pmkv *kv, uint32_t segment, uint32_t slot);
uint32_t twin_slots(const struct pmkv *kv); /* per twin segment */
/* Replaces those of a set's slots that were retired by others outside of the array of `segment`;
 * lane lock held. */
int twin_refresh(struct pmkv *kv, struct row_buf *buf, uint32_t segment);
/* Is a twin of the lane in the array of `segment`, where columns share loss units with it? */
bool twins_too_near(const struct pmkv *kv, const struct lane *lane, int64_t segment);
/* Is the page at `off` in a slot that a lane has for its rows' twins? Under twin_lock. */
bool twin_in_use(struct pmkv *kv, uint64_t off);
/* The lane and set that own the twin page at `off`, locked; NULL: none does. */
struct lane *twin_owner(struct pmkv *kv, uint64_t off, struct row_buf **buf, uint32_t *number,
                        uint32_t *page);

#endif
