# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""A guest under QEMU without hardware virtualisation: started, snapshotted, restored, driven by a
shell on its second serial line, hurt through QEMU's monitor, killed like a machine without power.

Its persistent memory is a file of this machine, mapped shared. So what the guest stored is there
when QEMU is killed, and bytes can be destroyed under its feet.
"""
import os
import re
import socket
import subprocess
import time

NVDIMM_BYTES = 640 << 20
LABEL_BYTES = 256 << 10
CXL_BYTES = 256 << 20


class GuestError(Exception):
    """The guest, or QEMU, did not do what it was told."""


class Line:
    """One of QEMU's lines to this machine: a unix socket, read up to a mark."""

    def __init__(self, path, process):
        self.socket = socket.socket(socket.AF_UNIX)
        self.data = b""
        deadline = time.monotonic() + 20
        while True:
            try:
                self.socket.connect(path)
                return
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise GuestError("QEMU does not start") from error
                time.sleep(0.01)

    def send(self, text):
        self.socket.sendall(text.encode())

    def receive(self, seconds):
        """Takes in what is there; False when nothing came in time."""
        self.socket.settimeout(max(seconds, 0.001))
        try:
            data = self.socket.recv(65536)
        except (socket.timeout, BlockingIOError):
            return False
        except ConnectionResetError:
            data = b""
        if not data:
            raise GuestError("QEMU has gone away")
        self.data += data
        return True

    def until(self, pattern, seconds):
        """The text up to the pattern, and its match."""
        deadline = time.monotonic() + seconds
        while True:
            match = re.search(pattern, self.data)
            if match:
                text = self.data[:match.start()]
                self.data = self.data[match.end():]
                return text.decode(errors="replace"), match
            if time.monotonic() > deadline:
                raise GuestError("no answer within %d s; so far: %r" % (seconds, self.data[-300:]))
            self.receive(min(1, deadline - time.monotonic()))

    def close(self):
        self.socket.close()


