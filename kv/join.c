/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "join.h"

#include <errno.h>
#include <stdlib.h>

#include "../recovery/errmsg.h"
#include "../recovery/wait_word.h"
#include "wait.h"

/* A round beyond this share of a row would leave too much of the row before it empty. */
enum { ROW_SHARE = 8 };
/* J5: a round waits for so much of the time that the last one took. */
enum { PATIENCE = 4 };

/* On its writer's stack while it waits. */
struct member {
    struct write_op *op;
    struct member *next;
    uint64_t round;
    bool watches, late; /* J5: it waits with a limit; that is over */
    bool stored;
    atomic_bool done;
};

struct round {
    struct member *first, **end;
    uint32_t count;
    uint64_t bytes;
};

/* All under the lock. */
struct join {
    pthread_mutex_t lock;
    atomic_uint over[2]; /* by round, odd and even: changes when it is over, or its turn */
    uint64_t number;     /* of the open round */
    struct round open;
    uint64_t most_bytes; /* of a round */
    bool running;        /* the round before the open one */
    bool watched;        /* a member of the open round waits with a limit (J5) */
    uint32_t expected;   /* members the open round should get */
    int64_t round_ns;    /* what the last round took */
};

static uint64_t commit_record_bytes(void)
{
    return record_packed(sizeof(struct commit_key), 0);
}

/* --- life ------------------------------------------------------------------------------------- */

static void round_clear(struct round *r)
{
    *r = (struct round){.end = &r->first};
}

int join_new(struct pmkv *kv)
{
    if (!kv->vol.media->drain_is_slow)
        return 0;
    struct join *j = calloc(1, sizeof *j);
    if (!j)
        return err_fact(-ENOMEM, "no memory for the commits that writers share");
    pthread_mutex_init(&j->lock, NULL);
    round_clear(&j->open);
    j->most_bytes = row_payload(kv) / ROW_SHARE - commit_record_bytes();
    kv->join = j;
    return 0;
}

void join_free(struct join **j)
{
    if (!*j)
        return;
    pthread_mutex_destroy(&(*j)->lock);
    free(*j);
    *j = NULL;
}

/* --- a round's commit ------------------------------------------------------------------------- */

/* J3. The commit record counts and chains the members as that of a batch does. */
static int store_commit_record(struct pmkv *kv, struct lane *lane, const struct commit_key *commit,
                               uint64_t seq, struct log_pos *pos)
{
    struct draft d = {.type = RECORD_COMMIT,
                      .key_bytes = sizeof *commit,
                      .key = commit,
                      .key_hash = hash64(commit, sizeof *commit),
                      .value_hash = hash64(commit, 0),
                      .seq = seq};
    return lane_add(kv, lane, &d, pos);
}

static int store_members(struct pmkv *kv, struct lane *lane, const struct round *r,
                         struct log_pos *commit_pos)
{
    struct commit_key commit = {0};
    int rc = 0;
    for (struct member *m = r->first; m && rc == 0; m = m->next) {
        struct draft d = write_draft(m->op, m->op->seq, r->count > 1 ? RECORD_BATCH : 0);
        rc = lane_add(kv, lane, &d, &m->op->pos);
        commit.hash = hash_mix(commit.hash ^ d.check_epoch); /* record_chain */
        commit.count++;
    }
    if (rc == 0 && r->count > 1)
        rc = store_commit_record(kv, lane, &commit, r->first->op->seq + r->count, commit_pos);
    if (rc)
        lane_abandon(kv, lane);
    return rc ? rc : lane_commit(kv, lane);
}

static void count_puts(struct lane *lane, const struct round *r)
{
    for (struct member *m = r->first; m; m = m->next)
        if (m->op->type != RECORD_TOMBSTONE) {
            count64(&lane->puts, 1);
            count64(&lane->user_bytes, m->op->user_bytes);
        }
}

/* I4: fresh numbers are higher than any that a stripe has seen; the members hold the stripes. */
static bool number_members(struct pmkv *kv, const struct round *r)
{
    uint64_t seq = counter_next(kv, r->count + 1);
    if (seq == 0)
        return false;
    for (struct member *m = r->first; m; m = m->next)
        *index_last_number(kv->index, index_stripe(m->op->khash)) = m->op->seq = seq++;
    return true;
}

