/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "data.h"

static const char *const step_names[STEP_KINDS] = {
    [STEP_FILLSEQ] = "fillseq",
    [STEP_FILLRANDOM] = "fillrandom",
    [STEP_OVERWRITE] = "overwrite",
    [STEP_UPDATE] = "update",
    [STEP_WRITEBATCH] = "writebatch",
    [STEP_READRANDOM] = "readrandom",
    [STEP_READMISSING] = "readmissing",
    [STEP_MULTIREADRANDOM] = "multireadrandom",
    [STEP_READWHILEWRITING] = "readwhilewriting",
    [STEP_SEEKRANDOM] = "seekrandom",
    [STEP_DELETERANDOM] = "deleterandom",
    [STEP_YCSBA] = "ycsba",
    [STEP_YCSBB] = "ycsbb",
    [STEP_YCSBC] = "ycsbc",
    [STEP_YCSBD] = "ycsbd",
    [STEP_YCSBE] = "ycsbe",
    [STEP_YCSBF] = "ycsbf",
    [STEP_OPEN] = "open",
    [STEP_OPENKILLED] = "openkilled",
    [STEP_SCRUB] = "scrub",
    [STEP_PACK] = "pack",
    [STEP_LIMIT] = "limit",
};

const char *step_name(enum step step)
{
    return step_names[step];
}

enum option_id {
    OPT_BENCHMARKS = 256,
    OPT_ENGINE,
    OPT_NUM,
    OPT_THREADS,
    OPT_KEY_SIZE,
    OPT_VALUE_SIZE,
    OPT_BATCH,
    OPT_DURATION,
    OPT_RATE,
    OPT_DISTRIBUTION,
    OPT_INJECT,
    OPT_GEOMETRY,
    OPT_BACKEND,
    OPT_POOL,
    OPT_POOL_SIZE,
    OPT_FILL,
    OPT_SCRUB,
    OPT_FLUSH,
    OPT_ROUNDS,
    OPT_SEED,
    OPT_JSON,
    OPT_HDR,
    OPT_REPORT,
    OPT_ROWS_FD,
    OPT_OPENED_FD,
    OPT_KEEP,
    OPT_USE_EXISTING,
    OPT_FORCE,
    OPT_MICRO,
    OPT_HELP,
    OPT_VERSION
};

