"""The Slurm script without Slurm."""

import sys

import pytest

from orchestrator.store.storage import Storage
from orchestrator.study.sweep import load_sweep
from tests.cluster.cluster import Cluster
from tests.cluster.observed import say, sweep_file, until

pytestmark = pytest.mark.cluster


def test_a_preempted_slurm_job_finishes_epochs_requeues_and_continues(cluster: Cluster) -> None:
    """Runs the sbatch script on one node with a local srun and a recording scontrol."""
    results = cluster.volume("results")
    for name, text in {
        "srun": '#!/bin/bash\nwhile [[ $1 == -* ]]; do shift; done\nexec "$@"\n',
        "scontrol": '#!/bin/bash\n[ "$1" = show ] && hostname || echo "scontrol $*" >> /mnt/results/slurm.txt\n',
    }.items():
        (results / "bin").mkdir(exist_ok=True)
        (results / "bin" / name).write_text(text)
        (results / "bin" / name).chmod(0o755)
    file = sweep_file(results, "slurm", epochs="14", seed="[8]", batch_size="[64]")

    job = cluster.make("sweep", "slurm-node", ["docker/slurm/sweep.sbatch", "/mnt/results/slurm.yaml"])
    job.environment |= {
        "PATH": f"/mnt/results/bin:{job.environment['PATH']}",
        "VENV": sys.prefix,
        "STORAGE": "/mnt/results",
        "SLURM_SUBMIT_DIR": "/mnt/results",
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NODELIST": "slurm-node",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_GPUS_ON_NODE": "0",
    }
    trials = [Storage(results).trial(t.trial_id) for t in load_sweep(str(file)).trials]
    job.start()
    until(lambda: sum(len(t.numbers()) for t in trials) >= 3, 120, f"epochs under Slurm: {job.output}")
    assert (results / ".ray-token-4711").stat().st_mode & 0o777 == 0o600
    assert job.stop() == 0, job.output
    assert "Stopped on request" in job.output
    assert (results / "slurm.txt").read_text() == "scontrol requeue 4711\n"
    assert not (results / ".ray-token-4711").exists()
    left = sum(len(t.numbers()) for t in trials)
    job.start()  # requeued under the same id
    assert job.wait(240) == 0, job.output
    say(f"Slurm: preempted after {left} epochs, queued again, {sum(len(t.numbers()) for t in trials)} of 30 in the end")
    assert [t.numbers() for t in trials] == [list(range(15))] * 2
    assert not (results / ".ray-token-4711").exists()
