/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * Which safe copies this CPU runs, and the exception table's look-up.
 *
 * The widest variant wins: it costs nothing against memcpy. CPUID decides at run time, not the
 * compiler's flags: valgrind shows a CPU without AVX-512, so its users get a variant it can run.
 * -DMC_FORCE_PORTABLE builds a library that selects the portable routines, to test them everywhere.
 */
#include "mcsafe_impl.h"

#include "fault_guard.h"

#include <pthread.h>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define MC_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define MC_ASAN 1
#endif
#endif

/* Safe on every CPU, for a caller that comes before mc_select. */
mc_load_fn mc_load = mc_portable_load;
mc_store_fn mc_store_plain = mc_portable_store_plain;
mc_store_fn mc_store_nt = mc_portable_store_flush;
mc_store_fn mc_store_clwb = mc_portable_store_flush;
mc_touch_fn mc_touch = mc_portable_touch;

enum { VARIANTS_MAX = 5 };
static struct mc_variant_fns variants[VARIANTS_MAX + 1];
static const char *chosen = "portable";

/* --- what the CPU has ------------------------------------------------------------------------- */

#if defined(__x86_64__)

enum write_back { WRITE_BACK_CLFLUSH, WRITE_BACK_CLFLUSHOPT, WRITE_BACK_CLWB };

/* unreached: a CPU answers in one way. */
static enum write_back cpu_write_back(void)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
        return WRITE_BACK_CLFLUSH;
    if (ebx & 1u << 24)
        return WRITE_BACK_CLWB;
    return ebx & 1u << 23 ? WRITE_BACK_CLFLUSHOPT : WRITE_BACK_CLFLUSH;
}

#define X86_VARIANT(label, width, how)                                                             \
    (struct mc_variant_fns)                                                                        \
    {                                                                                              \
        .name = label, .load = mc_x86_load_##width, .store_plain = mc_x86_store_##width##_plain,   \
        .store_nt = mc_x86_store_##width##_nt,                                                     \
        .store_clwb = how == WRITE_BACK_CLWB         ? mc_x86_store_##width##_clwb                 \
                      : how == WRITE_BACK_CLFLUSHOPT ? mc_x86_store_##width##_clflushopt           \
                                                     : mc_x86_store_##width##_clflush,             \
        .touch = mc_x86_touch,                                                                     \
    }

/* Fast short rep movsb: see X5 in mcsafe_x86.S. */
/* unreached: a CPU answers in one way. */
static bool cpu_fast_strings(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && edx & 1u << 4;
}

/* Best first. __builtin_cpu_supports also asks whether the system saves the wide registers. */
/* unreached: a CPU answers in one way (tests/media/test_mcsafe.c calls every variant it has). */
static size_t cpu_variants(struct mc_variant_fns *list)
{
    size_t count = 0;
    enum write_back how = cpu_write_back();
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("bmi2")) {
        list[count] = X86_VARIANT("avx512", avx512, how);
        if (cpu_fast_strings()) {
            list[count + 1] = list[count];
            list[count].name = "avx512-rep";
            list[count++].load = mc_x86_load_avx512_rep;
        }
        count++;
    }
    if (__builtin_cpu_supports("avx2"))
        list[count++] = X86_VARIANT("avx2", avx2, how);
    list[count++] = X86_VARIANT("8-byte", 8byte, how);
    return count;
}

#else

static size_t cpu_variants(struct mc_variant_fns *list)
{
    (void)list;
    return 0;
}

#endif

/* --- AddressSanitizer does not see into assembly: ask it about the private side --------------- */

#ifdef MC_ASAN

void *__asan_region_is_poisoned(void *begin, size_t bytes);

static struct mc_variant_fns checked;

static void private_read(const void *src, size_t bytes)
{
    const volatile char *bad = __asan_region_is_poisoned((void *)(uintptr_t)src, bytes);
    if (bad)
        (void)*bad; /* reports */
}

static size_t checked_load(void *dst, const void *src, size_t bytes)
{
    volatile char *bad = __asan_region_is_poisoned(dst, bytes);
    if (bad)
        *bad = 0; /* reports */
    return checked.load(dst, src, bytes);
}

static size_t checked_store_plain(void *dst, const void *src, size_t bytes)
{
    private_read(src, bytes);
    return checked.store_plain(dst, src, bytes);
}

static size_t checked_store_nt(void *dst, const void *src, size_t bytes)
{
    private_read(src, bytes);
    return checked.store_nt(dst, src, bytes);
}

static size_t checked_store_clwb(void *dst, const void *src, size_t bytes)
{
    private_read(src, bytes);
    return checked.store_clwb(dst, src, bytes);
}

static struct mc_variant_fns instrument(struct mc_variant_fns v)
{
    checked = v;
    return (struct mc_variant_fns){
        .name = v.name,
        .load = checked_load,
        .store_plain = checked_store_plain,
        .store_nt = checked_store_nt,
        .store_clwb = checked_store_clwb,
        .touch = v.touch,
    };
}

#else

static struct mc_variant_fns instrument(struct mc_variant_fns v)
{
    return v;
}

#endif

/* --- selection -------------------------------------------------------------------------------- */

static void use(struct mc_variant_fns v)
{
    chosen = v.name;
    v = instrument(v);
    mc_load = v.load;
    mc_store_plain = v.store_plain;
    mc_store_nt = v.store_nt;
    mc_store_clwb = v.store_clwb;
    mc_touch = v.touch;
}

static void select_once(void)
{
    mc_portable_select();
    size_t count = cpu_variants(variants);
    variants[count] = (struct mc_variant_fns){
        .name = "portable",
        .load = mc_portable_load,
        .store_plain = mc_portable_store_plain,
        .store_nt = mc_portable_store_flush,
        .store_clwb = mc_portable_store_flush,
        .touch = mc_portable_touch,
    };
#ifdef MC_FORCE_PORTABLE
    use(variants[count]);
#else
    use(variants[0]);
#endif
}

void mc_select(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, select_once);
}

const char *mc_variant(void)
{
    mc_select();
    return chosen;
}

const struct mc_variant_fns *mc_variants(void)
{
    mc_select();
    return variants;
}

void mc_fence(void)
{
#if defined(__x86_64__)
    __asm__ volatile("sfence" ::: "memory");
#elif defined(__aarch64__)
    __asm__ volatile("dsb sy" ::: "memory");
#endif
}

/* --- the exception table ---------------------------------------------------------------------- */

#if defined(__x86_64__)

/* Each field is the distance from itself to the place it means. */
struct mc_range {
    int32_t from, to, fixup;
};
_Static_assert(sizeof(struct mc_range) == 12, "as mcsafe_x86.S writes it");

extern const struct mc_range __start_mc_extab[] __attribute__((visibility("hidden")));
extern const struct mc_range __stop_mc_extab[] __attribute__((visibility("hidden")));

static uintptr_t place(const int32_t *field)
{
    return (uintptr_t)field + (uintptr_t)(intptr_t)*field;
}

uintptr_t mc_fixup(uintptr_t instruction)
{
    for (const struct mc_range *r = __start_mc_extab; r < __stop_mc_extab; r++)
        if (instruction >= place(&r->from) && instruction < place(&r->to))
            return place(&r->fixup);
    return 0;
}

#else

uintptr_t mc_fixup(uintptr_t instruction)
{
    (void)instruction;
    return 0;
}

#endif
