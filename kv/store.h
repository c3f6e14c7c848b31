/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The structures of an open store in memory, and what each lock protects.
 *
 * Locks, in the order they may be taken:
 *
 *   clean_lock          one cleaner at a time
 *   index stripes       by number, or tried, with at most one that was waited for: a key's slot,
 *                       from before a condition is checked until it is published
 *   seal_lock           one sealing at a time; pending entries of sealed segments
 *   save_lock           one snapshot of the lost list at a time
 *   verdict_lock        a closed row is repaired, or judged: no verdict from a half repaired page
 *   lane->lock          the lane's rows, its segment's pending entries; the meta lane's last
 *   twin_lock           which slot of twins is whose, where it changes
 *   segments_lock       segment states, the free and ready lists
 *   header_lock         header lines on the medium
 *   super_lock          the superblock, the counter's ceiling
 *   repair_lock         one recovery write at a time
 *   join's, gone_lock, lost_lock, work_lock, event_lock: leaves
 *
 * Who may run beside whom: readers beside everything; writers of different stripes and lanes beside
 * each other; the cleaner, the scrubber and repair beside all of them, one of each.
 */
#ifndef PMKV_KV_STORE_H
#define PMKV_KV_STORE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "../recovery/row.h"
#include "../recovery/superblock.h"
#include "entries.h"
#include "index.h"
#include "pmkv.h"
#include "position.h"
#include "record.h"

/* --- segments --------------------------------------------------------------------------------- */

/*
 *            take                 rows full              picked            generation ended
 *   FREE ------------> OPEN ----------------> SEALED ------------> CLEANING ---------------> FREE
 *     \-> READY (probed, headers written ahead by the background) -> OPEN
 *
 * FREE: no generation. READY, OPEN: headers say open. SEALED: no lane writes it; headers say so
 * once its summary is written (`summarised`). CLEANING: survivors are being moved; still readable.
 */
enum segment_state {
    SEGMENT_FREE = 1,
    SEGMENT_OPEN = 2,
    SEGMENT_SEALED = 3,
    SEGMENT_READY = 4,    /* in memory only; open on the medium */
    SEGMENT_CLEANING = 5, /* in memory only; sealed on the medium */
    SEGMENT_ENDING = 6,   /* in memory only; its free headers are being written */
};
/* In memory: the segment is between two generations; nobody pins it. */
#define GENERATION_CHANGING UINT64_MAX
/* KIND_WHOLE: of the log. Its rows are stored whole, when they are closed, and what a torn one
 * lacks nobody needs: it still stands where the cleaner copied it from (I6), or is of a long value
 * whose put was cut. */
enum segment_kind {
    KIND_NONE = 0,
    KIND_LOG = 1,
    KIND_META = 2,
    KIND_TWIN = 3,
    KIND_WHOLE = 4,
};
static inline bool kind_is_log(enum segment_kind kind)
{
    return kind == KIND_LOG || kind == KIND_WHOLE;
}

/* Where a meta record is, and its value's bytes. */
struct meta_ref {
    struct log_pos pos;
    uint32_t bytes;
    uint64_t seq; /* replay: of two records with one key the later one counts */
};

struct segment {
    _Atomic uint64_t generation;   /* 0 while free */
    uint64_t rows_off;             /* pool offset of its rows in column 0; set at open */
    _Atomic uint32_t pins;         /* I13: repairs at work here */
    _Atomic uint32_t rows_durable; /* rows [0, n) are closed and fenced */
    _Atomic uint32_t closed_rows;  /* of those, what the headers say */
    _Atomic uint8_t state;
    _Atomic uint8_t kind;
    _Atomic bool summarised; /* all its records are in summary parts */
    bool beside_twins;       /* in an array that holds twins: lanes with twins do not take it */
    bool passed_over; /* taken only when there is no other: no copy of its header could be stored
                         (until the next open: writes may work again); or all were lost, which is
                         not in the list on the medium yet */
    bool packed; /* filled since open by the cleaner, or with meta records: moved, they take as much
                  */
    _Atomic bool evacuate; /* clean it first: a row is retired, or records are lost */
    _Atomic uint32_t rows_used;
    _Atomic uint64_t
        retired_rows; /* bit per row (of a twin segment: per twin slot); kept when freed */
    _Atomic uint64_t header_version;
    _Atomic uint64_t sealed_seq; /* counter when sealed: its age for the cleaner */
    _Atomic bool stuck;          /* the cleaner cannot empty it before the next open */
    _Atomic uint32_t records;    /* entries in its summary parts */
    uint32_t part_count, part_capacity;
    struct meta_ref *parts; /* summary parts, in order; meta lane's lock */

