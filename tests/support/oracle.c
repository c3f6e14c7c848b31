/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "oracle.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"

struct test_set test_set_make(unsigned id, uint32_t count)
{
    return (struct test_set){id, count, test_shared(count * sizeof(struct test_slot))};
}

uint64_t test_slot_intend(struct test_slot *slot, bool is_delete)
{
    uint64_t version = ((atomic_load(&slot->intent) >> 1) + 1) << 1 | (is_delete ? 1 : 0);
    if (is_delete)
        atomic_store(&slot->last_delete, version);
    atomic_store(&slot->intent, version);
    return version;
}

void test_slot_ack(struct test_slot *slot, uint64_t version, size_t value_bytes)
{
    atomic_store(&slot->bytes, (uint32_t)value_bytes);
    atomic_store(&slot->unsure, false);
    atomic_store(&slot->acked, version);
}

void test_slot_unsure(struct test_slot *slot)
{
    atomic_store(&slot->unsure, true);
}

bool test_slot_present(const struct test_slot *slot)
{
    return !test_version_is_delete(atomic_load(&slot->acked));
}

/* What a write's status means for its slot. */
static void slot_conclude(struct test_slot *slot, uint64_t version, size_t value_bytes,
                          enum pmkv_status status)
{
    if (status == PMKV_OK)
        test_slot_ack(slot, version, value_bytes);
    else if (status == PMKV_E_IO || status == PMKV_E_MEDIA)
        test_slot_unsure(slot);
}

enum pmkv_status test_set_put(struct pmkv *kv, struct test_set *set, uint32_t index, void *buffer,
                              size_t value_bytes)
{
    char key[TEST_KEY_BYTES];
    size_t key_bytes = test_key_make(key, set->id, index);
    struct test_slot *slot = &set->slots[index];
    uint64_t version = test_slot_intend(slot, false);
    test_value_fill(buffer, value_bytes, key, key_bytes, version);
    enum pmkv_status status = pmkv_put(kv, key, key_bytes, buffer, value_bytes);
    slot_conclude(slot, version, value_bytes, status);
    return status;
}

enum pmkv_status test_set_delete(struct pmkv *kv, struct test_set *set, uint32_t index)
{
    char key[TEST_KEY_BYTES];
    size_t key_bytes = test_key_make(key, set->id, index);
    struct test_slot *slot = &set->slots[index];
    bool present = test_slot_present(slot), unsure = atomic_load(&slot->unsure);
    uint64_t version = test_slot_intend(slot, true);
    enum pmkv_status status = pmkv_delete(kv, key, key_bytes);
    if (status == PMKV_E_NOT_FOUND) {
        test_that(!present || unsure, "delete %.*s: not found, but it was there", (int)key_bytes,
                  key);
        status = PMKV_OK;
    }
    slot_conclude(slot, version, 0, status);
    return status;
}

/* --- judging ---------------------------------------------------------------------------------- */

const char *test_verdict_name(enum test_verdict verdict)
{
    static const char *const names[TEST_VERDICTS] = {
        "right",  "lost",     "missing", "an older version", "a version never written",
        "broken", "an error",
    };
    return verdict < TEST_VERDICTS ? names[verdict] : "?";
}

enum test_verdict test_judge(const void *key, size_t key_bytes, enum pmkv_status status,
                             const void *value, size_t value_bytes, uint64_t low, uint64_t high,
                             bool delete_between)
{
    uint64_t version;
    if (status == PMKV_E_LOST)
        return TEST_LOST;
    if (status == PMKV_E_NOT_FOUND)
        return test_version_is_delete(low) || delete_between ? TEST_RIGHT : TEST_MISSING;
    if (status != PMKV_OK)
        return TEST_ERROR;
    if (!test_value_parse(value, value_bytes, key, key_bytes, &version) || (version & 1) != 0)
        return TEST_BROKEN;
    if (version >> 1 < low >> 1 || (version >> 1 == low >> 1 && version != low))
        return TEST_OLDER;
    return version >> 1 > high >> 1 ? TEST_UNBORN : TEST_RIGHT;
}

static void verdict_report(const char *key, size_t key_bytes, enum test_verdict verdict,
                           enum pmkv_status status, const void *value, size_t value_bytes,
                           uint64_t low, uint64_t high)
{
    const char *about = status == PMKV_OK ? test_value_explain(value, value_bytes, key, key_bytes)
                                          : pmkv_errormsg();
    test_fail("get %.*s: %s: %s: %s; versions %llu..%llu would be right", (int)key_bytes, key,
              test_verdict_name(verdict), pmkv_status_name(status), about, (unsigned long long)low,
              (unsigned long long)high);
}

enum test_verdict test_set_read(struct pmkv *kv, const struct test_set *set, uint32_t index,
                                void *buffer, size_t buffer_bytes)
{
    char key[TEST_KEY_BYTES];
    size_t key_bytes = test_key_make(key, set->id, index);
    const struct test_slot *slot = &set->slots[index];
    size_t value_bytes = 0;
    uint64_t low = atomic_load(&slot->acked);
    enum pmkv_status status = pmkv_get(kv, key, key_bytes, buffer, buffer_bytes, &value_bytes);
    uint64_t high = atomic_load(&slot->intent);
    bool deleted = atomic_load(&slot->last_delete) >> 1 > low >> 1;
    enum test_verdict verdict =
        test_judge(key, key_bytes, status, buffer, value_bytes, low, high, deleted);
    if (verdict != TEST_RIGHT && verdict != TEST_LOST)
        verdict_report(key, key_bytes, verdict, status, buffer, value_bytes, low, high);
    return verdict;
}

