/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* One image: opened, cut again, judged, opened again, healed, used. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kv/open.h"
#include "prove.h"

enum { MAX_DEPTH = 3, PIVOT_IMAGES = 8, HANG_SECONDS = 60 };

/* One in so many images: */
enum { CUT_AGAIN = 4, TWICE = 2, HEAL = 8, HEAL_FAULTY = 2, USE = 16 };

static bool one_in(const struct cut *cut, unsigned what, unsigned n)
{
    return test_mix(cut->salt + what * 0x9e3779b97f4a7c15ull) % n == 0;
}

void store_abandon(struct pmkv **kv)
{
    if (!*kv)
        return;
    sim_set_gone((*kv)->vol.media, true);
    pmkv_close(kv);
}

/* A header that is old in every copy is a good one: what came after it is gone in silence
 * (docs/design.md, section 6). */
static enum expect_mode expectation(const struct run *r, const struct cut *cut)
{
    const struct fault_plan *plan = &cut->plan;
    bool rolled_back = plan->stale_header && plan->headers >= r->layout.columns;
    if (plan->mode == FAULTS_WITHIN || plan->mode == FAULTS_NONE)
        return EXPECT_ALL;
    return plan->mode == FAULTS_UNLIMITED || rolled_back ? EXPECT_SAFETY : EXPECT_NAMED;
}

/* --- power is lost again while it recovers ---------------------------------------------------- */

struct again {
    struct run *run;
    const struct cut *cut;
    unsigned instant, wanted; /* which instant is cut; UINT_MAX: none */
    bool every;
    uint64_t loads;
};

static void cut_again(struct again *g, struct media *m, uint64_t most)
{
    struct pending p;
    pending_take(&p, m, g->run->setting->pages);
    uint64_t all = choices_count(&p);
    for (uint64_t i = 0; i < all && i < most; i++) {
        struct cut next = {.depth = g->cut->depth + 1, .plan = g->cut->plan};
        next.plan.late_in = 0;
        next.salt = test_mix(g->cut->salt + g->instant * 1000 + i);
        uint64_t number = all <= most ? i : i < 2 ? i : next.salt % all;
        struct choice c = choice_make(&p, number, next.salt);
        snprintf(next.where, sizeof next.where, "%s > recovery instant %u: %s", g->cut->where,
                 g->instant, choice_name(&c));
        atomic_fetch_add(&g->run->totals->deep[next.depth], 1);
        recover_image(g->run, choice_image(&c), &next);
    }
    pending_free(&p);
}

static void while_recovering(void *arg, struct media *m, enum sim_op op, uint64_t off,
                             uint64_t bytes)
{
    struct again *g = arg;
    (void)op, (void)off, (void)bytes;
    if (g->every || g->instant == g->wanted)
        cut_again(g, m, g->every ? PIVOT_IMAGES : 2);
    g->instant++;
}

/* Poison appears under the recovery's feet. */
static void while_reading(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct again *g = arg;
    const struct fault_plan *plan = &g->cut->plan;
    (void)op, (void)bytes;
    if (++g->loads != plan->late_in)
        return;
    uint64_t at = plan->late_off ? plan->late_off : off / PAGE_BYTES * PAGE_BYTES;
    sim_poison(m, at, PAGE_BYTES);
}

/* --- judging ---------------------------------------------------------------------------------- */

static struct pmkv *open_image(struct run *r, struct media *image, const struct cut *cut)
{
    struct pmkv *kv = NULL;
    struct superblock sb;
    struct layout l;
    uint32_t good;
    struct pmkv_options o = setting_options(r->setting);
    bool faulty = cut->plan.mode != FAULTS_NONE;
    bool openable = !faulty || superblock_find(image, &sb, &l, &good) == SUPERBLOCK_FOUND;
    if (cut->plan.mode == FAULTS_UNLIMITED && cut->plan.late_in)
        openable = false; /* the last copy may be what goes while it reads */
    enum pmkv_status s = store_open(image, &o, &kv);
    if (s == PMKV_OK)
        return kv;
    if (r->creating && (s == PMKV_E_NOT_POOL || s == PMKV_E_CORRUPT || s == PMKV_E_TRUNCATED))
        return NULL;
    if (faulty && !openable)
        atomic_fetch_add(&r->totals->refused_rightly, 1);
    else
        prove_fail(r, FAIL_REFUSED, "%s: open: %s (%s)", cut->where, pmkv_status_name(s),
                   pmkv_errormsg());
    return NULL;
}

