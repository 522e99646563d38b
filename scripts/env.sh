#!/usr/bin/env bash
# Writes .env from .env.example, with a new secret for every empty value, and .secrets/signing-key.pem.
# Existing values are kept. Needs openssl. An argument names another folder to write to.
set -euo pipefail
source=$(cd "$(dirname "$0")/.." && pwd)/.env.example
cd "${1:-$(dirname "$source")}"
umask 077

if [ -e .env ]; then echo ".env exists already; remove it to get new secrets" >&2; exit 0; fi

# Only the owner may enter the folder. The file is readable for all, because the user inside the container reads it.
mkdir -p .secrets
[ -e .secrets/signing-key.pem ] || openssl genpkey -algorithm ed25519 -out .secrets/signing-key.pem
chmod 644 .secrets/signing-key.pem

fresh() {
    if [ "$1" = TRUSTED_KEYS ]; then
        openssl pkey -in .secrets/signing-key.pem -pubout -outform DER | openssl base64 -A
    else
        openssl rand -hex 24
    fi
}

while IFS= read -r line; do
    if [[ $line =~ ^([A-Z0-9_]+)=$ ]]; then line+=$(fresh "${BASH_REMATCH[1]}"); fi
    printf '%s\n' "$line"
done < "$source" > .env.new
mv .env.new .env
echo "wrote .env and .secrets/ for docker compose" >&2
