#!/usr/bin/env bash
# deps.sh [--dev]: install the Debian packages that building needs (and, with --dev, that testing needs). Does nothing when
# they are there already. Runs as root or through sudo.
set -euo pipefail

build=(build-essential autoconf automake libtool pkg-config liburing-dev liblmdb-dev libuv1-dev
    libjansson-dev libcurl4-openssl-dev libxxhash-dev libpcre2-dev libutf8proc-dev libedit-dev)
dev=(libcriterion-dev python3 curl)

wanted=("${build[@]}")
[ "${1:-}" = --dev ] && wanted+=("${dev[@]}")

missing=()
for package in "${wanted[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "These Debian packages are missing: ${missing[*]}" >&2
        echo "Install them as root (apt-get install ${missing[*]}), or install sudo, then run this again." >&2
        exit 1
    }
    as_root=(sudo)
fi
echo "Installing Debian packages: ${missing[*]}" >&2
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "Installing packages failed; what apt said is above." >&2
    exit 1
fi
