/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* The simulated medium keeps its own promises (sim.h), or every crash test is worth nothing. */
#define _GNU_SOURCE
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "media_kit.h"
#include "recovery/errmsg.h"
#include "recovery/media/sim.h"

TestSuite(sim, .timeout = 60);

enum { SIZE = 64 * PAGE_BYTES };

static struct media *new_sim(uint64_t loss_unit)
{
    struct media *m = NULL;
    int rc = sim_new(SIZE, loss_unit, &m);
    cr_assert_eq(rc, 0, "%d: %s", rc, err_message());
    return m;
}

static void store_line(struct media *m, uint64_t off, char fill)
{
    char line[LINE_BYTES];
    memset(line, fill, sizeof line);
    cr_assert_eq(media_store(m, off, line, sizeof line), sizeof line);
}

/* First byte of the line: as the CPU sees it, and as it is durable. */
static char seen(struct media *m, uint64_t off)
{
    char c;
    cr_assert_eq(media_load(m, off, &c, 1), 1);
    return c;
}

static char durable(struct media *m, uint64_t off)
{
    char c;
    sim_peek_durable(m, off, &c, 1);
    return c;
}

static struct media *crash(struct media *m, sim_chooser choose, void *arg)
{
    struct media *image = NULL;
    cr_assert_eq(sim_crash_image(m, choose, arg, &image), 0);
    return image;
}

Test(sim, it_starts_as_zeros_or_as_the_image_given)
{
    struct media *m = new_sim(PAGE_BYTES);
    cr_assert_eq(seen(m, SIZE - 1), 0);
    media_close(&m);
    uint8_t *bytes = malloc(SIZE);
    for (uint32_t i = 0; i < SIZE / PAGE_BYTES; i++)
        kit_page(bytes + (size_t)i * PAGE_BYTES, i);
    cr_assert_eq(sim_from_image(bytes, SIZE, PAGE_BYTES, &m), 0);
    for (uint32_t i = 0; i < SIZE / PAGE_BYTES; i++)
        cr_assert(kit_page_is(m, (uint64_t)i * PAGE_BYTES, i), "page %u", i);
    free(bytes);
    media_close(&m);
}

Test(sim, odd_sizes_are_refused)
{
    struct media *m = NULL;
    cr_assert_eq(sim_new(0, PAGE_BYTES, &m), -EINVAL);
    cr_assert_eq(sim_new(SIZE, 512, &m), -EINVAL);
    cr_assert_eq(sim_new(SIZE + PAGE_BYTES, 2 * PAGE_BYTES, &m), -EINVAL);
    cr_assert_eq(sim_new(SIZE, 3 * PAGE_BYTES, &m), -EINVAL);
    cr_assert_null(m);
}

Test(sim, a_store_is_seen_at_once_and_durable_after_the_drain)
{
    struct media *m = new_sim(PAGE_BYTES);
    store_line(m, 128, 'a');
    cr_assert_eq(seen(m, 128), 'a');
    cr_assert_eq(durable(m, 128), 0);
    cr_assert_eq(sim_pending_count(m), 1);
    cr_assert_eq(sim_pending(m, 0)->off, 128);
    cr_assert_eq(media_drain(m), 0);
    cr_assert_eq(durable(m, 128), 'a');
    cr_assert_eq(sim_pending_count(m), 0);
    media_close(&m);
}

static void *store_and_return(void *m)
{
    store_line(m, 0, 'b');
    return NULL;
}

static void store_elsewhere(struct media *m)
{
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, store_and_return, m), 0);
    pthread_join(thread, NULL);
}

Test(sim, a_line_of_two_other_threads_stays_pending_twice)
{
    struct media *m = new_sim(PAGE_BYTES);
    store_elsewhere(m);
    store_elsewhere(m);
    store_line(m, 64, 'c');
    cr_assert_eq(media_drain(m), 0);
    cr_assert_eq(sim_pending_count(m), 2);
    cr_assert_eq(durable(m, 0), 0);
    cr_assert_eq(durable(m, 64), 'c');
    media_close(&m);
}

Test(sim, a_drain_covers_the_stores_of_its_own_thread_only)
{
    struct media *m = new_sim(PAGE_BYTES);
    pthread_t other;
    pthread_create(&other, NULL, store_and_return, m);
    pthread_join(other, NULL);
    store_line(m, 64, 'a');
    cr_assert_eq(media_drain(m), 0);
    cr_assert_eq(durable(m, 64), 'a');
    cr_assert_eq(durable(m, 0), 0, "another thread's fence made it durable");
    cr_assert_eq(sim_pending_count(m), 1);
    store_line(m, 0, 'c'); /* later, of the same line: it overtakes */
    media_drain(m);
    cr_assert_eq(sim_pending_count(m), 0);
    cr_assert_eq(durable(m, 0), 'c');
    media_close(&m);
}

