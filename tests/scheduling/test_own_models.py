"""A user-defined network next to the sweep file is found by the driver, its workers and a rerun."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from orchestrator.scheduling.attempts import Attempts
from orchestrator.scheduling.engines.local import LocalEngine
from orchestrator.scheduling.job import TrainingJob
from orchestrator.store.provenance.provenance import capture
from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep, load_sweep

COMMAND = str(Path(sys.executable).with_name("hessian-dynamics"))
CODE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, classes, width):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, classes))
"""
CONTENT = {
    "name": "own",
    "trial": {
        "model": {"name": "nets.small:Net", "width": 6},
        "data": {"name": "digits"},
        "optimizer": {"name": "adam", "lr": 0.01},
        "epochs": 1,
        "measurement": {"fraction": 0.02, "lanczos_products": 2, "algorithm1_iterations": 2, "algorithm1_probes": 2},
    },
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder with a package and a sweep file."""
    (tmp_path / "nets").mkdir()
    (tmp_path / "nets" / "__init__.py").touch()
    (tmp_path / "nets" / "small.py").write_text(CODE)
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(CONTENT))
    return tmp_path


def sweep_of(folder: Path) -> Sweep:
    return load_sweep(str(folder / "own.yaml"))


def run(folder: Path, *arguments: str) -> tuple[int, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")}
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=folder,
        env=kept,
        capture_output=True,
        text=True,
        timeout=300,
        stdin=subprocess.DEVNULL,
    )
    return done.returncode, done.stdout + done.stderr


def test_worker_imports_from_the_drivers_folder(folder: Path) -> None:
    sweep, storage = sweep_of(folder), Storage(folder / "results")
    storage.sweep("own").write_manifest(sweep, capture())
    (trial,) = sweep.trials
    work = TrainingJob(str(storage.root), "own", code_root=str(folder))
    LocalEngine(sweep.resources, 1).run(Attempts(work, [trial.trial_id]))
    store = storage.trial(trial.trial_id)
    assert [attempt.reason for attempt in store.attempts()] == [""]
    assert store.numbers() == [0, 1]
    assert str(folder) not in sys.path


@pytest.mark.slow
def test_import_error_lists_the_folders_searched(folder: Path, tmp_path: Path) -> None:
    sweep, storage = sweep_of(folder), Storage(folder / "results")
    storage.sweep("own").write_manifest(sweep, capture())
    (trial,) = sweep.trials
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    work = TrainingJob(str(storage.root), "own", code_root=str(elsewhere))
    LocalEngine(sweep.resources, 1).run(Attempts(work, [trial.trial_id]))
    (attempt,) = storage.trial(trial.trial_id).attempts()
    assert attempt.ended == "failed"
    assert "No module named 'nets'; Python looked in " in attempt.reason
    assert str(elsewhere) in attempt.reason


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_user_defined_network_runs_and_reproduces(folder: Path, engine: str) -> None:
    code, said = run(folder, "run", "./own.yaml", "--engine", engine)
    assert code == 0, said
    assert "own: 1 of 1 trials done" in said
    (trial,) = sweep_of(folder).trials
    code, said = run(folder, "trial", "./own.yaml", trial.trial_id, "--compare")
    assert code == 0, said
    assert "bit for bit" in said


@pytest.mark.slow
def test_invalid_user_network_is_reported_before_scheduling(folder: Path) -> None:
    trial = {**CONTENT["trial"], "model": {"name": "nets.small:Nut"}}  # type: ignore[dict-item]
    (folder / "own.yaml").write_text(yaml.safe_dump({**CONTENT, "trial": trial}))
    code, said = run(folder, "run", "./own.yaml", "--engine", "local")
    assert code == 2
    assert "has no class 'Nut'; did you mean 'Net'? it has: Net" in said
    assert "Traceback" not in said
    assert not (folder / "results" / "trials").exists()


@pytest.mark.slow
def test_bug_in_a_user_network_is_reported_with_its_line(folder: Path) -> None:
    (folder / "nets" / "small.py").write_text(CODE.replace("nn.Linear(64, width)", "nn.Linear(64, widht)"))
    code, said = run(folder, "run", "./own.yaml", "--engine", "local")
    assert code == 2
    assert "nn.Linear(64, widht)" in said
    assert "NameError: name 'widht' is not defined" in said
    assert not (folder / "results" / "trials").exists()
