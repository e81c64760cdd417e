#!/usr/bin/env bash
# Instructions per call through the whole library, counted by callgrind: the same on a busy machine and on an idle one.
#
#   ./instructions.sh [--library FILE]          prints one line a call
#   ./instructions.sh --check [--library FILE]  and fails when one exceeds its bound below
#
# "on the ring": all of a call. "turn" is a request and its answer at both ends (two sends, two receives), "watched" a
# send, the epoll_wait among 64 connections that finds it, and the receive; "epoll_wait_one_of_64" is that wait alone, and
# among 256 it must not cost more than some words of ready bits: "of_256_above_64". Each of these waits has the look at the
# kernel's set in it that is due every 50 us, so that the count does not depend on how fast callgrind is. "added": connect, one request, close under the default
# rules, at both ends together; no system call is added. "left alone": what is added to a call on a descriptor that is not
# managed, 20 ns at most; calls that return a number are counted with its close. "by rule": what is added to a call on a
# TCP connection that the rule "kernel * * *:*" leaves to the kernel. A hundredth of a round trip of some 13 us are 130 ns,
# in which go 400 instructions: one end's send, wait and recv are 250 with epoll_wait and 90 with poll; 45 each way without
# a wait. Connect, request, close take both ends 40 us and more, a hundredth of which is 1200 instructions.
set -euo pipefail
cd "$(dirname "$0")/.."
times=1000 # a multiple of a portion
# The bounds leave nearly a tenth, or some instructions where that is less than one, for another compiler or C library; a
# change that needs more says why.
bounds="send:357 recv:351 turn:1455 recv_nothing:734 watched:2795 epoll_wait_nothing:824 connect_close:2945
epoll_wait_one_of_64:1850 epoll_wait_one_of_256:1975 of_256_above_64:135"
plain_bound=78
ruled_bounds="send:29 recv:28 write:28 read:29 poll:51 poll_of_64:50 epoll_wait:220 connect_close:510"
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
count bare_ruled ruled
LD_PRELOAD=$library AXIO_RULES='kernel * * *:*' AXIO_REPORT=$folder/ruled_report count ruled ruled
[ ! -e "$folder/ruled_report" ] || { echo "instructions.sh: the rule was not obeyed" >&2; exit 1; }
grep -q '"ring_bytes_out":[0-9]\{6\}' "$folder/report" || { echo "instructions.sh: nothing went by ring" >&2; exit 1; }

awk -v bounds="$bounds" -v ruled_bounds="$ruled_bounds" -v plain_bound="$plain_bound" -v check="$check" '
    function read_bounds(text, into,    each, parts, part, word) {
        parts = split(text, each, " ")
        for (part = 1; part <= parts; part++) { split(each[part], word, ":"); into[word[1]] = word[2] }
    }
    BEGIN { read_bounds(bounds, bound); read_bounds(ruled_bounds, ruled_bound) }
    function show(kind, call, count, most) {
        printf "%-12s %-22s %6d instructions (bound %d)\n", kind, call, count, most
        shown++
        if (count > most) { over++ }
    }
    FILENAME ~ /bare(_ruled)?.counts$/ { bare[$1] = $2; next }
    FILENAME ~ /\/ruled.counts$/ {
        call = substr($1, 7)
        if (!(call in ruled_bound)) { print "instructions.sh: no bound for " call; exit 1 }
        show("by rule", call, $2 - bare[$1], ruled_bound[call])
        next
    }
    FILENAME ~ /rare.counts$/ {
        if ($1 ~ /^plain_/) show("left alone", substr($1, 7), $2 - bare[$1], plain_bound)
        else { show("added", $1, $2 - bare[$1], bound[$1]) }
        next
    }
    { show("on the ring", $1, $2, bound[$1]); on_ring[$1] = $2 }
    END {
        above = "of_256_above_64"
        show("on the ring", above, on_ring["epoll_wait_one_of_256"] - on_ring["epoll_wait_one_of_64"], bound[above])
        if (shown < 46) { print "instructions.sh: calls are missing"; exit 1 }
        exit (check && over > 0)
    }
' "$folder/bare.counts" "$folder/rare.counts" "$folder/ring.counts" "$folder/bare_ruled.counts" "$folder/ruled.counts"