Test(sim, every_subset_of_the_pending_lines_is_a_crash_image)
{
    struct media *m = new_sim(PAGE_BYTES);
    for (int i = 0; i < 4; i++)
        store_line(m, (uint64_t)i * 5000 / 64 * 64, 'o');
    media_drain(m);
    for (int i = 0; i < 4; i++)
        store_line(m, (uint64_t)i * 5000 / 64 * 64, 'n');
    for (uint64_t bits = 0; bits < 16; bits++) {
        struct media *image = crash(m, sim_choose_bits, &bits);
        for (int i = 0; i < 4; i++) {
            char want = bits >> i & 1 ? 'n' : 'o';
            cr_assert_eq(seen(image, (uint64_t)i * 5000 / 64 * 64), want);
            cr_assert_eq(durable(image, (uint64_t)i * 5000 / 64 * 64), want);
        }
        cr_assert_eq(sim_pending_count(image), 0);
        store_line(image, 0, 'x');
        media_drain(image);
        media_close(&image);
    }
    cr_assert_eq(seen(m, 0), 'n', "an image changed its origin");
    cr_assert_eq(durable(m, 0), 'o');
    media_close(&m);
}

static uint8_t choose_half(void *arg, size_t index, const struct sim_line *line)
{
    (void)arg, (void)index, (void)line;
    return 0x0f;
}

Test(sim, a_line_tears_between_words_of_eight_bytes)
{
    struct media *m = new_sim(PAGE_BYTES);
    store_line(m, 0, 'n');
    struct media *image = crash(m, choose_half, NULL);
    cr_assert_eq(seen(image, 31), 'n');
    cr_assert_eq(seen(image, 32), 0);
    media_close(&image);
    media_close(&m);
}

Test(sim, a_line_stored_twice_may_be_left_at_either_version)
{
    struct media *m = new_sim(PAGE_BYTES);
    store_line(m, 0, '1');
    store_line(m, 0, '2');
    cr_assert_eq(sim_pending_count(m), 2);
    const char left[4] = {0, '1', '2', '2'};
    for (uint64_t bits = 0; bits < 4; bits++) {
        struct media *image = crash(m, sim_choose_bits, &bits);
        cr_assert_eq(seen(image, 0), left[bits]);
        media_close(&image);
    }
    media_close(&m);
}

Test(sim, the_death_of_the_process_alone_loses_nothing)
{
    struct media *m = new_sim(PAGE_BYTES);
    store_line(m, 0, 'a');
    store_line(m, PAGE_BYTES, 'b');
    struct media *image = crash(m, sim_choose_all, NULL);
    cr_assert_eq(seen(image, 0), 'a');
    cr_assert_eq(seen(image, PAGE_BYTES), 'b');
    media_close(&image);
    media_close(&m);
}

/* --- poison and repair ------------------------------------------------------------------------ */

Test(sim, poison_stops_loads_and_stores_and_is_in_crash_images)
{
    struct media *m = new_sim(PAGE_BYTES);
    uint8_t two[2 * PAGE_BYTES] = {0};
    kit_poison(m, PAGE_BYTES);
    cr_assert_eq(media_load(m, 0, two, sizeof two), PAGE_BYTES);
    cr_assert_eq(media_load(m, PAGE_BYTES + 64, two, 1), 0);
    cr_assert_eq(media_touch(m, 0, sizeof two), PAGE_BYTES);
    cr_assert_eq(media_store(m, 0, two, sizeof two), PAGE_BYTES);
    cr_assert_eq(media_store(m, PAGE_BYTES, two, 64), 0);
    uint64_t first;
    cr_assert_eq(kit_bad_bytes(m, &first), PAGE_BYTES);
    cr_assert_eq(first, PAGE_BYTES);
    struct media *image = crash(m, sim_choose_none, NULL);
    cr_assert(sim_is_poisoned(image, PAGE_BYTES));
    cr_assert_eq(media_load(image, PAGE_BYTES, two, 1), 0);
    media_close(&image);
    sim_hide_bad_ranges(m, true);
    cr_assert_eq(kit_bad_bytes(m, NULL), 0);
    cr_assert_eq(media_touch(m, PAGE_BYTES, 1), 0);
    media_close(&m);
}

