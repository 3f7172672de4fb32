"""Trials request the GPUs that a deployment reserves."""

import os
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from orchestrator.study.sweep import load_sweep
from tests.cluster.compose import load
from tests.docker.deployment import DOCKER, ROOT, compose, manifest

SBATCH = (DOCKER / "slurm/sweep.sbatch").read_text()
GPU = [DOCKER / "compose.yaml", DOCKER / "compose.gpu.yaml"]


def trials_on_one(words: list[str]) -> float:
    """Returns how many trials share a GPU in the sweep that this command runs. Each trial needs one CPU."""
    sweep, *options = words
    overrides = [value for option, value in pairwise(options) if option == "--set"]
    resources = load_sweep(sweep, overrides).resources
    assert resources.gpu_share > 0, f"{shlex.join(words)} trains on CPUs"
    assert resources.cpu == 1
    return 1 / resources.gpu_share


def test_a_sweep_on_kubernetes_requests_the_gpu_of_its_worker() -> None:
    job = manifest("RayJob", "sweep")["spec"]
    [worker] = job["rayClusterSpec"]["workerGroupSpecs"][0]["template"]["spec"]["containers"]
    trials = trials_on_one(shlex.split(job["entrypoint"])[2:]) * worker["resources"]["limits"]["nvidia.com/gpu"]
    assert trials == int(worker["resources"]["requests"]["cpu"])


def test_a_sweep_on_slurm_requests_the_gpus_of_its_nodes() -> None:
    [gpus] = re.findall(r"^#SBATCH --gpus-per-node=(\d+)$", SBATCH, re.MULTILINE)
    [cpus] = re.findall(r"^#SBATCH --cpus-per-task=(\d+)$", SBATCH, re.MULTILINE)
    told = re.findall(r"sbatch .*sweep\.sbatch (.*)", SBATCH + (ROOT / "docs/clusters.md").read_text())
    examples = [words for words in map(shlex.split, told) if not words[0].startswith("SWEEP")]
    assert len(examples) == 2
    for words in examples:
        assert trials_on_one(words) * int(gpus) == int(cpus)


def test_compose_gives_one_worker_every_gpu() -> None:
    worker = compose("compose.gpu.yaml")["services"]["worker"]
    [device] = worker["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert worker["deploy"]["replicas"] == 1
    plain = compose()["services"]["worker"]["command"]
    assert worker["command"] == [word.replace("WORKER_CPUS:-1", "WORKER_CPUS:-8") for word in plain]


@pytest.mark.parametrize("more", [[], [DOCKER / "compose.s3.yaml"]], ids=["volume", "bucket"])
@pytest.mark.parametrize(("variables", "trials"), [({}, 8), ({"TRIAL_GPU": "0.5"}, 2), ({"TRIAL_GPU": ""}, None)])
def test_a_sweep_of_compose_requests_a_share_of_a_gpu(
    tmp_path: Path, more: list[Path], variables: dict[str, str], trials: int | None
) -> None:
    sweep = load([*GPU, *more], {"CLUSTER_UID": "10001", "COMMIT": "c0ffee", **variables})["sweep"]
    for name in ("ray", "hessian-dynamics"):
        (tmp_path / name).write_text('#!/bin/sh\n[ "$1" != run ] || printf "%s\\n" "$@"\n')
        (tmp_path / name).chmod(0o755)
    command = [str(ROOT / sweep.command[0]), *sweep.command[1:]]
    environment = {**sweep.environment, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    words = done.stdout.splitlines()
    assert words[: len(sweep.command) - 1] == sweep.command[1:]
    if trials is None:
        assert "--set" not in words
    else:
        assert trials_on_one(words[1:]) == trials


def test_a_share_of_a_gpu_does_not_rename_the_sweep() -> None:
    assert load_sweep("paper", ["resources.gpu=0.125"]).name == "paper"
