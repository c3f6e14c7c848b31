/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The one file of the bench that sees inside the library: the safe copies are not in the public
 * header.
 *
 * Method: a cell is one routine at one size. Windows of about 150 us go round-robin over all cells,
 * so that a slow minute of the machine is a slow minute for all; a window in which the thread was
 * pre-empted (wall > 1.1 CPU) is dropped. The ratio to memcpy is taken within each round and its
 * median shown.
 */
#define _GNU_SOURCE /* memfd_create */
#include "micro.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../recovery/mcsafe.h"
#include "clock.h"
#include "data.h"
#include "measure.h"
#include "report.h"

enum { ROUNDS = 64, WINDOW_NS = 150000, QUIET_MIN = 8, HOT_MAX_BYTES = 65536 };
static const size_t cold_arena_bytes = 1ull << 30;

struct shape {
    size_t bytes;
    bool cold;
};
static const struct shape shapes[] = {{64, false},    {256, false}, {1024, false}, {4096, false},
                                      {65536, false}, {256, true},  {4096, true}};
enum { SHAPES = sizeof shapes / sizeof *shapes, ROUTINES_MAX = 32 };

enum routine_kind { ROUTINE_MEMCPY, ROUTINE_LOAD, ROUTINE_TOUCH };
struct routine {
    char name[48];
    enum routine_kind kind;
    mc_load_fn load;
    mc_touch_fn touch;
};

struct cell {
    uint64_t copies;   /* a window */
    double ns[ROUNDS]; /* a copy; NAN: dropped */
    double median, p10, p90, ratio;
    unsigned quiet;
};

struct micro {
    struct routine routines[ROUTINES_MAX];
    unsigned routine_count;
    struct cell cells[SHAPES][ROUTINES_MAX];
    char *hot, *copy, *cold;
    uint64_t cursor; /* of the random walk over the cold arena */
    size_t short_copies;
};

static void add_routine(struct micro *m, const char *what, const char *name, enum routine_kind kind,
                        mc_load_fn load, mc_touch_fn touch)
{
    if (m->routine_count == ROUTINES_MAX)
        return;
    struct routine *r = &m->routines[m->routine_count++];
    *r = (struct routine){.kind = kind, .load = load, .touch = touch};
    snprintf(r->name, sizeof r->name, "%s%s", what, name);
}

/* memcpy first: the others are compared with it. mc_load is the one the library uses here. */
static void find_routines(struct micro *m)
{
    mc_select();
    add_routine(m, "memcpy", "", ROUTINE_MEMCPY, NULL, NULL);
    add_routine(m, "mc_load = ", mc_variant(), ROUTINE_LOAD, mc_load, NULL);
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        if (v->load)
            add_routine(m, "load ", v->name, ROUTINE_LOAD, v->load, NULL);
    mc_touch_fn last = NULL; /* variants may share one */
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++) {
        if (v->touch && v->touch != last)
            add_routine(m, "touch ", v->name, ROUTINE_TOUCH, NULL, v->touch);
        last = v->touch;
    }
}

/* The next random place: unrelated to the last one, so that the CPU may overlap the copies. */
static inline const char *next_source(struct micro *m, const struct shape *shape, uint64_t mask)
{
    if (!shape->cold)
        return m->hot;
    m->cursor = m->cursor * 6364136223846793005ull + 1442695040888963407ull;
    return m->cold + ((m->cursor >> 20 & mask) * shape->bytes);
}

