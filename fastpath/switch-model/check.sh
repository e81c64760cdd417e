#!/bin/sh
# Explores every configuration of the switch's model and every deliberate bug, one after another, on one core.
#   check.sh          all of it
#   check.sh --quick  what fits into five minutes
# Prints a table and "N passed, N failed"; the exit status is 0 only if nothing failed.
set -eu
cd "$(dirname "$0")"
cargo build --quiet --release --package switch-model
program=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/switch-model
# No run may take more than 8 GiB.
ulimit -v 8388608
exec nice -n 10 "$program" check "$@"
