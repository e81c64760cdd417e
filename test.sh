#!/usr/bin/env bash
# Installs what the tests need and runs every test of the project. The one command for "is everything all right?".
#
#   ./test.sh                     all stages, in order; goes on after a failed one
#   ./test.sh STAGE...            only these
#   ./test.sh --list              names and what they are about
#
# Each stage's output is in target/test-logs/STAGE.log. The last line is "N passed, N failed"; the exit status is 1 when
# anything failed. Some tests need root, to become another user; without it they are counted as skipped.
set -euo pipefail
cd "$(dirname "$0")"
target=${CARGO_TARGET_DIR:-$PWD/target}
logs=$target/test-logs
# What the caller's shell carries must not change what runs.
unset TEST_SEEDS PATH_SEEDS SHIM_LIBRARY ${!AXIO_*} ${!LOOM_*}

# A stage that has not ended by then hangs; the programs have watchdogs of their own and should have ended it before.
hang_after=45m

packages=(gcc g++ libc6-dev make procps python3 curl iproute2 redis-server redis-tools nginx-light memcached libmemcached-tools wrk socat valgrind)

# name | what it shows | command
stages=(
    "packages|what the tests need is installed|scripts/install_packages.sh ${packages[*]}"
    "format|rustfmt has nothing to change|cargo fmt --all --check"
    "lint|clippy has nothing to say, with the features of the shipped build and with those of the test builds|cargo clippy --workspace --all-targets -- -D warnings && cargo clippy -p shim --all-targets --features step-hooks,readiness-faults,without-knock -- -D warnings && cargo clippy -p fastpath --all-targets --features step-hooks,test-paths -- -D warnings"
    "build|the release build, and the library's crate alone, without features that others switch on|cargo check -p shim && cargo build --release"
    "unit|unit and integration tests of every crate, C headers and documents against constants, the paths' one suite|status=0; cargo test --workspace --no-fail-fast || status=1; cargo test -p fastpath --no-fail-fast --features test-paths,step-hooks --test path_conformance --test family_deaths || status=1; exit \$status"
    "exports|the library exports its one table of calls and re-enters none of them|scripts/check_exports.sh $target/release/libaxio.so"
    "without_knock|the attacks on discovery succeed in a build without the knock, so their failure elsewhere means something|cargo test -p shim --lib --features without-knock discovery && cargo test -p shim --test trust --features without-knock strangers"
    "readiness_faults|waits with one rule removed: the stress of epoll, poll and select finds each|cargo test -p shim --test readiness_stress --features readiness-faults controls"
    "loom|rings, bells, ready bits and locks under the model checker, on the shipped source|fastpath/loom.sh"
    "model|the switch: every configuration and every deliberate bug that fits into some minutes|fastpath/switch-model/check.sh --quick"
    "instructions|the hot calls have not become longer|fastpath/benches/instructions.sh --check"
    "cost|calls through the whole library have not become longer: on the ring, left alone, and connect, one request, close|shim/benches/instructions.sh --check"
    "apps|redis, memcached, nginx, Python and socat, unmodified, under the library: the answers of the bare kernel, and the bytes by ring where connections live long enough|$target/release/app_check --quick --library $target/release/libaxio.so"
    "stream_bare|the stream integrity test itself: a few seeds on the bare kernel|$target/release/stream_integrity --seeds 0..4"
    "stream|streams between two processes, over a thousand seeds and 1 GiB each way, switched at random bytes: nothing lost, doubled or re-ordered, no hang|$target/release/stream_integrity --all --jobs 4 --library $target/release/libaxio.so"
    "many_bare|the many-connections test itself, on the bare kernel|$target/release/many_connections --quick"
    "many|5000 connections, 500 of them busy, under the library: all work, and the busy ones' bytes go by ring|$target/release/many_connections --library $target/release/libaxio.so"
    "deaths_bare|the peer death test itself: kills at random moments on the bare kernel|$target/release/peer_death --quick"
    "deaths|SIGKILL of either end at every labelled step of the switch: the survivor gets what was published, then what TCP shows|cargo build --release -p shim --features step-hooks --target-dir $target/step-hooks && $target/release/peer_death --quick --library $target/step-hooks/release/libaxio.so"
    "oracle|every case of every call under the library, in each mode and on each kind of connection: the same answers as bare Linux, and the bytes by ring|$target/release/compat-tests --library $target/release/libaxio.so"
    "oracle_proves|without a ring every case of the oracle fails: under an empty library, and under a rule that keeps all on the kernel|$target/release/compat-tests --prove --library $target/release/libaxio.so"
    "example_opt_in|the opt-in server: the kernel's own answers without the library; accelerated, released, accelerated again with it|examples/opt_in_server/run.sh"
    "bench|every workload of axio bench runs, and by ring (floors are for a quiet machine: axio bench --floors)|$target/release/axio bench --quick --complete"
    "example_redis|redis and its benchmark, unmodified: the bytes go by ring|examples/redis/run.sh --quick --pairs 1"
)

left_out=()
# Coverage-guided fuzzing needs a nightly compiler, which nothing else here does.
if cargo +nightly --version >/dev/null 2>&1; then
    stages+=("fuzz|a lying far side of the ring and offers from strangers, some seconds each|fastpath/fuzz/run.sh 20")
