#!/usr/bin/env bash
# redis-server and redis-benchmark as Debian ships them, with and without Axio in alternation: a table with the ratio, and
# the proof that the bytes went by ring. Fails without that proof.
#   run.sh [options of `axio bench`]        for example: run.sh --pairs 9 --json result.json
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
axio=${CARGO_TARGET_DIR:-$root/target}/release/axio
[ -x "$axio" ] || { echo "run.sh: $axio is missing: cargo build --release" >&2; exit 1; }
exec "$axio" bench --only redis-get-1,redis-get-50 "$@"
