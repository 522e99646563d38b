#!/usr/bin/env bash
# Downloads programs that some tests use into .tools/, from Debian or Ubuntu packages, without root and without
# installing them: scripts/tools.sh [prometheus] [containers]; default: prometheus.
#   prometheus   prometheus and promtool
#   containers   programs that build and run images without a registry: buildah, podman, conmon, runc, debootstrap
# Programs that the machine has already are skipped. Exit status 3: the download failed; the message says why.
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

# Programs for root are not on every user's PATH.
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

# apt with its own folders. Sources, keys and the list of installed packages are the machine's.
apt() {
    apt-get -o Dir::State::Lists="$tools/apt/lists" -o Dir::Cache="$tools/apt/cache" -o Debug::NoLocking=1 \
        -o APT::Sandbox::User= -o Acquire::Retries=2 -o Acquire::http::Timeout=30 "$@"
}

# Packages with their missing dependencies.
fetch() {
    apt update
    apt install --yes --no-install-recommends --download-only "$@"
    for file in "$tools"/apt/cache/archives/*.deb; do dpkg -x "$file" "$tools/unpacked"; done
    rm -rf "$tools/apt"
}

# A wrapper in bin/ whose program finds its libraries and files where they were unpacked.
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

# These programs start themselves again, from a copy in memory and without the environment of wrap(), so the file needs
# an absolute path. Remove .tools/ after moving the repository to another folder.
keep_libraries() {
    local at=$tools/unpacked
    has patchelf || unavailable "no patchelf on this machine"
    PATH=$tools/bin:$PATH patchelf --force-rpath --set-rpath "$at/usr/lib/$(uname -m)-linux-gnu:$at/lib/$(uname -m)-linux-gnu" "$1"
}

if [ $# -eq 0 ]; then set -- prometheus; fi
# If two calls run at the same time, the second one waits and finds everything done.
mkdir -p "$tools"
exec 9>"$tools/tools.lock"
flock 9
for set in "$@"; do
    [ -n "${programs[$set]:-}" ] || unavailable "$set is none of: ${!programs[*]}"
    get "$set"
done
