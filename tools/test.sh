#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: tools/test.sh [--quick]
#
# Everything that must hold before a change goes in. Stages:
#   setup      installs missing packages
#   release    gcc, warnings are errors; the whole test suite
#   prove      100,000 crash images recovered and judged, at most 300 s; 100 kills; docs/proof.md
#   fuzz       each fuzz target for 15 s: pools, decoders, text dumps, arguments
#   vm         the kernel's real drivers of persistent memory, in an emulated machine (about 7 min);
#              SKIPPED with the reason where that cannot run
#   coverage   lines and branches of kv/ and recovery/ that the tests run
#   style      clang-format, the direction of includes
#   readme     the example of README.md against the installed library, shared, static and by CMake;
#              what the shared library exports
#   quickstart the other command of README.md
#   bench      pmkv-bench with all peers: values and output formats, not times
#   clang      compiles everything with clang, warnings are errors; the public header as C++ too
#   tsan       ThreadSanitizer: the stress programs
#   asan       AddressSanitizer and UndefinedBehaviorSanitizer: the whole test suite
# --quick runs setup and release alone. All stages run even when one fails; the summaries of the test
# runners come last. Works from any directory; builds under build/ of this clone.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"

quick=
case "${1-}" in
'') ;;
--quick) quick=1 ;;
*)
    sed -n '/^# usage/,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$0" >&2
    exit 2
    ;;
esac

jobs=$(nproc)
summary=$root/build/test-summary.txt
mkdir -p build
: >"$summary"

# --- building and running ----------------------------------------------------------------------

generator=()
command -v ninja >/dev/null && generator=(-G Ninja)
launcher=()
command -v ccache >/dev/null && launcher=(-DCMAKE_C_COMPILER_LAUNCHER=ccache)

# configure PRESET; a build directory made by another generator is made anew.
configure() {
    local cache=build/$1/CMakeCache.txt
    if [ -f "$cache" ] && [ ${#generator[@]} -gt 0 ] &&
        ! grep -q '^CMAKE_GENERATOR:INTERNAL=Ninja$' "$cache"; then
        rm -rf "build/$1"
    fi
    cmake --preset "$1" "${generator[@]}" "${launcher[@]}" -DPMKV_WERROR=ON \
        -DPMKV_TESTS=ON -DPMKV_TOOLS=ON
}

# build PRESET [TARGET...]
build() {
    local preset=$1
    shift
    cmake --build "build/$preset" -j "$jobs" ${1+--target "$@"}
}

# run_ctest PRESET [ARGUMENT...]. One test more than processors: those on a disk wait for it.
run_ctest() {
    local preset=$1 code=0
    shift
    local output=build/$preset/ctest-output.txt
    "${wrapper[@]}" ctest --test-dir "build/$preset" -j "$((jobs + 1))" --output-on-failure \
        --no-tests=error "$@" 2>&1 | tee "$output" || code=$?
    python3 tools/test_summary.py "$preset" \
        "build/$preset/Testing/Temporary/LastTest.log" "$output" >>"$summary"
    return "$code"
}
wrapper=()

# --- stages ------------------------------------------------------------------------------------

stage_release() {
    configure release
    build release
    run_ctest release
}

stage_prove() {
    configure release >/dev/null
    build release prove stress_kill9
    {
        echo "--- prove"
        PMKV_PROVE_BUILD=build/release tools/prove.sh --only crash,kill --seconds 300
    } | tee -a "$summary"
}

stage_fuzz() {
    {
        echo "--- fuzz"
        tools/fuzz.sh --seconds 15
    } | tee -a "$summary"
}

# What cannot run here is no failure, but the summary says so.
stage_vm() {
    local output=build/vm-output.txt code=0
    tests/vm/run.sh 2>&1 | tee "$output" || code=$?
    {
        echo "--- vm"
        grep -E '^(FAIL|SKIP|vm:)' "$output" || true
    } >>"$summary"
    [ "$code" -eq 0 ] || [ "$code" -eq 77 ]
}

stage_coverage() {
    {
        echo "--- coverage"
        tools/coverage.sh | tee build/coverage.txt |
            grep -E '^coverage: |^[0-9]+% tests|^lines|^every|^  (kv|recovery)/'
    } | tee -a "$summary"
}

stage_asan() {
    configure asan
    build asan
    run_ctest asan -LE style
}

stage_tsan() {
    configure tsan
    build tsan stress-programs
    # The run-time of gcc 12 cannot place its shadow where newer kernels randomise much.
    if setarch "$(uname -m)" -R true 2>/dev/null; then
        wrapper=(setarch "$(uname -m)" -R)
    fi
    run_ctest tsan -L stress
}

stage_clang() {
    configure release-clang
    build release-clang
    clang -x c++-header -std=c++17 -Wall -Wextra -Werror -fsyntax-only kv/pmkv.h
}

stage_style() {
    # The installed clang-format may be a later one: version 14 decides.
    local format=clang-format
    command -v clang-format-14 >/dev/null && format=clang-format-14
    local version
    version=$("$format" --version)
    case "$version" in
    *"version 14."*) ;;
    *)
        echo "clang-format 14 is needed, this is: $version" >&2
        return 1
        ;;
    esac
    git ls-files -z '*.c' '*.h' | xargs -0 "$format" --dry-run --Werror
    python3 tests/include_direction.py --self-test
    python3 tests/include_direction.py .
}