    /* What puts change, on no line with what every reader needs, nor with another segment's. */
    char before[64];
    _Atomic uint32_t live_units;   /* 8 B units of records that count */
    _Atomic uint32_t stored_units; /* of all that were stored since open, of whole rows and meta */
    /* I5: records stored (lane lock), and those of them that are in the index. */
    _Atomic uint32_t added, published;
    struct entries pending; /* entries not in a summary part yet; lane lock, then sealer */
    char behind[64];
};

/* --- lanes ------------------------------------------------------------------------------------ */

enum { LANE_SETS = 2, MAX_ROW_PAGES = 256 };

/*
 *   IDLE -> OPEN      commits are stored in row and twins
 *        -> CLOSING   parity and checks are stored, not fenced
 *        -> CLOSED    fenced: parity covers it, the twins are free
 *        -> OPEN of another row ...
 */
enum row_state { ROW_IDLE, ROW_OPEN, ROW_CLOSING, ROW_CLOSED };

/* One row of a lane in DRAM, with its twin set. */
struct row_buf {
    enum row_state state;
    uint32_t segment, row;
    uint64_t generation;
    uint32_t fill;                     /* payload bytes used */
    uint32_t stored;                   /* payload bytes stored to the medium (whole lines) */
    bool ahead;                        /* all but the first page are stored, with their checks */
    uint32_t groups_done;              /* groups whose check and parity are in: page * 16 + group */
    uint32_t secret_of;                /* 1 + the page `secret` is of; 0: none */
    uint64_t secret;                   /* what the checks of the page in work are mixed with */
    uint32_t page_off_of;              /* 1 + the page `page_off` is of; 0: none */
    uint64_t page_off[1 + MAX_PARITY]; /* pool offsets of the page in work: the row's, its twins' */
    uint32_t lines_used;               /* lines that hold commits, all of them fenced */
    uint8_t *data;                     /* row_pages pages */
    uint8_t *parity[MAX_PARITY];       /* chunk_pages pages each */
    uint16_t present[MAX_ROW_PAGES];
    uint64_t twin_off[MAX_PARITY]; /* pool offset of the twin's first page */
    /* Pages whose store faulted and that were not repaired yet: [0] the row itself, then twins. */
    uint64_t bad[1 + MAX_PARITY][MAX_ROW_PAGES / 64];
    uint64_t twin_marked[MAX_ROW_PAGES / 64]; /* twin pages that carry this row's mark */
};

/* On the medium, in the tails of a clean close: never renumbered. */
enum lane_kind { LANE_USER = 0, LANE_CLEANER = 1, LANE_META = 2, LANE_LONG = 3, LANE_KINDS };

struct lane {
    pthread_mutex_t lock;
    enum lane_kind kind;
    bool whole_rows;         /* rows are stored whole, with parity, in one epoch: no twins needed */
    _Atomic int64_t segment; /* -1: none; changed under the lock */
    uint32_t next_row;
    uint32_t current; /* index in rows */
    uint64_t number,
        numbers_end; /* sequence numbers [number, numbers_end) are the lane's to give */
    struct row_buf rows[LANE_SETS];
    uint32_t epoch_start; /* payload offset in the current row where the open epoch began */
    uint32_t added;       /* records of the open commit */
    bool must_close; /* a commit was given up in the current row: nothing more goes there (I1) */
    struct entries_mark mark;          /* of the segment's pending entries where the commit began */
    _Atomic uint64_t puts, user_bytes; /* since open */
    char apart[64];                    /* the next lane shares no line with this one */
    char pad[64];
};

/* --- lost list -------------------------------------------------------------------------------- */

struct lost_entry {
    uint64_t id;   /* in POSITION_LOST positions; 0: a range without slot */
    uint64_t hash; /* 0: not known */
    uint64_t seq;  /* 0: not known */
    uint64_t pool_off;
    uint32_t bytes;
    uint16_t key_bytes; /* of the key, not of what is kept of it */
    uint16_t kept_bytes;
    bool in_index; /* a slot carries its id */
    uint8_t key[]; /* kept_bytes */
};

/* --- the store -------------------------------------------------------------------------------- */

