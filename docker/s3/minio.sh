#!/bin/sh
# Makes the bucket in MinIO, and an account for each process, for docker-compose.yml and the chart. policies/ says what
# each may do. Runs in MinIO's client.
set -eu
here=${0%/*} secrets=${STORE_SECRETS:-/run/secrets} endpoint=${STORE_ENDPOINT:-http://object-store:9000}
bucket=${STORE_BUCKET:-tidegate}

mc alias set store "$endpoint" root "$(cat "$secrets/s3-root")"
mc mb --ignore-existing "store/$bucket"
for account in gateway worker trainer backup operator; do
    mc admin policy create store "$account" "$here/policies/$account.json"
    mc admin user add store "$account" "$(cat "$secrets/s3-$account")"
    # It fails where the account has the policy already.
    mc admin policy attach store "$account" --user "$account" \
        || mc admin user info store "$account" --json | grep -q "\"policyName\":\"$account\""
done