static const struct option long_options[] = {
    {"benchmarks", required_argument, NULL, OPT_BENCHMARKS},
    {"engine", required_argument, NULL, OPT_ENGINE},
    {"num", required_argument, NULL, OPT_NUM},
    {"threads", required_argument, NULL, OPT_THREADS},
    {"key-size", required_argument, NULL, OPT_KEY_SIZE},
    {"value-size", required_argument, NULL, OPT_VALUE_SIZE},
    {"batch", required_argument, NULL, OPT_BATCH},
    {"duration", required_argument, NULL, OPT_DURATION},
    {"rate", required_argument, NULL, OPT_RATE},
    {"distribution", required_argument, NULL, OPT_DISTRIBUTION},
    {"inject", required_argument, NULL, OPT_INJECT},
    {"geometry", required_argument, NULL, OPT_GEOMETRY},
    {"backend", required_argument, NULL, OPT_BACKEND},
    {"pool", required_argument, NULL, OPT_POOL},
    {"pool-size", required_argument, NULL, OPT_POOL_SIZE},
    {"fill", required_argument, NULL, OPT_FILL},
    {"scrub", required_argument, NULL, OPT_SCRUB},
    {"flush", required_argument, NULL, OPT_FLUSH},
    {"rounds", required_argument, NULL, OPT_ROUNDS},
    {"seed", required_argument, NULL, OPT_SEED},
    {"json", required_argument, NULL, OPT_JSON},
    {"hdr", required_argument, NULL, OPT_HDR},
    {"report", required_argument, NULL, OPT_REPORT},
    {"rows-fd", required_argument, NULL, OPT_ROWS_FD},     /* of the bench itself: compare.c */
    {"opened-fd", required_argument, NULL, OPT_OPENED_FD}, /* and run.c */
    {"keep", no_argument, NULL, OPT_KEEP},
    {"use-existing", no_argument, NULL, OPT_USE_EXISTING},
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

/* Engines of the list; one that is known and not built in is remembered in *missing. */
static bool parse_engines(struct bench_options *opts, const char *text, bool *missing)
{
    opts->engine_count = 0;
    bool all = strcmp(text, "all") == 0;
    for (unsigned i = 0; all && engine_name(i); i++)
        opts->engines[opts->engine_count++] = engine_find(engine_name(i), missing);
    while (!all && *text) {
        char name[32];
        size_t count = strcspn(text, ",");
        snprintf(name, sizeof name, "%.*s", (int)count, text);
        const struct engine *engine = engine_find(name, missing);
        if (*missing) {
            fprintf(stderr,
                    "pmkv-bench: %s is not built in: its library was missing "
                    "(tools/setup.sh --bench installs it)\n",
                    name);
            return false;
        }
        if (!engine || opts->engine_count == OPTIONS_MAX_ENGINES)
            return bad_value("engine", text, "an engine (see --help)");
        opts->engines[opts->engine_count++] = engine;
        text += count;
        text += *text == ',';
    }
    return opts->engine_count > 0 || bad_value("engine", text, "a list of engines");
}

static bool parse_threads(struct bench_options *opts, const char *text)
{
    opts->threads_count = 0;
    while (*text && opts->threads_count < OPTIONS_MAX_ENGINES) {
        char one[32];
        uint64_t n = 0;
        size_t count = strcspn(text, ",");
        snprintf(one, sizeof one, "%.*s", (int)count, text);
        if (!parse_number("threads", one, false, 1, OPTIONS_MAX_THREADS, &n))
            return false;
        opts->threads_list[opts->threads_count++] = (unsigned)n;
        text += count;
        text += *text == ',';
    }
    opts->threads = opts->threads_list[0];
    return !*text && opts->threads_count > 0;
}

static bool parse_real(const char *option, const char *text, double *out)
{
    char *end;
    *out = strtod(text, &end);
    return (end != text && *end == 0 && *out > 0 && *out < 1e9) ||
           bad_value(option, text, "a number over 0");
}

static int find_name(const char *const *names, int count, const char *text)
{
    for (int i = 0; i < count; i++)
        if (strcmp(names[i], text) == 0)
            return i;
    return -1;
}

static bool parse_geometry(struct bench_options *opts, const char *text)
{
    static const char *const names[] = {"parity", "double", "mirror", "none"};
    int at = find_name(names, 4, text);
    if (at < 0)
        return bad_value("geometry", text, "parity, double, mirror or none");
    opts->geometry = (enum pmkv_geometry)at; /* PMKV_PARITY is 0, and so on */
    return true;
}

static bool parse_backend(struct bench_options *opts, const char *text)
{
    static const char *const names[] = {"auto", "fsdax", "devdax", "shm", "file"};
    int at = find_name(names, 5, text);
    if (at < 0)
        return bad_value("backend", text, "auto, fsdax, devdax, shm or file");
    opts->backend = (enum pmkv_backend)at;
    return true;
}

static bool parse_distribution(struct bench_options *opts, const char *text)
{
    opts->distribution = distribution_of(text);
    return opts->distribution != PICK_DEFAULT ||
           bad_value("distribution", text, "uniform, zipfian or latest");
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
    case OPT_SCRUB:
        return parse_number("scrub", text, true, 1 << 20, 1ull << 40, &opts->scrub_bytes_per_s);
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
    case OPT_BATCH:
        if (!parse_number("batch", text, false, 1, OPTIONS_MAX_BATCH, &n))
            return false;
        opts->batch = (unsigned)n;
        return true;
    case OPT_ROWS_FD:
    case OPT_OPENED_FD:
        if (!parse_number("a file descriptor", text, false, 0, 1 << 20, &n))
            return false;
        *(id == OPT_ROWS_FD ? &opts->rows_fd : &opts->opened_fd) = (int)n;
        return true;
    default:
        if (!parse_number("rounds", text, false, 1, 1000, &n))
            return false;
        opts->rounds = (unsigned)n;
        return opts->rounds_given = true;
    }
}

static bool parse_output_option(struct bench_options *opts, int id, const char *text)
{
    switch (id) {
    case OPT_JSON:
        opts->json_path = text;
        return true;
    case OPT_HDR:
        opts->hdr_path = text;
        return true;
    case OPT_REPORT:
        opts->report_path = text;
        return true;
    case OPT_KEEP:
        return opts->keep_pool = true;
    case OPT_USE_EXISTING:
        return opts->use_existing = true;
    case OPT_FORCE:
        return opts->force = true;
    case OPT_MICRO:
        return opts->micro = true;
    default:
        return false; /* getopt has said why */
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
    case OPT_SCRUB:
        return parse_size_option(opts, id, text);
    case OPT_NUM:
    case OPT_SEED:
    case OPT_BATCH:
    case OPT_ROWS_FD:
    case OPT_OPENED_FD:
    case OPT_ROUNDS:
        return parse_count_option(opts, id, text);
    case OPT_THREADS:
        return parse_threads(opts, text);
    case OPT_DURATION:
        return parse_real("duration", text, &opts->duration_s);
    case OPT_FILL:
        return parse_real("fill", text, &opts->fill_percent) &&
               (opts->fill_percent <= 95 || bad_value("fill", text, "95 at most"));
    case OPT_RATE:
        return parse_real("rate", text, &opts->ops_per_s);
    case OPT_DISTRIBUTION:
        return parse_distribution(opts, text);
    case OPT_INJECT:
        return faults_parse(text, opts->faults, &opts->fault_count);
    case OPT_GEOMETRY:
        return parse_geometry(opts, text);
    case OPT_BACKEND:
        return parse_backend(opts, text);
    case OPT_FLUSH:
        return parse_flush(opts, text);
    case OPT_POOL:
        opts->pool_path = text;
        return true;
    default:
        return parse_output_option(opts, id, text);
    }
}