static void judge(struct run *r, struct pmkv *kv, const struct cut *cut, const char *when,
                  struct verdict *v)
{
    expect_judge(&r->expect, kv, expectation(r, cut), v);
    atomic_fetch_add(&r->totals->named, v->lost);
    if (v->text[0])
        prove_fail(r, v->is_wrong ? FAIL_WRONG : FAIL_LOST, "%s: %s: %s", cut->where, when,
                   v->text);
}

/* Rows that were complete after one recovery are the same bytes after the next (I1). */
static void rows_are_the_same(struct run *r, struct pmkv *first, struct pmkv *second,
                              const struct cut *cut)
{
    const struct layout *l = &r->layout;
    for (uint32_t s = 0; s < l->segments; s++) {
        const struct segment *a = &first->segments[s], *b = &second->segments[s];
        if (!kind_is_log(a->kind) || a->generation != b->generation ||
            first->lanes[0].segment == s || first->cleaner->segment == s)
            continue;
        for (uint32_t c = 0; c < l->columns; c++) {
            uint64_t off = layout_chunk_page_off(l, s, 0, c, 0);
            uint64_t bytes = (uint64_t)a->rows_used * l->chunk_pages * PAGE_BYTES;
            if (sim_hash(first->vol.media, off, bytes) != sim_hash(second->vol.media, off, bytes))
                prove_fail(r, FAIL_CHANGED,
                           "%s: rows of segment %u, column %u changed when they "
                           "were recovered twice",
                           cut->where, s, c);
        }
    }
}

/* A scrub repairs what there is to repair; then a check finds nothing. */
static void heal(struct run *r, struct pmkv *kv, const struct cut *cut)
{
    struct pmkv_scan scan = {0};
    struct pmkv_health h;
    uint64_t left = 0;
    enum pmkv_status s = pmkv_scrub_start(kv, 0); /* no keeper: it runs here */
    if (s == PMKV_OK)
        s = pmkv_repair(kv, &left);
    if (s == PMKV_OK)
        s = pmkv_check(kv, &scan, NULL, NULL);
    if (s == PMKV_OK)
        s = pmkv_health(kv, &h);
    atomic_fetch_add(&r->totals->healed, 1);
    if (s == PMKV_OK) {
        atomic_fetch_add(&r->totals->repaired, h.pages_repaired - kv->super.pages_repaired);
        atomic_fetch_add(&r->totals->retired, h.pages_retired - kv->super.pages_retired);
    }
    bool clean = left == 0 && (scan.bad_pages == 0 || cut->plan.cannot_clear);
    if (s || (!clean && expectation(r, cut) == EXPECT_ALL))
        prove_fail(r, FAIL_SICK, "%s: after a scrub: %s, %llu pages wait, %llu are bad", cut->where,
                   pmkv_status_name(s), (unsigned long long)left,
                   (unsigned long long)scan.bad_pages);
}

/* What was recovered takes writes, a crash, and a clean close. */
static void use(struct run *r, struct pmkv **kv, const struct cut *cut, unsigned states)
{
    static uint8_t value[4096];
    static struct expect later;
    struct run after = *r;
    struct verdict v;
    later = r->expect;
    expect_settle(&later, !(states & 1));
    for (uint32_t i = 0; i < 3; i++) {
        uint32_t key = (uint32_t)(cut->salt >> i * 8) % EXPECT_KEYS;
        size_t key_bytes;
        const char *name = expect_key(key, &key_bytes);
        if (!expect_put(&later, key, 100 + i * 1500, value))
            return;
        enum pmkv_status s = pmkv_put(*kv, name, key_bytes, value, 100 + i * 1500);
        expect_settle(&later, s == PMKV_OK);
        if (s && s != PMKV_E_FULL)
            prove_fail(r, FAIL_SICK, "%s: a put then: %s (%s)", cut->where, pmkv_status_name(s),
                       pmkv_errormsg());
    }
    after.expect = later;
    struct media *image;
    if (sim_crash_image((*kv)->vol.media, sim_choose_none, NULL, &image))
        abort();
    struct pmkv *third = open_image(&after, image, cut);
    if (!third)
        return;
    judge(&after, third, cut, "used and crashed", &v);
    enum pmkv_status s = pmkv_close(&third);
    if (s)
        prove_fail(r, FAIL_SICK, "%s: a clean close then: %s (%s)", cut->where, pmkv_status_name(s),
                   pmkv_errormsg());
    atomic_fetch_add(&r->totals->used, 1);
}

