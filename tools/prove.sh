#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: tools/prove.sh [--long [--hours H]] [--images N] [--seconds N] [--seed N] [OPTION...]
#
# Recovers crash images, with and without faults, judges each and prints one table (docs/proof.md).
# Without options 100,000 distinct images, which takes minutes; --long recovers 2,000,000, or as many
# as H hours allow. Other options go to the program (--workers, --job, --work, --fail-fast; --help
# lists them). The seed is printed; a failure says how to run its history again alone. Exit code 1
# when an acknowledged operation was lost, a byte was wrong, or anything else did not hold.
set -euo pipefail

usage() {
    sed -n '/^# usage/,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0"
}

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
images=100000 seconds=3600 seed=1 per_job=500 faults=8
rest=()
while [ $# -gt 0 ]; do
    case "$1" in
    --long)
        images=2000000
        seconds=86400
        per_job=2000
        faults=4
        seed=$(date +%s)
        ;;
    --hours)
        images=100000000
        seconds=$(awk -v h="$2" 'BEGIN { printf "%d", h * 3600 }')
        shift
        ;;
    --images)
        images=$2
        shift
        ;;
    --seconds)
        seconds=$2
        shift
        ;;
    --seed)
        seed=$2
        shift
        ;;
    -h | --help)
        usage
        exit 0
        ;;
    *) rest+=("$1") ;;
    esac
    shift
done

mkdir -p "$root/build"
# The stage of tools/test.sh has built it already.
build=${PMKV_PROVE_BUILD:-$root/build/prove}
if [ -z "${PMKV_PROVE_BUILD-}" ]; then
    generator=()
    command -v ninja >/dev/null && generator=(-G Ninja)
    cmake -S "$root" -B "$build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DPMKV_TESTS=ON \
        -DPMKV_TOOLS=OFF >"$build.log" 2>&1 || {
        cat "$build.log" >&2
        exit 1
    }
    cmake --build "$build" -j "$(nproc)" --target prove >"$build.log" 2>&1 || {
        cat "$build.log" >&2
        exit 1
    }
fi
echo "commit $(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown), $(date -u +%F)"
exec "$build/tests/prove/prove" --images "$images" --seconds "$seconds" --per-job "$per_job" \
    --faults "$faults" --seed "$seed" "${rest[@]}"
