#!/usr/bin/env bash
# Fetches programs that some tests use into .tools/, from Debian's or Ubuntu's packages, without root and without
# installing anything: scripts/tools.sh [prometheus] [containers]; default: prometheus.
#   prometheus   prometheus and promtool
#   containers   what builds and runs images without a registry: buildah, podman, conmon, runc, debootstrap
# What the machine has already is not fetched. Exits with status 3, and says why, where that cannot be done.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$PWD/.tools
declare -A programs=(
    [prometheus]="prometheus promtool"
    [containers]="buildah podman conmon runc debootstrap"
)
declare -A packages=(
    [prometheus]="prometheus"
    [containers]="buildah podman conmon runc debootstrap patchelf"
)

unavailable() { echo "tools: $*" >&2; exit 3; }

# Root's programs are not on everyone's PATH.
has() (
    PATH=$tools/bin:$PATH:/usr/sbin:/sbin
    for program in "$@"; do command -v "$program" >/dev/null || return 1; done
)

get() {
    local set=$1 program
    # shellcheck disable=SC2086
    if has ${programs[$set]}; then return; fi
    has apt-get dpkg || unavailable "no apt-get on this machine; put ${programs[$set]} on PATH instead"
    mkdir -p "$tools"/{bin,unpacked,apt/lists/partial,apt/cache/archives/partial}
    # shellcheck disable=SC2086
    fetch ${packages[$set]} >"$tools/fetch.log" 2>&1 || unavailable "apt could not fetch ${packages[$set]} (see .tools/fetch.log)"
    for program in "$tools"/unpacked/{usr/bin,usr/sbin,bin,sbin}/*; do
        if [ -x "$program" ]; then wrap "${program#"$tools/"}"; fi
    done
    for program in "$tools"/unpacked/usr/bin/{buildah,podman}; do
        if [ -e "$program" ]; then keep_libraries "$program"; fi
    done
}

# apt with folders of its own; the sources, the keys, and what counts as installed are the machine's.
apt() {
    apt-get -o Dir::State::Lists="$tools/apt/lists" -o Dir::Cache="$tools/apt/cache" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User= -o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@"
}

# Packages, and what they need that is not installed.
fetch() {
    apt update
    apt install --yes --no-install-recommends --download-only "$@"
    for file in "$tools"/apt/cache/archives/*.deb; do dpkg -x "$file" "$tools/unpacked"; done
    rm -rf "$tools/apt"
}

# A program in bin/ that finds its libraries and files where they were unpacked.
wrap() {
    local file=$tools/bin/${1##*/}
    rm -f "$file"
    cat > "$file" <<END
#!/bin/sh
at=\$(cd "\$(dirname "\$0")/.." && pwd)
export LD_LIBRARY_PATH="\$(printf %s: "\$at"/unpacked/usr/lib/*-linux-gnu "\$at"/unpacked/lib/*-linux-gnu)"
export DEBOOTSTRAP_DIR="\$at/unpacked/usr/share/debootstrap"
exec "\$at/$1" "\$@"
END
    chmod +x "$file"
}

# These call themselves again, from a copy in memory and without the environment that wrap() gives them, so an absolute
# path stands in the file. Whoever moves the folder of the repository removes .tools/.
keep_libraries() {
    local at=$tools/unpacked
    has patchelf || unavailable "no patchelf on this machine"
    PATH=$tools/bin:$PATH patchelf --force-rpath --set-rpath "$at/usr/lib/$(uname -m)-linux-gnu:$at/lib/$(uname -m)-linux-gnu" "$1"
}

if [ $# -eq 0 ]; then set -- prometheus; fi
# Two calls at once: the second waits, and finds everything done.
mkdir -p "$tools"
exec 9>"$tools/tools.lock"
flock 9
for set in "$@"; do
    [ -n "${programs[$set]:-}" ] || unavailable "$set is none of: ${!programs[*]}"
    get "$set"
done
