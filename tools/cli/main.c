/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/*
 * pmkv-cli VERB POOL [ARGS]: the operator's tool for libpmkv pools.
 *
 * It uses the public header and nothing else. Verbs that only look open the pool read-only: they
 * never change a byte of it, not even to recover it.
 */

#include "exit_code.h"
#include "progress.h"
#include "verbs.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct verb {
    const char *name;
    const char *arguments;
    const char *summary;
    enum cli_exit (*run)(int argc, char **argv);
};

static enum cli_exit verb_help(int argc, char **argv);

static const struct verb verbs[] = {
    {"create", "POOL", "make a pool", verb_create},
    {"probe", "PATH", "say what a path would get, without changing it", verb_probe},
    {"get", "POOL KEY", "write the value of a key to standard output", verb_get},
    {"put", "POOL KEY VALUE|-", "store a value, or standard input", verb_put},
    {"del", "POOL KEY", "remove a key", verb_del},
    {"exists", "POOL KEY", "exit 0 when the key is there, 1 when not", verb_exists},
    {"count", "POOL", "print the number of keys", verb_count},
    {"scan", "POOL", "list keys, and values if wanted", verb_scan},
    {"load", "POOL", "store the files of a directory, or a text dump", verb_load},
    {"dump", "POOL", "write files to a directory, or a text dump", verb_dump},
    {"status", "POOL", "print health, space and what to do", verb_status},
    {"stats", "POOL", "print counters", verb_stats},
    {"check", "POOL", "verify everything, change nothing", verb_check},
    {"scrub", "POOL", "verify everything and repair what is damaged", verb_scrub},
    {"map", "POOL", "draw what is where in the pool, and its damage", verb_map},
    {"lost", "POOL", "list lost keys and ranges", verb_lost},
    {"repair", "POOL", "repair the pages that are known to be bad", verb_repair},
    {"pack", "POOL", "give back the room between records", verb_pack},
    {"inject", "POOL", "damage the pool, to see that it heals", verb_inject},
    {"help", "[VERB]", "print this, or the help of a verb", verb_help},
};
enum { VERB_COUNT = sizeof(verbs) / sizeof(verbs[0]) };

static void print_version(FILE *to, struct argp_state *state)
{
    (void)state;
    fprintf(to, "pmkv-cli %d.%d.%d, libpmkv %s\n", PMKV_VERSION_MAJOR, PMKV_VERSION_MINOR,
            PMKV_VERSION_PATCH, pmkv_version());
}

static void print_help(FILE *to)
{
    fputs("Usage: pmkv-cli VERB POOL [ARGUMENTS] [OPTIONS]\n\nVerbs:\n", to);
    for (int i = 0; i < VERB_COUNT; i++)
        fprintf(to, "  %-7s%-17s %s\n", verbs[i].name, verbs[i].arguments, verbs[i].summary);
    fputs("\n`pmkv-cli VERB --help` lists the options of a verb. Verbs that report take --json.\n"
          "A key or value that starts with - goes after --.\n\nExit codes:\n",
          to);
#define PRINT_EXIT(name, number, meaning) fprintf(to, "  %3d  %s\n", number, meaning);
    CLI_EXIT_MAP(PRINT_EXIT)
#undef PRINT_EXIT
}

static const struct verb *find_verb(const char *name)
{
    for (int i = 0; i < VERB_COUNT; i++) {
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    }
    return NULL;
}

static enum cli_exit unknown_verb(const char *name)
{
    fprintf(stderr, "pmkv-cli: there is no verb %s; `pmkv-cli help` lists them\n", name);
    return CLI_USAGE;
}

static enum cli_exit run_verb(const struct verb *verb, int argc, char **argv)
{
    char name[64];

    snprintf(name, sizeof(name), "pmkv-cli %s", verb->name);
    argv[0] = name;
    cli_set_verb(verb->name);
    return verb->run(argc, argv);
}

static enum cli_exit verb_help(int argc, char **argv)
{
    if (argc < 2 || strcmp(argv[1], "help") == 0) {
        print_help(stdout);
        return CLI_OK;
    }
    const struct verb *verb = find_verb(argv[1]);
    if (!verb)
        return unknown_verb(argv[1]);
    char option[] = "--help";
    char *arguments[] = {argv[1], option, NULL};
    return run_verb(verb, 2, arguments);
}

static enum cli_exit run_command(int argc, char **argv)
{
    if (argc < 2) {
        print_help(stderr);
        return CLI_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0) {
        print_help(stdout);
        return CLI_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        print_version(stdout, NULL);
        return CLI_OK;
    }
    const struct verb *verb = find_verb(argv[1]);
    return verb ? run_verb(verb, argc - 1, argv + 1) : unknown_verb(argv[1]);
}

int main(int argc, char **argv)
{
    argp_err_exit_status = CLI_USAGE;
    argp_program_version_hook = print_version;

    enum cli_exit code = run_command(argc, argv);
    /* A full disk behind standard output must not pass for success. */
    if (fflush(stdout) != 0 && code == CLI_OK)
        code = cli_fail_errno("write", "standard output");
    progress_die_if_interrupted();
    return code;
}
