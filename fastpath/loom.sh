#!/bin/sh
# Runs every loom test of this crate: the model checker goes through the interleavings (and the weak-memory outcomes) of
# the shipped source of rings, bells, ready bits and locks. Each deliberate bug of src/fault.rs must be noticed.
#
#   --cfg loom       src/sync.rs hands out loom's atomics; the flag reaches every crate in the graph, hence ...
#   a target folder  ... of its own, so that the ordinary build is not thrown away each time
#   --release        a run is some hundred thousand executions
#   LOOM_MAX_...     not set: each test names its own bound of preemptions
#
# Arguments go to cargo test, for example: ./loom.sh --test loom_ring
set -eu
cd "$(dirname "$0")"
target=${LOOM_TARGET_DIR:-$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/loom}
if [ $# -eq 0 ]; then
    set -- --test 'loom_*'
fi
# lto and one codegen unit of the release profile cost minutes here and gain nothing.
CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    RUSTFLAGS="${RUSTFLAGS:-} --cfg loom" CARGO_TARGET_DIR="$target" \
    cargo test -p fastpath --release "$@"
