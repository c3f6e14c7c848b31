/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "index_model.h"

#include <criterion/criterion.h>
#include <stdlib.h>

void model_open(struct model *m, uint64_t expected, uint64_t max_slots, uint64_t positions)
{
    *m = (struct model){.limit = positions + 1, .next = 1};
    m->medium = calloc(m->limit, sizeof *m->medium);
    cr_assert_not_null(m->medium);
    cr_assert_eq(index_new(&m->ix, expected, max_slots), 0);
}

void model_close(struct model *m)
{
    index_free(&m->ix);
    cr_assert_null(m->ix);
    free(m->medium);
}

bool model_find_ref(const struct model *m, uint64_t hash, struct slot_ref *out)
{
    struct index_find f;
    index_find_begin(m->ix, hash, &f);
    while (index_find_next(&f, out)) {
        cr_assert(index_slot_unchanged(out));
        if (m->medium[slot_position(out->slot)] == hash)
            return true;
    }
    cr_assert(index_find_settled(&f), "a search that nothing disturbed is not settled");
    return false;
}

uint64_t model_find(const struct model *m, uint64_t hash)
{
    struct slot_ref ref;
    return model_find_ref(m, hash, &ref) ? slot_position(ref.slot) : 0;
}

int model_try_put(struct model *m, uint64_t hash)
{
    struct slot_ref ref;
    int rc = 0;
    cr_assert_lt(m->next, m->limit);
    m->medium[m->next] = hash;
    index_lock(m->ix, index_stripe(hash));
    if (model_find_ref(m, hash, &ref))
        index_replace(m->ix, &ref, slot_with(ref.slot, m->next, slot_older(ref.slot) + 1));
    else
        rc = index_insert(m->ix, hash, slot_make(m->next, 0, hash));
    index_unlock(m->ix, index_stripe(hash));
    m->next += rc == 0;
    index_grow_step(m->ix);
    return rc;
}

uint64_t model_put(struct model *m, uint64_t hash)
{
    cr_assert_eq(model_try_put(m, hash), 0);
    return m->next - 1;
}

bool model_delete(struct model *m, uint64_t hash)
{
    struct slot_ref ref;
    index_lock(m->ix, index_stripe(hash));
    bool found = model_find_ref(m, hash, &ref);
    if (found)
        index_remove(m->ix, &ref);
    index_unlock(m->ix, index_stripe(hash));
    return found;
}
