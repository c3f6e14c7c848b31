/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* Every variant of the safe copies this CPU can run, against a page that really raises SIGBUS. */
#include "recovery/fault_guard.h"
#include "recovery/mcsafe.h"
#include "recovery/mcsafe_impl.h"

#include "poisoned_map.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static char *base;

static void set_up(void)
{
    signal(SIGBUS, SIG_DFL);
    base = map_poisoned();
    cr_assert_eq(fault_guard_install(false), 0);
    cr_assert_eq(fault_guard_register(base, MAP_BYTES), 0);
}

TestSuite(mcsafe, .init = set_up, .timeout = 300);

/* --- the private side: what may not change is checked ----------------------------------------- */

enum { MARGIN = 128, UNTOUCHED = 0xA5, PRIVATE_BYTES = MARGIN + 64 + MAP_BYTES + MARGIN };
static unsigned char private_memory[PRIVATE_BYTES];

static size_t count_untouched(const unsigned char *from, const unsigned char *to)
{
    size_t n = 0;
    for (; from < to; from++)
        n += *from == UNTOUCHED;
    return n;
}

/* Loads [off, off + bytes) to a private place `skew` off alignment, and checks everything that a
 * load promises when `expected` bytes are readable. */
static void check_load(const struct mc_variant_fns *v, size_t off, size_t bytes, size_t expected,
                       size_t skew)
{
    unsigned char *dst = private_memory + MARGIN + skew;
    const unsigned char *low = dst - MARGIN;
    const unsigned char *high = dst + bytes + MARGIN;
    memset(private_memory + skew, UNTOUCHED, (size_t)(high - low));
    size_t moved = v->load(dst, base + off, bytes);
    cr_assert_eq(moved, expected, "%s: load of %zu at %zu moved %zu, %zu are readable", v->name,
                 bytes, off, moved, expected);
    for (size_t i = 0; i < moved; i++)
        cr_assert_eq(dst[i], pattern(off + i), "%s: load of %zu at %zu: byte %zu is %u, not %u",
                     v->name, bytes, off, i, dst[i], pattern(off + i));
    cr_assert_eq(count_untouched(low, dst), MARGIN, "%s: load of %zu at %zu wrote before dst",
                 v->name, bytes, off);
    cr_assert_eq(count_untouched(dst + moved, high), (size_t)(high - dst) - moved,
                 "%s: load of %zu at %zu wrote beyond the %zu bytes it moved", v->name, bytes, off,
                 moved);
}

static const size_t lengths[] = {1,   2,   3,   4,   5,   7,   8,   9,   15,  16,   17,  24,  31,
                                 32,  33,  48,  63,  64,  65,  95,  96,  97,  127,  128, 129, 191,
                                 192, 193, 255, 256, 257, 320, 511, 512, 513, 1000, 4000};
enum { LENGTHS = sizeof lengths / sizeof lengths[0] };

/* --- load ------------------------------------------------------------------------------------- */

Test(mcsafe, load_copies_good_memory_of_every_length_and_alignment)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (size_t bytes = 0; bytes <= 600; bytes++)
            for (size_t skew = 0; skew < 64; skew += 13)
                check_load(v, 64 + (skew * 5 + bytes) % 64, bytes, bytes, skew);
}

Test(mcsafe, load_stops_at_the_exact_byte_before_poison)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (size_t good = 0; good <= 320; good++)
            for (size_t i = 0; i < LENGTHS; i++)
                check_load(v, EDGE - good, good + lengths[i], good, (good * 3 + i) % 64);
}

Test(mcsafe, long_load_stops_at_the_exact_byte_before_poison)
{
    static const size_t far[] = {511,  512,  513,   1023,  1024,  4095,  4096,
                                 5000, 8191, 28672, 32767, 32768, 50001, EDGE};
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (size_t i = 0; i < sizeof far / sizeof far[0]; i++) {
            check_load(v, EDGE - far[i], far[i] + 4096, far[i], i);
            check_load(v, EDGE - far[i], far[i], far[i], i);
        }
}

Test(mcsafe, load_that_ends_at_the_poison_or_begins_behind_it_is_whole)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (size_t i = 0; i < LENGTHS; i++) {
            check_load(v, EDGE - lengths[i], lengths[i], lengths[i], i);
            check_load(v, AFTER, lengths[i], lengths[i], i);
        }
}

