#!/usr/bin/env bash
# Makes a base image from Debian packages only, for machines without access to an image registry:
#   BASE_IMAGE=localhost/tidegate-base scripts/images.sh
# after `sudo scripts/base_image.sh`. Needs root, debootstrap and podman. Debian 12 has Python 3.11.
#   SUITE=bookworm   MIRROR=...  default: the mirror that this machine's apt uses
# Exit status 3: the packages cannot be downloaded or unpacked.
set -euo pipefail
name=${1:-localhost/tidegate-base}
suite=${SUITE:-bookworm}
root=$(mktemp -d)
trap 'rm -rf --one-file-system "$root"' EXIT

apts_mirror() {
    apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null \
        | awk -v suite="$suite" '$1 == suite && !found++ {print $2}' || true
}

mirror=${MIRROR:-$(apts_mirror)}
debootstrap --variant=minbase --force-check-gpg --include=python3,python3-venv,ca-certificates \
    "$suite" "$root/system" ${mirror:+"$mirror"} || { echo "base_image: debootstrap failed" >&2; exit 3; }
rm -rf "$root"/system/var/cache/apt/archives/*.deb "$root"/system/var/lib/apt/lists/*
# An imported image has no PATH, and without a PATH no program is found.
tar --create --numeric-owner --directory "$root/system" . \
    | podman import --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' - "$name"