enum test_verdict test_set_read_exact(struct pmkv *kv, const struct test_set *set, uint32_t index,
                                      void *buffer, size_t buffer_bytes)
{
    char key[TEST_KEY_BYTES];
    size_t key_bytes = test_key_make(key, set->id, index);
    const struct test_slot *slot = &set->slots[index];
    size_t value_bytes = 0;
    uint64_t low = atomic_load(&slot->acked), high = low;
    bool deleted = false;
    if (atomic_load(&slot->unsure)) {
        high = atomic_load(&slot->intent);
        deleted = atomic_load(&slot->last_delete) >> 1 > low >> 1;
    }
    enum pmkv_status status = pmkv_get(kv, key, key_bytes, buffer, buffer_bytes, &value_bytes);
    enum test_verdict verdict =
        test_judge(key, key_bytes, status, buffer, value_bytes, low, high, deleted);
    if (verdict != TEST_RIGHT && verdict != TEST_LOST)
        verdict_report(key, key_bytes, verdict, status, buffer, value_bytes, low, high);
    return verdict;
}

struct test_tally test_set_verify(struct pmkv *kv, const struct test_set *set, void *buffer,
                                  size_t buffer_bytes, bool lost_is_fine)
{
    struct test_tally tally = {{0}};
    for (uint32_t i = 0; i < set->count; i++) {
        enum test_verdict verdict = test_set_read_exact(kv, set, i, buffer, buffer_bytes);
        tally.of[verdict]++;
        test_that(verdict != TEST_LOST || lost_is_fine, "key s%u-%06u is lost: %s", set->id, i,
                  pmkv_errormsg());
    }
    return tally;
}

/* --- names ------------------------------------------------------------------------------------ */

struct names {
    const struct test_set *sets;
    unsigned count;
    unsigned char **seen;
    uint64_t shown;
};

static int name_seen(void *arg, const struct pmkv_item *item)
{
    struct names *names = arg;
    unsigned id, s = 0;
    uint32_t index;
    if (item->status != PMKV_OK)
        return 0;
    names->shown++;
    bool known = test_key_parse(item->key, item->key_bytes, &id, &index);
    while (known && s < names->count && names->sets[s].id != id)
        s++;
    if (!known || s == names->count || index >= names->sets[s].count) {
        test_fail("pmkv_foreach shows a key that nobody put: %.*s", (int)item->key_bytes,
                  (const char *)item->key);
        return 0;
    }
    test_that(names->seen[s][index]++ == 0, "pmkv_foreach shows s%u-%06u twice", id, index);
    return 0;
}

static void names_compare(const struct names *names)
{
    for (unsigned s = 0; s < names->count; s++) {
        const struct test_set *set = &names->sets[s];
        for (uint32_t i = 0; i < set->count; i++) {
            bool want = test_slot_present(&set->slots[i]), got = names->seen[s][i] != 0;
            if (got != want && !atomic_load(&set->slots[i].unsure))
                test_fail("pmkv_foreach %s s%u-%06u", got ? "shows the deleted" : "does not show",
                          set->id, i);
        }
    }
}

void test_sets_verify_names(struct pmkv *kv, const struct test_set *sets, unsigned count)
{
    struct names names = {sets, count, calloc(count, sizeof(unsigned char *)), 0};
    uint64_t keys = 0;
    for (unsigned s = 0; s < count; s++)
        names.seen[s] = calloc(sets[s].count + 1, 1);
    if (test_status(pmkv_foreach(kv, PMKV_FOREACH_KEYS_ONLY, name_seen, &names), PMKV_OK,
                    "pmkv_foreach"))
        names_compare(&names);
    if (test_status(pmkv_count(kv, &keys), PMKV_OK, "pmkv_count"))
        test_that(keys == names.shown, "pmkv_count says %llu, pmkv_foreach shows %llu",
                  (unsigned long long)keys, (unsigned long long)names.shown);
    for (unsigned s = 0; s < count; s++)
        free(names.seen[s]);
    free(names.seen);
}

uint64_t test_set_present(const struct test_set *set)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < set->count; i++)
        n += test_slot_present(&set->slots[i]);
    return n;
}

uint64_t test_set_bytes(const struct test_set *set)
{
    uint64_t n = 0;
    for (uint32_t i = 0; i < set->count; i++)
        n += test_slot_present(&set->slots[i]) ? atomic_load(&set->slots[i].bytes) : 0;
    return n;
}

bool test_set_corrupt(struct test_set *set)
{
    for (uint32_t i = 0; i < set->count; i++) {
        struct test_slot *slot = &set->slots[i];
        if (!test_slot_present(slot))
            continue;
        uint64_t version = atomic_load(&slot->intent) + 4;
        atomic_store(&slot->intent, version);
        atomic_store(&slot->acked, version & ~1ull);
        return true;
    }
    return false;
}