/* An open does not meet every record: what goes bad behind it is for the reads to find. */
static void harm_running(struct run *r, struct pmkv *kv, enum fault_mode mode, struct again *g,
                         struct cut *cut)
{
    struct run recovered = *r;
    size_t n = strlen(cut->where);
    recovered.kv = kv;
    fault_plant(&recovered, kv->vol.media, mode, test_mix(cut->salt + cut->plan.first), &cut->plan,
                cut->where + n, sizeof cut->where - n);
    atomic_fetch_add(&r->totals->faulted_running, 1);
    g->loads = 0;
    sim_set_access_hook(kv->vol.media, cut->plan.late_in ? while_reading : NULL, g);
}

/* A scrub gives the redundancy back: the same row survives as much again. */
static void heal_and_hit_again(struct run *r, struct pmkv *kv, const struct cut *cut)
{
    struct cut second = *cut;
    struct again g = {.run = r, .cut = &second};
    struct verdict v;
    heal(r, kv, cut);
    judge(r, kv, cut, "healed", &v);
    if (cut->plan.mode != FAULTS_WITHIN || cut->plan.cannot_clear || one_in(cut, 3, 2))
        return;
    harm_running(r, kv, FAULTS_WITHIN, &g, &second);
    judge(r, kv, &second, "healed and hit again", &v);
    sim_set_access_hook(kv->vol.media, NULL, NULL);
}

static void recover_twice(struct run *r, struct pmkv *kv, const struct cut *cut,
                          const struct verdict *first)
{
    struct media *image;
    struct verdict v;
    if (sim_crash_image(kv->vol.media, sim_choose_none, NULL, &image))
        abort();
    struct pmkv *twice = open_image(r, image, cut);
    if (!twice)
        return;
    judge(r, twice, cut, "recovered twice", &v);
    if (expectation(r, cut) == EXPECT_ALL && v.answers != first->answers)
        prove_fail(r, FAIL_CHANGED, "%s: recovered to one state, then to another", cut->where);
    if (cut->plan.mode == FAULTS_NONE && !r->ill)
        rows_are_the_same(r, kv, twice, cut);
    bool fine = cut->plan.mode != FAULTS_BEYOND && cut->plan.mode != FAULTS_UNLIMITED;
    if (one_in(cut, 1, cut->plan.mode == FAULTS_NONE ? HEAL : HEAL_FAULTY))
        heal_and_hit_again(r, twice, cut);
    if (fine && one_in(cut, 2, USE))
        use(r, &twice, cut, v.states);
    store_abandon(&twice);
}

static bool is_new(struct run *r, struct media *image, const struct cut *cut)
{
    if (cut->plan.mode != FAULTS_NONE || cut->running != FAULTS_NONE)
        return true;
    uint64_t bytes = sim_hash(image, 0, image->size);
    uint64_t owed = expect_hash(&r->expect) + r->creating;
    if (distinct_add(images_seen, bytes))
        atomic_fetch_add(&r->totals->distinct, 1);
    return distinct_add(images_judged, test_mix(bytes ^ test_mix(owed)));
}

void recover_image(struct run *r, struct media *image, struct cut *cut)
{
    if (!is_new(r, image, cut) && !cut->pivot) {
        media_close(&image);
        return;
    }
    struct verdict v;
    struct again again = {.run = r, .cut = cut, .wanted = UINT32_MAX, .every = cut->pivot};
    if (cut->depth < MAX_DEPTH && one_in(cut, 4, CUT_AGAIN))
        again.wanted = (unsigned)(test_mix(cut->salt ^ 77) % 12);
    atomic_fetch_add(&r->totals->images, 1);
    snprintf(r->worker->where, sizeof r->worker->where, "%s", cut->where);
    alarm(HANG_SECONDS);
    if (again.every || again.wanted != UINT32_MAX)
        sim_set_drain_hook(image, while_recovering, &again);
    if (cut->plan.late_in)
        sim_set_access_hook(image, while_reading, &again);
    struct pmkv *kv = open_image(r, image, cut);
    if (!kv)
        return;
    sim_set_drain_hook(image, NULL, NULL);
    if (cut->running != FAULTS_NONE)
        harm_running(r, kv, cut->running, &again, cut);
    judge(r, kv, cut, "recovered", &v);
    sim_set_access_hook(image, NULL, NULL);
    if (cut->running != FAULTS_NONE && one_in(cut, 6, HEAL_FAULTY))
        heal_and_hit_again(r, kv, cut);
    if (one_in(cut, 5, TWICE))
        recover_twice(r, kv, cut, &v);
    store_abandon(&kv);
}
