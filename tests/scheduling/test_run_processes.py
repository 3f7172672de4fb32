"""Runs in subprocesses, stopped by signals, a budget or a bug. No process is left running, and a rerun continues."""

import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import torch

from orchestrator.store.trial_status import State
from tests.scheduling.processes import LONG, SHORT, descendants, records, states, wait_until_gone, workers
from tests.working_folder import CONTENT, WorkingFolder

pytestmark = pytest.mark.slow
BUG = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, classes, bad=True):
        super().__init__(nn.Flatten(), nn.Linear(64, classes))
        self.bad = bad

    def forward(self, images):
        if self.bad and self.training and len(images) > 4:  # not when the network is checked before
            {raises}
        return super().forward(images)
"""


def own_model(folder: Path, raises: str, *bad: bool) -> WorkingFolder:
    (folder / "nets.py").write_text(BUG.replace("{raises}", raises))
    models = [{"name": "nets:Net", "bad": each} for each in bad]
    trial = {**CONTENT["trial"], "epochs": 2}  # type: ignore[dict-item]
    return WorkingFolder(folder, {**CONTENT, "trial": trial, "grid": {"model": models, "seed": [0, 1, 2, 3]}})


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The results of an undisturbed run."""
    place = WorkingFolder(tmp_path_factory.mktemp("twin"), SHORT)
    code, said = place.run("--engine", "local")
    assert code == 0, said
    return records(place)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_after_the_current_epochs(tmp_path: Path, number: signal.Signals) -> None:
    place = WorkingFolder(tmp_path, LONG)
    process = place.start("--engine", "local")
    place.wait_for_epochs(3)
    below = list(descendants(process.pid))
    process.send_signal(number)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 1, said
    assert "Stopped on request. Run the same command again to continue." in said
    ends = [a.ended for key in place.sweep.by_id for a in place.storage.trial(key).attempts()]
    assert ends and set(ends) == {"interrupted"}
    wait_until_gone(below)


def test_a_second_signal_stops_at_once(tmp_path: Path) -> None:
    place = WorkingFolder(tmp_path, LONG)
    process = place.start("--engine", "local")
    place.wait_for_epochs(3)
    below = list(descendants(process.pid))
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert states(place) <= {State.INTERRUPTED, State.PENDING}
    wait_until_gone(below)


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, signal.SIGTERM, signal.SIGHUP],
)
def test_a_signal_before_the_first_trial_stops_at_once(tmp_path: Path, number: signal.Signals) -> None:
    place = WorkingFolder(tmp_path, LONG)
    process = place.start("--engine", "local")
    deadline = time.monotonic() + 60
    while not (tmp_path / "results" / "sweeps" / "e2e" / "manifest.json").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    said, _ = process.communicate(timeout=600)
    assert process.returncode in (1, 130), said
    assert "Traceback" not in said
    assert "Run the same command again to continue" in said
    assert State.RUNNING not in states(place)


def test_an_expired_budget_stops_after_the_current_epochs(tmp_path: Path) -> None:
    place = WorkingFolder(tmp_path, {**SHORT, "trial": {**SHORT["trial"], "epochs": 400}})  # type: ignore[dict-item]
    code, said = place.run("--engine", "local", "--budget", "6s")
    assert code == 1, said
    assert "The time budget is used up: stopping after the next records." in said
    assert "Stopped on request. Run the same command again to continue." in said
    assert states(place) <= {State.INTERRUPTED, State.PENDING}


@pytest.mark.skipif(torch.cuda.is_available(), reason="tests a machine without a GPU")
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_a_gpu_that_is_not_there_is_an_error_before_any_trial(tmp_path: Path, engine: str) -> None:
    place = WorkingFolder(tmp_path, SHORT)
    code, said = place.run("--engine", engine, "--set", "resources.gpu=1")
    assert code == 2, said
    assert "error: each trial requests 1 CPU and 1 GPU, more than any machine has (" in said
    assert "and 0 GPUs); use --set resources.gpu=0, or --set resources.gpu=auto" in said
    assert not (tmp_path / "results" / "trials").exists()


def test_an_invalid_budget_is_refused(tmp_path: Path) -> None:
    place = WorkingFolder(tmp_path, SHORT)
    code, said = place.run("--budget", "2d")
    assert code == 2
    assert "--budget '2d': expected a time such as 2h, 30m, 1h30m or 90s" in said
    assert not (tmp_path / "results").exists()


def test_an_unreachable_cluster_is_reported_at_once(tmp_path: Path) -> None:
    place = WorkingFolder(tmp_path, SHORT)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    began = time.monotonic()
    code, said = place.run("--address", f"127.0.0.1:{port}")
    assert code == 2
    assert f"nothing answers at Ray address '127.0.0.1:{port}'" in said
    assert time.monotonic() - began < 45  # Ray itself would wait longer than that


