/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Entries on their way to the index, partitioned by hash: see replay_merge.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "../recovery/errmsg.h"
#include "replay_merge.h"

enum {
    PARTITION_ENTRIES = 8192, /* with what merging takes, half a megabyte: a core's second cache */
    PARTITIONS_MOST = 512,    /* of a round: each has a line that is being written */
    PARTITION_BITS_MOST = 16, /* no index has fewer buckets */
    PIECE_BYTES = 4096,
    BLOCK_LEAST = 64 << 10,
    BLOCK_MOST = 32 << 20, /* malloc maps it apart, and so gives it back when it is freed */
    HUGE_PAGE_BYTES = 2 << 20,
};

/* Of a stream: a chain of pieces. */
struct piece {
    struct piece *next;
    uint32_t used; /* once it is full */
    uint8_t bytes[];
};
struct met_stream {
    struct piece *first, *last;
    uint8_t *at, *end;
};

/* Memory that pieces are cut from; the head is in its first piece. */
struct met_block {
    struct met_block *next;
    size_t used;
};

static uint64_t divided_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* unreached: no test has millions of entries. */
void partitions_plan(struct partitions *p, const struct index *ix, uint64_t entries, uint64_t bytes,
                     uint64_t bytes_most)
{
    *p = (struct partitions){0};
    uint64_t rounds = divided_up(bytes + 1, bytes_most);
    while (p->bits < PARTITION_BITS_MOST && 1ull << p->bits < PARTITIONS_MOST * rounds &&
           entries >> p->bits > PARTITION_ENTRIES)
        p->bits++;
    uint32_t all = 1u << p->bits;
    p->rounds = rounds < all ? (uint32_t)rounds : all;
    p->each = (uint32_t)divided_up(all, p->rounds);
    p->rounds = (uint32_t)divided_up(all, p->each);
    /* The top ones of those that choose the bucket: a partition's buckets stand together. */
    p->shift = index_level(ix, entries) - p->bits;
    partitions_round(p, 0);
}

void partitions_round(struct partitions *p, uint32_t round)
{
    uint32_t all = 1u << p->bits;
    p->from = round * p->each;
    p->count = all - p->from < p->each ? all - p->from : p->each;
}

/* unreached: an index that has not a hundredth of the buckets. */
uint32_t partitions_groups(const struct partitions *p, uint32_t level)
{
    uint32_t beyond = p->shift + p->bits - level; /* bits that choose a partition and no bucket */
    return p->bits > beyond ? 1u << (p->bits - beyond) : 1;
}

/* --- memory ----------------------------------------------------------------------------------- */

int met_writer_init(struct met_writer *w, const struct partitions *p, uint64_t bytes_expected)
{
    uint64_t bytes = bytes_expected / 4;
    bytes = bytes < BLOCK_LEAST ? BLOCK_LEAST : bytes < HUGE_PAGE_BYTES ? bytes : BLOCK_MOST;
    *w = (struct met_writer){.stream_count = p->each,
                             .block_bytes = divided_up(bytes, PIECE_BYTES) * PIECE_BYTES,
                             .streams = calloc(2 * p->each, sizeof *w->streams)};
    if (!w->streams)
        return err_fact(-ENOMEM, "no memory to sort entries of summaries");
    w->marked = w->streams + p->each;
    return 0;
}

void met_writer_reset(struct met_writer *w)
{
    memset(w->streams, 0, w->stream_count * sizeof *w->streams);
    while (w->filled) {
        struct met_block *block = w->filled;
        w->filled = block->next;
        block->next = w->blocks;
        w->blocks = block;
    }
    for (struct met_block *b = w->blocks; b; b = b->next)
        b->used = sizeof *b;
}

void met_writer_free(struct met_writer *w)
{
    if (w->streams)
        met_writer_reset(w);
    while (w->blocks) {
        struct met_block *block = w->blocks;
        w->blocks = block->next;
        free(block);
    }
    free(w->streams);
    *w = (struct met_writer){0};
}

static bool block_new(struct met_writer *w)
{
    bool huge = w->block_bytes >= HUGE_PAGE_BYTES;
    struct met_block *block = aligned_alloc(huge ? HUGE_PAGE_BYTES : PIECE_BYTES, w->block_bytes);
    if (!block)
        return false;
    if (huge) /* a wish: without them it is only slower */
        (void)madvise(block, w->block_bytes, MADV_HUGEPAGE);
    *block = (struct met_block){.next = w->blocks, .used = sizeof *block};
    w->blocks = block;
    return true;
}

/* The piece at a block's start is shorter, by the block's head. */
static struct piece *piece_new(struct met_writer *w, uint8_t **end)
{
    struct met_block *block = w->blocks;
    if (block && block->used == w->block_bytes) {
        w->blocks = block->next;
        block->next = w->filled;
        w->filled = block;
    }
    if (!w->blocks && !block_new(w))
        return NULL;
    block = w->blocks;
    struct piece *piece = (struct piece *)((uint8_t *)block + block->used);
    block->used = (block->used / PIECE_BYTES + 1) * PIECE_BYTES;
    *end = (uint8_t *)block + block->used;
    *piece = (struct piece){0};
    return piece;
}

