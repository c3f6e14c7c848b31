#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""usage: test_summary.py NAME LAST_TEST_LOG CTEST_OUTPUT

Prints what the runners said of one run of ctest: each Criterion program's closing line, their sum,
skipped and failed tests, and ctest's closing line."""

import re
import sys

SYNTHESIS = re.compile(
    r"\[====\] Synthesis: Tested: (\d+) \| Passing: (\d+) \| Failing: (\d+) \| Crashing: (\d+)")


def main(name, log_path, output_path):
    with open(log_path, encoding="utf-8", errors="replace") as file:
        log = re.sub(r"\x1b\[[0-9;]*m", "", file.read())
    with open(output_path, encoding="utf-8", errors="replace") as file:
        output = file.read()

    sums, program, skipped = [0, 0, 0, 0], "?", []
    print(f"--- {name}")
    for line in log.splitlines():
        started = re.match(r"\d+/\d+ Testing: (\S+)", line)
        if started:
            program = started.group(1)
        closing = SYNTHESIS.search(line)
        if closing:
            sums = [a + int(b) for a, b in zip(sums, closing.groups())]
            print(f"{program}: {closing.group(0)}")
        if line.startswith("[SKIP]"):
            skipped.append(f"{program}: {line[7:]}")
        if line.startswith("Test Skipped"):
            skipped.append(program)
    for line in skipped:
        print(f"skipped: {line}")
    failed = re.search(r"^The following tests FAILED:.*?(?=^\S|\Z)", output, re.M | re.S)
    if failed:
        print(failed.group(0).rstrip())
    if any(sums):
        print("[====] Synthesis: Tested: {} | Passing: {} | Failing: {} | Crashing: {}".format(*sums))
    closing = re.search(r"^\d+% tests passed.*$", output, re.M)
    print(closing.group(0) if closing else f"{name}: ctest gave no summary")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
