#!/usr/bin/env bash
# Saves what an installation with docker compose cannot make anew: scripts/backup.sh [NAME]
# Database, bucket and keys go into BACKUP_FOLDER (.env; default ./backups), as a folder NAME (default: the time). The
# cluster goes on meanwhile. Guard the folder: it holds the keys, the signing key too.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/compose.sh
umask 077

name=${1:-$(date -u +%Y-%m-%dT%H-%M-%SZ)}
made=$folder/$name
if [[ ! $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ || $name = objects ]]; then fail "$name cannot be the name of a backup"; fi
if [ -e "$made" ]; then fail "$made is there already"; fi
mkdir -p "$folder/.$name"
trap 'rm -rf "${folder:?}/.$name"' EXIT

say "saving the database"
tool backup-database sh /etc/tidegate/database.sh save "/backups/.$name"
say "saving the bucket"
tool backup-bucket tidegate bucket save /backups ".$name"
say "saving the keys"
cp -R .env .secrets "$folder/.$name/"
mv "$folder/.$name" "$made"
say "saved $made"
