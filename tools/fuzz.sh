#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: tools/fuzz.sh [--seconds N] [TARGET...]
#
# Builds the targets of tests/fuzz with libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer and
# runs each for N seconds (default 15) from its corpus in the tree, as many at a time as there are
# processors. What is found on the way is kept in build/fuzz/found/TARGET; inputs that fail are named,
# and left in build/fuzz/failures. Prints a line per target, and the sum.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

seconds=15
targets=()
while [ $# -gt 0 ]; do
    case "$1" in
    --seconds)
        seconds=${2:?--seconds takes a number}
        shift
        ;;
    -*)
        sed -n '/^# usage/,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
        exit 2
        ;;
    *) targets+=("$1") ;;
    esac
    shift
done
[ ${#targets[@]} -gt 0 ] || targets=(pool decode load cli)

generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
cmake --preset fuzz "${generator[@]}" -DPMKV_WERROR=ON -DPMKV_TESTS=ON -DPMKV_TOOLS=ON >/dev/null
cmake --build build/fuzz -j "$(nproc)" --target "${targets[@]/#/fuzz_}" >/dev/null

export UBSAN_OPTIONS=print_stacktrace=1
failures=$root/build/fuzz/failures
mkdir -p "$failures"

number() { # NAME LOG: of libFuzzer's final statistics
    sed -n "s/^stat::$1: *//p" "$2"
}

# Prints one line.
run() {
    local target=$1 log=$root/build/fuzz/$1.log found=$root/build/fuzz/found/$1 options=() code=0
    mkdir -p "$found"
    # Commands print much, and are left in the middle by a wrong argument.
    local asan=allocator_may_return_null=1:handle_sigbus=0
    if [ "$target" = cli ]; then
        options=(-close_fd_mask=1 -detect_leaks=0)
        asan+=:detect_leaks=0
    fi
    ASAN_OPTIONS=$asan "build/fuzz/tests/fuzz/fuzz_$target" -max_total_time="$seconds" -timeout=20 -max_len=1024 \
        -rss_limit_mb=2048 -print_final_stats=1 -artifact_prefix="$failures/$target-" \
        "${options[@]}" "$found" "$root/tests/fuzz/corpus/$target" >"$log" 2>&1 || code=$?
    local ran crashed=0
    ran=$(number number_of_executed_units "$log")
    [ "$code" -eq 0 ] || crashed=1
    echo "fuzz: $target: ${ran:-0} executions," \
        "corpus $(find "$found" "tests/fuzz/corpus/$target" -type f | wc -l), $crashed crashes"
    if [ "$crashed" -ne 0 ]; then
        grep -aE 'ERROR|SUMMARY|runtime error|^[^ ]*\.c:[0-9]+: |Test unit written' "$log" |
            tail -n 8 >&2 || true
    fi
}

# As many at a time as there are processors.
results=$root/build/fuzz/results.txt
: >"$results"
for target in "${targets[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do
        wait -n || true
    done
    run "$target" >>"$results" &
done
wait
cat "$results"
awk '/^fuzz: / { ran += $3; crashed += $(NF - 1) }
     END { printf "fuzz: %d executions, %d crashes\n", ran, crashed; exit crashed > 0 }' "$results"
[ "$(wc -l <"$results")" -eq "${#targets[@]}" ]
