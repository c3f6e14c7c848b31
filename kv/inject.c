/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Fault injection, probing and the SIGBUS filter: thin doors to the medium. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "error.h"
#include "handle.h"
#include "read.h"
#include "segment.h"

bool pmkv_sigbus_filter(void *siginfo, void *ucontext)
{
    return fault_guard_filter(siginfo, ucontext);
}

const char *pmkv_backend_name(enum pmkv_backend backend)
{
    return media_backend_name((enum media_backend)backend);
}

enum pmkv_status pmkv_probe(const char *path, struct pmkv_probe *probe)
{
    struct media_probe p;
    if (!path || !probe)
        return fail(PMKV_E_INVALID, "path or probe is NULL");
    int rc = media_probe(path, &p);
    if (rc)
        return status_of(rc);
    *probe = (struct pmkv_probe){.backend = (enum pmkv_backend)p.backend,
                                 .durability = (enum pmkv_durability)p.durability,
                                 .loss_unit_bytes = p.loss_unit,
                                 .available_bytes = p.available_bytes,
                                 .bad_block_support = p.bad_block_support,
                                 .numa_node = p.numa_node};
    snprintf(probe->reason, sizeof probe->reason, "%s", p.reason);
    snprintf(probe->advice, sizeof probe->advice, "%s", p.advice);
    return PMKV_OK;
}

/* --- injection -------------------------------------------------------------------------------- */

/* splitmix64 (Steele, Lea and Flood, 2014): the whole sequence follows from the seed. */
static uint64_t next_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15ull;
    return hash_mix(*state);
}

static enum pmkv_status offset_of_key(struct pmkv *kv, const struct pmkv_inject *spec,
                                      uint64_t *off)
{
    struct found f;
    enum pmkv_status s = check_key(kv, spec->key, spec->key_bytes);
    if (s)
        return s;
    enum find_result r = find_key(kv, spec->key, (uint32_t)spec->key_bytes,
                                  key_hash(spec->key, spec->key_bytes), false, &f);
    free(f.rebuilt);
    if (r != FIND_HIT || f.h.type == RECORD_TOMBSTONE)
        return fail(PMKV_E_NOT_FOUND, "no record of this key to damage");
    struct row_place p = pos_place(&kv->shape, f.pos);
    *off = layout_data_page_off(&kv->vol.layout, p.segment, p.row, p.offset / PAGE_PAYLOAD_BYTES) +
           p.offset % PAGE_PAYLOAD_BYTES;
    return PMKV_OK;
}

/* A random unit, in a row that holds data when that is asked for. */
static bool random_offset(struct pmkv *kv, const struct pmkv_inject *spec, uint64_t *rng,
                          uint64_t *off)
{
    const struct layout *l = &kv->vol.layout;
    for (int tries = 0; tries < 100000; tries++) {
        *off = next_random(rng) % (l->pool_bytes / spec->unit_bytes) * spec->unit_bytes;
        if (!spec->live_only)
            return true;
        struct place p = layout_locate(l, *off & ~(uint64_t)(PAGE_BYTES - 1));
        if (p.kind == PLACE_ROW && kind_is_log(kv->segments[p.segment].kind) &&
            p.row < kv->segments[p.segment].rows_used &&
            atomic_load(&kv->segments[p.segment].live_units) > 0)
            return true;
    }
    return false;
}

/* What stands at the same place of another segment: bytes that were right once, elsewhere. */
static bool stale_bytes(struct pmkv *kv, uint64_t off, uint8_t *out, uint32_t bytes)
{
    const struct layout *l = &kv->vol.layout;
    struct place p = layout_locate(l, off & ~(uint64_t)(PAGE_BYTES - 1));
    if (p.kind != PLACE_ROW && p.kind != PLACE_HEADER)
        return false;
    uint64_t in = off - layout_slice_off(l, p.segment, p.column);
    for (uint32_t step = 1; step < l->segments; step++) {
        uint32_t other = (p.segment + step) % l->segments;
        if (kind_is_log(kv->segments[other].kind) &&
            media_load(kv->vol.media, layout_slice_off(l, other, p.column) + in, out, bytes) ==
                bytes)
            return true;
    }
    return false;
}