elif [ $# -eq 0 ]; then
    left_out+=("fuzz: it needs a nightly compiler (rustup toolchain install nightly)")
fi

usage() { sed -n '2,/^set/p' "$0" | sed -n 's/^# \{0,1\}//p'; }
case ${1:-} in
-h | --help) usage; exit 0 ;;
--list)
    for stage in "${stages[@]}"; do IFS='|' read -r name sentence _ <<<"$stage"; printf '%-16s %s\n' "$name" "$sentence"; done
    exit 0 ;;
esac
chosen=()
for stage in "${stages[@]}"; do
    name=${stage%%|*}
    if [ $# -eq 0 ] || [[ " $* " == *" $name "* ]]; then chosen+=("$stage"); fi
done
if [ ${#chosen[@]} -eq 0 ] || { [ $# -gt 0 ] && [ ${#chosen[@]} -ne $# ]; }; then
    echo "test.sh: no such stage among: $*; ./test.sh --list has them" >&2
    exit 2
fi
if ! command -v cargo >/dev/null; then
    [ -x "$HOME/.cargo/bin/cargo" ] || { echo "test.sh: cargo is missing; see https://rustup.rs" >&2; exit 2; }
    PATH=$HOME/.cargo/bin:$PATH
fi

say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }

# count_results LOG STATUS: prints "passed failed skipped". Cargo's summaries and lines "N passed, N failed" count one by
# one, a test program that died before its summary counts as one failure; a stage without either counts as one test. A
# filter that leaves nothing of a test program, or a stage with summaries and no test, is a failure: a renamed test must
# not turn its stage into an empty one. Tests that could not be carried through say SKIPPED; for root there is no excuse.
count_results() {
    awk -v status="$2" -v file="$1" -v user="$(id -u)" '
        /^test result: FAILED/ { programs_told++ }
        /^error: [0-9]+ targets? failed:/ { programs_failed += $2 }
        /^test result: / {
            passed += $4; failed += $6; skipped += $8; seen = 1
            if ($4 + $6 == 0 && $12 > 0) { empty++; complaint = complaint "test.sh: a filter left no test: " $0 "\n" }
        }
        /^[0-9]+ passed, [0-9]+ failed/ { passed += $1; failed += $3; seen = 1 }
        /SKIPPED: / { skipped++ }
        END {
            if (programs_failed > programs_told) failed += programs_failed - programs_told
            if (!seen) { passed = (status == 0); failed = (status != 0) }
            else if (status != 0 && failed == 0) failed = 1
            else if (passed + failed + empty == 0) { empty = 1; complaint = "test.sh: no test ran\n" }
            if (user == 0 && skipped > 0) { failed += skipped; complaint = complaint "test.sh: skipped, although this is root\n" }
            printf "%s", complaint >>file
            printf "%d %d %d\n", passed, failed + empty, skipped
        }' "$1"
}

mkdir -p "$logs"
# Something to read from that never says anything: a pause without a child process.
exec {never}<> <(:)
heartbeat=
running=
trap 'for process in $heartbeat $running; do kill "$process" 2>/dev/null || true; done' EXIT
passed_in_all=0
failed_in_all=0
skipped_in_all=0
table=
number=0
for stage in "${chosen[@]}"; do
    IFS='|' read -r name sentence command <<<"$stage"
    number=$((number + 1))
    log=$logs/$name.log
    say "[$number/${#chosen[@]}] $name: $sentence"
    started=$SECONDS
    (
        trap - EXIT
        while ! read -r -t 60 -u "$never"; do
            say "        $name: $((SECONDS - started)) s; $(tail -n 1 "$log" 2>/dev/null | cut -c 1-100)"
        done
    ) &
    heartbeat=$!
    status=0
    timeout --kill-after=30 "$hang_after" bash -euo pipefail -c "$command" >"$log" 2>&1 </dev/null &
    running=$!
    wait "$running" || status=$?
    running=
    kill "$heartbeat" 2>/dev/null || true
    wait "$heartbeat" 2>/dev/null || true
    heartbeat=
    if [ $status -eq 124 ]; then echo "test.sh: ended after $hang_after" >>"$log"; fi
    read -r passed failed skipped < <(count_results "$log" $status)
    took=$((SECONDS - started))
    passed_in_all=$((passed_in_all + passed))
    failed_in_all=$((failed_in_all + failed))
    skipped_in_all=$((skipped_in_all + skipped))
    if [ "$failed" -eq 0 ]; then verdict=ok; else verdict=FAILED; fi
    table+=$(printf '%-18s %-7s %8d %8d %8d %7d s  %s' "$name" "$verdict" "$passed" "$failed" "$skipped" "$took" "$log")$'\n'
    say "        $verdict: $passed passed, $failed failed, $skipped skipped, $took s"
    if [ "$skipped" -ne 0 ]; then sed -n 's/.*SKIPPED: /          | skipped: /p' "$log"; fi
    if [ "$failed" -ne 0 ]; then
        # Where it failed, and what a panic said, may stand long before the end.
        { awk '/panicked at/ { left = 8 }
              /FAILED|^error/ || left > 0 { print NR ":" $0; left--; if (++told == 80) exit }' "$log" || true
          echo ...; tail -n 30 "$log"; } | sed 's/^/          | /'
    fi
done

printf '\n%-18s %-7s %8s %8s %8s %9s  %s\n%s\n' stage "" passed failed skipped time log "$table"
for absent in "${left_out[@]}"; do echo "left out: $absent"; done
if [ "$skipped_in_all" -ne 0 ]; then echo "skipped: $skipped_in_all (what needs root: sudo ./test.sh)"; fi
echo "$passed_in_all passed, $failed_in_all failed"
[ "$failed_in_all" -eq 0 ]
