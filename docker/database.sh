#!/bin/sh
# database.sh save|restore FOLDER: the whole database as FOLDER/database.dump. Runs in PostgreSQL's image.
set -eu
url=${DATABASE:-postgresql://tidegate@postgres:5432/tidegate} file=$2/database.dump
if [ -z "${DATABASE:-}" ]; then PGPASSWORD=$(cat /run/secrets/postgres-password) && export PGPASSWORD; fi

case $1 in
    # Under its own name only once it is whole.
    save) pg_dump --dbname="$url" --format=custom --no-owner --file="$file.partial" && mv "$file.partial" "$file" ;;
    # All or nothing. What is there is replaced.
    restore)
        pg_restore --dbname="$url" --clean --if-exists --no-owner --single-transaction --exit-on-error "$file" ;;
    *) echo "database: $1 is neither save nor restore" >&2; exit 2 ;;
esac
