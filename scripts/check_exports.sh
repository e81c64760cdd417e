#!/usr/bin/env bash
# What libaxio.so exports is exactly shim/exports.txt, the table of calls names the same, and the cases of compat-tests call
# each; what the library calls itself is never one of them (that would re-enter the hook).
#   scripts/check_exports.sh [LIBRARY]          --write adds what is new to exports.txt; who gives a name up takes it out
set -euo pipefail
cd "$(dirname "$0")/.."
write=
if [ "${1:-}" = --write ]; then write=1; shift; fi
library=${1:-${CARGO_TARGET_DIR:-target}/release/libaxio.so}
exported=$(nm -D --defined-only "$library" | awk '{print $3}' | LC_ALL=C sort)
if [ -n "$write" ]; then
    gone=$(LC_ALL=C comm -23 <(LC_ALL=C sort shim/exports.txt) <(printf '%s\n' "$exported"))
    if [ -n "$gone" ]; then echo "no longer exported, take out of shim/exports.txt what was given up: "$gone; exit 1; fi
    printf '%s\n' "$exported" >shim/exports.txt
fi
passed=0 failed=0
check() { if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1"; fi; }

status=0; diff <(LC_ALL=C sort shim/exports.txt) <(printf '%s\n' "$exported") || status=1
check "exports differ from shim/exports.txt (--write after checking each)" $status

# The one table: `target: name name;` lines in calls.rs, and the names that are jumps of their own.
table=$(sed -n 's/^ *axio_[A-Za-z0-9_]*: \(.*\);$/\1/p; s/^ *interpose_[a-z]*!(\(.*\));$/\1/p' shim/src/calls.rs | tr ' ' '\n' | grep . | LC_ALL=C sort)
status=0; diff <(printf '%s\n' "$table") <(printf '%s\n' "$exported") || status=1
check "the table in shim/src/calls.rs and the exports differ" $status

# And no name is there that nothing calls: the program of the oracle's cases, which lies beside the library, imports each.
cases=$(dirname "$library")/compat-case
imported=$(nm -D --undefined-only "$cases" | awk '{sub(/@.*/, "", $2); print $2}' | LC_ALL=C sort -u)
status=0; LC_ALL=C comm -13 <(printf '%s\n' "$imported") <(printf '%s\n' "$exported") | grep . && status=1
check "exported, and called by no case of compat-tests" $status

# What the library itself calls by a name that it exports would enter its own hook. `nm --undefined-only` cannot show
# that, for an exported name is not undefined; the relocations do.
relocated=$(readelf -rW "$library" | awk '$3 ~ /^R_/ && NF >= 5 { sub(/@.*/, "", $5); print $5 }' | LC_ALL=C sort -u)
reentrant=$(LC_ALL=C comm -12 <(printf '%s\n' "$relocated") <(printf '%s\n' "$exported"))
# Only what the standard library needs to report a panic, which never runs: process.rs puts a hook of ours in its place.
allowed='^(close|open64|read|syscall|write)$'
status=0; printf '%s\n' "$reentrant" | grep . | grep -vE "$allowed" && status=1
check "calls by name what it exports" $status

# And nobody else uses those: every function that refers to their places in the offset table is the standard library's.
callers() { # ADDRESS...: functions of the library that refer to one of these places
    local pattern=$(printf '|%s' "$@")
    objdump -dC --no-show-raw-insn "$library" | awk -v pattern="# (${pattern#|}) <" '
        /^[0-9a-f]+ <.*>:$/ { name = $0; sub(/^[0-9a-f]+ </, "", name); sub(/>:$/, "", name) }
        $0 ~ pattern { print name }' | LC_ALL=C sort -u
}
places=$(readelf -rW "$library" | awk -v names="$reentrant" '
    BEGIN { count = split(names, list, "\n"); for (i = 1; i <= count; i++) wanted[list[i]] = 1 }
    $3 ~ /^R_/ && NF >= 5 { sub(/@.*/, "", $5); if ($5 in wanted) { sub(/^0+/, "", $1); print $1 } }')
own='^(<?std::(backtrace_rs::symbolize|panicking|sys::(fs::unix|stdio::unix|sync)|io::default_(write_fmt|read_to_end))|core::ptr::drop_in_place::<std::sys::backtrace|__rustc::__rust_(drop_panic|foreign_exception))'
status=0
if [ -n "$places" ]; then
    found=$(callers $places)
    # As many relocations without any caller would mean that this looks in the wrong way.
    [ -n "$found" ] || { status=1; echo "nobody refers to $(echo $places), which cannot be"; }
    printf '%s\n' "$found" | grep . | grep -vE "$own" && status=1
fi
check "somebody but the standard library's report of a panic calls by name what the library exports" $status
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
