#!/bin/bash
# Executes its arguments. If a variable NAME_FILE names a file below /run/secrets, exports NAME with the content of that file.
# So no secret is on a command line, in the image or in a compose file. Other variables such as SSL_CERT_FILE stay unchanged.
set -euo pipefail

for variable in $(compgen -e); do
    file="${!variable}"
    if [[ $variable == ?*_FILE && $file == /run/secrets/* ]]; then
        if [ ! -s "$file" ] || [ ! -r "$file" ]; then
            echo "$variable: secret $file is missing, empty or not readable by uid $(id -u);" \
                "create it with: make cluster-secrets" >&2
            exit 78
        fi
        export "${variable%_FILE}=$(< "$file")"
        unset "$variable"
    fi
done

exec "$@"
