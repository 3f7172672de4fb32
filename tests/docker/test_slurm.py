"""The Slurm script with a fake srun, Ray and driver; tests/cluster uses the real Ray."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docker.deployment import DOCKER

SRUN = '#!/bin/bash\nwhile [[ $1 == -* ]]; do shift; done\nexec "$@"\n'
SCONTROL = '#!/bin/bash\n[ "$1" = show ] && hostname || echo "$*" >> "$SLURM_SUBMIT_DIR/scontrol.txt"\n'
SQUEUE = '#!/bin/bash\necho "${STATE:-RUNNING}"\n'
RAY = '#!/bin/bash\nwhile [[ $1 != -- ]]; do shift; done\nshift\n"$@"\n'
RAY_THAT_FAILS = "#!/bin/bash\necho 'Failed to start Ray' >&2\n"  # exits with 0, as symmetric-run does
MPS = """#!/bin/bash
[ "$1" = -d ] || read -r word
echo "MPS ${1:-$word}, GPUs ${CUDA_VISIBLE_DEVICES:-all}, $CUDA_MPS_PIPE_DIRECTORY"
"""
DRIVER = """#!{python}
import signal, sys, time
from pathlib import Path
stop = []
signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
Path("ready").touch()
while {seconds} and not stop:
    time.sleep(0.05)
time.sleep({seconds})
print("driver", sys.argv[1:], flush=True)
sys.exit({code})
"""


@dataclass
class Job:
    folder: Path
    process: subprocess.Popen[str]

    @property
    def token(self) -> Path:
        return self.folder / ".ray-token-4711"

    @property
    def requeued(self) -> bool:
        notes = self.folder / "scontrol.txt"
        return notes.exists() and notes.read_text() == "requeue 4711\n"

    def begin(self) -> None:
        while not (self.folder / "ready").exists():
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.02)

    def end(self) -> tuple[int, str]:
        output, _ = self.process.communicate(timeout=30)
        assert {file.name for file in self.folder.glob(".ray-*")} == set()
        assert not Path("/tmp/mps-4711").exists()
        return self.process.returncode, output


def submit(folder: Path, ray: str = RAY, mps: str = MPS, epoch: float = 0, code: int = 0, **environment: str) -> Job:
    """Starts a job. When its driver is asked to stop, it first finishes one epoch."""
    (folder / "bin").mkdir()
    driver = DRIVER.format(python=sys.executable, seconds=epoch, code=code)
    played = {"srun": SRUN, "scontrol": SCONTROL, "squeue": SQUEUE, "ray": ray, "hessian-dynamics": driver}
    played |= {"nvidia-cuda-mps-control": mps}
    for name, text in played.items():
        (folder / "bin" / name).write_text(text)
        (folder / "bin" / name).chmod(0o755)
    (folder / "bin/activate").write_text(f"PATH={folder}/bin:$PATH\n")
    slurm = {
        "VENV": str(folder),
        "SLURM_SUBMIT_DIR": str(folder),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NODELIST": "node",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_CPUS_PER_TASK": "2",
        "USER": subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip(),
    }
    return Job(
        folder,
        subprocess.Popen(
            ["bash", str(DOCKER / "slurm/sweep.sbatch"), "night", "--budget", "8h"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={**os.environ, **slurm, **environment},
        ),
    )


@pytest.mark.parametrize("code", [0, 1])
def test_the_exit_code_is_that_of_the_run(tmp_path: Path, code: int) -> None:
    ended, output = submit(tmp_path, code=code).end()
    assert ended == code, output
    assert f"driver ['run', 'night', '--storage', '{tmp_path}/results', '--budget', '8h']" in output


def test_mps_serves_the_gpus_of_a_node_while_ray_runs_there(tmp_path: Path) -> None:
    code, output = submit(tmp_path, code=1, SLURM_GPUS_ON_NODE="2", CUDA_VISIBLE_DEVICES="0,1").end()
    assert code == 1, "that of the run"
    began, driver, ended = (line for line in output.splitlines() if line.startswith(("MPS", "driver")))
    assert began == "MPS -d, GPUs all, /tmp/mps-4711"
    assert driver.startswith("driver")
    assert ended.startswith("MPS quit")


def test_without_mps_trials_take_turns(tmp_path: Path) -> None:
    code, output = submit(tmp_path, mps="#!/bin/sh\nexit 1\n", code=1, SLURM_GPUS_ON_NODE="1").end()
    assert code == 1, "that of the run"
    assert "trials take turns on a GPU" in output
    assert "driver [" in output


def test_without_gpus_there_is_no_mps(tmp_path: Path) -> None:
    _, output = submit(tmp_path, SLURM_GPUS_ON_NODE="0").end()
    assert "MPS" not in output


def test_the_exit_code_is_2_if_ray_did_not_start(tmp_path: Path) -> None:
    code, output = submit(tmp_path, ray=RAY_THAT_FAILS).end()
    assert code == 2
    assert "Ray did not start, so nothing was run" in output


def test_a_preempted_job_waits_for_the_epoch_and_requeues(tmp_path: Path) -> None:
    job = submit(tmp_path, epoch=1, LEAVE_SECONDS="20")
    job.begin()
    assert job.token.stat().st_mode & 0o777 == 0o600
    job.process.send_signal(signal.SIGTERM)
    code, output = job.end()
    assert (code, job.requeued) == (0, True), output
    assert "driver [" in output


def test_a_job_requeues_even_if_the_epoch_takes_too_long(tmp_path: Path) -> None:
    job = submit(tmp_path, epoch=6, LEAVE_SECONDS="1")
    job.begin()
    asked = time.monotonic()
    job.process.send_signal(signal.SIGTERM)
    assert job.process.wait(30) == 0
    assert time.monotonic() - asked < 4
    assert job.requeued


def test_a_cancelled_job_does_not_requeue(tmp_path: Path) -> None:
    job = submit(tmp_path, epoch=1, STATE="COMPLETING")
    job.begin()
    job.process.send_signal(signal.SIGTERM)
    assert job.process.wait(30) == 143
    assert not job.requeued
    assert not job.token.exists()
    # Slurm would end the job's steps. Here the test has to do it.
    subprocess.run(["pkill", "-TERM", "-f", f"{tmp_path}/bin/hessian-dynamics"], check=True)
