# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""What the cases share: the guest's media, pools on them, the service under load, and damage."""
import json
import random
import re
import subprocess
import time

from machine import CXL_BYTES, GuestError, Machine

PAGE = 4096
MIB = 1 << 20


class Failed(Exception):
    """A case found something other than what must be."""


class Skipped(Exception):
    """A case cannot run here, and why."""


def expect(condition, message, *args):
    if not condition:
        raise Failed(message % args if args else message)


class Medium:
    """Where a pool can be in the guest. block: its pmem device, None when it has none."""

    def __init__(self, pool, backend, durability, loss_unit=PAGE, size="24M", block=None):
        self.pool, self.backend, self.durability = pool, backend, durability
        self.loss_unit, self.size, self.block = loss_unit, size, block

    @property
    def device(self):
        return self.pool if self.backend == "devdax" else None


POWER, PROCESS = "power loss", "process death"
EXT4 = Medium("/mnt/ext4/pool", "fsdax", POWER, block="pmem0")
XFS = Medium("/mnt/xfs/pool", "fsdax", POWER, block="pmem0.1")
DAX_4K = Medium("/dev/dax0.2", "devdax", POWER, size=None)
DAX_2M = Medium("/dev/dax0.3", "devdax", POWER, loss_unit=2 * MIB, size=None)
PLAIN = Medium("/mnt/plain/pool", "file", POWER)
SHM = Medium("/mnt/shm/pool", "shm", PROCESS)
CXL = Medium("/mnt/ext4/pool", "fsdax", POWER, block="pmem0")

# Multiples of the region's alignment of 16 MiB. xfs takes no less than 300 MiB.
NAMESPACES = ("-m fsdax -s 96M", "-m fsdax -s 352M", "-m devdax -s 32M -a 4096",
              "-m devdax -s 96M -a 2M")

CXL_REGION = "6a3b1c8e-0f5d-4c61-9d0a-2f7e4b5c9d10"


