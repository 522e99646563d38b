#!/usr/bin/env bash
# Brings an installation with docker compose to the version in this folder, one process after another.
# Routers and gateways have a second one each, which serves meanwhile; so no request fails. A worker has none here: while
# it starts, requests wait in the queue. Traefik, Redis, PostgreSQL and the object store stay as they are.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/compose.sh
limit=${UPGRADE_LIMIT_S:-900}

# replace SERVICE: starts it anew if it changed, and waits until it is healthy.
replace() {
    say "replacing $1"
    docker compose up -d --no-deps --no-build --wait --wait-timeout "$limit" "$1" \
        || fail "$1 is not healthy; nothing after it was changed. Its log: docker compose logs $1
To go back, set TAG in .env to the version before, and call scripts/upgrade.sh again."
}

scripts/env.sh
profiles=,$(setting COMPOSE_PROFILES ""),
services=(router-1 router-2 gateway-1 gateway-2)
if [[ $profiles = *,cpu,* ]]; then services+=(worker-cpu trainer-cpu); fi
if [[ $profiles = *,gpu,* ]]; then services+=(worker-gpu trainer-gpu); fi
services+=(prometheus grafana)

if [ "$built_here" = yes ]; then
    say "building the images"
    docker compose build
else
    say "fetching the images"
    docker compose pull --policy always "${services[@]}"
fi
for service in "${services[@]}"; do replace "$service"; done
say "everything runs $(setting TAG "this version")"
