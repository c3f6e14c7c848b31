#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: test_cli.sh PATH-OF-pmkv-cli
#
# Every verb of pmkv-cli on pools that are well: what it prints and how it exits.

. "$(dirname "$0")/lib_cli.sh"

verbs="create probe get put del exists count scan load dump status stats check scrub map lost
       repair pack inject"

# --- help and usage ---------------------------------------------------------------------------------

expect 2 "no arguments is a usage error" "$cli"
err_has '^Usage: pmkv-cli VERB POOL'
expect 0 "--help prints the verbs" "$cli" --help
out_has '^  scrub  POOL'
out_has '^   70  internal error'
expect 0 "--version prints both versions" "$cli" --version
out_has '^pmkv-cli [0-9.]*, libpmkv [0-9.]*$'
expect 2 "an unknown verb is a usage error" "$cli" frobnicate pool
err_has 'there is no verb frobnicate'
for verb in $verbs; do
    expect 0 "$verb --help" "$cli" "$verb" --help
    out_has "^Usage: pmkv-cli $verb "
    expect 0 "help $verb" "$cli" help "$verb"
    expect 2 "$verb without a pool" "$cli" "$verb"
    err_has 'needed: P\|say where'
    expect 2 "$verb with an unknown option" "$cli" "$verb" pool --frobnicate
done
expect 2 "one argument too many" "$cli" count pool more
err_has 'one argument too many: more'

# --- create and probe -------------------------------------------------------------------------------

expect 0 "create makes a pool" "$cli" create pool --size 32M
out_has '^   pool: pool$'
out_has '^ format: 6, parity 8+1, '
out_has '^backend: .*survives'
out_has '^  space: 32.0MiB total'
expect 3 "create refuses a pool that exists" "$cli" create pool --size 32M
err_has '^pmkv-cli: create: pool: the pool or the key exists already ('
err_has '^  what to do: '
expect 2 "create refuses a size that is too small" "$cli" create small --size 4096
check "a refused create leaves nothing" test ! -e small
expect 3 "create in a directory that is not there" "$cli" create nowhere/pool --size 32M
expect 2 "create with a bad size" "$cli" create other --size 32X
err_has 'size: not a number of bytes'
expect 2 "create with a bad geometry" "$cli" create other --geometry raid5
err_has 'one of parity, double, mirror, none, not raid5'
for geometry in double mirror none; do
    expect 0 "create --geometry $geometry" "$cli" create "$geometry" -s 32M -g "$geometry" --json
    json_is "create --json"
    out_has "\"name\": \"$geometry\""
    expect 0 "put to $geometry" "$cli" put "$geometry" key "value of $geometry"
    expect 0 "get from $geometry" "$cli" get "$geometry" key
    out_is "value of $geometry"
done
expect 0 "create with its own shape" "$cli" create shape -s 32M --row-pages 16 --segment-rows 8 \
    --loss-unit 4K --json
out_has '"row_pages": 16'
out_has '"segment_rows": 8'
out_has '"loss_unit_bytes": 4096'
: >empty
expect 0 "create takes an empty file" "$cli" create empty -s 32M

expect 0 "probe explains a path" "$cli" probe .
out_has '^backend: '
expect 0 "probe --json" "$cli" probe . --json
json_is "probe --json"
out_has '"bad_block_support": '
check "probe makes nothing" test ! -e probe

# --- put, get, exists, del, count -------------------------------------------------------------------

expect 0 "count of an empty pool" "$cli" count pool
out_is "0
"
expect 0 "put stores a value" "$cli" put pool greeting hello
expect 0 "get writes the bytes and nothing else" "$cli" get pool greeting
out_is "hello"
expect 0 "get --newline ends with a newline" "$cli" get pool greeting -n
out_is "hello
"
expect 0 "get --json" "$cli" get pool greeting --json
json_is "get --json"
out_has '"text": "hello"'
expect 1 "get of a key that is not there" "$cli" get pool nothing
err_has '^pmkv-cli: get: pool: key "nothing": the key is not in the store'
expect 0 "exists of a key" "$cli" exists pool greeting
out_is ""
expect 1 "exists of a key that is not there" "$cli" exists pool nothing
expect 1 "exists --json" "$cli" exists pool nothing --json
json_is "exists --json"
out_has '"exists": false'

