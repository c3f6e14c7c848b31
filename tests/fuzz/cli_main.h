/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

/* tools/cli/main.c is compiled with its main called by this name (cmake/fuzz.cmake). */
#ifndef PMKV_TESTS_FUZZ_CLI_MAIN_H
#define PMKV_TESTS_FUZZ_CLI_MAIN_H

int pmkv_cli_main(int argc, char **argv);

#endif
