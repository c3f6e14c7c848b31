#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""Runs the cases; run.sh prepares what it needs and calls it.

usage: suite.py --list | --kernel VMLINUX --initramfs FILE --service FILE --folder DIR [NAME...]
"""
import argparse
import os
import shutil
import signal
import sys
import time
import traceback

from cases import CASES
from machine import GuestError
from testbed import Failed, Skipped, Testbed


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--kernel")
    parser.add_argument("--initramfs")
    parser.add_argument("--service")
    parser.add_argument("--folder")
    parser.add_argument("names", nargs="*")
    return parser.parse_args()


def chosen(names):
    """The cases whose name is, or begins with, one of these; all when there are none."""
    for name in names:
        if not any(case[0].startswith(name) for case in CASES):
            sys.exit("suite.py: no case %s" % name)
    return [case for case in CASES
            if not names or any(case[0].startswith(name) for name in names)]


def make_anew(bed):
    bed.new_images()
    bed.power_on()
    bed.make_media()
    bed.mount()


def run_case(beds, args, case):
    name, kind, function, medium = case
    began = time.monotonic()
    if kind not in beds:
        beds[kind] = Testbed(os.path.join(args.folder, kind), args.kernel, args.initramfs,
                             args.service, kind)
    bed = beds[kind]
    try:
        if kind == "cxl": # QEMU keeps no snapshot of its decoders
            make_anew(bed)
        elif not os.path.exists(bed.path("snapshot")):
            make_anew(bed)
            bed.save()
            bed.restore()
        else:
            bed.restore()
        function(bed, medium)
        verdict, detail = "PASS", ""
    except Skipped as error:
        verdict, detail = "SKIPPED", ": %s" % error
    except (Failed, GuestError) as error:
        verdict, detail = "FAIL", ": %s" % error
        if not isinstance(error, Failed):
            traceback.print_exc()
    finally:
        bed.kill()
    print("%-32s %5.1f s  %s%s" % (name, time.monotonic() - began, verdict, detail), flush=True)
    if verdict == "FAIL":
        show_console(bed)
    return verdict


def show_console(bed):
    with open(bed.path("console.log"), errors="replace") as file:
        for line in file.read().splitlines()[-15:]:
            print("    | " + line)


def main():
    args = arguments()
    if args.list:
        print("\n".join(case[0] for case in CASES))
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1)) # QEMU goes along
    shutil.rmtree(args.folder, ignore_errors=True)
    beds, counts = {}, {"PASS": 0, "FAIL": 0, "SKIPPED": 0}
    for case in chosen(args.names):
        counts[run_case(beds, args, case)] += 1
    print("vm: %d passed, %d failed, %d skipped"
          % (counts["PASS"], counts["FAIL"], counts["SKIPPED"]))
    print("vm: %d machine checks, %d faults met, %d records rebuilt for their readers, "
          "%d pages repaired, %d retired, %d records lost"
          % (sum(bed.machine_checks for bed in beds.values()),
             *(sum(bed.sum(count) for bed in beds.values())
               for count in ("faults", "rebuilt", "repaired", "retired", "lost"))))
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