stage_quickstart() {
    tools/quickstart.sh
}

stage_bench() {
    tools/setup.sh --bench
    configure release >/dev/null
    build release pmkv-bench
    python3 bench/smoke.py build/release/pmkv-bench
    PMKV_BENCH=$root/build/release/pmkv-bench tools/compare.sh --quick --out build/compare \
        >build/compare-output.txt || {
        tail -60 build/compare-output.txt
        return 1
    }
    python3 bench/smoke.py --report build/compare
}

# The example, as a reader of README.md would use it.
stage_readme() {
    local work=build/readme prefix=$root/build/readme/prefix
    rm -rf "$work"
    mkdir -p "$work"
    awk '/^```c$/ { take = 1; next } /^```$/ { if (take) exit } take' README.md >"$work/example.c"
    [ -s "$work/example.c" ] || {
        echo "README.md has no C example" >&2
        return 1
    }
    configure release >/dev/null
    build release
    cmake --install build/release --prefix "$prefix" >/dev/null

    local pc
    pc=$(dirname "$(find "$prefix" -name pmkv.pc)")
    export PKG_CONFIG_PATH=$pc
    local lib
    lib=$(pkg-config --variable=libdir pmkv)
    local warnings=(-std=c17 -Wall -Wextra -Werror)
    # shellcheck disable=SC2046
    gcc "${warnings[@]}" "$work/example.c" -o "$work/shared" $(pkg-config --cflags --libs pmkv)
    # shellcheck disable=SC2046
    gcc "${warnings[@]}" "$work/example.c" -o "$work/static" $(pkg-config --cflags pmkv) \
        "$lib/libpmkv.a" $(pkg-config --static --libs-only-l pmkv | sed 's/-lpmkv//') -pthread
    cat >"$work/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.25)
project(example C)
find_package(pmkv REQUIRED)
add_executable(by-cmake example.c)
target_link_libraries(by-cmake pmkv::pmkv)
add_executable(by-cmake-static example.c)
target_link_libraries(by-cmake-static pmkv::pmkv_static)
END
    cmake -S "$work" -B "$work/cmake" "${generator[@]}" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
    cmake --build "$work/cmake" >/dev/null

    # Each makes its own pool, so that none is helped by the one before.
    local program output
    for program in shared static cmake/by-cmake cmake/by-cmake-static; do
        output=$(rm -f /dev/shm/pmkv-example && LD_LIBRARY_PATH="$lib" "$work/$program")
        rm -f /dev/shm/pmkv-example
        if [ "$output" != "hello = world" ]; then
            echo "README example ($program) printed: $output" >&2
            return 1
        fi
        echo "README example ($program): $output"
    done

    local foreign
    foreign=$(nm -D --defined-only "$lib/libpmkv.so" |
        awk '$2 != "A" && $3 !~ /^pmkv_/ { print $3 }')
    if [ -n "$foreign" ]; then
        echo "libpmkv.so exports more than pmkv_*: $foreign" >&2
        return 1
    fi
    "$prefix/bin/pmkv-cli" --version
}

# --- all of it ---------------------------------------------------------------------------------

failed=()
passed=()
run_stage() {
    local began=$SECONDS code
    echo
    echo "=== $1 ==="
    # Not in a condition: there the shell would ignore errors inside the stage.
    set +e
    (
        set -e
        "stage_$1"
    )
    code=$?
    set -e
    if [ "$code" -eq 0 ]; then
        passed+=("$1 ($((SECONDS - began)) s)")
    else
        failed+=("$1 ($((SECONDS - began)) s)")
        echo "=== $1 failed ===" >&2
    fi
}

# Without its packages nothing else can be right.
tools/setup.sh
stages=(release)
[ "$quick" ] || stages=(style release prove readme quickstart bench clang tsan asan vm fuzz coverage)
for stage in "${stages[@]}"; do
    run_stage "$stage"
done

echo
echo "=== summary ==="
echo "passed: ${passed[*]-none}"
echo "failed: ${failed[*]-none}"
cat "$summary"
[ ${#failed[@]} -eq 0 ]
