/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "compare.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hdr.h"
#include "page.h"
#include "report.h"
#include "run.h"

struct session {
    const struct bench_options *opts;
    char **argv;
    int argc;
    FILE *out;
    struct machine machine;
    struct results results;
    unsigned round;
    bool failed;
};

static void take_row(void *arg, const struct row *row)
{
    struct session *session = arg;
    const struct row *kept = results_add(&session->results, row);
    if (session->results.row_count == 1)
        report_row_heading(session->out);
    report_row(session->out, kept);
    session->failed |= row->m.failed;
}

/* --- a turn in a process of its own ------------------------------------------------------------
 */

static bool write_all(int fd, const void *from, size_t bytes)
{
    const char *at = from;
    while (bytes > 0) {
        ssize_t n = write(fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

static bool read_all(int fd, void *to, size_t bytes)
{
    char *at = to;
    while (bytes > 0) {
        ssize_t n = read(fd, at, bytes);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += n;
        bytes -= (size_t)n;
    }
    return true;
}

static void send_row(void *arg, const struct row *row)
{
    const struct bench_options *opts = arg;
    if (!write_all(opts->rows_fd, row, sizeof *row))
        _exit(1); /* nobody listens */
}

/* The list of benchmarks; the limits of the machine are run beside the first engine only. */
static void turn_benchmarks(const struct session *session, const struct engine *engine, char *out,
                            size_t out_bytes)
{
    const struct bench_options *opts = session->opts;
    size_t at = (size_t)snprintf(out, out_bytes, "--benchmarks=");
    for (unsigned i = 0; i < opts->step_count && at < out_bytes; i++)
        if (opts->steps[i] != STEP_LIMIT || engine == opts->engines[0])
            at += (size_t)snprintf(out + at, out_bytes - at, "%s,", step_name(opts->steps[i]));
}

/* The arguments of this process, and what makes the turn of it: later options win. */
static void exec_turn(const struct session *session, const struct engine *engine, unsigned threads,
                      int fd)
{
    char texts[5][64], benchmarks[OPTIONS_MAX_STEPS * 20];
    char **argv = calloc((size_t)session->argc + 7, sizeof *argv);
    if (!argv)
        _exit(127);
    memcpy(argv, session->argv, (size_t)session->argc * sizeof *argv);
    snprintf(texts[0], sizeof texts[0], "--engine=%s", engine->name);
    snprintf(texts[1], sizeof texts[1], "--threads=%u", threads);
    snprintf(texts[2], sizeof texts[2], "--rounds=1");
    snprintf(texts[3], sizeof texts[3], "--rows-fd=%d", fd);
    snprintf(texts[4], sizeof texts[4], "--seed=%llu",
             (unsigned long long)session->opts->seed + session->round - 1);
    for (int i = 0; i < 5; i++)
        argv[session->argc + i] = texts[i];
    turn_benchmarks(session, engine, benchmarks, sizeof benchmarks);
    argv[session->argc + 5] = benchmarks;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    execv("/proc/self/exe", argv);
    _exit(127);
}

static bool run_turn(struct session *session, const struct engine *engine, unsigned threads)
{
    int fds[2];
    bool limit_alone = session->opts->step_count == 1 && session->opts->steps[0] == STEP_LIMIT;
    if (limit_alone && engine != session->opts->engines[0])
        return true;
    if (pipe(fds) != 0)
        return false;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        close(fds[0]);
        exec_turn(session, engine, threads, fds[1]);
    }
    close(fds[1]);
    struct row *row = malloc(sizeof *row);
    while (row && pid > 0 && read_all(fds[0], row, sizeof *row)) {
        row->round = session->round;
        take_row(session, row);
    }
    free(row);
    close(fds[0]);
    int status = 1;
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (status != 0)
        fprintf(stderr, "pmkv-bench: the turn of %s failed\n", engine->name);
    return status == 0;
}

/* --- all turns -------------------------------------------------------------------------------- */

static bool run_here(struct session *session, const struct engine *engine, unsigned threads)
{
    return run_engine(session->opts, engine, threads, session->round, take_row, session);
}

static bool run_turns(struct session *session)
{
    const struct bench_options *opts = session->opts;
    bool alone = opts->engine_count * opts->threads_count * opts->rounds == 1;
    bool good = true;
    for (session->round = 1; session->round <= opts->rounds; session->round++)
        for (unsigned t = 0; t < opts->threads_count; t++)
            for (unsigned i = 0; i < opts->engine_count; i++) {
                unsigned at = (i + session->round - 1) % opts->engine_count;
                good = (alone ? run_here : run_turn)(session, opts->engines[at],
                                                     opts->threads_list[t]) &&
                       good;
            }
    return good;
}

static bool write_reports(struct session *session)
{
    const struct bench_options *opts = session->opts;
    results_finish(&session->results);
    report_summary(session->out, &session->results);
    bool good = !opts->hdr_path || hdr_write(opts->hdr_path, &session->results);
    if (!opts->json_path && !opts->report_path)
        return good;
    json_t *report = report_json(opts, &session->machine, &session->results);
    if (opts->report_path)
        good = page_write(opts->report_path, &report, 1) && good;
    if (opts->json_path)
        return report_json_write(opts->json_path, report) && good;
    json_decref(report);
    return good;
}

static bool draw_files(const struct bench_options *opts)
{
    json_t *reports[OPTIONS_MAX_FILES];
    unsigned count = 0;
    bool good = true;
    for (; good && count < opts->file_count; count++) {
        json_error_t error;
        reports[count] = json_load_file(opts->files[count], 0, &error);
        if (!reports[count]) {
            fprintf(stderr, "pmkv-bench: %s: line %d: %s\n", opts->files[count], error.line,
                    error.text);
            good = false;
            break;
        }
    }
    good = good && page_write(opts->report_path, reports, count);
    while (count-- > 0)
        json_decref(reports[count]);
    return good;
}

bool run_benchmarks(const struct bench_options *opts, int argc, char **argv)
{
    if (opts->rows_fd >= 0)
        return run_engine(opts, opts->engines[0], opts->threads, 1, send_row,
                          (void *)(uintptr_t)opts);
    if (opts->file_count > 0)
        return draw_files(opts);
    struct session session = {.opts = opts, .argc = argc, .argv = argv, .out = report_stream(opts)};
    machine_describe(&session.machine);
    report_machine(session.out, &session.machine);
    report_start(session.out, opts);
    bool good = run_turns(&session);
    good = write_reports(&session) && good && !session.failed;
    results_free(&session.results);
    return good;
}
