#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""usage: calls.py calls.txt libpmkv.a

Every function that the library calls must stand in the list, so that what can fail is made to fail."""

import subprocess
import sys

# Symbols that the compiler, the linker and the run-time put there.
NO_CALLS = {"_GLOBAL_OFFSET_TABLE_", "__cpu_indicator_init", "__cpu_model", "__tls_get_addr",
            "__popcountdi2", "__start_mc_extab", "__stop_mc_extab", "__stack_chk_fail", "stderr"}


def listed(path):
    with open(path, encoding="utf-8") as file:
        lines = [line.split() for line in file if line.strip() and not line.startswith("#")]
    return {name for _, name in lines}


def called(library):
    text = subprocess.run(["nm", library], check=True, capture_output=True, text=True).stdout
    wanted, defined = set(), set()
    for fields in map(str.split, text.splitlines()):
        if len(fields) == 2 and fields[0] in "Uw":
            wanted.add(fields[1])
        elif len(fields) == 3:
            defined.add(fields[2])
    return wanted - defined - NO_CALLS


def main(path, library):
    missing = sorted(called(library) - listed(path))
    for name in missing:
        print(f"{name} is called by the library and not in {path}: can it fail?", file=sys.stderr)
    print(f"{len(listed(path))} calls listed, {len(missing)} missing")
    return 1 if missing else 0


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(*sys.argv[1:]))