static bool round_commit(struct pmkv *kv, const struct round *r)
{
    if (!number_members(kv, r))
        return false;
    struct lane *lane = lane_pick(kv);
    struct log_pos commit_pos = {0};
    int rc = lane_begin(kv, lane, r->bytes + commit_record_bytes(), 1, SPACE_PUT);
    if (rc == 0)
        rc = store_members(kv, lane, r, &commit_pos);
    if (rc == 0)
        count_puts(lane, r);
    lane_unlock(lane);
    if (rc == 0 && r->count > 1) /* the commit record is never in the index */
        record_published(&kv->segments[pos_place(&kv->shape, commit_pos).segment]);
    return rc == 0;
}

/* --- rounds ----------------------------------------------------------------------------------- */

/* What the members were waiting for. They go without the lock. */
static void tell_members(const struct round *r, bool stored)
{
    for (struct member *m = r->first, *next; m; m = next) {
        next = m->next; /* the member is gone when it knows */
        m->stored = stored;
        atomic_store_explicit(&m->done, true, memory_order_release);
    }
}

static void round_add(struct join *j, struct member *m)
{
    m->round = j->number;
    m->next = NULL;
    *j->open.end = m;
    j->open.end = &m->next;
    j->open.count++;
    j->open.bytes += write_packed(m->op);
}

/* Closes the open round. Those for whom it has no room are the first of the next one. */
static struct round round_close(struct join *j)
{
    struct round r = {.first = j->open.first};
    struct member **end = &r.first;
    while (*end && r.bytes + write_packed((*end)->op) <= j->most_bytes) {
        r.bytes += write_packed((*end)->op);
        r.count++;
        end = &(*end)->next;
    }
    struct member *rest = *end;
    *end = NULL;
    j->number++;
    round_clear(&j->open);
    for (struct member *next; rest; rest = next) {
        next = rest->next;
        round_add(j, rest);
    }
    return r;
}

/* Runs the open round. With the lock held, and no round running; lets it go. */
static void run_round(struct pmkv *kv, struct join *j)
{
    atomic_uint *over = &j->over[j->number & 1], *next = &j->over[(j->number + 1) & 1];
    struct round r = round_close(j);
    j->running = true;
    j->watched = false;
    pthread_mutex_unlock(&j->lock);
    int64_t from = clock_ns();
    bool stored = round_commit(kv, &r);
    int64_t took = clock_ns() - from;
    tell_members(&r, stored);
    pthread_mutex_lock(&j->lock);
    j->running = false;
    j->round_ns = took;
    j->expected = r.count + j->open.count;
    bool more = j->open.count > 0;
    pthread_mutex_unlock(&j->lock);
    if (more)
        word_wake_one(next);
    word_wake_all(over); /* those for whom the round had no room too */
}

static bool is_done(const struct member *m)
{
    return atomic_load_explicit(&m->done, memory_order_acquire);
}

/* With the lock held; lets it go. Runs the member's round when its turn has come, or waits for
 * that, or for its end. */
static void await(struct pmkv *kv, struct join *j, struct member *m)
{
    const atomic_uint *over = &j->over[m->round & 1];
    unsigned seen = atomic_load_explicit(over, memory_order_acquire);
    bool turn = !j->running; /* J1: the open round is this one then */
    bool full = j->open.count >= j->expected || j->open.bytes >= j->most_bytes;
    if (turn && (full || m->late)) {
        run_round(kv, j);
        return;
    }
    m->watches = turn && !j->watched;
    j->watched |= m->watches;
    int64_t most_ns = m->watches ? j->round_ns / PATIENCE : -1;
    pthread_mutex_unlock(&j->lock);
    m->late |= word_wait(over, seen, most_ns);
}

/* Who was woken early may sleep without a limit next: someone else watches then. */
static void watch_ends(struct join *j, struct member *m)
{
    if (m->watches && m->round == j->number)
        j->watched = false;
    m->watches = false;
}

bool join_commit(struct pmkv *kv, struct write_op *op)
{
    struct join *j = kv->join;
    if (write_packed(op) > j->most_bytes)
        return false; /* by itself it is worth a drain */
    struct member m = {.op = op};
    pthread_mutex_lock(&j->lock);
    round_add(j, &m);
    while (!is_done(&m)) { /* with the lock: its round is the open one, or runs */
        await(kv, j, &m);
        if (is_done(&m))
            return m.stored;
        pthread_mutex_lock(&j->lock);
        watch_ends(j, &m);
    }
    pthread_mutex_unlock(&j->lock);
    return m.stored;
}
