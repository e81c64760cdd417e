#!/usr/bin/env bash
# redis-server and redis-benchmark as Debian ships them, with and without Axio in alternation; prints a table and the proof.
#   run.sh [--pairs N] [--connections "1 50"] [--seconds N] [--command get|set] [--port N] [--library FILE] [--json FILE]
# Ends with 1 when the runs with Axio did not use the fast path.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)

pairs=3
connections="1 50"
seconds=2
command=get
port=16379
json=
library=${CARGO_TARGET_DIR:-$root/target}/release/libaxio.so
usage() { sed -n '2,4p' "$0" | sed 's/^# \?//'; }
while [ $# -gt 0 ]; do
    case $1 in
    --pairs) pairs=$2 ;;
    --connections) connections=$2 ;;
    --seconds) seconds=$2 ;;
    --command) command=$2 ;;
    --port) port=$2 ;;
    --library) library=$2 ;;
    --json) json=$2 ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
    shift 2
done
for program in redis-server redis-benchmark redis-cli; do
    command -v "$program" >/dev/null || { echo "run.sh: $program is missing: apt-get install redis-server redis-tools" >&2; exit 1; }
done
[ -e "$library" ] || { echo "run.sh: $library is missing: cargo build --release -p shim" >&2; exit 1; }

work=$(mktemp -d)
server=
stop_server() {
    [ -n "$server" ] || return 0
    redis-cli -p "$port" shutdown nosave >/dev/null 2>&1 || kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    server=
}
trap 'stop_server; rm -rf "$work"' EXIT
say() { printf '%s  %s\n' "$(date +%H:%M:%S)" "$*"; }

# with_axio FILE COMMAND...: runs COMMAND under Axio, its report goes to FILE
with_axio() { local report=$1; shift; env LD_PRELOAD="$library${LD_PRELOAD:+:$LD_PRELOAD}" AXIO_REPORT="$report" "$@"; }
plain() { shift; "$@"; }

# one_run plain|with_axio CONNECTIONS REQUESTS: prints "requests_per_second p50_ms"
one_run() {
    local how=$1 clients=$2 requests=$3
    $how "$work/server.report" redis-server --port "$port" --bind 127.0.0.1 --save "" --appendonly no \
        --dir "$work" --loglevel warning >"$work/server.log" 2>&1 &
    server=$!
    local tries=0
    until redis-cli -p "$port" ping >/dev/null 2>&1; do
        tries=$((tries + 1))
        if [ $tries -ge 100 ] || ! kill -0 "$server" 2>/dev/null; then
            echo "run.sh: redis-server did not come up:" >&2
            cat "$work/server.log" >&2
            exit 1
        fi
        sleep 0.05
    done
    redis-cli -p "$port" set key:__rand_int__ xxx >/dev/null
    $how "$work/client.report" timeout 300 redis-benchmark -p "$port" -c "$clients" -n "$requests" -t "$command" --csv \
        >"$work/csv" 2>"$work/client.log" || { cat "$work/client.log" >&2; exit 1; }
    stop_server
    awk -F'","' 'NR == 2 { print $2, $5 }' "$work/csv"
}

# field NAME FILE: sum of a number in the reports
field() { { grep -o "\"$1\":[0-9]*" "$2" 2>/dev/null || true; } | awk -F: '{ sum += $2 } END { printf "%d", sum }'; }

: >"$work/results"
for clients in $connections; do
    say "redis $command, $clients connections: how many requests take $seconds s?"
    read -r rate _ < <(one_run plain "$clients" 5000)
    requests=$(awk -v rate="$rate" -v seconds="$seconds" 'BEGIN { n = int(rate * seconds); print (n < 2000) ? 2000 : n }')
    for pair in $(seq "$pairs"); do
        : >"$work/server.report"
        read -r kernel kernel_p50 < <(one_run plain "$clients" "$requests")
        read -r axio axio_p50 < <(one_run with_axio "$clients" "$requests")
        ring=$(($(field ring_bytes_in "$work/server.report") + $(field ring_bytes_out "$work/server.report")))
        through_kernel=$(($(field kernel_bytes_in "$work/server.report") + $(field kernel_bytes_out "$work/server.report")))
        echo "$clients $kernel $axio $kernel_p50 $axio_p50 $ring $through_kernel" >>"$work/results"
        say "  pair $pair of $pairs: kernel ${kernel%.*}/s, Axio ${axio%.*}/s; server's bytes: $ring by ring, $through_kernel by kernel"
    done
done

machine="$(nproc) CPUs, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -1), Linux $(uname -r)"
summary=$(awk -v command="$command" '
    function median(list, count,    i, j, swap) {
        for (i = 1; i <= count; i++) for (j = i + 1; j <= count; j++)
            if (list[j] < list[i]) { swap = list[i]; list[i] = list[j]; list[j] = swap }
        return count % 2 ? list[(count + 1) / 2] : (list[count / 2] + list[count / 2 + 1]) / 2
    }
    { if (!($1 in n)) order[++groups] = $1
      i = ++n[$1]; k[$1, i] = $2; a[$1, i] = $3; kp[$1, i] = $4; ap[$1, i] = $5; ring[$1] += $6; kernel[$1] += $7
      r = $3 / $2; if (i == 1 || r < low[$1]) low[$1] = r; if (r > high[$1]) high[$1] = r }
    END {
        for (g = 1; g <= groups; g++) {
            c = order[g]
            for (i = 1; i <= n[c]; i++) { x[i] = k[c, i]; y[i] = a[c, i]; u[i] = kp[c, i]; v[i] = ap[c, i] }
            mk = median(x, n[c]); ma = median(y, n[c])
            total = ring[c] + kernel[c]
            printf "%s %d %.0f %.0f %.2f %.2f %.2f %.3f %.3f %.1f\n", command, c, mk, ma, ma / mk, low[c], high[c],
                median(u, n[c]), median(v, n[c]), total ? 100 * ring[c] / total : 0
        }
    }' "$work/results")

echo
echo "$machine; medians of $pairs alternating pairs"
echo "$summary" | awk '
    BEGIN { printf "%-8s %11s %14s %14s %7s %15s %12s %12s %9s\n", "command", "connections", "kernel req/s", "Axio req/s", "ratio", "ratio, spread", "kernel p50", "Axio p50", "by ring" }
    { printf "%-8s %11d %14d %14d %6.2fx %7.2f - %5.2f %9.3f ms %9.3f ms %8.1f%%\n", $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 }'
if [ -n "$json" ]; then
    echo "$summary" | awk -v machine="$machine" -v commit="$(git -C "$root" rev-parse --short HEAD 2>/dev/null || echo unknown)" '
        BEGIN { printf "{\"machine\":\"%s\",\"commit\":\"%s\",\"workloads\":[", machine, commit }
        { printf "%s{\"command\":\"%s\",\"connections\":%d,\"kernel_requests_per_second\":%d,\"axio_requests_per_second\":%d,\"ratio\":%s,\"ratio_low\":%s,\"ratio_high\":%s,\"kernel_p50_ms\":%s,\"axio_p50_ms\":%s,\"ring_percent\":%s}", (NR > 1 ? "," : ""), $1, $2, $3, $4, $5, $6, $7, $8, $9, $10 }
        END { print "]}" }' >"$json"
fi
if echo "$summary" | awk '$10 < 90 { bad = 1 } END { exit !bad }'; then
    echo
    echo "run.sh: less than 90 % of the server's bytes went by ring: this was no measurement of Axio. The server's last report:" >&2
    cat "$work/server.report" >&2
    exit 1
fi
