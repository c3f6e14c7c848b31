#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
"""usage: unpack_kernel.py BZIMAGE VMLINUX

Takes the ELF kernel out of a bzImage: its header says where the compressed payload is.
"""
import struct
import subprocess
import sys

TOOLS = {b"\xfd7zXZ": ["xz", "-dc"], b"\x28\xb5\x2f\xfd": ["zstd", "-dc"],
         b"\x1f\x8b": ["gzip", "-dc"]}


def main():
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        image = file.read()
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start:start + length]
    tool = next((command for magic, command in TOOLS.items() if payload.startswith(magic)), None)
    if not tool:
        sys.exit("unpack_kernel.py: unknown compression: %r" % payload[:6])
    # The last four bytes are the size, which the tool takes for trailing garbage.
    elf = subprocess.run(tool, input=payload, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                         check=False).stdout
    if not elf.startswith(b"\x7fELF"):
        sys.exit("unpack_kernel.py: the payload is no ELF file")
    with open(target, "wb") as file:
        file.write(elf)


main()
