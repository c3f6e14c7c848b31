# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# Helpers of the shell tests of pmkv-cli; sourced with the path of pmkv-cli as $1. Each check counts
# as one test and prints one line when it fails. Tests run anywhere, as root or not, and clean up.
#
#   expect CODE SENTENCE COMMAND...   runs the command; its output is in $out and $err
#   check SENTENCE COMMAND...         passes when the command (test, cmp, grep) succeeds
#   out_has/err_has PATTERN           check of a basic regular expression in the last output
#   out_is TEXT                       the last output is exactly this
#   json_is SENTENCE                  the last output is valid JSON
#   skip SENTENCE REASON
#   finish                            prints the sum; the last line of every test

case $1 in
/*) cli=$1 ;;
*) cli=$(pwd)/$1 ;;
esac
if [ ! -x "$cli" ]; then
    echo "usage: $0 PATH-OF-pmkv-cli" >&2
    exit 2
fi
tests=$(cd "$(dirname "$0")" && pwd)

passed=0
failed=0
skipped=0
unset NO_COLOR
# Memory when there is some: pools on disk wait for every fdatasync.
work=$(mktemp -d "${PMKV_TEST_DIR:-/dev/shm}/pmkv-cli.XXXXXX" 2>/dev/null) ||
    work=$(mktemp -d) || exit 1
out=$work/stdout
err=$work/stderr
last=
holder=
mounted=

clean_up()
{
    [ -z "$holder" ] || kill "$holder" 2>/dev/null
    [ -z "$mounted" ] || umount "$mounted"
    rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP
cd "$work" || exit 1

pass()
{
    passed=$((passed + 1))
}

fail()
{
    failed=$((failed + 1))
    echo "FAILED: $1"
}

skip()
{
    skipped=$((skipped + 1))
    echo "SKIPPED: $1: $2"
}

show_output()
{
    sed 's/^/    stdout: /' "$out" | head -n 5 | cut -c 1-300
    sed 's/^/    stderr: /' "$err" | head -n 5 | cut -c 1-300
}

expect()
{
    want=$1
    last=$2
    shift 2
    "$@" >"$out" 2>"$err"
    code=$?
    if [ "$code" -eq "$want" ]; then
        pass
    else
        fail "$last: exit code $code, expected $want"
        show_output
    fi
}

check()
{
    last=$1
    shift
    if "$@" >/dev/null 2>&1; then
        pass
    else
        fail "$last: failed: $(echo "$*" | cut -c 1-300)"
    fi
}

out_has()
{
    if grep -q -e "$1" "$out"; then
        pass
    else
        fail "$last: standard output has no '$1'"
        show_output
    fi
}

err_has()
{
    if grep -q -e "$1" "$err"; then
        pass
    else
        fail "$last: standard error has no '$1'"
        show_output
    fi
}

out_is()
{
    printf '%s' "$1" >"$work/expected"
    if cmp -s "$work/expected" "$out"; then
        pass
    else
        fail "$last: standard output is not '$1'"
        show_output
    fi
}

if command -v jq >/dev/null 2>&1; then
    parse_json() { jq -e . "$1" >/dev/null; }
elif command -v python3 >/dev/null 2>&1; then
    parse_json() { python3 -m json.tool "$1" >/dev/null; }
else
    parse_json() { grep -q pmkv_schema "$1"; }
fi

json_is()
{
    if parse_json "$out" && grep -q '"pmkv_schema": 1' "$out"; then
        pass
    else
        fail "$1: not JSON with pmkv_schema 1"
        show_output
    fi
}

# A copy that later shows that a file was not touched.
remember()
{
    cp "$1" "$1.before"
}

is_untouched()
{
    check "$2 leaves the file as it was" cmp "$1.before" "$1"
}

finish()
{
    [ "$skipped" -eq 0 ] || echo "$skipped skipped"
    echo "$passed passed, $failed failed"
    [ "$failed" -eq 0 ]
    exit
}
