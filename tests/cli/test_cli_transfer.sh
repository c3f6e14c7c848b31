#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# SPDX-FileCopyrightText: 2026 The libpmkv authors
#
# usage: test_cli_transfer.sh PATH-OF-pmkv-cli
#
# load and dump: directories and text come back exactly as they went in.

. "$(dirname "$0")/lib_cli.sh"

# --- directories ------------------------------------------------------------------------------------

newline='
'
part=$(head -c 200 /dev/zero | tr '\0' d)
# same_tree: tree and back have the same files. Not diff -r, which cannot do long paths.
same_tree()
{
    for dir in tree back; do
        tar -C $dir --sort=name --mtime=@0 --owner=0 --group=0 --mode=0700 -cf $dir.tar . || return 1
    done
    cmp tree.tar back.tar
}

mkdir -p "tree/with spaces" tree/grüße "tree/new${newline}line" tree/empty
echo one >"tree/with spaces/a file"
echo two >tree/grüße/ß
echo three >"tree/new${newline}line/x${newline}y"
: >tree/nothing
head -c 3000000 /dev/urandom >tree/large
printf '\0\n\r\377' >tree/bytes
printf 'dashes' >tree/--help
for i in $(seq 1 500); do
    echo "$i" >"tree/with spaces/$i"
done
# A path of more than 4096 bytes: no system call takes it whole.
(
    cd tree || exit
    for i in $(seq 1 25); do
        mkdir "$part" && cd "$part" || exit
    done
    echo deep >bottom
)
deep=
for i in $(seq 1 25); do
    deep=$deep$part/
done
find tree -type f -printf . | wc -c >files

"$cli" create pool -s 64M >/dev/null
expect 0 "load --dir" "$cli" load pool --dir tree
out_has "^loaded $(cat files) records, "
expect 0 "count after load" "$cli" count pool
out_is "$(cat files)
"
expect 0 "a file's key is its path" "$cli" get pool "with spaces/a file"
out_is "one
"
expect 0 "a name with newlines" "$cli" get pool "new${newline}line/x${newline}y"
out_is "three
"
expect 0 "a path longer than PATH_MAX" "$cli" get pool "${deep}bottom"
out_is "deep
"
expect 0 "an empty file" "$cli" get pool nothing
out_is ""
expect 0 "dump --dir" "$cli" dump pool --dir back
out_has "^dumped $(cat files) records, "
rmdir tree/empty # no file, no key
check "all files come back the same" same_tree
expect 0 "dump --dir over what is there" "$cli" dump pool --dir back --json
json_is "dump --json"
out_has "\"records\": $(cat files)"
check "and they are the same again" same_tree
expect 0 "load --dir again replaces" "$cli" load pool --dir tree --json
json_is "load --json"
expect 0 "count after the second load" "$cli" count pool
out_is "$(cat files)
"

mkdir odd
echo here >odd/file
ln -s file odd/link
ln -s . odd/loop
mkfifo odd/fifo
"$cli" create odd-pool -s 32M >/dev/null
expect 0 "load skips what is no regular file" "$cli" load odd-pool --dir odd
out_has '^loaded 1 records, .*; skipped 3 that are not regular files$'
"$cli" create odd/pool -s 32M >/dev/null
expect 0 "load skips the pool itself" "$cli" load odd/pool --dir odd
err_has 'pool is the pool itself: skipped'
expect 0 "and takes the rest" "$cli" get odd/pool file

rm odd/pool
truncate -s 1073741825 odd/huge
expect 2 "load names a file that is too large" "$cli" load odd-pool --dir odd
err_has 'huge: 1073741825 bytes; a value holds at most'
expect 3 "load of a directory that is not there" "$cli" load odd-pool --dir nowhere
err_has 'cannot open the directory nowhere: No such file'
expect 2 "load --dir with --file" "$cli" load odd-pool --dir odd --file x

"$cli" create little -s 32M >/dev/null
mkdir many
for i in $(seq 1 50); do
    head -c 1000000 /dev/urandom >many/$i
