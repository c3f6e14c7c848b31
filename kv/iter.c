/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Iterators: keys come from the ordered index some at a time, what they hold is read when the
 * iterator arrives at them, by the same reads as any.
 */
#include <stdlib.h>

#include "error.h"
#include "handle.h"
#include "order.h"
#include "read.h"

/* Keys that come at once: few at first, for who seeks may want one; more each time. And records
 * that are asked for together. */
enum { FEW_KEYS = 2, MORE = 8, AT_ONCE = 16, VALUE_ROOM = 256 };

enum iter_place { ITER_BEFORE_FIRST, ITER_AT_KEY, ITER_PAST_LAST };

struct pmkv_iter {
    struct pmkv *kv;
    unsigned flags;
    enum iter_place place;
    struct key_run runs[2], *run; /* keys the way they come, and the one in use */
    uint32_t passed;              /* of that: the iterator is at the last of these, or behind it */
    bool downwards, shown;        /* shown: at it, and item says what it holds */
    uint32_t keys_next_time;
    void *value;
    size_t value_room, value_bytes; /* bytes of the last value */
    struct pmkv_item item;
};

/* --- what a key holds ------------------------------------------------------------------------- */

static enum pmkv_status value_reserve(struct pmkv_iter *iter, size_t bytes)
{
    void *value = realloc(iter->value, bytes);
    if (!value)
        return fail(PMKV_E_NO_MEMORY, "no memory for a value of %zu bytes", bytes);
    iter->value = value;
    iter->value_room = bytes;
    return PMKV_OK;
}

/* PMKV_E_NOT_FOUND: it was deleted meanwhile. */
static enum pmkv_status read_item(struct pmkv_iter *iter, struct key_view key,
                                  struct pmkv_item *item)
{
    enum pmkv_status s;
    *item = (struct pmkv_item){.key = key.bytes, .key_bytes = key.length};
    if (iter->flags & PMKV_ITER_KEYS_ONLY) {
        s = pmkv_exists(iter->kv, key.bytes, key.length);
    } else {
        while ((s = pmkv_get_version(iter->kv, key.bytes, key.length, iter->value, iter->value_room,
                                     &item->value_bytes, &item->version)) == PMKV_E_BUFFER) {
            s = value_reserve(iter, item->value_bytes);
            if (s)
                return s;
        }
        if (s == PMKV_OK) {
            item->value = iter->value;
            iter->value_bytes = item->value_bytes;
        }
    }
    if (s == PMKV_E_LOST)
        item->value_bytes = 0;
    item->status = s;
    return s == PMKV_E_LOST ? PMKV_OK : s;
}

/* --- moving ----------------------------------------------------------------------------------- */

/* The records of the keys that come next, on their way while the first of them is read. */
static void prefetch_some(struct pmkv_iter *iter)
{
    uint64_t hashes[AT_ONCE];
    const struct key_run *run = iter->run;
    uint32_t left = run->count - iter->passed, count = left < AT_ONCE ? left : AT_ONCE;
    for (uint32_t i = 0; i < count; i++) {
        struct key_view key = run_key(run, iter->passed + i);
        hashes[i] = key_hash(key.bytes, key.length);
        index_prefetch(iter->kv->index, hashes[i]);
    }
    for (uint32_t i = 0; i < count && count > 1; i++) {
        size_t bytes = RECORD_HEADER_BYTES + run->keys[iter->passed + i].length + iter->value_bytes;
        find_prefetch(iter->kv, hashes[i], bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX);
    }
}

/* The next keys into the run that is not in use, which it is then, with none of them passed. */
static enum pmkv_status read_run(struct pmkv_iter *iter, const struct order_from *from)
{
    struct key_run *run = &iter->runs[iter->run == iter->runs];
    if (order_read(iter->kv->order, from, iter->keys_next_time, run))
        return fail(PMKV_E_NO_MEMORY, "no memory for the keys of an iterator");
    iter->keys_next_time =
        iter->keys_next_time < RUN_KEYS / MORE ? MORE * iter->keys_next_time : RUN_KEYS;
    iter->run = run;
    iter->passed = 0;
    iter->downwards = from->downwards;
    return PMKV_OK;
}

/* To the next key on the way that is there. An error leaves the iterator before the key it is
 * about. */
static enum pmkv_status go_on(struct pmkv_iter *iter)
{
    while (iter->run->count > 0) {
        while (iter->passed < iter->run->count) {
            if (iter->passed % AT_ONCE == 0)
                prefetch_some(iter);
            enum pmkv_status s = read_item(iter, run_key(iter->run, iter->passed), &iter->item);
            if (s != PMKV_OK && s != PMKV_E_NOT_FOUND)
                return s;
            iter->passed++;
            iter->shown = s == PMKV_OK;
            if (iter->shown)
                return PMKV_OK;
        }
        struct order_from behind = {run_key(iter->run, iter->run->count - 1),
                                    .downwards = iter->downwards};
        enum pmkv_status s = read_run(iter, &behind);
        if (s)
            return s;
    }
    iter->place = iter->downwards ? ITER_BEFORE_FIRST : ITER_PAST_LAST;
    return PMKV_OK;
}