class Testbed(Machine):
    """A machine with its media made, mounted and known."""

    def __init__(self, folder, kernel, initramfs, service, kind="nvdimm"):
        super().__init__(folder, kernel, initramfs, kind)
        self.copies = copy_ranges(service)
        self.reports = [] # the last one of each process that had the pool open

    # --- media ----------------------------------------------------------------------------------

    def power_on(self):
        self.boot()
        if self.kind == "cxl":
            refused = re.search("cxl_pci .*Failed.*", self.run("dmesg"))
            if refused:
                raise Skipped("the guest's kernel does not take QEMU's CXL memory: "
                              + refused.group(0))
            self.run("cxl-region %s %d" % (CXL_REGION, CXL_BYTES))

    def make_media(self):
        """On a machine that was booted with new images."""
        self.run("ndctl disable-region all; ndctl init-labels -f nmem0; ndctl enable-region all")
        if self.kind == "cxl":
            self.run("ndctl create-namespace -f -m fsdax -r region0")
        else:
            for namespace in NAMESPACES:
                self.run("ndctl create-namespace -f -r region0 " + namespace)
        self.run("mkfs.ext4 -q -F -b 4096 -m 0 /dev/pmem0")
        if self.kind == "nvdimm":
            self.run("mkfs.xfs -q -f -m reflink=0,rmapbt=1 /dev/pmem0.1")

    def mount(self):
        self.run("n=0; until [ -e /dev/pmem0 ] || [ $n = 100 ]; do sleep 0.1; n=$((n+1)); done")
        self.run("mount -o dax=always /dev/pmem0 /mnt/ext4")
        if self.kind == "nvdimm":
            self.run("mount -o dax=always /dev/pmem0.1 /mnt/xfs")
        self.run("mount -t tmpfs -o size=64M tmpfs /mnt/shm")

    def mount_plain(self):
        """The same ext4 by way of the page cache."""
        self.run("umount /mnt/ext4; mount -o dax=never /dev/pmem0 /mnt/plain")

    # --- pools ----------------------------------------------------------------------------------

    def create(self, medium, *options):
        size = ["-s", medium.size] if medium.size and "-s" not in options else []
        return self.run(" ".join(["pmkv-cli create", *size, *options, medium.pool]))

    def cli(self, verb, medium, *options):
        """A verb with --json: its exit code and document."""
        code, text = self.shell(" ".join(["pmkv-cli", verb, "--json", medium.pool, *options,
                                          "2>/tmp/errors"]))
        try:
            return code, json.loads(text)
        except ValueError as error:
            raise Failed("pmkv-cli %s: exit %d: %s %s" %
                         (verb, code, text.strip(), self.run("cat /tmp/errors"))) from error

    def check(self, medium):
        code, text = self.shell("pmkv-cli check " + medium.pool)
        expect(code == 0, "check: exit %d: %s", code, text)

    def verify(self, medium, acknowledged=(0, 0)):
        code, text = self.shell("service verify %s %d %d" % (medium.pool, *acknowledged))
        expect(code == 0 and "result right" in text, "verify: exit %d: %s", code, text)
        self.reports.append(Report(text.strip().splitlines()[-2]))
        return self.reports[-1]

    def ranges(self, medium):
        code, document = self.cli("map", medium, "--all")
        expect(code == 0, "map: exit %d", code)
        return document["ranges"]

    # --- where things are -----------------------------------------------------------------------

    def number(self, path):
        return int(self.run("cat " + path), 0)

    def places(self, medium):
        """The pool in physical memory, in pieces: (offset, physical address, bytes)."""
        if medium.backend == "devdax":
            name = medium.pool.rsplit("/", 1)[1]
            base = "/sys/bus/dax/devices/%s/" % name
            return [(0, self.number(base + "resource"), self.number(base + "size"))]
        start = self.number("/sys/block/%s/device/resource" % medium.block)
        text = self.run("page extents " + medium.pool)
        return [(offset, start + place, size) for offset, place, size in
                (map(int, line.split()) for line in text.splitlines())]

    def memory_start(self):
        """The physical address of the first byte of the image."""
        return self.number("/sys/bus/nd/devices/region0/resource")

    # --- bad blocks -----------------------------------------------------------------------------

    def listed(self, medium):
        """What the kernel and the firmware hold for bad, and libndctl says."""
        lists = ["/sys/bus/nd/devices/region0/badblocks", "/sys/kernel/debug/pmem_firmware/bad"]
        if medium.block:
            lists.append("/sys/block/%s/badblocks" % medium.block)
        text = "".join(self.run("cat " + path) for path in lists)
        return text + "".join(re.findall(r'"badblock_count":\d+', self.run("ndctl list -NRM")))

    def make_bad(self, medium, offsets, size=PAGE, zap=False, destroy=True):
        """Bad blocks at these offsets of the pool; their bytes are gone."""
        places, start = self.places(medium), self.memory_start()
        for offset in offsets:
            physical = physical_of(places, offset)
            if destroy:
                self.destroy(physical - start, size)
            self.run("echo %#x %d %s >/sys/kernel/debug/pmem_firmware/inject"
                     % (physical, size, "zap" if zap else ""))

    def list_block(self, medium, offset):
        """Listed as bad by the kernel alone, where there is no firmware to ask."""
        start = self.number("/sys/block/%s/device/resource" % medium.block)
        sector = (physical_of(self.places(medium), offset) - start) // 512
        self.run("echo %d %d >/sys/block/%s/badblocks" % (sector, PAGE // 512, medium.block))

    def cleared(self):
        """How many clear-error commands the firmware has had."""
        return self.number("/sys/kernel/debug/pmem_firmware/cleared")

    def expect_all_cleared(self, medium, seconds=20):
        """Nothing is listed as bad any more."""
        deadline = time.monotonic() + seconds
        left = self.listed(medium)
        while left and time.monotonic() < deadline:
            time.sleep(0.2)
            left = self.listed(medium)
        expect(not left, "still listed as bad: %s", left)

    def sum(self, count):
        """Over all processes so far, as each said last."""
        return sum(report.number(count) for report in self.reports)

    # --- the service ----------------------------------------------------------------------------

    def serve(self, medium, early=False):
        return Service(self, medium, early)


class Report:
    """One line of the service."""

    def __init__(self, line):
        words = line.split()
        self.line = line
        self.acknowledged = (int(words[1]), int(words[2]))
        self.counts = dict(zip(words[3::2], map(int, words[4::2])))

    def __getattr__(self, name):
        return self.counts[name]

    def number(self, count):
        return self.counts[count]


class Service:
    """The service under load, in the guest."""

    def __init__(self, bed, medium, early):
        self.bed, self.medium = bed, medium
        self.last = None
        command = "service run %s %s" % (medium.pool, "early" if early else "")
        self.pid = int(bed.run("%s >/dev/ttyS2 2>&1 & echo $!" % command))
        bed.reports.append(self)
        self.wait("starts", lambda report: min(report.acknowledged) > 20)

    def number(self, count):
        return self.last.number(count) if self.last else 0

    def next_report(self, seconds):
        text, match = self.bed.report_line.until(
            rb"(at \d+ [^\n]*lost \d+|result [^\n]*)\r?\n", seconds)
        line = match.group(1).decode(errors="replace").strip()
        if line.startswith("result"):
            return line
        expect(not text.strip(), "the service says: %s", text)
        self.last = Report(line)
        return self.last

    def wait(self, what, condition, seconds=40):
        """Until a report fulfils the condition."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                report = self.next_report(deadline - time.monotonic())
            except GuestError as error:
                raise Failed("the service never %s: last %s" %
                             (what, self.last and self.last.line)) from error
            expect(isinstance(report, Report), "the service ended before it %s: %s", what, report)
            if condition(report):
                return report

    def wait_more(self, operations):
        """Until both writers did that many more: it serves on."""
        self.drain()
        goal = [n + operations for n in self.last.acknowledged]
        return self.wait("serves on", lambda report: all(
            now >= then for now, then in zip(report.acknowledged, goal)))

    def drain(self):
        """Takes in the reports that are there."""
        while self.bed.report_line.receive(0.001):
            pass
        while b"\n" in self.bed.report_line.data:
            expect(isinstance(self.next_report(1), Report), "the service has ended")

    def stop(self):
        """Ends it: all values right?"""
        self.bed.run("kill %d" % self.pid)
        while True:
            report = self.next_report(60)
            if not isinstance(report, Report):
                expect(report == "result right", "the service says: %s", report)
                return self.last

    # --- catching it in the middle of a copy ----------------------------------------------------

    def mapping(self):
        """Its mapping of the pool: (first address, end, offset) pieces."""
        text = self.bed.run("cat /proc/%d/maps" % self.pid)
        pieces = []
        for line in text.splitlines():
            words = line.split()
            if words[-1] == self.medium.pool:
                first, end = (int(word, 16) for word in words[0].split("-"))
                pieces.append((first, end, int(words[2], 16)))
        expect(pieces, "the pool is not mapped: %s", text)
        return pieces

    def offset_being_read(self, pieces):
        """Of the page that processor 0 is copying from just now; None: of none."""
        registers = self.bed.registers()
        at, source = registers["RIP"], registers["RSI"] + registers["RAX"]
        if not registers["user"] or registers["RAX"] >= registers["RDX"] or \
                not any(first <= at < end for first, end in self.bed.copies):
            return None
        return next((source - first + offset for first, end, offset in pieces
                     if first <= source < end), None)

    def catch_reading(self, seconds=40):
        """Stops the guest with the hot reader in the middle of a copy from the pool: the offset of
        the page it reads. The guest stays stopped."""
        pieces = self.mapping()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.bed.monitor("stop")
            offset = self.offset_being_read(pieces)
            if offset is not None:
                return offset // PAGE * PAGE
            self.bed.monitor("cont")
            time.sleep(random.uniform(0.0005, 0.004))
        raise Failed("the hot reader was never met inside a copy")


def physical_of(places, offset):
    for start, physical, size in places:
        if start <= offset < start + size:
            return physical + offset - start
    raise Failed("offset %d is nowhere in memory" % offset)


def copy_ranges(service):
    """Instructions of the service inside a safe load: past the entry, before the end."""
    symbols = subprocess.run(["nm", "-S", service], stdout=subprocess.PIPE, check=True, text=True)
    ranges = [(int(at, 16) + 8, int(at, 16) + int(size, 16) - 1) for at, size in
              re.findall(r"^(\w+) (\w+) . mc_x86_load_\w+$", symbols.stdout, re.M)]
    expect(ranges, "no safe copy in %s", service)
    return ranges
