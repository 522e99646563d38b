#!/usr/bin/env bash
# Makes a base image from Debian's packages alone, for machines that reach no registry:
#   BASE_IMAGE=localhost/tidegate-base scripts/images.sh
# after `sudo scripts/base_image.sh`. Needs root, debootstrap and podman. Debian 12 carries Python 3.11.
set -euo pipefail
name=${1:-localhost/tidegate-base}
suite=${SUITE:-bookworm}
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates "$suite" "$root/system" ${MIRROR:+"$MIRROR"}
rm -rf "$root"/system/var/cache/apt/archives/*.deb "$root"/system/var/lib/apt/lists/*
# An imported image has no PATH of its own, and without one no program is found.
tar --create --numeric-owner --directory "$root/system" . \
    | podman import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$name"
