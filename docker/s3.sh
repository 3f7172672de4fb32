#!/bin/sh
# SeaweedFS as one process, with the two identities of the secrets: MLflow's, which also makes buckets, and that of
# trials, which sees their bucket only. Nobody else may read or write.
set -eu
umask 077
config=/tmp/s3.json
cat > "$config" <<JSON
{"identities": [
  {"name": "mlflow",
   "credentials": [{"accessKey": "$(cat /run/secrets/s3_access_key)", "secretKey": "$(cat /run/secrets/s3_secret_key)"}],
   "actions": ["Admin", "Read", "List", "Tagging", "Write"]},
  {"name": "trials",
   "credentials": [{"accessKey": "$(cat /run/secrets/trials_access_key)", "secretKey": "$(cat /run/secrets/trials_secret_key)"}],
   "actions": ["Read:trials", "List:trials", "Tagging:trials", "Write:trials"]}]}
JSON
exec weed server -dir=/data -ip=s3 -ip.bind=0.0.0.0 -volume.max=0 -master.volumeSizeLimitMB=1024 \
    -s3 -s3.port=8333 -s3.config="$config"
