/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * The arguments of pmkv-cli: the words of the input, separated by zeros or line ends, are run as a
 * command in a directory of its own. Words that would leave it are not taken. Whatever they are,
 * the command ends with one of the exit codes.
 *
 * argp ends the process on a wrong argument; where it would, the target comes back here.
 */
#include <argp.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli_main.h"
#include "pmkv.h"
#include "target.h"
#include "tools/cli/exit_code.h"

static jmp_buf back;
static bool running;

static void come_back(int code)
{
    if (running)
        longjmp(back, code + 1);
}

error_t __real_argp_parse(const struct argp *argp, int argc, char **argv, unsigned flags, int *end,
                          void *input);
error_t __wrap_argp_parse(const struct argp *argp, int argc, char **argv, unsigned flags, int *end,
                          void *input);
error_t __wrap_argp_parse(const struct argp *argp, int argc, char **argv, unsigned flags, int *end,
                          void *input)
{
    error_t error =
        __real_argp_parse(argp, argc, argv, flags | ARGP_NO_EXIT | ARGP_NO_HELP, end, input);
    if (error)
        come_back(CLI_USAGE);
    return error;
}

void __wrap_argp_error(const struct argp_state *state, const char *format, ...);
void __wrap_argp_error(const struct argp_state *state, const char *format, ...)
{
    char text[512];
    va_list ap;
    (void)state;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    fprintf(stderr, "%s\n", text);
    come_back(CLI_USAGE);
}

enum { WORDS = 12, WORD_BYTES = 64 };
static char directory[64];

static void remove_directory(void)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    if (system(command) != 0)
        fprintf(stderr, "%s is left\n", directory);
}

/* What a command left, under whatever name: some pools are large enough to fill the memory. */
static void remove_files(bool pool_too)
{
    DIR *all = opendir(".");
    fuzz_that(all != NULL, "no directory %s", directory);
    for (const struct dirent *one = readdir(all); one; one = readdir(all))
        if (pool_too || strcmp(one->d_name, "pool") != 0)
            (void)remove(one->d_name); /* . and .. stay */
    closedir(all);
}

static void restore_pool(void)
{
    struct pmkv_options o;
    remove_files(true);
    pmkv_options_init(&o);
    o.pool_bytes = 2u << 20;
    o.geometry = PMKV_NONE;
    o.row_pages = 8;
    o.segment_rows = 2;
    fuzz_that(pmkv_create("pool", &o) == PMKV_OK, "create: %s", pmkv_errormsg());
}

static void prepare(void)
{
    static bool done;
    if (done)
        return;
    done = true;
    snprintf(directory, sizeof directory, "/dev/shm/pmkv-fuzz-%d", (int)getpid());
    mkdir(directory, 0700);
    fuzz_that(chdir(directory) == 0, "no directory %s", directory);
    atexit(remove_directory);
    fuzz_that(freopen("/dev/null", "r", stdin) != NULL, "stdin");
    restore_pool();
}

/* Only what stays in the directory, and pools that do not fill the memory. */
static bool word_allowed(const char *word)
{
    unsigned digits = 0;
    for (const char *at = word; *at; at++) {
        digits = *at >= '0' && *at <= '9' ? digits + 1 : 0;
        if (*at == '/' || digits > 7 || strchr("kKmMgGtTpPeE", *at) != NULL)
            if (*at == '/' || digits > 7 || (at > word && at[-1] >= '0' && at[-1] <= '9'))
                return false;
    }
    return strstr(word, "..") == NULL;
}

static int split(const uint8_t *data, size_t bytes, char words[WORDS][WORD_BYTES], char **argv)
{
    int count = 0;
    size_t used = 0;
    strcpy(words[count++], "pmkv-cli");
    words[count][0] = 0;
    for (size_t i = 0; i <= bytes && count < WORDS - 1; i++) {
        bool end = i == bytes || data[i] == 0 || data[i] == '\n';
        if (!end && used < WORD_BYTES - 1)
            words[count][used++] = (char)data[i];
        words[count][used] = 0;
        if (end && word_allowed(words[count]))
            words[++count][0] = 0;
        if (end)
            used = 0;
    }
    for (int i = 0; i < count; i++)
        argv[i] = words[i];
    argv[count] = NULL;
    return count;
}

/* The exit code, also where the command ends the process. */
static int run_command(int argc, char **argv)
{
    int code = setjmp(back);
    if (code == 0) {
        running = true;
        code = 1 + pmkv_cli_main(argc, argv);
    }
    running = false;
    return code - 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    static char words[WORDS][WORD_BYTES];
    static unsigned runs;
    char *argv[WORDS + 1];
    prepare();
    if (runs++ % 64 == 0)
        restore_pool();
    int argc = split(data, bytes, words, argv);
    rewind(stdin);
    int code = run_command(argc, argv);
    remove_files(false);
    switch (code) {
#define KNOWN(name, number, meaning) case number:
        CLI_EXIT_MAP(KNOWN)
#undef KNOWN
        break;
    default:
        fuzz_that(false, "exit code %d", code);
    }
    fuzz_that(code != CLI_INTERNAL, "internal error");
    return 0;
}
