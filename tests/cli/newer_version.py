#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors

"""usage: newer_version.py POOL

Makes the first superblock copy of a pool one of the next format version, with a good check, as a
newer libpmkv would write it. Exit code 77 when libxxhash is not there to compute the check.
"""

import ctypes
import struct
import sys

MASK = (1 << 64) - 1
CHECK_OFFSET, VERSION_OFFSET, SUPERBLOCK_BYTES = 8, 16, 4096


def mix(x):
    x ^= x >> 33
    x = x * 0xFF51AFD7ED558CCD & MASK
    x ^= x >> 33
    x = x * 0xC4CEB9FE1A85EC53 & MASK
    return x ^ x >> 33


def bind(value, secret):
    return mix(value + mix(secret ^ 0x9E3779B97F4A7C15) * 0xD6E8FEB86659FD93 & MASK)


def check_of(page, pool_offset):
    library = ctypes.CDLL("libxxhash.so.0")
    library.XXH3_64bits.restype = ctypes.c_uint64
    library.XXH3_64bits.argtypes = [ctypes.c_char_p, ctypes.c_size_t]
    plain = bytes(page[:CHECK_OFFSET]) + bytes(8) + bytes(page[CHECK_OFFSET + 8 :])
    return bind(library.XXH3_64bits(plain, len(plain)), pool_offset) or 1


def main():
    with open(sys.argv[1], "r+b") as pool:
        page = bytearray(pool.read(SUPERBLOCK_BYTES))
        try:
            computed = check_of(page, 0)
        except OSError as error:
            print(error)
            return 77
        if struct.unpack_from("<Q", page, CHECK_OFFSET)[0] != computed:
            print("the check of the pool is not what this script computes")
            return 1
        version = struct.unpack_from("<I", page, VERSION_OFFSET)[0]
        struct.pack_into("<I", page, VERSION_OFFSET, version + 1)
        struct.pack_into("<Q", page, CHECK_OFFSET, check_of(page, 0))
        pool.seek(0)
        pool.write(page)
    return 0


sys.exit(main())
