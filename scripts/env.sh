#!/usr/bin/env bash
# Writes what docker compose needs: .env from .env.example, and .secrets/ with a new secret in every file.
# What exists is kept, so calling it again adds what a new version of Tidegate needs. Needs openssl.
# An argument names another folder to write to.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)/.env.example
cd "${1:-$(dirname "$source")}"
umask 077

# Only the owner may enter the folder. The files are readable for all, because users inside the containers read them.
mkdir -p .secrets
chmod 700 .secrets

# keep NAME COMMAND...: writes what the command prints to .secrets/NAME, if that does not exist.
keep() {
    local file=.secrets/$1
    if [ -e "$file" ]; then return; fi
    "${@:2}" >"$file.new"
    chmod 644 "$file.new"
    mv "$file.new" "$file"
}

secret() { printf %s "$(openssl rand -hex 24)"; }
public_key() { openssl pkey -in .secrets/signing-key.pem -pubout -outform DER | openssl base64 -A; }
redis_url() { printf 'redis://:%s@redis:6379/0' "$(cat .secrets/redis-password)"; }
database_url() { printf 'postgresql+psycopg://tidegate:%s@postgres:5432/tidegate' "$(cat .secrets/postgres-password)"; }

keep signing-key.pem openssl genpkey -algorithm ed25519
keep trusted-keys public_key
for name in api-key admin-key server-secret redis-password postgres-password grafana-password \
    s3-root s3-gateway s3-worker s3-trainer s3-backup s3-operator; do
    keep "$name" secret
done
keep redis-url redis_url
keep database-url database_url

if [ ! -e .env ]; then
    cp "$source" .env
    echo "wrote .env and .secrets/ for docker compose" >&2
    exit 0
fi
while IFS= read -r line; do
    if [[ $line =~ ^([A-Z0-9_]+)= ]] && ! grep -q "^${BASH_REMATCH[1]}=" .env; then
        printf '%s\n' "$line" >>.env
        echo "added ${BASH_REMATCH[1]} to .env" >&2
    fi
done <"$source"
