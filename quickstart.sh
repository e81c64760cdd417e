#!/usr/bin/env bash
# From a fresh Debian with Rust to a number: installs what is missing, builds, runs redis and a ping-pong with and without
# Axio in alternation, and prints a table with the ratio and the proof that the bytes went by ring. Some five minutes,
# most of them building.
#   ./quickstart.sh [options of `axio bench`]
set -euo pipefail
cd "$(dirname "$0")"
say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }

if ! command -v cargo >/dev/null; then
    [ -x "$HOME/.cargo/bin/cargo" ] || { echo "quickstart.sh: cargo is missing; see https://rustup.rs" >&2; exit 2; }
    PATH=$HOME/.cargo/bin:$PATH
fi
say "[1/3] packages: a C compiler, redis-server, redis-benchmark"
scripts/install_packages.sh gcc libc6-dev redis-server redis-tools
say "[2/3] building libaxio.so and the command axio (release; a few minutes the first time)"
cargo build --release -p shim
cargo build --release -p cli
say "[3/3] redis, unmodified, with and without Axio in alternation"
if [ $# -eq 0 ]; then set -- --only redis-get-1,redis-get-50,ping-pong; fi
exec "${CARGO_TARGET_DIR:-target}/release/axio" bench "$@"
