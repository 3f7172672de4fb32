#!/bin/bash
# A command of hessian-dynamics as a Ray driver: that has to sit on a node of the cluster, so this becomes one that
# offers no CPU.
#   driver.sh run SWEEP [OPTION ...]
#   driver.sh doctor SWEEP --cluster [OPTION ...]
#   TRIAL_GPU=0.125   what each trial of `run` takes of a GPU; without it, what the sweep file says
set -euo pipefail

# A head that is started again takes a moment; what is wrong after two minutes is said by Ray.
for _ in $(seq 15); do
    ray health-check --address "$RAY_ADDRESS" > /dev/null 2>&1 && break
    sleep 5
done
ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --object-store-memory=200000000 --disable-usage-stats > /dev/null
if [ "$1" = run ] && [ -n "${TRIAL_GPU:-}" ]; then
    set -- "$@" --set "resources.gpu=$TRIAL_GPU"
fi
# exec: SIGTERM reaches the command itself, which lets every trial finish its epoch.
exec hessian-dynamics "$@"
