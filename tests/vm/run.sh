#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: tests/vm/run.sh [--kernel 6.1|6.12] [--list] [NAME...]
#
# The store on the real drivers of persistent memory, in an emulated machine (docs/testing.md,
# "Virtual machines"). NAME picks the cases whose names begin with it; all by default. Everything is
# built and kept below build/vm of this clone.
#
# Prints a line a case, then "vm: N passed, N failed, N skipped" and what the store met. Exit code 0:
# none failed; 1: some did; 77: this machine cannot run it, and why is said.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
export PATH=$PATH:/sbin:/usr/sbin

usage() {
    sed -n '/^# usage/,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}

version=6.1
list=
names=()
while [ $# -gt 0 ]; do
    case "$1" in
    --kernel)
        version=${2-}
        shift
        ;;
    --list) list=1 ;;
    --help)
        usage
        exit 0
        ;;
    -*)
        usage >&2
        exit 2
        ;;
    *) names+=("$1") ;;
    esac
    shift
done
case "$version" in
6.1 | 6.12) ;;
*)
    usage >&2
    exit 2
    ;;
esac

[ "$list" ] && exec python3 "$here/suite.py" --list

skip() {
    echo "vm: SKIPPED: $*"
    echo "vm: 0 passed, 0 failed, $(python3 "$here/suite.py" --list | wc -l) skipped"
    exit 77
}

for program in qemu-system-x86_64 ndctl mkfs.ext4 mkfs.xfs busybox kmod depmod cpio make gcc-12 \
    xz nm; do
    command -v "$program" >/dev/null || skip "no $program (tools/setup.sh installs it)"
done
ldd "$(command -v busybox)" >/dev/null 2>&1 && skip "busybox is not static (tools/setup.sh)"

work=$root/build/vm
kernel=$work/kernel-$version
module=$work/module-$version
guest=$work/guest
mkdir -p "$work" "$module" "$guest"
exec 9>"$work/lock"
flock -n 9 || skip "another run uses $work"

"$here/kernel.sh" "$version" "$kernel" || skip "no kernel $version for the guest"

build() {
    cp "$here"/module/* "$module/"
    make -s -C "$kernel/headers" M="$module" CONFIG_DEBUG_INFO_BTF_MODULES= modules
    strip -g "$module/pmem_firmware.ko"

    cmake -S "$root" -B "$work/pmkv" -DCMAKE_BUILD_TYPE=Release -DPMKV_WERROR=ON \
        -DPMKV_TESTS=OFF -DPMKV_TOOLS=ON
    cmake --build "$work/pmkv" -j "$(nproc)" --target pmkv-cli pmkv_static
    local flags=(-std=gnu17 -O2 -g -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wstrict-prototypes
        -Wmissing-prototypes -Werror)
    # At fixed addresses, so that the suite knows where its copies are.
    gcc "${flags[@]}" -no-pie -I"$work/pmkv/include" "$here"/guest/{service,work}.c \
        -o "$guest/service" "$work/pmkv/libpmkv.a" -lpmem2 -lndctl -ldaxctl -lisal -pthread
    gcc "${flags[@]}" "$here/guest/page.c" -o "$guest/page"

    "$here/initramfs.sh" "$kernel" "$work/initramfs-$version" "$work/pmkv/pmkv-cli" \
        "$guest/service" "$guest/page" "$here/guest/cxl-region" "$module/pmem_firmware.ko"
}
# Not in a condition: there the shell would ignore errors inside.
set +e
(
    set -e
    build
) >"$work/build.log" 2>&1
code=$?
set -e
if [ "$code" -ne 0 ]; then
    tail -30 "$work/build.log" >&2
    echo "vm: the build failed; all of it is in $work/build.log" >&2
    exit 1
fi

python3 "$here/suite.py" --kernel "$kernel/vmlinux" --initramfs "$work/initramfs-$version" \
    --service "$guest/service" --folder "$work/run" "${names[@]}" 9>&-
