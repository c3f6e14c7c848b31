#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: tools/quickstart.sh [DIR]
#
# From a fresh Debian 12 to a store that heals, in one command: installs what is missing, builds, and
# shows on a pool in shared memory that
#   1. what was loaded from DIR (default /usr/share/doc) comes out again, byte for byte;
#   2. destroyed pages are rebuilt and repaired while threads read and write;
#   3. kill -9 in the middle of writing loses nothing that was acknowledged.
# Every step is checked; the first that fails ends the script. All files are removed at the end.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
source_dir=${1:-/usr/share/doc}
kills=3

fail() {
    echo "quickstart.sh: FAILED: $*" >&2
    exit 1
}

step() {
    printf '\n=== %s\n' "$*"
}

[ $# -le 1 ] || fail "usage: tools/quickstart.sh [DIR]"
[ -d "$source_dir" ] || fail "$source_dir is not a directory"
[ ! -e "$source_dir/pmkv-demo" ] || fail "$source_dir/pmkv-demo: the demo uses that name for itself"

work=$(mktemp -d "${TMPDIR:-/tmp}/pmkv-quickstart.XXXXXX")
pool=/dev/shm/pmkv-quickstart.$$
writer=
clean_up() {
    [ -z "$writer" ] || kill -9 "$writer" 2>/dev/null || true
    rm -rf "$work" "$pool"
}
trap clean_up EXIT
trap 'echo "quickstart.sh: FAILED in line $LINENO: $BASH_COMMAND" >&2' ERR
trap 'exit 130' INT
trap 'exit 143' TERM

step "install what is missing, and build"
"$root/tools/setup.sh"
cd "$root"
if [ ! -f build/release/CMakeCache.txt ]; then
    cmake --preset release -G Ninja >"$work/configure.log" 2>&1 || {
        cat "$work/configure.log" >&2
        fail "cmake --preset release"
    }
fi
cmake --build build/release -j "$(nproc)" --target pmkv-cli pmkv-demo
cli=$root/build/release/pmkv-cli
demo=$root/build/release/pmkv-demo

# The regular files of the tree, apart from the store: what has to come out again. Symbolic links and
# empty directories are not stored.
reference=$work/reference
mkdir "$reference"
(cd "$source_dir" && find . -type f -print0) >"$work/files"
[ -s "$work/files" ] || fail "$source_dir holds no files"
tar -C "$source_dir" --null --no-recursion -T "$work/files" -cf - | tar -C "$reference" -xf -
files=$(tr -cd '\0' <"$work/files" | wc -c)

check_dump() {
    local out=$work/out
    rm -rf "$out"
    "$cli" dump "$pool" --dir "$out"
    # The demo's own records, once it ran.
    rm -rf "$out/pmkv-demo"
    diff -r "$reference" "$out" || fail "what came out is not what went in"
    local count
    count=$(find "$out" -type f | wc -l)
    [ "$count" -eq "$files" ] || fail "$files files went in, $count came out"
    echo "diff -r: no difference in $count files"
}

step "1. a pool in shared memory: load, dump, compare"
mib=$(($(du -s --block-size=1M "$reference" | cut -f1) * 2 + 64))
free=$(df --output=avail -BM /dev/shm | tail -1 | tr -cd 0-9)
[ "$free" -gt "$mib" ] || fail "/dev/shm has $free MiB free, $mib MiB are needed"
"$cli" create "$pool" --size "${mib}M" --geometry parity
"$cli" load "$pool" --dir "$source_dir"
check_dump

step "2. pages are destroyed while threads read and write"
timeout 120 "$demo" heal "$pool" --seconds 5
check_dump

step "3. kill -9 in the middle of writing, $kills times"
oracle=$work/oracle
: >"$oracle"
for ((round = 1; round <= kills; round++)); do
    before=$(wc -l <"$oracle")
    "$demo" write "$pool" "$oracle" --seconds 60 &
    writer=$!
    # Killed at a random moment after 1000 operations of this round.
    for ((tries = 0; $(wc -l <"$oracle") < before + 1000; tries++)); do
        kill -0 "$writer" 2>/dev/null || fail "the writer ended by itself"
        [ "$tries" -lt 300 ] || fail "the writer acknowledged nothing in 30 s"
        sleep 0.1
    done
    sleep "0.$((RANDOM % 900 + 100))"
    kill -9 "$writer"
    code=0
    wait "$writer" 2>/dev/null || code=$?
    writer=
    [ "$code" -eq 137 ] || fail "the writer was to die by kill -9; it ended with $code"
    echo "killed after $(($(wc -l <"$oracle") - before)) acknowledged operations"
    timeout 120 "$demo" verify "$pool" "$oracle" --expect-recovery
done
check_dump

step "what the store says of itself"
# 5 means: damage was found, and all of it is repaired.
code=0
"$cli" status "$pool" || code=$?
[ "$code" -eq 0 ] || [ "$code" -eq 5 ] || fail "pmkv-cli status ended with $code"
"$cli" map "$pool"

printf '\nquickstart: all good: nothing wrong, nothing lost\n'
