#!/bin/bash
# Becomes the command it is given, with the content of each secret that NAME_FILE names as NAME: secrets are on no
# command line, in no image and in no compose file. Other files, SSL_CERT_FILE say, stay what they are.
set -euo pipefail

for variable in $(compgen -e); do
    file="${!variable}"
    if [[ $variable == ?*_FILE && $file == /run/secrets/* ]]; then
        if [ ! -s "$file" ] || [ ! -r "$file" ]; then
            echo "$variable: secret $file is missing, empty or not readable by uid $(id -u);" \
                "make cluster-secrets makes it" >&2
            exit 78
        fi
        export "${variable%_FILE}=$(< "$file")"
        unset "$variable"
    fi
done

exec "$@"