static enum pmkv_status go_from(struct pmkv_iter *iter, const struct order_from *from)
{
    iter->keys_next_time = FEW_KEYS;
    enum pmkv_status s = read_run(iter, from);
    if (s)
        return s;
    iter->place = ITER_AT_KEY;
    return go_on(iter);
}

static enum pmkv_status move_begin(struct pmkv_iter *iter)
{
    if (!iter)
        return fail(PMKV_E_INVALID, "the iterator is NULL");
    iter->shown = false;
    enum pmkv_status s = handle_enter(iter->kv);
    if (s == PMKV_OK && !order_whole(iter->kv->order))
        return fail(PMKV_E_NO_MEMORY, "there was no memory for a key that was put: the order of "
                                      "keys is not complete until the pool is opened again");
    return s;
}

/* The other way than its run goes. After an error it is between the keys it has passed and those it
 * has not. */
static struct order_from turn_round(const struct pmkv_iter *iter, bool shown)
{
    struct order_from from = {.downwards = !iter->downwards};
    uint32_t behind = shown ? iter->passed - 1 : iter->passed;
    from.itself = behind == iter->run->count;
    from.key = run_key(iter->run, from.itself ? behind - 1 : behind);
    return from;
}

static enum pmkv_status move(struct pmkv_iter *iter, bool downwards)
{
    bool shown = pmkv_iter_item(iter) != NULL;
    enum pmkv_status s = move_begin(iter);
    if (s || iter->place == (downwards ? ITER_BEFORE_FIRST : ITER_PAST_LAST))
        return s;
    struct order_from from = {.downwards = downwards};
    if (iter->place == ITER_AT_KEY) {
        if (iter->downwards == downwards)
            return go_on(iter);
        from = turn_round(iter, shown);
    }
    return go_from(iter, &from);
}

/* --- the calls -------------------------------------------------------------------------------- */

enum pmkv_status pmkv_iter_new(struct pmkv *kv, unsigned flags, struct pmkv_iter **out)
{
    enum pmkv_status s = handle_enter(kv);
    if (s)
        return s;
    if (!out || flags & ~(unsigned)PMKV_ITER_KEYS_ONLY)
        return fail(PMKV_E_INVALID, "out is NULL, or unknown flags 0x%x", flags);
    if (!kv->order)
        return fail(PMKV_E_UNSUPPORTED, "the pool %s was not opened with the option `ordered`",
                    kv->vol.media->path);
    struct pmkv_iter *iter = calloc(1, sizeof *iter);
    if (!iter)
        return fail(PMKV_E_NO_MEMORY, "no memory for an iterator");
    *iter = (struct pmkv_iter){.kv = kv, .flags = flags, .run = iter->runs};
    s = value_reserve(iter, VALUE_ROOM);
    if (s)
        pmkv_iter_free(&iter);
    else
        *out = iter;
    return s;
}

enum pmkv_status pmkv_iter_seek(struct pmkv_iter *iter, const void *key, size_t key_bytes)
{
    struct order_from from = {.itself = true};
    enum pmkv_status s = move_begin(iter);
    if (s)
        return s;
    if (key_bytes > PMKV_MAX_KEY_BYTES || (!key && key_bytes > 0))
        return fail(PMKV_E_INVALID, "a key of %zu bytes%s to seek", key_bytes,
                    key ? "" : ", at NULL,");
    if (key_bytes > 0)
        from.key = (struct key_view){key, (uint32_t)key_bytes};
    return go_from(iter, &from);
}

enum pmkv_status pmkv_iter_seek_last(struct pmkv_iter *iter)
{
    enum pmkv_status s = move_begin(iter);
    return s ? s : go_from(iter, &(struct order_from){.downwards = true});
}

enum pmkv_status pmkv_iter_next(struct pmkv_iter *iter)
{
    return move(iter, false);
}

enum pmkv_status pmkv_iter_prev(struct pmkv_iter *iter)
{
    return move(iter, true);
}

const struct pmkv_item *pmkv_iter_item(const struct pmkv_iter *iter)
{
    return iter && iter->shown ? &iter->item : NULL;
}

void pmkv_iter_free(struct pmkv_iter **handle)
{
    if (!handle || !*handle)
        return;
    struct pmkv_iter *iter = *handle;
    free(iter->runs[0].bytes);
    free(iter->runs[1].bytes);
    free(iter->value);
    free(iter);
    *handle = NULL;
}
