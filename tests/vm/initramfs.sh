#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: initramfs.sh KERNEL OUTPUT PROGRAM...
#
# The guest's whole file system: busybox, what manages NVDIMMs, the kernel's modules for them (from
# the directory KERNEL that kernel.sh made), and the given programs in /bin, all with their shared
# libraries. A file named *.ko goes to /.
set -euo pipefail

kernel=$1
output=$2
shift 2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
release=$(cat "$kernel/release")
export PATH=$PATH:/sbin:/usr/sbin

modules=(nfit nd_pmem nd_btt nd_e820 device_dax dax_pmem dax_cxl ext4 xfs crc32c_generic crc32c_intel
    cxl_acpi cxl_pci cxl_port cxl_mem cxl_pmem)

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root"/{bin,sbin,etc,proc,sys,dev,tmp,mnt,run,lib64,usr/bin,usr/sbin}

# add FILE PLACE: a program or library, with the libraries it needs.
add() {
    local library
    mkdir -p "$root/$(dirname "$2")"
    rm -f "$root/$2"
    cp -L "$1" "$root/$2"
    for library in $(ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true); do
        case "$library" in
        /lib/* | /lib64/* | /usr/lib/*) ;;
        *) # of a build directory: the loader looks in /lib only
            [ -e "$root/lib/$(basename "$library")" ] || add "$library" "lib/$(basename "$library")"
            continue
            ;;
        esac
        mkdir -p "$root/$(dirname "$library")"
        [ -e "$root/$library" ] || cp -L "$library" "$root/$library"
    done
}

cp "$(command -v busybox)" "$root/bin/busybox"
for applet in $(busybox --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
for program in ndctl mkfs.ext4 mkfs.xfs; do
    add "$(command -v "$program")" "bin/$program"
done
# busybox's modprobe cannot do all that the kernel asks of it.
add "$(command -v kmod)" bin/kmod
for name in modprobe insmod; do
    rm -f "$root/bin/$name"
    ln -s ../bin/kmod "$root/sbin/$name"
done
cp /etc/mke2fs.conf "$root/etc/"

# Modules with what they depend on, by the kernel's own list: kmod on this machine would leave out
# what is built into this machine's kernel.
from=$kernel/lib/modules/$release
to=$root/lib/modules/$release
[ -f "$from/modules.dep" ] || depmod -b "$kernel" "$release"
for module in "${modules[@]}"; do
    line=$(grep -E "(^|/)${module//_/[_-]}\.ko[^/]*:" "$from/modules.dep") || continue
    echo "$module" >>"$root/modules"
    for file in ${line/:/}; do
        mkdir -p "$to/$(dirname "$file")"
        cp "$from/$file" "$to/$file"
    done
done
find "$to" -name '*.ko.xz' -exec xz -d {} +
cp "$from"/modules.{order,builtin,builtin.modinfo} "$to/"
depmod -b "$root" "$release"

for program in "$@"; do
    case "$program" in
    *.ko) cp "$program" "$root/" ;;
    *) add "$program" "bin/$(basename "$program")" ;;
    esac
done
cp "$here/guest/init" "$root/init"
chmod +x "$root/init"
(cd "$root" && find . -print0 | cpio -0 -o -H newc --quiet) | gzip -1 >"$output"
