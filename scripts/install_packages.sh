#!/usr/bin/env bash
# Installs those of the named Debian packages that are missing; says what it does, does nothing when none is.
#   install_packages.sh PACKAGE...
set -euo pipefail
missing=()
for package in "$@"; do
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0
if ! command -v apt-get >/dev/null; then
    echo "install_packages.sh: no apt-get here; please install what your system calls: ${missing[*]}" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "install_packages.sh: not root and no sudo; please install: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo)
fi
echo "installing: ${missing[*]}"
# RUNLEVEL: packages of servers would start them; these are started by the tests, on ports of their own. A machine
# that has just started may be updating itself: its lock is waited for, and lists under way are asked for again.
apt() {
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get -q -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=600 -o Acquire::Retries=5 "$@"
}
for pause_s in 5 20 60 0; do
    if apt update; then break; fi
    [ "$pause_s" != 0 ] || { echo "install_packages.sh: apt-get update failed four times" >&2; exit 1; }
    sleep "$pause_s"
done
apt -y install --no-install-recommends "${missing[@]}"