done
expect 7 "load of more than the pool takes" "$cli" load little --dir many
err_has 'key "[0-9]*": the pool is full'
out_has '^loaded [0-9]* records, .*; 1 error; stopped, the rest was not loaded$'
expect 0 "what was loaded before is there" "$cli" check little

# --- keys that would lead out -----------------------------------------------------------------------

"$cli" create wild -s 32M >/dev/null
mkdir cage outside
ln -s ../outside cage/exit
for key in /absolute ../up a/../../up . .. a/. a//b a/ exit/through; do
    "$cli" put wild -- "$key" evil
done
"$cli" put wild -x 610062 nul
"$cli" put wild good/key fine
"$cli" dump wild --dir cage >"$out" 2>"$err"
code=$?
last="dump of keys that would lead out"
check "$last ends with 8 or 3, not $code" test $code -eq 8 -o $code -eq 3
err_has 'key "/absolute": not written, it is an absolute path'
err_has 'key "../up": not written, it has a path component ".."'
err_has 'key "a//b": not written, it has an empty path component'
err_has 'key "a/": not written, it has an empty path component'
err_has 'key "a\\x00b": not written, it has a NUL byte'
err_has 'exit/through: '
check "the good key was written" grep -q fine cage/good/key
check "nothing was written outside" test ! -e up -a ! -e cage/up -a ! -e /absolute
check "nothing went through a symbolic link" test ! -e outside/through
check "nothing else is in the cage" test "$(find cage -type f | wc -l)" -eq 1

"$cli" create clash -s 32M >/dev/null
"$cli" put clash a file
"$cli" put clash a/b "file below a file"
expect 3 "dump of a key that is a directory of another" "$cli" dump clash --dir clashed
err_has 'cannot '

# --- text -------------------------------------------------------------------------------------------

"$cli" create text -s 32M >/dev/null
"$cli" put text plain "a \\ value"
"$cli" put text -x 000a5c20ff bytes
"$cli" put text nil ""
"$cli" put text large - <tree/large
"$cli" scan text --jsonl --values | sed 's/"version":[0-9]*,//' | sort >before

expect 0 "dump as text" "$cli" dump text
cp "$out" dumped
check "the header is that of mdb_dump" test "$(head -n 4 dumped | tr '\n' ' ')" = \
    "VERSION=3 format=bytevalue type=btree HEADER=END "
check "the end is marked" test "$(tail -n 1 dumped)" = DATA=END
check "a key is hexadecimal" grep -q '^ 706c61696e$' dumped
expect 0 "dump --print" "$cli" dump text --print
cp "$out" printed
check "printable bytes are as they are" grep -q '^ a \\5c value$' printed
check "others are escaped" grep -q '^ \\00\\0a\\5c \\ff$' printed
expect 0 "dump --file" "$cli" dump text --file file
check "dump --file writes the same" cmp dumped file
expect 0 "dump --lmdb" "$cli" dump text --lmdb
out_has '^mapsize=[0-9]*$'
remember text
expect 2 "dump to the pool itself" "$cli" dump text --file text
is_untouched text "dump to itself"

for form in dumped printed; do
    "$cli" create "again-$form" -s 32M >/dev/null
    expect 0 "load of text ($form)" "$cli" load "again-$form" --file $form
    out_has '^loaded 4 records, '
    "$cli" scan "again-$form" --jsonl --values | sed 's/"version":[0-9]*,//' | sort >after
    check "text comes back the same ($form)" cmp before after
done
expect 0 "load from standard input" sh -c '"$0" load again-dumped <printed' "$cli"

