#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: tools/compare.sh [--quick] [--out DIR]
#
# libpmkv beside its peers and the bare machine: runs the whole comparison, draws the report and puts the
# tables into docs/performance.md. Keeps the raw figures as docs/performance/*.json.
#   --quick     seconds instead of an hour or more: few keys, one round
#   --out DIR   everything goes there, docs/performance.md stays as it is
# PMKV_BENCH names another pmkv-bench than that of build/release, PMKV_BENCH_POOL another place than
# /dev/shm/pmkv-compare.pool. Figures that mean something need all CPUs for all that time.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

quick=
out=
while [ $# -gt 0 ]; do
    case "$1" in
    --quick) quick=1 ;;
    --out)
        out=${2:?--out needs a directory}
        shift
        ;;
    *)
        sed -n '/^# usage/,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
        exit 2
        ;;
    esac
    shift
done

bench=${PMKV_BENCH-}
if [ -z "$bench" ]; then
    "$root/tools/setup.sh" --bench
    cmake -S "$root" --preset release >/dev/null
    cmake --build "$root/build/release" --target pmkv-bench >/dev/null
    bench=$root/build/release/pmkv-bench
fi
directory=${out:-$root/docs/performance}
mkdir -p "$directory"

if [ "$quick" ]; then
    num=5000 thread_num=5000 rounds=1 seconds=1 threads=1,2
else
    num=1000000 thread_num=300000 rounds=3 seconds=20
    threads=1,2
    for more in 4 8 16; do
        [ "$(nproc)" -lt "$more" ] || threads=$threads,$more
    done
fi
common=(--flush=line --pool="${PMKV_BENCH_POOL-/dev/shm/pmkv-compare.pool}" --force)

# run NAME OPTION...: one report, NAME.json.
run() {
    local name=$1
    shift
    echo "=== $name ==="
    "$bench" "${common[@]}" --json="$directory/$name.json" "$@"
}

run peers --engine=all --num="$num" --rounds="$rounds" \
    --benchmarks=fillseq,fillrandom,overwrite,writebatch,readrandom,readmissing,multireadrandom,readwhilewriting,seekrandom,ycsba,ycsbb,ycsbc,ycsbd,ycsbe,ycsbf,limit,open,openkilled,deleterandom
run threads --engine=all --num="$thread_num" --rounds="$rounds" --threads="$threads" \
    --benchmarks=fillrandom,readrandom,overwrite,ycsbb
run faults --num="$thread_num" --threads=2 --duration="$seconds" --benchmarks=readrandom,ycsba \
    --inject=poison:rate=2,flip:rate=1,garbage:at=0.5

"$bench" --report="$directory" "$directory"/peers.json "$directory"/threads.json \
    "$directory"/faults.json
echo "report: $directory/report.html"
[ "$out" ] && exit 0

# The tables stand in docs/performance.md between two marks.
python3 - "$root/docs/performance.md" "$directory/table.md" <<'END'
import sys
page, table = (open(name, encoding="utf-8").read() for name in sys.argv[1:])
begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
before, rest = page.split(begin)
after = rest.split(end)[1]
with open(sys.argv[1], "w", encoding="utf-8") as out:
    out.write(before + begin + "\n" + table + "\n" + end + after)
END
rm "$directory/table.md"
echo "tables: $root/docs/performance.md"
