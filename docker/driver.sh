#!/bin/bash
# Runs a command of hessian-dynamics as a Ray driver. A driver must be on a node of the cluster, so this container joins as a
# node without CPUs.
#   driver.sh run SWEEP [OPTION ...]
#   driver.sh doctor SWEEP --cluster [OPTION ...]
#   TRIAL_GPU=0.125   share of a GPU for each trial of `run`; unset, the sweep file decides
set -euo pipefail

# The head may be restarting. If it does not answer, `ray start` reports the error.
for _ in $(seq 15); do
    ray health-check --address "$RAY_ADDRESS" > /dev/null 2>&1 && break
    sleep 5
done
ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --object-store-memory=200000000 --disable-usage-stats > /dev/null
if [ "$1" = run ] && [ -n "${TRIAL_GPU:-}" ]; then
    set -- "$@" --set "resources.gpu=$TRIAL_GPU"
fi
# exec, so that SIGTERM reaches the command, which then lets trials finish their epoch.
exec hessian-dynamics "$@"