def test_a_second_driver_is_refused(tmp_path: Path) -> None:
    place = WorkingFolder(tmp_path, LONG)
    process = place.start("--engine", "local")
    place.wait_for_epochs(1)
    code, said = place.run("--engine", "local")
    assert code == 2
    assert f"e2e: another driver is running: process {process.pid} on " in said
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 1


def test_a_killed_worker_is_replaced_and_results_are_identical(tmp_path: Path, twin: str) -> None:
    place = WorkingFolder(tmp_path, SHORT)
    process = place.start("--engine", "local")
    place.wait_for_epochs(3)
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "its process died (killed by SIGKILL); retrying from its last record" in said
    assert records(place) == twin
    ends = [a.ended for key in place.sweep.by_id for a in place.storage.trial(key).attempts()]
    assert sorted(map(str, ends)) == ["completed", "completed", "interrupted"]


def test_ray_listens_only_on_loopback_and_is_restarted_if_it_dies(tmp_path: Path) -> None:
    content = {**SHORT, "trial": {**SHORT["trial"], "epochs": 25}}  # type: ignore[dict-item]
    place = WorkingFolder(tmp_path, content)
    process = place.start()
    place.wait_for_epochs(2)
    below = descendants(process.pid)
    assert {address for address in listening([process.pid, *below]) if not address.startswith("127.")} == set()
    os.kill(workers(process.pid)[0], signal.SIGKILL)
    place.wait_for_epochs(8)
    (raylet,) = (pid for pid, command in below.items() if command.split()[0].endswith("/raylet"))
    os.kill(raylet, signal.SIGKILL)
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "Ray died during the attempt; retrying from its last record" in said
    (tmp_path / "twin").mkdir()
    alone = WorkingFolder(tmp_path / "twin", content)
    assert alone.run("--engine", "local")[0] == 0
    assert records(place) == records(alone)
    wait_until_gone(list(below))


def listening(pids: list[int]) -> set[str]:
    """Returns the addresses on which processes listen for TCP connections."""
    done = subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if any(f"pid={pid}," in line for pid in pids)]
    assert lines, "Ray listens"
    return {line.split()[3].replace("[::ffff:", "").replace("]", "") for line in lines}


def test_a_bug_fails_its_trials_and_others_continue(tmp_path: Path) -> None:
    place = own_model(tmp_path, "raise ZeroDivisionError('a bug of mine')", False, True)
    place.write(
        {
            **LONG,
            "trial": {**CONTENT["trial"], "epochs": 2},
            "grid": [  # type: ignore[dict-item]
                {"model": [{"name": "nets:Net", "bad": False}], "seed": [0, 1]},
                {"model": [{"name": "nets:Net", "bad": True}], "seed": [0]},
            ],
        }
    )
    code, said = place.run("--engine", "local")
    assert code == 1, said
    assert "e2e: 2 of 3 trials done, 1 failed" in said
    assert "ZeroDivisionError: a bug of mine" in said
    assert states(place) == {State.COMPLETED, State.FAILED}
    assert "ZeroDivisionError: a bug of mine" in place.query("select value from tags where key = 'failure'")[0][0]  # type: ignore[operator]
    (artifact,) = (tmp_path / "mlartifacts").rglob("traceback.txt")
    assert "nets.py" in artifact.read_text()


def test_the_same_bug_in_the_first_three_trials_stops_the_run(tmp_path: Path) -> None:
    place = own_model(tmp_path, "raise ZeroDivisionError('a bug of mine')", True, False)
    code, said = place.run("--engine", "local", "--max-concurrent", "1")
    assert code == 1, said
    assert "the first 3 trials all failed with this error, so the others would fail too: stopping" in said
    assert "e2e: 0 of 8 trials done, 3 failed" in said
    assert states(place) == {State.FAILED, State.PENDING}
    # Epoch 0 of the failed trials is stored, so that continuing them with repaired code must be accepted.
    own_model(tmp_path, "pass", True, False)
    code, said = place.run("--engine", "local", "--accept-changed-code")
    assert code == 0, said
    assert states(place) == {State.COMPLETED}


def test_out_of_memory_is_retried_once_and_then_fails_with_advice(tmp_path: Path) -> None:
    place = own_model(tmp_path, "raise torch.OutOfMemoryError('CUDA out of memory. Tried to allocate 9 GiB')", True)
    place.write({**LONG, "trial": {**CONTENT["trial"], "epochs": 1}, "grid": {"model": [{"name": "nets:Net"}]}})  # type: ignore[dict-item]
    code, said = place.run("--engine", "local")
    assert code == 1, said
    assert "retrying from its last record, alone" in said
    (trial_id,) = place.sweep.by_id
    assert [a.ended for a in place.storage.trial(trial_id).attempts()] == ["interrupted", "failed"]
    assert f"failed: {trial_id}" in said
    assert "it was alone on the machine: a smaller batch_size" in said.split("failed: ")[1]
