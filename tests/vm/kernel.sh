#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: kernel.sh 6.1|6.12 DIRECTORY
#
# Debian's stock kernel for the guest: downloads the packages of its image and headers and unpacks
# them under DIRECTORY. They are not installed: this machine keeps its own kernel, and no root is
# needed. Makes, beside usr/ and lib/:
#   release          its name, such as 6.1.0-56-amd64
#   vmlinux          the kernel uncompressed, which saves the guest 3 s a boot under emulation
#   headers          a link to what modules are built with
# Does nothing when the newest that apt knows is there already.
set -euo pipefail

version=$1
directory=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

case "$version" in
6.1) meta=linux-image-amd64 ;;
6.12) meta=linux-image-6.12-amd64 ;;
*)
    echo "kernel.sh: no kernel $version: 6.1 or 6.12" >&2
    exit 2
    ;;
esac

depends() {
    apt-cache depends --important "$@" 2>/dev/null | sed -n 's/^[ |]*Depends: //p'
}

image=$(depends "$meta" | grep -m1 '^linux-image-') || {
    echo "kernel.sh: apt knows no $meta (apt-get update?)" >&2
    exit 1
}
release=${image#linux-image-}
if [ "$(cat "$directory/release" 2>/dev/null)" = "$release" ]; then
    exit 0
fi

packages=("$image" "linux-headers-$release")
for package in $(depends "linux-headers-$release"); do
    case "$package" in
    linux-headers-*-common | linux-kbuild-* | linux-compiler-gcc-*) packages+=("$package") ;;
    esac
done

rm -rf "$directory"
mkdir -p "$directory/packages"
(cd "$directory/packages" && apt-get download -q "${packages[@]}" >download.log 2>&1) || {
    tail -3 "$directory/packages/download.log" >&2
    echo "kernel.sh: cannot download ${packages[*]}" >&2
    exit 1
}
for package in "$directory"/packages/*.deb; do
    dpkg -x "$package" "$directory"
done
rm -rf "$directory/packages"

# The headers name their common part by its place in an installed system.
headers=$directory/usr/src/linux-headers-$release
sed -i "s#^include /usr/src/#include $(cd "$directory" && pwd)/usr/src/#" "$headers/Makefile"
ln -sfn "usr/src/linux-headers-$release" "$directory/headers"
python3 "$here/unpack_kernel.py" "$directory/boot/vmlinuz-$release" "$directory/vmlinux"
echo "$release" >"$directory/release"