/* Missing keys and inserted ones have numbers up to 3 num: they must have names of their own. */
static bool options_fit(const struct bench_options *opts)
{
    if (opts->key_bytes < KEY_DIGITS && 3 * opts->num > 1ull << (4 * opts->key_bytes)) {
        fprintf(stderr, "pmkv-bench: keys of %zu bytes do not name %llu records\n", opts->key_bytes,
                (unsigned long long)opts->num);
        return false;
    }
    for (unsigned i = 0; opts->fault_count > 0 && i < opts->engine_count; i++)
        if (!opts->engines[i]->inject) {
            fprintf(stderr, "pmkv-bench: --inject: %s has no way to be damaged while it runs\n",
                    opts->engines[i]->name);
            return false;
        }
    return true;
}

/* What is no option is a file for the report. */
static bool take_files(struct bench_options *opts, int argc, char **argv)
{
    for (; optind < argc; optind++) {
        if (!opts->report_path || opts->file_count == OPTIONS_MAX_FILES) {
            fprintf(stderr, "pmkv-bench: \"%s\": files go with --report only (see --help)\n",
                    argv[optind]);
            return false;
        }
        opts->files[opts->file_count++] = argv[optind];
    }
    return true;
}

static void options_default(struct bench_options *opts)
{
    *opts = (struct bench_options){
        .num = 1000000,
        .threads = 1,
        .threads_list = {1},
        .threads_count = 1,
        .rounds = 1,
        .batch = 16,
        .key_bytes = 16,
        .value_bytes = 200,
        .geometry = PMKV_PARITY,
        .engines = {&engine_pmkv},
        .engine_count = 1,
        .pool_path = "/dev/shm/pmkv-bench.pool",
        .rows_fd = -1,
        .opened_fd = -1,
        .seed = 1,
    };
    parse_steps(opts,
                "fillrandom,readrandom,overwrite,readmissing,writebatch,limit,open,deleterandom");
}

enum options_outcome options_parse(struct bench_options *opts, int argc, char **argv)
{
    options_default(opts);
    int id;
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        bool missing = false;
        if (id == OPT_HELP) {
            fputs(options_help, stdout);
            return OPTIONS_DONE;
        }
        if (id == OPT_VERSION) {
            printf("pmkv-bench %s\n", pmkv_version());
            return OPTIONS_DONE;
        }
        if (id == OPT_ENGINE ? !parse_engines(opts, optarg, &missing)
                             : !parse_option(opts, id, optarg))
            return missing ? OPTIONS_NO_ENGINE : OPTIONS_BAD;
    }
    if (!take_files(opts, argc, argv) || !options_fit(opts))
        return OPTIONS_BAD;
    if (opts->engine_count > 1 && !opts->rounds_given)
        opts->rounds = 3;
    return OPTIONS_RUN;
}

uint64_t options_pool_bytes(const struct bench_options *opts)
{
    if (opts->pool_bytes != 0)
        return opts->pool_bytes;
    static const double factor[] = {
        [PMKV_PARITY] = 9.0 / 8, [PMKV_DOUBLE] = 10.0 / 8, [PMKV_MIRROR] = 2, [PMKV_NONE] = 1};
    uint64_t record = (opts->key_bytes + opts->value_bytes + 64 + 63) & ~63ull;
    double share = 0.5 / 1.04;
    if (opts->fill_percent > 0) { /* about: the record, its entry in a summary, the check lines */
        record = ((opts->key_bytes + opts->value_bytes + 32 + 7) & ~7ull) + opts->key_bytes + 8;
        share = opts->fill_percent / 100 * 63 / 64;
    }
    double bytes = (double)opts->num * (double)record / share * factor[opts->geometry];
    uint64_t unit = 2ull << 20, rest = opts->fill_percent > 0 ? 0 : 64ull << 20;
    return ((uint64_t)bytes + rest) / unit * unit + unit;
}
