#!/bin/sh
# Builds the fuzz targets and runs each for some seconds: ./run.sh [seconds] [target...]
#
# What cargo-fuzz would do, without cargo-fuzz: a nightly compiler (-Z sanitizer), coverage for libFuzzer, AddressSanitizer
# against reads outside of a buffer. A finding is left in fuzz/artifacts; give the file to the program to see it again.
set -eu
cd "$(dirname "$0")"
seconds=${1:-30}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- ring offer
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "fuzz/run.sh: needs a nightly toolchain (rustup toolchain install nightly)" >&2
    exit 2
fi
triple=$(rustc +nightly -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
# sanitizer-coverage...: what libFuzzer steers by.  --target: keeps the sanitizer out of build scripts.
RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares -Zsanitizer=address -Cdebug-assertions" \
    CARGO_TARGET_DIR="$target" cargo +nightly build --release --target "$triple"
for name; do
    mkdir -p "corpus/$name" "artifacts/$name"
    # leaks: not what is looked for here, and the detector needs ptrace.
    "$target/$triple/release/$name" -max_total_time="$seconds" -max_len=4096 -detect_leaks=0 -print_final_stats=1 \
        -artifact_prefix="artifacts/$name/" "corpus/$name"
done
