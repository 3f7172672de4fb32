#!/bin/sh
# Starts SeaweedFS as one process with two identities from the secrets: MLflow's, which may also create buckets, and the
# trials', which may access only their bucket. Anonymous access is refused.
set -eu
umask 077

secret() {
    if [ ! -s "/run/secrets/$1" ] || [ ! -r "/run/secrets/$1" ]; then
        echo "secret $1 is missing, empty or not readable by uid $(id -u); create it with: make cluster-secrets" >&2
        exit 78
    fi
    cat "/run/secrets/$1"
}

# Read into variables first, since a failure inside a here-document would go unnoticed and write an empty key.
mlflow_key=$(secret s3_access_key)
mlflow_secret=$(secret s3_secret_key)
trials_key=$(secret trials_access_key)
trials_secret=$(secret trials_secret_key)

if [ ! -w /data ]; then
    echo "volume s3 is not writable by uid $(id -u), because another user owns it; change its owner or remove it" >&2
    exit 78
fi

config=/tmp/s3.json
cat > "$config" <<JSON
{"identities": [
  {"name": "mlflow",
   "credentials": [{"accessKey": "$mlflow_key", "secretKey": "$mlflow_secret"}],
   "actions": ["Admin", "Read", "List", "Tagging", "Write"]},
  {"name": "trials",
   "credentials": [{"accessKey": "$trials_key", "secretKey": "$trials_secret"}],
   "actions": ["Read:trials", "List:trials", "Tagging:trials", "Write:trials"]}]}
JSON

# The gRPC port of S3 (18333) listens on the same address as S3 and would let anyone create keys. With this setting it
# requires a key, which is new at every start and not stored.
WEED_JWT_FILER_SIGNING_KEY=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export WEED_JWT_FILER_SIGNING_KEY

# Only S3 listens outside the container, because master, volumes and filer have no authentication. Catalogues are disabled.
exec weed server -dir=/data -ip=127.0.0.1 -ip.bind=127.0.0.1 -volume.max=0 -master.volumeSizeLimitMB=1024 \
    -s3 -s3.ip.bind=0.0.0.0 -s3.port=8333 -s3.port.iceberg=0 -s3.port.lance=0 -s3.config="$config"
