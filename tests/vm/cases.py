# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""The cases: each takes a machine just restored, with its media mounted and nothing on them.

What is bad is gone: the bytes of the page are overwritten behind the guest's back, so that a value
that is right after it came from redundancy.
"""
import random
import time

from testbed import CXL, DAX_2M, DAX_4K, EXT4, PAGE, PLAIN, SHM, XFS, expect, physical_of

CASES = []


def case(*media, kind="nvdimm"):
    """Makes a case of a function for each medium: named after both."""
    def register(function):
        for medium in media:
            name = function.__name__ + "-" + medium_name(medium)
            CASES.append((name, kind, function, medium))
        return function
    return register


def medium_name(medium):
    names = {id(EXT4): "ext4", id(XFS): "xfs", id(DAX_4K): "devdax4k", id(DAX_2M): "devdax2m",
             id(PLAIN): "pagecache", id(SHM): "tmpfs", id(CXL): "cxl"}
    return names[id(medium)]


# --- probing ------------------------------------------------------------------------------------

def expect_probe(bed, medium, bad_blocks):
    code, probe = bed.cli("probe", medium)
    expect(code == 0, "probe: exit %d", code)
    for key, value in (("backend", medium.backend), ("durability", medium.durability),
                       ("loss_unit_bytes", medium.loss_unit), ("bad_block_support", bad_blocks)):
        expect(probe[key] == value, "probe: %s is %r, expected %r: %s", key, probe[key], value,
               probe["reason"])


@case(EXT4, XFS, DAX_4K, DAX_2M, SHM, PLAIN)
def probe(bed, medium):
    """The backend, its durability and what it knows of bad blocks, before a pool and with one."""
    if medium is PLAIN:
        bed.mount_plain()
    expect_probe(bed, medium, True)
    bed.create(medium)
    expect_probe(bed, medium, True)
    code, status = bed.cli("status", medium)
    expect(code == 0 and status["state"] == "ONLINE", "status: exit %d: %s", code, status["state"])
    expect(status["backend"] == medium.backend and status["durability"] == medium.durability,
           "status: %s, %s", status["backend"], status["durability"])


# --- machine checks under load --------------------------------------------------------------------

def strike(service):
    """A machine check on the page that the hot reader is copying from, whose bytes are lost."""
    bed, medium = service.bed, service.medium
    places, start = bed.places(medium), bed.memory_start()
    service.drain()
    before = service.last
    offset = service.catch_reading()
    physical = physical_of(places, offset)
    unit = medium.loss_unit
    bed.destroy(physical // unit * unit - start, unit)
    bed.machine_check(physical, asynchronous=False)
    bed.monitor("cont")
    return before


@case(EXT4, XFS, DAX_4K)
def machine_check(bed, medium):
    """Loads meet machine checks while the service runs: values stay right, the page is cleared, the
    same mapping reads on."""
    bed.create(medium)
    service = bed.serve(medium)
    for turn in range(1, 3):
        before = strike(service)
        service.wait("rebuilt a value", lambda now: now.rebuilt > before.rebuilt)
        service.wait("repaired the page", lambda now: now.repaired > before.repaired)
        service.wait_more(50)
        expect(bed.cleared() == turn, "%d clear-error commands, expected %d", bed.cleared(), turn)
        bed.expect_all_cleared(medium)
    last = service.stop()
    expect(last.lost == 0 and last.retired == 0, "%s", last.line)
    code, status = bed.cli("status", medium)
    expect(code == 0 and status["state"] == "REPAIRED", "status: exit %d: %s", code, status["state"])
    bed.check(medium)


@case(EXT4, XFS, DAX_4K)
def asynchronous(bed, medium):
    """An asynchronous machine check, to a process that asked for them, on a page that nobody reads
    while the pool is open, a copy of the superblock: it is repaired all the same."""
    bed.create(medium)
    service = bed.serve(medium, early=True)
    physical = physical_of(bed.places(medium), 0)
    start = bed.memory_start()
    service.drain()
    before = service.last
    bed.monitor("stop")
    bed.destroy(physical - start, PAGE)
    bed.machine_check(physical, asynchronous=True)
    bed.monitor("cont")
    service.wait("repaired the page", lambda now: now.repaired > before.repaired)
    service.wait_more(50)
    last = service.stop()
    expect(last.lost == 0 and last.retired == 0, "%s", last.line)
    # Under emulation the kernel may take longer to list a page than the library waits for it; the
    # next open finds that page in the list.
    bed.verify(medium, last.acknowledged)
    expect(bed.cleared() >= 1, "no clear-error command")
    bed.expect_all_cleared(medium, seconds=0)
    bed.check(medium)


def scrub(bed, medium):
    code, text = bed.shell("pmkv-cli scrub %s 2>&1" % medium.pool)
    expect(code in (0, 5), "scrub: exit %d: %s", code, text)


@case(DAX_2M)
def huge_loss(bed, medium):
    """A machine check under device-dax with 2 MiB units takes all of the 2 MiB."""
    bed.create(medium)
    service = bed.serve(medium)
    before = strike(service)
    service.wait("rebuilt a value", lambda now: now.rebuilt > before.rebuilt)
    service.wait("repaired the page", lambda now: now.repaired > before.repaired)
    service.wait_more(50)
    last = service.stop()
    expect(last.lost == 0 and last.retired == 0, "%s", last.line)
    scrub(bed, medium)
    bed.expect_all_cleared(medium)
    bed.check(medium)
    bed.verify(medium, last.acknowledged)


# --- bad blocks -----------------------------------------------------------------------------------

def fill(bed, medium, operations=1500):
    """A pool with data in it, closed: what was acknowledged."""
    bed.create(medium)
    service = bed.serve(medium)
    service.wait_more(operations)
    return service.stop().acknowledged


def page_of(kind, ranges, turn=0):
    """The last page of one of the ranges of this kind."""
    found = [part for part in ranges if part["kind"] == kind]
    expect(found, "the pool has no %s", kind)
    part = found[turn % len(found)]
    return part["offset"] + part["bytes"] - PAGE


KINDS = ("superblock", "table", "header", "data", "parity", "twin")


@case(EXT4, XFS, DAX_4K)
def bad_at_open(bed, medium):
    """Bad blocks in a page of each kind, listed before the pool is opened."""
    acknowledged = fill(bed, medium)
    ranges = bed.ranges(medium)
    # Parity of another row than the data: one loss in each.
    pages = [page_of(kind, ranges, turn=3 if kind == "parity" else 0) for kind in KINDS]
    bed.make_bad(medium, pages)
    expect(bed.listed(medium).count("\n") >= len(pages), "listed: %s", bed.listed(medium))
    report = bed.verify(medium, acknowledged)
    expect(report.lost == 0 and report.retired == 0, "%s", report.line)
    bed.expect_all_cleared(medium, seconds=0)
    expect(bed.cleared() >= len(pages), "%d clear-error commands for %d pages", bed.cleared(),
           len(pages))
    bed.check(medium)


@case(DAX_2M)
def bad_units_at_open(bed, medium):
    """Under device-dax with 2 MiB units a bad block takes its unit along: two in the same one, and
    one in that of a superblock. The first page that is repaired takes the other's poison away, and
    a scrub finds what is left in its place."""
    acknowledged = fill(bed, medium)
    ranges = bed.ranges(medium)
    data = page_of("data", ranges)
    bed.make_bad(medium, [page_of("superblock", ranges), data, data // medium.loss_unit *
                          medium.loss_unit])
    report = bed.verify(medium, acknowledged)
    expect(report.lost == 0 and report.retired == 0, "%s", report.line)
    bed.expect_all_cleared(medium, seconds=0)
    expect(bed.cleared() == 3, "%d clear-error commands, expected 3", bed.cleared())
    scrub(bed, medium)
    bed.check(medium)


@case(EXT4, XFS)
def bad_under_load(bed, medium):
    """A page that the service reads becomes a listed bad block: a fault without a machine check."""
    bed.create(medium)
    service = bed.serve(medium)
    offset = service.catch_reading()
    bed.monitor("cont")
    before = service.last
    bed.make_bad(medium, [offset], zap=True)
    # Met as a fault, or as a failed check by who still had the page mapped: its bytes are gone.
    service.wait("met the bad page",
                 lambda now: now.faults > before.faults or now.rebuilt > before.rebuilt)
    service.wait("repaired the page", lambda now: now.repaired > before.repaired)
    bed.expect_all_cleared(medium)
    service.wait_more(50)
    last = service.stop()
    expect(last.lost == 0 and last.retired == 0, "%s", last.line)
    bed.check(medium)


@case(EXT4, XFS, DAX_4K)
def clear_fails(bed, medium):
    """Pages that the firmware cannot clear are retired; the data is right, also after a reopen."""
    acknowledged = fill(bed, medium)
    ranges = bed.ranges(medium)
    pages = [page_of("data", ranges), page_of("parity", ranges, turn=3)]
    bed.run("echo 1 >/sys/kernel/debug/pmem_firmware/fail_clear")
    bed.make_bad(medium, pages)
    bed.verify(medium, acknowledged)
    expect(bed.cleared() == 0, "%d pages were cleared", bed.cleared())
    code, status = bed.cli("status", medium)
    expect(status["state"] == "DEGRADED" and status["errors"]["pages_retired"] == len(pages),
           "status: exit %d: %s %s", code, status["state"], status["errors"])
    report = bed.verify(medium, acknowledged)
    expect(report.lost == 0, "%s", report.line)


# --- power cuts -----------------------------------------------------------------------------------

def cut_power(bed, wait):
    """After a while, at no chosen moment; then the same images in a machine that starts anew."""
    time.sleep(random.uniform(0, wait))
    bed.kill()
    bed.power_on()
    bed.mount()


@case(EXT4, XFS, DAX_4K)
def power_cut_in_load(bed, medium):
    bed.create(medium)
    service = bed.serve(medium)
    service.wait_more(300)
    service.drain()
    cut_power(bed, 0.3)
    bed.verify(medium, service.last.acknowledged)
    bed.check(medium)


def one_page_a_row(ranges):
    """A page of each row, in a column by turns: as much as single parity rebuilds."""
    rows = {}
    for part in ranges:
        if part["kind"] in ("data", "parity"):
            rows.setdefault((part["segment"], part["row"]), []).append(part)
    return [parts[turn % len(parts)]["offset"] for turn, parts in enumerate(rows.values())]


@case(EXT4, XFS, DAX_4K)
def power_cut_in_repair(bed, medium):
    """The firmware's list outlives the power cut, as that of real memory does."""
    acknowledged = fill(bed, medium)
    pages = one_page_a_row(bed.ranges(medium))
    bed.make_bad(medium, pages)
    bed.run("service verify %s %d %d >/dev/ttyS2 2>&1 &" % (medium.pool, *acknowledged))
    deadline = time.monotonic() + 20
    while bed.cleared() < 3:
        expect(time.monotonic() < deadline, "no page is being repaired")
    done = bed.cleared()
    expect(done < len(pages), "all of %d pages were repaired before the cut", len(pages))
    cut_power(bed, 0)
    bed.make_bad(medium, pages, destroy=False)
    report = bed.verify(medium, acknowledged)
    expect(report.lost == 0 and report.retired == 0, "%s", report.line)
    bed.expect_all_cleared(medium)
    bed.check(medium)


