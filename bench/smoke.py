#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""pmkv-bench with every engine and workload, in seconds: values, formats and exit codes, not times.

usage: smoke.py PMKV-BENCH | --report DIR
--report checks the files that tools/compare.sh has left.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as tree

ENGINES = ["pmkv", "pmkv-ordered", "lmdb", "rocksdb", "leveldb", "tkrzw", "sqlite", "pmemobj", "limit"]
ORDERED = ["pmkv-ordered", "lmdb", "rocksdb", "leveldb", "sqlite"]
BATCHED = ["pmkv", "pmkv-ordered", "lmdb", "rocksdb", "leveldb", "sqlite", "limit"]
WORKLOADS = ["fillseq", "fillrandom", "overwrite", "update", "writebatch", "readrandom", "readmissing",
             "multireadrandom", "readwhilewriting", "seekrandom", "ycsba", "ycsbb", "ycsbc", "ycsbd",
             "ycsbe", "ycsbf", "open", "openkilled", "scrub", "pack", "deleterandom"]

failures = []


def expect(what, got, wanted):
    if got != wanted:
        failures.append(f"{what}: {got!r}, wanted {wanted!r}")


def expect_that(what, holds):
    expect(what, bool(holds), True)


def not_run(engine, workload):
    return (workload in ("seekrandom", "ycsbe") and engine not in ORDERED
            or workload == "writebatch" and engine not in BATCHED
            or workload.startswith("open") and engine == "limit"
            or workload in ("scrub", "pack") and not engine.startswith("pmkv"))


def check_row(row):
    name = f"{row['engine']} {row['jobname']}"
    lat = row["lat_ns"]
    steps = [lat["min"]] + [lat["percentile"][p] for p in ("50", "99", "99.9", "99.99")]
    expect(f"{name}: failure", row["failure"], None)
    expect_that(f"{name}: operations", row["ops"] > 0 and row["ops_per_sec"] > 0)
    expect_that(f"{name}: percentiles rise", steps == sorted(steps) and lat["max"] >= steps[-1] > 0)
    expect_that(f"{name}: noise", {"load1", "other_percent"} <= row["noise"].keys())


def check_rows(report, engines, workloads):
    rows = {(row["engine"], row["jobname"]): row for row in report["jobs"]}
    for engine in engines:
        for workload in workloads:
            row = rows.get((engine, workload))
            expect_that(f"{engine} {workload}: is there", row)
            if row and not_run(engine, workload):
                expect_that(f"{engine} {workload}: says why not", row.get("not_run"))
            elif row:
                check_row(row)
    for name in ("lim_append1", "lim_get_loop", "lim_line", "lim_read", "lim_open", "harness"):
        expect_that(f"{name}: is there once", [n for _, n in rows].count(name) == 1)
    scrub = rows.get(("pmkv", "scrub"))
    expect_that("pmkv: the scrub read the records", not scrub or scrub["bytes_per_op"] > 200 * 2000)
    space = rows[("pmkv", "overwrite")]["store"]
    expect_that("pmkv: a fence a put", 1 <= space["fences_per_op"] < 1.5)
    expect_that("pmkv: write amplification", 1 < space["write_amplification"] < 10)


def check_faults(report):
    for row in report["jobs"]:
        name, faults = f"faults, {row['jobname']}", row["faults"]
        expect(f"{name}: lost", faults["records_lost"], 0)
        expect(f"{name}: pending", faults["pages_pending"], 0)
        expect_that(f"{name}: injected", 1 <= faults["injected"] == len(faults["at_s"]))
        expect_that(f"{name}: repaired", faults["pages_repaired"] >= 1)
        expect_that(f"{name}: the first good read took time", faults["first_good_read_max_ms"] > 0)
        expect_that(f"{name}: a timeline", sum(row["timeline"]["ops"]) > 0)