enum { MAX_LANES = 64, PUBLISHING_SLOTS = 64, SPARE_ENTRIES = 4 };

struct work_queue {
    uint64_t *pages; /* pool offsets of pages that wait for repair */
    uint32_t count, capacity;
};

struct counters {
    _Alignas(64) atomic_ullong batches, user_bytes;
    _Alignas(64) atomic_ullong faults, check_failures, reads_rebuilt;
    atomic_ullong segments_cleaned, records_moved;
};
/* Counted by thread, so that threads share no line for it. */
enum { OP_SHARDS = 64 };
struct op_shard {
    _Alignas(64) _Atomic uint64_t gets, misses, deletes;
    atomic_llong live_units; /* not in those of the store yet */
    atomic_llong room;       /* units that may be put before the store's are looked at again */
    _Atomic uint32_t next_deferral;
};

struct scan_record { /* bytes of the scan state's meta record */
    uint32_t state, reserved;
    uint64_t start_time, end_time, cursor, total_bytes, done_bytes;
    uint64_t repaired_pages, retired_pages, lost_records, bad_pages;
};

struct pmkv {
    unsigned forks; /* see handle.h */
    struct volume vol;
    struct pos_shape shape;
    struct pmkv_options opts;
    struct index *index;
    struct deferral *deferrals; /* DEFERRALS_EACH of each op_shard, see defer.h */
    struct order *order;        /* NULL: not opened `ordered` */
    struct segment *segments;
    uint32_t slots_per_slice; /* twin slots in one column's slice of a twin segment */
    uint32_t lane_count;      /* user lanes */
    uint32_t lane_total;      /* and the others */
    struct lane *lanes;       /* user lanes, then the cleaner's, that of long values, meta */
    struct lane *cleaner, *long_lane, *meta;
    struct join *join; /* NULL: each commit has a drain of its own */

    _Alignas(64) atomic_ullong counter; /* I3: sequence numbers, batch ids, generations */
    _Alignas(64) atomic_ullong counter_ceiling;
    _Alignas(64) atomic_llong live_units; /* of all log and meta segments, but for what is in ops */
    _Alignas(64) _Atomic bool write_failed; /* a drain failed: nothing is written any more */
    _Atomic bool unavailable;               /* I14 */
    _Atomic bool stopping;
    _Atomic bool sigbus_taken;                        /* by another handler, and that was told */
    _Alignas(64) _Atomic uint32_t publishing_now;     /* how many batches are being published: */
    _Atomic uint64_t publishing[PUBLISHING_SLOTS][2]; /* their first and last numbers */

    pthread_mutex_t header_lock; /* header lines on the medium: writers and repair */
    pthread_mutex_t segments_lock;
    pthread_cond_t space_cond;                   /* a segment became free, or the cleaner gave up */
    _Atomic uint32_t free_count, ready_count;    /* changed under segments_lock */
    _Atomic uint32_t free_beside_twins;          /* of both: what only the cleaner may take */
    struct entries spare_entries[SPARE_ENTRIES]; /* memory for those of segments to come; */
    uint32_t spare_count;                        /* segments_lock */
    uint64_t clean_failures;                     /* rounds of the cleaner that freed nothing */
    bool cleaner_wanted;
    pthread_cond_t cleaner_cond;
    pthread_mutex_t clean_lock; /* one cleaner at a time */
    pthread_mutex_t gone_lock;
    struct gone_list *gone; /* dead puts of freed segments, to be counted (clean_count.c) */
    _Atomic uint32_t gone_waiting;

    pthread_mutex_t super_lock;
    struct superblock super;
    struct lane_tail tails[SUPERBLOCK_MAX_TAILS]; /* as the last clean close left them */
    uint32_t tail_count;

    pthread_mutex_t seal_lock; /* pending entries and parts of segments no lane writes any more */
    pthread_mutex_t save_lock; /* one snapshot of the lost list at a time */
    pthread_mutex_t lost_lock;
    struct lost_entry **lost;
    uint32_t lost_count, lost_capacity;
    uint64_t lost_next_id;
    bool lost_dirty;
    bool lost_missed; /* recovery met a loss and had no memory to list it: open must fail */
    struct meta_ref *lost_parts;
    uint32_t lost_part_count;
    uint64_t lost_version;
    struct log_pos scan_pos; /* meta record of the scan state */

