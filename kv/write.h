/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Writing records. A put: lock key - store in row and twins, flushed - one fence - publish in the
 * index - unlock - return; what it replaced is compared later (defer.h). A delete, a batch and
 * whatever has a condition find the old record first.
 */
#ifndef PMKV_KV_WRITE_H
#define PMKV_KV_WRITE_H

#include "lane.h"
#include "read.h"
#include "space.h"
#include "store.h"

/* One put or delete on its way. Filled by write_prepare; freed by write_finish. */
struct write_op {
    const void *key;
    uint32_t key_bytes;
    uint64_t khash;
    uint8_t type; /* RECORD_PUT, RECORD_MANIFEST, RECORD_TOMBSTONE */
    const void *value;
    uint64_t value_bytes;
    uint64_t user_bytes; /* as the caller counts them: of a long value all */
    uint64_t value_hash;
    struct manifest manifest; /* what a long value's record holds */
    bool staged;              /* its extents are stored */
    bool skip;                /* a delete of what is not there */
    bool defer;               /* a put that may compare the old key later */
    uint32_t candidates;      /* of such a put: slots with its tag, up to 2; old.ref is the one */
    bool conditional;         /* only when the key has the version `expected`; PMKV_ABSENT: none */
    uint64_t expected;
    /* Under the stripe lock: */
    uint64_t seq; /* its version, once it is stored */
    struct found old;
    bool had; /* a slot of the key exists */
    struct log_pos pos;
    struct manifest old_manifest; /* extents to drop after publishing */
    bool drop_extents;
};

/* Checks sizes, hashes, stores the extents of a long value. */
enum pmkv_status write_prepare(struct pmkv *kv, struct write_op *op);
/* The same where khash is there already, and its bucket was asked for. */
enum pmkv_status write_prepare_hashed(struct pmkv *kv, struct write_op *op);
/* Stripe lock held: finds the old record. PMKV_E_NOT_FOUND for a delete of nothing; what else a
 * condition that does not hold is answered with says pmkv_put_if. */
enum pmkv_status write_find_old(struct pmkv *kv, struct write_op *op);
/* The draft of its record. */
struct draft write_draft(const struct write_op *op, uint64_t seq, uint8_t flags);
/* Stripe lock held, record durable at op->pos: publishes it. */
enum pmkv_status write_publish(struct pmkv *kv, struct write_op *op);
/* No lock held: drops the extents of what was replaced; `failed`: of what was staged instead. */
void write_finish(struct pmkv *kv, struct write_op *op, bool failed);

uint64_t write_packed(const struct write_op *op);
/* Largest value that stays in its record; longer ones become extents. */
uint32_t inline_max(const struct pmkv *kv);
uint64_t max_key_bytes(const struct pmkv *kv);

/* What every writing call checks first. */
enum pmkv_status write_allowed(struct pmkv *kv);

/* --- long values (large.c) -------------------------------------------------------------------- */

enum pmkv_status extents_store(struct pmkv *kv, const void *value, uint64_t bytes,
                               struct manifest *out);
void extents_drop(struct pmkv *kv, const struct manifest *m);
/* Reads the value of a manifest to `dst`. PMKV_OK, E_LOST, E_IO, E_NO_MEMORY; PMKV_E_NOT_FOUND: a
 * piece is not there, look whether the key was written meanwhile. */
enum pmkv_status extents_read(struct pmkv *kv, const struct manifest *m, void *dst);
/* Loads and checks a found manifest. FIND_NONE: search again. */
bool manifest_holds(const struct manifest *m);
enum find_result manifest_read(struct pmkv *kv, struct found *f, struct manifest *out);

#endif
