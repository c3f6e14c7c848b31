#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: tools/coverage.sh [CTEST ARGUMENT...]
#
# Which lines and branches of kv/ and recovery/ the test suite runs. Builds the coverage preset, runs
# ctest (all but the stress programs and those that compile kv/ again for themselves, or what the
# arguments choose), prints the totals of both folders and, FILE: LINE,..., the branches of recovery/,
# of recovery after a crash and of repair that no test takes and no comment argues: `unreached: why`
# behind the line; or before a statement or a function, for all of it. Exit code 1 when there are any.
# The report by line is build/coverage/report/index.html. Asserts do not count: their other branch is
# a bug.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

build=build/coverage
generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
arguments=("$@")
[ $# -gt 0 ] || arguments=(-LE 'stress|style|sched|sharing')

cmake --preset coverage "${generator[@]}" -DPMKV_WERROR=ON -DPMKV_TESTS=ON -DPMKV_TOOLS=ON >/dev/null
cmake --build "$build" -j "$(nproc)" >"$build/build-output.txt" || {
    tail -40 "$build/build-output.txt" >&2
    echo "coverage.sh: the build of $build failed: all of it is in $build/build-output.txt" >&2
    exit 1
}
find "$build" -name '*.gcda' -delete
tests=0
ctest --test-dir "$build" -j "$(($(nproc) + 1))" --output-on-failure "${arguments[@]}" \
    >"$build/ctest-output.txt" 2>&1 || tests=$?
grep -E '^[0-9]+% tests passed' "$build/ctest-output.txt"

# Only the library's own objects: the fuzz targets and tests compile nothing of it again.
mkdir -p "$build/report"
gcovr --root "$root" --object-directory "$build" --filter 'kv/' --filter 'recovery/' \
    --exclude-lines-by-pattern '.*\bassert\(.*' --exclude-unreachable-branches -j "$(nproc)" \
    --json "$build/report/coverage.json" --json-summary "$build/report/summary.json" \
    --html-details "$build/report/index.html" "$build/CMakeFiles/pmkv_objects.dir" >/dev/null

python3 - "$build/report/coverage.json" <<'END'
import json
import re
import sys

LISTED = re.compile(r"recovery/|kv/(replay|scan|repair)")
# Of these the tests cannot have the hardware: a DAX file system, a DAX device, an NVDIMM bus.
DEVICES = re.compile(r"recovery/media/(fsdax|devdax|nd)\.c|recovery/mcsafe_portable\.c")


def statement_end(lines, i):
    """Of the statement or function that begins at line i."""
    indent = re.match(r" *", lines[i]).group()
    while not re.search(r"[;{]\s*(/\*.*)?$", lines[i]):
        i += 1
    if re.search(r"{\s*(/\*.*)?$", lines[i]):
        while not lines[i].startswith(indent + "}"):
            i += 1
    return i


def argued(name):
    """The lines of a file that `unreached:` speaks of."""
    lines = open(name, encoding="utf-8").read().split("\n")
    found = set()
    for i, text in enumerate(lines):
        if "unreached:" not in text:
            continue
        found.add(i + 1)
        if text.lstrip().startswith(("/*", "*")):
            while "*/" not in lines[i]:
                i += 1
            found.update(range(i + 2, statement_end(lines, i + 1) + 2))
    return found


totals, missing = {}, {}
for file in json.load(open(sys.argv[1]))["files"]:
    name = file["file"]
    part = "devices" if DEVICES.match(name) else name.split("/")[0]
    sums = totals.setdefault(part, [0, 0, 0, 0])
    for line in file["lines"]:
        if line.get("gcovr/noncode"):
            continue
        branches = line["branches"]
        taken = sum(branch["count"] > 0 for branch in branches)
        for i, n in enumerate((line["count"] > 0, 1, taken, len(branches))):
            sums[i] += n
        if LISTED.match(name) and part != "devices" and (
                taken < len(branches) or line["count"] == 0) and (
                line["line_number"] not in argued(name)):
            missing.setdefault(name, []).append(line["line_number"])

print("lines with a branch that no test takes and no comment argues:" if missing else
      "every branch that no test takes is argued in place")
for name, lines in sorted(missing.items()):
    print(f"  {name}: {','.join(map(str, lines))}")
for part, (lines, of_lines, branches, of_branches) in sorted(totals.items()):
    print(f"coverage: {part}: {100 * lines / of_lines:.1f}% of {of_lines} lines, "
          f"{100 * branches / max(of_branches, 1):.1f}% of {of_branches} branches")
sys.exit(1 if missing else 0)
END
echo "coverage: $build/report/index.html"
exit "$tests"
