#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: test_cli_damage.sh PATH-OF-pmkv-cli
#
# Pools that are damaged with inject: what redundancy covers is read, found, repaired and said so;
# what it does not cover is named. On shared memory and on a file.

. "$(dirname "$0")/lib_cli.sh"

# fill POOL: twenty records of 50 kB, so that they spread over rows.
fill()
{
    for i in $(seq 1 20); do
        "$cli" put "$1" "key $i" - <value
    done
}
head -c 50000 /dev/urandom >value

expect 2 "inject needs a place" "$cli" inject pool
err_has 'say where'
expect 2 "inject takes one place" "$cli" inject pool --random --at 0
expect 2 "inject of an unknown kind" "$cli" inject pool --random --kind bend
err_has 'one of poison, flip, zero, stale, garbage, not bend'

# heals POOL KIND UNIT: silent damage to one record is read through, found and repaired.
heals()
{
    pool=$1
    what="$2 of a $3"
    expect 0 "inject $what" "$cli" inject "$pool" --kind "$2" --unit "$3" --key "key 7"
    out_has "injected 1 fault of kind $2"
    remember "$pool"
    expect 0 "get after $what" "$cli" get "$pool" "key 7"
    check "get after $what returns what was put" cmp value "$out"
    expect 5 "check after $what" "$cli" check "$pool"
    out_has '^  pages: [1-9][0-9]* are bad; '
    out_has '^ errors: No known data errors'
    is_untouched "$pool" "check after $what"
    expect 5 "scrub after $what" "$cli" scrub "$pool"
    out_has '^  pages: [1-9][0-9]* repaired, 0 retired, 0 still bad'
    expect 0 "check after scrub of $what" "$cli" check "$pool"
    expect 0 "get after scrub of $what" "$cli" get "$pool" "key 7"
    check "the value is the same after scrub of $what" cmp value "$out"
}

damage_on()
{
    dir=$1
    for geometry in parity double mirror; do
        "$cli" create "$dir/$geometry" -s 32M -g $geometry >/dev/null
        fill "$dir/$geometry"
        heals "$dir/$geometry" flip line
        heals "$dir/$geometry" zero page
        heals "$dir/$geometry" garbage page
    done
    pool=$dir/parity
    expect 0 "status after repairs" "$cli" status "$pool"
    out_has '^  state: REPAIRED$'
    out_has '^ errors: No known data errors$'
    out_has '^   scan: scrub repaired '
    expect 0 "status --json after repairs" "$cli" status "$pool" --json
    json_is "status --json after repairs"
    check "status counts repaired pages" grep -q '"pages_repaired": [1-9]' "$out"

    expect 5 "inject --repair" "$cli" inject "$pool" --kind garbage --key "key 3" --repair
    out_has '^  pages: [1-9][0-9]* repaired'
    expect 5 "inject --repair --json" "$cli" inject "$pool" -k zero --key "key 3" --repair --json
    json_is "inject --repair --json"
    expect 0 "the pool is well after inject --repair" "$cli" check "$pool"

    expect 0 "inject --random" "$cli" inject "$pool" -k flip --random --seed 5 --count 3 --live
    out_has '^injected [1-3] fault'
    "$cli" scrub "$pool" >"$out" 2>"$err"
    code=$?
    check "scrub after --random ends with 5, not $code" test $code -eq 5
    for i in $(seq 1 20); do
        "$cli" get "$pool" "key $i" | cmp -s - value || fail "key $i after random damage"
    done
}

loss_on()
{
    pool=$1/none
    "$cli" create "$pool" -s 32M -g none >/dev/null
    fill "$pool"
    expect 0 "inject beyond redundancy" "$cli" inject "$pool" -k garbage --key "key 7"
    expect 6 "get of a lost record" "$cli" get "$pool" "key 7"
    err_has 'key "key 7": the record was lost'
    err_has 'what to do: write the key again'
    expect 6 "check with lost records" "$cli" check "$pool"
    expect 6 "scrub with lost records" "$cli" scrub "$pool"
    out_has '^  scrub: .* [1-9][0-9]* bad pages* found$'
    # The background may have moved what is left out of the page already, and made it good; or it is
    # freeing the segment, and the page waits.
    beyond='0 repaired, 0 retired, 0 still bad, 1 beyond repair'
    waits='0 repaired, 0 retired, 1 still bad'
    out_has "^  pages: \($beyond\|$waits\|1 repaired, 0 retired, 0 still bad\)\$"
    out_has '^ errors: [1-9][0-9]* records or ranges lost'
    expect 6 "lost names what is lost" "$cli" lost "$pool"
    out_has '^key   key 7  at 0x[0-9a-f]*, [0-9]* bytes'
    expect 6 "lost --json" "$cli" lost "$pool" --json
    json_is "lost --json"
    expect 6 "status with lost records" "$cli" status "$pool"
    out_has '^  state: LOST$'
    out_has '^ action: .'
    expect 6 "exists of a lost record" "$cli" exists "$pool" "key 7"
    expect 0 "the rest is usable" "$cli" get "$pool" "key 19"
    check "and right" cmp value "$out"
    "$cli" scan "$pool" >"$out" 2>"$err"
    code=$?
    check "scan with lost records ends with 6, not $code" test $code -eq 6
    expect 6 "a name is not acknowledged away" "$cli" lost "$pool" --acknowledge
    err_has '^0 ranges without a name taken off the list'
    expect 6 "it is still lost" "$cli" lost "$pool"
    expect 0 "a lost key can be written again" sh -c '"$0" put "$1" "key 7" - <value' "$cli" "$pool"
    expect 0 "and read" "$cli" get "$pool" "key 7"
    check "and it is right" cmp value "$out"
}