def check_hdr(path, engines):
    text = open(path, encoding="utf-8").read()
    for engine in engines:
        expect_that(f"hdr: {engine}", f"Engine: {engine}," in text)
    for block in text.split("#[Engine:")[1:]:
        rows = re.findall(r"^ *([\d.]+) ([\d.]+) +(\d+)", block, re.M)
        total = re.search(r"Total count *= *(\d+)", block)
        expect("hdr: the last count is the total", rows[-1][2], total.group(1))
        expect("hdr: ends at 1", float(rows[-1][1]), 1.0)
        expect_that("hdr: values rise", [float(r[0]) for r in rows] == sorted(float(r[0]) for r in rows))


def check_page(directory, plots):
    page = open(os.path.join(directory, "report.html"), encoding="utf-8").read()
    found = re.findall(r"<svg.*?</svg>", page, re.S)
    for svg in found:
        tree.fromstring(svg)
    expect_that(f"report: {len(found)} plots, {plots} at least", len(found) >= plots)
    expect_that("report: holds all it needs", not re.search(r"https?://|<script|<link", page))
    expect_that("report: no figure that is none", not re.search(r"\b(nan|inf)\b", page))


def targets(directory):
    """Rows of tools/targets.py: what -> verdict."""
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools", "targets.py")
    text = subprocess.run([sys.executable, script, directory], capture_output=True, text=True,
                          timeout=60, check=True).stdout
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()
            if line.startswith("| ")][1:]
    return {f"{area}: {what}": verdict for area, what, _, _, verdict in rows}


def change_rates(directory, run, workload, factor):
    path = f"{directory}/{run}.json"
    report = json.load(open(path, encoding="utf-8"))
    for row in report["jobs"]:
        if row["jobname"] == workload and row["engine"] == "pmkv" and "ops_per_sec" in row:
            row["ops_per_sec"] *= factor
    json.dump(report, open(path, "w", encoding="utf-8"))


def check_targets(directory):
    """All are there with figures, and the verdicts follow the figures."""
    verdicts = targets(directory)
    disk = os.path.exists(f"{directory}/file.json")
    model = os.path.exists(f"{directory}/cleaning-model.txt")
    without = ([] if disk else ["disk"]) + ([] if model else ["simulation"])
    expect("targets: how many", len(verdicts), 54)
    for what, verdict in verdicts.items():
        unmeasured = any(word in what for word in without)
        expect_that(f"targets: {what}: {verdict}",
                    verdict in (("not measured",) if unmeasured else ("met", "**missed**", "shown")))
    with tempfile.TemporaryDirectory(prefix="pmkv-bench-") as copy:
        for path in glob.glob(f"{directory}/*.json"):
            shutil.copy(path, copy)
        batched = "get: `pmkv_get_many` of 16, rate over single gets"
        for factor, verdict in ((1e4, "met"), (1e-8, "**missed**")):
            change_rates(copy, "core", "multireadrandom", factor)
            expect(f"targets: gets {factor} times as fast", targets(copy)[batched], verdict)
        change_rates(copy, "threads", "deleterandom", 1e-8)
        change_rates(copy, "peers", "deleterandom", 1e8)
        expect("targets: one of two figures", targets(copy)["peers: deletes over lmdb"], "**missed**")
        os.remove(f"{copy}/core.json")
        expect("targets: no figures", targets(copy)[batched], "not measured")


