#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: tools/compare.sh [--quick] [--rounds N] [--out DIR]
#
# libpmkv beside its peers, the bare machine and its targets: runs the whole comparison, draws the report and
# puts the tables into docs/performance.md. Keeps the raw figures as docs/performance/*.json.
#   --quick     a minute instead of forty: few keys, one round
#   --rounds N  each engine N times (default 3)
#   --out DIR   everything goes there, docs/performance.md stays as it is
# PMKV_BENCH names another pmkv-bench than that of build/release, PMKV_BENCH_POOL another place than
# /dev/shm/pmkv-compare.pool, PMKV_BENCH_FILE another place on a disk than build/compare-file.pool. Figures
# that mean something need all CPUs for all that time, and 12 GiB of memory.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

quick=
out=
rounds=3
while [ $# -gt 0 ]; do
    case "$1" in
    --quick) quick=1 ;;
    --rounds)
        rounds=${2:?--rounds needs a number}
        shift
        ;;
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

# Minutes of each part, on two CPUs of 2022 with nothing else to do: for the estimate only.
declare -A minutes=([core]=6 [scaling]=4 [peers]=3 [threads]=3 [protection]=2 [cleaning]=4 [scrubbing]=2
    [faults]=2 [values]=2 [file]=2)
parts=(core scaling protection cleaning scrubbing faults values file threads peers)

many=5000000 scale_num=1000000 clean_num=2000000 num=100000 thread_num=100000 file_num=4000
seconds=8 short=5 scale_pool=3G
threads=1,2 fill=80 sizes=(8:3000000 1024:500000 65536:10000 4194304:200)
for more in 4 8 16; do
    [ "$(nproc)" -lt "$more" ] || threads=$threads,$more
done
if [ "$quick" ]; then
    many=5000 scale_num=5000 clean_num=5000 num=5000 thread_num=5000 file_num=100
    rounds=1 seconds=1 short=0.3 scale_pool=auto
    threads=1,2 fill=10 sizes=(8:5000 1024:2000 65536:200 4194304:20)
fi
pool=${PMKV_BENCH_POOL-/dev/shm/pmkv-compare.pool}
file=${PMKV_BENCH_FILE-$root/build/compare-file.pool}
for part in "${parts[@]}"; do
    rm -f "$directory/$part.json"
done
rm -f "$directory"/{geometry,cleaning,scrub,values,poison}-*.json "$directory/badpage.json"

# run NAME OPTION...: one report, NAME.json, of a store on shared memory that is flushed.
run() {
    local name=$1
    shift
    "$bench" --flush=line --pool="$pool" --force --json="$directory/$name.json" "$@"
}

# The store beside the bare machine. The opens are those of a pool that was just loaded.
part_core() {
    run core --engine=pmkv,limit --num="$many" --rounds="$rounds" \
        --benchmarks=fillseq,open,openkilled,fillrandom,overwrite,writebatch,readrandom,readmissing,multireadrandom,limit,scrub,pack,deleterandom
}

# The pool has room for all that is written: a cleaner would run on the processor that one thread leaves
# free, and beside two on none.
part_scaling() {
    run scaling --engine=pmkv,limit --num="$scale_num" --pool-size="$scale_pool" --rounds="$rounds" \
        --threads=1,2,16 \
        --benchmarks=fillrandom,overwrite,update,writebatch,readrandom,readmissing,multireadrandom,ycsba,ycsbb,ycsbc,ycsbf,deleterandom
}

part_peers() {
    run peers --engine=all --num="$num" --rounds="$rounds" \
        --benchmarks=fillseq,fillrandom,overwrite,writebatch,readrandom,readmissing,multireadrandom,readwhilewriting,seekrandom,ycsba,ycsbb,ycsbc,ycsbd,ycsbe,ycsbf,limit,open,openkilled,deleterandom
}

part_threads() {
    run threads --engine=all --num="$thread_num" --rounds="$rounds" --threads="$threads" \
        --benchmarks=fillrandom,readrandom,multireadrandom,overwrite,ycsba,ycsbb,deleterandom
}

# What is compared between two runs takes turns, so that a slow minute is one for both.
part_protection() {
    local round geometry
    for round in $(seq "$rounds"); do
        for geometry in none parity double; do
            run "geometry-$geometry-$round" --num="$clean_num" --seed="$round" --geometry="$geometry" \
                --benchmarks=fillrandom,overwrite,readrandom
        done
    done
}

