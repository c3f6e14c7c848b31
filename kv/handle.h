/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What every public call does first. */
#ifndef PMKV_KV_HANDLE_H
#define PMKV_KV_HANDLE_H

#include "../recovery/fault_guard.h"
#include "../recovery/media.h"
#include "../recovery/thread_number.h"
#include "store.h"

/* Forks between the program's first process and this one. A handle of another count is the
 * parent's: its mapping is not there. */
extern unsigned handle_forks;

enum pmkv_status handle_refuse(const struct pmkv *kv);

/* The handle is there, the process is the one that opened it, SIGBUS is not blocked in this thread.
 */
static inline enum pmkv_status handle_enter(const struct pmkv *kv)
{
    if (__builtin_expect(!kv || kv->forks != handle_forks, 0))
        return handle_refuse(kv);
    fault_guard_thread();
    return PMKV_OK;
}

/* The first threads have counters that nobody else adds to; the rest share the others. */
enum { OWN_SHARDS = OP_SHARDS / 2 };
static inline bool op_shard_is_own(void)
{
    return thread_number() <= OWN_SHARDS;
}
/* The calling thread's counters. */
static inline struct op_shard *op_shard(struct pmkv *kv)
{
    uint32_t thread = thread_number();
    uint32_t shared = OWN_SHARDS + thread % (OP_SHARDS - OWN_SHARDS);
    return &kv->ops[thread <= OWN_SHARDS ? thread - 1 : shared];
}

enum pmkv_status check_key(const struct pmkv *kv, const void *key, size_t key_bytes);

#endif