def run(bench, directory, *options):
    command = [bench, f"--pool={directory}/pool", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def check_all_engines(bench, directory, threads):
    out = f"{directory}/all.json"
    code, text = run(bench, directory, "--engine=all", "--num=2000", "--rounds=1",
                     f"--threads={threads}", "--flush=line", f"--json={out}",
                     f"--hdr={directory}/all.hdr", f"--report={directory}/report",
                     "--benchmarks=" + ",".join(WORKLOADS[:-1] + ["limit", "deleterandom"]))
    expect("all engines: exit status, " + text[-600:] if code else "exit status", code, 0)
    if code in (0, 1):
        check_rows(json.load(open(out, encoding="utf-8")), ENGINES, WORKLOADS)
        check_hdr(f"{directory}/all.hdr", ENGINES)
        check_page(f"{directory}/report", 30)
    expect("no store is left", [n for n in os.listdir(directory) if n.startswith("pool")], [])


def check_options(bench, directory):
    out = f"{directory}/one.json"
    code, text = run(bench, directory, "--num=2000", "--duration=0.3", "--rate=5000",
                     "--distribution=uniform", "--geometry=mirror", "--backend=shm", "--batch=4",
                     "--benchmarks=overwrite,ycsbb,multireadrandom", f"--json={out}")
    expect("a rate: exit status, " + text[-300:] if code else "exit status", code, 0)
    rows = json.load(open(out, encoding="utf-8"))["jobs"]
    expect_that("a rate holds", all(row["ops"] <= 1600 for row in rows))
    expect("a batch", [row["ops_per_call"] for row in rows], [1, 1, 4])
    code, text = run(bench, directory, "--num=3000", "--duration=0.6", "--threads=2",
                     "--inject=poison:rate=5,flip:at=0.1", "--benchmarks=readrandom,ycsba",
                     f"--json={out}")
    expect("faults: exit status, " + text[-300:] if code else "exit status", code, 0)
    check_faults(json.load(open(out, encoding="utf-8")))


def check_sizes(bench, directory):
    """The shortest values, the longest, a pool that is filled as asked, and a scrub beside it."""
    out = f"{directory}/sizes.json"
    for size, num in ((8, 3000), (12, 500), (4 << 20, 20)):
        code, text = run(bench, directory, f"--num={num}", f"--value-size={size}", f"--json={out}",
                         "--benchmarks=fillrandom,overwrite,readrandom,multireadrandom,limit")
        expect(f"values of {size} B: exit status, " + text[-300:] if code else "exit status", code, 0)
        rows = {row["jobname"]: row for row in json.load(open(out, encoding="utf-8"))["jobs"]}
        expect(f"values of {size} B: bytes of a copy", rows["lim_copy"]["bytes_per_op"], size)
    code, text = run(bench, directory, "--num=200000", "--fill=60", "--scrub=64M", "--duration=1",
                     "--benchmarks=fillrandom,update", f"--json={out}")
    expect("a full pool: exit status, " + text[-300:] if code else "exit status", code, 0)
    if code == 0:
        share = json.load(open(out, encoding="utf-8"))["jobs"][1]["store"]["live_share"]
        expect_that(f"a full pool: {share} of it is live", 0.55 < share < 0.7)


def check_refusals(bench, directory):
    """What must not pass for success."""
    for wanted, *options in (
            (2, "--engine=nosuch"), (2, "--benchmarks=nosuch"), (2, "--inject=poison:often"),
            (2, "--fill=99"), (1, "--engine=lmdb", "--scrub=1M", "--num=100"),
            (2, "--engine=lmdb", "--inject=poison:at=0"), (2, "--threads=0"), (2, "file.json"),
            (1, f"--report={directory}/none", f"{directory}/nosuch.json"),
            # Without redundancy a poisoned record is lost: a reader must notice, and the run fail.
            (1, "--num=2000", "--geometry=none", "--duration=1", "--inject=poison:rate=20",
             "--benchmarks=readrandom")):
        code, _ = run(bench, directory, *options)
        expect(" ".join(options) + ": exit status", code, wanted)


def main(arguments):
    if len(arguments) == 2 and arguments[0] == "--report":
        directory = arguments[1]
        peers = json.load(open(f"{directory}/peers.json", encoding="utf-8"))
        check_rows(peers, ENGINES, [w for w in WORKLOADS if w not in ("update", "scrub", "pack")])
        check_faults(json.load(open(f"{directory}/faults.json", encoding="utf-8")))
        check_page(directory, 43)
        check_targets(directory)
    elif len(arguments) == 1:
        with tempfile.TemporaryDirectory(prefix="pmkv-bench-", dir="/dev/shm") as directory:
            check_all_engines(arguments[0], directory, 2)
            check_options(arguments[0], directory)
            check_sizes(arguments[0], directory)
            check_refusals(arguments[0], directory)
    else:
        print(__doc__, file=sys.stderr)
        return 2
    for failure in failures:
        print(f"bench smoke: {failure}")
    print(f"bench smoke: {len(failures)} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