Test(sim, poison_takes_a_whole_loss_unit_and_repair_gives_it_back)
{
    struct media *m = new_sim(4 * PAGE_BYTES);
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    sim_set_clear_leaves(m, SIM_CLEAR_GARBAGE);
    kit_poison(m, 5 * PAGE_BYTES);
    cr_assert(sim_is_poisoned(m, 4 * PAGE_BYTES) && sim_is_poisoned(m, 7 * PAGE_BYTES));
    cr_assert_not(sim_is_poisoned(m, 8 * PAGE_BYTES));
    cr_assert_eq(media_recovery_write(media_recover(m, 5 * PAGE_BYTES), page), 0);
    cr_assert(kit_page_is(m, 5 * PAGE_BYTES, 1));
    cr_assert_eq(media_touch(m, 4 * PAGE_BYTES, 4 * PAGE_BYTES), 4 * PAGE_BYTES);
    cr_assert_neq(seen(m, 4 * PAGE_BYTES + 1), 0, "garbage, not zeros");
    media_close(&m);
}

/* What a crash leaves of a page at each point of its repair. */
struct repair_points {
    bool poisoned_before_clear, poisoned_before_data;
    char old_when_cleared, all_written;
    size_t pending;
    unsigned calls;
};

static void look_at_repair(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct repair_points *points = arg;
    struct media *image = crash(m, sim_choose_none, NULL);
    points->calls++;
    if (op == SIM_CLEAR) {
        cr_assert_eq(bytes, PAGE_BYTES);
        points->poisoned_before_clear = sim_is_poisoned(image, off);
    } else if (op == SIM_RECOVERY_DATA) {
        points->poisoned_before_data = sim_is_poisoned(image, off);
        points->old_when_cleared = seen(image, off);
        points->pending = sim_pending_count(m);
        media_close(&image);
        image = crash(m, sim_choose_all, NULL);
        points->all_written = seen(image, off);
    }
    media_close(&image);
}

Test(sim, a_repair_can_be_cut_before_and_after_the_clear)
{
    struct media *m = new_sim(PAGE_BYTES);
    uint8_t page[PAGE_BYTES];
    memset(page, 'p', sizeof page);
    store_line(m, 0, 'o');
    media_drain(m);
    kit_poison(m, 0);
    struct repair_points points = {0};
    sim_set_drain_hook(m, look_at_repair, &points);
    sim_set_clear_leaves(m, SIM_CLEAR_OLD);
    cr_assert_eq(media_recovery_write(media_recover(m, 0), page), 0, "%s", err_message());
    cr_assert_eq(points.calls, 2);
    cr_assert(points.poisoned_before_clear);
    cr_assert_not(points.poisoned_before_data);
    cr_assert_eq(points.old_when_cleared, 'o');
    cr_assert_eq(points.all_written, 'p');
    cr_assert_eq(points.pending, PAGE_BYTES / LINE_BYTES);
    cr_assert_eq(durable(m, 0), 'p');
    media_close(&m);
}

Test(sim, a_clear_that_fails_leaves_the_poison)
{
    struct media *m = new_sim(PAGE_BYTES);
    uint8_t page[PAGE_BYTES] = {0};
    kit_poison(m, 0);
    kit_poison(m, PAGE_BYTES);
    media_inject_clear_fails(m, 0);
    cr_assert_eq(media_recovery_write(media_recover(m, 0), page), -EIO);
    cr_assert_eq(media_recovery_write(media_recover(m, PAGE_BYTES), page), 0);
    kit_poison(m, PAGE_BYTES);
    sim_set_clears_fail(m, true);
    cr_assert_eq(media_recovery_write(media_recover(m, PAGE_BYTES), page), -EIO);
    cr_assert(sim_is_poisoned(m, 0) && sim_is_poisoned(m, PAGE_BYTES));
    cr_assert_eq(media_recovery_write(media_recover(m, 2 * PAGE_BYTES), page), 0, "healthy");
    media_close(&m);
}

/* --- other faults ----------------------------------------------------------------------------- */

Test(sim, injected_bytes_change_both_images_and_what_is_pending)
{
    struct media *m = new_sim(PAGE_BYTES);
    store_line(m, 0, 'a');
    cr_assert_eq(media_inject_bytes(m, 62, "XYZ", 3), 0);
    cr_assert_eq(seen(m, 62), 'X');
    cr_assert_eq(durable(m, 64), 'Z');
    media_drain(m);
    cr_assert_eq(durable(m, 62), 'X', "the drain brought the old byte back");
    cr_assert_eq(durable(m, 61), 'a');
    media_close(&m);
}

