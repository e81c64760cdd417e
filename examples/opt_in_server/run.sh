#!/usr/bin/env bash
# Runs the example: without the library, then (if libaxio.so has been built) linked, with a preloaded client.
#   run.sh [kernel|ring]      only one of the two
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
programs=$target/examples
library=$target/release/libaxio.so
server=
case ${1:-both} in
both | kernel | ring) ;;
*) echo "usage: run.sh [kernel|ring]" >&2; exit 2 ;;
esac

stop_server() {
    [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null; } || true
    server=
}
trap stop_server EXIT

# with_server PROGRAM COMMAND...: runs COMMAND with the port in place of the word PORT
with_server() {
    local program=$1 port
    shift
    coproc SERVER { exec "$program" 0; }
    server=$SERVER_PID
    read -r -t 60 port <&"${SERVER[0]}" || { echo "run.sh: $program did not say its port" >&2; exit 1; }
    local words=() word
    for word in "$@"; do
        if [ "$word" = PORT ]; then word=$port; fi
        words+=("$word")
    done
    "${words[@]}"
    stop_server
}

"$here/build.sh" "$programs" "$target/release"
if [ "${1:-kernel}" = kernel ]; then
    echo "--- not linked: one kernel, no Axio"
    with_server "$programs/opt_in_server_plain" python3 "$here/client.py" PORT kernel
fi
if [ "${1:-ring}" = ring ]; then
    if [ ! -e "$library" ]; then
        echo "run.sh: $library is missing: cargo build --release -p shim" >&2
        exit 1
    fi
    echo "--- linked server (opts in by ioctl), preloaded client"
    with_server "$programs/opt_in_server" env LD_PRELOAD="$library" python3 "$here/client.py" PORT ring
fi
echo "opt_in_server: all as it should be"