/* One loop for each kind, so that memcpy is called as plainly as the others. */
static void run_copies(struct micro *m, const struct routine *r, const struct shape *shape,
                       uint64_t count)
{
    uint64_t mask = cold_arena_bytes / shape->bytes - 1;
    size_t bytes = shape->bytes, moved = 0;
    __asm__("" : "+r"(bytes)); /* a length that the compiler does not know */
    switch (r->kind) {
    case ROUTINE_MEMCPY:
        for (uint64_t i = 0; i < count; i++) {
            memcpy(m->copy, next_source(m, shape, mask), bytes);
            __asm__ volatile("" : : "r"(m->copy) : "memory");
            moved += bytes;
        }
        break;
    case ROUTINE_LOAD:
        for (uint64_t i = 0; i < count; i++)
            moved += r->load(m->copy, next_source(m, shape, mask), bytes);
        break;
    case ROUTINE_TOUCH:
        for (uint64_t i = 0; i < count; i++)
            moved += r->touch(next_source(m, shape, mask), bytes);
        break;
    }
    m->short_copies += moved != bytes * count;
}

static double window_ns(struct micro *m, const struct routine *r, const struct shape *shape,
                        uint64_t count)
{
    uint64_t wall = clock_wall_ns(), cpu = clock_thread_ns();
    run_copies(m, r, shape, count);
    cpu = clock_thread_ns() - cpu;
    wall = clock_wall_ns() - wall;
    return (double)wall > 1.1 * (double)cpu ? NAN : (double)wall / (double)count;
}

/* Copies that fill a window. */
static uint64_t calibrate(struct micro *m, const struct routine *r, const struct shape *shape)
{
    for (uint64_t count = 16;; count *= 2) {
        uint64_t from = clock_wall_ns();
        run_copies(m, r, shape, count);
        if (clock_wall_ns() - from >= WINDOW_NS / 2)
            return count * 2;
    }
}

static void measure(struct micro *m)
{
    for (unsigned s = 0; s < SHAPES; s++)
        for (unsigned r = 0; r < m->routine_count; r++)
            m->cells[s][r].copies = calibrate(m, &m->routines[r], &shapes[s]);
    for (unsigned round = 0; round < ROUNDS; round++)
        for (unsigned s = 0; s < SHAPES; s++)
            for (unsigned r = 0; r < m->routine_count; r++) {
                struct cell *cell = &m->cells[s][r];
                cell->ns[round] = window_ns(m, &m->routines[r], &shapes[s], cell->copies);
            }
}

static void rank_cell(struct cell *cell, const struct cell *base)
{
    double values[ROUNDS], ratios[ROUNDS];
    unsigned count = 0, ratio_count = 0;
    for (unsigned i = 0; i < ROUNDS; i++) {
        if (isnan(cell->ns[i]))
            continue;
        values[count++] = cell->ns[i];
        if (!isnan(base->ns[i]))
            ratios[ratio_count++] = cell->ns[i] / base->ns[i];
    }
    qsort(values, count, sizeof *values, compare_doubles);
    qsort(ratios, ratio_count, sizeof *ratios, compare_doubles);
    cell->quiet = count;
    cell->median = sorted_at(values, count, 0.5);
    cell->p10 = sorted_at(values, count, 0.1);
    cell->p90 = sorted_at(values, count, 0.9);
    cell->ratio = sorted_at(ratios, ratio_count, 0.5);
}

static void print_shape(FILE *out, const struct micro *m, unsigned s)
{
    fprintf(out, "\n%zu B, %s\n", shapes[s].bytes,
            shapes[s].cold ? "cold: random places in 1 GiB of shared memory" : "hot");
    for (unsigned r = 0; r < m->routine_count; r++) {
        const struct cell *cell = &m->cells[s][r];
        fprintf(out, "  %-22s %9.1f ns [%9.1f .. %9.1f] %6.2fx memcpy%s\n", m->routines[r].name,
                cell->median, cell->p10, cell->p90, cell->ratio,
                cell->quiet < QUIET_MIN ? "  (too few quiet windows)" : "");
    }
}

