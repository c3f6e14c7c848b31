/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"

static const char help_text[] =
    "pmkv-bench: what libpmkv costs, beside what the machine allows\n"
    "\n"
    "  pmkv-bench [--benchmarks=LIST] [OPTIONS]\n"
    "  pmkv-bench --micro [--json FILE]\n"
    "\n"
    "  --benchmarks=LIST   of fillrandom readrandom overwrite readmissing deleterandom batch16\n"
    "                      limit reopen (default: fillrandom,readrandom,overwrite,readmissing,\n"
    "                      batch16,limit,deleterandom)\n"
    "  --num=N             keys (default 1000000)\n"
    "  --threads=T         threads (default 1)\n"
    "  --key-size=B        bytes of a key, 8 or more (default 16)\n"
    "  --value-size=B      bytes of a value, 16 to 1048576 (default 200)\n"
    "  --geometry=NAME     parity, double, mirror or none (default parity)\n"
    "  --pool=PATH         the pool, made and removed (default /dev/shm/pmkv-bench.pool)\n"
    "  --pool-size=SIZE    auto, or bytes with K, M or G (default auto: data fills half of it)\n"
    "  --flush=MODE        auto, or line: sets PMEM2_FORCE_GRANULARITY=CACHE_LINE, so that shared\n"
    "                      memory is flushed as persistent memory is (default auto)\n"
    "  --rounds=R          repeats the list, with a new pool at each fillrandom (default 1)\n"
    "  --seed=N            orders of the keys (default 1)\n"
    "  --json=FILE         writes all figures there, - is the standard output\n"
    "  --keep              does not remove the pool at the end\n"
    "  --force             replaces a pool that is at PATH\n"
    "  --micro             the safe copies beside memcpy, no pool\n"
    "  --help, --version\n"
    "\n"
    "Exit status: 0 all good, 1 an operation failed or a value was wrong, 2 usage.\n";

static const char *const step_names[STEP_KINDS] = {
    [STEP_FILLRANDOM] = "fillrandom",
    [STEP_READRANDOM] = "readrandom",
    [STEP_OVERWRITE] = "overwrite",
    [STEP_READMISSING] = "readmissing",
    [STEP_DELETERANDOM] = "deleterandom",
    [STEP_BATCH16] = "batch16",
    [STEP_LIMIT] = "limit",
    [STEP_REOPEN] = "reopen",
};

const char *step_name(enum step step)
{
    return step_names[step];
}

enum option_id {
    OPT_BENCHMARKS = 256,
    OPT_NUM,
    OPT_THREADS,
    OPT_KEY_SIZE,
    OPT_VALUE_SIZE,
    OPT_GEOMETRY,
    OPT_POOL,
    OPT_POOL_SIZE,
    OPT_FLUSH,
    OPT_ROUNDS,
    OPT_SEED,
    OPT_JSON,
    OPT_KEEP,
    OPT_FORCE,
    OPT_MICRO,
    OPT_HELP,
    OPT_VERSION
};

static const struct option long_options[] = {
    {"benchmarks", required_argument, NULL, OPT_BENCHMARKS},
    {"num", required_argument, NULL, OPT_NUM},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"key-size", required_argument, NULL, OPT_KEY_SIZE},
    {"value-size", required_argument, NULL, OPT_VALUE_SIZE},
    {"geometry", required_argument, NULL, OPT_GEOMETRY},
    {"pool", required_argument, NULL, OPT_POOL},
    {"pool-size", required_argument, NULL, OPT_POOL_SIZE},
    {"flush", required_argument, NULL, OPT_FLUSH},
    {"rounds", required_argument, NULL, OPT_ROUNDS},
    {"seed", required_argument, NULL, OPT_SEED},
    {"json", required_argument, NULL, OPT_JSON},
    {"keep", no_argument, NULL, OPT_KEEP},
    {"force", no_argument, NULL, OPT_FORCE},
    {"micro", no_argument, NULL, OPT_MICRO},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {NULL, 0, NULL, 0},
};

static bool bad_value(const char *option, const char *text, const char *wanted)
{
    fprintf(stderr, "pmkv-bench: --%s: \"%s\" is not %s\n", option, text, wanted);
    return false;
}

/* A whole number in [low, high], with K, M or G (powers of 1024) when `size` is set. */
static bool parse_number(const char *option, const char *text, bool size, uint64_t low,
                         uint64_t high, uint64_t *out)
{
    char wanted[96];
    snprintf(wanted, sizeof wanted, "a number from %llu to %llu", (unsigned long long)low,
             (unsigned long long)high);
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || end == text || *text == '-')
        return bad_value(option, text, wanted);
    unsigned shift = 0;
    if (size && *end) {
        shift = *end == 'K' ? 10 : *end == 'M' ? 20 : *end == 'G' ? 30 : 0;
        end += shift != 0;
    }
    if (*end || value > high >> shift || value << shift < low)
        return bad_value(option, text, wanted);
    *out = (uint64_t)value << shift;
    return true;
}

static bool parse_steps(struct bench_options *opts, const char *text)
{
    opts->step_count = 0;
    while (*text) {
        size_t count = strcspn(text, ",");
        unsigned kind = 0;
        while (kind < STEP_KINDS &&
               (strlen(step_names[kind]) != count || strncmp(step_names[kind], text, count) != 0))
            kind++;
        if (kind == STEP_KINDS || opts->step_count == OPTIONS_MAX_STEPS)
            return bad_value("benchmarks", text, "a benchmark (see --help)");
        opts->steps[opts->step_count++] = (enum step)kind;
        text += count;
        text += *text == ',';
    }
    return opts->step_count > 0 || bad_value("benchmarks", text, "a list of benchmarks");
}

