/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The steps of recovering a row: what its copies give (replay_copies.c), what of that counts and
 * what is missing (replay_settle.c), and the row completed (replay_row.c, which has the rules).
 */
#ifndef PMKV_KV_REPLAY_ROW_H
#define PMKV_KV_REPLAY_ROW_H

#include "../recovery/media.h"
#include "replay.h"

/* --- what the copies give (replay_copies.c) --------------------------------------------------- */

struct found_record {
    struct record_header h;
    uint32_t offset;
    bool good; /* header and value */
};

/* Records found in any candidate, in order of place. */
struct row_records {
    struct pmkv *kv;
    struct found_record *list;
    uint32_t count, capacity;
    uint8_t *merged; /* payload of the records kept */
    bool no_memory;
};

static inline uint32_t found_end(const struct found_record *f)
{
    return f->offset + (uint32_t)record_packed(f->h.key_bytes, f->h.value_bytes);
}

static inline uint32_t line_up(uint32_t offset)
{
    return (offset + LINE_BYTES - 1) & ~(uint32_t)(LINE_BYTES - 1);
}

struct judged {
    bool closed;  /* it decodes whole */
    bool checked; /* checks of this generation were stored in it */
};

/* Loads the row into r->image, and decodes what can be. */
struct judged row_judge(struct replay *r, struct row_ref ref);
/* Gathers the records that some copy gives. `unreadable`: pages that cannot be read in any. 0 or
 * -ENOMEM. */
int row_collect(struct replay *r, struct row_ref ref, const struct judged *j,
                struct row_records *rr, bool unreadable[MAX_ROW_PAGES]);

/* --- what counts (replay_settle.c) ------------------------------------------------------------ */

/* What the rows behind a row, and the row itself, say of it. */
struct testimony {
    bool fenced;       /* all its commits were */
    bool close_fenced; /* so were its checks and parity */
    bool used_known;   /* exactly so much of it holds commits: */
    uint32_t used;     /* payload bytes */
};

/* Walks the records; returns where the row ends, cuts what is behind the tail, enters losses. What
 * is left of members of batches with a bad value is kept as well: see settle_lost_members. */
uint32_t row_settle(struct replay *r, struct row_ref ref, const struct testimony *t,
                    struct row_records *rr, const bool unreadable[MAX_ROW_PAGES], bool *damaged);
/* Enters members of batches that count, of which only the name is left. */
void settle_lost_members(struct pmkv *kv, uint32_t segment, const struct gathering *g);

#endif