static int inject_one(struct pmkv *kv, const struct pmkv_inject *spec, uint64_t off, uint64_t *rng)
{
    uint8_t bytes[PAGE_BYTES];
    uint32_t unit = (uint32_t)spec->unit_bytes;
    off -= off % unit;
    switch (spec->kind) {
    case PMKV_INJECT_POISON: {
        uint64_t page = off & ~(uint64_t)(PAGE_BYTES - 1);
        int rc = media_inject_poison(kv->vol.media, page);
        if (rc == 0 && spec->clear_fails)
            rc = media_inject_clear_fails(kv->vol.media, page);
        return rc;
    }
    case PMKV_INJECT_FLIP:
        if (media_load(kv->vol.media, off, bytes, unit) != unit)
            return -EIO;
        bytes[next_random(rng) % unit] ^= (uint8_t)(1u << next_random(rng) % 8);
        break;
    case PMKV_INJECT_ZERO:
        memset(bytes, 0, unit);
        break;
    case PMKV_INJECT_STALE:
        if (!stale_bytes(kv, off, bytes, unit))
            return err_fact(-ENOTSUP, "no other segment has data at the place of 0x%llx",
                            (unsigned long long)off);
        break;
    default:
        for (uint32_t i = 0; i < unit; i++)
            bytes[i] = (uint8_t)next_random(rng);
    }
    return media_inject_bytes(kv->vol.media, off, bytes, unit);
}

static enum pmkv_status check_spec(const struct pmkv *kv, const struct pmkv_inject *spec)
{
    if (!spec || spec->size != sizeof *spec)
        return fail(PMKV_E_INVALID, "the specification is missing or has another size");
    if (!kv->opts.allow_inject)
        return fail(PMKV_E_INVALID, "the pool was not opened with allow_inject");
    if (spec->kind < PMKV_INJECT_POISON || spec->kind > PMKV_INJECT_GARBAGE ||
        (unsigned)spec->target > PMKV_INJECT_AT_RANDOM ||
        (spec->unit_bytes != 1 && spec->unit_bytes != LINE_BYTES && spec->unit_bytes != PAGE_BYTES))
        return fail(PMKV_E_INVALID, "kind %d, target %d, unit of %llu bytes (1, 64 or 4096)",
                    (int)spec->kind, (int)spec->target, (unsigned long long)spec->unit_bytes);
    if (spec->target == PMKV_INJECT_AT_OFFSET && spec->offset >= kv->vol.layout.pool_bytes)
        return fail(PMKV_E_INVALID, "offset 0x%llx is behind the end of the pool",
                    (unsigned long long)spec->offset);
    return PMKV_OK;
}

enum pmkv_status pmkv_inject(struct pmkv *kv, const struct pmkv_inject *given, uint32_t *injected)
{
    enum pmkv_status s = handle_enter(kv);
    if (s == PMKV_OK)
        s = check_spec(kv, given);
    if (s)
        return s;
    struct pmkv_inject spec = *given;
    if (spec.kind == PMKV_INJECT_POISON)
        spec.unit_bytes = PAGE_BYTES;
    uint64_t off = spec.offset, rng = spec.seed;
    uint32_t done = 0, count = spec.count ? spec.count : 1;
    if (spec.target == PMKV_INJECT_AT_KEY) {
        count = 1;
        s = offset_of_key(kv, &spec, &off);
    }
    for (uint32_t i = 0; i < count && s == PMKV_OK; i++) {
        if (spec.target == PMKV_INJECT_AT_RANDOM && !random_offset(kv, &spec, &rng, &off))
            return fail(PMKV_E_NOT_FOUND, "no page holds data");
        if (off >= kv->vol.layout.pool_bytes)
            break;
        int rc = inject_one(kv, &spec, off, &rng);
        s = rc ? status_of(rc) : PMKV_OK;
        done += rc == 0;
        off += spec.unit_bytes;
    }
    if (injected)
        *injected = done;
    return s;
}
