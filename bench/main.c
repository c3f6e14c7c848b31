/* SPDX-License-Identifier: BSD-3-Clause */
/* SPDX-FileCopyrightText: 2026 The libpmkv authors */

#include "clock.h"
#include "compare.h"
#include "micro.h"
#include "options.h"

int main(int argc, char **argv)
{
    struct bench_options opts;
    switch (options_parse(&opts, argc, argv)) {
    case OPTIONS_DONE:
        return 0;
    case OPTIONS_BAD:
        return 2;
    case OPTIONS_NO_ENGINE:
        return 8;
    case OPTIONS_RUN:
        break;
    }
    clock_init();
    return (opts.micro ? micro_run(&opts) : run_benchmarks(&opts, argc, argv)) ? 0 : 1;
}
