/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Packing: the cleaner is sent through every segment from which room is to be gained. */
#include "clean.h"
#include "clean_impl.h"
#include "error.h"
#include "meta.h"
#include "space.h"
#include "write.h"

/* Sends the cleaner through the next segments from which there is room to gain, as many as it
 * empties at once. One that cannot be emptied is not asked again. */
static uint32_t pack_some(struct pmkv *kv, uint32_t from, bool meta)
{
    uint32_t sent = 0, i = from;
    for (; i < kv->vol.layout.segments && sent < VICTIMS_AT_ONCE; i++)
        if ((kv->segments[i].kind == KIND_META) == meta && segment_is_loose(kv, i)) {
            atomic_store(&kv->segments[i].evacuate, true);
            sent++;
        }
    if (sent)
        clean_round(kv);
    return i;
}

enum pmkv_status pmkv_pack(struct pmkv *kv, pmkv_progress_fn progress, void *arg)
{
    enum pmkv_status s = write_allowed(kv);
    if (s)
        return s;
    uint32_t segments = kv->vol.layout.segments;
    seal_waiting(kv);
    /* Segments with summaries last: those of what was moved are out of use by then. */
    for (uint32_t i = 0; i < 2 * segments && s == PMKV_OK;) {
        bool meta = i >= segments;
        i = meta ? segments + pack_some(kv, i - segments, true) : pack_some(kv, i, false);
        s = space_takes_writes(kv);
        if (s == PMKV_OK && progress && progress(arg, "pack", i, 2ull * segments))
            s = fail(PMKV_E_STOPPED, "stopped by the callback");
    }
    return s;
}