class Machine:
    """folder: where images, sockets and the console's log are. kind: "nvdimm" or "cxl"."""

    def __init__(self, folder, kernel, initramfs, kind="nvdimm"):
        self.folder, self.kernel, self.initramfs, self.kind = folder, kernel, initramfs, kind
        self.process = self.shell_line = self.report_line = self.monitor_line = None
        self.machine_checks = 0
        os.makedirs(folder, exist_ok=True)

    def path(self, name):
        return os.path.join(self.folder, name)

    # --- starting and ending ------------------------------------------------------------------

    def new_images(self):
        for name, size in (("pmem.img", NVDIMM_BYTES if self.kind == "nvdimm" else CXL_BYTES),
                           ("lsa.img", CXL_BYTES)):
            with open(self.path(name), "wb") as file:
                file.truncate(size)

    def memory_arguments(self):
        memory = "memory-backend-file,id=m0,share=on,mem-path=%s,size=%d"
        if self.kind == "nvdimm":
            return ["-machine", "q35,nvdimm=on,nvdimm-persistence=mem-ctrl",
                    "-object", memory % (self.path("pmem.img"), NVDIMM_BYTES),
                    "-device", "nvdimm,id=nv0,memdev=m0,label-size=%d" % LABEL_BYTES]
        return ["-machine", "q35,cxl=on",
                "-object", memory % (self.path("pmem.img"), CXL_BYTES),
                "-object", memory.replace("m0", "m1") % (self.path("lsa.img"), CXL_BYTES),
                "-device", "pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl.1",
                "-device", "cxl-rp,port=0,bus=cxl.1,id=rp0,chassis=0,slot=2",
                "-device", "cxl-rp,port=1,bus=cxl.1,id=rp1,chassis=0,slot=3",
                "-device", "cxl-type3,bus=rp0,memdev=m0,lsa=m1,id=cxl0,sn=0x706d6b76",
                "-M", "cxl-fmw.0.targets.0=cxl.1,cxl-fmw.0.size=4G"]

    def launch(self, extra):
        sockets = {name: self.path(name + ".sock") for name in ("shell", "report", "monitor")}
        for path in sockets.values():
            if os.path.exists(path):
                os.remove(path)
        command = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
                   "-no-reboot", "-accel", "tcg,thread=multi", "-cpu", "max,vendor=GenuineIntel",
                   "-smp", "2", "-m", "768M,slots=4,maxmem=4G",
                   "-kernel", self.kernel, "-initrd", self.initramfs,
                   "-append", "console=ttyS0 quiet panic=-1 oops=panic",
                   "-serial", "file:" + self.path("console.log")]
        for name in ("shell", "report"):
            command += ["-chardev", "socket,id=%s,path=%s,server=on,wait=off"
                        % (name, sockets[name]), "-serial", "chardev:" + name]
        command += ["-monitor", "unix:%s,server=on,wait=off" % sockets["monitor"]]
        with open(self.path("qemu.log"), "wb") as log:
            self.process = subprocess.Popen(command + self.memory_arguments() + extra,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.shell_line = Line(sockets["shell"], self.process)
        self.report_line = Line(sockets["report"], self.process)
        self.monitor_line = Line(sockets["monitor"], self.process)
        self.monitor_line.until(rb"\(qemu\) ", 20)

    def boot(self):
        self.launch([])
        self.shell_line.until(rb"exit 0\r?\n", 120)

    def kill(self):
        """As if the power went: nothing is told, nothing is flushed."""
        if self.process:
            self.process.kill()
            self.process.wait()
            for line in (self.shell_line, self.report_line, self.monitor_line):
                line.close()
            self.process = None

    # --- snapshots ------------------------------------------------------------------------------

    def save(self):
        """Keeps the guest as it is, and ends it."""
        self.monitor("stop")
        self.monitor("migrate_set_capability x-ignore-shared on")
        self.monitor("migrate_set_parameter max-bandwidth 8G")
        self.monitor('migrate "exec:cat >%s"' % self.path("snapshot"))
        deadline = time.monotonic() + 60
        while "status: completed" not in self.monitor("info migrate"):
            if time.monotonic() > deadline:
                raise GuestError("no snapshot: " + self.monitor("info migrate"))
            time.sleep(0.05)
        self.kill()
        subprocess.run(["cp", "--sparse=always", self.path("pmem.img"), self.path("pmem.saved")],
                       check=True)

    def restore(self):
        subprocess.run(["cp", "--sparse=always", self.path("pmem.saved"), self.path("pmem.img")],
                       check=True)
        self.launch(["-incoming", "defer"])
        self.monitor("migrate_set_capability x-ignore-shared on")
        self.monitor('migrate_incoming "exec:cat %s"' % self.path("snapshot"))
        deadline = time.monotonic() + 30
        while "running" not in self.monitor("info status"):
            if time.monotonic() > deadline:
                raise GuestError("the snapshot does not start")
            self.monitor("cont")
            time.sleep(0.02)

    # --- talking --------------------------------------------------------------------------------

    def monitor(self, command):
        self.monitor_line.send(command + "\n")
        return self.monitor_line.until(rb"\(qemu\) ", 30)[0]

    def shell(self, command, seconds=60):
        """Runs a command in the guest: its exit code and output."""
        self.shell_line.data = b""
        self.shell_line.send(command + "\n")
        text, match = self.shell_line.until(rb"(?:^|(?<=\n))exit (\d+)\r?\n", seconds)
        return int(match.group(1)), text.replace("\r", "")

    def run(self, command, seconds=60):
        """Runs a command that must succeed: its output."""
        code, text = self.shell(command, seconds)
        if code != 0:
            raise GuestError("%s: exit %d: %s" % (command, code, text.strip()[-600:]))
        return text.strip()

    # --- hurting --------------------------------------------------------------------------------

    def destroy(self, offset, size):
        """Other bytes in the persistent memory, behind the guest's back."""
        with open(self.path("pmem.img"), "r+b") as file:
            file.seek(offset)
            file.write(b"\xa5\x5a" * (size // 2))

    def registers(self):
        """Of processor 0, which is stopped."""
        text = self.monitor("info registers")
        found = {name: int(value, 16)
                 for name, value in re.findall(r"\b(R[A-Z0-9]{2})\s?=([0-9a-f]{16})", text)}
        found["user"] = "CPL=3" in text
        return found

    def machine_check(self, physical, asynchronous):
        """An uncorrected memory error at this address, on processor 0 (and told to all)."""
        if asynchronous:  # found by the memory's own scrubbing: nothing was executed
            status, global_status = 0xbd000000000000c0, 0x5
        else:             # a load consumed it
            status, global_status = 0xbd80000000000134, 0x7
        self.machine_checks += 1
        self.monitor("mce -b 0 9 %#x %#x %#x 0x8c" % (status, global_status, physical))
