#!/bin/sh
# What the entry point of PostgreSQL's own image does with the variables that docker-compose.yml and the chart set: an
# empty folder becomes a server with one user and one database. Another command than the server's is run as it is.
set -eu
if [ $# -gt 0 ]; then exec "$@"; fi
data=${PGDATA:-/var/lib/postgresql/data}

if [ ! -s "$data/PG_VERSION" ]; then
    password=${POSTGRES_PASSWORD:-$(cat "${POSTGRES_PASSWORD_FILE:?neither it nor POSTGRES_PASSWORD is set}")}
    printf %s "$password" >/tmp/password
    initdb --pgdata="$data" --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-local=trust \
        --auth-host=scram-sha-256 --encoding=UTF8
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$data/pg_hba.conf"
    echo "CREATE DATABASE $POSTGRES_DB" | postgres --single -D "$data" postgres
fi
exec postgres -D "$data" -c "listen_addresses=*" -c unix_socket_directories=/var/run/postgresql
