/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "door.h"

#include "sched.h"

static struct {
    const struct media_ops *behind;
    struct media_ops ops;
    door_instant instant;
    void *arg;
} door;

static _Thread_local unsigned inside;

bool door_is_inside(void)
{
    return inside > 0;
}

/* Nested calls, as the read back of a recovery write, are a part of the first. */
static void enter(struct media *m, bool changes, const void *site)
{
    if (inside == 0) {
        sched_point(site);
        inside++;
        if (changes && door.instant && sched_has_points())
            door.instant(door.arg, m);
        inside--;
    }
    inside++;
}

static size_t load(struct media *m, uint64_t off, void *dst, size_t bytes)
{
    enter(m, false, __builtin_return_address(0)); /* a probe loads line after line */
    size_t n = door.behind->load(m, off, dst, bytes);
    inside--;
    return n;
}

static size_t store(struct media *m, uint64_t off, const void *src, size_t bytes)
{
    enter(m, true, NULL);
    size_t n = door.behind->store(m, off, src, bytes);
    inside--;
    return n;
}

static int drain(struct media *m)
{
    enter(m, true, NULL);
    int rc = door.behind->drain(m);
    inside--;
    return rc;
}

static int recovery_write(struct media *m, uint64_t off, const void *page)
{
    enter(m, true, NULL);
    int rc = door.behind->recovery_write(m, off, page);
    inside--;
    return rc;
}

static int present(struct media *m)
{
    inside++;
    int rc = door.behind->present(m);
    inside--;
    return rc;
}

static int bad_ranges(struct media *m, int (*fn)(void *arg, uint64_t off, uint64_t bytes),
                      void *arg)
{
    inside++; /* what fn does is no point either: it is called with the medium's lock held */
    int rc = door.behind->bad_ranges(m, fn, arg);
    inside--;
    return rc;
}

void door_open(struct media *m, door_instant instant, void *arg)
{
    door.behind = m->ops;
    door.ops = *m->ops;
    door.ops.load = load;
    door.ops.store = store;
    door.ops.drain = drain;
    door.ops.recovery_write = recovery_write;
    door.ops.present = present;
    door.ops.bad_ranges = bad_ranges;
    door.instant = instant;
    door.arg = arg;
    m->ops = &door.ops;
}
