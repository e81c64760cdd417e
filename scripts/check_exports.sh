#!/usr/bin/env bash
# What libaxio.so exports is exactly shim/exports.txt, and the table of calls names the same; what it imports is never a
# call that it interposes for itself to be called through (that would re-enter the hook).
#   scripts/check_exports.sh [LIBRARY]          --write brings exports.txt up to date
set -euo pipefail
cd "$(dirname "$0")/.."
write=
if [ "${1:-}" = --write ]; then write=1; shift; fi
library=${1:-${CARGO_TARGET_DIR:-target}/release/libaxio.so}
exported=$(nm -D --defined-only "$library" | awk '{print $3}' | LC_ALL=C sort)
if [ -n "$write" ]; then printf '%s\n' "$exported" >shim/exports.txt; fi
passed=0 failed=0
check() { if [ "$2" -eq 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $1"; fi; }

status=0; diff <(LC_ALL=C sort shim/exports.txt) <(printf '%s\n' "$exported") || status=1
check "exports differ from shim/exports.txt (--write after checking each)" $status

# The one table: `target: name name;` lines in calls.rs, and the names that are jumps of their own.
table=$(sed -n 's/^ *axio_[A-Za-z0-9_]*: \(.*\);$/\1/p; s/^ *interpose_[a-z]*!(\(.*\));$/\1/p' shim/src/calls.rs | tr ' ' '\n' | grep . | LC_ALL=C sort)
status=0; diff <(printf '%s\n' "$table") <(printf '%s\n' "$exported") || status=1
check "the table in shim/src/calls.rs and the exports differ" $status

# Moving bytes, waiting and closing go to the kernel by raw system calls or through the next definition, never by name.
forbidden='^(read|write|readv|writev|send|sendto|sendmsg|recv|recvfrom|recvmsg|connect|accept|accept4|shutdown|poll|ppoll|select|pselect|epoll_.*|dup|dup2|dup3|splice|sendfile|setsockopt|getsockopt)$'
imported=$(nm -D --undefined-only "$library" | awk '{print $2}' | sed 's/@.*//' | LC_ALL=C sort -u)
reentrant=$(printf '%s\n' "$imported" | grep -E "$forbidden" || true)
allowed='^(read|write|writev|poll)$' # Rust's standard library, on paths that never run here (panic output, its start-up)
status=0; [ -z "$(printf '%s\n' "$reentrant" | grep -vE "$allowed" | grep .)" ] || { status=1; printf '%s\n' "$reentrant"; }
check "imports calls that it interposes" $status
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
