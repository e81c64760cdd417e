#!/usr/bin/env bash
# Builds the example twice from one source: opt_in_server_plain, which has never heard of libaxio.so, and opt_in_server,
# linked with it (only where the library has been built: cargo build --release -p shim).
#   build.sh [DIRECTORY for the programs] [DIRECTORY of libaxio.so]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
programs=${1:-${CARGO_TARGET_DIR:-$root/target}/examples}
library=${2:-${CARGO_TARGET_DIR:-$root/target}/release}
mkdir -p "$programs"
compile() { "${CC:-cc}" -std=gnu11 -O2 -Wall -Wextra -Werror -pthread -I "$root/kmod-interface/include" "$here/opt_in_server.c" "$@"; }
compile -o "$programs/opt_in_server_plain"
echo "built $programs/opt_in_server_plain"
if [ -e "$library/libaxio.so" ]; then
    # --no-as-needed: the only symbol the program takes from the library, ioctl, exists in the C library, too.
    compile -o "$programs/opt_in_server" -L "$library" -Wl,--no-as-needed -laxio -Wl,-rpath,"$library"
    echo "built $programs/opt_in_server, linked with $library/libaxio.so"
fi
