/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *geometry_text;

static _Noreturn void usage(const char *program, const struct test_option *common,
                            const struct test_option *extra, int code)
{
    FILE *out = code == 0 ? stdout : stderr;
    fprintf(out, "usage: %s [options]\n", program);
    for (const struct test_option *o = common; o->name != NULL; o++)
        fprintf(out, "  --%-14s %s\n", o->name, o->help);
    for (const struct test_option *o = extra; o != NULL && o->name != NULL; o++)
        fprintf(out, "  --%-14s %s\n", o->name, o->help);
    fprintf(out, "exit: 0 ok, 1 failed, 77 skipped\n");
    exit(code);
}

/* An option by the name at `text`, which may go on with '='. */
static const struct test_option *option_find(const struct test_option *table, const char *text)
{
    for (const struct test_option *o = table; o != NULL && o->name != NULL; o++) {
        size_t n = strlen(o->name);
        if (strncmp(o->name, text, n) == 0 && (text[n] == 0 || text[n] == '='))
            return o;
    }
    return NULL;
}

static bool option_set(const struct test_option *o, const char *value)
{
    char *end;
    switch (o->kind) {
    case TEST_OPTION_FLAG:
        *(bool *)o->value = true;
        return true;
    case TEST_OPTION_NUMBER:
        *(uint64_t *)o->value = strtoull(value, &end, 0);
        return *value != 0 && *end == 0;
    case TEST_OPTION_TEXT:
        *(const char **)o->value = value;
        return true;
    }
    return false;
}

static bool geometry_parse(enum pmkv_geometry *geometry)
{
    static const char *const names[] = {"parity", "double", "mirror", "none"};
    for (unsigned i = 0; i < 4; i++) {
        if (strcmp(geometry_text, names[i]) == 0) {
            *geometry = (enum pmkv_geometry)i;
            return true;
        }
    }
    return false;
}

static uint64_t default_seed(void)
{
    const char *text = getenv("PMKV_TEST_SEED");
    if (text != NULL)
        return strtoull(text, NULL, 0);
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 + (uint64_t)getpid();
}

void test_options_parse(struct test_options *options, const struct test_option *extra, int argc,
                        char **argv)
{
    const struct test_option common[] = {
        {"seconds", TEST_OPTION_NUMBER, &options->seconds, "N: length of the timed part"},
        {"rounds", TEST_OPTION_NUMBER, &options->rounds, "N: rounds of the counted part"},
        {"seed", TEST_OPTION_NUMBER, &options->seed, "N: replay"},
        {"pool-mib", TEST_OPTION_NUMBER, &options->pool_mib, "N: size of the pool"},
        {"geometry", TEST_OPTION_TEXT, &geometry_text, "parity, double, mirror or none"},
        {"dir", TEST_OPTION_TEXT, &options->dir, "DIR: where the pool is made"},
        {"self-test", TEST_OPTION_FLAG, &options->self_test, "corrupt the oracle: must be noticed"},
        {"keep", TEST_OPTION_FLAG, &options->keep, "keep the pool file"},
        {NULL, TEST_OPTION_FLAG, NULL, NULL},
    };
    if (options->seed == 0)
        options->seed = default_seed();
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            usage(argv[0], common, extra, 0);
        const struct test_option *o = NULL;
        if (strncmp(argv[i], "--", 2) == 0) {
            o = option_find(common, argv[i] + 2);
            if (o == NULL)
                o = option_find(extra, argv[i] + 2);
        }
        if (o == NULL)
            usage(argv[0], common, extra, 2);
        const char *value = strchr(argv[i], '=');
        if (value != NULL)
            value++;
        else if (o->kind != TEST_OPTION_FLAG)
            value = i + 1 < argc ? argv[++i] : "";
        if (!option_set(o, value))
            usage(argv[0], common, extra, 2);
    }
    if (geometry_text != NULL && !geometry_parse(&options->geometry))
        usage(argv[0], common, extra, 2);
}