Test(mcsafe, load_that_begins_inside_poison_moves_nothing)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (size_t i = 0; i < LENGTHS; i++) {
            check_load(v, EDGE + 4096 - lengths[i], lengths[i] + 300, 0, i);
            check_load(v, EDGE + 5, lengths[i], 0, i);
        }
}

/* --- store ------------------------------------------------------------------------------------ */

static mc_store_fn store_of(const struct mc_variant_fns *v, int which)
{
    return which == 0 ? v->store_plain : which == 1 ? v->store_nt : v->store_clwb;
}

static const char *const store_names[] = {"plain", "nt", "clwb"};
enum { STORES = 3 };

static void restore_map(void)
{
    for (size_t i = 0; i < MAP_BYTES; i++)
        if (i < EDGE || i >= AFTER)
            base[i] = (char)pattern(i);
}

/* Stores `bytes` at `off`; `lines` of them are writable. Everything else keeps its bytes. */
static void check_store(const struct mc_variant_fns *v, int which, size_t off, size_t bytes,
                        size_t writable, size_t skew)
{
    unsigned char *src = private_memory + skew;
    for (size_t i = 0; i < bytes; i++)
        src[i] = (unsigned char)~pattern(off + i);
    restore_map();
    size_t moved = store_of(v, which)(base + off, src, bytes);
    mc_fence();
    cr_assert_eq(moved, writable, "%s: %s store of %zu at %zu moved %zu, %zu are writable", v->name,
                 store_names[which], bytes, off, moved, writable);
    for (size_t i = 0; i < MAP_BYTES; i++) {
        if (i == EDGE)
            i = AFTER;
        bool stored = i >= off && i < off + moved;
        unsigned char want = stored ? (unsigned char)~pattern(i) : pattern(i);
        cr_assert_eq((unsigned char)base[i], want, "%s: %s store of %zu at %zu: byte %zu is %u",
                     v->name, store_names[which], bytes, off, i, (unsigned char)base[i]);
    }
}

Test(mcsafe, store_writes_its_lines_and_no_others)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (int which = 0; which < STORES; which++)
            for (size_t lines = 0; lines <= 9; lines++)
                check_store(v, which, 640, lines * 64, lines * 64, lines * 7);
}

Test(mcsafe, store_stops_at_the_line_before_poison)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (int which = 0; which < STORES; which++)
            for (size_t good = 0; good <= 9; good++)
                for (size_t more = 1; more <= 65; more += 8)
                    check_store(v, which, EDGE - good * 64, (good + more) * 64, good * 64, more);
}

Test(mcsafe, store_of_a_broken_line_is_cut_and_not_exceeded)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (int which = 0; which < STORES; which++)
            check_store(v, which, 640, 3 * 64 + 63, 3 * 64, 0);
}

/* A pool to pool copy: the source faults, not the target. */
Test(mcsafe, store_survives_poison_in_its_source)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (int which = 0; which < STORES; which++) {
            size_t moved = store_of(v, which)(base, base + EDGE - 192, 512);
            cr_assert_eq(moved, 192, "%s: %s store moved %zu", v->name, store_names[which], moved);
        }
}

#if defined(__x86_64__)
/* A CPU with clwb never chooses the two older instructions by itself. */
Test(mcsafe, store_writes_back_with_any_instruction_the_cpu_has)
{
    struct mc_variant_fns older[] = {
        {.name = "8-byte clflushopt", .store_clwb = mc_x86_store_8byte_clflushopt},
        {.name = "8-byte clflush", .store_clwb = mc_x86_store_8byte_clflush},
        {.name = "avx2 clflushopt", .store_clwb = mc_x86_store_avx2_clflushopt},
        {.name = "avx2 clflush", .store_clwb = mc_x86_store_avx2_clflush},
        {.name = "avx512 clflushopt", .store_clwb = mc_x86_store_avx512_clflushopt},
        {.name = "avx512 clflush", .store_clwb = mc_x86_store_avx512_clflush},
    };
    if (mc_variants()[0].store_clwb != mc_x86_store_avx512_clwb)
        cr_skip_test("this CPU does not have them all");
    for (size_t i = 0; i < sizeof older / sizeof older[0]; i++)
        for (size_t good = 0; good <= 5; good++)
            check_store(&older[i], 2, EDGE - good * 64, (good + 3) * 64, good * 64, i);
}
#endif