# The first update brings the pool to where it stays, the second is measured.
part_cleaning() {
    local keys
    for keys in uniform zipfian; do
        run "cleaning-$keys" --engine=pmkv,limit --num="$clean_num" --rounds="$rounds" \
            --fill="$fill" --duration="$seconds" --distribution="$keys" --benchmarks=fillrandom,update,update
    done
    # What is moved beside the simulation of it: a test's figures, where the tests were built.
    local model=$root/build/release/tests/stress/stress_clean
    rm -f "$directory/cleaning-model.txt"
    # Whether the test is content with them is for the test suite to say.
    [ ! -x "$model" ] || "$model" >"$directory/cleaning-model.txt" ||
        echo "compare.sh: stress_clean failed: see $directory/cleaning-model.txt" >&2
}

part_scrubbing() {
    local round
    for round in $(seq "$rounds"); do
        run "scrub-off-$round" --num="$clean_num" --duration="$short" --benchmarks=readrandom,overwrite
        run "scrub-on-$round" --num="$clean_num" --duration="$short" --benchmarks=readrandom,overwrite \
            --scrub=64M
    done
}

# An injection that never comes is beside those that do: operations are measured one by one in both.
part_faults() {
    run faults --num="$thread_num" --threads=2 --duration="$seconds" --benchmarks=readrandom,ycsba \
        --inject=poison:rate=2,flip:rate=1,garbage:at=0.5
    run badpage --num="$num" --duration="$short" --benchmarks=readrandom --inject=poison:rate=20
    run poison-off --num="$num" --duration="$short" --benchmarks=readrandom,ycsba \
        --inject=poison:at=100000
    run poison-on --num="$num" --duration="$short" --benchmarks=readrandom,ycsba \
        --inject=poison:rate=1000
}

# The first pass and half of the second store to places that the process has not mapped yet, as the limits
# have theirs: the last one is measured.
part_values() {
    local size
    for size in "${sizes[@]}"; do
        run "values-${size%:*}" --value-size="${size%:*}" --num="${size#*:}" --rounds="$rounds" \
            --benchmarks=fillrandom,overwrite,overwrite,overwrite,readrandom,limit
    done
}

# On a disk nothing is flushed line by line.
part_file() {
    if [ "$(stat -f -c %T "$(dirname "$file")")" = tmpfs ]; then
        echo "$file is no disk: PMKV_BENCH_FILE names another place"
        return
    fi
    "$bench" --engine=pmkv,lmdb,rocksdb,sqlite --pool="$file" --force --json="$directory/file.json" \
        --num="$file_num" --rounds="$rounds" --threads=1,8,32 --benchmarks=fillrandom,overwrite
}

left=0
for part in "${parts[@]}"; do
    left=$((left + minutes[$part]))
done
for part in "${parts[@]}"; do
    estimate="about ${minutes[$part]} minutes, $left to the end; so far $((SECONDS / 60))"
    [ -z "$quick" ] || estimate=quick
    echo "=== $part: $estimate ==="
    began=$SECONDS
    "part_$part"
    echo "=== $part took $((SECONDS - began)) s ==="
    left=$((left - minutes[$part]))
done

"$bench" --report="$directory" "$directory"/peers.json "$directory"/threads.json \
    "$directory"/faults.json
"$root/tools/targets.py" "$directory" >"$directory/targets.md"
cat "$directory/targets.md"
echo "report: $directory/report.html, in $((SECONDS / 60)) minutes"
[ "$out" ] && exit 0

# The tables stand in docs/performance.md between two marks.
cat "$directory/targets.md" - "$directory/table.md" >"$directory/all.md" <<<''
python3 - "$root/docs/performance.md" "$directory/all.md" <<'END'
import sys
page, table = (open(name, encoding="utf-8").read() for name in sys.argv[1:])
begin, end = "<!-- figures -->\n", "<!-- end of figures -->"
before, rest = page.split(begin)
after = rest.split(end)[1]
with open(sys.argv[1], "w", encoding="utf-8") as out:
    out.write(before + begin + "\n" + table + "\n" + end + after)
END
rm "$directory"/{table,targets,all}.md
echo "tables: $root/docs/performance.md"