expect 0 "put replaces" "$cli" put pool greeting "hello again"
expect 0 "get after put" "$cli" get pool greeting
out_is "hello again"
expect 0 "put of an empty value" "$cli" put pool nil ""
expect 0 "get of an empty value" "$cli" get pool nil
out_is ""
head -c 300000 /dev/urandom >random
expect 0 "put from standard input" sh -c '"$0" put pool random - <random' "$cli"
expect 0 "get of binary data" "$cli" get pool random
check "binary data comes back the same" cmp random "$out"
expect 0 "put of a key and value with dashes" "$cli" put pool -- --key --value
expect 0 "get of a key with dashes" "$cli" get pool -- --key
out_is "--value"
expect 0 "count" "$cli" count pool
out_is "4
"
expect 0 "count --json" "$cli" count pool --json
json_is "count --json"
out_has '"count": 4'

expect 0 "put --if-absent creates" "$cli" put pool lock mine --if-absent
expect 1 "put --if-absent does not replace" "$cli" put pool lock yours --if-absent
err_has 'key "lock": the pool or the key exists already (the key is there, with version '
version()
{
    "$cli" get pool "$1" --json | sed -n 's/^  "version": \([0-9]*\),*$/\1/p'
}
before=$(version lock)
check "get --json shows the version" test "${before:-0}" -gt 0
expect 0 "scan --json shows the same version" "$cli" scan pool --prefix lock --json
out_has "\"version\":$before[,}]"
expect 0 "put --if-version replaces" "$cli" put pool lock ours --if-version "$before"
check "the version has changed" test "$(version lock)" -gt "$before"
expect 1 "put --if-version of an old version" "$cli" put pool lock theirs --if-version "$before"
err_has 'key "lock": the key has another version (the key has version '
err_has '^  what to do: read the key again'
expect 0 "a refused put changes nothing" "$cli" get pool lock
out_is "ours"
expect 1 "put --if-version of a key that is not there" "$cli" put pool nothing x --if-version 1
expect 1 "del --if-version of an old version" "$cli" del pool lock --if-version "$before"
expect 0 "del --if-version" "$cli" del pool lock --if-version "$(version lock)"
expect 1 "it is gone" "$cli" exists pool lock
expect 2 "del --if-version 0" "$cli" del pool lock --if-version 0
expect 2 "a version that is no number" "$cli" put pool lock x --if-version 1k
err_has 'if-version: not a number below 2^64: 1k'
expect 2 "two conditions" "$cli" put pool lock x --if-version 1 --if-absent

expect 0 "put --hex" "$cli" put pool --hex 00fF0a binary
expect 0 "get --base64 of the same key" "$cli" get pool --base64 AP8K
out_is "binary"
expect 2 "a key that is not hexadecimal" "$cli" get pool --hex 0g
err_has 'the key is not hexadecimal'
expect 2 "a key of odd length" "$cli" get pool --hex 012
expect 2 "a key that is not base64" "$cli" get pool --base64 'AP8=='
expect 0 "get --json shows odd keys in base64" "$cli" get pool -x 00ff0a --json
json_is "get --json of an odd key"
out_has '"base64": "AP8K"'

expect 0 "del removes" "$cli" del pool nil
expect 1 "del of a key that is not there" "$cli" del pool nil
err_has 'key "nil": the key is not in the store'
expect 1 "a removed key is gone" "$cli" get pool nil

# --- scan -------------------------------------------------------------------------------------------

"$cli" create scanned -s 32M >/dev/null
for i in 1 2 3; do
    "$cli" put scanned "user/$i" "name $i"
done
"$cli" put scanned -x 610a62 "two lines"
"$cli" put scanned "grüße" "ß\\"
expect 0 "scan lists every key" "$cli" scan scanned
check "scan prints a line for a key" test "$(wc -l <"$out")" -eq 5
out_has '^user/2$'
out_has '^a\\nb$'
out_has '^grüße$'
expect 0 "scan --values" "$cli" scan scanned --values
out_has "^user/2	name 2$"
out_has 'ß\\\\$'
expect 0 "scan --prefix" "$cli" scan scanned --prefix user/
check "scan --prefix leaves the others out" test "$(wc -l <"$out")" -eq 3
expect 0 "scan --limit" "$cli" scan scanned --limit 2
check "scan --limit stops" test "$(wc -l <"$out")" -eq 2
expect 0 "scan --limit 0" "$cli" scan scanned --limit 0
out_is ""
expect 0 "scan --hex" "$cli" scan scanned --hex --prefix 610a
out_is "610a62
"
expect 0 "scan --base64" "$cli" scan scanned --base64 --prefix YQ==
out_is "YQpi
"
expect 0 "scan --null" "$cli" scan scanned --null --prefix a
check "scan --null is exact" test "$(tr '\0\n' '.,' <"$out")" = "a,b."
expect 2 "scan --null has no values" "$cli" scan scanned --null --values
expect 0 "scan --sort" "$cli" scan scanned --sort
out_is 'a\nb
grüße
user/1
user/2
user/3
'
expect 0 "scan --reverse" "$cli" scan scanned --reverse --limit 2 --values
out_is 'user/3	name 3
user/2	name 2
'
expect 0 "scan --sort with a prefix" "$cli" scan scanned -s -p user/ -l 1
out_is 'user/1
'
expect 0 "scan --reverse with a prefix" "$cli" scan scanned -r -p gr
out_is 'grüße
'
"$cli" put scanned -x ffff last
expect 0 "scan --reverse with the last prefix" "$cli" scan scanned -r -x -p ff
out_is 'ffff
'
expect 0 "scan --reverse with no such prefix" "$cli" scan scanned -r -p zzz
out_is ""
"$cli" del scanned -x ffff
expect 0 "scan --json" "$cli" scan scanned --json --values
json_is "scan --json"
out_has '"count": 5'
out_has '"text":"name 3"'
expect 0 "scan --json of nothing" "$cli" scan scanned --json --prefix zzz
json_is "scan --json of nothing"
expect 0 "scan --jsonl" "$cli" scan scanned --jsonl
check "scan --jsonl prints a line for a key" test "$(grep -c '^{.*"pmkv_schema":1.*}$' "$out")" -eq 5