/* --- touch ------------------------------------------------------------------------------------ */

Test(mcsafe, touch_counts_the_bytes_before_poison)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (size_t good = 0; good <= 700; good++)
            for (size_t i = 0; i < LENGTHS; i++) {
                size_t touched = v->touch(base + EDGE - good, good + lengths[i]);
                cr_assert_eq(touched, good, "%s: touch of %zu, %zu good: %zu", v->name,
                             good + lengths[i], good, touched);
            }
}

Test(mcsafe, touch_of_good_memory_is_whole)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        for (size_t bytes = 0; bytes <= 700; bytes++)
            for (size_t gap = 0; gap < 130; gap += 43) {
                size_t touched = v->touch(base + EDGE - gap - bytes, bytes);
                cr_assert_eq(touched, bytes, "%s: touch of %zu: %zu", v->name, bytes, touched);
            }
}

/* --- threads ---------------------------------------------------------------------------------- */

struct hammer {
    const struct mc_variant_fns *variant;
    atomic_int *gate;
    int hits;
    int wrong;
};

static void *hammer_poison(void *arg)
{
    struct hammer *h = arg;
    char dst[1024];
    fault_guard_thread();
    atomic_fetch_sub(h->gate, 1);
    while (atomic_load(h->gate) > 0)
        ;
    for (int i = 0; i < h->hits; i++) {
        size_t good = (size_t)(i * 37) % 600;
        size_t moved = h->variant->load(dst, base + EDGE - good, good + 1 + (size_t)i % 400);
        h->wrong += moved != good || memcmp(dst, base + EDGE - good, good) != 0;
    }
    return NULL;
}

static void check_two_threads(const struct mc_variant_fns *v, int hits)
{
    atomic_int gate = 2;
    struct hammer h[2] = {{v, &gate, hits, 0}, {v, &gate, hits, 0}};
    pthread_t thread[2];
    for (int i = 0; i < 2; i++)
        cr_assert_eq(pthread_create(&thread[i], NULL, hammer_poison, &h[i]), 0);
    for (int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    cr_assert_eq(h[0].wrong + h[1].wrong, 0, "%s: %d of %d wrong", v->name, h[0].wrong + h[1].wrong,
                 2 * hits);
}

Test(mcsafe, two_threads_hit_poison_a_hundred_thousand_times)
{
    const char *hits = getenv("PMKV_TEST_HITS"); /* fewer under valgrind */
    check_two_threads(mc_variants(), hits ? atoi(hits) : 100000);
}

Test(mcsafe, two_threads_hit_poison_in_every_variant)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        check_two_threads(v, 2000);
}

/* --- selection -------------------------------------------------------------------------------- */

Test(mcsafe, the_variant_in_use_is_one_of_the_list)
{
    mc_load_fn listed = NULL;
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        if (strcmp(v->name, mc_variant()) == 0)
            listed = v->load;
    cr_assert_not_null(listed, "%s is not listed", mc_variant());
    char dst[100];
    cr_assert_eq(mc_load(dst, base + EDGE - 77, 100), 77);
    cr_assert_eq(mc_touch(base + EDGE - 77, 100), 77);
}

Test(mcsafe, the_widest_variant_is_in_use)
{
#ifdef MC_FORCE_PORTABLE
    cr_assert_str_eq(mc_variant(), "portable");
#else
    cr_assert_str_eq(mc_variant(), mc_variants()[0].name);
    cr_assert_eq(mc_touch, mc_variants()[0].touch);
#endif
}

Test(mcsafe, the_portable_variant_is_always_listed_last)
{
    const char *last = "none";
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++)
        last = v->name;
    cr_assert_str_eq(last, "portable");
}

/* The jump out of the handler would leave SIGBUS blocked, and the second fault would kill. */
Test(mcsafe, a_fault_leaves_the_signal_mask_as_it_was)
{
    for (const struct mc_variant_fns *v = mc_variants(); v->name; v++) {
        char dst[128];
        sigset_t before, after;
        sigemptyset(&before);
        sigaddset(&before, SIGUSR1);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        cr_assert_eq(v->load(dst, base + EDGE - 1, 128), 1);
        pthread_sigmask(SIG_SETMASK, NULL, &after);
        for (int sig = 1; sig < 32; sig++)
            cr_assert_eq(sigismember(&after, sig), sig == SIGUSR1, "%s: signal %d", v->name, sig);
    }
}