static bool parse_geometry(struct bench_options *opts, const char *text)
{
    static const char *const names[] = {"parity", "double", "mirror", "none"};
    static const enum pmkv_geometry values[] = {PMKV_PARITY, PMKV_DOUBLE, PMKV_MIRROR, PMKV_NONE};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i], text) != 0)
            continue;
        opts->geometry = values[i];
        return true;
    }
    return bad_value("geometry", text, "parity, double, mirror or none");
}

static bool parse_flush(struct bench_options *opts, const char *text)
{
    opts->flush_line = strcmp(text, "line") == 0;
    return opts->flush_line || strcmp(text, "auto") == 0 ||
           bad_value("flush", text, "auto or line");
}

static bool parse_size_option(struct bench_options *opts, int id, const char *text)
{
    uint64_t n = 0;
    switch (id) {
    case OPT_KEY_SIZE:
        if (!parse_number("key-size", text, true, 8, 1024, &n))
            return false;
        opts->key_bytes = (size_t)n;
        return true;
    case OPT_VALUE_SIZE:
        if (!parse_number("value-size", text, true, VALUE_MIN_BYTES, VALUE_MAX_BYTES, &n))
            return false;
        opts->value_bytes = (size_t)n;
        return true;
    default:
        opts->pool_bytes = 0;
        return strcmp(text, "auto") == 0 ||
               parse_number("pool-size", text, true, 1 << 20, 1ull << 50, &opts->pool_bytes);
    }
}

static bool parse_count_option(struct bench_options *opts, int id, const char *text)
{
    uint64_t n = 0;
    switch (id) {
    case OPT_NUM:
        return parse_number("num", text, false, 1, 1ull << 40, &opts->num);
    case OPT_SEED:
        return parse_number("seed", text, false, 0, UINT64_MAX, &opts->seed);
    case OPT_THREADS:
        if (!parse_number("threads", text, false, 1, OPTIONS_MAX_THREADS, &n))
            return false;
        opts->threads = (unsigned)n;
        return true;
    default:
        if (!parse_number("rounds", text, false, 1, 1000, &n))
            return false;
        opts->rounds = (unsigned)n;
        return true;
    }
}

static bool parse_option(struct bench_options *opts, int id, const char *text)
{
    switch (id) {
    case OPT_BENCHMARKS:
        return parse_steps(opts, text);
    case OPT_KEY_SIZE:
    case OPT_VALUE_SIZE:
    case OPT_POOL_SIZE:
        return parse_size_option(opts, id, text);
    case OPT_NUM:
    case OPT_SEED:
    case OPT_THREADS:
    case OPT_ROUNDS:
        return parse_count_option(opts, id, text);
    case OPT_GEOMETRY:
        return parse_geometry(opts, text);
    case OPT_FLUSH:
        return parse_flush(opts, text);
    case OPT_POOL:
        opts->pool_path = text;
        return true;
    case OPT_JSON:
        opts->json_path = text;
        return true;
    case OPT_KEEP:
        return opts->keep_pool = true;
    case OPT_FORCE:
        return opts->force = true;
    case OPT_MICRO:
        return opts->micro = true;
    default:
        return false; /* getopt has said why */
    }
}

/* Readers of missing keys use numbers from num to 2 num: they must have names of their own. */
static bool options_fit(const struct bench_options *opts)
{
    if (opts->key_bytes >= KEY_DIGITS || 2 * opts->num <= 1ull << (4 * opts->key_bytes))
        return true;
    fprintf(stderr, "pmkv-bench: keys of %zu bytes do not name %llu records\n", opts->key_bytes,
            (unsigned long long)opts->num);
    return false;
}

enum options_outcome options_parse(struct bench_options *opts, int argc, char **argv)
{
    *opts = (struct bench_options){
        .num = 1000000,
        .threads = 1,
        .rounds = 1,
        .key_bytes = 16,
        .value_bytes = 200,
        .geometry = PMKV_PARITY,
        .pool_path = "/dev/shm/pmkv-bench.pool",
        .seed = 1,
    };
    parse_steps(opts, "fillrandom,readrandom,overwrite,readmissing,batch16,limit,deleterandom");
    int id;
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (id == OPT_HELP) {
            fputs(help_text, stdout);
            return OPTIONS_DONE;
        }
        if (id == OPT_VERSION) {
            printf("pmkv-bench %s\n", pmkv_version());
            return OPTIONS_DONE;
        }
        if (!parse_option(opts, id, optarg))
            return OPTIONS_BAD;
    }
    if (optind < argc) {
        fprintf(stderr, "pmkv-bench: \"%s\": there are options only (see --help)\n", argv[optind]);
        return OPTIONS_BAD;
    }
    return options_fit(opts) ? OPTIONS_RUN : OPTIONS_BAD;
}

uint64_t options_pool_bytes(const struct bench_options *opts)
{
    if (opts->pool_bytes != 0)
        return opts->pool_bytes;
    static const double factor[] = {
        [PMKV_PARITY] = 9.0 / 8, [PMKV_DOUBLE] = 10.0 / 8, [PMKV_MIRROR] = 2, [PMKV_NONE] = 1};
    uint64_t record = (opts->key_bytes + opts->value_bytes + 64 + 63) & ~63ull;
    double bytes = (double)opts->num * (double)record * 2 * 1.04 * factor[opts->geometry];
    uint64_t unit = 2ull << 20;
    return ((uint64_t)bytes + (64ull << 20)) / unit * unit + unit;
}
