#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""Every target of performance beside what tools/compare.sh has measured, as a table in Markdown.

usage: targets.py DIR

DIR has the raw figures of tools/compare.sh. A figure is the median of the rounds; a target with several
figures is met when each of them meets it. What has no figures is "not measured", never met.
"""

import glob
import json
import os
import re
import statistics
import sys

PEERS = ("lmdb", "rocksdb", "leveldb")
MIB = 1 << 20


class Unmeasured(Exception):
    """A figure that is not in the reports."""


class Figures:
    """Medians over the rows of the reports NAME.json, NAME-1.json, NAME-2.json ..."""

    def __init__(self, directory):
        self.reports = {}
        self.directory = directory
        for path in sorted(glob.glob(os.path.join(directory, "*.json"))):
            name = os.path.basename(path)[:-len(".json")]
            name = name if name.startswith("values-") else re.sub(r"-\d+$", "", name)
            with open(path, encoding="utf-8") as file:
                self.reports.setdefault(name, []).append(json.load(file))

    def rows(self, run, workload, engine="pmkv", threads=1, last=False):
        """Rows that were run to their end; last: of each engine and number of threads the last one."""
        found = []
        for report in self.reports.get(run, []):
            rows = [row for row in report["jobs"]
                    if (row["jobname"], row["engine"], row["threads"]) == (workload, engine, threads)
                    and "not_run" not in row and row["failure"] is None]
            found += rows[-1:] if last else rows
        if not found:
            raise Unmeasured(f"{engine} {workload} of {run}")
        return found

    def get(self, field, *where, **which):
        """The median of a field; "a/b" goes down."""
        values = []
        for row in self.rows(*where, **which):
            for name in field.split("/"):
                row = row.get(name) if row else None
            values += [row] if row is not None else []
        if not values:
            raise Unmeasured(field)
        return statistics.median(values)

    def rate(self, *where, **which):
        return self.get("ops_per_sec", *where, **which)

    def time(self, *where, **which):
        """Of one operation, in windows that nobody else disturbed."""
        return self.get("wall_ns_per_op", *where, **which)

    def over_model(self, keys):
        """Records stored a put, over those of the best policy simulated: from what stress_clean prints."""
        path = os.path.join(self.directory, "cleaning-model.txt")
        if not os.path.exists(path):
            raise Unmeasured(path)
        with open(path, encoding="utf-8") as file:
            part = re.search(rf"^{keys} .*\n\s*([\d.]+) records stored a put; simulated:(.*);",
                             file.read(), re.MULTILINE)
        if not part:
            raise Unmeasured(f"{keys} of {path}")
        return float(part[1]) / min(float(n) for n in re.findall(r" (\d+\.\d\d)\b", part[2]))

    def option(self, run, name):
        if run not in self.reports:
            raise Unmeasured(run)
        return self.reports[run][0]["global options"][name]


class Target:
    """Figures to reach: at most, or at least; neither: they are shown and no more."""

    def __init__(self, area, what, figures, most=None, least=None, unit="x"):
        self.area, self.what, self.figures = area, what, figures
        self.most, self.least, self.unit = most, least, unit

    def wanted(self):
        if self.most is None and self.least is None:
            return "-"
        return f"≤ {self.most:g}{self.unit}" if self.least is None else f"≥ {self.least:g}{self.unit}"

    def is_met(self, value):
        return value <= self.most if self.least is None else value >= self.least

    def row(self):
        texts, values, missing = [], [], False
        for label, figure in self.figures.items():
            try:
                value = figure()
                values.append(value)
                texts.append(f"{label} {show(value)}{self.unit}".strip())
            except Unmeasured:
                missing = True
                texts.append(f"{label} -".strip())
        if not values:
            return self.cells("-", "not measured")
        shown = self.most is None and self.least is None
        if shown:
            verdict = "shown"
        elif not all(map(self.is_met, values)):
            verdict = "**missed**"
        else:
            verdict = "not all measured" if missing else "met"
        return self.cells("; ".join(texts), verdict)

    def cells(self, measured, verdict):
        return f"| {self.area} | {self.what} | {self.wanted()} | {measured} | {verdict} |"


def show(value):
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def core_targets(f):
    def over(workload, limit, engine="pmkv"):
        return lambda: f.time("core", workload) / f.time("core", limit, engine=engine)

    def rates(one, other):
        return lambda: f.rate("core", one) / f.rate("core", other)

    yield Target("get", "uniform get, time over `lim_get_loop`", {"": over("readrandom", "lim_get_loop")},
                 most=1.15)
    yield Target("get", "`pmkv_get_many` of 16, time over the batched gets of limit",
                 {"": over("multireadrandom", "multireadrandom", "limit")}, most=1.3)
    yield Target("get", "`pmkv_get_many` of 16, rate over single gets",
                 {"": rates("multireadrandom", "readrandom")}, least=4)
    yield Target("get", "get of a missing key, time over one dependent random line (`lim_line`)",
                 {"": over("readmissing", "lim_line")}, most=1)
    yield Target("put", "put, time over `lim_append1`, which has one fence",
                 {"insert": over("fillrandom", "lim_append1"), "load": over("fillseq", "lim_append1")},
                 most=2.2)
    yield Target("put", "overwrite, time over `lim_get_serial`",
                 {"": over("overwrite", "lim_get_serial")}, most=0.8)
    yield Target("put", "fences a put",
                 {"insert": lambda: f.get("store/fences_per_op", "core", "fillrandom"),
                  "overwrite": lambda: f.get("store/fences_per_op", "core", "overwrite")},
                 most=1.005, unit="")
    yield Target("put", "`pmkv_write` of 16, puts a second over single puts",
                 {"": rates("writebatch", "overwrite")}, least=2.5)


def peer_targets(f):
    def beside(peer, workload, of_peer=None):
        def ratio(run, threads):
            return lambda: (f.rate(run, workload, threads=threads)
                            / f.rate(run, of_peer or workload, engine=peer, threads=threads))
        return {"1 thread": ratio("peers", 1), "2 threads": ratio("threads", 2)}

    for what, workload, least in (("inserts", "fillrandom", 20), ("updates", "overwrite", 20),
                                  ("deletes", "deleterandom", 8)):
        for peer in PEERS:
            yield Target("peers", f"{what} over {peer}", beside(peer, workload), least=least)
    yield Target("peers", "inserts over pmemobj", beside("pmemobj", "fillrandom"), least=12)
    yield Target("peers", "YCSB-A over pmemobj", beside("pmemobj", "ycsba"), least=4)
    for peer, least in (("lmdb", 2.5), ("rocksdb", 20), ("pmemobj", 4)):
        yield Target("peers", f"uniform gets over {peer}", beside(peer, "readrandom"), least=least)
        yield Target("peers", f"`pmkv_get_many` of 16 over single gets of {peer}",
                     beside(peer, "multireadrandom", "readrandom"), least=4 * least)


def protection_targets(f):
    def over(geometry, workload):
        return lambda: (f.time(f"geometry-{geometry}", workload)
                        / f.time("geometry-none", workload))

    def puts(geometry):
        return {"insert": over(geometry, "fillrandom"), "overwrite": over(geometry, "overwrite")}

    yield Target("protection", "get, parity over none", {"": over("parity", "readrandom")}, most=1.03)
    yield Target("protection", "put, parity over none", puts("parity"), most=1.35)
    yield Target("protection", "put, double parity over none", puts("double"), most=1.5)


def thread_targets(f):
    workloads = f.option("scaling", "benchmarks") if "scaling" in f.reports else []

    def ratios(many, few, engine="pmkv"):
        def ratio(workload):
            return lambda: (f.rate("scaling", workload, engine=engine, threads=many)
                            / f.rate("scaling", workload, engine=engine, threads=few))
        return {workload: ratio(workload) for workload in workloads}

    yield Target("threads", "2 over 1", ratios(2, 1), least=1.8)
    yield Target("threads", "16 over 2", ratios(16, 2), least=0.9)
    yield Target("threads", "the same of the bare machine, 2 over 1", ratios(2, 1, "limit"))
    yield Target("threads", "the same of the bare machine, 16 over 2", ratios(16, 2, "limit"))


def cleaning_targets(f):
    def last(field, keys, **which):
        return f.get(field, f"cleaning-{keys}", "update", last=True, **which)

    def tail(keys):
        return lambda: (last("lat_ns/percentile/99.9", keys) / last("lat_ns/percentile/50", keys))

    def pauses(engine):
        return lambda: sum(row["lat_ns"]["over_1ms"] * 1e6 / row["lat_ns"]["N"] for row in
                           f.rows("cleaning-uniform", "update", engine=engine, last=True))

    def sustained(keys):
        return {keys: lambda: (last("ops_per_sec", keys)
                               / f.rate(f"cleaning-{keys}", "fillrandom"))}

    def amplification(keys):
        return lambda: (last("store/media_bytes_per_op", keys)
                        / f.get("store/media_bytes_per_op", f"cleaning-{keys}", "fillrandom"))

    both = ("uniform", "zipfian")
    yield Target("tails", "put, p99.9 over p50 while the cleaner works",
                 {keys: tail(keys) for keys in both}, most=10)
    yield Target("tails", "pauses over 1 ms in a million updates of that run",
                 {"pmkv": pauses("pmkv"), "limit": pauses("limit")}, unit="")
    yield Target("cleaning", "live share of the room for records in these runs",
                 {keys: (lambda keys=keys: last("store/live_share", keys)) for keys in both}, unit="")
    yield Target("cleaning", "uniform updates, rate over inserts into the empty pool",
                 sustained("uniform"), least=0.4)
    yield Target("cleaning", "zipfian updates, rate over inserts into the empty pool",
                 sustained("zipfian"), least=0.6)
    yield Target("cleaning", "bytes stored an update over those an insert",
                 {keys: amplification(keys) for keys in both})
    yield Target("cleaning", "records stored an update over a simulation of the best policy",
                 {keys: (lambda keys=keys: f.over_model(keys)) for keys in both}, most=1.15)


def space_targets(f):
    def dram():
        keys = f.get("store/keys", "core", "fillrandom")
        return max(0, f.get("store/dram_bytes_per_key", "core", "fillrandom") - 64 * MIB / keys)

    yield Target("space", "pool bytes used a live byte after a load",
                 {"": lambda: f.get("store/used_bytes_per_live_byte", "core", "fillrandom")},
                 most=1.5, unit="")
    yield Target("space", "the same once packed (`pmkv_pack`)",
                 {"": lambda: f.get("store/used_bytes_per_live_byte", "core", "pack")}, most=1.4,
                 unit="")
    yield Target("space", "DRAM bytes a key beside 64 MiB", {"": dram}, most=16, unit="")


def open_targets(f):
    def over(workload):
        def ratio():
            keys = f.option("core", "num")
            return f.time("core", workload) / (f.time("core", "lim_open") * keys)
        return ratio

    yield Target("open", "time over that of the bare limit (`lim_open`)",
                 {"clean": over("open"), "killed": over("openkilled")}, most=3)


def scrub_targets(f):
    def bandwidth(workload):
        return (f.get("bytes_per_op", "core", workload) / f.time("core", workload))

    def cost(workload):
        return lambda: f.rate("scrub-on", workload) / f.rate("scrub-off", workload)

    yield Target("scrub", "full speed, bytes a second over those of `lim_read`",
                 {"": lambda: bandwidth("scrub") / bandwidth("lim_read")}, least=0.6)
    yield Target("scrub", "rate of the foreground beside a scrub of 64 MiB/s, over without",
                 {"get": cost("readrandom"), "overwrite": cost("overwrite")}, least=0.95)


def fault_targets(f):
    def bad_page():
        return 1000 * f.get("faults/first_good_read_median_ms", "badpage", "readrandom")

    def faults_a_second():
        return (f.get("faults/injected", "poison-on", "readrandom")
                / f.get("elapsed_s", "poison-on", "readrandom"))

    def kept(workload):
        return lambda: f.rate("poison-on", workload) / f.rate("poison-off", workload)

    yield Target("faults", "a get that meets a bad page, median", {"": bad_page}, most=50, unit=" µs")
    yield Target("faults", "pages poisoned a second", {"": faults_a_second}, least=900, unit="")
    yield Target("faults", "rate beside that, over without",
                 {"get": kept("readrandom"), "YCSB-A": kept("ycsba")}, least=0.7)


def file_targets(f):
    def over_best(workload, threads):
        def ratio():
            best = max(f.rate("file", workload, engine=peer, threads=threads)
                       for peer in ("lmdb", "rocksdb", "sqlite"))
            return f.rate("file", workload, threads=threads) / best
        return ratio

    for what, workload in (("inserts", "fillrandom"), ("updates", "overwrite")):
        yield Target("file", f"{what} on a disk's file system over the best of LMDB, RocksDB, SQLite",
                     {f"{n} thread{'s' * (n > 1)}": over_best(workload, n) for n in (1, 8, 32)},
                     least=1.5)


def value_targets(f):
    def get(size):
        run = f"values-{size}"
        return lambda: f.time(run, "lim_copy") / f.time(run, "readrandom")

    def put(size):
        run = f"values-{size}"
        return lambda: (f.time(run, "lim_copy")
                        / (f.time(run, "overwrite", last=True) - f.time(run, "harness")))

    small, large = {"8 B": 8, "1 KiB": 1024}, {"64 KiB": 65536, "4 MiB": 4 * MIB}
    for what, figure, least in (("get", get, 0.7), ("durable put, less the making of the value,",
                                                    put, 0.4)):
        yield Target("values", f"{what} bytes a second over memcpy (`lim_copy`)",
                     {name: figure(size) for name, size in large.items()}, least=least)
        yield Target("values", f"{what} the same of small values",
                     {name: figure(size) for name, size in small.items()})


AREAS = (core_targets, peer_targets, protection_targets, thread_targets, cleaning_targets, space_targets,
         open_targets, scrub_targets, fault_targets, file_targets, value_targets)


def conditions(f):
    """How many keys the runs had."""
    keys = [f"{run} {f.option(run, 'num'):,}" for run in
            ("core", "scaling", "peers", "threads", "cleaning-uniform", "file") if run in f.reports]
    return "Targets beside what was measured. Keys: " + ", ".join(keys) + "."


def main(arguments):
    if len(arguments) != 1 or not os.path.isdir(arguments[0]):
        print(__doc__, file=sys.stderr)
        return 2
    f = Figures(arguments[0])
    print(conditions(f))
    print("\n| area | target | wanted | measured | |\n|---|---|---:|---|---|")
    for area in AREAS:
        for target in area(f):
            print(target.row())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
