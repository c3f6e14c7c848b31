/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * From entries to the index.
 *
 * Of a key that was overwritten there are several entries. To look up each of them as it comes
 * would be two or three lines of memory that are anywhere, each of them a wait: the bucket, and the
 * record that stands, to compare keys. So entries are partitioned by their hash first, and each
 * partition, small enough for the caches of a core, is merged and put into the index by itself
 * (radix partitioning, as in the joins of Boncz, Manegold and Kersten, VLDB 1999). A partition's
 * buckets stand together and are one thread's, so that no lock is needed.
 *
 * Entries on their way take DRAM, some 20 B and the key each. Where that would be too much, the
 * partitions are gone through in rounds, and each round reads all entries again.
 *
 * The highest sequence number of a key wins; every other put of it on the medium is an older
 * version its slot counts (I8). Of two copies with one number, as the cleaner leaves them in a
 * crash, the readable one serves, else the one at the lower place. So nothing depends on the order
 * of entries, nor on which thread has them.
 */
#ifndef PMKV_KV_REPLAY_MERGE_H
#define PMKV_KV_REPLAY_MERGE_H

#include "entries.h"
#include "replay.h"

/* --- partitions (replay_partition.c) ---------------------------------------------------------- */

struct partitions {
    uint32_t bits, shift;  /* a partition is chosen by that many bits of the hash from there on */
    uint32_t rounds, each; /* partitions a round, but for the last one */
    uint32_t from, count;  /* of this round */
};

/* For about so many entries that take so many bytes, at most `bytes_most` of them at a time. */
void partitions_plan(struct partitions *p, const struct index *ix, uint64_t entries, uint64_t bytes,
                     uint64_t bytes_most);
void partitions_round(struct partitions *p, uint32_t round);
/* How many groups of partitions have no bucket in common, in an index of that level: a partition is
 * of the group that is its number modulo this. An index for fewer keys than there are entries has
 * fewer buckets than partitions tell apart. A power of two. */
uint32_t partitions_groups(const struct partitions *p, uint32_t level);
static inline uint32_t partition_of(const struct partitions *p, uint64_t hash)
{
    return (uint32_t)(hash >> p->shift) & ((1u << p->bits) - 1);
}

/* An entry on its way. Behind it the bytes of the key that an entry keeps, and of a longer key its
 * hash. */
struct met {
    uint64_t seq;
    uint64_t place; /* position, and above it units */
    uint16_t key_bytes;
    uint8_t type, kept_bytes;
    uint8_t key[];
} __attribute__((packed, aligned(4)));

static inline struct log_pos met_pos(const struct met *m)
{
    return (struct log_pos){m->place & ((1ull << SLOT_POSITION_BITS) - 1)};
}
static inline uint32_t met_units(const struct met *m)
{
    return (uint32_t)(m->place >> SLOT_POSITION_BITS);
}
uint64_t met_hash(const struct met *m);

/* What one thread has met, by partition. */
struct met_writer {
    struct met_stream *streams, *marked;
    uint32_t stream_count;
    struct met_block *blocks, *filled; /* to be filled; those that are */
    size_t block_bytes;
};
int met_writer_init(struct met_writer *w, const struct partitions *p, uint64_t bytes_expected);
void met_writer_reset(struct met_writer *w); /* forgets all, and keeps the memory */
void met_writer_free(struct met_writer *w);
/* Adds an entry of a segment, unless it is of another round. 0 or -ENOMEM. */
int met_add(struct met_writer *w, const struct partitions *p, struct pmkv *kv, uint32_t segment,
            const struct entry *e);
/* What was added since the mark is forgotten; its memory only by the reset. */
void met_mark(struct met_writer *w);
void met_rewind(struct met_writer *w);
/* Those of one partition, of this round's by number. `fn` returns 0 to go on. */
int met_foreach(const struct met_writer *w, uint32_t stream,
                int (*fn)(void *arg, const struct met *m), void *arg);

/* --- merging (replay_merge.c) ----------------------------------------------------------------- */

/* One thread's. */
struct merger {
    struct pmkv *kv;
    struct index_fill fill;
    struct all_notes notes;
    int64_t *live; /* units, by segment */
    struct merged_key {
        uint64_t hash;
        const struct met *best;
        uint32_t versions;
    } * keys; /* of the partition */
    uint32_t key_count, key_room;
    uint32_t *table; /* number of a key + 1, by hash; 0: none */
    uint32_t table_bits;
};
int merger_init(struct merger *m, struct pmkv *kv);
/* Which keys the partition has, and which of its entries count; nothing is put into the index yet.
 * 0 or -ENOMEM. */
int merge_partition(struct merger *m, struct met_writer *const *writers, uint32_t writer_count,
                    uint32_t stream);
/* Puts them into the index. 0 or -ENOMEM. */
int merge_enter(struct merger *m);
/* Adds what it has counted to the store's, its notes to `notes`, and frees it; one at a time. 0 or
 * -ENOMEM. */
int merger_end(struct merger *m, struct all_notes *notes);

#endif
