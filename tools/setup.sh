#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: tools/setup.sh [--bench]
#
# Installs what building and testing libpmkv needs on Debian 12: only what is missing, and quick when
# nothing is. Needs root or sudo only when something is missing. --bench: the peers of pmkv-bench too.
set -euo pipefail

packages=(
    gcc libc6-dev cmake ninja-build pkg-config git python3-minimal
    clang clang-format libclang-rt-14-dev gcovr
    libpmem2-dev libndctl-dev libdaxctl-dev libxxhash-dev libisal-dev
    libjansson-dev libcriterion-dev
    # the virtual machines of tests/vm; their kernel is not installed, tests/vm/kernel.sh unpacks one
    qemu-system-x86 ndctl busybox-static e2fsprogs xfsprogs kmod cpio xz-utils make gcc-12 libelf1
)
case "${1-}" in
'') ;;
--bench) packages+=(liblmdb-dev librocksdb-dev libleveldb-dev libtkrzw-dev libsqlite3-dev libpmemobj-dev) ;;
*)
    echo "usage: tools/setup.sh [--bench]" >&2
    exit 2
    ;;
esac

fail() {
    echo "setup.sh: $*" >&2
    exit 1
}

command -v dpkg-query >/dev/null ||
    fail "this is not Debian; install by hand what these packages hold: ${packages[*]}"

missing=()
for package in "${packages[@]}"; do
    state=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "setup.sh: nothing to install"
    exit 0
fi

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null ||
        fail "not root and no sudo; as root run: apt-get install ${missing[*]}"
    as_root=(sudo)
fi
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300)

echo "setup.sh: installing ${missing[*]}"
"${apt[@]}" update || fail "apt-get update failed"
"${apt[@]}" install --no-install-recommends "${missing[@]}" ||
    fail "apt-get could not install: ${missing[*]}"