# bad_dump SENTENCE LINE MESSAGE: what standard input says is refused with that line.
bad_dump()
{
    cat >bad
    expect 2 "$1" "$cli" load bad-pool --file bad
    err_has "line $2: $3"
}
"$cli" create bad-pool -s 32M >/dev/null
printf '' | bad_dump "an empty dump" 1 'the input is empty'
echo hello | bad_dump "something else" 1 'not a dump of version 3'
printf 'VERSION=2\n' | bad_dump "another version" 1 'not a dump of version 3'
printf 'VERSION=3\nformat=hex\n' | bad_dump "a strange format" 2 'the format is neither'
printf 'VERSION=3\ntype=recno\n' | bad_dump "a dump without keys" 2 'only dumps of type'
printf 'VERSION=3\nduplicates=1\n' | bad_dump "a dump with duplicates" 2 'the dump has several values under one'
printf 'VERSION=3\nHEADER\n' | bad_dump "a line that is no header" 2 'not a header line'
printf 'VERSION=3\n' | bad_dump "a header that ends" 2 'the input ends before HEADER=END'
head='VERSION=3\nformat=bytevalue\ntype=btree\nHEADER=END\n'
printf "$head" | bad_dump "no DATA=END" 5 'the input ends before DATA=END'
printf "$head 61\n" | bad_dump "a key that is the end" 6 'the input ends before DATA=END'
printf "$head 61\nDATA=END\n" | bad_dump "a key without a value" 6 'the key before this line has no'
printf "$head 61\n 6x\nDATA=END\n" | bad_dump "no hexadecimal" 6 'not pairs of hexadecimal'
printf "$head 616\n 61\nDATA=END\n" | bad_dump "half a byte" 5 'not pairs of hexadecimal'
printf "$head 61\n 62\n61\n 62\nDATA=END\n" | bad_dump "no space" 7 'expected a line that starts'
printf "$head 61\n 62" | bad_dump "an end in a line" 6 'the input ends in the middle of a line'
printf "$head \n 62\nDATA=END\n" | bad_dump "an empty key" 5 'key "": an argument is not valid'
printf "${head}DATA=END\nVERSION=3\n" | bad_dump "two databases" 6 'more follows after DATA=END'
printf 'VERSION=3\nformat=print\nHEADER=END\n a\\4\n' |
    bad_dump "a bad escape" 4 'a backslash without two hexadecimal digits'
printf 'VERSION=3\nformat=print\nHEADER=END\n a\\\\b\n c\nDATA=END\n' >escaped
expect 0 "a backslash may be doubled" "$cli" load bad-pool --file escaped
expect 0 "as db_dump does it" "$cli" get bad-pool 'a\b'
expect 3 "load of a file that is not there" "$cli" load bad-pool --file nowhere

db_load=$(command -v db_load || command -v db5.3_load)
db_dump=$(command -v db_dump || command -v db5.3_dump)
if [ -n "$db_load" ] && [ -n "$db_dump" ]; then
    expect 0 "db_load takes the dump" "$db_load" -f dumped berkeley
    "$db_dump" -p berkeley >berkeley.back
    "$cli" create from-berkeley -s 32M >/dev/null
    expect 0 "load takes what db_dump -p writes" "$cli" load from-berkeley --file berkeley.back
    "$cli" scan from-berkeley --jsonl --values | sed 's/"version":[0-9]*,//' | sort >after
    check "and that is the same" cmp before after
else
    skip "the round trip through Berkeley DB" "db_load is not installed"
fi

if command -v mdb_load >/dev/null 2>&1 && command -v mdb_dump >/dev/null 2>&1; then
    "$cli" dump text --lmdb >lmdb.txt
    mkdir lmdb
    expect 0 "mdb_load takes the dump" mdb_load -f lmdb.txt lmdb
    mdb_dump lmdb >lmdb.back 2>"$err"
    "$cli" create from-lmdb -s 32M >/dev/null
    expect 0 "load takes what mdb_dump writes" "$cli" load from-lmdb --file lmdb.back
    "$cli" scan from-lmdb --jsonl --values | sed 's/"version":[0-9]*,//' | sort >after
    check "and it is the same" cmp before after
    # mdb_dump 0.9 -p does not escape backslashes: not even mdb_load reads those.
    "$cli" create simple -s 32M >/dev/null
    "$cli" put simple -x 000a20ff more
    "$cli" dump simple >lmdb.txt
    mkdir lmdb-print
    mdb_load -f lmdb.txt lmdb-print && mdb_dump -p lmdb-print >lmdb.back
    expect 0 "load takes what mdb_dump -p writes" "$cli" load from-lmdb --file lmdb.back
    expect 0 "and it is right" "$cli" get from-lmdb -x 000a20ff
    out_is more
else
    skip "the round trip through LMDB" "mdb_load is not installed"
fi
finish