static int stream_extend(struct met_writer *w, struct met_stream *s)
{
    uint8_t *end;
    struct piece *piece = piece_new(w, &end);
    if (!piece)
        return err_fact(-ENOMEM, "no memory to sort entries of summaries");
    if (s->last) {
        s->last->used = (uint32_t)(s->at - s->last->bytes);
        s->last->next = piece;
    } else {
        s->first = piece;
    }
    s->last = piece;
    s->at = piece->bytes;
    s->end = end;
    return 0;
}

/* --- entries ---------------------------------------------------------------------------------- */

/* With what an entry keeps of a key: all, or a part and the hash. */
static size_t met_bytes(uint32_t key_bytes, uint32_t kept_bytes)
{
    size_t kept = kept_bytes + (kept_bytes < key_bytes ? sizeof(uint64_t) : 0);
    return (sizeof(struct met) + kept + 3) & ~(size_t)3;
}

uint64_t met_hash(const struct met *m)
{
    uint64_t hash;
    if (m->kept_bytes == m->key_bytes)
        return record_key_hash(m->type, m->key, m->key_bytes);
    memcpy(&hash, m->key + m->kept_bytes, sizeof hash);
    return hash;
}

/* Field by field to where it stays: put together elsewhere and copied whole it would be loaded
 * before its narrow stores are done, a wait of 20 cycles. */
static void met_store(struct met *m, const struct entry *e, struct log_pos pos)
{
    m->seq = e->seq;
    m->place = pos.v | units_of(record_packed(e->key_bytes, e->value_bytes)) << SLOT_POSITION_BITS;
    m->key_bytes = (uint16_t)e->key_bytes;
    m->type = e->type;
    m->kept_bytes = (uint8_t)e->kept_bytes;
    memcpy(m->key, e->key, e->kept_bytes);
    if (e->kept_bytes < e->key_bytes)
        memcpy(m->key + e->kept_bytes, &e->hash, sizeof e->hash);
}

/* unreached: segments of the log have neither META nor COMMIT in their summaries, and keys of
 * pieces have one length. */
static bool is_of_index(const struct entry *e)
{
    return e->type == RECORD_EXTENT ? e->key_bytes == sizeof(struct extent_key)
                                    : e->type != RECORD_META && e->type != RECORD_COMMIT;
}

/* unreached: an entry in a summary that holds is of a record that was there. */
int met_add(struct met_writer *w, const struct partitions *p, struct pmkv *kv, uint32_t segment,
            const struct entry *e)
{
    uint32_t partition = partition_of(p, e->hash);
    if (partition - p->from >= p->count)
        return 0;
    uint64_t row = e->start / row_payload(kv);
    uint32_t offset = (uint32_t)(e->start % row_payload(kv));
    if (row >= kv->vol.layout.segment_rows || !is_of_index(e) ||
        offset + record_bytes(e->key_bytes, e->value_bytes) > row_payload(kv))
        return 0;
    if (kv->segments[segment].retired_rows >> row & 1) /* retired with this record in it */
        atomic_store(&kv->segments[segment].evacuate, true);
    struct met_stream *s = &w->streams[partition - p->from];
    size_t bytes = met_bytes(e->key_bytes, e->kept_bytes);
    if ((size_t)(s->end - s->at) < bytes && stream_extend(w, s))
        return -ENOMEM;
    met_store((struct met *)s->at, e,
              pos_make(&kv->shape, (struct row_place){segment, (uint32_t)row, offset}));
    s->at += bytes;
    return 0;
}

void met_mark(struct met_writer *w)
{
    memcpy(w->marked, w->streams, w->stream_count * sizeof *w->streams);
}

void met_rewind(struct met_writer *w)
{
    memcpy(w->streams, w->marked, w->stream_count * sizeof *w->streams);
    for (uint32_t i = 0; i < w->stream_count; i++)
        if (w->streams[i].last)
            w->streams[i].last->next = NULL;
}

/* unreached: as table_grow in replay_merge.c. */
int met_foreach(const struct met_writer *w, uint32_t stream,
                int (*fn)(void *arg, const struct met *m), void *arg)
{
    const struct met_stream *s = &w->streams[stream];
    for (struct piece *piece = s->first; piece; piece = piece->next) {
        const uint8_t *end = piece == s->last ? s->at : piece->bytes + piece->used;
        for (const uint8_t *at = piece->bytes; at < end;) {
            const struct met *m = (const struct met *)at;
            int rc = fn(arg, m);
            if (rc)
                return rc;
            at += met_bytes(m->key_bytes, m->kept_bytes);
        }
    }
    return 0;
}
