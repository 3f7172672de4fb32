#!/bin/bash
# The driver of a sweep: a Ray driver has to sit on a node of the cluster, so this becomes one that offers no CPU.
#   sweep.sh SWEEP [OPTION ...]     as of hessian-dynamics run
set -euo pipefail

ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --object-store-memory=200000000 --disable-usage-stats > /dev/null
# exec: SIGTERM reaches the command itself, which lets every trial finish its epoch.
exec hessian-dynamics run "$@"
