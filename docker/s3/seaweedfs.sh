#!/bin/sh
# Starts SeaweedFS for docker-compose.yml and the chart, with a bucket, and an account for each process. policies/ says
# what each may do.
# Arguments are more options of `weed server`. Only S3 listens to other containers: the other parts ask for no key.
set -eu
here=${0%/*} secrets=${STORE_SECRETS:-/run/secrets} data=${STORE_DATA:-/data} scratch=${STORE_SCRATCH:-/tmp}
bucket=${STORE_BUCKET:-tidegate} bind=${STORE_BIND:-0.0.0.0}
master=${STORE_MASTER:-127.0.0.1:9333} filer=${STORE_FILER:-127.0.0.1:8888}
accounts="gateway worker trainer backup operator"

identities() {
    comma=
    for account in $accounts; do
        printf '%s{"name": "%s", "policyNames": ["%s"], "credentials": [{"accessKey": "%s", "secretKey": "%s"}]}' \
            "$comma" "$account" "$account" "$account" "$(cat "$secrets/s3-$account")"
        comma=,
    done
}

policies() {
    comma=
    for account in $accounts; do
        printf '%s{"name": "%s", "document": %s}' "$comma" "$account" "$(cat "$here/policies/$account.json")"
        comma=,
    done
}

in_shell() { echo "$1" | timeout 10 weed shell -master="$master" -filer="$filer" 2>/dev/null || true; }

# The health check looks for the file. No account may make a bucket, so SeaweedFS's own shell does.
make_bucket() {
    tries=0
    until in_shell s3.bucket.list | grep -wF "$bucket" >/dev/null; do
        tries=$((tries + 1))
        if [ $tries -gt 60 ]; then exit 1; fi
        sleep 1
        in_shell "s3.bucket.create -name $bucket" >/dev/null
    done
    : >"$scratch/bucket"
}

umask 077
rm -f "$scratch/bucket"
printf '{"identities": [%s], "policies": [%s]}\n' "$(identities)" "$(policies)" >"$scratch/s3.json"
make_bucket &

# A volume is a file that grows as it fills; 0: as many as fit on the disk. Without free space it takes no data.
exec weed -logtostderr=true server -dir="$data" -ip=127.0.0.1 -ip.bind=127.0.0.1 -filer -s3 \
    -s3.config="$scratch/s3.json" -s3.ip.bind="$bind" -s3.port=9000 -s3.iam=false -s3.autoCreateBucket=false \
    -s3.port.iceberg=0 -s3.port.lance=0 -master.telemetry=false -master.volumeSizeLimitMB=1024 -volume.max=0 \
    -volume.minFreeSpace=1 -volume.preStopSeconds=0 "$@"
