#!/bin/bash
# Creates the secrets of compose.yaml's services. Existing files are kept; to change a secret, delete its file.
set -euo pipefail
cd "$(dirname "$0")"
umask 077
mkdir -p secrets

for name in ray_token postgres_password mlflow_admin_password mlflow_flask_key s3_access_key s3_secret_key trials_access_key trials_secret_key; do
    if [ -e "secrets/$name" ]; then
        echo "kept  docker/secrets/$name"
    else
        # 64 hexadecimal digits without a newline, as Ray requires; renamed into place, so a secret is never partial.
        python3 -c 'import secrets; print(secrets.token_hex(32), end="")' > "secrets/.$name"
        mv -n "secrets/.$name" "secrets/$name"
        echo "made  docker/secrets/$name"
    fi
done
chmod 700 secrets
chmod 600 secrets/*

# Only the owner can read these files, so containers run as the owner. Root gives the files to the image's user.
user=$(id -u)
if [ "$user" = 0 ]; then
    user=10001
    chown -R "$user:0" secrets
fi
touch .env
grep -v '^CLUSTER_UID=' .env > .env.new || true
echo "CLUSTER_UID=$user" >> .env.new
mv .env.new .env
echo "containers run as user $user (docker/.env)"
