#!/usr/bin/env bash
# Instructions per call through the whole library, counted by callgrind: the same on a busy machine and on an idle one.
#
#   ./instructions.sh [--library FILE]          prints one line a call
#   ./instructions.sh --check [--library FILE]  and fails when one exceeds its bound below
#
# "on the ring": all of a call. "turn" is a request and its answer at both ends (two sends, two receives), "watched" a
# send, the epoll_wait among 64 connections that finds it, and the receive; "epoll_wait_one_of_64" is that wait alone, and
# among 256 it must not cost more than some words of ready bits. "added": connect, one request, close under the default
# rules, at both ends together; no system call is added. "left alone": what is added to a call on a descriptor that is not
# managed, 20 ns at most; calls that return a number are counted with its close.
set -euo pipefail
cd "$(dirname "$0")/.."
times=1000 # a multiple of a portion
# The bounds leave a tenth for a new compiler; a change that needs more says why.
bounds="send:365 recv:335 turn:1425 recv_nothing:665 watched:2560 epoll_wait_nothing:770 connect_close:4800
epoll_wait_one_of_64:1680 epoll_wait_one_of_256:1780"
plain_bound=72
library=${CARGO_TARGET_DIR:-../target}/release/libaxio.so
check=
while [ $# -gt 0 ]; do
    case $1 in
    --check) check=1 ;;
    --library) library=$2; shift ;;
    *) sed -n '2,/^set/p' "$0" | sed -n 's/^# \{0,1\}//p'; exit 2 ;;
    esac
    shift
done
for tool in valgrind callgrind_annotate gcc; do
    command -v "$tool" >/dev/null || { echo "instructions.sh: needs $tool" >&2; exit 2; }
done
[ -f "$library" ] || { echo "instructions.sh: no $library; cargo build --release makes it" >&2; exit 2; }
library=$(realpath "$library")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
gcc -O1 -Wall -Wno-unused-result -o "$folder/instructions" benches/instructions.c

# count NAME CALL...: prints "call instructions" for each measured function.
count() {
    name=$1
    shift
    valgrind --tool=callgrind --callgrind-out-file="$folder/$name.callgrind" "$folder/instructions" "$times" "$@" \
        >"$folder/$name.log" 2>&1 || { cat "$folder/$name.log" >&2; exit 1; }
    callgrind_annotate --inclusive=yes --threshold=100 "$folder/$name.callgrind" 2>/dev/null |
        sed -n 's/^ *\([0-9,]*\) .*:measured_\([a-z_0-9]*\).*/\2 \1/p' | tr -d , |
        awk -v times="$times" '{ printf "%s %d\n", $1, $2 / times }' | sort -u >"$folder/$name.counts"
}
export AXIO_REPORT=$folder/report
count bare connect_close plain
LD_PRELOAD=$library count rare connect_close plain
LD_PRELOAD=$library AXIO_UPGRADE=eager count ring ring epoll
grep -q '"ring_bytes_out":[0-9]\{6\}' "$folder/report" || { echo "instructions.sh: nothing went by ring" >&2; exit 1; }

awk -v bounds="$bounds" -v plain_bound="$plain_bound" -v check="$check" '
    BEGIN {
        parts = split(bounds, each, " ")
        for (part = 1; part <= parts; part++) { split(each[part], word, ":"); bound[word[1]] = word[2] }
    }
    function show(kind, call, count, most) {
        printf "%-12s %-22s %6d instructions (bound %d)\n", kind, call, count, most
        shown++
        if (count > most) { over++ }
    }
    FILENAME ~ /bare.counts$/ { bare[$1] = $2; next }
    FILENAME ~ /rare.counts$/ {
        if ($1 ~ /^plain_/) show("left alone", substr($1, 7), $2 - bare[$1], plain_bound)
        else { show("added", $1, $2 - bare[$1], bound[$1]) }
        next
    }
    { show("on the ring", $1, $2, bound[$1]) }
    END { if (shown < 30) { print "instructions.sh: calls are missing"; exit 1 } exit (check && over > 0) }
' "$folder/bare.counts" "$folder/rare.counts" "$folder/ring.counts"