# --- status, stats, map, lost, check, scrub, repair on a pool that is well --------------------------

expect 0 "status of a pool that is well" "$cli" status pool
out_has '^   pool: pool$'
out_has '^   uuid: [0-9a-f-]\{36\}$'
out_has '^ format: 6, parity 8+1'
out_has '^backend: .* survives '
out_has '^  state: ONLINE$'
out_has '^   scan: none yet'
out_has '^  space: 32.0MiB total, .* live ('
out_has '^   keys: 4$'
out_has '^ errors: No known data errors$'
expect 0 "status --json" "$cli" status pool --json
json_is "status --json"
out_has '"state": "ONLINE"'
out_has '"total_bytes": 33554432'

expect 0 "stats" "$cli" stats pool
out_has '^keys  *4  keys in the store$'
expect 0 "stats --json" "$cli" stats pool --json
json_is "stats --json"
out_has '"keys": 4'
expect 0 "stats --prometheus" "$cli" stats pool --prometheus
out_has '^# TYPE pmkv_keys gauge$'
out_has '^pmkv_keys{pool="pool"} 4$'

expect 0 "map" "$cli" map pool
out_has '^ *0 S.\{63\}$'
out_has '^  d data  '
out_has '^all ranges are ok$'
expect 0 "map --rows" "$cli" map pool --rows 2
check "map --rows" test "$(grep -c '^  *0x[0-9a-f]* .\{64\}$' "$out")" -eq 1
expect 2 "map --rows 0" "$cli" map pool --rows 0
expect 0 "map --json" "$cli" map pool --json
json_is "map --json"
out_has '"ranges": \[\]'
expect 0 "map --all --json" "$cli" map pool --all --json
json_is "map --all --json"
out_has '"kind": "superblock"'

expect 0 "lost" "$cli" lost pool
out_is "nothing is lost
"
expect 0 "lost --json" "$cli" lost pool --json
json_is "lost --json"
out_has '"count": 0'

remember pool
expect 0 "check" "$cli" check pool
out_has '^  pages: all good$'
expect 0 "check --json" "$cli" check pool --json
json_is "check --json"
out_has '"bad_pages": 0'
is_untouched pool check
expect 0 "scrub" "$cli" scrub pool
out_has '^  scrub: .* verified in .*, 0 bad pages found$'
expect 0 "scrub -w --rate" "$cli" scrub pool -w --rate 1G --json
json_is "scrub --json"
out_has '"state": "finished"'
expect 0 "status after a scrub" "$cli" status pool
out_has '^   scan: scrub repaired 0 of 0 bad pages in '
expect 0 "repair" "$cli" repair pool
out_has '^  pages: 0 repaired, 0 retired, 0 still bad$'
expect 0 "repair --json" "$cli" repair pool --json
json_is "repair --json"
expect 0 "pack" "$cli" pack pool
out_has '^  space: .* in use, .* before; .* live, .* free$'
expect 0 "pack --json" "$cli" pack pool --json
json_is "pack --json"

# --- read verbs write nothing -----------------------------------------------------------------------

remember pool
for verb in status stats count scan map lost dump check; do
    expect 0 "$verb reads" "$cli" "$verb" pool
    is_untouched pool "$verb"
done
"$cli" get pool greeting >/dev/null
is_untouched pool get

finish
