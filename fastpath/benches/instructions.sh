#!/bin/sh
# Instructions per hot call, counted by callgrind: the same on a busy machine and on an idle one.
#
#   ./instructions.sh           prints one line a call
#   ./instructions.sh --check   and fails when one exceeds its bound below
#
# Each figure is the difference between two runs of the same program with different counts, so start-up and set-up cancel.
# A locked instruction counts as one although it takes some 5 ns: send, receive and lock have one each, a made-ready bit
# and its answer have two each.
set -eu
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "instructions.sh: needs valgrind" >&2; exit 2; }
few=1000
many=11000
# The bounds leave a tenth for a new compiler; a change that needs more says why.
bounds="send:76 receive:79 lock:8 ready:147 wait:82"

program=$(cargo bench -p fastpath --bench instructions --no-run 2>&1 | tee /dev/stderr | sed -n 's/.*Executable .*(\(.*\))$/\1/p')
[ -x "$program" ] || program=$(cd .. && pwd)/$program

count() {
    # A program that died has no figure, though callgrind would print one.
    report=$(valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1) || return 0
    echo "$report" | sed -n 's/.*Collected : \([0-9]*\).*/\1/p'
}

status=0
for bound in $bounds; do
    call=${bound%:*}
    bound=${bound#*:}
    least=$(count "$call" $few)
    most=$(count "$call" $many)
    if [ -z "$least" ] || [ -z "$most" ] || [ "$most" -le "$least" ]; then
        echo "$call: not counted ($least, $most)" >&2
        exit 1
    fi
    each=$(((most - least) / (many - few)))
    echo "$call: $each instructions (bound $bound)"
    if [ "${1:-}" = --check ] && [ "$each" -gt "$bound" ]; then
        status=1
    fi
done
exit $status
