#!/usr/bin/env bash
# Fetches Prometheus and promtool into .tools/ from Debian's or Ubuntu's packages, without root and without installing
# anything. Some tests use them. Exits with status 3, and says why, where that cannot be done.
set -euo pipefail
cd "$(dirname "$0")/.."
packages=(prometheus)
tools=$PWD/.tools

unavailable() { echo "tools: $*" >&2; exit 3; }

main() {
    if [ -x "$tools/bin/promtool" ]; then return; fi
    if command -v prometheus >/dev/null && command -v promtool >/dev/null; then return; fi
    for program in apt-get dpkg; do
        command -v "$program" >/dev/null || unavailable "no $program on this machine; put prometheus and promtool on PATH instead"
    done
    mkdir -p "$tools"/{bin,apt/lists/partial,apt/cache/archives/partial}
    fetch >"$tools/fetch.log" 2>&1 || unavailable "apt could not fetch ${packages[*]} (see .tools/fetch.log)"
    for program in prometheus promtool; do ln -sf "../unpacked/usr/bin/$program" "$tools/bin/$program"; done
}

# apt with folders of its own; the sources and keys are the machine's.
apt() {
    apt-get -o Dir::State::Lists="$tools/apt/lists" -o Dir::Cache="$tools/apt/cache" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User= -o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@"
}

fetch() (
    cd "$tools"
    apt update
    apt download "${packages[@]}"
    for file in *.deb; do dpkg -x "$file" unpacked; done
    rm -f -- *.deb
    rm -rf apt
)

main
