/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* What a bad page costs who meets it: a signal takes as long as ten gets. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kv/pmkv.h"

enum { KEYS = 2000, VALUE_BYTES = 200 };

static char path[64];
static volatile sig_atomic_t signals;

static void count_and_pass_on(int sig, siginfo_t *info, void *context)
{
    (void)sig;
    signals++;
    if (!pmkv_sigbus_filter(info, context))
        _exit(1);
}

static void begin(void)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO};
    act.sa_sigaction = count_and_pass_on;
    cr_assert_eq(sigaction(SIGBUS, &act, NULL), 0);
    snprintf(path, sizeof path, "/dev/shm/pmkv-one-signal.%d", (int)getpid());
}

static void end(void)
{
    unlink(path);
}

TestSuite(one_signal, .init = begin, .fini = end);

static struct pmkv *must_open(void)
{
    struct pmkv *kv = NULL;
    struct pmkv_options o;
    pmkv_options_init(&o);
    o.pool_bytes = 64 << 20;
    o.create_if_missing = true;
    o.allow_inject = true;
    o.no_background = true; /* nobody else meets the page, or repairs it */
    o.sigbus = PMKV_SIGBUS_FILTER_ONLY;
    cr_assert_eq(pmkv_open(path, &o, &kv), PMKV_OK, "%s", pmkv_errormsg());
    return kv;
}

static size_t name_of(char key[32], unsigned i)
{
    return (size_t)snprintf(key, 32, "key %u", i);
}

static void poison(struct pmkv *kv, unsigned i)
{
    char key[32];
    struct pmkv_inject at = {.size = sizeof at,
                             .kind = PMKV_INJECT_POISON,
                             .target = PMKV_INJECT_AT_KEY,
                             .unit_bytes = 4096,
                             .key = key,
                             .key_bytes = name_of(key, i),
                             .count = 1};
    cr_assert_eq(pmkv_inject(kv, &at, NULL), PMKV_OK, "%s", pmkv_errormsg());
}

static void must_get(struct pmkv *kv, unsigned i)
{
    char key[32], value[VALUE_BYTES], expected[VALUE_BYTES];
    size_t bytes;
    memset(expected, (int)i, sizeof expected);
    cr_assert_eq(pmkv_get(kv, key, name_of(key, i), value, sizeof value, &bytes), PMKV_OK, "%s",
                 pmkv_errormsg());
    cr_assert_eq(bytes, sizeof value);
    cr_assert_eq(memcmp(value, expected, bytes), 0, "key %u", i);
}

Test(one_signal, a_get_that_meets_a_bad_page_takes_one)
{
    struct pmkv *kv = must_open();
    for (unsigned i = 0; i < KEYS; i++) {
        char key[32], value[VALUE_BYTES];
        memset(value, (int)i, sizeof value);
        cr_assert_eq(pmkv_put(kv, key, name_of(key, i), value, sizeof value), PMKV_OK);
    }
    pmkv_close(&kv);
    kv = must_open();
    for (unsigned i = 0; i < KEYS / 2; i += 97) {
        poison(kv, i);
        signals = 0;
        must_get(kv, i);
        cr_assert_eq(signals, 1, "key %u: %d signals", i, (int)signals);
        cr_assert_eq(pmkv_repair(kv, NULL), PMKV_OK, "%s", pmkv_errormsg());
    }
    pmkv_close(&kv);
}
