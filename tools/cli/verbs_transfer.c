/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* load and dump: arguments, the open pool, and the summary at the end. */

#include "args.h"
#include "output.h"
#include "pool.h"
#include "transfer.h"
#include "verbs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct transfer_args {
    struct cli_args common;
    const char *directory;
    const char *file;
    struct text_format format;
};

enum { OPTION_LMDB = CLI_LONG_OPTION };

static error_t parse_transfer(int key, char *arg, struct argp_state *state)
{
    struct transfer_args *args = state->input;

    switch (key) {
    case 'd':
        args->directory = arg;
        return 0;
    case 'f':
        args->file = arg;
        return 0;
    case 'p':
        args->format.print = true;
        return 0;
    case OPTION_LMDB:
        args->format.lmdb = true;
        return 0;
    case ARGP_KEY_END:
        if (args->directory && (args->file || args->format.print || args->format.lmdb))
            argp_error(state, "--dir goes without the options of the text format");
        return args_parse_common(&args->common, key, arg, state);
    default:
        return args_parse_common(&args->common, key, arg, state);
    }
}

void tally_fail(struct tally *tally, enum cli_exit code)
{
    tally->failed_count++;
    tally->code = cli_worse(tally->code, code);
}

bool tally_show(struct tally *tally, const char *what, uint64_t done, uint64_t total)
{
    return progress_show(&tally->progress, what, done, total) != 0;
}

/* --- summary ---------------------------------------------------------------------------------- */

static void start(struct tally *tally, struct timespec *since)
{
    *tally = (struct tally){0};
    progress_start(&tally->progress);
    progress_catch_interrupts();
    clock_gettime(CLOCK_MONOTONIC, since);
}

static double seconds_since(const struct timespec *since)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - since->tv_sec) + (double)(now.tv_nsec - since->tv_nsec) / 1e9;
}

/* A full pool or disk takes nothing more: load and dump end there. */
static bool stopped_early(const struct tally *tally)
{
    return tally->code == CLI_FULL || progress_interrupted();
}

static void print_summary_json(const struct tally *tally, double seconds)
{
    json_t *document = out_document();

    out_set_u64(document, "records", tally->record_count);
    out_set_u64(document, "bytes", tally->byte_count);
    out_set_u64(document, "skipped", tally->skipped_count);
    out_set_u64(document, "failed", tally->failed_count);
    out_set_bool(document, "stopped_early", stopped_early(tally));
    out_set(document, "seconds", json_real(seconds));
    out_print(document);
}

static void print_summary_text(const struct tally *tally, const char *done, double seconds)
{
    printf("%s %llu records, %s in %.2f s", done, (unsigned long long)tally->record_count,
           out_size(tally->byte_count).text, seconds);
    if (tally->skipped_count)
        printf("; skipped %llu that are not regular files",
               (unsigned long long)tally->skipped_count);
    if (tally->failed_count)
        printf("; %llu error%s", (unsigned long long)tally->failed_count,
               tally->failed_count == 1 ? "" : "s");
    if (stopped_early(tally))
        printf("; stopped, the rest was not %s", done);
    putchar('\n');
}

static enum cli_exit finish(struct tally *tally, const struct transfer_args *args, const char *done,
                            const struct timespec *since)
{
    double seconds = seconds_since(since);

    progress_end(&tally->progress);
    if (args->common.json)
        print_summary_json(tally, seconds);
    else
        print_summary_text(tally, done, seconds);
    return tally->code;
}

/* --- load ------------------------------------------------------------------------------------- */

static const struct argp_option load_options[] = {
    {"dir", 'd', "DIR", 0, "Store every regular file under DIR under its path relative to DIR", 0},
    {"file", 'f', "FILE", 0, "Read the text dump from FILE, not from standard input", 0},
    CLI_OPTION_JSON,
    {0},
};

static uint64_t length_of(FILE *file)
{
    struct stat st;

    return fstat(fileno(file), &st) == 0 && S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0;
}

static enum cli_exit run_load(struct pmkv *kv, const struct transfer_args *args, FILE *in)
{
    struct tally tally;
    struct timespec since;

