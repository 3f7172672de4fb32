#!/bin/sh
# SeaweedFS as one process, with the one identity of the secrets. Nothing else may read or write.
set -eu
umask 077
config=/tmp/s3.json
cat > "$config" <<JSON
{"identities": [{"name": "mlflow",
  "credentials": [{"accessKey": "$(cat /run/secrets/s3_access_key)", "secretKey": "$(cat /run/secrets/s3_secret_key)"}],
  "actions": ["Admin", "Read", "List", "Tagging", "Write"]}]}
JSON
exec weed server -dir=/data -ip=s3 -ip.bind=0.0.0.0 -volume.max=0 -master.volumeSizeLimitMB=1024 \
    -s3 -s3.port=8333 -s3.config="$config"
