#!/bin/bash
# Executes its arguments. For every NAME_FILE below /run/secrets it exports NAME with the content of that file, so no secret
# is on a command line, in the image or in a compose file. Other variables such as SSL_CERT_FILE are left unchanged.
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
