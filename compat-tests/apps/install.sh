#!/usr/bin/env bash
# Installs those programs that app_check runs and this machine lacks (Debian packages; needs root or sudo for that only).
set -euo pipefail
exec "$(dirname "$0")/../../scripts/install_packages.sh" \
    redis-server redis-tools memcached libmemcached-tools nginx-light wrk curl socat python3
