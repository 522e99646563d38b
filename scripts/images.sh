#!/usr/bin/env bash
# Builds the container images: scripts/images.sh [TARGET...] [-- OPTIONS OF THE BUILDER]
# Targets are the final stages of docker/Dockerfile; default: those without a GPU.
#
#   IMAGES=localhost/tidegate   prefix of the images' names; nobody else can put images there
#   TAG=0.1.0                   default: the version in pyproject.toml
#   BUILDER=docker              docker, podman or buildah; default: the first one that works on this machine
#   BASE_IMAGE=...              default: what docker/Dockerfile says; `scripts/base_image.sh` makes one without a registry
set -euo pipefail
cd "$(dirname "$0")/.."

images=${IMAGES:-localhost/tidegate}
tag=${TAG:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}

say() { printf '\033[1mtidegate\033[0m %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

find_builder() {
    for candidate in ${BUILDER:-docker podman buildah}; do
        # Docker needs its daemon to build.
        if "$candidate" info >/dev/null 2>&1; then echo "$candidate"; return; fi
    done
    fail "needs one of these, working: ${BUILDER:-docker podman buildah}"
}

# build TARGET OPTIONS...
build() {
    local target=$1 options=(--file docker/Dockerfile --target "$1" --tag "$images/$1:$tag")
    if [ -n "${BASE_IMAGE:-}" ]; then options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE"); fi
    # Without a daemon and without user namespaces, only chroot isolation remains.
    if [ "$builder" = buildah ]; then options+=(--isolation chroot --layers); fi
    # Only Docker's image format has health checks.
    if [ "$builder" != docker ]; then options+=(--format docker); fi
    say "building $images/$target:$tag with $builder"
    "$builder" build "${options[@]}" "${@:2}" .
}

builder=$(find_builder)
targets=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do targets+=("$1"); shift; done
if [ $# -gt 0 ]; then shift; fi
if [ ${#targets[@]} -eq 0 ]; then targets=(gateway router worker-cpu trainer-cpu); fi
for target in "${targets[@]}"; do build "$target" "$@"; done