    pthread_mutex_t twin_lock, verdict_lock, repair_lock;
    struct {
        uint64_t media_errors, pages_rebuilt, pages_repaired, pages_retired, records_lost;
    } life;                 /* since the pool was made; work_lock */
    uint64_t counts_stored; /* their sum when the superblock was stored last, and when; work_lock */
    time_t counts_time;
    pthread_mutex_t work_lock;
    pthread_cond_t work_cond, scrub_cond;
    struct work_queue pending;   /* pages to repair */
    struct work_queue behind;    /* copies a crash left behind: written again at open */
    struct work_queue given_up;  /* pages lost beyond repair, until their segment is free */
    struct work_queue unfixable; /* pages that cannot be cleared and have no row to retire */
    struct work_queue repaired;  /* pages repaired since open: for the map */
    bool scrub_wanted, scrub_running, scan_running_now;
    bool chores_wanted;          /* the keeper has something to do at once */
    atomic_bool cleaner_at_work; /* it seals and prepares segments itself, as it goes */
    uint64_t scrub_rate;
    struct scan_record scan;

    pthread_mutex_t event_lock;
    pmkv_event_fn event_fn;
    void *event_arg;

    struct row_image spare;  /* for readers that rebuild: memory that is mapped already, */
    atomic_flag spare_taken; /* and whether one has it */

    struct lane *ghosts; /* rows recovered but not completed: a read-only open, or with damage */
    uint32_t ghost_count;

    pthread_t cleaner_thread, keeper_thread;
    bool cleaner_started, keeper_started;
    bool was_clean; /* the pool was closed cleanly before this open */
    bool recovered, loss_unit_coarser;
    uint64_t capacity_units;
    uint32_t reserve_segments;
    struct counters n;
    struct op_shard ops[OP_SHARDS];
};

/* Data pages are numbered through the row: page p, line l of the payload is at data[p*4096 + l*64].
 */
static inline uint32_t row_payload(const struct pmkv *kv)
{
    return kv->shape.row_payload;
}
static inline uint64_t segment_payload(const struct pmkv *kv)
{
    return (uint64_t)kv->shape.row_payload * kv->vol.layout.segment_rows;
}
static inline struct row_ref row_ref_of(struct pmkv *kv, uint32_t segment, uint32_t row)
{
    uint64_t gen = atomic_load_explicit(&kv->segments[segment].generation, memory_order_acquire);
    return (struct row_ref){segment, row, gen};
}
/* Generation of the segment a position is in. */
static inline uint64_t pos_generation(struct pmkv *kv, struct log_pos pos)
{
    uint32_t segment = pos_place(&kv->shape, pos).segment;
    return atomic_load_explicit(&kv->segments[segment].generation, memory_order_acquire);
}
static inline uint64_t units_of(uint64_t bytes)
{
    return (bytes + 7) / 8;
}

/* Adds to (or takes from) what counts as live in a segment, */
static inline void segment_live_add(struct pmkv *kv, uint32_t segment, int64_t units)
{
    atomic_fetch_add_explicit(&kv->segments[segment].live_units, (uint32_t)units,
                              memory_order_relaxed);
}
/* and in all. */
static inline void live_add(struct pmkv *kv, uint32_t segment, int64_t units)
{
    segment_live_add(kv, segment, units);
    atomic_fetch_add_explicit(&kv->live_units, units, memory_order_relaxed);
}

/* Counters that are changed under a lock: no locked instruction, which would cost a put 5 ns each,
 * only whole words for those who read without the lock. */
static inline void count32(_Atomic uint32_t *counter, uint32_t delta)
{
    uint32_t sum = atomic_load_explicit(counter, memory_order_relaxed) + delta;
    atomic_store_explicit(counter, sum, memory_order_relaxed);
}
static inline void count64(_Atomic uint64_t *counter, uint64_t delta)
{
    uint64_t sum = atomic_load_explicit(counter, memory_order_relaxed) + delta;
    atomic_store_explicit(counter, sum, memory_order_relaxed);
}

/* I5: a record is in the index, or never will be. */
static inline void records_published(struct segment *s, uint32_t count)
{
    atomic_fetch_add_explicit(&s->published, count, memory_order_release);
}
static inline void record_published(struct segment *s)
{
    records_published(s, 1);
}
/* Of a segment that no lane writes any more: nothing is on its way to the index. */
static inline bool segment_published(const struct segment *s)
{
    uint32_t published = atomic_load_explicit(&s->published, memory_order_acquire);
    return published == atomic_load_explicit(&s->added, memory_order_relaxed);
}

#endif