    start(&tally, &since);
    if (args->directory)
        load_directory(kv, args->directory, &tally);
    else
        load_text(kv, in, length_of(in), &tally);
    return finish(&tally, args, "loaded", &since);
}

enum cli_exit verb_load(int argc, char **argv)
{
    static const struct argp argp = {
        load_options,
        parse_transfer,
        "POOL",
        "Stores records in the pool, replacing those with the same keys: the files of a directory "
        "(symbolic links and special files are skipped; modes and times are not kept), or a text "
        "dump of pmkv-cli, mdb_dump or db_dump in either of its formats.",
        NULL,
        NULL,
        NULL};
    struct transfer_args args = {.common = {.min_count = 1, .max_count = 1}};
    struct pmkv *kv = NULL;
    FILE *in = stdin;

    args_parse(&argp, argc, argv, &args);
    if (args.file)
        in = fopen(args.file, "re");
    if (!in)
        return cli_fail_errno("open", args.file);
    enum cli_exit code = pool_open(POOL_WRITE, &kv);
    if (code == CLI_OK)
        code = pool_close(&kv, run_load(kv, &args, in));
    if (in != stdin)
        fclose(in);
    return code;
}

/* --- dump ------------------------------------------------------------------------------------- */

static const struct argp_option dump_options[] = {
    {"dir", 'd', "DIR", 0, "Write each record to the file its key names, below DIR", 0},
    {"file", 'f', "FILE", 0, "Write the text dump to FILE, not to standard output", 0},
    {"print", 'p', NULL, 0, "Text dump: printable bytes as they are (format=print)", 0},
    {"lmdb", OPTION_LMDB, NULL, 0,
     "Text dump: add the line mapsize=, without which mdb_load stops at 1 MiB (db_load refuses it)",
     0},
    {"json", 'j', NULL, 0, "Print the summary of --dir or --file as JSON", 0},
    {0},
};

/* Opens the file of --file, which must not be the pool itself: that would empty it. */
static FILE *open_output(const char *path, enum cli_exit *code)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

    if (fd >= 0 && pool_is_file(fd)) {
        close(fd);
        *code = cli_fail_text(CLI_USAGE, "%s is the pool itself", path);
        return NULL;
    }
    bool is_empty = fd >= 0 && (ftruncate(fd, 0) == 0 || errno == EINVAL);
    FILE *out = is_empty ? fdopen(fd, "w") : NULL;
    if (out)
        return out;
    *code = cli_fail_errno("write", path);
    if (fd >= 0)
        close(fd);
    return NULL;
}

static enum cli_exit run_dump(struct pmkv *kv, const struct transfer_args *args)
{
    struct tally tally;
    struct timespec since;
    enum cli_exit code = CLI_OK;
    FILE *out = args->file ? open_output(args->file, &code) : stdout;

    if (!out)
        return code;
    start(&tally, &since);
    if (args->directory)
        dump_directory(kv, args->directory, &tally);
    else
        dump_text(kv, out, &args->format, &tally);
    if (out != stdout && fclose(out) != 0)
        tally_fail(&tally, cli_fail_errno("write", args->file));
    if (args->directory || args->file)
        return finish(&tally, args, "dumped", &since);
    progress_end(&tally.progress);
    return tally.code;
}

enum cli_exit verb_dump(int argc, char **argv)
{
    static const struct argp argp = {
        dump_options,
        parse_transfer,
        "POOL",
        "Writes all records as text that pmkv-cli load, mdb_load and db_load read, or as files "
        "below a directory, which is made if needed; files that are there are replaced. Keys that "
        "would lead out of the directory are refused and named.",
        NULL,
        NULL,
        NULL};
    struct transfer_args args = {.common = {.min_count = 1, .max_count = 1}};
    struct pmkv *kv = NULL;

    args_parse(&argp, argc, argv, &args);
    enum cli_exit code = pool_open(POOL_READ, &kv);
    return code == CLI_OK ? pool_close(&kv, run_dump(kv, &args)) : code;
}
