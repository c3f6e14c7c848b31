#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""usage: tools/mutate.py [--only TEXT] [--keep DIR] [--jobs N]

Do the tests notice? Applies each defect of tests/mutants/*.patch to a copy of this clone, one at a
time, builds what its test needs, and runs it:
  CAUGHT    the test failed, as it must
  SURVIVED  the test passed: a hole in the tests
  STALE     the patch does not apply any more, or does not compile
The first lines of a patch say what the defect is and which test must catch it:
  What: one sentence
  Test: prove [ARGUMENT...]       the prover, tests/prove
  Test: FOLDER/NAME [ARGUMENT...] a Criterion program, as ctest names it
Exit code 1 unless all are caught, and the tests pass without any defect. --only takes patches with
TEXT in their name; --keep builds there and leaves it, so that a second run builds less."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROVE = ["--seed", "1", "--images", "15000", "--seconds", "150", "--per-job", "100", "--faults",
         "10", "--fail-fast"]
TIMEOUT_SECONDS = 400


def run(command, **options):
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False, **options)


class Mutant:
    def __init__(self, path):
        self.path = path
        self.name = path.stem
        head = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("--- "):
                break
            key, colon, value = line.partition(": ")
            if colon:
                head[key] = value.strip()
        self.what = head["What"]
        self.test, *self.arguments = head["Test"].split()


def target_of(test):
    return "prove" if test == "prove" else test.replace("/", "_")


def program_of(build, test):
    folder, _, name = test.rpartition("/")
    return build / "tests" / (folder or "prove") / name


class Tree:
    """A copy of what git knows of this clone, as it is now, and its build."""

    def __init__(self, where, jobs):
        self.source, self.build, self.jobs = where / "source", where / "build", jobs
        self.source.mkdir(parents=True, exist_ok=True)
        files = run(["git", "-C", str(ROOT), "ls-files", "-z"]).stdout.split("\0")
        for name in filter(None, files):
            self.copy(name)
        configured = run(["cmake", "-S", str(self.source), "-B", str(self.build), "-G", "Ninja",
                          "-DCMAKE_BUILD_TYPE=Release", "-DPMKV_TESTS=ON", "-DPMKV_TOOLS=OFF"])
        if configured.returncode:
            sys.exit(configured.stdout)

    def copy(self, name):
        """Only what differs, so that a kept build has little to do."""
        old, new = self.source / name, ROOT / name
        if not new.is_file():
            return
        if old.is_file() and old.read_bytes() == new.read_bytes():
            return
        old.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(new, old)

    def patch(self, mutant, *options):
        return run(["patch", "-p1", "--batch", "--no-backup-if-mismatch", "-r", "-", *options,
                    "-i", str(mutant.path)], cwd=self.source).returncode == 0

    def restore(self, mutant):
        for line in mutant.path.read_text(encoding="utf-8").splitlines():
            if line.startswith("+++ b/"):
                self.copy(line[len("+++ b/"):])

    def make(self, target):
        return run(["ninja", "-C", str(self.build), "-j", str(self.jobs), target])

    def test(self, test, arguments):
        """True when it passes; and what it said last."""
        command = [str(program_of(self.build, test)), *(PROVE if test == "prove" else []),
                   *arguments]
        try:
            done = run(command, timeout=TIMEOUT_SECONDS, cwd=self.build)
        except subprocess.TimeoutExpired:
            return False, "it hung"
        lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED (", "[FAIL"))]
        return done.returncode == 0, lines[0] if lines else ""


def judge(tree, mutant):
    if not tree.patch(mutant, "--dry-run"):
        return "STALE", "the patch does not apply"
    tree.patch(mutant)
    try:
        made = tree.make(target_of(mutant.test))
        if made.returncode:
            return "STALE", "it does not compile: " + made.stdout.strip().splitlines()[-1]
        passed, text = tree.test(mutant.test, mutant.arguments)
        return ("SURVIVED", "") if passed else ("CAUGHT", text)
    finally:
        tree.restore(mutant)


def healthy(tree, mutants):
    """Without a defect every test passes, else being caught would say nothing."""
    for test in sorted({m.test for m in mutants}):
        made = tree.make(target_of(test))
        if made.returncode:
            sys.exit(made.stdout)
        passed, text = tree.test(test, [])
        if not passed:
            sys.exit(f"{test} fails without any defect: {text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--keep")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    mutants = [Mutant(p) for p in sorted((ROOT / "tests/mutants").glob("*.patch"))
               if options.only in p.stem]
    where = pathlib.Path(options.keep or tempfile.mkdtemp(prefix="pmkv-mutants-"))
    verdicts = []
    try:
        tree = Tree(where, options.jobs)
        healthy(tree, mutants)
        for mutant in mutants:
            began = time.monotonic()
            verdict, text = judge(tree, mutant)
            verdicts.append(verdict)
            print(f"{verdict:8} {mutant.name}: {mutant.what} [{mutant.test}"
                  f" {' '.join(mutant.arguments)}] {time.monotonic() - began:.0f} s {text}",
                  flush=True)
    finally:
        if not options.keep:
            shutil.rmtree(where, ignore_errors=True)
    caught = verdicts.count("CAUGHT")
    print(f"{caught} of {len(verdicts)} caught, {verdicts.count('SURVIVED')} survived, "
          f"{verdicts.count('STALE')} stale")
    return 0 if caught == len(verdicts) and verdicts else 1


if __name__ == "__main__":
    sys.exit(main())
