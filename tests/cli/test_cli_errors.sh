#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: test_cli_errors.sh PATH-OF-pmkv-cli
#
# Everything that can be wrong with a pool, a key, a value or the place around them: the exit code
# says which, the message says what to do, and a file that is not ours stays as it was.

. "$(dirname "$0")/lib_cli.sh"

# Every verb that opens a pool, with the rest of its arguments.
each_verb()
{
    cat <<'VERBS'
get POOL key
put POOL key value
del POOL key
exists POOL key
count POOL
scan POOL
dump POOL
status POOL
stats POOL
check POOL
scrub POOL
map POOL
lost POOL
repair POOL
inject POOL --random --seed 1 --count 1
load POOL
VERBS
}

# expect_all CODE SENTENCE POOL: every verb ends with the code.
expect_all()
{
    each_verb >verbs
    while read -r verb rest; do
        # shellcheck disable=SC2086 # words of the list above
        expect "$1" "$verb of $2" "$cli" "$verb" $(echo "$rest" | sed "s|POOL|$3|") </dev/null
        err_has "^pmkv-cli: $verb: $3: "
    done <verbs
}

# --- not a pool -------------------------------------------------------------------------------------

expect_all 3 "a file that is not there" missing
check "nothing was made" test ! -e missing

: >zero
expect_all 4 "a file of no bytes" zero
check "a file of no bytes stays empty" test ! -s zero

head -c 1000 /dev/urandom >short
remember short
expect_all 4 "a short foreign file" short
is_untouched short "every verb"

head -c 33554432 /dev/urandom >foreign
remember foreign
expect_all 4 "a foreign file" foreign
is_untouched foreign "every verb"
expect 3 "create over a foreign file" "$cli" create foreign -s 32M
is_untouched foreign "create"

mkdir directory
expect 3 "create over a directory" "$cli" create directory -s 32M
err_has 'it is a directory'
expect_all 4 "a directory" directory
err_has 'it is a directory'

# --- a pool that was damaged as a whole -------------------------------------------------------------

"$cli" create pool -s 32M >/dev/null
"$cli" put pool key value

cp pool truncated
truncate -s 20M truncated
remember truncated
expect_all 4 "a truncated pool" truncated
is_untouched truncated "every verb"
err_has 'shorter than the pool it holds'

cp pool newer
if command -v python3 >/dev/null 2>&1; then
    python3 "$tests/newer_version.py" newer >"$out" 2>&1
    code=$?
else
    echo "no python3" >"$out"
    code=77
fi
if [ $code -eq 77 ]; then
    skip "a pool of a newer format version" "$(cat "$out")"
elif [ $code -ne 0 ]; then
    fail "a pool of a newer format version: newer_version.py: $(cat "$out")"
else
    remember newer
    expect_all 4 "a pool of a newer format version" newer
    is_untouched newer "every verb"
    err_has 'another format version'
fi

cp pool zeroed
dd if=/dev/zero of=zeroed bs=1M count=32 conv=notrunc 2>/dev/null
expect_all 4 "a pool of zeros" zeroed

# Every superblock copy is hit, after its magic: a pool, but not to be opened.
cp pool corrupt
"$cli" map pool --all --json | tr -d ' \n' | grep -o '{[^}]*"superblock"[^}]*}' |
    sed -n 's/.*"offset":\([0-9]*\).*/\1/p' >copies
check "a pool has three superblock copies" test "$(wc -l <copies)" -eq 3
while read -r offset; do
    printf 'damaged!' | dd of=corrupt bs=1 seek=$((offset + 64)) conv=notrunc 2>/dev/null
done <copies
remember corrupt
expect_all 4 "a pool without a good superblock" corrupt
is_untouched corrupt "every verb"
err_has 'too much of the pool is damaged to open it'
err_has 'what to do: keep the file for analysis and restore a backup'
printf 'damaged!' | dd of=pool bs=1 seek=64 conv=notrunc 2>/dev/null
expect 0 "one bad superblock copy does no harm" "$cli" get pool key
out_is value
expect 5 "and is found" "$cli" check pool
expect 5 "and repaired" "$cli" scrub pool
expect 0 "for good" "$cli" check pool

# The superblock copies stay, all the rest is noise: whatever comes, no crash and no wrong value.
cp pool noise
dd if=/dev/urandom of=noise bs=4096 seek=1 count=7000 conv=notrunc 2>/dev/null
for verb in get exists; do
    "$cli" $verb noise key >"$out" 2>"$err"
    code=$?
    check "$verb in noise ends with a known exit code, not $code" test $code -eq 1 -o $code -eq 4 \
        -o $code -eq 6
done
for verb in status scan check lost map dump; do
    "$cli" $verb noise >"$out" 2>"$err"
    code=$?
    check "$verb of noise ends with a known exit code, not $code" test $code -le 8