@case(EXT4, XFS)
def power_cut_in_cleaning(bed, medium):
    bed.create(medium, "-s", "16M")
    service = bed.serve(medium)
    service.wait("cleans", lambda now: now.cleaned > 3)
    service.drain()
    cut_power(bed, 0.5)
    bed.verify(medium, service.last.acknowledged)
    bed.check(medium)


# --- ordinary memory ------------------------------------------------------------------------------

@case(SHM, PLAIN)
def page_cache(bed, medium):
    """The kernel takes pages of the page cache that the service reads for broken."""
    if medium is PLAIN:
        bed.mount_plain()
    bed.create(medium)
    service = bed.serve(medium)
    for _ in range(3):
        offset = service.catch_reading()
        bed.monitor("cont")
        service.drain()
        before = service.last
        bed.run("page poison %s %d" % (medium.pool, offset))
        if medium is SHM: # of a file on a disk a clean page is simply read again
            service.wait("met the fault", lambda now: now.faults > before.faults)
            service.wait("repaired the page", lambda now: now.repaired > before.repaired)
        service.wait_more(50)
    last = service.stop()
    expect(last.lost == 0 and last.retired == 0, "%s", last.line)
    expect("Memory failure" in bed.run("dmesg"), "the kernel has not seen a broken page")
    bed.check(medium)


# --- CXL ------------------------------------------------------------------------------------------

@case(CXL, kind="cxl")
def region(bed, medium):
    """A pmem region of a CXL type 3 device: known as what it is, and takes a power cut."""
    expect_probe(bed, medium, True)
    power_cut_in_load(bed, medium)
    code, status = bed.cli("status", medium)
    expect(code == 0 and status["durability"] == medium.durability, "status: exit %d: %s", code,
           status["durability"])


@case(CXL, kind="cxl")
def cannot_clear(bed, medium):
    """Linux has no way to clear a bad block of CXL memory: its page is retired."""
    acknowledged = fill(bed, medium)
    page = page_of("data", bed.ranges(medium))
    bed.list_block(medium, page)
    bed.verify(medium, acknowledged)
    _, status = bed.cli("status", medium)
    expect(status["errors"]["pages_retired"] == 1, "status: %s", status["errors"])
    report = bed.verify(medium, acknowledged)
    expect(report.lost == 0, "%s", report.line)
