#!/usr/bin/env bash
# Puts back what scripts/backup.sh has saved: scripts/restore.sh NAME
# It stops the containers, writes keys, database and bucket, and starts all again. Keys that differ are not overwritten.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/compose.sh
umask 077

name=${1:?which backup? scripts/restore.sh NAME}
from=$folder/$name
for part in database.dump bucket.json .secrets .env; do
    if [ ! -e "$from/$part" ]; then fail "$from/$part is missing: this is no whole backup"; fi
done

# Stored API keys are valid only with the server secret of their time, and models only with the key that signed them.
if [ -e .secrets ] && ! diff -rq .secrets "$from/.secrets" >/dev/null; then
    fail "the keys in .secrets/ are not those of the backup: move .secrets/ away, and call again"
fi
if [ ! -e .secrets ]; then
    cp -R "$from/.secrets" .secrets
    # As env.sh makes them: users inside the containers read the files, and only the owner may enter the folder.
    chmod 644 .secrets/*
fi
if [ ! -e .env ]; then cp "$from/.env" .env; fi

say "stopping the containers"
docker compose down
stores=$(setting COMPOSE_PROFILES "")
say "starting the stores"
if [[ ,$stores, = *,minio,* ]]; then
    docker compose up -d --wait postgres minio
    docker compose run --rm -T minio-accounts
elif [[ ,$stores, = *,seaweedfs,* ]]; then
    docker compose up -d --wait postgres seaweedfs
else
    fail "COMPOSE_PROFILES = $stores: it names no object store"
fi
say "restoring the database"
tool backup-database sh /etc/tidegate/database.sh restore "/backups/$name"
say "restoring the bucket"
tool operator tidegate bucket restore --overwrite /backups "$name"
say "starting everything"
docker compose up -d
say "restored $from"