Test(sim, injected_bytes_leave_their_neighbours)
{
    struct media *m = new_sim(PAGE_BYTES);
    store_line(m, 0, 'a');
    store_line(m, 128, 'b');
    cr_assert_eq(media_inject_bytes(m, 10, "X", 1), 0);
    media_drain(m);
    cr_assert_eq(durable(m, 9), 'a');
    cr_assert_eq(durable(m, 10), 'X');
    cr_assert_eq(durable(m, 11), 'a');
    cr_assert_eq(durable(m, 128), 'b');
    media_close(&m);
}

static int stop_at_once(void *arg, uint64_t off, uint64_t bytes)
{
    (void)bytes;
    *(uint64_t *)arg = off;
    return 17;
}

Test(sim, who_is_told_of_bad_ranges_may_stop)
{
    struct media *m = new_sim(PAGE_BYTES);
    uint64_t told = 0;
    kit_poison(m, 3 * PAGE_BYTES);
    kit_poison(m, SIZE - PAGE_BYTES);
    cr_assert_eq(media_bad_ranges(m, stop_at_once, &told), 17);
    cr_assert_eq(told, 3 * PAGE_BYTES);
    cr_assert_eq(kit_bad_bytes(m, NULL), 2 * PAGE_BYTES);
    media_close(&m);
}

Test(sim, the_hash_tells_images_apart_by_bytes_and_by_poison)
{
    struct media *m = new_sim(PAGE_BYTES);
    uint64_t zeros = sim_hash(m, 0, SIZE);
    cr_assert_eq(sim_hash(m, 0, SIZE), zeros);
    store_line(m, 0, 'a');
    cr_assert_eq(sim_hash(m, 0, SIZE), zeros, "of what is durable");
    media_drain(m);
    uint64_t stored = sim_hash(m, 0, SIZE);
    cr_assert_neq(stored, zeros);
    cr_assert_neq(sim_hash(m, 0, PAGE_BYTES), sim_hash(m, PAGE_BYTES, PAGE_BYTES));
    kit_poison(m, 5 * PAGE_BYTES);
    cr_assert_neq(sim_hash(m, 0, SIZE), stored);
    media_close(&m);
}

Test(sim, a_device_that_is_gone_answers_nothing_and_comes_back_whole)
{
    struct media *m = new_sim(PAGE_BYTES);
    uint8_t page[PAGE_BYTES] = {0};
    store_line(m, 0, 'a');
    media_drain(m);
    sim_set_gone(m, true);
    cr_assert_eq(media_present(m), -EIO);
    cr_assert_eq(media_load(m, 0, page, 64), 0);
    cr_assert_eq(media_store(m, 0, page, 64), 0);
    cr_assert_eq(media_drain(m), -EIO);
    cr_assert_eq(media_recovery_write(media_recover(m, 0), page), -ENODEV);
    sim_set_gone(m, false);
    cr_assert_eq(media_present(m), 0);
    cr_assert_eq(seen(m, 0), 'a');
    media_close(&m);
}

Test(sim, a_failed_drain_makes_nothing_durable)
{
    struct media *m = new_sim(PAGE_BYTES);
    store_line(m, 0, 'a');
    sim_set_drain_error(m, -EIO);
    cr_assert_eq(media_drain(m), -EIO);
    cr_assert_eq(durable(m, 0), 0);
    sim_set_drain_error(m, 0);
    cr_assert_eq(media_drain(m), 0);
    cr_assert_eq(durable(m, 0), 'a');
    media_close(&m);
}

struct late_poison {
    unsigned countdown;
    uint64_t off;
};

static void poison_later(void *arg, struct media *m, enum sim_op op, uint64_t off, uint64_t bytes)
{
    struct late_poison *late = arg;
    (void)op, (void)off, (void)bytes;
    if (late->countdown-- == 0)
        sim_poison(m, late->off, 1);
}

Test(sim, a_hook_can_bring_poison_at_any_access)
{
    struct media *m = new_sim(PAGE_BYTES);
    struct late_poison late = {2, 0};
    sim_set_access_hook(m, poison_later, &late);
    char c;
    cr_assert_eq(media_load(m, 0, &c, 1), 1);
    store_line(m, 0, 'a');
    cr_assert_eq(media_load(m, 0, &c, 1), 0, "the third access meets it");
    media_close(&m);
}

/* --- watching --------------------------------------------------------------------------------- */

