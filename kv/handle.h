/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What every public call does first. */
#ifndef PMKV_KV_HANDLE_H
#define PMKV_KV_HANDLE_H

#include "../recovery/fault_guard.h"
#include "../recovery/media.h"
#include "store.h"

/* Set in a child process of a program that has pools open: their mappings are not there (fork). */
extern bool handle_forked;

enum pmkv_status handle_refuse(const struct pmkv *kv);

/* The handle is there, the process is the one that opened it, SIGBUS is not blocked in this thread. */
static inline enum pmkv_status handle_enter(const struct pmkv *kv)
{
    if (__builtin_expect(!kv || handle_forked, 0))
        return handle_refuse(kv);
    fault_guard_thread();
    return PMKV_OK;
}

enum pmkv_status check_key(const struct pmkv *kv, const void *key, size_t key_bytes);

#endif
