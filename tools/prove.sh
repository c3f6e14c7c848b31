#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: tools/prove.sh [--long [--hours H]] [--only PART[,PART...]] [--images N] [--seconds N]
#                       [--seed N] [OPTION...]
#
# The proof of docs/proof.md, and its table of figures. Parts:
#   crash  recovers crash images, with and without faults, and judges each
#   kill   processes killed under load, while pages are taken away; the oracle is outside
#   fuzz   pools, decoders, text dumps and arguments, with sanitizers
#   vm     machine checks, bad blocks and power cuts with the kernel's drivers, in an emulated machine
# All of them without --only. The crash part makes 100,000 distinct images, some of each instant, in
# minutes; --long makes all of every instant, history after history: 2,000,000, or as many as H hours
# allow, and kills and fuzzes for longer as well. --images, --seconds and all other options are for
# the crash part (--workers, --job, --work, --fail-fast; a --job is run alone). The seed is printed; a
# failure says how to run its history again. Exit code 1 when an acknowledged operation was lost, a
# byte was wrong, or anything else did not hold.
set -euo pipefail

usage() {
    sed -n '/^# usage/,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
parts=crash,kill,fuzz,vm
images=100000 seconds=3600 seed=1 per_job=500 faults=8
kills=100 fuzz_seconds=15
rest=()
while [ $# -gt 0 ]; do
    case "$1" in
    --long)
        images=2000000
        seconds=86400
        per_job=0
        faults=4
        seed=$(date +%s)
        kills=2000
        fuzz_seconds=300
        ;;
    --hours)
        images=100000000
        seconds=$(awk -v h="$2" 'BEGIN { printf "%d", h * 3600 }')
        shift
        ;;
    --only | --images | --seconds | --seed)
        [ $# -gt 1 ] || {
            usage >&2
            exit 2
        }
        case "$1" in
        --only) parts=$2 ;;
        --images) images=$2 ;;
        --seconds) seconds=$2 ;;
        --seed) seed=$2 ;;
        esac
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        [ "$1" != --job ] || parts=crash
        rest+=("$1")
        ;;
    esac
    shift
done
for part in ${parts//,/ }; do
    case "$part" in
    crash | kill | fuzz | vm) ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
done

# --- building ------------------------------------------------------------------------------------

mkdir -p build
# The stage of tools/test.sh has built it already.
build=${PMKV_PROVE_BUILD:-$root/build/prove}
if [ -z "${PMKV_PROVE_BUILD-}" ]; then
    generator=()
    command -v ninja >/dev/null && generator=(-G Ninja)
    cmake -S "$root" -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DPMKV_TESTS=ON \
        -DPMKV_TOOLS=OFF >"$build.log" 2>&1 &&
        cmake --build "$build" -j "$(nproc)" --target prove stress_kill9 >"$build.log" 2>&1 || {
        cat "$build.log" >&2
        exit 1
    }
fi

# --- parts ---------------------------------------------------------------------------------------

part_crash() {
    "$build/tests/prove/prove" --images "$images" --seconds "$seconds" --per-job "$per_job" \
        --faults "$faults" --seed "$seed" "${rest[@]}"
}

# Ends with a line of what it did.
part_kill() {
    "$build/tests/stress/stress_kill9" --rounds "$kills" --seed "$seed" --stops 2 --poison
}

part_fuzz() {
    tools/fuzz.sh --seconds "$fuzz_seconds"
}

# What cannot run here is no failure, but it is said.
part_vm() {
    local code=0
    tests/vm/run.sh >build/prove-vm.txt 2>&1 || code=$?
    grep -E '^(FAIL|vm:)|FAIL|SKIPPED' build/prove-vm.txt || true
    [ "$code" -eq 0 ] || [ "$code" -eq 77 ]
}

echo "commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown), $(date -u +%F)"
failed=()
for part in ${parts//,/ }; do
    "part_$part" || failed+=("$part")
done
[ ${#failed[@]} -eq 0 ] || {
    echo "prove: FAILED: ${failed[*]}"
    exit 1
}
[ "$parts" = crash ] || echo "prove: ${parts//,/, }: all of it holds"