Test(sim, the_log_tells_what_was_done_in_order)
{
    struct media *m = new_sim(PAGE_BYTES);
    uint8_t page[PAGE_BYTES] = {0};
    store_line(m, 0, 'a');
    sim_log(m, true);
    store_line(m, 64, 'b');
    media_drain(m);
    kit_poison(m, PAGE_BYTES);
    media_recovery_write(media_recover(m, PAGE_BYTES), page);
    size_t count;
    const struct sim_event *e = sim_events(m, &count);
    cr_assert_eq(count, 4);
    const enum sim_op want[4] = {SIM_STORE, SIM_DRAIN, SIM_CLEAR, SIM_RECOVERY_DATA};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(e[i].op, want[i], "event %zu is %d", i, e[i].op);
        cr_assert_eq(e[i].seq, 2 + i);
    }
    cr_assert_eq(e[0].off, 64);
    cr_assert_eq(e[0].bytes, 64);
    sim_log_clear(m);
    sim_events(m, &count);
    cr_assert_eq(count, 0);
    for (int i = 0; i < 1000; i++)
        store_line(m, 0, 'c');
    e = sim_events(m, &count);
    cr_assert_eq(count, 1000);
    cr_assert_eq(e[999].seq, e[0].seq + 999);
    media_close(&m);
}

Test(sim, everything_is_counted)
{
    struct media *m = new_sim(PAGE_BYTES);
    uint8_t page[PAGE_BYTES] = {0};
    kit_poison(m, PAGE_BYTES);
    media_store(m, 0, page, PAGE_BYTES);
    media_store(m, PAGE_BYTES, page, PAGE_BYTES);
    media_load(m, PAGE_BYTES, page, 1);
    media_drain(m);
    struct sim_counters c = sim_counters(m);
    cr_assert_eq(c.stores, 2);
    cr_assert_eq(c.lines_stored, 64);
    cr_assert_eq(c.short_stores, 1);
    cr_assert_eq(c.loads, 1);
    cr_assert_eq(c.short_loads, 1);
    cr_assert_eq(c.drains, 1);
    cr_assert_eq(media_fences(m), 1);
    cr_assert_eq(media_bytes_stored(m), 2 * PAGE_BYTES);
    media_close(&m);
}

Test(sim, a_snapshot_brings_everything_back)
{
    struct media *m = new_sim(PAGE_BYTES);
    store_line(m, 0, 'a');
    media_drain(m);
    store_line(m, 0, 'b');
    struct sim_snapshot *snapshot = sim_snapshot(m);
    media_drain(m);
    store_line(m, 0, 'c');
    kit_poison(m, 0);
    for (int i = 0; i < 2; i++) {
        sim_restore(m, snapshot);
        cr_assert_eq(seen(m, 0), 'b');
        cr_assert_eq(durable(m, 0), 'a');
        cr_assert_eq(sim_pending_count(m), 1);
        cr_assert_not(sim_is_poisoned(m, 0));
        store_line(m, 0, 'd');
        media_drain(m);
    }
    sim_snapshot_free(&snapshot);
    cr_assert_null(snapshot);
    sim_snapshot_free(&snapshot);
    snapshot = sim_snapshot(m); /* with nothing pending */
    store_line(m, 0, 'e');
    sim_restore(m, snapshot);
    cr_assert_eq(seen(m, 0), 'd');
    cr_assert_eq(sim_pending_count(m), 0);
    sim_snapshot_free(&snapshot);
    media_close(&m);
}

/* Images share pages: threads that recover different images of one origin must not meet. */
static void *scribble(void *arg)
{
    struct media *m = arg;
    for (int round = 0; round < 50; round++)
        for (uint64_t off = 0; off < SIZE; off += PAGE_BYTES) {
            store_line(m, off, (char)round);
            media_drain(m);
            cr_assert_eq(durable(m, off), (char)round);
        }
    return NULL;
}

Test(sim, images_of_one_origin_may_be_used_by_different_threads)
{
    struct media *m = new_sim(PAGE_BYTES), *images[4];
    uint8_t page[PAGE_BYTES];
    kit_page(page, 1);
    for (uint64_t off = 0; off < SIZE; off += PAGE_BYTES)
        media_store(m, off, page, PAGE_BYTES);
    media_drain(m);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) {
        images[i] = crash(m, sim_choose_none, NULL);
        pthread_create(&threads[i], NULL, scribble, images[i]);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        media_close(&images[i]);
    }
    for (uint64_t off = 0; off < SIZE; off += PAGE_BYTES)
        cr_assert(kit_page_is(m, off, 1));
    media_close(&m);
}