done

# --- a pool that cannot be opened now ---------------------------------------------------------------

mkfifo held
"$cli" load pool <held >/dev/null 2>&1 &
holder=$!
exec 9>held
tries=0
# Not by trying to open it: that could be what keeps the other process from opening it.
until grep -q "$work/pool" "/proc/$holder/maps" || [ $tries -eq 200 ]; do
    tries=$((tries + 1))
    sleep 0.05
done 2>/dev/null
expect 3 "put to a pool in use" "$cli" put pool key other
err_has 'in use by another process'
err_has 'what to do: close the program'
expect 3 "scrub of a pool in use" "$cli" scrub pool
expect 0 "status of a pool in use" "$cli" status pool
out_has '^  state: IN USE$'
out_has '^ errors: No known data errors$'
expect 0 "status --json of a pool in use" "$cli" status pool --json
json_is "status --json of a pool in use"
exec 9>&-
wait "$holder"
holder=
expect 0 "the pool is free again" "$cli" get pool key
out_is value

if [ "$(id -u)" -ne 0 ]; then
    cp pool private
    chmod 0 private
    expect 3 "a pool without permission" "$cli" status private
    err_has 'permission denied'
elif ! command -v setpriv >/dev/null 2>&1 ||
    ! setpriv --reuid=65534 --clear-groups "$cli" --version >/dev/null 2>&1; then
    skip "a pool without permission" "root may open everything, and setpriv cannot run pmkv-cli"
else
    chmod 755 .
    cp pool private
    chmod 600 private
    expect 3 "a pool without permission" setpriv --reuid=65534 --clear-groups "$cli" status private
    err_has 'permission denied'
fi

# --- no space ---------------------------------------------------------------------------------------

mkdir tiny
if [ "$(id -u)" -ne 0 ]; then
    skip "create on a full file system" "mounting needs root"
elif ! mount -t tmpfs -o size=20m pmkv-cli-test tiny 2>"$err"; then
    skip "create on a full file system" "$(cat "$err")"
else
    mounted=$work/tiny
    expect 7 "create on a full file system" "$cli" create tiny/pool -s 64M
    err_has 'no space left'
    err_has 'cannot allocate 67108864 bytes ([1-9][0-9]* bytes are free)'
    check "a failed create leaves nothing" test ! -e tiny/pool
    umount "$mounted" && mounted=
fi
if [ -w /dev/full ]; then
    expect 7 "get to a full disk" sh -c '"$0" get pool key >/dev/full' "$cli"
    expect 7 "dump to a full disk" sh -c '"$0" dump pool >/dev/full' "$cli"
    expect 7 "status to a full disk" sh -c '"$0" status pool >/dev/full' "$cli"
fi

"$cli" create full -s 32M >/dev/null
head -c 1000000 /dev/urandom >megabyte
count=0
while [ $count -lt 60 ] && "$cli" put full "key $count" - <megabyte 2>"$err"; do
    count=$((count + 1))
done
expect 7 "put to a full pool" sh -c '"$0" put full more - <megabyte' "$cli"
err_has 'the pool is full'
expect 0 "a full pool keeps what was put" "$cli" get full "key 0"
check "and it is what was put" cmp megabyte "$out"
expect 0 "del works on a full pool" "$cli" del full "key 0"
expect 0 "del works on a full pool again" "$cli" del full "key 1"
expect 0 "del makes room" sh -c '"$0" put full more - <megabyte' "$cli"
expect 0 "the full pool is well" "$cli" check full

# --- keys and values --------------------------------------------------------------------------------

for verb in get exists del; do
    expect 2 "$verb of an empty key" "$cli" $verb pool ""
done
expect 2 "put of an empty key" "$cli" put pool "" value
err_has 'key "": an argument is not valid'
long=$(head -c 65536 /dev/zero | tr '\0' k)
expect 2 "put of a key that is too long" "$cli" put pool "$long" value
err_has 'larger than the pool allows'
expect 1 "the long key is not there" "$cli" exists pool "$(echo "$long" | cut -c 1-1000)"

if [ "$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)" -gt 6000000 ]; then
    expect 2 "put of a value larger than 1 GiB" \
        sh -c 'head -c 1073741825 /dev/zero | "$0" put pool huge -' "$cli"
    err_has 'larger than the pool allows'
else
    skip "put of a value larger than 1 GiB" "less than 6 GB of memory available"
fi
head -c 40000000 /dev/zero >large
expect 7 "put of a value larger than the pool" sh -c '"$0" put pool large - <large' "$cli"
err_has 'key "large": the pool is full'
expect 1 "a refused value is not there" "$cli" exists pool large
expect 0 "the pool is well after all this" "$cli" check pool

finish