# Nothing but the superblock at 0 is left: all is lost, and that is said.
ruin_on()
{
    for geometry in parity none; do
        pool=$1/ruin-$geometry
        "$cli" create "$pool" -s 32M -g $geometry >/dev/null
        fill "$pool"
        dd if=/dev/urandom of="$pool" bs=4096 seek=1 count=8191 conv=notrunc 2>/dev/null
        expect 6 "status of a ruin ($geometry)" "$cli" status "$pool"
        out_has '^  state: LOST$'
        out_has '^   note: the pool was not closed cleanly'
        expect 6 "check of a ruin" "$cli" check "$pool"
        expect 6 "lost in a ruin" "$cli" lost "$pool"
        out_has '^range  at 0x[0-9a-f]*, [0-9]* bytes$'
        expect 6 "scrub of a ruin" "$cli" scrub "$pool"
        expect 6 "status after the scrub" "$cli" status "$pool"
        check "a ruin was recovered for good" sh -c '! grep -q "not closed cleanly" "$0"' "$out"
        expect 0 "put to what was a ruin" "$cli" put "$pool" "key 7" again
        expect 0 "get from what was a ruin" "$cli" get "$pool" "key 7"
        out_is again
        expect 0 "the ranges were seen" "$cli" lost "$pool" --acknowledge
        err_has '^[1-9][0-9]* ranges without a name taken off the list'
        out_is "nothing is lost
"
        expect 0 "and stay off it" "$cli" status "$pool"
        out_has '^ errors: No known data errors'
        rm "$pool"
    done
}

# Poison is real: pages of the pool raise SIGBUS. Needs a medium that can take it.
poison_on()
{
    pool=$1/poison
    "$cli" create "$pool" -s 32M >/dev/null
    fill "$pool"
    "$cli" inject "$pool" --kind poison --key "key 7" --repair >"$out" 2>"$err"
    code=$?
    if [ $code -eq 8 ]; then
        skip "poison in $1" "$(head -n 1 "$err")"
        return
    fi
    last="inject of poison with --repair"
    check "$last ends with 5, not $code" test $code -eq 5
    out_has '^  pages: [1-9][0-9]* repaired'
    expect 0 "get after poison was repaired" "$cli" get "$pool" "key 7"
    check "and the value is right" cmp value "$out"
    "$cli" inject "$pool" --kind poison --key "key 9" --clear-fails --repair >"$out" 2>"$err"
    code=$?
    last="poison that cannot be cleared"
    check "$last ends with 5, not $code" test $code -eq 5
    out_has '^  pages: 0 repaired, [1-9][0-9]* retired'
    expect 0 "get after a page was retired" "$cli" get "$pool" "key 9"
    check "and that value is right" cmp value "$out"
    # The verdict is in the pool: the next process knows it, and does not try again.
    expect 0 "status after a page was retired" "$cli" status "$pool"
    out_has '^  state: DEGRADED$'
    out_has '1 page could not be cleared and is out of use for good'
    expect 0 "map after a page was retired" "$cli" map "$pool"
    out_has 'retired'
    # Opening cleans the segment in the background: its retired row may be empty before the scrub.
    "$cli" scrub "$pool" >"$out" 2>"$err"
    code=$?
    check "scrub when the page can be cleared ends with 5 or 0, not $code" test $code -eq 5 -o \
        $code -eq 0
    expect 0 "status after that" "$cli" status "$pool"
    out_has '^  state: DEGRADED$'
    out_has '1 page could not be cleared and is out of use for good'
    expect 0 "check after that" "$cli" check "$pool"
    expect 0 "get after that" "$cli" get "$pool" "key 9"
    check "and the value is still right" cmp value "$out"
}

mkdir memory
damage_on memory
loss_on memory
ruin_on memory
poison_on memory

# The same on a file system that is not memory, if there is one.
disk=$(mktemp -d "${TMPDIR:-/var/tmp}/pmkv-cli.XXXXXX")
if [ -d "$disk" ] && [ "$(stat -f -c %T "$disk")" != tmpfs ]; then
    damage_on "$disk"
    loss_on "$disk"
    poison_on "$disk"
else
    skip "damage on a file" "no file system but memory here"
fi
rm -rf "$disk"

finish
