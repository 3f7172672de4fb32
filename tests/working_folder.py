"""A user's working folder with a small sweep, which runs in subprocesses."""

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import yaml

from orchestrator.store.storage import Storage
from orchestrator.study.sweep import Sweep, load_sweep

COMMAND = str(Path(sys.executable).with_name("hessian-dynamics"))
CONTENT = {
    "name": "e2e",
    "description": "Four trials of three epochs.",
    "trial": {
        "data": {"name": "digits"},
        "model": {"name": "mlp", "hidden": [20, 10]},
        "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9},
        "epochs": 3,
        "measurement": {"fraction": 0.05, "algorithm1_every": 2},
    },
    "grid": [
        {"seed": [0, 1]},
        {"optimizer": [{"name": "adam", "lr": 0.001}], "seed": [0]},
        {"optimizer": [{"name": "sgd", "lr": 1.0e12}]},
    ],
}
SLOWER = {
    **CONTENT,
    "description": "Four trials of eight epochs.",
    "trial": {**CONTENT["trial"], "model": {"name": "cnn"}, "epochs": 8},  # type: ignore[dict-item]
}
"""For tests that disturb a sweep while it runs."""


class WorkingFolder:
    """A user's working folder."""

    def __init__(self, folder: Path, content: dict[str, object] = CONTENT) -> None:
        self.folder = folder
        self.write(content)

    def write(self, content: dict[str, object]) -> None:
        (self.folder / "e2e.yaml").write_text(yaml.safe_dump(content))

    @property
    def sweep(self) -> Sweep:
        return load_sweep(str(self.folder / "e2e.yaml"))

    @property
    def storage(self) -> Storage:
        return Storage(self.folder / "results")

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        # In-process tests of Ray leave settings in the environment.
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("RAY_", "TUNE_", "MLFLOW_"))}
        kept["RAY_worker_niceness"] = "0"  # as in conftest.py
        return subprocess.Popen(
            [COMMAND, "run", "./e2e.yaml", *arguments],
            cwd=self.folder,
            env=kept,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str) -> tuple[int, str]:
        process = self.start(*arguments)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def query(self, statement: str) -> list[tuple[object, ...]]:
        with sqlite3.connect(self.folder / "mlflow.db") as database:
            return database.execute(statement).fetchall()

    def wait_for_epochs(self, count: int) -> None:
        deadline = time.monotonic() + 300
        while sum(len(self.storage.trial(trial_id).numbers()) for trial_id in self.sweep.by_id) < count:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def assert_shipped_once(place: WorkingFolder) -> None:
    """Checks one run per trial, and one point per key and epoch with the time of the record."""
    runs = dict(place.query("select value, run_uuid from tags where key = 'trial_id'"))
    assert sorted(runs) == sorted(place.sweep.by_id)
    assert len(place.query("select run_uuid from runs where lifecycle_stage = 'active'")) == len(runs) + 1
    for trial_id, run in runs.items():
        points = place.query(f"select key, step, timestamp from metrics where run_uuid = '{run}'")
        expected = [
            (key, record.epoch, record.timestamp_ms)
            for record in place.storage.trial(trial_id).records()
            for key in record.metrics()
        ]
        assert sorted(points) == sorted(expected)
    assert place.query("select count(*) from runs where status in ('RUNNING', 'SCHEDULED')") == [(0,)]