static json_t *cell_json(const struct micro *m, unsigned s, unsigned r)
{
    const struct cell *cell = &m->cells[s][r];
    return json_pack("{s:s, s:I, s:b, s:f, s:f, s:f, s:f, s:i}", "routine", m->routines[r].name,
                     "bytes", (json_int_t)shapes[s].bytes, "cold", (int)shapes[s].cold, "ns",
                     cell->median, "p10_ns", cell->p10, "p90_ns", cell->p90, "time_over_memcpy",
                     cell->ratio, "quiet_windows", (int)cell->quiet);
}

static bool write_json(const struct micro *m, const char *path, const struct machine *machine,
                       struct machine_noise noise)
{
    json_t *report = report_json_head(machine), *cells = json_array();
    for (unsigned s = 0; s < SHAPES; s++)
        for (unsigned r = 0; r < m->routine_count; r++)
            json_array_append_new(cells, cell_json(m, s, r));
    json_object_set_new(report, "micro", cells);
    json_object_set_new(report, "windows", json_integer(ROUNDS));
    json_object_set_new(report, "noise",
                        json_pack("{s:f, s:f, s:f}", "load1", noise.load1, "steal_percent",
                                  noise.steal_percent, "other_percent", noise.other_percent));
    return report_json_write(path, report);
}

/* Fills with words that are never zero: lines of zeros are a special case for some CPUs. */
static void fill(char *at, size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 8) {
        uint64_t word = data_mix(i + 1) | 1;
        memcpy(at + i, &word, 8);
    }
}

/* Shared memory of 4 KiB pages, as a pool on tmpfs is. */
static char *map_cold(void)
{
    int fd = memfd_create("pmkv-bench cold", MFD_CLOEXEC);
    if (fd < 0)
        return NULL;
    void *at = MAP_FAILED;
    if (ftruncate(fd, (off_t)cold_arena_bytes) == 0)
        at = mmap(NULL, cold_arena_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return at == MAP_FAILED ? NULL : at;
}

static bool micro_init(struct micro *m)
{
    m->hot = aligned_alloc(4096, HOT_MAX_BYTES);
    m->copy = aligned_alloc(4096, HOT_MAX_BYTES);
    m->cold = map_cold();
    if (!m->hot || !m->copy || !m->cold) {
        perror("pmkv-bench: memory for the copies");
        return false;
    }
    fill(m->hot, HOT_MAX_BYTES);
    fill(m->copy, HOT_MAX_BYTES);
    fill(m->cold, cold_arena_bytes);
    find_routines(m);
    return true;
}

static void micro_free(struct micro *m)
{
    free(m->hot);
    free(m->copy);
    if (m->cold)
        munmap(m->cold, cold_arena_bytes);
    free(m);
}

static bool measure_and_report(struct micro *m, const struct bench_options *opts)
{
    FILE *out = report_stream(opts);
    struct machine machine;
    struct machine_sample before, after;
    machine_describe(&machine);
    report_machine(out, &machine);
    machine_sample(&before);
    measure(m);
    machine_sample(&after);
    struct machine_noise noise = machine_noise(&before, &after);
    for (unsigned s = 0; s < SHAPES; s++) {
        for (unsigned r = 0; r < m->routine_count; r++)
            rank_cell(&m->cells[s][r], &m->cells[s][0]);
        print_shape(out, m, s);
    }
    fprintf(out, "\nload %.2f, stolen %.1f %%, others %.1f %% of all CPUs\n", noise.load1,
            noise.steal_percent, noise.other_percent);
    if (m->short_copies > 0)
        fprintf(stderr, "pmkv-bench: %zu windows moved fewer bytes than asked\n", m->short_copies);
    bool written = !opts->json_path || write_json(m, opts->json_path, &machine, noise);
    return written && m->short_copies == 0;
}

bool micro_run(const struct bench_options *opts)
{
    struct micro *m = calloc(1, sizeof *m);
    if (!m) {
        fputs("pmkv-bench: out of memory\n", stderr);
        return false;
    }
    bool good = micro_init(m) && measure_and_report(m, opts);
    micro_free(m);
    return good;
}
